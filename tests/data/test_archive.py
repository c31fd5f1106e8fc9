"""The feature archive: what goes in comes out, and nothing else is let in."""

import hashlib
import json
import os
import pickle
import re
import runpy
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib import synthetic
from mmlib.data.archive import read, write
from mmlib.data.dataset import Dataset, zero_hidden
from mmlib.names import DataError

README = Path(__file__).parents[2] / "data" / "README.md"
SPLIT = ["train", "train", "train", "valid", "test"]


def arrays() -> dict[str, np.ndarray]:
    """An archive of five rows straight from the specification: text sequences, audio vectors, some of each absent."""
    text = np.zeros((5, 3, 2), np.float16)
    text[0, :2] = [[1, 2], [3, 4]]
    text[2, :1] = [[-0.5, 8]]
    text[3] = 7
    text[4, :3] = [[0, 0], [5, 6], [0, 0]]  # a valid frame may be all zero
    audio = np.array([[1], [0.1], [0], [3], [4]], np.float32)
    meta = {
        "name": "five",
        "task": "multiclass",
        "label_names": ["sad", "happy", "angry"],
        "modalities": {
            "text": {"dim": 2, "frames": 3, "features": "two numbers", "source": "a poem", "contextual": True},
            "audio": {"dim": 1, "frames": 1, "features": "loudness", "source": "a song"},
        },
        "split_source": "by hand",
        "licence_note": "free",
        "warnings": ["tiny"],
        "sources": [{"repository": "PyPI five", "commit": "0.1", "path": "five.csv"}],
        "rows": {"train": 3, "valid": 1, "test": 1},
    }
    return {
        "meta": np.array(json.dumps(meta)),
        "ids": np.array(["a", "bb", "c", "d", "e"]),
        "split": np.array(SPLIT),
        "target": np.array([2, 0, 1, 1, 0]),
        "text": text,
        "text_present": np.array([True, False, True, True, True]),
        "text_length": np.array([2, 0, 1, 3, 3], np.int32),
        "audio": audio,
        "audio_present": np.array([True, True, False, True, True]),
        "group": np.array(["x", "x", "y", "z", "w"]),
        "order": np.array([0, 4, 1, 2, 0], np.int32),
        "speaker": np.array(["anna", "bo", "anna", "cy", "di"]),
        "fold": np.array([1, 1, 1, 2, 3], np.int32),
    }


def save(path: Path, **changes) -> Path:
    """The archive with some arrays changed, or left out where the change is None."""
    kept = {key: value for key, value in {**arrays(), **changes}.items() if value is not None}
    np.savez_compressed(path, **kept)
    return path


def meta(**changes) -> np.ndarray:
    entries = {**json.loads(str(arrays()["meta"])), **changes}
    return np.array(json.dumps({key: value for key, value in entries.items() if value is not None}))


def changed(key: str, index, value) -> dict[str, np.ndarray]:
    array = arrays()[key]
    array[index] = value
    return {key: array}


def refused(path: Path, *texts: str, **options) -> str:
    """The message of the DataError that names the file and has all the texts."""
    with pytest.raises(DataError) as caught:
        read(path, **options)
    message = str(caught.value)
    for text in (str(path), *texts):
        assert text in message
    return message


def assert_same(a: Dataset, b: Dataset) -> None:
    assert (a.name, a.task, a.label_names, a.modalities) == (b.name, b.task, b.label_names, b.modalities)
    assert a.fingerprint == b.fingerprint
    for column in ("group", "order", "speaker", "fold"):
        assert np.array_equal(getattr(a, column), getattr(b, column))
    described = ("features", "feature_sources", "warnings", "licence_note", "split_source", "sources", "derived")
    for key in described:
        assert a.provenance.get(key) == b.provenance.get(key)


@pytest.fixture
def five(tmp_path) -> Path:
    return save(tmp_path / "five.npz")


