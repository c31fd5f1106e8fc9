"""MMSA's release: what each column becomes, whose frames are real, and what is refused."""

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.data.archive import read, write
from mmlib.names import SPLITS, DataError
from mmlib.releases import mmsa, mult, multibench
from tests.helpers.releases import MMSA_STEPS as STEPS
from tests.helpers.releases import MMSA_WIDTHS as WIDTHS
from tests.helpers.releases import joined, padded
from tests.helpers.releases import mmsa as release

PATH = Path("MOSI/Processed/unaligned_50.pkl")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("name", WIDTHS)
def test_every_column_of_every_file(name, aligned):
    content = release(name, aligned)
    before = deepcopy(content)
    data = mmsa.dataset(content, PATH)
    audio, vision = WIDTHS[name]
    steps = (50, 50) if aligned else STEPS[name]
    assert data.name == data.provenance["name"] == name and data.task == "regression"
    assert data.dims == {"text": 768, "audio": audio, "vision": vision}
    assert data.split.tolist() == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert data.ids.tolist() == [
        "train-v_0$_$0",
        "train-v_0$_$1",
        "train-v_1$_$2",
        "valid-v_0$_$0",
        "test-v_0$_$0",
        "test-v_0$_$1",
    ]
    assert data.group.tolist() == ["train-v_0", "train-v_0", "train-v_1", "valid-v_0", "test-v_0", "test-v_0"]
    assert data.target.tolist() == np.float32([-2.6, 0.2, 3, -2.6, -2.6, 3]).tolist()
    lengths = {
        "text": [4, 13, 22, 4, 4, 13],
        "audio": [10, 11, 12, 10, 10, 11],
        "vision": [steps[1] - i for i in (0, 1, 2, 0, 0, 1)],
    }
    for m, own in lengths.items():
        x, frames = data.features[m].numpy(), data.observed[m]
        expected = joined(before, m).astype(np.float32)
        assert x.dtype == np.float32 and frames.sum(1).tolist() == own and frames[:, 0].all()
        for row, length in enumerate(own):
            assert np.array_equal(x[row, :length], expected[row, :length]) and not x[row, length:].any()
            assert x[row, length - 1].any() and frames[row, length - 1]
    provenance = data.provenance
    assert provenance["file"] == str(PATH) and provenance["release"] == "MMSA"
    assert provenance["shapes"] == {
        "text": (6, 50, 768),
        "audio": (6, steps[0], audio),
        "vision": (6, steps[1], vision),
    }
    assert provenance["repaired"] == {"text": 0, "audio": 0, "vision": 0}
    assert "BERT" in provenance["features"]["text"] and set(provenance["features"]) == set(data.modalities)
    for split in SPLITS:
        assert all(np.array_equal(content[split][field], before[split][field]) for field in before[split])


def test_token_ids_instead_of_features():
    content = release()
    content["train"]["text_bert"] = content["train"]["text_bert"].astype(np.int64)
    data, usual = mmsa.dataset(content, PATH, text="ids"), mmsa.dataset(content, PATH)
    assert data.dims == {"text": 1, "audio": 5, "vision": 20} and data.features["text"].dtype == torch.float32
    assert torch.equal(data.observed["text"], usual.observed["text"])
    assert np.array_equal(data.features["text"][..., 0].numpy(), joined(content, "text_bert")[:, 0])
    assert data.features["text"][1, [0, 12, 13], 0].tolist() == [101, 102, 0]
    assert "token ids" in data.provenance["features"]["text"]
    assert "token ids" not in usual.provenance["features"]["text"]
    assert data.provenance["shapes"]["text"] == (6, 50, 1)
    with pytest.raises(DataError, match="unaligned_50.pkl: text is 'words'; choose 'features' or 'ids'"):
        mmsa.dataset(content, PATH, text="words")


def without(content, *gone):
    for fields in content.values():
        for field in gone:
            del fields[field]
    return content


@pytest.mark.parametrize("aligned", [True, False])
def test_token_ids_need_no_features_of_the_text(aligned):
    whole = mmsa.dataset(release(aligned=aligned), PATH, text="ids")
    data = mmsa.dataset(without(release(aligned=aligned), "text"), PATH, text="ids")
    assert data.name == "MOSI" and data.dims == whole.dims
    assert torch.equal(data.features["text"], whole.features["text"])
    assert torch.equal(data.observed["text"], whole.observed["text"])
    message = "unaligned_50.pkl: split 'train', field 'text': is missing, as in all splits; text='ids' reads .* text="
    with pytest.raises(DataError, match=message):
        mmsa.dataset(without(release(aligned=aligned), "text"), PATH)


