"""Results per row, stored under the content that they were computed from, in memory and optionally on disk."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib.data.dataset import Batch
from mmlib.files import replacing
from mmlib.names import DataError

_MAKERS = 8


class RowCache:
    """Tensors of one shape by (maker, row), so that a maker computes a row once.

    maker: the fingerprint of the weights and settings that compute. Entries are never shared between makers; those of the
    last few makers stay in memory.
    folder: each call that computes writes one file there, under a temporary name first; None: memory alone.
    """

    def __init__(self, folder: Path | str | None = None):
        self.folder = None if folder is None else Path(folder)
        self._entries: dict[str, dict[bytes, Tensor]] = {}  # by maker and row; the latest maker comes last

    def get(self, maker: str, rows: Sequence[bytes], compute: Callable[[Int[Tensor, "n"]], Tensor]) -> Tensor:
        """One value per row, stacked; `compute` is called with the places of the rows that have no entry.

        Raises DataError for a file in the folder that is damaged or belongs to another maker than its name says.
        """
        entries = self._entries.pop(maker) if maker in self._entries else self._load(maker)
        places = {row: i for i, row in enumerate(rows) if row not in entries}
        if places:
            values = compute(torch.tensor(list(places.values())))
            self._save(maker, list(places), values)
            entries = {row: v.to(values.device) for row, v in entries.items()} | dict(zip(places, values))
        self._entries[maker] = entries
        while len(self._entries) > _MAKERS:
            del self._entries[next(iter(self._entries))]
        return torch.stack([entries[row] for row in rows])

    def _save(self, maker: str, rows: list[bytes], values: Tensor) -> None:
        if self.folder is None:
            return
        keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
        name = hashlib.blake2b(keys.numpy().tobytes(), digest_size=8).hexdigest()
        with replacing(self.folder / maker[:16] / f"{name}.safetensors") as temporary:
            save_file({"rows": keys, "values": values.cpu().contiguous()}, temporary, {"maker": maker})

    def _load(self, maker: str) -> dict[bytes, Tensor]:
        entries: dict[bytes, Tensor] = {}
        for file in () if self.folder is None else sorted((self.folder / maker[:16]).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as f:
                    keys, values = f.get_tensor("rows"), f.get_tensor("values")
                    owner = (f.metadata() or {}).get("maker")
            except SafetensorError as e:
                raise DataError(f"{file} is not a whole file of completed rows ({e}); delete it") from e
            if owner != maker:
                raise DataError(f"{file} was made by other weights ({str(owner)[:16]}, not {maker[:16]}); delete it")
            entries = dict(zip((key.tobytes() for key in keys.numpy()), values)) | entries
        return entries


def row_contents(batch: Batch) -> list[bytes]:
    """One digest per row, of everything that it observes and of its number."""
    columns = [batch.index[:, None]]
    for m in batch.x:
        columns += [batch.observed[m], batch.frames(m).flatten(1)]
    columns = [c.cpu().contiguous().numpy() for c in columns]
    rows = [b"".join(c[i].tobytes() for c in columns) for i in range(len(batch))]
    return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