def test_reads_what_numpy_wrote(five):
    data = read(five)
    assert (data.name, data.task, data.label_names) == ("five", "multiclass", ("sad", "happy", "angry"))
    assert data.modalities == ("text", "audio")
    assert data.dims == {"text": 2, "audio": 1}
    assert data.features["text"].dtype == data.features["audio"].dtype == torch.float32
    assert data.features["text"][0].tolist() == [[1, 2], [3, 4], [0, 0]]
    assert data.features["text"][2].tolist() == [[-0.5, 8], [0, 0], [0, 0]]
    assert data.features["audio"].shape == (5, 1, 1)
    assert data.features["audio"][1].item() == np.float32(0.1)
    assert data.observed["text"].int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert data.observed["audio"].int().tolist() == [[1], [1], [0], [1], [1]]
    assert data.target.tolist() == [2, 0, 1, 1, 0] and data.target.dtype == torch.int64
    assert data.ids.tolist() == ["a", "bb", "c", "d", "e"] and data.split.tolist() == SPLIT
    assert data.order.tolist() == [0, 4, 1, 2, 0] and data.fold.tolist() == [1, 1, 1, 2, 3]
    assert data.group.tolist() == ["x", "x", "y", "z", "w"] and data.speaker[1] == "bo"
    assert data.provenance == {
        "file": str(five),
        "sha256": hashlib.sha256(five.read_bytes()).hexdigest(),
        "name": "five",
        "features": {"text": "two numbers", "audio": "loudness"},
        "feature_sources": {"text": "a poem", "audio": "a song"},
        "contextual": ["text"],
        "warnings": ["tiny"],
        "licence_note": "free",
        "split_source": "by hand",
        "sources": [{"repository": "PyPI five", "commit": "0.1", "path": "five.csv"}],
        "derived": [],
    }


@pytest.mark.parametrize(
    ("task", "names", "target", "expected"),
    [
        ("regression", [], np.array([-3, 0.5, 0, 1, 3], np.float32), [-3, 0.5, 0, 1, 3]),
        ("multilabel", ["up", "down"], np.eye(5, 2, dtype=np.uint8), [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]]),
        ("multibinary", ["up"], np.ones((5, 1), np.uint8), [[1], [1], [1], [1], [1]]),
    ],
)
def test_targets_of_the_other_tasks(tmp_path, task, names, target, expected):
    data = read(save(tmp_path / "t.npz", target=target, meta=meta(task=task, label_names=names)))
    assert data.target.dtype == torch.float32
    assert data.target.tolist() == expected


def test_optional_parts_may_be_missing(tmp_path):
    short = meta(split_source=None, licence_note=None, warnings=None, sources=None, rows=None)
    columns = {"group": None, "order": None, "speaker": None, "fold": None}
    data = read(save(tmp_path / "short.npz", meta=short, **columns))
    assert data.group is data.order is data.speaker is data.fold is None
    assert data.provenance["warnings"] == []


def test_column_major_arrays_read_alike(tmp_path, five):
    turned = save(tmp_path / "turned.npz", text=np.asfortranarray(arrays()["text"]))
    assert_same(read(turned), read(five))
    assert_same(read(turned, memory=0, cache=tmp_path), read(five))


@st.composite
def datasets(draw) -> Dataset:
    n, seed = draw(st.integers(3, 9)), draw(st.integers(0, 2**32 - 1))
    task = draw(st.sampled_from(["regression", "multiclass", "multilabel", "multibinary"]))
    names = draw(st.permutations(["text", "image", "audio", "vision"]))[: draw(st.integers(1, 4))]
    shapes = {m: (draw(st.integers(1, 5)), draw(st.integers(1, 4))) for m in names}
    rng = np.random.default_rng(seed)
    length = {m: rng.integers(0, frames + 1, n) for m, (frames, _) in shapes.items()}
    nothing = sum(length.values()) == 0
    length[names[0]][nothing] = 1
    frames = {m: torch.from_numpy(np.arange(shapes[m][0]) < length[m][:, None]) for m in names}
    features = {
        m: torch.from_numpy(rng.normal(size=(n, *shapes[m])).astype(np.float32)) * frames[m][..., None] for m in names
    }
    labels = draw(st.integers(1, 3))
    target = {
        "regression": torch.from_numpy(rng.normal(size=n).astype(np.float32)),
        "multiclass": torch.from_numpy(rng.integers(0, labels, n)),
    }.get(task, torch.from_numpy(rng.integers(0, 2, (n, labels))).float())
    split = np.array(["train", "valid", "test"])[np.r_[0, 1, 2, rng.integers(0, 3, n - 3)]]
    dialogues = draw(st.booleans())
    return Dataset(
        name=draw(st.text(max_size=5)),
        task=task,
        features=features,
        observed=frames,
        target=target,
        split=split,
        ids=np.array([f"é{i}" for i in rng.permutation(n)]),
        label_names=tuple(f"label {i}" for i in range(labels)),
        group=np.array([f"g{i // 2}" for i in range(n)]) if dialogues else None,
        order=np.arange(n, dtype=np.int32) if dialogues else None,
        speaker=np.array(["s"] * n) if draw(st.booleans()) else None,
        fold=rng.integers(-3, 9, n).astype(np.int32) if draw(st.booleans()) else None,
        provenance={
            "features": {m: f"of {m}" for m in names},
            "feature_sources": {m: "dice" for m in names},
            "warnings": ["a", "b"],
            "licence_note": "free",
            "split_source": "dice",
            "sources": [{"repository": "r", "commit": "c", "path": "p"}],
            "derived": ["standardised on train"],
        },
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=datasets())
def test_round_trip(tmp_path, data):
    for name in ("a.npz", "b.npz", "c.npz"):
        (tmp_path / name).unlink(missing_ok=True)
    path = write(data, tmp_path / "a.npz")
    assert_same(read(path), data)
    assert path.read_bytes() == write(data, tmp_path / "b.npz").read_bytes()
    halved = read(write(data, tmp_path / "c.npz", half=True))
    for m, x in data.features.items():
        assert torch.equal(halved.features[m], x.half().float())
        assert torch.equal(halved.observed[m], data.observed[m])


