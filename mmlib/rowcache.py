"""Results per row, kept by the content that they were computed from, in memory and if asked for on disk."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib.data.dataset import Batch, DataError


class RowCache:
    """Tensors of one shape by (maker, row): the same maker never computes the same row twice.

    maker: the fingerprint of whatever computes, weights and settings; another maker finds nothing of this one's.
    folder: each call that computed something writes one file there, under a temporary name first; None: memory alone.
    """

    def __init__(self, folder: Path | str | None = None):
        self.folder = None if folder is None else Path(folder)
        self._maker = ""
        self._place: dict[bytes, int] = {}
        self._values = torch.zeros(0)

    def get(self, maker: str, rows: Sequence[bytes], compute: Callable[[Int[Tensor, "n"]], Tensor]) -> Tensor:
        """One value per row, on the device that `compute` works on; it is called with the places of those not yet known.

        Raises DataError for a file in the folder that is damaged or tells of another maker than its name.
        """
        if maker != self._maker:
            self._maker, self._place, self._values = maker, {}, torch.zeros(0)
            self._load()
        new = {row: place for place, row in enumerate(rows) if row not in self._place}
        if new:
            values = compute(torch.tensor(list(new.values())))
            self._add(list(new), values)
            self._save(list(new), values)
        places = torch.tensor([self._place[row] for row in rows], device=self._values.device)
        return self._values[places]

    def _add(self, rows: list[bytes], values: Tensor) -> None:
        start = len(self._place)
        self._place.update({row: start + i for i, row in enumerate(rows)})
        self._values = torch.cat([self._values.to(values.device), values]) if start else values

    def _save(self, rows: list[bytes], values: Tensor) -> None:
        if self.folder is None:
            return
        folder = self.folder / self._maker[:16]
        folder.mkdir(parents=True, exist_ok=True)
        keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
        file = folder / f"{hashlib.blake2b(keys.numpy().tobytes(), digest_size=8).hexdigest()}.safetensors"
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        save_file({"rows": keys, "values": values.cpu().contiguous()}, temporary, {"maker": self._maker})
        os.replace(temporary, file)

    def _load(self) -> None:
        if self.folder is None:
            return
        for file in sorted((self.folder / self._maker[:16]).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as f:
                    keys, values, maker = (
                        f.get_tensor("rows"),
                        f.get_tensor("values"),
                        (f.metadata() or {}).get("maker"),
                    )
            except SafetensorError as e:
                raise DataError(f"{file} is not a whole file of completed rows ({e}); delete it") from e
            if maker != self._maker:
                raise DataError(
                    f"{file} was made by other weights ({str(maker)[:16]}, not {self._maker[:16]}); delete it"
                )
            rows = [row.tobytes() for row in keys.numpy()]
            fresh = [i for i, row in enumerate(rows) if row not in self._place]
            if fresh:
                self._add([rows[i] for i in fresh], values[fresh])


def fingerprint(weights: Mapping[str, Tensor], settings: object) -> str:
    """SHA-256 over named tensors and the printed settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in weights.items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def row_contents(batch: Batch) -> list[bytes]:
    """Of each row a digest of everything observed, and of the row's number."""
    columns = [batch.index[:, None]]
    for m, x in batch.x.items():
        columns += [batch.frames[m], x.masked_fill(~batch.frames[m][..., None], 0).flatten(1)]
    columns = [c.cpu().contiguous().numpy() for c in columns]
    return [
        hashlib.blake2b(b"".join(c[i].tobytes() for c in columns), digest_size=16).digest() for i in range(len(batch))
    ]
