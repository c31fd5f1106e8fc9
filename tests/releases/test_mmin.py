"""MMIN's IEMOCAP folder, written here as the release has it, comes out column by column; anything else is refused."""

import re
import shutil
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.names import DataError
from mmlib.releases import mmin
from tests.helpers.mmin import FILES, SHORT, UTTERANCES, features, write
from tests.helpers.processes import in_own_process


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "IEMOCAP_features")


def refused(path, *texts, **options):
    with pytest.raises(DataError) as caught:
        mmin.dataset(path, **options)
    for text in (str(path), *texts):
        assert text in str(caught.value)


def test_every_column(root):
    data = mmin.dataset(root)
    assert (data.name, data.task, data.label_names) == ("IEMOCAP", "multiclass", ("angry", "happy", "neutral", "sad"))
    assert data.ids.tolist() == [u[0] for u in UTTERANCES]
    assert data.split.tolist() == ["train", "train", "train", "valid", "test"]
    assert data.target.tolist() == [2, 0, 3, 1, 1]
    assert data.group.tolist() == [
        "Ses01F_impro01", "Ses01F_impro01", "Ses02M_script01_1b", "Ses03M_script03_2", "Ses05F_impro08"
    ]  # fmt: skip
    assert data.speaker.tolist() == ["Ses01_F", "Ses01_M", "Ses02_F", "Ses03_M", "Ses05_M"]
    assert data.order.tolist() == [0, 13, 4, 1, 21] and data.order.dtype == np.int32
    assert data.dims == {"text": 1024, "audio": 130, "vision": 342}
    for k, m in enumerate(FILES):
        assert data.observed[m].sum(1).tolist() == [u[3][k] or 0 for u in UTTERANCES]
        assert data.observed[m].shape[1] == max(u[3][k] or 0 for u in UTTERANCES)
    assert data.provenance == {
        "file": str(root),
        "name": "IEMOCAP",
        "release": "MMIN",
        "features": {
            "text": "hidden states of BERT large, one frame for each word piece (1024-d)",
            "audio": "openSMILE ComParE low-level descriptors (130-d), normalised by the fold's mean and deviation",
            "vision": "DenseNet facial expression features (342-d)",
        },
        "split_source": "fold 1 of MMIN's ten",
        "repaired": {"text": 0, "audio": 0, "vision": 0},
        "warnings": ["fold 1 has 5 utterances, the complete release has 5531"],
        "licence_note": "only under an agreement signed with USC; nothing may be passed on",
    }


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("normalise", [True, False])
def test_every_frame(root, fold, normalise):
    data = mmin.dataset(root, fold=fold, normalise=normalise)
    lengths = {u[0]: u[3] for u in UTTERANCES}
    for row, name in enumerate(data.ids):
        for k, m in enumerate(FILES):
            length = lengths[name][k] or 0
            x = features(m, name, length)
            if normalise and m == "audio":
                std = np.r_[1.0, np.linspace(0.5, 2, 129)]
                x = (x - np.linspace(-3, 3, 130) * fold) / std
            assert np.allclose(data.features[m][row, :length], x, atol=1e-5)
            assert not data.features[m][row, length:].any()


def test_a_fold_has_its_own_splits(root):
    data = mmin.dataset(root, fold=2)
    assert dict(zip(data.ids, data.split))["Ses05F_impro08_M021"] == "valid"
    assert dict(zip(data.ids, data.split))["Ses03M_script03_2_MXX1"] == "test"
    refused(root, "target/3", "the folds are 1, 2", fold=3)


@pytest.mark.parametrize("names", [lambda ids: np.array(ids), lambda ids: np.array(ids).astype("S")])
def test_names_may_be_plain_texts_or_bytes(tmp_path, root, names):
    other = mmin.dataset(write(tmp_path / "other", names=names))
    assert other.fingerprint == mmin.dataset(root).fingerprint


