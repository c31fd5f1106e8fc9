"""The pickled releases of MMSA, MulT and MultiBench have one layout: a dict of splits, each of them a dict of fields."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmlib.data.dataset import Dataset
from mmlib.names import SPLITS, DataError
from mmlib.releases.sequences import padded, real_frames, repaired, repaired_rows

Shape = tuple[int | str, ...]
Fields = dict[str, np.ndarray]
# Width and description of the features of a modality.
GLOVE = {"text": (300, "GloVe 840B, 300 per word")}
COVAREP = {"audio": (74, "COVAREP, 74 per frame")}
FACET = {"vision": (35, "Facet, 35 per frame")}
HAND_PICKED = {"audio": (5, "COVAREP, 5 picked by hand"), "vision": (20, "Facet, 20 picked by hand")}
HAND_PICKED_NOTE = (
    "audio 5 and vision 20 wide are a selection by hand that its authors do not document; papers that print 74 and 35 for "
    "MOSI did not use these features"
)
MMSA_ONLY = ("regression_labels", "text_bert", "raw_text")


class Source(NamedTuple):
    """What the makers of a release say about one data set.

    rows: of train, valid and test, as published. published: False for a file in the release's layout that others made.
    """

    name: str
    modalities: dict[str, tuple[int, str]]
    rows: tuple[int, int, int] | None = None
    warnings: tuple[str, ...] = ()
    published: bool = True

    @property
    def widths(self) -> dict[str, int]:
        return {m: width for m, (width, _) in self.modalities.items()}


class Modality(NamedTuple):
    """A modality of all splits, one after the other."""

    x: Float[Tensor, "N T d"]
    observed: Bool[Tensor, "N T"]
    repaired: int  # number of values that were infinite or NaN
    astray: int  # number of rows that had values in their padding


def has(content: object, field: str) -> bool:
    """Whether some split has the field."""
    return first(content, field) is not None


def shape(content: object, field: str) -> tuple[int, ...]:
    """The shape of a field in the first split that has it, () where none has."""
    return array_of(first(content, field)).shape


def id_form(content: object) -> Shape:
    """The shape of the ids: one for each row, with as many parts as in the first split."""
    return ("rows", *shape(content, "id")[1:])


def checked(
    content: dict, path: Path, name: str, sources: Iterable[Source], form: dict[str, Shape], optional: str = ""
) -> dict[str, Fields]:
    """The fields of each split as arrays.

    form: the shape of each field. A text in it stands for any size except 0. The size of "rows" is the same for all
        fields of a split, the size of any other text for all fields of all splits.
    optional: a field that a split may lack.
    Raises DataError for a split or field that is missing, has another shape or does not hold numbers (id and raw_text may
    be texts).
    """
    widths = " or ".join(f"{s.name} {_slashes(s.widths.values())}" for s in sources)
    remedy = f"{name} has text/audio/vision {widths}: download it again, or make a Dataset of arrays of your own"

    def fail(split: str, field: str, message: str):
        raise DataError(f"{path}: split {split!r}, field {field!r}: {message}; {remedy}")

    splits, sizes = {}, {}
    for split in SPLITS:
        if not isinstance(content.get(split), dict):
            problem = "is no dict of fields" if split in content else "is missing"
            raise DataError(f"{path}: split {split!r}: {problem}; {remedy}")
        fields = {field: value for field, value in content[split].items() if value is not None}
        splits[split] = {}
        sizes.pop("rows", None)
        for field, sized in form.items():
            if field not in fields:
                if field == optional:
                    continue
                fail(split, field, f"is missing; there are {', '.join(map(str, fields))}")
            array = array_of(fields[field])
            expected = [sizes.get(size, size) for size in sized]
            agree = [n == e if isinstance(e, int) else n > 0 for n, e in zip(array.shape, expected)]
            if array.ndim != len(expected) or not all(agree):
                fail(split, field, f"has shape {array.shape}, expected ({', '.join(map(str, expected))})")
            if field not in ("id", "raw_text") and array.dtype.kind not in "fiu":
                fail(split, field, f"holds {array.dtype}, expected numbers")
            sizes |= {size: n for size, n in zip(sized, array.shape) if isinstance(size, str)}
            splits[split][field] = array
    return splits


def unpublished(path: Path, fields: Fields, modalities: Iterable[str]) -> Source:
    """The source of a file in a release's layout whose frames or widths are none of the published ones."""
    widths = {m: fields[m].shape[2] for m in modalities}
    return Source(path.stem, {m: (d, f"not documented, {d} per frame") for m, d in widths.items()}, published=False)


def stacked(splits: dict[str, Fields], field: str) -> np.ndarray:
    return np.concatenate([splits[split][field] for split in SPLITS])


def modality(splits: dict[str, Fields], field: str, observed: Bool[Tensor, "N T"] | None = None) -> Modality:
    """A modality with NaN and infinity repaired, and zero in its padding.

    observed: the mask of real frames, for a release that contains it; without it, `real_frames` finds them. A row of
        zeros never has real frames.
    """
    parts = [repaired(splits[split][field].astype(np.float32, copy=False)) for split in SPLITS]
    x = torch.from_numpy(np.concatenate([part for part, _ in parts]))
    nonzero = (x != 0).any(2)
    observed = real_frames(x) if observed is None else observed & (observed & nonzero).any(1, keepdim=True)
    astray = int((nonzero & ~observed).any(1).sum())
    x[~observed] = 0
    return Modality(x, observed, sum(count for _, count in parts), astray)


