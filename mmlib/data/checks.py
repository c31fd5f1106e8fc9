"""DataError, and the checks of a Dataset: columns, splits, ids, target and features."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.names import COLUMN_KINDS, SPLITS, TASKS, DataError, suggest

_CHUNK_BYTES = 2**22


def field_error(
    where: str | Path, key: str, message: str, row: int | np.integer | None = None, ids: np.ndarray | None = None
) -> DataError:
    """The error of a field, or of one row of it; its message names the id of the row, too."""
    place = "" if row is None else f", row {row} (id {str(ids[row])!r})"
    return DataError(f"{where}: field {key!r}{place}: {message}")


def check_modalities(names: tuple[str, ...], requested: tuple[str, ...], where: str) -> None:
    """Raises DataError unless every requested modality is one of the names."""
    for m in requested:
        if m not in names:
            raise DataError(f"{where}: no modality {m!r}; there are {', '.join(names)}{suggest(m, names)}")


def chunk_rows(x: Tensor) -> int:
    """How many rows of x are read at a time, so that memory-mapped features need little memory."""
    return max(1, _CHUNK_BYTES // (4 * x[0].numel()))


def check_dataset(data: Any) -> None:
    """Raises DataError for the first thing in a Dataset that would make a later number meaningless."""

    def fail(name: str, message: str, row: int | None = None):
        raise field_error(data.where, name, message, row, data.ids)

    if data.task not in TASKS:
        fail("task", f"{data.task!r} is not one of {', '.join(TASKS)}")
    if not data.features:
        fail("features", "there is no modality; a dataset needs at least one")
    if len(data.ids) == 0:
        fail("ids", "there are no rows")
    if set(data.observed) != set(data.features):
        fail("observed", f"has modalities {sorted(data.observed)} but features has {sorted(data.features)}")
    _check_columns(data, fail)
    _check_splits(data, fail)
    _check_ids(data, fail)
    _check_target(data, fail)
    _check_features(data, fail)
    nothing = ~torch.stack(list(data.present.values())).any(0)
    if bool(nothing.any()):
        fail("observed", "the row has no modality at all; drop it", int(nothing.nonzero()[0]))


def _check_columns(data: Any, fail) -> None:
    n = len(data.ids)
    for name, kind in COLUMN_KINDS.items():
        column = getattr(data, name)
        if column is not None and column.shape != (n,):
            fail(name, f"has shape {column.shape}, expected ({n},): one value for each id")
        if column is not None and column.dtype.kind != kind:
            fail(name, f"is {column.dtype}; convert it with .astype({'str' if kind == 'U' else 'numpy.int32'})")
    if data.ids.dtype.kind != "U":
        fail("ids", f"are {data.ids.dtype}; convert them with .astype(str)")


def _check_features(data: Any, fail) -> None:
    n = len(data.ids)
    for m, x in data.features.items():
        observed = data.observed[m]
        if x.ndim != 3 or len(x) != n or 0 in x.shape:
            fail(m, f"has shape {tuple(x.shape)}, expected ({n}, frames, width); give a vector feature one frame")
        if x.dtype not in (torch.float32, torch.float16):
            fail(m, f"has type {x.dtype}; convert it to float32 (or float16)")
        if observed.dtype != torch.bool or observed.shape != x.shape[:2]:
            fail(m, f"observed is {observed.dtype} {tuple(observed.shape)}, expected bool {tuple(x.shape[:2])}")
        step = chunk_rows(x)
        for start in range(0, n, step):
            chunk, real = x[start : start + step], observed[start : start + step]
            flat = chunk.flatten(1)
            if not bool(flat.isfinite().all()):
                row = start + int((~flat.isfinite()).any(1).nonzero()[0])
                fail(m, "a value is NaN or infinite; repair it (and say how) or mark the modality absent", row)
            hidden = chunk.masked_fill(real.unsqueeze(-1), 0).flatten(1)
            if bool(hidden.any()):
                row = start + int(hidden.any(1).nonzero()[0])
                fail(m, "is not zero where it is absent or padding; zero it, or mark the frame as real", row)


def _check_splits(data: Any, fail) -> None:
    for row in np.flatnonzero(~np.isin(data.split, SPLITS))[:1]:
        near = suggest(str(data.split[row]), SPLITS)
        fail("split", f"{str(data.split[row])!r} is not one of {', '.join(SPLITS)}; rename it{near}", int(row))
    for split in () if data.partial else SPLITS:
        if not (data.split == split).any():
            fail("split", f"no row has the split {split!r}; every split needs rows")


def _check_ids(data: Any, fail) -> None:
    order = np.argsort(data.ids, kind="stable")
    again = np.flatnonzero(data.ids[order][1:] == data.ids[order][:-1])
    if len(again):
        first, second = int(order[again[0]]), int(order[again[0] + 1])
        if data.split[first] != data.split[second]:
            splits = " and ".join(repr(str(data.split[row])) for row in (first, second))
            fail("ids", f"is also row {first}: one id in the splits {splits} is a leak; keep one", second)
        fail("ids", f"is also row {first}; ids must be unique, drop or rename one", second)


def _check_target(data: Any, fail) -> None:
    y, n = data.target, len(data.ids)
    if len(y) != n:
        fail("target", f"has {len(y)} rows but there are {n} ids")
    if data.task in ("multilabel", "multibinary"):
        if y.ndim != 2 or y.dtype != torch.float32:
            fail("target", f"is {y.dtype} {tuple(y.shape)}, expected float32 ({n}, labels)")
        if y.shape[1] != len(data.label_names):
            fail("target", f"has {y.shape[1]} columns but label_names has {len(data.label_names)}; they must agree")
        bad = ((y != 0) & (y != 1)).any(1)
        message = "a value is neither 0 nor 1; code absent labels as 0"
    elif data.task == "multiclass":
        if y.ndim != 1 or y.dtype != torch.int64:
            fail("target", f"is {y.dtype} {tuple(y.shape)}, expected int64 ({n},)")
        bad = (y < 0) | (y >= len(data.label_names))
        message = f"the class is outside 0..{len(data.label_names) - 1}; number classes from 0, one label name each"
    else:
        if y.ndim != 1 or y.dtype != torch.float32:
            fail("target", f"is {y.dtype} {tuple(y.shape)}, expected float32 ({n},)")
        bad, message = ~y.isfinite(), "the value is NaN or infinite; drop rows without a label"
    if bool(bad.any()):
        fail("target", message, int(bad.nonzero()[0]))
