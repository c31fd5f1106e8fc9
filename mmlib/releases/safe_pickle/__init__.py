"""Pickle files of public releases, read without running anything that they name.

A pickle is a program: its instructions build objects, and some of them call any function that Python can import. The
features of MMSA, MulT, MultiBench, MISA and MIntRec come as pickles from file hosts, so a manipulated file must do no harm.

The usual remedy is a subclass of pickle.Unpickler whose find_class allows a few names. That is not enough here:

- The functions that numpy's pickles need are then called with arguments from the file, and they trust them: they
  accept text with impossible letters and truth values other than 0 and 1, which fail much later or give wrong numbers.
- An allowed class is an object that the file can change: BUILD sets its attributes, NEWOBJ makes one without its checks.
- find_class does not limit memory or time. A file of a few hundred bytes can use a list of lists so often that it
  unfolds to terabytes, nest so deep that Python crashes when it frees the content, or fill a dict with keys of equal hash.
- find_class sees a name only when the program reaches it, after everything in front of it has run.

Therefore the program runs on a small machine of our own, in two modules:

allowed   the memory that the content may take, a multiple of the file's size, and the allowed names, each with our own
          function in place of numpy's or Python's
machine   the instructions: a first pass checks the whole file, a second one builds the content, then its size is checked

The result is what pickle.load gives for an honest file (tests/releases/test_safe_pickle.py compares them for all
protocols); everything else is a DataError that names the file and the byte.
"""

import mmap
import os
import re
from pathlib import Path
from typing import Any

from mmlib.names import DataError
from mmlib.releases.safe_pickle.allowed import AGAIN, Refusal
from mmlib.releases.safe_pickle.machine import Machine

_OTHER_FORMATS = (
    (rb"version https://git-lfs", "is a Git LFS pointer; get the file itself with git lfs pull"),
    (rb"(\xef\xbb\xbf)?\s*<", "is a web page; download the file itself"),
    (rb"\x89HDF", "is an HDF5 file; open it with h5py"),
    (rb"\x93NUMPY", "is an .npy array; open it with numpy.load(allow_pickle=False)"),
    (rb"PK", "is a zip (.npz or torch?); unpack it or open it with numpy.load(allow_pickle=False)"),
    (rb"\x1f\x8b", "is compressed; unpack it with gzip -d"),
)


def load(path: str | Path, *, max_bytes: int = 64 * 2**30) -> Any:
    """The content of a pickle file: lists, tuples, dicts, sets, text, bytes, numbers, None, numpy arrays and scalars.

    Bytes of Python 2 become text as with encoding="latin1". Arrays come in the byte order of this computer.

    Raises DataError for anything else: other names, instructions that make objects, damage, nesting beyond 100 levels,
    content that contains itself, a file over max_bytes, and content that would take over max_bytes, or many times the
    size of the file, if each value were written out as often as it is used.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file; give the path of the pickle itself")
        with open(path, "rb") as file:
            _refuse_other_files(path, file.read(512), os.fstat(file.fileno()).st_size, max_bytes)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, Machine(data, max_bytes))
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened ({problem.strerror}); see data/README.md for its place") from problem


def _read(path: Path, machine: Machine) -> Any:
    try:
        return machine.read()
    except Refusal as problem:
        message, cause = problem, None
    except MemoryError as problem:
        message, cause = "does not fit in memory; use a computer with more", problem
    except Exception as problem:  # wrong operands raise a dozen unrelated types
        message, cause = f"cannot be read ({type(problem).__name__}: {str(problem)[:200]}); {AGAIN}", problem
    raise DataError(f"{path}: byte {machine.position}: {message}") from cause


def _refuse_other_files(path: Path, head: bytes, size: int, max_bytes: int) -> None:
    if not size:
        raise DataError(f"{path}: is empty; download it again")
    if size > max_bytes:
        raise DataError(f"{path}: has {size} bytes, over the limit of {max_bytes}; pass a larger max_bytes")
    for pattern, message in _OTHER_FORMATS:
        if re.match(pattern, head):
            raise DataError(f"{path}: {message}")
