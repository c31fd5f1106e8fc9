"""The feature archive: one .npz file per data set, checked before any array is loaded and never unpickled.

data/README.md specifies the format.
"""

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy

from mmlib.data.checks import field_error
from mmlib.data.dataset import Dataset
from mmlib.files import replacing
from mmlib.names import SPLITS, DataError

MAX_BYTES = 64 * 2**30  # uncompressed size of a whole archive

_DEFLATE_RATIO = 1032  # no deflate stream can expand further, so a larger declared size is false
_CHUNK_BYTES = 2**24
_SPEC = "see data/README.md for the format"
_AGAIN = "the file is truncated or damaged, copy or download it again"
_CONVERT = "make a Dataset of its arrays and store that with mmlib.data.write"
_RELEASES = "mmlib.releases.load reads the pickles of known releases without running them"
_ENCODE = "python -m mmlib.encode makes one of a table of files"
_OTHER_FORMATS = (
    (rb"\Z", f"is empty; {_AGAIN}"),
    (
        rb"\x80[\0-\x05]",
        f"seems to be a pickle or old torch file, which can run code; {_RELEASES}; of others {_CONVERT}",
    ),
    (rb"\x89HDF", f"seems to be an HDF5 file; open it with h5py and {_CONVERT}"),
    (rb"\x93NUMPY", f"seems to be a single .npy array; open it with numpy.load and {_CONVERT}"),
    (rb"(?!PK)[^\0-\x08\x0e-\x1f]+\Z", f"seems to be a text file (a web page? a Git LFS pointer?); {_ENCODE}"),
    (rb"(?!PK)", f"is not an .npz archive; {_SPEC}"),
)
_TARGETS = {
    "regression": ("float32", ()),
    "multiclass": ("int64", ()),
    "multilabel": ("uint8", ("labels",)),
    "multibinary": ("uint8", ("labels",)),
}
_COLUMNS = {"group": "unicode", "order": "int32", "speaker": "unicode", "fold": "int32"}
_REQUIRED = ("meta", "ids", "split", "target")
_META = {"name": str, "task": str, "label_names": list, "modalities": dict}
_NOTES = {"split_source": str, "licence_note": str, "warnings": list, "sources": list, "derived": list}


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


def read(path: str | Path, *, memory: int = 4 * 2**30, cache: Path | None = None) -> Dataset:
    """The data set in a feature archive (.npz, specified in data/README.md).

    Features are (N, T, d) float32 tensors; a vector feature has T = 1. Features that would take more than `memory`
    bytes as float32 are unpacked once into `cache` (default ~/.cache/mmlib), in a folder named after the archive's
    SHA-256, and memory-mapped in their type in the archive (float16 or float32). The features of datasets made of this one
    (`standardised`, `subset`) lie there, too, in files that vanish with them.

    provenance: file, sha256, name, features and feature_sources per modality, contextual, warnings, licence_note,
    split_source, sources, derived.

    Raises DataError for another format, damage, a declared size over MAX_BYTES, and arrays that contradict the
    specification or each other.
    """
    path = Path(path)
    cache = Path.home() / ".cache" / "mmlib" if cache is None else Path(cache)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            for pattern, message in _OTHER_FORMATS:
                if re.match(pattern, head):
                    raise DataError(f"{path}: {message}")
            file.seek(0)
            with _damage(f"{path}: the list of its fields"):
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                archive = zipfile.ZipFile(file)
                file.seek(-22, os.SEEK_END)
                # One wrong length in the zip directory hides the entries behind it, which zipfile does not notice.
                if int.from_bytes(file.read()[10:12], "little") != len(archive.infolist()):
                    raise zipfile.BadZipFile("fields are lost, or the zip has a comment")
            return _dataset(path, archive, sha256, memory, cache / sha256)
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened ({problem.strerror}); see data/README.md for its place") from problem