def test_written_archive_is_as_specified(tmp_path, five):
    path = write(read(five), tmp_path / "again.npz", half=True)
    with np.load(path, allow_pickle=False) as archive:
        content = {key: archive[key] for key in archive.files}
    assert json.loads(str(content.pop("meta"))) == {**json.loads(str(arrays()["meta"])), "derived": []}
    for key, value in arrays().items():
        if key != "meta":
            wanted = value.astype(np.float16) if key == "audio" else value
            assert content[key].dtype == wanted.dtype and np.array_equal(content[key], wanted)
    assert not any(entry.name.endswith(".tmp") for entry in tmp_path.iterdir())


def test_large_features_are_written_in_parts(tmp_path, five, monkeypatch):
    data = read(five)
    whole = write(data, tmp_path / "whole.npz").read_bytes()
    monkeypatch.setattr("mmlib.data.archive._CHUNK_BYTES", 50)  # two rows of text
    assert write(data, tmp_path / "parts.npz").read_bytes() == whole


def test_front_padding_moves_behind(tmp_path, five):
    data = read(five)
    late = replace(
        data,
        features={**data.features, "text": data.features["text"].flip(1)},
        observed={**data.observed, "text": data.observed["text"].flip(1)},
    )
    text = read(write(late, tmp_path / "late.npz")).features["text"]
    assert text[0].tolist() == [[3, 4], [1, 2], [0, 0]]
    assert text[2].tolist() == [[-0.5, 8], [0, 0], [0, 0]]
    assert text[4].tolist() == [[0, 0], [5, 6], [0, 0]]


def test_write_refuses(tmp_path, five):
    data = read(five)
    before = five.read_bytes()
    with pytest.raises(DataError, match=f"{re.escape(str(five))}.*exists"):
        write(data, five)
    assert five.read_bytes() == before

    def fails(match: str, half: bool = False, **changes):
        with pytest.raises(DataError, match=match) as caught:
            write(replace(data, **changes), tmp_path / "no.npz", half=half)
        assert str(five) in str(caught.value)
        assert [entry.name for entry in tmp_path.iterdir()] == ["five.npz"]

    holes = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 0, 1]]).bool()
    silent = data.features["text"] * holes[..., None]
    frames = {**data.observed, "text": holes}
    fails("'text', row 4 .id 'e'.*padding between", features={**data.features, "text": silent}, observed=frames)
    loud = {**data.features, "audio": data.features["audio"] * 20000}
    fails("'audio', row 4 .id 'e'.*float16", half=True, features={**loud, "audio": loud["audio"].clamp(max=70000)})
    fails("'order'.*int32", order=np.array([0, 1, 2, 3, 2**31]))
    fails("'fold'.*int32", fold=np.array([0, 1, 2, 3, 0.5]))
    fails("'group'.*str", group=np.arange(5))
    fails("'meta'.*'ids' cannot name", features={"ids": data.features["audio"], **data.features},
          observed={"ids": data.observed["audio"], **data.observed})  # fmt: skip
    fails("'provenance'.*'features'", provenance={**data.provenance, "features": "GloVe"})
    fails("'meta'.*'warnings' is not a list", provenance={**data.provenance, "warnings": "noisy"})


