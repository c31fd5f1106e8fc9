"""Results per row, kept by the content that they were computed from, in memory and if asked for on disk."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmlib.data.checks import DataError
from mmlib.data.dataset import Batch

_MAKERS = 8


class RowCache:
    """Tensors of one shape by (maker, row): the same maker never computes the same row twice.

    maker: the fingerprint of whatever computes, weights and settings; another maker finds nothing of this one's. The last
    few makers are kept in memory.
    folder: each call that computed something writes one file there, under a temporary name first; None: memory alone.
    """

    def __init__(self, folder: Path | str | None = None):
        self.folder = None if folder is None else Path(folder)
        self._kept: dict[str, tuple[dict[bytes, int], Tensor]] = {}  # by maker: place of each row, values

    def get(self, maker: str, rows: Sequence[bytes], compute: Callable[[Int[Tensor, "n"]], Tensor]) -> Tensor:
        """One value per row; `compute` is called with the places of those not yet known.

        Raises DataError for a file in the folder that is damaged or tells of another maker than its name.
        """
        place, values = self._kept.pop(maker) if maker in self._kept else self._load(maker)
        new = {row: i for i, row in enumerate(rows) if row not in place}
        if new:
            made = compute(torch.tensor(list(new.values())))
            self._save(maker, list(new), made)
            place, values = _joined(place, values, list(new), made)
        self._kept[maker] = place, values
        while len(self._kept) > _MAKERS:
            del self._kept[next(iter(self._kept))]
        return values[torch.tensor([place[row] for row in rows], device=values.device)]

    def _save(self, maker: str, rows: list[bytes], values: Tensor) -> None:
        if self.folder is None:
            return
        folder = self.folder / maker[:16]
        folder.mkdir(parents=True, exist_ok=True)
        keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
        file = folder / f"{hashlib.blake2b(keys.numpy().tobytes(), digest_size=8).hexdigest()}.safetensors"
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        save_file({"rows": keys, "values": values.cpu().contiguous()}, temporary, {"maker": maker})
        os.replace(temporary, file)

    def _load(self, maker: str) -> tuple[dict[bytes, int], Tensor]:
        place, values = {}, torch.zeros(0)
        files = () if self.folder is None else sorted((self.folder / maker[:16]).glob("*.safetensors"))
        for file in files:
            try:
                with safe_open(file, "pt") as f:
                    keys, found, said = f.get_tensor("rows"), f.get_tensor("values"), (f.metadata() or {}).get("maker")
            except SafetensorError as e:
                raise DataError(f"{file} is not a whole file of completed rows ({e}); delete it") from e
            if said != maker:
                raise DataError(f"{file} was made by other weights ({str(said)[:16]}, not {maker[:16]}); delete it")
            rows = [row.tobytes() for row in keys.numpy()]
            fresh = [i for i, row in enumerate(rows) if row not in place]
            if fresh:
                place, values = _joined(place, values, [rows[i] for i in fresh], found[fresh])
        return place, values


def _joined(
    place: dict[bytes, int], values: Tensor, rows: list[bytes], more: Tensor
) -> tuple[dict[bytes, int], Tensor]:
    together = torch.cat([values.to(more.device), more]) if place else more
    return place | {row: len(place) + i for i, row in enumerate(rows)}, together


def row_contents(batch: Batch) -> list[bytes]:
    """Of each row a digest of everything observed, and of the row's number."""
    columns = [batch.index[:, None]]
    for m, x in batch.x.items():
        columns += [batch.observed[m], x.masked_fill(~batch.observed[m][..., None], 0).flatten(1)]
    columns = [c.cpu().contiguous().numpy() for c in columns]
    return [
        hashlib.blake2b(b"".join(c[i].tobytes() for c in columns), digest_size=16).digest() for i in range(len(batch))
    ]
