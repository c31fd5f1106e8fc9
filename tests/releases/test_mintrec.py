"""MIntRec's folder, written here as the release has it, comes out column by column; anything else is refused."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.names import DataError
from mmlib.releases import mintrec
from tests.helpers.mintrec import AUDIO, CLIPS, IDS, INTENTS, VIDEO, audio, dump, video, write


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "MIntRec")


def refused(path, *texts, **options):
    with pytest.raises(DataError) as caught:
        mintrec.dataset(path, **options)
    for text in texts:
        assert text in str(caught.value)


def change(file, **clips):
    content = pickle.loads(file.read_bytes())
    dump(file, {**content, **clips})


def test_every_column(root):
    data = mintrec.dataset(root)
    assert (data.name, data.task) == ("MIntRec", "multiclass")
    assert data.label_names == tuple(INTENTS.split("|")) == tuple(sorted(data.label_names))
    assert data.ids.tolist() == IDS
    assert data.split.tolist() == ["train", "train", "train", "valid", "test"]
    assert [data.label_names[i] for i in data.target] == ["Complain", "Thank", "Advise", "Oppose", "Ask for help"]
    assert data.group is data.order is data.speaker is data.fold is None
    assert data.modalities == ("audio", "vision") and data.dims == {"audio": 768, "vision": 256}
    assert data.observed["audio"].sum(1).tolist() == [3, 1, 0, 2, 5]
    assert data.observed["vision"].sum(1).tolist() == [2, 0, 4, 1, 3]
    for row, name in enumerate(IDS):
        heard, seen = data.observed["audio"][row].sum(), data.observed["vision"][row].sum()
        assert np.array_equal(data.features["audio"][row, :heard], audio(name, heard))
        assert np.array_equal(data.features["vision"][row, :seen], video(name, seen)[:, 0])
    assert data.provenance == {
        "file": str(root),
        "name": "MIntRec",
        "release": "MIntRec",
        "features": {
            "audio": "hidden states of wav2vec 2.0 (768-d)",
            "vision": "Faster R-CNN features of the speaker (256-d)",
        },
        "split_source": "official, by clip: many episodes occur in several splits",
        "repaired": {"audio": 0, "vision": 0},
        "warnings": [
            "train has 3 clips, the complete release has 1334",
            "valid has 1 clips, the complete release has 445",
            "test has 1 clips, the complete release has 445",
        ],
        "licence_note": "code MIT; the clips are for research only",
    }


def test_transcripts_and_the_features_an_encoder_makes_of_them(root):
    texts = mintrec.texts(root)
    assert list(texts) == IDS
    assert texts["S04_E01_110"] == 'He said "no" \'twice' and texts["S04_E01_111"] == "thanks, caf\u00e9\u2028 friend"
    encoded = {name: np.full((len(text) + 1, 5), i + 1.0) for i, (name, text) in enumerate(texts.items())}
    encoded["S05_E16_329"] = torch.ones(2, 5)
    del encoded["S05_E02_7"]
    data = mintrec.dataset(root, text=encoded)
    assert data.modalities == ("text", "audio", "vision") and data.dims["text"] == 5
    assert data.observed["text"].sum(1).tolist() == [20, 21, 2, 0, 1]
    assert data.features["text"][:, 0, 0].tolist() == [1, 2, 1, 0, 5]
    assert data.provenance["features"]["text"] == "given by the caller"


def test_long_sequences_are_cut_at_the_official_lengths(root):
    change(root / AUDIO, S05_E02_7=audio("a", 481), S06_E06_589=audio("b", 480))
    change(root / VIDEO, S05_E02_7=video("c", 231), S06_E06_589=video("d", 230))
    data = mintrec.dataset(root, text={"S05_E02_7": np.arange(1.0, 32)[:, None], IDS[0]: np.ones((30, 1))})
    assert {m: f.shape[1] for m, f in data.observed.items()} == {"text": 30, "audio": 480, "vision": 230}
    assert data.features["text"][3, :, 0].tolist() == list(range(1, 31))
    assert np.array_equal(data.features["audio"][3], audio("a", 481)[:480])
    assert np.array_equal(data.features["vision"][3], video("c", 231)[:230, 0])


def test_other_forms_of_the_same_numbers(root):
    expected = mintrec.dataset(root)
    change(root / AUDIO, S05_E02_7=audio("S05_E02_7", 2).astype(np.float64))
    change(root / VIDEO, S05_E02_7=video("S05_E02_7", 1)[:, 0], S06_E06_589=list(video("S06_E06_589", 3)))
    assert mintrec.dataset(root).fingerprint == expected.fingerprint


def test_columns_of_the_tables_may_stand_in_any_order(root):
    expected = mintrec.dataset(root)
    rows = [line.split("\t") for line in (root / "train.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")]
    turned = "\r\n".join("\t".join(["more", *row[::-1]]) for row in rows)
    (root / "train.tsv").write_bytes("\ufeff".encode() + turned.encode())
    assert mintrec.dataset(root).fingerprint == expected.fingerprint


def test_recognised_by_its_files(root, tmp_path):
    assert mintrec.fits(root)
    assert not mintrec.fits(tmp_path) and not mintrec.fits(tmp_path / "absent") and not mintrec.fits(root / "dev.tsv")
    for file in ("test.tsv", VIDEO):
        (root / file).rename(root / "away")
        assert not mintrec.fits(root)
        refused(root, file.split("/")[-1], "No such file")
        (root / "away").rename(root / file)


def test_broken_numbers_are_repaired_and_counted(root):
    x = audio("S05_E02_7", 2).astype(np.float64)
    x[0, :4] = [np.nan, -np.inf, 1e300, 5]
    change(root / AUDIO, S05_E02_7=x)
    data = mintrec.dataset(root)
    assert data.features["audio"][3, 0, :4].tolist() == [0, 0, 0, 5]
    assert data.provenance["repaired"] == {"audio": 3, "vision": 0}


def test_zeros_are_an_absent_modality_and_clips_without_any_are_dropped(root):
    change(root / AUDIO, S04_E01_111=np.zeros((4, 768)), S05_E02_7=[])
    data = mintrec.dataset(root)
    assert data.ids.tolist() == [name for name in IDS if name != "S04_E01_111"]
    assert [data.label_names[i] for i in data.target] == ["Complain", "Advise", "Oppose", "Ask for help"]
    assert data.split.tolist() == ["train", "train", "valid", "test"]
    assert data.observed["audio"].sum(1).tolist() == [3, 0, 0, 5]
    assert data.provenance["warnings"][-1] == "1 clips without any features were dropped"


BAD_TABLES = {
    "no header": ("S04\tE01\t1\thi\tThank\n", ("line 1", "lacks season, episode, clip, text, label")),
    "no label": ("season\tepisode\tclip\ttext\n", ("line 1", "lacks label")),
    "a tab in the text": ("season\tepisode\tclip\ttext\tlabel\nS\tE\t1\ta\tb\tThank\n", ("line 2", "6 fields", "5")),
    "cut off": ("season\tepisode\tclip\ttext\tlabel\nS\tE\t1\ta\tThank\nS\tE", ("line 3", "2 fields")),
    "unknown intent": (
        "season\tepisode\tclip\ttext\tlabel\nS\tE\t1\ta\tThanks\n",
        ("line 2", "'Thanks'", "20 intents"),
    ),
    "twice": ("season\tepisode\tclip\ttext\tlabel\nS04\tE01\t110\ta\tThank\n", ("'S04_E01_110'", "train.tsv: line 2")),
    "empty": ("", ("line 1", "lacks season")),
    "web page": ("<!doctype html>", ("line 1", "lacks")),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(root, case):
    content, texts = BAD_TABLES[case]
    (root / "dev.tsv").write_text(content)
    refused(root, f"{root / 'dev.tsv'}: line", *texts)


def test_tables_of_other_bytes_and_of_any_size(root, monkeypatch):
    (root / "dev.tsv").write_bytes(b"\xff\xfe" + bytes(99))
    refused(root, "dev.tsv", "not UTF-8")
    monkeypatch.setattr("mmlib.releases.mintrec._TABLE_BYTES", 100)
    refused(root, "train.tsv", "over 100 bytes")


BAD_FEATURES = {
    "narrow audio": (AUDIO, np.ones((2, 767)), ("float64 (2, 767)", "expected numbers (frames, 768)")),
    "deep audio": (AUDIO, np.ones((2, 1, 768)), ("(2, 1, 768)", "(frames, 768)")),
    "narrow video": (VIDEO, np.ones((2, 1, 255)), ("(2, 1, 255)", "expected numbers (frames, 1, 256)")),
    "two faces": (VIDEO, np.ones((2, 2, 256)), ("(2, 2, 256)", "(frames, 1, 256)")),
    "a vector": (AUDIO, np.ones(768), ("(768,)", "(frames, 768)")),
    "a number": (AUDIO, 3.0, ("float64 ()", "(frames, 768)")),
    "a text": (AUDIO, "abc", ("<U3 ()", "(frames, 768)")),
    "complex": (AUDIO, np.ones((2, 768), complex), ("complex128", "numbers")),
    "ragged": (AUDIO, [[1.0], [1.0, 2.0]], ("no array",)),
    "a dict": (AUDIO, {"x": 1}, ("object ()", "numbers")),
}


@pytest.mark.parametrize("case", BAD_FEATURES)
def test_bad_features(root, case):
    file, value, texts = BAD_FEATURES[case]
    change(root / file, S05_E02_7=value)
    refused(root, f"{root / file}: field 'S05_E02_7'", *texts)


def test_nothing_is_converted_before_all_shapes_are_right(root, monkeypatch):
    change(root / VIDEO, S06_E06_589=np.ones((2, 1, 255)))
    monkeypatch.setattr("mmlib.releases.mintrec.repaired_rows", None)
    refused(root, "'S06_E06_589'", "(2, 1, 255)")


def test_bad_features_of_the_text(root):
    refused(root, "text=", "'S04_E01_110'", "(3,)", "(frames, width)", text={"S04_E01_110": np.ones(3)})
    refused(root, "'text'", "(2, 4)", text={"S04_E01_110": np.ones((2, 3)), "S05_E02_7": np.ones((2, 4))})
    refused(root, "'text'", "no row has a single frame", text={})


def test_pickles_with_something_else(root):
    dump(root / AUDIO, [1, 2])
    refused(root, f"{root / AUDIO}: is a list, expected a dict")
    dump(root / AUDIO, {})
    refused(root, "'audio'", "no row has a single frame")
    (root / AUDIO).write_bytes(b"<html>")
    refused(root, str(root / AUDIO))


class Trap:
    """Its unpickling creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_run_nothing(root, tmp_path):
    dump(root / AUDIO, {"S05_E02_7": Trap(tmp_path / "sprung")})
    refused(root, str(root / AUDIO))
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_lengths_and_missing_clips(tmp_path, draw):
    length = st.none() | st.integers(0, 5)
    lengths = draw.draw(st.lists(st.tuples(length, length), min_size=6, max_size=9))
    names = list(CLIPS)
    clips = {split: [] for split in names}
    for i, row in enumerate(lengths):
        clips[names[i % 3]].append(("S01", "E01", str(i), "hi", INTENTS.split("|")[i], row))
    shutil.rmtree(tmp_path / "any", ignore_errors=True)
    root = write(tmp_path / "any", clips)
    kept = [clip for split in names for clip in clips[split] if any(clip[5])]
    splits = {split for split in names if any(any(clip[5]) for clip in clips[split])}
    if len(splits) < 3 or not all(any(clip[5][k] for clip in kept) for k in range(2)):
        refused(root)
        return
    data = mintrec.dataset(root)
    assert data.ids.tolist() == [f"S01_E01_{clip[2]}" for clip in kept]
    assert [data.label_names[i] for i in data.target] == [clip[4] for clip in kept]
    for row, (name, clip) in enumerate(zip(data.ids, kept)):
        heard, seen = (n or 0 for n in clip[5])
        assert np.array_equal(data.features["audio"][row][data.observed["audio"][row]], audio(name, heard))
        assert np.array_equal(data.features["vision"][row][data.observed["vision"][row]], video(name, seen)[:, 0])
    dropped = len(lengths) - len(kept)
    assert (f"{dropped} clips without any features were dropped" in data.provenance["warnings"]) == (dropped > 0)


@pytest.mark.parametrize("file", [AUDIO, "train.tsv"])
def test_any_mutation_is_refused_or_read(root, file):
    path = root / file
    content, original = path.read_bytes(), mintrec.dataset(root)
    rng = np.random.default_rng(0)
    for _ in range(100):
        mutated = bytearray(content)
        mutated[rng.integers(min(len(content), 400))] ^= int(rng.integers(1, 256))
        path.write_bytes(mutated)
        try:
            data = mintrec.dataset(root)
            assert len(data) in (4, 5) and data.dims == original.dims
        except DataError as error:
            assert str(root) in str(error)