def test_recognised_by_its_files(root, tmp_path):
    assert mmin.fits(root)
    assert not mmin.fits(tmp_path) and not mmin.fits(tmp_path / "absent") and not mmin.fits(root / "A/comparE.h5")
    (root / "V/denseface.h5").unlink()
    assert not mmin.fits(root)
    refused(root, "denseface.h5", "No such file")


def test_broken_numbers_are_repaired_and_counted(root):
    with h5py.File(root / "A/comparE.h5", "a") as file:
        file["Ses01F_impro01_F000"][1, :3] = [-np.inf, np.nan, 7]
    data = mmin.dataset(root, normalise=False)
    assert data.features["audio"][0, 1, :3].tolist() == [0, 0, 7]
    assert data.provenance["repaired"] == {"text": 0, "audio": 2, "vision": 0}


def test_zeros_are_an_absent_modality_and_utterances_without_any_are_dropped(root):
    with h5py.File(root / "V/denseface.h5", "a") as file:
        file["Ses01F_impro01_F000"][:] = 0
        file["Ses05F_impro08_M021"][0] = 0  # a frame without a face stays
    with h5py.File(root / "A/comparE.h5", "a") as file:
        file["Ses01F_impro01_M013"][:] = 0
    with h5py.File(root / "L/bert_large.h5", "a") as file:
        del file["Ses01F_impro01_M013"]
        file["Ses01F_impro01_M013"] = np.zeros((0, 1024), np.float32)
    data = mmin.dataset(root)
    assert data.ids.tolist() == [u[0] for u in UTTERANCES if u[0] != "Ses01F_impro01_M013"]
    assert data.target.tolist() == [2, 3, 1, 1] and data.order.tolist() == [0, 4, 1, 21]
    assert data.speaker.tolist() == ["Ses01_F", "Ses02_F", "Ses03_M", "Ses05_M"]
    assert data.observed["vision"].sum(1).tolist() == [0, 2, 0, 4]
    assert data.provenance["warnings"][0] == "1 utterances without any features were dropped"


def complete(tmp_path, monkeypatch, classes):
    """A release of ten utterances as if that were all of them; the published numbers are 1, 2, 3 and 4."""
    monkeypatch.setattr(mmin, "LABELS", {"angry": 1, "happy": 2, "neutral": 4, "sad": 3})
    monkeypatch.setattr(mmin, "_UTTERANCES", 10)
    names = [f"Ses01F_impro01_F{i:03d}" for i in range(10)]
    splits = ["trn"] * 8 + ["val", "tst"]
    return write(tmp_path / "all", [(n, s, c, (1, 1, 1)) for n, s, c in zip(names, splits, classes)])


def test_in_a_complete_release_the_counts_must_agree_with_the_label_names(tmp_path, monkeypatch):
    root = complete(tmp_path, monkeypatch, [0, 0, 0, 0, 1, 1, 2, 3, 3, 3])
    refused(root, "('neutral', 'happy', 'angry', 'sad')", "pass these")
    data = mmin.dataset(root, label_names=("neutral", "happy", "angry", "sad"))
    assert data.label_names == ("neutral", "happy", "angry", "sad")
    assert data.provenance["warnings"] == []
    assert mmin.dataset(root, label_names=["n", "h", "a", "s"]).label_names == ("n", "h", "a", "s")


def test_in_a_complete_release_the_usual_order_passes(tmp_path, monkeypatch):
    root = complete(tmp_path, monkeypatch, [0, 1, 1, 2, 2, 2, 2, 3, 3, 3])
    assert mmin.dataset(root).provenance["warnings"] == []


def test_wrong_label_names(root):
    for names in (("angry", "happy"), ("angry", "angry", "neutral", "sad")):
        refused(root, "label_names", "4 columns", label_names=names)


