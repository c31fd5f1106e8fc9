"""Files that are written whole or not at all, SHA-256 of files and tensors, and where the project's own files lie."""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:  # every process of a study imports this module, and most have no use for torch
    import torch


@contextmanager
def replacing(path: Path, exclusive: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; the file written there becomes `path` at the end of the block.

    The folder is made if necessary. The content is on disk before the file gets its name, so that a killed process or
    a power cut leaves the old file or the new one, never a part. An error removes the temporary file.

    exclusive: raises FileExistsError, and keeps the old file, where `path` exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        (_link if exclusive else os.replace)(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, text: str, exclusive: bool = False) -> None:
    """Writes a text file by `replacing`."""
    with replacing(path, exclusive) as temporary:
        temporary.write_text(text)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Yields whether this process holds the lock of the file. The system releases it when the process ends or is killed.

    wait: until another process gives it back.
    """
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(weights: Mapping[str, "torch.Tensor"], settings: object) -> str:
    """SHA-256 of named tensors and of the printed settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in weights.items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def is_checkout() -> bool:
    """Whether the package lies in a checkout of the project, not in an environment's site-packages."""
    return (Path(__file__).parents[1] / "pyproject.toml").exists()


def home() -> Path:
    """The folder of notebooks, studies and tables of numbers: the checkout, or what the wheel brought."""
    return Path(__file__).parents[1] if is_checkout() else Path(__file__).parent / "shipped"
