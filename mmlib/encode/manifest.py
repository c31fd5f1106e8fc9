"""Rows of raw data from a CSV file, a folder or a list of mappings, all checked before any content is read."""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from mmlib.names import SPLITS, TASKS, DataError, suggest
from mmlib.releases import mmimdb

MODALITIES = ("text", "image", "audio", "vision")  # a text, or the name of a file
NOT_THERE = "is not there"

_COLUMNS = ("id", "label", *MODALITIES, "split", "group")


@dataclass(frozen=True)
class Manifest:
    """Checked rows of raw data, whose contents are not yet read.

    where: their name in messages. contents: per modality one text, file or None for each row; a text
    whose words were hidden may be the numbers of the word pieces that are left.
    lost: per modality and row the reason why a content counts as missing. folder: the folder of the files.
    """

    where: str
    task: str
    ids: list[str]
    split: list[str]
    group: list[str] | None
    target: Tensor
    label_names: tuple[str, ...]
    contents: dict[str, list[str | tuple[int, ...] | Path | None]]
    lost: dict[tuple[str, int], str]
    folder: Path
    split_source: str
    warnings: list[str] = field(default_factory=list)


def manifest(source: Path | str | Sequence[Mapping], *, folder: Path | str = ".", task: str | None = None) -> Manifest:
    """The checked rows of a CSV file, of a folder, or of a list of mappings.

    task: by default, numeric labels mean regression, 'a|b|c' (or a list) multilabel, and other texts multiclass.
    folder: all paths in a list of mappings are relative to it and inside it. `genres` may replace `label` there.
    `video` means `vision`. Warnings name the columns that are not read.

    Without splits, the hash of the group (or of the id, without groups) puts 70 % of the rows into train, 10 % into valid
    and 20 % into test.

    Raises DataError for the first error. A file that does not exist is no error: it counts as missing.
    """
    if isinstance(source, Path | str):
        source = Path(source)
        if (source / "split.json").exists() and not (source / "manifest.csv").exists():
            where = folder = source.resolve()
            rows = mmimdb.manifest(folder)
        else:
            where = source / "manifest.csv" if source.is_dir() else source
            rows, folder = [_row(where, r) for r in _read_csv(where)], where.parent
            for i, row in enumerate(rows):
                for m in MODALITIES[1:]:
                    if PurePosixPath(row.get(m) or "").is_absolute():
                        raise error_at(where, m, f"{row[m]!r} is absolute; write it relative to the manifest", i, row)
    else:
        where, rows = "rows", source
    checked = _checked(where, [_row(where, r) for r in rows], Path(folder).absolute(), task)
    return replace(checked, warnings=[*getattr(rows, "warnings", []), *checked.warnings])


def error_at(where: Path | str, key: str, message: str, i: int | None = None, row: Mapping | None = None) -> DataError:
    place = "" if i is None else f", row {i} (id {str((row or {}).get('id'))!r})"
    return DataError(f"{where}: field {key!r}{place}: {message}")


def _read_csv(path: Path) -> list[dict]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names, *rows = [r for r in reader if r] or [[]]
    except OSError as e:
        raise DataError(f"{path}: cannot be opened ({e.strerror}); give a CSV manifest or a folder") from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{path}: is not CSV in UTF-8 ({e}); save it as that") from e
    for name in names:
        if names.count(name) > 1:
            raise error_at(path, name, "two columns have this name; rename one")
    for i, row in enumerate(rows):
        if len(row) != len(names):
            message = f"has {len(row)} fields, the header {len(names)}; quote texts that hold a comma"
            raise error_at(path, names[min(len(row), len(names)) - 1], message, i, {"id": row[0]})
    return [dict(zip(names, row)) for row in rows]


def _row(where: Path | str, row: Mapping) -> dict:
    """The row with the names of our columns and None for every missing value."""
    row = {"label": row["genres"], **row} if "genres" in row else dict(row)
    if "video" in row and "vision" in row:
        raise error_at(where, "video", "means vision, which is a column, too; take one out")
    row = {"vision" if name == "video" else name: value for name, value in row.items()}
    return {k: None if v != v or isinstance(v, str) and not v.strip() else v for k, v in row.items()}  # NaN: pandas


def _checked(where: Path | str, rows: list[dict], folder: Path, task: str | None) -> Manifest:
    columns = {name for row in rows for name in row}
    if not rows:
        raise error_at(where, "id", "there are no rows; add some")
    for name in ("id", "label"):
        if name not in columns:
            raise error_at(where, name, f"the column is missing; add it, the columns are {', '.join(_COLUMNS)}")
    if not columns & set(MODALITIES):
        raise error_at(where, "text", f"there is no column of {', '.join(MODALITIES)}; add at least one")
    ids = _ids(where, rows)
    group = None
    if any(row.get("group") is not None for row in rows):
        group = [str(_required(where, row, i, "group")) for i, row in enumerate(rows)]
    contents, lost = {}, {}
    for m in MODALITIES:
        if any(row.get(m) is not None for row in rows):
            contents[m] = _contents(where, rows, m, folder, lost)
    if not contents:
        raise error_at(where, next(m for m in MODALITIES if m in columns), "no row has any content; fill it in")
    split, split_source = _splits(where, rows, ids if group is None else group)
    task, target, names = _targets(where, rows, task)
    ignored = sorted(columns - {*_COLUMNS, "genres"})
    near = next(filter(None, (suggest(name, set(_COLUMNS) - columns) for name in ignored)), "")
    warnings = [f"columns not read: {', '.join(ignored)}{near}"] if ignored else []
    return Manifest(str(where), task, ids, split, group, target, names, contents, lost, folder, split_source, warnings)


