"""What the readers of releases share: small files, padding, numbers to repair, rows of different lengths."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmlib.names import DataError


def cannot_open(file: Path, problem: OSError) -> DataError:
    return DataError(f"{file}: cannot be opened ({problem.strerror}); put the release's file there")


def small_file(file: Path, limit: int) -> bytes:
    """The content of a file that has at most `limit` bytes in every release. Raises DataError for any other file."""
    try:
        with open(file, "rb") as opened:
            content = opened.read(limit + 1)
    except OSError as problem:
        raise cannot_open(file, problem) from problem
    if len(content) > limit:
        raise DataError(f"{file}: has over {limit} bytes, which no such file of the release has; get it again")
    return content


def repaired(x: Float[np.ndarray, "*shape"]) -> tuple[Float[np.ndarray, "*shape"], int]:
    """x as float32 with zeros in place of NaN and infinity (COVAREP writes -inf for log 0), and the number of these."""
    x = np.asarray(x, dtype=np.float32)
    broken = ~np.isfinite(x)
    count = int(broken.sum())
    return (np.where(broken, np.float32(0), x) if count else x), count


def repaired_rows(arrays: Iterable[np.ndarray | None]) -> tuple[list[np.ndarray | None], int]:
    """Each array repaired, None where it has only zeros or was None; and the number of all repaired values."""
    with np.errstate(over="ignore"):  # a number too large for float32 counts as infinite
        pairs = [(None, 0) if array is None else repaired(array) for array in arrays]
    return [x if x is not None and x.any() else None for x, _ in pairs], sum(count for _, count in pairs)


def real_frames(x: Float[Tensor, "N T d"]) -> Bool[Tensor, "N T"]:
    """The frames from the first to the last that is not zero in each row; all others are padding.

    A zero frame between two of these is real (for example, no face was found); a row of zeros has no frame.
    """
    seen = (x != 0).any(2)
    return (seen.cumsum(1) > 0) & (seen.flip(1).cumsum(1) > 0).flip(1)


def padded(
    rows: Sequence[Float[np.ndarray, "_ d"] | None], where: str | Path, key: str
) -> tuple[Float[Tensor, "N T d"], Bool[Tensor, "N T"]]:
    """Sequences of different lengths as one tensor, padded with zeros at the end, and the mask of their real frames.

    rows: arrays (frames, width), or None for a row without frames.
    Raises DataError where widths differ, an array has another shape, or no row has any frame.
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


def stacked(
    columns: dict[str, list[np.ndarray | None]], where: str | Path
) -> tuple[Bool[np.ndarray, "N"], dict[str, Tensor], dict[str, Tensor]]:
    """Drops the rows that have no modality, and pads the others; columns: per modality one array or None for each row.

    Returns the mask of the rows that stay, the features and the masks of real frames, the last two per modality.
    """
    nonempty = np.array([any(x is not None for x in row) for row in zip(*columns.values())])
    pairs = {m: padded([x for x, keep in zip(rows, nonempty) if keep], where, m) for m, rows in columns.items()}
    return nonempty, {m: x for m, (x, _) in pairs.items()}, {m: observed for m, (_, observed) in pairs.items()}


def dropped(nonempty: np.ndarray | Tensor, rows: str) -> list[str]:
    """The warning about rows that were dropped, if there are any."""
    count = int((~nonempty).sum())
    return [f"{count} {rows} without any features were dropped"] if count else []
