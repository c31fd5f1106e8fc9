"""The version of a run: hashes of its notebook, code and data. A finished run is skipped only if they are unchanged."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from mmlib.runs.errors import RunError
from mmlib.runs.imports import Code, reached, read_code
from mmlib.runs.parameters import code

_LIBRARY = Path(__file__).parents[1]
PLANNED, BYTES, NOTEBOOK = (
    "MMLIB_PLANNED",
    "MMLIB_BYTES",
    "MMLIB_NOTEBOOK",
)  # variables that tell a kernel the planned code of mmlib
_NOTEBOOK, _MMLIB = "code of the notebook", "code of mmlib"


@dataclass(frozen=True)
class Version:
    """SHA-256 of all that a run's numbers depend on.

    That is the notebook's code, the modules of mmlib that it reaches (`imports.reached`), and every file that a parameter
    names. Comments, docstrings, layout, and code that only shows or judges numbers play no part.
    """

    hashes: dict[str, str]

    @classmethod
    def of(cls, notebook: Path, parameters: Mapping[str, Any]) -> "Version":
        """Relative paths in parameters start at the notebook's folder, where the kernel works."""
        hashes = {_NOTEBOOK: _hash(_code(notebook).bare), _MMLIB: library_hash(notebook, parameters)}
        for name, value in parameters.items():
            path = notebook.parent / value if isinstance(value, str) and value else None
            if path and os.path.isfile(path):
                stat = path.stat()
                hashes[f"content of {name}"] = _file_hash(path, stat.st_size, stat.st_mtime_ns)
        return cls(hashes)

    def check(self, notebook: Path, parameters: Mapping[str, Any]) -> None:
        """Raises RunError where code or data have changed since the plan, or differ on this machine."""
        now = Version.of(notebook, parameters).hashes
        for name in {**self.hashes, **now}:
            if self.hashes.get(name) != now.get(name):
                _refuse(name)

    def environment(self, notebook: Path) -> dict[str, str]:
        """Variables for a kernel, so that it imports this mmlib and `check_kernel` can tell if it does not."""
        planned = {PLANNED: self.hashes[_MMLIB], BYTES: _bytes_hash(), NOTEBOOK: str(notebook)}
        if not (_LIBRARY.parent / "pyproject.toml").exists():  # installed: a kernel of another environment has its own
            return planned
        paths = [str(_LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**planned, "PYTHONPATH": os.pathsep.join(paths)}

    def identity(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters and hashes: everything that decides what a run does. A file counts by its content, not by its path."""
        return {k: v for k, v in parameters.items() if f"content of {k}" not in self.hashes} | self.hashes

    def short(self, parameters: Mapping[str, Any]) -> str:
        """Eight digits of a hash of the identity."""
        return _hash(json.dumps(self.identity(parameters), sort_keys=True))[:8]


def check_kernel(parameters: Mapping[str, Any]) -> None:
    """Raises RunError in the kernel of a run with these parameters if its mmlib is not the one that was planned."""
    planned = os.environ.get(PLANNED)
    # Equal files need no syntax trees, whose making takes half a second in each kernel.
    if planned is None or os.environ.get(BYTES) == _bytes_hash():
        return
    if planned != library_hash(Path(os.environ[NOTEBOOK]), parameters):
        _refuse(_MMLIB)


def _bytes_hash() -> str:
    """Of all sources of mmlib as they are; hidden files are locks and copies of editors."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        inside = path.relative_to(_LIBRARY)
        if not any(part.startswith(".") for part in inside.parts):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def library_hash(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """The hash of the code of mmlib that this notebook reaches.

    A changed file is read again, because a long-lived worker must notice that its code is no longer the planned code.
    """
    texts = frozenset(_texts(parameters.values()))
    return _library_hash(notebook, notebook.stat().st_mtime_ns, texts, _LIBRARY, tuple(_sources(str(_LIBRARY))))


@lru_cache(maxsize=64)
def _library_hash(notebook: Path, _modified: int, texts: frozenset[str], library: Path, _sources: Any) -> str:
    """The walk through the imports, which a study of a thousand seeds makes once."""
    return _hash(json.dumps(reached(library, _code(notebook), texts)))


def _sources(folder: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change of all sources below a folder; hidden files are locks and copies of editors."""
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            stat = entry.stat()
            yield entry.path, stat.st_size, stat.st_mtime_ns


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)


def _code(notebook: Path) -> Code:
    try:
        return read_code("\n".join(source for source, _ in code(notebook)))
    except SyntaxError as e:
        raise RunError(f"{notebook}: its code cells are not Python ({e}); take magic commands out") from None


def _refuse(name: str) -> None:
    where = f"changed since, or another one on this machine; mmlib is {_LIBRARY}"
    raise RunError(f"the {name} is not what the study was planned with ({where}); start the study again")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _file_hash(path: Path, _size: int, _modified: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