def _required(where: Path | str, row: dict, i: int, key: str) -> Any:
    if row.get(key) is None:
        raise error_at(where, key, "is empty; fill it in or drop the row", i, row)
    return row[key]


def _ids(where: Path | str, rows: list[dict]) -> list[str]:
    seen: dict[str, int] = {}
    for i, row in enumerate(rows):
        name = str(_required(where, row, i, "id"))
        if name in seen:
            raise error_at(where, "id", f"is also row {seen[name]}; ids must be unique, drop or rename one", i, row)
        seen[name] = i
    return list(seen)


def _contents(where: Path | str, rows: list[dict], m: str, folder: Path, lost: dict) -> list[str | Path | None]:
    if m == "text":
        return [None if row.get(m) is None else str(row[m]) for row in rows]
    files: list[Path | None] = []
    for i, row in enumerate(rows):
        file = None if row.get(m) is None else _inside(where, folder, row, m, i)
        if file is not None and not file.is_file():
            lost[m, i] = NOT_THERE
        files.append(file)
    if all(file is None or (m, i) in lost for i, file in enumerate(files)):
        first = next(filter(None, files))
        raise error_at(
            where, m, f"none of the files is there, the first would be {first}; correct it, or take the column out"
        )
    return files


def _inside(where: Path | str, folder: Path, row: dict, m: str, i: int) -> Path:
    path = Path(row[m])
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute() or ".." in kind(path).parts:
            raise error_at(where, m, f"{str(row[m])!r} leads out of {folder}; move the file there", i, row)
    return folder / path


def _splits(where: Path | str, rows: list[dict], keys: list[str]) -> tuple[list[str], str]:
    if all(row.get("split") is None for row in rows):
        split = [_hashed_split(key) for key in keys]
        source = "by the hash of id or group, 70 % train, 10 % valid, 20 % test"
    else:
        split, source = [row.get("split") or "" for row in rows], "the manifest's"
        for i, name in enumerate(split):
            if name not in SPLITS:
                raise error_at(where, "split", f"{name!r} is not one of {', '.join(SPLITS)}; rename it", i, rows[i])
    for name in SPLITS:
        if name not in split:
            raise error_at(where, "split", f"no row is in {name!r} ({source}); give every split rows by a column split")
    return split, source


def _hashed_split(key: str) -> str:
    share = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
    return "train" if share < 0.7 else "valid" if share < 0.8 else "test"


def _targets(where: Path | str, rows: list[dict], task: str | None) -> tuple[str, Tensor, tuple[str, ...]]:
    if task not in (None, *TASKS):
        raise error_at(where, "label", f"the task {task!r} is not one of {', '.join(TASKS)}; choose one")
    labels = [_required(where, row, i, "label") for i, row in enumerate(rows)]
    numbers = [_number(label) for label in labels]
    if task is None:
        several = any(_is_list(label) or "|" in str(label) for label in labels)
        task = "multilabel" if several else "multiclass" if set(numbers) == {None} else "regression"
    if task == "regression":
        for i, number in enumerate(numbers):
            if number is None:
                message = f"{labels[i]!r} is not a number; correct it, or say that the task is multiclass"
                raise error_at(where, "label", message, i, rows[i])
        return task, torch.tensor(numbers, dtype=torch.float32), ()
    if task == "multiclass":
        classes = sorted({str(label) for label in labels}, key=lambda c: (_number(c) or 0, c))
        return task, torch.tensor([classes.index(str(label)) for label in labels]), tuple(classes)
    sets = [{str(p).strip() for p in (label if _is_list(label) else str(label).split("|"))} for label in labels]
    for i, label in enumerate(labels):
        if "" in sets[i]:
            raise error_at(where, "label", f"{label!r} has an empty part; take out the extra '|'", i, rows[i])
    names = sorted(set().union(*sets))
    if not names:
        raise error_at(where, "label", "no row has any label; add some")
    return task, torch.tensor([[float(name in s) for name in names] for s in sets]), tuple(names)


def _is_list(label: Any) -> bool:
    return isinstance(label, Iterable) and not isinstance(label, str)


def _number(label: Any) -> float | None:
    """A finite float32, else None."""
    try:
        number = float(label)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= torch.finfo(torch.float32).max else None