def test_features_of_the_text_need_no_token_ids():
    data = mmsa.dataset(without(release(), "text_bert"), PATH)
    assert data.name == "MOSI" and data.observed["text"].sum(1).tolist() == [50] * 6  # the first to the last not zero
    with pytest.raises(DataError, match="split 'train', field 'text_bert': is missing"):
        mmsa.dataset(without(release(), "text_bert"), PATH, text="ids")


@pytest.mark.parametrize("aligned", [True, False])
def test_without_a_field_of_text_audio_and_vision_are_read_and_the_caller_gives_the_text(aligned, tmp_path):
    content = without(release(aligned=aligned), "text", "text_bert")
    for i, word in enumerate("ABC"):
        content["train"]["raw_text"][i] = word
    content["train"]["id"][2] = content["train"]["id"][1]
    data = mmsa.dataset(content, PATH)
    assert data.name == "MOSI" and data.modalities == ("audio", "vision") and len(data) == 6
    assert "the file has no features of the text; texts(path) and text= bring them in" in data.provenance["warnings"]
    path = tmp_path / "unaligned_50.pkl"
    path.write_bytes(pickle.dumps(content))
    words = mmsa.texts(path)
    assert list(words) == data.ids.tolist() and list(words.values()) == ["A", "B", "C", *["SO GOOD"] * 3]
    text = {name: torch.full((len(said), 3), float(ord(said[0]))) for name, said in words.items()}
    del text["valid-v_0$_$0"]
    text["test-v_0$_$0"][0, 0] = -torch.inf
    data = mmsa.dataset(content, PATH, text=text)
    assert data.features["text"].shape == (6, 7, 3) and data.modalities == ("text", "audio", "vision")
    assert data.observed["text"].sum(1).tolist() == [1, 1, 1, 0, 7, 7]
    assert data.features["text"][:3, 0, 0].tolist() == [65, 66, 67] and data.provenance["repaired"]["text"] == 1
    assert data.provenance["features"]["text"] == "given by the caller"
    with pytest.raises(DataError, match="text=: field 'text': no row has a single frame"):
        mmsa.dataset(content, PATH, text={"other": text["test-v_0$_$1"]})


def test_the_text_of_the_caller_replaces_that_of_the_file():
    content = release()
    text = {name: np.ones((2, 4)) for fields in content.values() for name in fields["id"]}
    data = mmsa.dataset(content, PATH, text=text)
    assert data.features["text"].shape == (6, 2, 4) and data.name == "MOSI"


def test_texts_are_transcripts(tmp_path):
    path = tmp_path / "mosi.pkl"
    path.write_bytes(pickle.dumps(without(release(), "raw_text")))
    with pytest.raises(DataError, match="mosi.pkl: split 'train', field 'raw_text': is missing; there are text, "):
        mmsa.texts(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match="mosi.pkl: is not MMSA's release"):
        mmsa.texts(path)


def test_lengths_decide_over_zeros_and_nothing_stays_behind_them():
    content = release()
    train = content["train"]
    train["audio"][0, 8:10] = 0  # the last two frames of a length of 10
    train["audio"][1, 11:13] = 7.0  # behind a length of 11
    train["vision_lengths"][2] = 0
    content["test"]["audio"][1, :11] = 0  # all that the length covers
    content["test"]["audio"][1, 20] = 7.0
    train["vision"][0] = 0
    data = mmsa.dataset(content, PATH)
    assert data.observed["audio"].sum(1).tolist() == [10, 11, 12, 10, 10, 0]
    assert (
        not data.features["audio"][1, 11:].any()
        and not data.features["audio"][5].any()
        and not data.features["vision"][2].any()
    )
    assert data.present["vision"].tolist() == [False, True, False, True, True, True]
    notes = [note for note in data.provenance["warnings"] if "padding" in note]
    assert notes == [f"{m}: {n} rows had values in their padding, now zero" for m, n in zip(data.modalities, (6, 2, 1))]


def test_without_lengths_frames_go_from_the_first_to_the_last_that_is_not_zero():
    content = release(aligned=True)
    content["train"]["audio"][0, [0, 4, 9]] = 0
    content["train"]["vision"][1] = 0
    data = mmsa.dataset(content, PATH)
    assert data.observed["audio"][0].int().tolist() == [0] + [1] * 8 + [0] * 41
    assert data.present["vision"].tolist() == [True, False, True, True, True, True]
    assert data.provenance["warnings"][-1].startswith("text: 6 rows")


