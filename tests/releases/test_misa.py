"""The lists of clips that MISA, MMIM and MAG-BERT read: what each part becomes, and what is refused."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mmlib.data.archive import read, write
from mmlib.data.dataset import Dataset
from mmlib.names import DataError
from mmlib.releases import misa
from mmlib.releases.load import load

SIZES = {"train": 3, "dev": 1, "test": 2}
PATH = Path("mosi.pkl")


def clip(split, i, facet=47, numbers=True):
    """i + 2 words; row t of vision holds i + 1 + t / 10, of audio its negative."""
    n = i + 2
    frames = np.float32(i + 1 + np.arange(n) / 10)[:, None]
    words = [f"{split}{i}", *["so"] * (n - 1)]
    parts = (frames + np.zeros((1, facet), np.float32), -frames + np.zeros((1, 74), np.float32))
    features = (np.arange(n), *parts, words) if numbers else (words, *parts)
    return features, np.array([[i - 1.2]], np.float32), f"{split}_v[{i}]"


def release(facet=47, numbers=True):
    return {split: [clip(split, i, facet, numbers) for i in range(n)] for split, n in SIZES.items()}


def folder(path, content):
    path.mkdir()
    for split, clips in content.items():
        (path / f"{split}.pkl").write_bytes(pickle.dumps(clips))
    return path


def pickled(content, path, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def check(data, facet=47):
    assert data.task == "regression" and data.dims == {"audio": 74, "vision": facet}
    assert data.split.tolist() == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert data.ids.tolist() == ["train_v[0]", "train_v[1]", "train_v[2]", "dev_v[0]", "test_v[0]", "test_v[1]"]
    assert data.group.tolist() == ["train_v"] * 3 + ["dev_v"] + ["test_v"] * 2
    np.testing.assert_allclose(data.target, [-1.2, -0.2, 0.8, -1.2, -1.2, -0.2], rtol=1e-6)
    for m, sign in (("vision", 1), ("audio", -1)):
        assert data.observed[m].sum(1).tolist() == [2, 3, 4, 2, 2, 3] and data.observed[m][:, 0].all()
        torch.testing.assert_close(data.features[m][2, :, 0], sign * torch.tensor([3, 3.1, 3.2, 3.3]))
        assert not data.features[m][0, 2:].any()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("numbers", [True, False])
def test_a_dict_of_lists(tmp_path, protocol, numbers, capsys):
    data = load(pickled(release(numbers=numbers), tmp_path / "mosi.pkl", protocol))
    check(data)
    assert data.name == "MOSI" and data.provenance["release"] == "MISA" and data.provenance["warnings"] == []
    assert data.provenance["features"]["vision"] == "Facet, 47 per word" and "MISA, 6 rows" in capsys.readouterr().out
    assert data.provenance["published"] is None and len(data.provenance["sha256"]) == 64
    assert read(write(data, tmp_path / "archive.npz")).group.tolist() == data.group.tolist()


def test_a_folder_of_lists_and_any_file_of_it(tmp_path):
    path = folder(tmp_path / "MOSEI", release(facet=35))
    for place in (path, path / "dev.pkl", path / "test.pkl"):
        data = load(place)
        check(data, 35)
        assert data.name == "MOSEI" and data.provenance["warnings"] == []
    (path / "dev.pkl").unlink()
    with pytest.raises(DataError, match="MOSEI/dev.pkl: is not there, and train.pkl is one split of three; put train"):
        load(path)


@pytest.mark.parametrize(("facet", "name"), [(47, "MOSI"), (35, "MOSEI")])
def test_without_a_name_the_width_of_vision_tells_the_set(facet, name):
    data = misa.dataset(release(facet), Path("/data/all.pkl"))
    assert data.name == name
    assert data.provenance["warnings"] == [f"the file does not say that it is {name}: rename it or its folder"]


@pytest.mark.parametrize("numbers", [True, False])
def test_the_caller_makes_the_text_of_the_words(tmp_path, numbers):
    content = release(numbers=numbers)
    content["train"][1] = (*content["train"][1][:2], "train_v[0]")  # an id that is there twice
    path = pickled(content, tmp_path / "mosi.pkl")
    words = misa.texts(path)
    assert words["train_v[0]"] == "train0 so" and words["train_v[0]#2"] == "train1 so so" and len(words) == 6
    text = {name: np.full((len(said.split()), 3), 2.0) for name, said in words.items() if name != "dev_v[0]"}
    data = load(path, text=text)
    assert data.modalities == ("text", "audio", "vision") and data.ids[1] == "train_v[0]#2"
    assert data.observed["text"].sum(1).tolist() == [2, 3, 4, 0, 2, 3]
    assert data.provenance["features"]["text"] == "given by the caller"


def test_numbers_alone_are_no_words(tmp_path):
    content = release()
    content["test"][1] = (content["test"][1][0][:3], *content["test"][1][1:])
    path = pickled(content, tmp_path / "mosi.pkl")
    with pytest.raises(DataError, match=r"mosi.pkl: clip 'test_v\[1\]' has numbers for words"):
        misa.texts(path)
    check(load(path))


def test_infinity_is_repaired_and_what_is_zero_or_empty_is_missing():
    content = release()
    (words, vision, audio, said), label, name = content["train"][0]
    audio[1, 3] = -np.inf
    content["train"][0] = ((words, np.zeros((0, 47)), audio, said), label, name)
    content["train"][1][0][1][:] = 0
    content["train"][2] = ((words, np.zeros((2, 47)), np.zeros((2, 74)), said), label, "lost")
    data = misa.dataset(content, PATH)
    assert data.present["vision"].tolist() == [False, False, True, True, True] and data.present["audio"].all()
    assert data.provenance["repaired"] == {"audio": 1, "vision": 0} and data.features["audio"][0, 1, 3] == 0
    assert data.provenance["warnings"] == ["1 rows have no modality at all and are left out"]


@pytest.mark.parametrize("label", [1.0, np.float32(1), np.array(1.0), [1], [[1.0]], np.ones((1, 1, 1))])
def test_one_number_in_any_form_is_a_label(label):
    content = release()
    content["train"][0] = (content["train"][0][0], label, content["train"][0][2])
    assert misa.dataset(content, PATH).target[0] == 1


FEATURES, LABEL, NAME = clip("train", 1)
WORDS, VISION, AUDIO, SAID = FEATURES
BAD = {
    "no clip": (3, "is 3, expected \\(\\(words, vision"),
    "two parts": ((FEATURES, LABEL), "expected \\(\\(words, vision"),
    "two features": (((WORDS, VISION), LABEL, NAME), "expected \\(\\(words, vision"),
    "swapped": (
        ((WORDS, AUDIO, VISION, SAID), LABEL, NAME),
        r"\(segment 'train_v\[1\]'\): vision is float32 \(3, 74\), expected numbers \(words, 47 or 35\)",
    ),
    "audio of 5": (
        ((WORDS, VISION, AUDIO[:, :5]), LABEL, NAME),
        r"audio is float32 \(3, 5\), expected .* \(words, 74\)",
    ),
    "one axis": (((WORDS, VISION[0], AUDIO), LABEL, NAME), r"vision is float32 \(47,\), expected"),
    "texts": (((WORDS, VISION.astype(str), AUDIO), LABEL, NAME), "vision is <U.*, expected numbers"),
    "no vision": (((WORDS, None, AUDIO), LABEL, NAME), r"vision is object \(\), expected numbers"),
    "seven labels": ((FEATURES, np.zeros((1, 7)), NAME), r"the label is float64 \(1, 7\), expected one number"),
    "label as text": ((FEATURES, "1", NAME), "the label is <U1"),
    "no segment": ((FEATURES, LABEL, None), "the segment is NoneType, expected a text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_clip_that_is_none_is_named(case):
    bad, message = BAD[case]
    content = release()
    content["test"][1] = bad
    assert misa.fits(content)
    with pytest.raises(DataError, match=f"mosi.pkl: split 'test', clip 1.*{message}"):
        misa.dataset(content, PATH)


def test_facet_of_two_widths_is_refused():
    content = release()
    content["test"][0] = clip("test", 0, facet=35)
    with pytest.raises(
        DataError, match=r"mosi.pkl: field 'vision', row 4: has shape \(2, 35\), expected \(frames, 47\)"
    ):
        misa.dataset(content, PATH)


@pytest.mark.parametrize("split", SIZES)
@pytest.mark.parametrize("value", [None, [], "clips"])
def test_a_split_that_is_missing_or_empty_is_named(split, value):
    content = {**release(), split: value}
    with pytest.raises(
        DataError, match=f"mosi.pkl: split '{'valid' if split == 'dev' else split}': is .*a list of cli"
    ):
        misa.dataset(content, PATH)


def test_the_second_split_may_be_called_valid():
    content = release()
    content["valid"] = content.pop("dev")
    check(misa.dataset(content, PATH))


def test_any_mutation_is_refused_or_makes_sense(tmp_path, capsys):
    rng, path, refusals = random.Random(0), tmp_path / "mosi.pkl", 0
    honest = [pickle.dumps(release(numbers=numbers), protocol) for numbers in (True, False) for protocol in (2, 4)]
    values = [None, 3, "a", [], {}, (), np.zeros(2), np.full((2, 47), np.nan), np.zeros((2, 74), object), [[1], [2, 3]]]
    for i in range(150):
        if i % 2:
            data = bytearray(rng.choice(honest))
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            content = release(numbers=i % 4 == 0)
            split = rng.choice(list(SIZES))
            (*features,), *others = content[split][0]
            parts = rng.choice([features, others, others])
            parts[rng.randrange(len(parts))] = rng.choice(values)
            content[split][0] = rng.choice([(tuple(features), *others), (features, *others), features])
            data = pickle.dumps(content)
        path.write_bytes(bytes(data))
        try:
            assert isinstance(load(path), Dataset)
        except DataError as error:
            assert "mosi.pkl" in str(error)
            refusals += 1
    assert 20 < refusals < 150
