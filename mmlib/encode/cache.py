"""Encoded contents on disk, by SHA-256 of the content, so that an interrupted encoding continues."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmlib.files import replacing
from mmlib.names import DataError


class Cache:
    """Features by the SHA-256 of their content: one .npz file per batch. A damaged file is deleted."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._place: dict[bytes, tuple[Path, int, int]] = {}  # file, first frame, end
        for file in sorted(folder.glob("*.npz")):
            try:
                self._note(file, *_load(file)[:2])
            except Exception:  # zipfile and numpy raise a dozen types for damaged bytes
                file.unlink(missing_ok=True)

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def _note(self, file: Path, keys: np.ndarray, lengths: np.ndarray) -> None:
        ends = lengths.cumsum().tolist()
        for key, start, end in zip(keys, [0, *ends], ends):
            self._place[key.tobytes()] = (file, start, end)

    def add(self, keys: list[bytes], features: list[np.ndarray]) -> None:
        file = self.folder / f"{hashlib.blake2b(b''.join(keys), digest_size=8).hexdigest()}.npz"
        rows, lengths = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), np.array([len(x) for x in features])
        with replacing(file) as temporary, open(temporary, "xb") as out:  # np.savez would change the name
            np.savez(out, keys=rows, lengths=lengths, values=np.concatenate(features))
        self._note(file, rows, lengths)

    def collect(
        self, keys: dict[int, bytes], n: int, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "n T d"], Bool[Tensor, "n T"]]:
        """The features (n, T, d) of n rows, zero for rows without a key, and the mask of their real frames."""
        lengths, by_file = torch.zeros(n, dtype=torch.long), {}
        for i, key in keys.items():
            file, start, end = self._place[key]
            lengths[i] = end - start
            by_file.setdefault(file, []).append((i, start, end))
        observed = torch.arange(int(lengths.max())) < lengths[:, None]
        x = None
        for file, spans in by_file.items():
            values = torch.from_numpy(_load(file)[2]).to(dtype)
            x = torch.zeros(*observed.shape, values.shape[1], dtype=dtype) if x is None else x
            if values.shape[1] != (width := x.shape[2]):
                widths = f"{values.shape[1]} wide, others of this encoder {width}"
                raise DataError(f"{file}: features are {widths}; delete it")
            for i, start, end in spans:
                x[i, : end - start] = values[start:end]
        return x, observed


def _load(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """keys, lengths, values; the checksums of the zip cover every byte."""
    with np.load(file, allow_pickle=False) as arrays:
        keys, lengths, values = (arrays[name] for name in ("keys", "lengths", "values"))
    if keys.shape != (len(lengths), 32) or values.ndim != 2 or lengths.sum() != len(values):
        raise ValueError("no batch of features")
    return keys, lengths, values
