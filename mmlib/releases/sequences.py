"""What the readers of releases share: padding told from frames, broken numbers repaired, rows of any length stacked."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmlib.data.checks import DataError


def repaired(x: Float[np.ndarray, "*shape"]) -> tuple[Float[np.ndarray, "*shape"], int]:
    """x as float32 with zeros in place of NaN and infinity (COVAREP writes -inf for log 0), and how many there were."""
    x = np.asarray(x, dtype=np.float32)
    broken = ~np.isfinite(x)
    count = int(broken.sum())
    return (np.where(broken, np.float32(0), x) if count else x), count


def repaired_rows(arrays: Iterable[np.ndarray | None]) -> tuple[list[np.ndarray | None], int]:
    """Each array repaired, None where nothing but zeros is left or it was None; how many numbers were repaired in all."""
    rows, broken = [], 0
    with np.errstate(over="ignore"):  # what is too large for float32 counts as infinite
        for array in arrays:
            x, count = (None, 0) if array is None else repaired(array)
            rows.append(x if x is not None and x.any() else None)
            broken += count
    return rows, broken


def real_frames(x: Float[Tensor, "N T d"]) -> Bool[Tensor, "N T"]:
    """From each row's first frame that is not zero to its last: padding in front and at the end is not real.

    A zero frame between two others is (no face was found, say); a row of zeros has no frame.
    """
    seen = (x != 0).any(2)
    return (seen.cumsum(1) > 0) & (seen.flip(1).cumsum(1) > 0).flip(1)


def padded(
    rows: Sequence[Float[np.ndarray, "_ d"] | None], where: str | Path, key: str
) -> tuple[Float[Tensor, "N T d"], Bool[Tensor, "N T"]]:
    """Sequences of any lengths as one tensor, zero behind each one's end, and its real frames; None: the row has none.

    Raises DataError where widths differ, something is not (frames, width), or no row has any frame.
    """
    present = [row for row in rows if row is not None and len(row)]
    if not present:
        raise DataError(f"{where}: field {key!r}: no row has a single frame")
    width = present[0].shape[-1]
    for i, row in enumerate(rows):
        if row is not None and (row.ndim != 2 or row.shape[1] != width):
            raise DataError(f"{where}: field {key!r}, row {i}: has shape {row.shape}, expected (frames, {width})")
    lengths = torch.tensor([0 if row is None else len(row) for row in rows])
    observed = torch.arange(int(lengths.max())) < lengths[:, None]
    x = torch.zeros(len(rows), observed.shape[1], width)
    x[observed] = torch.from_numpy(np.concatenate(present).astype(np.float32))
    return x, observed