def test_lengths_count_in_aligned_files_too():
    content = release(aligned=True)
    for fields in content.values():
        fields["audio_lengths"] = [2] * len(fields["id"])
        fields["vision_lengths"] = np.full(len(fields["id"]), 50.0)
    assert mmsa.dataset(content, PATH).observed["audio"].sum(1).tolist() == [2] * 6


def test_infinity_is_repaired_and_counted():
    content = release()
    content["valid"]["audio"][0, 3, :2] = -np.inf
    content["test"]["audio"][0, :10] = -np.inf
    content["test"]["vision"][1, 0, 0] = np.nan
    data = mmsa.dataset(content, PATH)
    assert data.provenance["repaired"] == {"text": 0, "audio": 52, "vision": 1}
    assert data.features["audio"][3, 3, :2].tolist() == [0, 0] and data.observed["audio"][3, 3]
    assert data.present["audio"].tolist() == [True, True, True, True, False, True]


def test_rows_without_anything_are_left_out():
    content = release()
    content["train"]["text_bert"][1] = 0
    content["train"]["audio"][1] = 0
    content["train"]["vision_lengths"][1] = 0
    data = mmsa.dataset(content, PATH)
    assert data.ids[:2].tolist() == ["train-v_0$_$0", "train-v_1$_$2"] and len(data) == 5
    assert data.group[:2].tolist() == ["train-v_0", "train-v_1"] and data.target[1] == 3
    assert data.features["audio"].shape[0] == data.observed["text"].shape[0] == 5
    assert "1 rows have no modality at all and are left out" in data.provenance["warnings"]


def test_ids():
    content = release()
    content["train"]["id"] = np.array([b"a$_$1", b"other", b"other"])
    data = mmsa.dataset(content, PATH)
    assert data.ids[:3].tolist() == ["a$_$1", "other", "other#2"] and data.group[:3].tolist() == ["a", "other", "other"]
    assert "1 rows have the id of another row and got a suffix" in data.provenance["warnings"]
    content["test"]["id"][1] = "other"
    with pytest.raises(DataError, match=r"unaligned_50.pkl: field 'ids', row 5 \(id 'other'\).*leak"):
        mmsa.dataset(content, PATH)
    for split, fields in content.items():
        fields["id"] = [f"{split}{i}" for i in range(len(fields["id"]))]
    assert mmsa.dataset(content, PATH).group is None


def test_warnings():
    mosi, mosei = (mmsa.dataset(release(name), PATH).provenance["warnings"] for name in WIDTHS)
    assert "selection by hand" in mosi[0] and mosi[1] == "rows 3/1/2 are not the published 1284/229/686"
    assert mosei[0] == "rows 3/1/2 are not the published 16326/1871/4659"
    assert mosi[2:] == mosei[1:] == ["text: 6 rows had values in their padding, now zero"]


@pytest.mark.parametrize("name", WIDTHS)
def test_an_archive_holds_it(tmp_path, name):
    data = mmsa.dataset(release(name), PATH, text="ids")
    again = read(write(data, tmp_path / "mosi.npz"))
    assert (
        torch.equal(again.observed["vision"], data.observed["vision"]) and again.group.tolist() == data.group.tolist()
    )
    assert again.provenance["warnings"] == data.provenance["warnings"]


@pytest.mark.parametrize("name", WIDTHS)
def test_frames_of_audio_and_vision_in_the_order_of_mmsas_settings(name):
    assert mmsa.dataset(release(name, steps=(500, 375)), PATH).observed["audio"].shape == (6, 500)


@pytest.mark.parametrize("axes", [1, 2])
def test_labels_as_a_list_or_a_column(axes):
    content = release()
    for fields in content.values():
        fields["regression_labels"] = fields["regression_labels"].reshape(-1, *[1] * (axes - 1)).tolist()
    assert mmsa.dataset(content, PATH).target.shape == (6,)


@pytest.mark.parametrize("field", ["text", "audio", "vision", "id", "text_bert", "regression_labels", "raw_text"])
@pytest.mark.parametrize("aligned", [True, False])
def test_no_other_reader_takes_it(field, aligned):
    content = release(aligned=aligned)
    for fields in content.values():
        fields["labels"] = fields["regression_labels"]
        assert mmsa.fits(content) and not mult.fits(content) and not multibench.fits(content)
        del fields[field]
        assert mmsa.fits(content) and not mult.fits(content) and not multibench.fits(content)
    assert mmsa.fits({"test": {"raw_text": ["SO GOOD"], "labels": [1]}})
    for value in (None, 3, [content], {}, {"train": [1]}, {"train": {"text": np.ones(3)}}, {"a": content["train"]}):
        assert not mmsa.fits(value)


