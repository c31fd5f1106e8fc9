"""MultiBench's release: what each column becomes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.data.archive import read, write
from mmlib.names import DataError
from mmlib.releases import mmsa, mult, multibench
from tests.helpers.releases import joined
from tests.helpers.releases import multibench as release

PATH = Path("affect/mosi_raw.pkl")


def test_every_column():
    content = release()
    data = multibench.dataset(content, PATH)
    assert data.name == "MOSI" and data.task == "regression" and data.dims == {"text": 300, "audio": 74, "vision": 35}
    assert data.ids.tolist() == [
        "train_video[0]",
        "train_video[1]",
        "train_video[2]",
        "valid_video[0]",
        "test_video[0]",
        "test_video[1]",
    ]
    assert data.group.tolist() == ["train_video"] * 3 + ["valid_video"] + ["test_video"] * 2
    assert data.split.tolist() == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert data.target.tolist() == [-3, 0, 3, -3, -3, 3]
    for m in data.modalities:
        expected = joined(content, m).astype(np.float32)
        assert data.observed[m].sum(1).tolist() == [3, 50, 1, 7, 2, 20] and data.observed[m][:, -1].all()
        assert np.array_equal(data.features[m].numpy(), expected) and data.features[m].dtype == torch.float32
    provenance = data.provenance
    assert provenance["file"] == str(PATH) and provenance["release"] == "MultiBench" and provenance["warnings"] == []
    assert provenance["shapes"] == {"text": (6, 50, 300), "audio": (6, 50, 74), "vision": (6, 50, 35)}
    assert provenance["features"]["audio"].startswith("COVAREP") and provenance["repaired"]["audio"] == 0


def test_infinity_absence_and_gaps():
    content = release()
    content["train"]["audio"][1, 10:12, 3] = -np.inf
    content["train"]["audio"][1, 20] = 0
    content["train"]["text"][0] = 0
    content["test"]["audio"][0, 48:] = -np.inf
    for m in ("text", "audio", "vision"):
        content["train"][m][2] = 0
    data = multibench.dataset(content, PATH)
    assert data.provenance["repaired"] == {"text": 0, "audio": 2 + 2 * 74, "vision": 0}
    assert data.provenance["warnings"] == ["1 rows have no modality at all and are left out"]
    assert data.ids[:3].tolist() == ["train_video[0]", "train_video[1]", "valid_video[0]"]
    assert data.observed["audio"].sum(1).tolist() == [3, 50, 7, 0, 20]
    assert data.present["text"].tolist() == [False, True, True, True, True]
    assert data.features["audio"][1, 10, 3] == 0 and data.features["audio"][1, 10, 4] != 0


@pytest.mark.parametrize(
    ("file", "name", "notes"),
    [
        ("mosi_raw.pkl", "MOSI", 0),
        ("MOSEI_raw.pkl", "MOSEI", 0),
        ("raw.pkl", "MOSI", 1),
        ("mosi/raw.pkl", "MOSI", 1),
    ],
)
def test_the_name_of_the_file_tells_the_set(file, name, notes):
    data = multibench.dataset(release(), Path(file))
    assert data.name == name and len(data.provenance["warnings"]) == notes


def test_more_rows_than_mosi_has_are_mosei(monkeypatch):
    assert multibench._MOSI_ROWS == 2199
    for rows, name in ((6, "MOSI"), (5, "MOSEI")):
        monkeypatch.setattr(multibench, "_MOSI_ROWS", rows)
        data = multibench.dataset(release(), PATH)
        assert data.name == name and data.provenance["warnings"] == (
            [] if name == "MOSI" else ["the file does not say that it is MOSEI: rename it"]
        )


@pytest.mark.parametrize("labels", [(), (1,), (1, 1)])
@pytest.mark.parametrize(
    "ids", [list, np.array, lambda ids: np.array(ids, "S")[:, None], lambda ids: np.array(ids, object)]
)
def test_labels_and_ids_in_any_form(labels, ids):
    content = release(labels, ids)
    assert [module.NAME for module in (mmsa, mult, multibench) if module.fits(content)] == ["MultiBench"]
    data = multibench.dataset(content, PATH)
    assert data.target.tolist() == [-3, 0, 3, -3, -3, 3] and data.ids[3] == "valid_video[0]"


def test_an_archive_holds_it(tmp_path):
    data = multibench.dataset(release(), PATH)
    again = read(write(data, tmp_path / "mosi.npz"))
    assert again.group.tolist() == data.group.tolist() and again.provenance["features"] == data.provenance["features"]


def test_equal_ids():
    content = release()
    content["train"]["id"][1:] = "train_video[0]"
    assert multibench.dataset(content, PATH).ids[:3].tolist() == [f"train_video[0]{end}" for end in ("", "#2", "#3")]
    content["test"]["id"] = ["train_video[0]", "other"]
    with pytest.raises(DataError, match="mosi_raw.pkl: field 'ids'.*leak"):
        multibench.dataset(content, PATH)


@pytest.mark.parametrize(
    ("split", "field", "value", "message"),
    [
        ("valid", None, None, "is missing"),
        ("train", "id", None, "field 'id': is missing"),
        ("test", "labels", None, "field 'labels': is missing"),
        ("train", "audio", np.zeros((3, 50, 5)), r"'audio': has shape \(3, 50, 5\), expected \(3, 50, 74\)"),
        ("test", "vision", np.zeros((2, 50, 20)), r"'vision': has shape \(2, 50, 20\), expected \(2, 50, 35\)"),
        ("test", "vision", np.zeros((2, 49, 35)), r"'vision': has shape \(2, 49, 35\), expected \(2, 50, 35\)"),
        ("train", "text", np.zeros((3, 50)), r"'text': has shape \(3, 50\), expected \(rows, 50, 300\)"),
        ("test", "audio", np.zeros((3, 50, 74)), r"'audio': has shape \(3, 50, 74\), expected \(2, 50, 74\)"),
        ("train", "labels", np.zeros((3, 1, 7)), r"'labels': has shape \(3, 1, 7\), expected \(3, 1, 1\)"),
        ("valid", "labels", np.zeros((1, 1)), r"'labels': has shape \(1, 1\), expected \(1, 1, 1\)"),
        ("test", "id", ["a"], r"'id': has shape \(1,\), expected \(2\)"),
    ],
)
def test_files_that_are_not_as_documented(split, field, value, message):
    content = release()
    if field is None:
        del content[split]
    elif value is None:
        del content[split][field]
    else:
        content[split][field] = value
    with pytest.raises(DataError, match=f"affect/mosi_raw.pkl: split '{split}'.*{message}.*MultiBench has.*300/74/35"):
        multibench.dataset(content, PATH)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 50), min_size=3, max_size=6), st.sampled_from([(), (1,), (1, 1)]))
def test_the_last_frame_is_real_whatever_the_lengths(lengths, labels):
    data = multibench.dataset(
        release(labels, lengths={"train": lengths[2:], "valid": lengths[:1], "test": lengths[1:2]}), PATH
    )
    for m in data.modalities:
        assert data.observed[m].sum(1).tolist() == lengths[2:] + lengths[:2]
        assert data.observed[m][:, -1].all() and bool((data.features[m][:, -1] != 0).any(1).all())
