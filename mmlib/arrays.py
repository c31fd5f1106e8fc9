"""From arrays that people have, numpy, pandas, torch or lists, to the tensors, labels and splits of a Dataset.

Every error is a DataError that names the argument, the row and the remedy.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmlib.names import COLUMN_KINDS, SPLITS, TASKS, DataError, suggest

Columns = Sequence[Any] | slice


def fields(
    X: Any, y: Any, modalities: Any, observed: Any, task: Any, label_names: Any, ids: Any, split: Any,
    shares: Mapping[str, Any], columns: Mapping[str, Any], name: str,
) -> dict[str, Any]:  # fmt: skip
    """The fields of a Dataset; arguments and errors are explained in `Dataset.from_arrays`.

    shares: valid, test and seed of a drawn split. columns: group, order, speaker and fold.
    """
    kinds = {
        "modalities": (modalities, Mapping, "name -> columns"), "observed": (observed, Mapping, "modality -> array"),
        "task": (task, str, "text"), "label_names": (label_names, list | tuple, "a list of texts"),
    }  # fmt: skip
    for argument, (value, kind, text) in kinds.items():
        if value is not None and (not isinstance(value, kind) or hasattr(value, "toarray")):
            raise DataError(f"{argument}: is {type(value).__name__}; give {text}")
    if label_names is not None and not all(isinstance(name, str) for name in label_names):
        raise DataError("label_names: holds other things than texts; give a list of texts")
    features, masks = parts_of(X, modalities, observed)
    warn_of_zeros(features, masks)
    n = len(next(iter(features.values())))
    task, target, names = labels_of(y, task, label_names)
    if len(target) != n:
        raise DataError(f"y: has {len(target)} rows, X has {n}; give one label for each row of X")
    columns = {k: column_of(k, v, n, COLUMN_KINDS[k]) for k, v in columns.items()}
    if split is None:
        split = drawn_split(task, target, names, columns["group"], **shares)
    return {
        "name": name, "task": task, "features": features, "observed": masks, "target": target,
        "split": split_of(split, n), "ids": np.arange(n).astype(str) if ids is None else column_of("ids", ids, n, "U"),
        "label_names": names, **columns, "partial": shares["test"] == 0,
        "provenance": {"name": name, "source": "arrays", "columns": columns_of(X, modalities)},
    }  # fmt: skip


def parts_of(
    X: Any, modalities: Mapping[str, Columns] | None = None, observed: Mapping[str, Any] | None = None
) -> tuple[dict[str, Float[Tensor, "n T d"]], dict[str, Bool[Tensor, "n T"]]]:
    """Features and masks per modality.

    X: modality -> (n, d) or (n, T, d); or one table (n, columns) whose columns `modalities` groups; a DataFrame with two
    levels of column names is grouped by the first. observed: modality -> (n,) or (n, T), True where a frame is real.
    By default a frame that is NaN throughout is missing, and so are the frames of zeros at the end of a sequence; a sequence
    that is zero throughout is missing. A vector of zeros is real.
    Raises DataError for a frame that is NaN in part, infinite values, text, and shapes that do not fit each other.
    """
    arrays = X if by_name(X) else _groups(X, modalities)
    if by_name(X) and modalities is not None:
        raise DataError("modalities: X names its modalities itself; leave the argument out")
    if not arrays:
        raise DataError("X: there is no modality; give at least one")
    observed = dict(observed or {})
    if unknown := [m for m in observed if m not in arrays]:
        raise DataError(f"observed: no modality {unknown[0]!r} in X{suggest(unknown[0], list(arrays))}")
    features = {str(m): _frames(m, x) for m, x in arrays.items()}
    sizes = {m: len(x) for m, x in features.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"X: the modalities have {sizes} rows; give each the same, with NaN where one is missing")
    masks = {m: _mask(m, x, observed.get(m)) for m, x in features.items()}
    return {m: x.masked_fill(~masks[m][..., None], 0) for m, x in features.items()}, masks


def by_name(X: Any) -> bool:
    """Whether X has one array per modality. Some sparse matrices are dicts."""
    return isinstance(X, Mapping) and not hasattr(X, "toarray")


def _groups(X: Any, modalities: Mapping[str, Columns] | None) -> dict[str, Any]:
    if hasattr(X, "toarray"):
        raise DataError("X: is a sparse matrix; give X.toarray()")
    if isinstance(X, pd.DataFrame) and modalities is None and X.columns.nlevels > 1:
        return {str(m): X[m] for m in dict.fromkeys(X.columns.get_level_values(0))}
    if modalities is None:
        return {"x": X}
    names = list(X.columns) if isinstance(X, pd.DataFrame) else None
    if names is None:
        X = X if isinstance(X, Tensor) else _array("X", X)
        if X.ndim != 2:
            raise DataError(f"X: has shape {tuple(X.shape)}; `modalities` groups the columns of a table (n, columns)")
    groups, taken = {}, {}
    for m, columns in modalities.items():
        places = positions(m, columns, X.shape[1] if names is None else names)
        for place in places:
            if place in taken:
                name = place if names is None else names[place]
                raise DataError(f"modalities[{m!r}]: column {name!r} is also in {taken[place]!r}; name it once")
            taken[place] = m
        groups[m] = X[:, places] if names is None else X.iloc[:, places]
    return groups


def positions(m: str, columns: Columns, names: list[Any] | int) -> list[int]:
    """Where the columns of a modality stand in a table. names: of its columns, or how many it has.

    columns: names or numbers, as a list, or a slice of numbers.
    """
    count = names if isinstance(names, int) else len(names)
    if isinstance(columns, str) or not isinstance(columns, slice | Sequence | np.ndarray | pd.Index | range):
        raise DataError(f"modalities[{m!r}]: is {columns!r}; give a list of columns or a slice")
    try:
        if isinstance(columns, slice):
            return list(range(count))[columns]
        place = {} if isinstance(names, int) else {name: i for i, name in enumerate(names)}
        return [place[c] if c in place else range(count)[c] for c in columns]
    except (IndexError, TypeError) as e:
        have = f"0 .. {count - 1}" if isinstance(names, int) else ", ".join(map(str, names))
        near = next((suggest(str(c), map(str, place)) for c in columns if c not in place), "")
        raise DataError(f"modalities[{m!r}]: {columns} are not all columns of X; it has {have}{near}") from e


def columns_of(X: Any, modalities: Mapping[str, Columns] | None) -> dict[str, list[Any]]:
    """The columns of a table that `parts_of` took for each modality, empty where X is no such table. They fit into JSON."""
    if by_name(X) or getattr(getattr(X, "columns", None), "nlevels", 1) > 1:
        return {}
    shape = np.shape(X)
    if len(shape) != 2:
        return {}
    names = list(X.columns) if isinstance(X, pd.DataFrame) else list(range(shape[1]))
    places = {m: positions(m, c, names) for m, c in (modalities or {"x": slice(None)}).items()}
    return {str(m): [names[i] if isinstance(names[i], str) else int(names[i]) for i in p] for m, p in places.items()}


def _array(name: str, values: Any) -> np.ndarray:
    """Any values as an array; a tensor leaves its graph and device."""
    if values is None or isinstance(values, Iterator):
        raise DataError(f"{name}: is {type(values).__name__}; give an array or a list")
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as e:
        raise DataError(
            f"{name}: is ragged or no array ({e}); give rows of one length, sequences padded with NaN"
        ) from e


def _frames(m: Any, x: Any) -> Float[Tensor, "n T d"]:
    where = f"X[{m!r}]"
    if hasattr(x, "toarray"):
        raise DataError(f"{where}: is a sparse matrix; give .toarray()")
    array = x.detach().cpu() if isinstance(x, Tensor) else _array(where, x)
    if not isinstance(array, Tensor):
        try:
            array = torch.from_numpy(np.array(array, dtype=np.float32))
        except (TypeError, ValueError) as e:
            raise DataError(
                f"{where}: holds {array.dtype} that are no numbers ({e}); encode text and files first"
            ) from e
    array = array.float()
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"{where}: has shape {tuple(array.shape)}; expected (n, d), or (n, frames, d) for sequences")
    if bool(array.isinf().any()):
        row = int(array.isinf().flatten(1).any(1).nonzero()[0])
        raise DataError(f"{where}, row {row}: a value is infinite; repair it, or set the whole frame to NaN")
    return array


def _mask(m: str, x: Float[Tensor, "n T d"], observed: Any) -> Bool[Tensor, "n T"]:
    nan = x.isnan()
    if observed is None:
        mask = ~nan.all(2)
        filled = mask & (x != 0).any(2) if x.shape[1] > 1 else mask
        mask &= filled.flip(1).cumsum(1).flip(1) > 0  # zeros at the end of a sequence are padding
    else:
        given = _array(f"observed[{m!r}]", observed)
        if given.dtype.kind not in "bif":
            raise DataError(f"observed[{m!r}]: holds {given.dtype}; give True where a frame is real")
        mask = torch.from_numpy(given.astype(bool))
        mask = mask[:, None].expand(x.shape[:2]) if mask.ndim == 1 and len(mask) == len(x) else mask
        if mask.shape != x.shape[:2]:
            raise DataError(f"observed[{m!r}]: shape {tuple(mask.shape)}, expected {tuple(x.shape[:2])} or ({len(x)},)")
    partial = (nan.any(2) & mask).any(1)
    if bool(partial.any()):
        row = int(partial.nonzero()[0])
        raise DataError(f"X[{m!r}], row {row}: a frame is NaN in part; impute it, or set all of it to NaN (missing)")
    return mask


def labels_of(
    y: Any, task: str | None = None, names: Sequence[str] | None = None
) -> tuple[str, Tensor, tuple[str, ...]]:
    """Task, target and label names of a Dataset.

    y: (n,) classes as text, whole numbers or truth values, or values as floats; (n, C) of 0 and 1, or n lists of names,
    for several labels each. task: one of TASKS, needed where floats are all whole numbers.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"task: {task!r} is not one of {', '.join(TASKS)}{suggest(task, TASKS)}")
    columns = [str(c) for c in y.columns] if isinstance(y, pd.DataFrame) else None
    if isinstance(y, list | tuple) and y and all(isinstance(v, list | tuple | set | frozenset) for v in y):
        if all(isinstance(name, str) for row in y for name in row):
            columns = sorted({name for row in y for name in row})
            y = [[float(name in row) for name in columns] for row in y]
    array = _array("y", y)
    if array.ndim == 2 and array.shape[1] == 1 and task in (None, "regression", "multiclass"):
        array = array[:, 0]
    if array.ndim == 0 or not len(array):
        raise DataError("y: is empty; give one label or value for each row")
    objects = array.flat if array.dtype.kind == "O" else ()
    others = [v for v in objects if not isinstance(v, str | int | float | np.generic) and pd.isna(v) is not True]
    if array.dtype.kind in "cmMV" or others:
        raise DataError(f"y: holds {array.dtype}; give text, numbers or truth values")
    missing = pd.isna(array) if array.ndim == 1 else pd.isna(array).any(1)
    if missing.any():
        raise DataError(f"y, row {int(missing.argmax())}: there is no label (NaN); drop the row")
    if array.ndim == 2:
        return _several(array, task, names or columns)
    task = task or _single_task(array)
    if task == "regression":
        try:
            target = torch.from_numpy(array.astype(np.float32))
        except (TypeError, ValueError) as e:
            raise DataError(f"y: holds {array.dtype} that are no numbers ({e}); task 'multiclass' takes text") from e
        if not bool(target.isfinite().all()):
            raise DataError(f"y, row {int((~target.isfinite()).nonzero()[0])}: the value is infinite; drop the row")
        return task, target, ()
    if task != "multiclass":
        raise DataError(f"y: has shape {array.shape}; task {task!r} needs one column of 0 and 1 per label")
    return _classes(array, names)