def write(data: Dataset, path: str | Path, *, half: bool = False, overwrite: bool = False) -> Path:
    """Writes a data set as a feature archive and returns its path; equal content gives equal bytes.

    half: store features as float16. overwrite: replace a file of this name. Real frames come first, padding follows.

    Raises DataError where the file exists, a row has padding between its frames, a value is too large for float16, or
    the format has no field for something.
    """
    path, where = Path(path), data.where
    if path.exists() and not overwrite:
        raise DataError(f"{path}: exists already; choose another name, or overwrite=True")
    for split in SPLITS:
        data.rows(split)  # one without rows raises
    meta = json.dumps(_meta(data), default=str)
    _parse_meta(where, meta)
    small = {"meta": np.array(meta)}
    for name in ("ids", "split", *_COLUMNS):
        if getattr(data, name) is not None:
            small[name] = _column(where, name, getattr(data, name))
    small["target"] = data.target.cpu().numpy().astype(_TARGETS[data.task][0])
    order = {}
    for m, observed in data.observed.items():
        observed = observed.cpu()
        order[m] = _frames_first(where, m, observed, data.ids)
        small[f"{m}_present"] = observed.any(1).numpy()
        if observed.shape[1] > 1:
            small[f"{m}_length"] = observed.sum(1, dtype=torch.int32).numpy()
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, array in small.items():
            _put(archive, key, array.dtype, array.shape, [array])
        for m, x in data.features.items():
            dtype = np.dtype(np.float16 if half or x.dtype == torch.float16 else np.float32)
            shape = tuple(x.shape) if x.shape[1] > 1 else (len(x), x.shape[2])
            _put(archive, m, dtype, shape, _chunks(where, m, x, order[m], dtype, data.ids))
    return path


@contextmanager
def _damage(place: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except MemoryError as problem:
        raise DataError(f"{place}: does not fit in memory; keep features on disk with a smaller memory=") from problem
    except Exception as problem:  # zipfile, zlib and numpy raise a dozen unrelated types for damaged bytes
        raise DataError(f"{place}: cannot be read ({type(problem).__name__}: {problem}); {_AGAIN}") from problem


def _dataset(path: Path, archive: zipfile.ZipFile, sha256: str, memory: int, folder: Path) -> Dataset:
    headers = _headers(path, archive)
    for key in _REQUIRED:
        if key not in headers:
            raise field_error(path, key, f"is missing; add it, {_SPEC}")
    _check(path, "meta", headers, "unicode", ())
    meta = _parse_meta(path, _load(path, archive, "meta"))
    _check_headers(path, headers, meta)

    columns = {c: _load(path, archive, c) for c in ("ids", "split", *_COLUMNS) if c in headers}
    target = torch.from_numpy(_load(path, archive, "target"))
    entries = meta["modalities"]
    observed = {m: _frames(path, archive, m, headers, columns["ids"]) for m in entries}
    mapped = sum(4 * math.prod(headers[m].shape) for m in entries) > memory
    features = {}
    for m in entries:
        x = _mapped(path, archive, m, folder) if mapped else _load(path, archive, m, np.float32)
        features[m] = torch.from_numpy(x if x.ndim == 3 else x[:, None])
    data = Dataset(
        name=meta["name"],
        task=meta["task"],
        features=features,
        observed={m: torch.from_numpy(f) for m, f in observed.items()},
        target=target if meta["task"] == "multiclass" else target.float(),
        folder=folder if mapped else None,
        label_names=tuple(meta["label_names"]),
        provenance={
            "file": str(path),
            "sha256": sha256,
            "name": meta["name"],
            "features": {m: entry.get("features", "") for m, entry in entries.items()},
            "feature_sources": {m: entry.get("source", "") for m, entry in entries.items()},
            "contextual": [m for m, entry in entries.items() if entry.get("contextual")],
            **{key: meta[key] for key in _NOTES},
        },
        **columns,
    )
    rows = _rows(data)
    if meta.get("rows", rows) != rows:
        raise field_error(path, "meta", f"'rows' is {meta['rows']} but split has {rows}; correct the wrong one")
    return data


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, _Header]:
    """Shape and type of every array, read without allocating any."""
    members = archive.infolist()
    if any(info.filename.endswith("data.pkl") for info in members):
        raise DataError(f"{path}: seems to be a torch file, which holds a pickle and is never opened here; {_SPEC}")
    limit = min(MAX_BYTES, _DEFLATE_RATIO * os.fstat(archive.fp.fileno()).st_size)
    if sum(info.file_size for info in members) > limit:
        key = max(members, key=lambda info: info.file_size).filename.removesuffix(".npy")
        message = f"declares, with the rest, over {limit} bytes; get the file again, or make a smaller one"
        raise field_error(path, key, message)
    headers = {}
    for info in members:
        key = info.filename.removesuffix(".npy")
        if key == info.filename or key in headers:
            problem = "there twice" if key in headers else "not an .npy member"
            raise field_error(path, key, f"is {problem}; drop it, {_SPEC}")
        with _damage(f"{path}: field {key!r}"), archive.open(info) as member:
            parse = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(member)]
            shape, _, dtype = parse(member)
            size = member.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise field_error(path, key, "holds Python objects, which only a pickle can; store it as a plain array")
        if size != info.file_size:
            raise field_error(path, key, f"declares {dtype} {shape}, {size} bytes, but has {info.file_size}; {_AGAIN}")
        headers[key] = _Header(shape, dtype)
    return headers


