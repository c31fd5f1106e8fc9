"""HDF5 files from public releases: a damaged or hostile file leads to an error and to nothing else.

Only arrays of numbers or texts inside the file are read: no soft or external links, no virtual arrays, no external
storage, no references, and never more bytes than a file of its length can hold.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5l, h5z

from mmlib.names import DataError
from mmlib.releases.sequences import cannot_open

MAX_BYTES = 16 * 2**30  # what the arrays read from one file may take

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE}  # with Fletcher32, HDF5 2.0 crashes on chunks without checksum
_DEFLATE_RATIO = 1032  # no deflate stream can expand further, so a larger declared size is false
_CHUNK_BYTES = 2**22  # HDF5 inflates a chunk whatever size it declares, so that it must be small before
_TEXT_BYTES = 256
_AGAIN = "the file is truncated or damaged, copy or download it again"
_COPY = "copy the array itself into the file with h5py"


class Hdf5:
    """An HDF5 file open for reading; close it by `with`.

    `find` and `get` read only the header of an array, `read` and `texts` load it: check all headers first, then load.
    Raises DataError for anything that is wrong with the file.
    """

    def __init__(self, path: str | Path):
        self.path, self._spent = Path(path), 0
        try:
            with open(self.path, "rb") as file:
                signed = file.read(len(_SIGNATURE)) == _SIGNATURE
                self._bytes = os.fstat(file.fileno()).st_size
        except OSError as problem:
            raise cannot_open(self.path, problem) from problem
        if not signed:
            raise DataError(f"{self.path}: is not an HDF5 file (a web page? a Git LFS pointer?); get the file itself")
        with self._damage():
            self._file = h5py.File(self.path, "r")

    def __enter__(self) -> "Hdf5":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def find(self, *keys: str, shape: tuple[int | str, ...], text: bool = False) -> h5py.Dataset | None:
        """The array at these keys, not loaded, or None where the file lacks it; in `shape` a text stands for any size."""
        node = self._file
        with self._damage(*keys):
            for key in keys:
                if not isinstance(node, h5py.Group) or "/" in key:
                    raise self.error("is no group of arrays; get the release's file", *keys)
                if not node.id.links.exists(key.encode()):
                    return None
                if node.id.links.get_info(key.encode()).type != h5l.TYPE_HARD:
                    raise self.error(f"is a link to elsewhere, which is never followed; {_COPY}", *keys)
                node = node[key]
            self._check(node, keys, shape, text)
        return node

    def get(self, *keys: str, shape: tuple[int | str, ...], text: bool = False) -> h5py.Dataset:
        """The array at these keys, not loaded. Raises DataError where the file lacks it."""
        array = self.find(*keys, shape=shape, text=text)
        if array is None:
            raise self.error(f"is missing, expected an array {_named(shape)}; get the release's file", *keys)
        return array

    def read(self, array: h5py.Dataset) -> np.ndarray:
        """The numbers of an array as float32; numbers too large for float32 become infinite."""
        with self._damage(array.name):
            return array.astype(np.float32)[()]

    def texts(self, array: h5py.Dataset) -> np.ndarray:
        """The texts of an array as str."""
        with self._damage(array.name):
            return np.char.decode(array[()], "utf-8")

    def error(self, message: str, *keys: str) -> DataError:
        place = f": field {'/'.join(keys).strip('/')!r}" if keys else ""
        return DataError(f"{self.path}{place}: {message}")

    def _check(self, array: h5py.HLObject, keys: tuple[str, ...], shape: tuple[int | str, ...], text: bool) -> None:
        # Texts of variable length lie in a heap; a damaged one sends HDF5 2.0 into an endless loop.
        kind = "texts of fixed length" if text else "numbers"
        if not isinstance(array, h5py.Dataset):
            raise self.error(f"is no array, expected {kind} {_named(shape)}; get the release's file", *keys)
        layout = array.id.get_create_plist()
        if layout.get_layout() == h5d.VIRTUAL or layout.get_external_count():
            raise self.error(f"is stored in other files, which are never opened; {_COPY}", *keys)

        dtype, got = array.dtype, array.shape
        if text:
            right = dtype.kind == "S" and dtype.itemsize <= _TEXT_BYTES
        else:
            right = dtype.kind in "fiu" and dtype.itemsize <= 8
        same = got is not None and len(got) == len(shape)
        if not right or not same or any(isinstance(want, int) and size != want for size, want in zip(got, shape)):
            raise self.error(f"is {dtype} {got}, expected {kind} {_named(shape)}; convert it or get it again", *keys)

        filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
        if not _FILTERS.issuperset(filters) or len(set(filters)) < len(filters):
            raise self.error("is compressed in an unusual way; store it anew with h5repack -f NONE", *keys)
        sizes = [math.prod(array.chunks) * dtype.itemsize] if array.chunks else []
        if filters:
            array.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
        if max(sizes, default=0) > _CHUNK_BYTES:
            raise self.error(f"has chunks of over {_CHUNK_BYTES} bytes; store it anew with h5repack -l CONTI", *keys)
        declared = math.prod(got) * dtype.itemsize
        stored = min(array.id.get_storage_size(), self._bytes)
        if declared > stored * (_DEFLATE_RATIO if filters else 1):
            raise self.error(f"declares {dtype} {got}, {declared} bytes, but the file holds {stored}; {_AGAIN}", *keys)
        self._spent += declared
        if self._spent > MAX_BYTES:
            raise self.error(f"takes, with the arrays before it, over {MAX_BYTES} bytes; get a smaller file", *keys)

    @contextmanager
    def _damage(self, *keys: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as problem:  # h5py raises half a dozen unrelated types on damaged bytes
            message = f"cannot be read ({type(problem).__name__}: {problem}); {_AGAIN}"
            raise self.error(message, *keys) from problem


def _named(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