def put(split, field, value):
    return lambda c: c[split].__setitem__(field, value(c[split][field]))


BAD = {
    "no split": (lambda c: c.pop("valid"), "split 'valid': is missing"),
    "no text_bert": (lambda c: c["valid"].pop("text_bert"), "split 'valid', field 'text_bert': is missing"),
    "no labels": (lambda c: c["test"].pop("regression_labels"), "split 'test', field 'regression_labels': is missing"),
    "no ids": (lambda c: c["test"].pop("id"), "split 'test', field 'id': is missing; there are raw_text, text, "),
    "lengths of one": (lambda c: c["test"].pop("audio_lengths"), "split 'test', field 'audio_lengths': is missing"),
    "no lengths at all": (
        lambda c: [fields.pop(f"{m}_lengths") for fields in c.values() for m in ("audio", "vision")],
        "split 'train', field 'audio_lengths': is missing",
    ),
    "text of 300": (
        put("test", "text", lambda x: x[..., :300]),
        r"'text': has shape \(2, 50, 300\), expected \(rows, 50, 768\); MMSA has .* MOSI 768/5/20 or MOSEI 768/74/35: ",
    ),
    "text of 39 tokens": (
        put("train", "text", lambda x: x[:, :39]),
        r"'text_bert': has shape \(3, 3, 50\), expected \(3, 3, 39\)",
    ),
    "text without axis": (
        put("train", "text", lambda x: x[:, 0]),
        r"'text': has shape \(3, 768\), expected \(rows, tokens, width of text\)",
    ),
    "mask of 39": (put("test", "text_bert", lambda x: x[..., :39]), r"shape \(2, 3, 39\), expected \(2, 3, 50\)"),
    "tokens only": (
        put("test", "text_bert", lambda x: x[:, 0]),
        r"'text_bert': has shape \(2, 50\), expected \(2, 3, 50\)",
    ),
    "axes in another order": (
        put("test", "text_bert", lambda x: x.swapaxes(1, 2)),
        r"\(2, 50, 3\), expected \(2, 3, 50\)",
    ),
    "audio of another set": (
        put("test", "audio", lambda x: np.zeros((2, 375, 74))),
        r"\(2, 375, 74\), expected \(2, 375, 5\)",
    ),
    "audio width": (
        put("train", "audio", lambda x: np.zeros((3, 375, 33))),
        r"'valid', field 'audio': has shape \(1, 375, 5\), expected \(1, 375, 33\)",
    ),
    "vision width": (put("train", "vision", lambda x: x[..., :19]), r"\(1, 500, 20\), expected \(1, 500, 19\)"),
    "frames": (put("test", "vision", lambda x: x[:, :400]), r"\(2, 400, 20\), expected \(2, 500, 20\)"),
    "one row less": (
        put("valid", "vision", lambda x: x[:0]),
        r"'vision': has shape \(0, 500, 20\), expected \(1, 500, 20\)",
    ),
    "one id less": (put("train", "id", lambda x: x[1:]), r"'id': has shape \(2,\), expected \(3\)"),
    "one length less": (
        put("train", "vision_lengths", lambda x: x[1:]),
        r"'vision_lengths': has shape \(2,\), expected \(3\)",
    ),
    "one label less": (put("test", "regression_labels", lambda y: y[1:]), r"has shape \(1,\), expected \(2\)"),
    "labels as texts": (
        put("test", "regression_labels", lambda y: ["a", "b"]),
        "'regression_labels': holds <U1, expected num",
    ),
    "length over T": (
        put("train", "audio_lengths", lambda n: [10, 376, 12]),
        r"split 'train', field 'audio_lengths', row 1 \(id train-v_0\$_\$1\): is 376, expected 0..375, the frames of 'audio'",
    ),
    "negative length": (
        put("test", "vision_lengths", lambda n: [-1, 2]),
        r"'vision_lengths', row 0 .*: is -1, expected 0..500",
    ),
    "half a frame": (put("test", "vision_lengths", lambda n: [1, 2.5]), r"row 1 .*: is 2.5, expected 0..500"),
    "mask of token ids": (
        put("valid", "text_bert", lambda x: x[:, [1, 0, 2]]),
        r"split 'valid', field 'text_bert', row 0 \(id valid-v_0\$_\$0\): the mask holds other than 0 and 1; the order is",
    ),
    "label that is NaN": (put("valid", "regression_labels", lambda y: y * np.nan), "field 'target', row 3.*NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_not_as_documented(case):
    change, message = BAD[case]
    content = release()
    change(content)
    with pytest.raises(DataError, match="MOSI/Processed/unaligned_50.pkl: .*" + message):
        mmsa.dataset(content, PATH)


def test_files_that_are_not_aligned_need_lengths():
    content = release(aligned=True)
    for fields in content.values():
        fields["vision"] = fields["vision"][:, :49]
    with pytest.raises(DataError, match="split 'train', field 'audio_lengths': is missing"):
        mmsa.dataset(content, PATH)


# Frames and widths of CH-SIMS's unaligned_39.pkl, of files that MMSA-FET wrote, and of MOSI with another Facet.
OTHERS = {
    "unaligned_39": ((39, 400, 55), (768, 33, 709), False),
    "features": ((39, 232, 180), (768, 25, 171), False),
    "mosi_facet": ((50, 50, 50), (768, 5, 47), True),
    "glove": ((50, 375, 500), (300, 5, 20), False),
}


def other(steps, widths, aligned):
    content = release(aligned=aligned, steps=steps[1:])
    for fields in content.values():
        n = len(fields["id"])
        for (m, length), width in zip({"text": 9, "audio": 20, "vision": 30}.items(), widths):
            fields[m] = padded([length] * n, steps[("text", "audio", "vision").index(m)], width)
            if m != "text" and not aligned:
                fields[f"{m}_lengths"] = [length] * n
        fields["text_bert"] = np.zeros((n, 3, steps[0]))
        fields["text_bert"][:, :2, :9] = 1
    return content


@pytest.mark.parametrize("name", OTHERS)
def test_other_lengths_and_widths_are_read_named_after_the_file_and_said(name):
    steps, widths, aligned = OTHERS[name]
    data = mmsa.dataset(other(steps, widths, aligned), Path(f"{name}.pkl"))
    assert data.name == data.provenance["name"] == name and data.provenance["published"] is False
    assert data.dims == dict(zip(("text", "audio", "vision"), widths)) and data.task == "regression"
    assert [x.shape[1] for x in data.features.values()] == list(steps)
    assert {m: set(f.sum(1).tolist()) for m, f in data.observed.items()} == {"text": {9}, "audio": {20}, "vision": {30}}
    assert data.provenance["warnings"] == ["no file as MMSA published it: its maker alone knows what its features are"]
    assert f"{widths[2]} per frame" in data.provenance["features"]["vision"]
    assert mmsa.dataset(other(steps, widths, aligned), PATH, text="ids").features["text"].shape == (6, steps[0], 1)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(list(WIDTHS)), st.sampled_from(["features", "ids"]))
def test_frames_follow_any_mask_and_lengths(draws, name, text):
    content = release(name, rows={"train": 2, "valid": 1, "test": 1})
    wanted = {m: [] for m in ("text", "audio", "vision")}
    for fields in content.values():
        for m, own in wanted.items():
            steps = fields[m].shape[1]
            lengths = draws.draw(
                st.lists(st.integers(m == "text", steps), min_size=len(fields[m]), max_size=len(fields[m]))
            )
            own += lengths
            if m == "text":
                fields["text_bert"][:, 1] = np.arange(50) < np.array(lengths)[:, None]
                fields["text_bert"][:, 0] = 7
            else:
                fields[f"{m}_lengths"] = lengths
                fields[m][:] = 1
    data = mmsa.dataset(content, PATH, text=text)
    for m, own in wanted.items():
        assert data.observed[m].sum(1).tolist() == own
        for row, length in enumerate(own):
            assert data.observed[m][row, :length].all() and (data.features[m][row, :length] != 0).any(1).all()
            assert not data.features[m][row, length:].any()


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(list(WIDTHS)),
    st.booleans(),
    st.sampled_from(SPLITS),
    st.sampled_from(["text", "audio", "vision", "text_bert", "regression_labels", "id"]),
)
def test_any_missing_field_is_named(name, aligned, split, field):
    content = release(name, aligned, rows={"train": 1, "valid": 1, "test": 1})
    del content[split][field]
    with pytest.raises(DataError, match=f"split '{split}', field '{field}': is missing"):
        mmsa.dataset(content, PATH)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(list(WIDTHS)),
    st.sampled_from(SPLITS),
    st.sampled_from(["text", "audio", "vision", "text_bert"]),
    st.lists(st.integers(1, 80), min_size=1, max_size=4),
)
def test_any_other_shape_is_refused(name, split, field, other):
    content = release(name, rows={"train": 1, "valid": 1, "test": 1})
    content[split][field] = np.ones(other)
    with pytest.raises(DataError, match="unaligned_50.pkl: split.*expected"):
        mmsa.dataset(content, PATH)