def given(text: Mapping[str, np.ndarray | Tensor], ids: Iterable[str]) -> Modality:
    """Text features (frames, width) that the caller made for each id; a row whose id is not there has no text."""
    rows, count = repaired_rows([np.asarray(text[name]) if name in text else None for name in ids])
    return Modality(*padded(rows, "text=", "text"), count, 0)


def assembled(
    path: Path,
    release: str,
    source: Source,
    splits: dict[str, Fields],
    modalities: dict[str, Modality],
    target: np.ndarray,
    *,
    label_names: tuple[str, ...] = (),
    warnings: Iterable[str] = (),
) -> Dataset:
    """The data set of these parts: multibinary with label_names, regression without.

    Rows without any modality are dropped, and ids that occur twice in a split get a suffix; warnings count both.
    """
    rows = {split: len(next(iter(splits[split].values()))) for split in SPLITS}
    split, ids = _names(splits, rows)
    nonempty = torch.stack([part.observed.any(1) for part in modalities.values()]).any(0)
    split, ids = split[nonempty.numpy()], ids[nonempty.numpy()]
    unique = _unique(ids.tolist(), split.tolist())
    y = torch.from_numpy(target.astype(np.float32))[nonempty]
    y = y if label_names else y.reshape(-1)

    notes = [*source.warnings, *warnings]
    if not source.published:
        notes.append(f"no file as {release} published it: its maker alone knows what its features are")
    if source.rows not in (None, tuple(rows.values())):
        notes.append(f"rows {_slashes(rows.values())} are not the published {_slashes(source.rows)}")
    for m, part in modalities.items():
        if part.astray:
            notes.append(f"{m}: {part.astray} rows had values in their padding, now zero")
    if not nonempty.all():
        notes.append(f"{int((~nonempty).sum())} rows have no modality at all and are left out")
    if (unique != ids).any():
        notes.append(f"{int((unique != ids).sum())} rows have the id of another row and got a suffix")
    if not label_names and (y.abs() > 3).any():
        notes.append(f"labels: {int((y.abs() > 3).sum())} are outside -3..3")

    features = {m: part.x if nonempty.all() else part.x[nonempty] for m, part in modalities.items()}  # indexing copies
    return Dataset(
        name=source.name,
        task="multibinary" if label_names else "regression",
        features=features,
        observed={m: part.observed[nonempty] for m, part in modalities.items()},
        target=y,
        split=split,
        ids=unique,
        label_names=label_names,
        group=_videos(ids.tolist()),
        provenance={
            "file": str(path),
            "name": source.name,
            "release": release,
            "features": {m: text for m, (_, text) in source.modalities.items()},
            "shapes": {m: tuple(x.shape) for m, x in features.items()},
            "repaired": {m: part.repaired for m, part in modalities.items()},
            "warnings": notes,
            **({} if source.published else {"published": False}),
        },
    )


def first(content: object, field: str) -> object:
    splits = [content.get(split) for split in SPLITS] if isinstance(content, dict) else []
    values = [fields[field] for fields in splits if isinstance(fields, dict) and field in fields]
    return next((value for value in values if value is not None), None)


def array_of(value: object) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return np.empty(len(value), dtype=object)


def unique_ids(splits: dict[str, Fields]) -> list[str]:
    """The id of each row, with a suffix where it occurs again in a split."""
    split, ids = _names(splits, {split: len(splits[split]["id"]) for split in SPLITS})
    return _unique(ids.tolist(), split.tolist()).tolist()


def _names(splits: dict[str, Fields], rows: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Split and id of each row."""
    ids = [name for split in SPLITS for name in _ids(splits[split].get("id"), split, rows[split])]
    return np.repeat(SPLITS, list(rows.values())), np.array(ids, dtype=str)


def _slashes(values: Iterable[int]) -> str:
    return "/".join(map(str, values))


def _ids(values: np.ndarray | None, split: str, rows: int) -> list[str]:
    """One text for each row; several parts are joined as MMSA joins video and segment. Without ids: row numbers."""
    if values is None:
        return [f"{split}_{row}" for row in range(rows)]
    parts = [np.ravel(value).tolist() for value in values]
    decoded = [[p.decode(errors="backslashreplace") if isinstance(p, bytes) else str(p) for p in row] for row in parts]
    return ["$_$".join(row) for row in decoded]


def _unique(ids: list[str], split: list[str]) -> np.ndarray:
    """Ids with #2, #3 and so on where they occur again in a split. Dataset refuses an id that is in two splits."""
    taken, times, unique = set(ids), Counter(), []
    for key in zip(split, ids):
        times[key] += 1
        name = key[1] if times[key] == 1 else f"{key[1]}#{times[key]}"
        while times[key] > 1 and name in taken:
            times[key] += 1
            name = f"{key[1]}#{times[key]}"
        unique.append(name)
    return np.array(unique, dtype=str)


def _videos(ids: list[str]) -> np.ndarray | None:
    """The video of each id of the form video$_$segment or video[segment]; any other id is a video of its own."""
    matches = [re.fullmatch(r"(.+?)(?:\$_\$.*|\[.*\])", name, re.DOTALL) for name in ids]
    return np.array([m[1] if m else name for m, name in zip(matches, ids)], dtype=str) if any(matches) else None