def _single_task(array: np.ndarray) -> str:
    if array.dtype.kind == "O":
        array = np.array(array.tolist()) if len({type(v) for v in array.tolist()}) == 1 else array.astype(str)
    if array.dtype.kind != "f":
        return "multiclass"
    if (array == np.round(array)).all():
        raise DataError(
            "y: floats that are all whole numbers can be classes or values; give task 'multiclass' or 'regression'"
        )
    return "regression"


def _classes(array: np.ndarray, names: Sequence[str] | None) -> tuple[str, Tensor, tuple[str, ...]]:
    values = list(dict.fromkeys(array.tolist()))
    try:
        values.sort()
    except TypeError as e:
        raise DataError(f"y: mixes types ({e}); use one, such as text") from e
    if names is not None and all(isinstance(v, int) for v in values):
        if values[0] < 0 or values[-1] >= len(names):
            raise DataError(
                f"y: classes are {values[0]} .. {values[-1]}, label_names has {len(names)}; number them from 0"
            )
        return "multiclass", torch.from_numpy(array.astype(np.int64)), tuple(names)
    texts = [str(v) for v in values] if names is None else list(names)
    if names is not None and set(map(str, values)) - set(texts):
        new = sorted(set(map(str, values)) - set(texts))[0]
        raise DataError(f"y: class {new!r} is not in label_names{suggest(new, texts)}")
    if len(texts) < 2:
        raise DataError(f"y: all rows have the class {texts[0]!r}; a classifier needs at least two classes")
    number = {text: i for i, text in enumerate(texts)}
    return "multiclass", torch.tensor([number[str(v)] for v in array.tolist()]), tuple(texts)