LABEL, NAMES = "target/1/val_label.npy", "target/1/val_int2name.npy"
BAD_ARRAYS = {
    "one label for two names": (NAMES, np.array([["a"], ["b"]]), ("(2, 1)", "expected (1,) texts")),
    "names in the wrong shape": (NAMES, np.array([["a", "b"]]), ("(1, 2)", "expected (1,) texts")),
    "numbers as names": (NAMES, np.array([1]), ("int64 (1,)", "texts")),
    "not ASCII": (NAMES, np.array([b"\xff"]), ("not ASCII",)),
    "another corpus": (NAMES, np.array(["MSP-IMPROV-S01A-F01-P-FM01"]), ("'MSP-IMPROV", "no IEMOCAP id")),
    "a path": (NAMES, np.array(["Ses01F_/../x_F000"]), ("no IEMOCAP id",)),
    "in two splits": (NAMES, np.array(["Ses01F_impro01_F000"]), ("'ids'", "leak")),
    "five classes": (LABEL, np.eye(5)[:1], ("float64 (1, 5)", "one-hot row (4,)")),
    "class numbers": (LABEL, np.array([1]), ("int64 (1,)", "one-hot row (4,)")),
    "texts as labels": (LABEL, np.array([["1", "0", "0", "0"]]), ("<U1 (1, 4)", "one-hot")),
    "two classes at once": (LABEL, np.array([[1, 1, 0, 0]]), ("row 0", "[1, 1, 0, 0]")),
    "no class": (LABEL, np.array([[0, 0, 0, 0]]), ("row 0", "one-hot")),
    "a share": (LABEL, np.array([[1, 0.5, 0, 0]]), ("row 0", "one-hot")),
    "NaN": (LABEL, np.array([[1, np.nan, 0, 0]]), ("row 0", "one-hot")),
    "objects": (LABEL, np.array([[1, None, 0, 0]]), ("no plain .npy",)),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_targets(root, case):
    file, array, texts = BAD_ARRAYS[case]
    np.save(root / file, array, allow_pickle=True)
    refused(root, *texts)


def test_damaged_targets(root):
    path = root / LABEL
    content = path.read_bytes()
    claims = content.replace(b"'shape': (1, 4), }           ", b"'shape': (10000000000000, 4)}")
    assert len(claims) == len(content) != claims
    for bad in (b"", b"hello", content[:60], content[:-1], claims, b"PK\x03\x04" + content[4:]):
        path.write_bytes(bad)
        refused(root, LABEL, "no plain .npy")
    path.unlink()
    refused(root, LABEL, "No such file")


def test_wrong_features(root):
    with h5py.File(root / "V/denseface.h5", "a") as file:
        del file["Ses05F_impro08_M021"]
        file["Ses05F_impro08_M021"] = np.zeros((3, 341), np.float32)
    refused(root, "denseface.h5", "'Ses05F_impro08_M021'", "float32 (3, 341), expected numbers (frames, 342)")


def test_nothing_is_read_before_all_headers_are_right(root, monkeypatch):
    with h5py.File(root / "V/denseface.h5", "a") as file:
        file["Ses03M_script03_2_MXX1"] = np.zeros((3, 2, 342), np.float32)
    monkeypatch.setattr("mmlib.releases.mmin.repaired_rows", None)
    refused(root, "'Ses03M_script03_2_MXX1'", "(3, 2, 342)")


def test_mean_and_deviation(root):
    path = root / "A/comparE_mean_std.h5"
    with h5py.File(path, "a") as file:
        file["1/std"][3] = np.nan
    refused(root, "comparE_mean_std.h5", "field '1'", "NaN, infinite or negative")
    with h5py.File(path, "a") as file:
        file["1/std"][3] = -1
    refused(root, "negative")
    with h5py.File(path, "a") as file:
        file["1/std"][3] = 1e-44
    refused(root, "field 'audio'", "NaN or infinite")
    with h5py.File(path, "a") as file:
        del file["1/std"]
    refused(root, "field '1/std'", "is missing, expected an array (130,)")
    path.unlink()
    refused(root, "comparE_mean_std.h5", "No such file")
    assert len(mmin.dataset(root, normalise=False)) == 5


def test_one_endless_utterance_does_not_fill_the_memory(root, monkeypatch):
    monkeypatch.setattr("mmlib.releases.hdf5.MAX_BYTES", 5 * 5 * 130 * 4 - 1)  # the longest audio has five frames
    monkeypatch.setattr("mmlib.releases.mmin._FILES", {"audio": mmin._FILES["audio"]})
    refused(root, "comparE.h5", "the longest utterance has 5 frames; 5 of them")
    monkeypatch.setattr("mmlib.releases.hdf5.MAX_BYTES", 5 * 5 * 130 * 4)
    refused(root, "no row has the split 'valid'")  # the only row of which has text alone


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_lengths_and_missing_utterances(tmp_path, draw):
    length = st.none() | st.integers(0, 6)
    lengths = draw.draw(st.lists(st.tuples(length, length, length), min_size=6, max_size=9))
    utterances = [
        (f"Ses0{i % 5 + 1}F_impro01_M{i:03d}", list(SHORT)[i % 3], i % 4, row) for i, row in enumerate(lengths)
    ]
    shutil.rmtree(tmp_path / "any", ignore_errors=True)
    root = write(tmp_path / "any", utterances, folds=(1,))
    kept = sorted((u for u in utterances if any(u[3])), key=lambda u: list(SHORT).index(u[1]))
    if {u[1] for u in kept} != set(SHORT) or not all(any(u[3][k] for u in kept) for k in range(3)):
        refused(root)
        return
    data = mmin.dataset(root, normalise=False)
    assert data.ids.tolist() == [u[0] for u in kept] and data.target.tolist() == [u[2] for u in kept]
    for k, m in enumerate(FILES):
        for row, (name, _, _, lengths) in enumerate(kept):
            x = data.features[m][row][data.observed[m][row]]
            assert np.array_equal(x, features(m, name, lengths[k] or 0))
    dropped = len(utterances) - len(kept)
    assert (f"{dropped} utterances without any features were dropped" in data.provenance["warnings"]) == (dropped > 0)


def mutations(root, file):
    """What becomes of the data set when one byte of a file is wrong."""
    path, outcomes = root / file, Counter()
    content, original = path.read_bytes(), mmin.dataset(root)
    rng = np.random.default_rng(len(content))
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    for i in range(60):
        mutated = bytearray(content)
        place = used[rng.integers(len(used) if i % 2 else min(len(used), 300))]
        mutated[place] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        path.write_bytes(mutated)
        try:
            data = mmin.dataset(root)
            assert set(data.ids) <= set(original.ids) and data.dims == original.dims
            assert all(f.shape[1] <= original.observed[m].shape[1] for m, f in data.observed.items())
            outcomes["read"] += 1
        except DataError as error:
            assert str(root) in str(error)
            outcomes["refused"] += 1
    path.write_bytes(content)
    return outcomes


@pytest.mark.parametrize("file", ["A/comparE.h5", "A/comparE_mean_std.h5", LABEL, NAMES])
def test_any_mutation_is_refused_or_read(root, file):
    outcomes = in_own_process(mutations, root, file)
    assert outcomes.total() == 60 and outcomes["refused"]


def test_links_out_of_the_file_are_refused(root):
    with h5py.File(root / "V/denseface.h5", "a") as file:
        file["Ses01F_impro01_M013"] = h5py.ExternalLink("../A/comparE.h5", "/Ses01F_impro01_M013")
    refused(root, "denseface.h5", "'Ses01F_impro01_M013'", "link")


def test_features_are_tensors_ready_for_use(root):
    data = mmin.dataset(root)
    assert all(x.dtype == torch.float32 for x in data.features.values())
    assert re.fullmatch(r"[0-9a-f]{64}", data.fingerprint)