def test_interrupted_write_leaves_nothing(tmp_path, five, monkeypatch):
    data = read(five)

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(data, tmp_path / "new.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["five.npz"]


def test_other_formats_are_named(tmp_path, five):
    def said(content: bytes, *texts: str):
        path = tmp_path / "odd.npz"
        path.write_bytes(content)
        refused(path, *texts)

    said(b"", "empty", "again")
    said(b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5", "h5py")
    said(b"id,label\na,1\n", "text file")
    said("<!doctype html> Zugriff für".encode() * 99, "text file")
    said(b"\x93NUMPY" + bytes(600), ".npy", "numpy.load")
    said(bytes(600), "not an .npz archive")
    said(pickle.dumps([1.5], protocol=2), "pickle")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    said((tmp_path / "old.pt").read_bytes(), "pickle")
    torch.save({"a": torch.ones(2)}, tmp_path / "new.pt")
    said((tmp_path / "new.pt").read_bytes(), "torch")
    refused(tmp_path / "absent.npz", "No such file")
    refused(tmp_path, "directory")


class Trap:
    """Its unpickling creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("where", ["file", "array", "meta"])
def test_pickles_are_never_opened(tmp_path, where):
    sprung, path = tmp_path / "sprung", tmp_path / "trap.npz"
    if where == "file":
        path.write_bytes(pickle.dumps(Trap(sprung)))
        field = "pickle"
    else:
        field = {"array": "text", "meta": "meta"}[where]
        save(path, **{field: np.array([Trap(sprung)] * 5, object)})
        field = f"field '{field}'"
    refused(path, field, "never" if where == "file" else "Python objects")
    assert not sprung.exists()
    if where == "file":
        pickle.loads(path.read_bytes()).close()
        assert sprung.exists()  # the trap does work


MODALITIES = json.loads(str(arrays()["meta"]))["modalities"]
BAD_ARRAYS = {
    "no ids": ({"ids": None}, "'ids'", "missing"),
    "no meta": ({"meta": None}, "'meta'", "missing"),
    "no target": ({"target": None}, "'target'", "missing"),
    "no features": ({"text": None, "text_length": None}, "'text'", "missing"),
    "no presence": ({"audio_present": None}, "'audio_present'", "missing"),
    "no length": ({"text_length": None}, "'text_length'", "missing"),
    "length of a vector": ({"audio_length": np.ones(5, np.int32)}, "'audio_length'", "no field"),
    "unknown key": ({"genre": np.zeros(5)}, "'genre'", "no field"),
    "modality unknown to meta": ({"meta": meta(modalities={"text": MODALITIES["text"]})}, "'audio'", "no field"),
    "modality unknown to keys": (
        {"meta": meta(modalities={**MODALITIES, "image": {"dim": 1, "frames": 1}})},
        "'image'",
        "missing",
    ),
    "rows of features": ({"audio": np.ones((4, 1), np.float32)}, "'audio'", "(4, 1)", "(5, dim)"),
    "rows of presence": ({"text_present": np.ones(6, bool)}, "'text_present'", "(6,)"),
    "rows of order": ({"order": np.ones(6, np.int32)}, "'order'", "(6,)"),
    "ids as table": ({"ids": arrays()["ids"][:, None]}, "'ids'", "(5, 1)"),
    "ids as one": ({"ids": np.array("a")}, "'ids'", "()"),
    "no rows": ({key: a[:0] if a.ndim else a for key, a in arrays().items()}, "'ids'", "no rows"),
    "four axes": ({"text": np.ones((5, 3, 2, 1), np.float32)}, "'text'", "(5, 3, 2, 1)"),
    "one axis": ({"audio": np.ones(5, np.float32)}, "'audio'", "(5,)"),
    "no width": ({"audio": np.ones((5, 0), np.float32)}, "'audio'", "(5, 0)"),
    "double": ({"audio": np.ones((5, 1))}, "'audio'", "float64", "float32"),
    "big-endian": ({"audio": np.ones((5, 1), ">f4")}, "'audio'", ">f4"),
    "integer features": ({"audio": np.ones((5, 1), np.int8)}, "'audio'", "int8"),
    "number ids": ({"ids": np.arange(5)}, "'ids'", "int64", "unicode"),
    "byte split": ({"split": np.array(SPLIT).astype("S")}, "'split'", "unicode"),
    "float class": ({"target": np.ones(5)}, "'target'", "float64", "int64"),
    "target of another task": ({"target": np.ones((5, 2), np.uint8)}, "'target'", "uint8"),
    "wide order": ({"order": np.arange(5)}, "'order'", "int64", "int32"),
    "presence as number": ({"text_present": np.ones(5, np.uint8)}, "'text_present'", "uint8", "bool"),
    "object array": ({"speaker": np.array(["s"] * 5, object)}, "'speaker'", "Python objects"),
    "structured": ({"fold": np.zeros(5, [("a", "i4")])}, "'fold'", "int32"),
    "length over T": (changed("text_length", 3, 4), "'text_length'", "row 3 (id 'd')", "0..3"),
    "length below 0": (changed("text_length", 0, -1), "'text_length'", "row 0 (id 'a')", "0..3"),
    "present without frames": (changed("text_length", 2, 0), "'text_length'", "row 2 (id 'c')", "text_present"),
    "absent with frames": (changed("text_length", 1, 2), "'text_length'", "row 1 (id 'bb')", "text_present"),
    "values beyond the length": (changed("text", (2, 2), 1), "'text'", "row 2", "padding"),
    "values where absent": (changed("audio", 2, 1), "'audio'", "row 2", "absent"),
    "NaN": (changed("text", (3, 1), np.nan), "'text'", "row 3", "NaN"),
    "inf": (changed("audio", 4, -np.inf), "'audio'", "row 4", "infinite"),
    "class out of range": (changed("target", 1, 3), "'target'", "row 1"),
    "duplicate id": (changed("ids", 2, "a"), "'ids'", "row 2", "also row 0"),
    "id in two splits": (changed("ids", 4, "a"), "'ids'", "row 4", "leak"),
    "unknown split": (changed("split", 1, "dev"), "'split'", "row 1", "dev"),
    "no test rows": (changed("split", 4, "valid"), "'split'", "'test'"),
    "no modality": ({**changed("audio_present", 1, False), **changed("audio", 1, 0)}, "row 1", "no modality"),
    "label width": (
        {"target": np.ones((5, 2), np.uint8), "meta": meta(task="multilabel")},
        "'target'",
        "2 columns",
        "3",
    ),
    "label that is 2": (
        {"target": np.full((5, 3), 2, np.uint8), "meta": meta(task="multibinary")},
        "'target'",
        "row 0",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
@pytest.mark.parametrize("memory", [2**30, 0])
def test_bad_arrays(tmp_path, case, memory):
    changes, *texts = BAD_ARRAYS[case]
    refused(save(tmp_path / "bad.npz", **changes), *texts, memory=memory, cache=tmp_path / "cache")


BAD_META = {
    "text": (np.array("not json {"), "JSON"),
    "deep": (np.array("[" * 100_000), "JSON"),
    "list": (np.array("[1]"), "object"),
    "bytes": (np.array(b"{}"), "unicode"),
    "no name": (meta(name=None), "'name' is missing"),
    "no task": (meta(task=None), "'task' is missing"),
    "no label names": (meta(label_names=None), "'label_names' is missing"),
    "no modalities": (meta(modalities=None), "'modalities' is missing"),
    "modalities as list": (meta(modalities=["text", "audio"]), "'modalities' is not a dict"),
    "unknown task": (meta(task="ranking"), "'ranking'"),
    "number labels": (meta(label_names=[0, 1, 2]), "label_names"),
    "text warnings": (meta(warnings="noisy"), "'warnings' is not a list"),
    "wrong rows": (meta(rows={"train": 4, "valid": 1, "test": 0}), "'rows'"),
    "no entry": (meta(modalities={**MODALITIES, "audio": 1}), "'audio'"),
    "number as features": (meta(modalities={**MODALITIES, "audio": {"features": 1}}), "'audio'"),
    "wrong dim": (meta(modalities={**MODALITIES, "audio": {"dim": 2, "frames": 1}}), "'dim' of 'audio' is 2"),
    "no dim": (meta(modalities={**MODALITIES, "audio": {"frames": 1}}), "'dim' of 'audio' is None"),
    "wrong frames": (meta(modalities={**MODALITIES, "text": {"dim": 2, "frames": 4}}), "'frames' of 'text' is 4"),
    "text as contextual": (
        meta(modalities={**MODALITIES, "text": {**MODALITIES["text"], "contextual": "yes"}}),
        "'contextual' of 'text' is neither true nor false",
    ),
    "path as name": (meta(modalities={**MODALITIES, "../up": {}}), "'../up' cannot name"),
    "key as name": (meta(modalities={**MODALITIES, "audio_present": {}}), "'audio_present' cannot name"),
}


@pytest.mark.parametrize("case", BAD_META)
def test_bad_meta(tmp_path, case):
    value, text = BAD_META[case]
    refused(save(tmp_path / "bad.npz", meta=value), "'meta'", text, "; ")


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The bytes of an .npy header, padded as numpy does."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def rebuilt(source: Path, path: Path, member: str, content: bytes, declared: int | None = None) -> Path:
    """The archive with one member replaced, and perhaps a false size for it in the zip directory."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in dict.fromkeys([*old.namelist(), member]):
            new.writestr(name, content if name == member else old.read(name))
        if declared is not None:
            new.getinfo(member).file_size = declared
    return path


@pytest.mark.parametrize("memory", [2**30, 0])
def test_false_sizes_are_refused_without_allocation(tmp_path, five, memory):
    bad = tmp_path / "bad.npz"
    cases = [
        ("text.npy", header((10**15, 2)), None),
        ("text.npy", header((5, 10**15, 2)), 10**15 * 40 + 128),
        ("text.npy", header((5, 10**8, 2)), 4 * 10**9 + 128),
        ("audio.npy", header((5, 4 * 10**4)), 8 * 10**5 + 128),  # a size that a file this long could hold
        ("audio.npy", header((5, 1)), None),
        ("audio.npy", header((-5, -1)) + bytes(20), None),
        ("ids.npy", header((5,), "<U1000000000"), None),
        ("split.npy", header((10**15,), "<U0"), None),
    ]
    tracemalloc.start()
    start = time.process_time()
    for member, content, declared in cases:
        rebuilt(five, bad, member, content, declared)
        refused(bad, f"'{member.removesuffix('.npy')}'", memory=memory, cache=tmp_path / "cache")
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert not list(tmp_path.glob("cache/*/*"))


def test_limit_of_unpacked_bytes(five, monkeypatch):
    monkeypatch.setattr("mmlib.data.archive.MAX_BYTES", 2000)
    refused(five, "'meta'", "2000 bytes")


def test_lost_fields_are_noticed(tmp_path, five):
    content, bad = bytearray(five.read_bytes()), tmp_path / "bad.npz"
    fold = content.rindex(b"PK\x01\x02")
    before = content.rindex(b"PK\x01\x02", 0, fold)
    content[before + 32] = len(content) - 22 - fold  # the last entry as the comment of the one before
    bad.write_bytes(content)
    assert "fold.npy" not in zipfile.ZipFile(bad).namelist()
    refused(bad, "lost", "again")


def test_damaged_members(tmp_path, five):
    bad = tmp_path / "bad.npz"
    refused(rebuilt(five, bad, "text.npy", b"hello"), "'text'", "damaged")
    refused(rebuilt(five, bad, "text.npy", header((5, 3, 2)) + bytes(119)), "'text'", "damaged")
    refused(rebuilt(five, bad, "text.npy", b"\x93NUMPY\x07\x00" + bytes(99)), "'text'", "damaged")
    refused(rebuilt(five, bad, "text.npy", header((5, 3, 2)).replace(b"{", b"(")), "'text'", "damaged")
    short = header((5, 1)) + bytes(12)
    rebuilt(five, bad, "audio.npy", short, declared=len(short) + 8)
    for memory in (2**30, 0):
        refused(bad, "'audio'", "damaged", memory=memory, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*/audio.npy"))
    refused(rebuilt(five, bad, "notes.txt", b"hello"), "'notes.txt'", "drop it")
    with zipfile.ZipFile(five, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("text.npy", archive.read("text.npy"))
    refused(five, "'text'", "twice")


def test_wrong_checksum(tmp_path, five):
    for field in ("text", "ids", "audio_present"):
        for memory in (2**30, 0):
            bad = tmp_path / "bad.npz"
            with zipfile.ZipFile(five) as old, zipfile.ZipFile(bad, "w") as new:
                for name in old.namelist():
                    new.writestr(name, old.read(name))
                new.getinfo(f"{field}.npy").CRC ^= 1
            refused(bad, f"'{field}'", "damaged", memory=memory, cache=tmp_path / "cache")
            assert not list(tmp_path.glob("cache/*/text.npy")) or field != "text"


@pytest.mark.parametrize("memory", [2**30, 0])
def test_truncated_anywhere(tmp_path, five, memory):
    content, bad = five.read_bytes(), tmp_path / "bad.npz"
    for length in np.linspace(0, len(content) - 1, 40).astype(int):
        bad.write_bytes(content[:length])
        refused(bad, memory=memory, cache=tmp_path / "cache")


@pytest.mark.parametrize("memory", [2**30, 0])
def test_any_mutation(tmp_path, five, memory):
    original, content, bad = read(five), five.read_bytes(), tmp_path / "bad.npz"
    rng = np.random.default_rng(memory % 7)
    outcomes = set()
    for _ in range(300):
        mutated = bytearray(content)
        mutated[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        bad.write_bytes(mutated)
        try:
            assert_same(read(bad, memory=memory, cache=tmp_path / "cache"), original)
            outcomes.add("same")
        except DataError as error:
            assert str(bad) in str(error)
            outcomes.add("refused")
    assert outcomes == {"same", "refused"}


def test_memory_mapped(tmp_path, five):
    cache = tmp_path / "cache"
    whole, mapped = read(five), read(five, memory=0, cache=cache)
    assert mapped.features["text"].dtype == torch.float16 and mapped.features["audio"].dtype == torch.float32
    assert_same(whole, mapped)
    for a, b in zip(whole.view("train").batches(2), mapped.view("train").batches(2), strict=True):
        assert torch.equal(a.target, b.target)
        for m in whole.modalities:
            assert b.x[m].dtype == torch.float32
            assert torch.equal(a.x[m], b.x[m]) and torch.equal(a.observed[m], b.observed[m])

    folder = cache / whole.provenance["sha256"]
    assert sorted(entry.name for entry in folder.iterdir()) == ["audio.npy", "text.npy"]
    times = {entry: entry.stat().st_mtime_ns for entry in folder.iterdir()}
    mapped.features["text"][0] = 9  # copy-on-write: never reaches the disk
    assert_same(read(five, memory=0, cache=cache), whole)
    assert {entry: entry.stat().st_mtime_ns for entry in folder.iterdir()} == times

    (folder / "text.npy").write_bytes(b"half")
    assert_same(read(five, memory=0, cache=cache), whole)


def test_what_is_made_of_mapped_data_is_mapped(tmp_path, monkeypatch):
    """Equal to what is made in memory; made of parts of three rows here. Its files have no name."""
    made = synthetic.like("mosi", modalities={"text": synthetic.Modality(5, 4), "audio": synthetic.Modality(3, 1)})
    made = made.sample({"train": 20, "valid": 6, "test": 6}, 0)
    absent = torch.isin(torch.arange(32), torch.tensor([1, 2, 3, 30]))[:, None]
    observed = made.observed | {"text": made.observed["text"] & ~absent}
    text = zero_hidden(made.features["text"], observed["text"])
    path = write(replace(made, features=made.features | {"text": text}, observed=observed), tmp_path / "clips.npz")
    monkeypatch.setattr("mmlib.data.checks._CHUNK_BYTES", 4 * 3 * 20)
    whole, mapped = read(path), read(path, memory=0, cache=tmp_path / "cache")
    rows = torch.tensor([9, 3, 31, 0, 15, 22, 16, 30])
    changes = {
        "standardised": lambda data: data.standardised(limit=2.0),
        "per modality": lambda data: data.standardised(per="modality", but=("audio",)),
        "subset": lambda data: replace(data, partial=True).subset(rows, "some rows"),
        "both": lambda data: data.having("text").standardised(),
        "one modality": lambda data: data.only("text"),
        "pooled": lambda data: data.pooled(),
    }
    for name, change in changes.items():
        a, b = change(whole), change(mapped)
        assert a.folder is None and b.folder == mapped.folder and a.provenance["derived"] == b.provenance["derived"]
        for m, x in a.features.items():
            torch.testing.assert_close(b.features[m], x, rtol=1e-6, atol=1e-6, msg=name)
        again = next(iter(b.view("train").batches(4))).x
        assert all(torch.equal(x, b.features[m][b.rows("train")[:4]]) for m, x in again.items())
    assert sorted(file.name for file in mapped.folder.iterdir()) == ["audio.npy", "text.npy"]


MAPPED = textwrap.dedent("""
    import sys, threading, time
    import torch
    from mmlib import fit
    from mmlib.data import read
    from mmlib.models import MODELS

    def own():  # bytes that are neither of a file nor shared
        line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        return 1024 * int(line.split()[1])

    def watch():
        global peak
        while True:
            peak = max(peak, own())
            time.sleep(0.002)

    torch.set_num_threads(1)
    few = read(sys.argv[2])
    fit(MODELS["fill"].for_data(few), few, "complete", steps=1, progress=False)  # what torch itself takes
    peak = before = own()
    threading.Thread(target=watch, daemon=True).start()
    data = read(sys.argv[1], memory=2**20, cache=sys.argv[3]).standardised()
    data = data.subset(torch.arange(len(data) - 1), "all but one")
    fit(MODELS["fill"].for_data(data), data, "complete", steps=20, batch_size=32, progress=False)
    print(peak - before, sum(4 * x.numel() for x in data.features.values()))
""")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_on_data_larger_than_the_memory_it_takes(tmp_path):
    """Features of 160 MB, standardised, cut and trained on with 0.4 of that; a copy, even as float16, would be half."""
    n, shape = 10_000, (20, 200)
    for name, count in (("many", n), ("few", 60)):
        x = (torch.arange(count * shape[0] * shape[1]) % 251 % 7).half().view(count, *shape)
        real = torch.ones(count, shape[0], dtype=torch.bool)
        split = ["train"] * (count - 20) + ["valid"] * 10 + ["test"] * 10
        target = torch.arange(count) % 2
        ids, labels = list(map(str, range(count))), ("a", "b")
        data = Dataset(name, "multiclass", {"text": x}, {"text": real}, target, split, ids, labels)
        write(data, tmp_path / f"{name}.npz")
    files = (tmp_path / "many.npz", tmp_path / "few.npz", tmp_path / "cache")
    call = subprocess.run([sys.executable, "-c", MAPPED, *map(str, files)], capture_output=True, text=True, check=False)
    assert call.returncode == 0, call.stderr
    took, size = map(int, call.stdout.split())
    assert size > 155e6 and took < 0.4 * size, f"{took / 2**20:.0f} MiB for features of {size / 2**20:.0f} MiB"


def test_a_full_disk_is_named(tmp_path, five, monkeypatch):
    mapped = read(five, memory=0, cache=tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=f"{mapped.folder}: no room for .* bytes of features .No space left.*make room"):
        mapped.standardised()


def test_memory_limit_counts_float32(tmp_path, five):
    size = 4 * (5 * 3 * 2 + 5)
    assert read(five, memory=size, cache=tmp_path / "cache").features["text"].dtype == torch.float32
    assert not (tmp_path / "cache").exists()
    assert read(five, memory=size - 1, cache=tmp_path / "cache").features["text"].dtype == torch.float16


def test_killed_while_unpacking(tmp_path, five, monkeypatch):
    cache = tmp_path / "cache"

    def killed(source, out, length):
        out.write(source.read(10))
        (left,) = cache.glob("*/*")
        assert left.name.startswith(".") and left.name.endswith(".tmp")
        left.with_name(".text.npy.0.tmp").write_bytes(b"half")  # what kill -9 would leave behind
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            read(five, memory=0, cache=cache)
    assert not list(cache.glob("*/*.npy"))
    assert_same(read(five, memory=0, cache=cache), read(five))


def test_unusable_cache(tmp_path, five):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    refused(five, "'text'", "blocked", "cache=", memory=0, cache=blocked)


def test_readme_example(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path("example.py")
    assert names["same"].fingerprint == names["data"].fingerprint


ARCHIVES = sorted(Path(os.environ["MMLIB_DATA"]).glob("*.npz")) if "MMLIB_DATA" in os.environ else []


@pytest.mark.skipif(not ARCHIVES, reason="MMLIB_DATA names no folder with archives")
@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.stem)
def test_real_archives(tmp_path, path):
    data, mapped = read(path), read(path, memory=0, cache=tmp_path)
    assert data.fingerprint == mapped.fingerprint
    assert read(write(mapped, tmp_path / "again.npz")).fingerprint == data.fingerprint
    with np.load(path, allow_pickle=False) as archive:
        assert data.ids.tolist() == archive["ids"].tolist()
        assert np.array_equal(data.target.numpy(), archive["target"])
        for m in data.modalities:
            assert np.array_equal(data.features[m].numpy().reshape(archive[m].shape), archive[m])
            assert np.array_equal(data.present[m].numpy(), archive[f"{m}_present"])
            if f"{m}_length" in archive:
                assert np.array_equal(data.observed[m].sum(1).numpy(), archive[f"{m}_length"])


def test_files_of_other_kinds_are_sent_to_their_readers(tmp_path):
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps({"train": 1}))
    with pytest.raises(
        DataError, match="mosi.pkl: seems to be a pickle .*; mmlib.releases.load reads the pickles of known"
    ):
        read(tmp_path / "mosi.pkl")
    (tmp_path / "films.csv").write_text("id,label,text\na,b,c\n")
    with pytest.raises(
        DataError, match="films.csv: seems to be a text file .* python -m mmlib.encode makes one of a table"
    ):
        read(tmp_path / "films.csv")


def test_an_archive_is_replaced_on_request_alone(tmp_path):
    data = synthetic.like("mosi", dim=2, length=2).sample({"train": 4, "valid": 2, "test": 2})
    other = synthetic.like("mosi", dim=3, length=2).sample({"train": 4, "valid": 2, "test": 2})
    write(data, tmp_path / "a.npz")
    with pytest.raises(DataError, match="exists already; choose another name, or overwrite=True"):
        write(other, tmp_path / "a.npz")
    assert read(tmp_path / "a.npz").fingerprint == data.fingerprint
    assert read(write(other, tmp_path / "a.npz", overwrite=True)).fingerprint == other.fingerprint
