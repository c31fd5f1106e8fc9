"""Which notebook, code and data a run is of, so that a finished run is skipped only if it would be the same again."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmlib.runs.errors import RunError
from mmlib.runs.parameters import code

_LIBRARY = Path(__file__).parents[1]
PLANNED = "MMLIB_PLANNED"  # tells a kernel for which code of mmlib its run was planned
_NOTEBOOK, _MMLIB = "code of the notebook", "code of mmlib"


@dataclass(frozen=True)
class Version:
    """SHA-256 of a notebook's code cells, of mmlib's sources and of every file that a parameter names."""

    hashes: dict[str, str]

    @classmethod
    def of(cls, notebook: Path, parameters: Mapping[str, Any], library: str | None = None) -> "Version":
        """Paths in parameters are as a kernel sees them, which works in the notebook's folder.

        library: `library_hash()`, for one who needs many versions of one moment.
        """
        found = {_NOTEBOOK: _notebook_hash(notebook), _MMLIB: library or library_hash()}
        for name, value in parameters.items():
            path = notebook.parent / value if isinstance(value, str) and value else None
            if path and os.path.isfile(path):
                stat = path.stat()
                found[f"content of {name}"] = _file_hash(path, stat.st_size, stat.st_mtime_ns)
        return cls(found)

    def check(self, notebook: Path, parameters: Mapping[str, Any]) -> None:
        """Raises RunError where code or data have changed since, or are others on this machine."""
        now = Version.of(notebook, parameters).hashes
        for name in {**self.hashes, **now}:
            if self.hashes.get(name) != now.get(name):
                _refuse(name)

    def environment(self) -> dict[str, str]:
        """Variables for a kernel, so that it imports this mmlib and `check_kernel` can tell if it does not."""
        planned = {PLANNED: self.hashes[_MMLIB]}
        if not (_LIBRARY.parent / "pyproject.toml").exists():  # installed: a kernel of another environment has its own
            return planned
        paths = [str(_LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**planned, "PYTHONPATH": os.pathsep.join(paths)}

    def identity(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides what a run does: parameters and hashes. Of a file its content counts, not where it lies."""
        return {k: v for k, v in parameters.items() if f"content of {k}" not in self.hashes} | self.hashes

    def short(self, parameters: Mapping[str, Any]) -> str:
        """Eight digits of a hash of the identity."""
        return hashlib.sha256(json.dumps(self.identity(parameters), sort_keys=True).encode()).hexdigest()[:8]


def check_kernel() -> None:
    """Raises RunError in a kernel whose mmlib is not, or no longer, the one that its run was planned with."""
    if os.environ.get(PLANNED, library := library_hash()) != library:
        _refuse(_MMLIB)


def library_hash() -> str:
    """Read anew each time: a worker that lives on must see that its code is another one by now."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        inside = path.relative_to(_LIBRARY)
        if not any(part.startswith(".") for part in inside.parts):  # locks and copies of editors
            digest.update(str(inside).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _refuse(name: str) -> None:
    raise RunError(
        f"the {name} is not what the study was planned with (changed since, or another one on this machine; mmlib is "
        f"{_LIBRARY}); start the study again"
    )


def _notebook_hash(notebook: Path) -> str:
    return hashlib.sha256(json.dumps(code(notebook)).encode()).hexdigest()


@cache
def _file_hash(path: Path, _size: int, _modified: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