def _check(path: Path, key: str, headers: dict[str, _Header], types: str, shape: tuple[int | str, ...]) -> None:
    """Raises DataError unless the array has one of the types and the shape, in which a text stands for any size."""
    actual, dtype = headers[key]
    kind = "unicode" if dtype.kind == "U" else str(dtype)
    fits = [size == n if isinstance(n, int) else size > 0 for size, n in zip(actual, shape)]
    if kind not in types.split(" or ") or len(actual) != len(shape) or not all(fits):
        message = f"is {kind} {actual}, expected {types} ({', '.join(map(str, shape))}); convert it, {_SPEC}"
        raise field_error(path, key, message)


def _check_headers(path: Path, headers: dict[str, _Header], meta: dict) -> None:
    n = (*headers["ids"].shape, 0)[0]
    kind, labels = _TARGETS[meta["task"]]
    expected = {"ids": ("unicode", (n,)), "split": ("unicode", (n,)), "target": (kind, (n, *labels))}
    expected |= {c: (kind, (n,)) for c, kind in _COLUMNS.items() if c in headers}
    for m in meta["modalities"]:
        sequence = m in headers and len(headers[m].shape) > 2
        expected[m] = ("float16 or float32", (n, "frames", "dim") if sequence else (n, "dim"))
        expected[f"{m}_present"] = ("bool", (n,))
        if sequence:
            expected[f"{m}_length"] = ("int32", (n,))
    for key in headers:
        if key not in (*expected, "meta"):
            names = ", ".join(meta["modalities"])
            raise field_error(path, key, f"is no field of an archive with the modalities {names}; drop it, {_SPEC}")
    for key, (types, shape) in expected.items():
        if key not in headers:
            raise field_error(path, key, f"is missing although meta names the modality; add it, {_SPEC}")
        _check(path, key, headers, types, shape)
    for m, entry in meta["modalities"].items():
        _, *middle, dim = headers[m].shape
        for name, size in (("dim", dim), ("frames", middle[0] if middle else 1)):
            if entry.get(name) != size:
                message = f"{name!r} of {m!r} is {entry.get(name)} but the array has {size}; correct it"
                raise field_error(path, "meta", message)


def _parse_meta(where: str | Path, text: np.ndarray | str) -> dict:
    def fail(message: str):
        raise field_error(where, "meta", f"{message}; {_SPEC}")

    try:
        meta = json.loads(str(text))
    except (ValueError, RecursionError) as problem:
        raise field_error(where, "meta", f"is not JSON ({problem}); write it with json.dumps") from problem
    if not isinstance(meta, dict):
        fail("is not a JSON object")
    meta = {key: kind() for key, kind in _NOTES.items()} | meta
    for key, kind in (_META | _NOTES).items():
        if not isinstance(meta.get(key), kind):
            fail(f"{key!r} is {'not a ' + kind.__name__ if key in meta else 'missing'}")
    if meta["task"] not in _TARGETS:
        fail(f"'task' is {meta['task']!r}, not one of {', '.join(_TARGETS)}")
    if not all(isinstance(label, str) for label in meta["label_names"]):
        fail("'label_names' has something that is not text")
    for m, entry in meta["modalities"].items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*(?<!_present)(?<!_length)", m) or m in (*_REQUIRED, *_COLUMNS):
            fail(f"{m!r} cannot name a modality; use lower-case letters, digits and _ and no name of another field")
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k, ""), str) for k in ("features", "source")):
            fail(f"'modalities' of {m!r} is not an object with dim, frames and the texts features and source")
        if not isinstance(entry.get("contextual", False), bool):
            fail(f"'contextual' of {m!r} is neither true nor false")
    return meta


def _load(path: Path, archive: zipfile.ZipFile, key: str, dtype: type | None = None) -> np.ndarray:
    with _damage(f"{path}: field {key!r}"), archive.open(f"{key}.npy") as member:
        return np.asarray(npy.read_array(member, allow_pickle=False), dtype, order="C")


