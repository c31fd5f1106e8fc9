"""HDF5 files from elsewhere: arrays in the file itself come out, everything else is refused and costs nothing."""

import zlib
from collections import Counter

import h5py
import numpy as np
import pytest

from mmlib.names import DataError
from mmlib.releases.hdf5 import Hdf5
from tests.helpers.processes import in_own_process

NUMBERS = np.arange(6, dtype=np.float32).reshape(3, 2) - 2.5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


def read(path, *keys, shape=("rows", 2), text=False):
    with Hdf5(path) as file:
        found = file.get(*keys, shape=shape, text=text)
        return file.texts(found) if text else file.read(found)


def refused(path, *texts, keys=("x",), **options):
    with pytest.raises(DataError) as caught:
        read(path, *keys, **options)
    for text in (str(path), "; ", *texts):
        assert text in str(caught.value)


def test_numbers_of_any_type_come_as_float32(path):
    with h5py.File(path, "w") as file:
        for dtype in ("f2", "f4", "f8", ">f4", "i1", "u2", "i8"):
            file[f"deep/{dtype}"] = NUMBERS.astype(dtype)
    for dtype in ("f2", "f4", "f8", ">f4", "i1", "u2", "i8"):
        x = read(path, "deep", dtype)
        assert x.dtype == np.float32 and x.tolist() == NUMBERS.astype(dtype).tolist()


def test_what_is_too_large_for_float32_is_infinite_and_nan_stays(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.array([[1e300, -np.inf], [np.nan, 1.0]])
    assert np.array_equal(read(path, "x"), [[np.inf, -np.inf], [np.nan, 1]], equal_nan=True)


@pytest.mark.parametrize("options", [{"chunks": (2, 1)}, {"compression": "gzip", "shuffle": True}])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_chunks_and_usual_compression(path, options, libver):
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=NUMBERS, **options)
    assert np.array_equal(read(path, "x"), NUMBERS)


def test_texts_and_empty_arrays(path):
    with h5py.File(path, "w") as file:
        file["t"] = np.array([b"0012349", "é".encode()])
        file["x"] = np.zeros((0, 2), np.float32)
    assert read(path, "t", shape=("films",), text=True).tolist() == ["0012349", "é"]
    assert read(path, "x").shape == (0, 2)


def test_a_missing_array_is_none_for_find_and_an_error_for_get(path):
    with h5py.File(path, "w") as file:
        file["1/x"] = NUMBERS
    with Hdf5(path) as file:
        assert file.find("2", "x", shape=("rows", 2)) is None
        assert file.find("1", "y", shape=("rows", 2)) is None
        assert file.find("1", "x", shape=("rows", 2)) is not None
    refused(path, "field '1/y'", "is missing, expected an array (rows, 2)", keys=("1", "y"))


def test_wrong_shapes_types_and_groups_are_named(path):
    with h5py.File(path, "w") as file:
        file["x"], file["text"], file["group/x"] = NUMBERS, np.array([b"a"]), NUMBERS
        file["none"], file["complex"] = h5py.Empty("f4"), NUMBERS.astype(np.complex64)
        file["record"], file["long"] = np.zeros((3, 2), "f4,i4"), np.array([b"a" * 300])
        file["variable"] = np.array(["a", "b"], dtype=h5py.string_dtype())
        file["reference"] = np.full((3, 2), file["x"].ref, h5py.ref_dtype)
        file["ragged"] = np.array([NUMBERS[0]] * 3 + [None], h5py.vlen_dtype("f4"))[:3]
    refused(path, "field 'x'", "is float32 (3, 2), expected numbers (rows, 3)", shape=("rows", 3))
    refused(path, "(3, 2), expected numbers (4, 2)", shape=(4, 2))
    refused(path, "(3, 2), expected numbers (2, 2)", shape=(2, 2))
    refused(path, "(3, 2), expected numbers (rows,)", shape=("rows",))
    refused(path, "is no array, expected numbers (rows, 2)", keys=("group",))
    refused(path, "field 'x/y'", "no group", keys=("x", "y"))
    refused(path, "no group", keys=("group/x",))
    refused(path, "is |S1 (1,), expected numbers (n,)", keys=("text",), shape=("n",))
    refused(path, "is float32 (3, 2), expected texts of fixed length (n,)", shape=("n",), text=True)
    refused(path, "|S300", keys=("long",), shape=("n",), text=True)
    refused(path, "is object (2,), expected texts", keys=("variable",), shape=("n",), text=True)
    for key in ("none", "complex", "record", "reference", "ragged"):
        refused(path, f"field '{key}'", "expected numbers", keys=(key,))