def _several(array: np.ndarray, task: str | None, names: Sequence[str] | None) -> tuple[str, Tensor, tuple[str, ...]]:
    if task not in (None, "multilabel", "multibinary"):
        raise DataError(f"y: has shape {array.shape}, one column per label; task {task!r} takes one label per row")
    bad = ~np.isin(array, (0, 1)).all(1)
    if bad.any():
        raise DataError(f"y, row {int(bad.argmax())}: a value is neither 0 nor 1; give one column of 0 and 1 per label")
    names = tuple(names) if names is not None else tuple(f"label {i}" for i in range(array.shape[1]))
    if len(names) != array.shape[1]:
        raise DataError(f"label_names: are {len(names)}, y has {array.shape[1]} columns; they must agree")
    return task or "multilabel", torch.from_numpy(array.astype(np.float32)), names


def split_of(split: Any, n: int) -> np.ndarray:
    """A given split, checked."""
    array = np.array([str(v) for v in _array("split", split).ravel().tolist()])
    if array.shape != (n,):
        raise DataError(f"split: has shape {array.shape}, expected ({n},): one of {', '.join(SPLITS)} for each row")
    for row in np.flatnonzero(~np.isin(array, SPLITS))[:1]:
        near = suggest(array[row], SPLITS)
        raise DataError(f"split, row {row}: {str(array[row])!r} is not one of {', '.join(SPLITS)}{near}")
    return array