def _mapped(path: Path, archive: zipfile.ZipFile, key: str, folder: Path) -> np.ndarray:
    info, unpacked = archive.getinfo(f"{key}.npy"), folder / f"{key}.npy"
    with _damage(f"{path}: field {key!r}"):
        try:
            if not unpacked.exists() or unpacked.stat().st_size != info.file_size:
                with replacing(unpacked) as temporary, open(temporary, "xb") as out, archive.open(info) as member:
                    shutil.copyfileobj(member, out, _CHUNK_BYTES)
                    if out.tell() != info.file_size:
                        raise EOFError("ends early")
            # Copy-on-write, because torch warns about arrays that cannot be written.
            return np.load(unpacked, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as problem:
            message = f"cannot be unpacked to {unpacked} ({problem}); make room there, delete it or pass another cache="
            raise field_error(path, key, message) from problem


def _frames(path: Path, archive: zipfile.ZipFile, m: str, headers: dict[str, _Header], ids: np.ndarray) -> np.ndarray:
    """(N, T) bool, True on real frames."""
    present, key = _load(path, archive, f"{m}_present"), f"{m}_length"
    if key not in headers:
        return present[:, None]
    length, observed = _load(path, archive, key), headers[m].shape[1]
    for bad, message in (
        ((length < 0) | (length > observed), f"is outside 0..{observed}, the frames of {m!r}; correct it"),
        (present & (length == 0), f"is 0 although {m}_present is True; correct one of them"),
        (~present & (length > 0), f"is not 0 although {m}_present is False; correct one of them"),
    ):
        for row in np.flatnonzero(bad)[:1]:
            raise field_error(path, key, message, row, ids)
    return np.arange(observed) < length[:, None]


def _meta(data: Dataset) -> dict:
    texts = {key: data.provenance.get(key, {}) for key in ("features", "feature_sources")}
    for key, text in texts.items():
        if not isinstance(text, dict):
            raise field_error(data.where, "provenance", f"{key!r} must give a text for each modality, as a dict")
    modalities = {}
    for m, x in data.features.items():
        notes = {"features": texts["features"].get(m, ""), "source": texts["feature_sources"].get(m, "")}
        modalities[m] = {"dim": x.shape[2], "frames": x.shape[1], **notes}
        if m in data.provenance.get("contextual", ()):
            modalities[m]["contextual"] = True
    return {
        "name": data.name,
        "task": data.task,
        "label_names": list(data.label_names),
        "modalities": modalities,
        **{key: data.provenance.get(key, kind()) for key, kind in _NOTES.items()},
        "rows": _rows(data),
    }


def _rows(data: Dataset) -> dict[str, int]:
    return {split: len(data.rows(split)) for split in SPLITS}


def _column(where: str, name: str, values: np.ndarray) -> np.ndarray:
    if _COLUMNS.get(name, "unicode") == "unicode":
        return values
    if (values.astype(np.int32) != values).any():
        raise field_error(where, name, "has values beyond int32; renumber them")
    return values.astype(np.int32)


def _frames_first(where: str, m: str, observed: torch.Tensor, ids: np.ndarray) -> torch.Tensor:
    """(N, T) positions that put the real frames of each row at its front."""
    steps = torch.arange(observed.shape[1])
    order = (steps + observed.int().argmax(1, keepdim=True)) % len(steps)
    gaps = (observed.gather(1, order) != (steps < observed.sum(1, keepdim=True))).any(1)
    for row in gaps.nonzero()[:1].flatten().tolist():
        message = "has padding between its frames, for which an archive has no field; mark it as real or take it out"
        raise field_error(where, m, message, row, ids)
    return order


def _chunks(where: str, m: str, x: torch.Tensor, order: torch.Tensor, dtype: np.dtype, ids: np.ndarray):
    step = max(1, _CHUNK_BYTES // (4 * x[0].numel()))
    for start in range(0, len(x), step):
        index = order[start : start + step, :, None].expand(-1, -1, x.shape[2])
        with np.errstate(over="ignore"):
            chunk = x[start : start + step].cpu().gather(1, index).numpy().astype(dtype)
        for row in np.flatnonzero(np.isinf(chunk).any((1, 2)))[:1]:
            message = "has a value beyond float16 (65504); scale it or use half=False"
            raise field_error(where, m, message, start + row, ids)
        yield chunk


def _put(archive: zipfile.ZipFile, key: str, dtype: np.dtype, shape: tuple[int, ...], chunks) -> None:
    info = zipfile.ZipInfo(f"{key}.npy")  # its time is always 1980-01-01
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(member, header)
        for chunk in chunks:
            member.write(chunk.tobytes())