def test_texts_that_are_not_utf8(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.array([b"a", b"\xff"])
    refused(path, "field 'x'", "again", shape=("n",), text=True)


def test_nothing_outside_the_file_is_ever_read(path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = NUMBERS
    (tmp_path / "raw").write_bytes(NUMBERS.tobytes())
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/x")
        file["group"] = h5py.ExternalLink("other.h5", "/")
        file["soft"] = h5py.SoftLink("/x")
        file["loop"] = h5py.SoftLink("/loop")
        file.create_dataset("raw", NUMBERS.shape, "f4", external=[(str(tmp_path / "raw"), 0, NUMBERS.nbytes)])
        layout = h5py.VirtualLayout(NUMBERS.shape, "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", NUMBERS.shape)
        file.create_virtual_dataset("virtual", layout)
    with h5py.File(path) as file:  # h5py itself would follow all of them
        assert all(np.array_equal(file[key], NUMBERS) for key in ("x", "group/x", "soft", "raw", "virtual"))
    for key in ("x", "soft", "loop"):
        refused(path, f"field '{key}'", "a link to elsewhere", keys=(key,))
    refused(path, "field 'group/x'", "a link to elsewhere", keys=("group", "x"))
    for key in ("raw", "virtual"):
        refused(path, f"field '{key}'", "in other files", keys=(key,))


def test_declared_sizes_are_checked_before_anything_is_allocated(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("never written", (10**12, 2), "f4")
        file.create_dataset("sparse", (10**12, 2), "f4", chunks=(10, 2))
        file.create_dataset("packed", (10**12, 2), "f4", chunks=(10, 2), compression="gzip")[:10] = 1
        file.create_dataset("begun", (100, 2), "f4", chunks=(10, 2))[:10] = 1
        file.create_dataset("huge chunk", (3, 2), "f4", chunks=(10**8, 2), maxshape=(None, 2))
        file.create_dataset("lzf", data=NUMBERS, compression="lzf")
        file.create_dataset("checked", data=NUMBERS, fletcher32=True)
        file.create_dataset("scaled", data=NUMBERS.astype(int), scaleoffset=0)
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        twice.set_chunk((3, 2)), twice.set_deflate(4), twice.set_deflate(4)
        h5py.h5d.create(file.id, b"twice", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 2)), twice)
        file["twice"][:] = NUMBERS
    for key in ("never written", "sparse", "packed"):
        refused(path, f"field '{key}'", "declares float32 (1000000000000, 2)", keys=(key,))
    refused(path, "declares float32 (100, 2), 800 bytes, but the file holds 80", keys=("begun",))
    refused(path, "chunks of over", keys=("huge chunk",))
    for key in ("lzf", "checked", "scaled", "twice"):
        refused(path, "unusual way", keys=(key,))


def test_a_chunk_that_would_inflate_beyond_its_size_is_refused(path, monkeypatch):
    monkeypatch.setattr("mmlib.releases.hdf5._CHUNK_BYTES", 1000)
    with h5py.File(path, "w") as file:
        bomb = file.create_dataset("x", (3, 2), "f4", chunks=(3, 2), compression="gzip")
        bomb.id.write_direct_chunk((0, 0), zlib.compress(bytes(2 * 10**6)))
        again = file.create_dataset("y", (3, 2), "f4", chunks=(3, 2), compression="gzip")
        again.id.write_direct_chunk((0, 0), zlib.compress(NUMBERS.tobytes()))
    refused(path, "chunks of over 1000 bytes")
    assert np.array_equal(read(path, "y"), NUMBERS)


def test_all_arrays_together_have_a_limit(path, monkeypatch):
    monkeypatch.setattr("mmlib.releases.hdf5.MAX_BYTES", 2 * NUMBERS.nbytes)
    with h5py.File(path, "w") as file:
        file["x"] = NUMBERS
        file["again"] = file["more"] = file["x"]  # hard links to the same bytes
    with Hdf5(path) as file:
        file.get("x", shape=(3, 2)), file.get("again", shape=(3, 2))
        with pytest.raises(DataError, match="field 'more': takes, with the arrays before it, over 48 bytes"):
            file.get("more", shape=(3, 2))


def test_other_files_under_that_name(path, tmp_path):
    refused(path, "No such file")
    refused(tmp_path, "directory")
    for content in (b"", b"<!doctype html>", b"version https://git-lfs.github.com/spec/v1"):
        path.write_bytes(content)
        refused(path, "is not an HDF5 file")


def test_truncated_anywhere(path):
    with h5py.File(path, "w") as file:
        file["x"] = NUMBERS
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)


def outcome(file, key, shape):
    try:
        found = file.find(key, shape=shape, text=key == "text")
        if found is None:
            return "missing"
        x = file.texts(found) if key == "text" else file.read(found)
        assert x.shape == shape and x.dtype.kind == ("U" if key == "text" else "f")
        return "read"
    except DataError as error:
        assert str(file.path) in str(error)
        return "refused"


def mutations(path, arrays):
    """How often the arrays of a file with one wrong byte were read, refused or not found."""
    content, bad, outcomes = path.read_bytes(), path.with_name("bad.h5"), Counter()
    rng = np.random.default_rng(0)
    # Most bytes of a small file are never looked at, so only those that are not zero are changed.
    for place in rng.choice(np.flatnonzero(np.frombuffer(content, np.uint8)), 300):
        mutated = bytearray(content)
        mutated[place] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        bad.write_bytes(mutated)
        try:
            with Hdf5(bad) as file:
                outcomes.update(outcome(file, key, shape) for key, shape in arrays.items())
        except DataError as error:
            assert str(bad) in str(error)
            outcomes["not opened"] += 1
    return outcomes


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_any_mutation_is_refused_or_read(path, libver):
    with h5py.File(path, "w", libver=libver) as file:
        file["x"], file["text"] = NUMBERS, np.array([b"a", b"bc"])
        file.create_dataset("packed", data=NUMBERS, chunks=(2, 2), compression="gzip", shuffle=True)
    outcomes = in_own_process(mutations, path, {"x": (3, 2), "text": (2,), "packed": (3, 2)})
    assert outcomes["read"] > 100 and outcomes["refused"] > 20 and outcomes["not opened"] > 10