def drawn_split(
    task: str, target: Tensor, names: Sequence[str], group: np.ndarray | None, valid: float, test: float, seed: int
) -> np.ndarray:
    """A random split with these shares of the rows (of the groups, where there are groups), stratified by class.

    test = 0 draws no test rows. Rows of one group are in one split; they are then not stratified.
    """
    # The import takes a second, and few programs draw a split.
    from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

    if not (0 < valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise DataError(f"valid, test: are {valid:g} and {test:g}; two shares whose sum is below 1, valid above 0")
    split, rows = np.full(len(target), "train"), np.arange(len(target))
    strata = target.numpy() if task == "multiclass" and group is None else None
    if strata is not None:
        count = np.bincount(strata, minlength=len(names))
        least = 2 + (test > 0)
        if (rare := np.flatnonzero((count > 0) & (count < least))).size:
            raise DataError(
                f"y: class {names[rare[0]]!r} has {count[rare[0]]} row(s); a drawn split needs {least} of each class; "
                "give `split`, or drop the class"
            )
    for name, share in (("test", test), ("valid", valid / (1 - test))):
        if not share:
            continue
        units = len(rows) if group is None else len(set(group[rows]))
        size = max(1, round(share * units), len(set(strata[rows])) if strata is not None else 1)
        kind = GroupShuffleSplit if group is not None else ShuffleSplit if strata is None else StratifiedShuffleSplit
        if units - size < (len(set(strata[rows])) if strata is not None else 1):
            what = "rows" if group is None else "groups"
            raise DataError(f"split: {units} {what} are too few to draw {name} rows from; give more, or give `split`")
        drawn = kind(1, test_size=size, random_state=seed)
        _, chosen = next(
            drawn.split(rows, None if strata is None else strata[rows], None if group is None else group[rows])
        )
        split[rows[chosen]] = name
        rows = np.flatnonzero(split == "train")
    return split


def as_column(values: Any, kind: str) -> np.ndarray | None:
    """Lists, Series and arrays of objects as an array of text (kind 'U') or whole numbers ('i'), where they hold such.

    pandas keeps text as objects even after .astype(str). Arrays of another type are returned as they are.
    """
    if values is None or (isinstance(values, np.ndarray) and values.dtype.kind != "O"):
        return values
    items, types = list(values), (str,) if kind == "U" else (int, np.integer)
    if all(isinstance(item, types) and not isinstance(item, bool) for item in items):
        return np.array(items, dtype=str if kind == "U" else np.int64)
    return np.asarray(values)


def column_of(name: str, values: Any, n: int, kind: str) -> np.ndarray | None:
    """A column of a Dataset: text (kind 'U') or whole numbers ('i'), from any sequence of n values."""
    if values is None:
        return None
    array = _array(name, values)
    if array.shape != (n,):
        raise DataError(f"{name}: has shape {array.shape}, expected ({n},): one value for each row of X")
    if pd.isna(array).any():
        raise DataError(f"{name}, row {int(pd.isna(array).argmax())}: the value is missing; fill it in")
    if kind == "U":
        return np.array([str(v) for v in array.tolist()])
    try:
        return array.astype(np.int64)
    except (TypeError, ValueError) as e:
        raise DataError(f"{name}: holds {array.dtype}, expected whole numbers") from e


def warn_of_zeros(features: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> None:
    """Says where vectors are zero throughout: many people mark missing ones so, but zeros count as real."""
    for m, x in features.items():
        zero = int((observed[m] & (x == 0).all(2)).sum()) if x.shape[1] == 1 and x.shape[2] > 1 else 0
        if zero:
            text = f"{m}: {zero} of {len(x)} rows are zeros throughout and count as real; mark missing ones by NaN"
            warnings.warn(text, stacklevel=3)
