"""Which notebook, code and data a run is of, so that a finished run is skipped only if it would be the same again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmlib.runs.parameters import code
from mmlib.runs.records import RunError

_LIBRARY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Version:
    """SHA-256 of a notebook's code cells, of mmlib's sources and of every file that a parameter names."""

    hashes: dict[str, str]

    @classmethod
    def of(cls, notebook: Path, parameters: Mapping[str, Any]) -> "Version":
        """Paths in parameters are as a kernel sees them, which works in the notebook's folder."""
        found = {"code of the notebook": _notebook_hash(notebook), "code of mmlib": _library_hash()}
        for name, value in parameters.items():
            path = notebook.parent / value if isinstance(value, str) and value else None
            if path and path.is_file():
                stat = path.stat()
                found[f"content of {name}"] = _file_hash(path, stat.st_size, stat.st_mtime_ns)
        return cls(found)

    def check(self, notebook: Path) -> None:
        """Raises RunError where the code has changed since, or is another one on this machine."""
        now = {"code of the notebook": _notebook_hash(notebook), "code of mmlib": _library_hash()}
        for name, digest in now.items():
            if self.hashes[name] != digest:
                raise RunError(
                    f"the {name} is not what the study was planned with (changed since, or another checkout on this "
                    f"machine: {_LIBRARY}); start the study again"
                )

    def identity(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides what a run does: parameters and hashes. Of a file its content counts, not where it lies."""
        return {k: v for k, v in parameters.items() if f"content of {k}" not in self.hashes} | self.hashes

    def short(self, parameters: Mapping[str, Any]) -> str:
        """Eight digits of a hash of the identity."""
        return hashlib.sha256(json.dumps(self.identity(parameters), sort_keys=True).encode()).hexdigest()[:8]


def _notebook_hash(notebook: Path) -> str:
    return hashlib.sha256(json.dumps(code(notebook)).encode()).hexdigest()


def _library_hash() -> str:
    """Read anew each time: a worker that lives on must see that its code is another one by now."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        digest.update(str(path.relative_to(_LIBRARY)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _file_hash(path: Path, _size: int, _modified: int) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
