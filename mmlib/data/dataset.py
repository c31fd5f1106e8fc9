"""Dataset, View and Batch: named modalities with aligned rows, checked once, zero in every frame that is not observed."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmlib import arrays, describe
from mmlib.data import on_disk
from mmlib.data.checks import check_dataset, check_modalities, chunk_rows, field_error
from mmlib.names import COLUMN_KINDS, SPLITS, DataError, suggest

Mask = Mapping[str, Bool[Tensor, "n _"]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a dataset, as a system gets them.

    x: per modality (B, T, d) float32, exactly zero in frames that are padding or not observed.
    observed: per modality (B, T), True where the frame is real and observed.
    target: (B,) float32 | (B,) int64 | (B, C) float32; None when a system only predicts.
    index: (B,) row numbers in the dataset.
    complete: the features before the protocol removed any; None unless the protocol lets training see them, and always
        None when a system only predicts.
    """

    x: dict[str, Float[Tensor, "B _ _"]]
    observed: dict[str, Bool[Tensor, "B _"]]
    target: Tensor | None
    index: Int[Tensor, "B"]
    complete: dict[str, Float[Tensor, "B _ _"]] | None = None
    place: Int[Tensor, "B 3"] | None = None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.x)

    @cached_property
    def present(self) -> dict[str, Bool[Tensor, "B"]]:
        """Per modality (B,), True where at least one frame is observed."""
        return {m: f.squeeze(1) if f.shape[1] == 1 else f.any(1) for m, f in self.observed.items()}

    def frames(self, m: str) -> Float[Tensor, "B T d"]:
        """The features of a modality, zero where they are not observed: systems may hide more than the protocol did."""
        return zero_hidden(self.x[m], self.observed[m])

    def without(self, *modalities: str) -> "Batch":
        """The same rows with these modalities hidden. Raises DataError for a modality that the batch does not have."""
        check_modalities(self.modalities, modalities, "Batch.without")
        return replace(
            self,
            x={m: torch.zeros_like(x) if m in modalities else x for m, x in self.x.items()},
            observed={m: torch.zeros_like(f) if m in modalities else f for m, f in self.observed.items()},
        )

    def select(self, rows: Tensor) -> "Batch":
        """The rows at a boolean (B,) or integer (b,) index."""
        return self._map(lambda t: t[rows])

    def unlabelled(self) -> "Batch":
        """What a system may see when it predicts: no target, no complete features."""
        return replace(self, target=None, complete=None)

    def _map(self, change) -> "Batch":
        return replace(
            self,
            x={m: change(x) for m, x in self.x.items()},
            observed={m: change(f) for m, f in self.observed.items()},
            target=None if self.target is None else change(self.target),
            index=change(self.index),
            complete=None if self.complete is None else {m: change(x) for m, x in self.complete.items()},
            place=None if self.place is None else change(self.place),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named modalities with aligned rows.

    features: per modality (N, T, d) float32 (float16 where memory-mapped); a vector feature has T = 1.
    observed: per modality (N, T) bool, True on real frames, False on padding and on absent modalities.
    target: (N,) float32 for regression, (N,) int64 for multiclass, (N, C) float32 of 0 and 1 for multilabel (one film,
        many genres) and multibinary (C separate yes/no problems).
    split: (N,) of train, valid, test. ids: (N,) unique.
    group, order, speaker, fold: optional (N,) arrays: dialogue or video, position in it, speaker, cross-validation fold.
    provenance: where the data come from and what the features are.
    partial: whether valid or test may be without rows, as in a slice.
    scaling: how `standardised` or `scaled` changed the features of the rows as they were read; None: not at all.
    folder: where the features of a dataset that is made of this one are kept, as these are; None: in memory.

    A Dataset never changes: methods such as `subset` return a new one.
    Raises DataError for anything that would make a later number meaningless.
    """

    name: str
    task: str
    features: dict[str, Tensor]
    observed: dict[str, Bool[Tensor, "N _"]]
    target: Tensor
    split: Any  # these columns are given as any sequence and become arrays
    ids: Any
    label_names: tuple[str, ...] = ()
    group: Any = None
    order: Any = None
    speaker: Any = None
    fold: Any = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scaling: "Scaling | None" = None
    partial: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        for column, kind in {"ids": "U", **COLUMN_KINDS}.items():
            object.__setattr__(self, column, arrays.as_column(getattr(self, column), kind))
        check_dataset(self)

    @classmethod
    def from_arrays(
        cls, X: Any, y: Any, *, modalities: Any = None, observed: Any = None, task: Any = None, label_names: Any = None,
        ids: Any = None, split: Any = None,
        valid: float = 0.15, test: float = 0.15, seed: int = 0, group: Any = None, order: Any = None,
        speaker: Any = None, fold: Any = None, name: str = "arrays",
    ) -> "Dataset":  # fmt: skip
        """A Dataset from arrays of numpy, pandas or torch, or from lists.

        X: modality -> (n, d), or (n, T, d) for sequences; or one table whose columns `modalities` groups, such as
        {"image": ["r", "g", "b"], "text": slice(3, 51)}. A row of NaN is a missing modality; the frames of zeros at the end
        of a sequence are padding. observed: modality -> (n,) or (n, T), True where that rule is wrong or not enough.
        y: (n,) classes (text, whole numbers) or values (floats); (n, C) of 0 and 1 or n lists of names for several labels.
        task: 'regression', 'multiclass', 'multilabel' or 'multibinary'; by default what y looks like.
        split: 'train', 'valid' or 'test' of each row; by default drawn by `seed` with the shares `valid` and `test`,
        stratified by class, or with each group in one split; test = 0 draws no test rows.
        ids: unique names of the rows, by default their numbers. group, order, speaker, fold: as in Dataset.
        Raises DataError, which names the argument, the row and the remedy.
        """
        columns = {"group": group, "order": order, "speaker": speaker, "fold": fold}
        shares = {"valid": valid, "test": test, "seed": seed}
        return cls(**arrays.fields(X, y, modalities, observed, task, label_names, ids, split, shares, columns, name))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: Any) -> Any:
        """data["text"]: the features (N, T, d) of a modality. data[:100]: a Dataset of these rows."""
        if isinstance(key, slice):
            rows = torch.arange(len(self), device=self.device)[key]
            last = len(self) if key.stop is None else key.stop
            return replace(self, partial=True).subset(rows, f"rows {key.start or 0} to {last}")
        if isinstance(key, str):
            check_modalities(self.modalities, (key,), self.where)
            return self.features[key]
        raise TypeError(f"data[{key!r}]: give the name of a modality, or a slice of rows; `subset` takes row numbers")

    __repr__, _repr_html_ = describe.text, describe.html

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def dims(self) -> dict[str, int]:
        """Width d of each modality."""
        return {m: x.shape[2] for m, x in self.features.items()}

    @property
    def outputs(self) -> int:
        """Number of logits of a system: 1, the number of classes, or the number of labels."""
        if self.task == "regression":
            return 1
        return len(self.label_names) if self.task == "multiclass" else self.target.shape[1]

    @property
    def contextual(self) -> tuple[str, ...]:
        """The sequences made by a contextual encoder: each frame also tells of the others, of hidden ones, too.

        provenance says so by `contextual`, by features that are "hidden states", or by the warning "tokens are contextual".
        """
        texts, warnings = self.provenance.get("features", {}), self.provenance.get("warnings", ())
        told = {*self.provenance.get("contextual", ()), *(m for m, text in texts.items() if "hidden states" in text)}
        if any("tokens are contextual" in warning for warning in warnings):
            told.add("text")
        return tuple(m for m, x in self.features.items() if m in told and x.shape[1] > 1)

    @property
    def device(self) -> torch.device:
        return self.target.device

    @cached_property
    def present(self) -> dict[str, Bool[Tensor, "N"]]:
        """Per modality (N,), True where the row has the modality, before any protocol."""
        return {m: f.any(1) for m, f in self.observed.items()}

    @cached_property
    def places(self) -> Int[Tensor, "N 3"] | None:
        """Dialogue, position in it and speaker of each row, as numbers; None without the columns group and order.

        Without the column speaker all rows have one speaker, as those of a monologue do.
        """
        if self.group is None or self.order is None:
            return None
        speaker = np.zeros(len(self), int) if self.speaker is None else np.unique(self.speaker, return_inverse=True)[1]
        numbers = np.stack((np.unique(self.group, return_inverse=True)[1], self.order, speaker), 1)
        return torch.from_numpy(numbers.astype(np.int64)).to(self.device)

    def rows(self, split: str) -> Int[Tensor, "n"]:
        """Row numbers of a split, in file order. Raises DataError for an unknown split name, and a split without rows."""
        if split not in SPLITS:
            near = suggest(split, SPLITS)
            raise DataError(f"{self.where}: no split {split!r}; the splits are {', '.join(SPLITS)}{near}")
        rows = np.flatnonzero(self.split == split)
        if not len(rows):
            raise field_error(self.where, "split", f"no row has the split {split!r}; every split needs rows")
        return torch.from_numpy(rows).to(self.device)

    @property
    def where(self) -> str:
        """The name of this dataset in error messages: its file if it has one, else its name."""
        return str(self.provenance.get("file", self.name))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all columns, features and masks: equal for equal rows in equal order, whatever the file."""
        digest = hashlib.sha256(f"{self.task}|{self.label_names}".encode())
        for column in ("ids", *COLUMN_KINDS):
            array = getattr(self, column)
            digest.update(column.encode() if array is None else "\0".join((column, *map(str, array))).encode())
        digest.update(self.target.cpu().numpy().tobytes())
        for m, x in self.features.items():
            digest.update(f"{m}{tuple(x.shape)}".encode())
            digest.update(self.observed[m].cpu().numpy().tobytes())
            for chunk in x.split(chunk_rows(x)):
                digest.update(chunk.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, rows: Tensor, note: str) -> "Dataset":
        """The rows at a boolean (N,) or integer index; `note` is added to the provenance."""
        rows = torch.arange(len(self), device=self.device)[rows]
        numbers = rows.cpu().numpy()
        columns = {c: getattr(self, c) for c in ("ids", *COLUMN_KINDS)}
        return replace(
            self,
            features=self._changed(len(rows), lambda m, x, part: x[rows[part]]),
            observed={m: f[rows] for m, f in self.observed.items()},
            target=self.target[rows],
            provenance=self._derived(note),
            **{c: None if a is None else a[numbers] for c, a in columns.items()},
        )

    def having(self, *modalities: str) -> "Dataset":
        """The rows that have all of these modalities."""
        check_modalities(self.modalities, modalities, f"{self.where}: Dataset.having")
        rows = torch.stack([self.present[m] for m in modalities]).all(0)
        return self.subset(rows, f"rows that have {' and '.join(modalities)}")

    def only(self, *modalities: str) -> "Dataset":
        """These modalities alone, in this order, and the rows that have at least one of them."""
        check_modalities(self.modalities, modalities, f"{self.where}: Dataset.only")
        if not modalities:
            raise DataError(f"{self.where}: Dataset.only needs a modality; there are {', '.join(self.modalities)}")
        rows = torch.stack([self.present[m] for m in modalities]).any(0)
        subset = self.subset(rows, f"{' and '.join(modalities)} alone")
        features, observed = ({m: x[m] for m in modalities} for x in (subset.features, subset.observed))
        return replace(subset, features=features, observed=observed)

    def pooled(self) -> "Dataset":
        """Every sequence as one vector (N, 1, d), the mean of its real frames; an absent modality stays absent."""
        return replace(
            self,
            features=self._changed(
                len(self), lambda m, x, part: frame_mean(x[part].float(), self.observed[m][part])[:, None]
            ),
            observed={m: f.any(1, keepdim=True) for m, f in self.observed.items()},
            provenance=self._derived("sequences as the mean of their frames"),
        )

    def one_vs_rest(self) -> "Dataset":
        """One yes/no problem for each class, as MulT and its successors score the emotions of IEMOCAP.

        Raises DataError unless the task is multiclass.
        """
        if self.task != "multiclass":
            raise DataError(f"{self.where}: one_vs_rest is for multiclass data, the task is {self.task}")
        y = torch.nn.functional.one_hot(self.target, self.outputs).float()
        return replace(self, task="multibinary", target=y, provenance=self._derived("one yes/no problem per class"))

    def grouped(self, groups: Mapping[str, list[str]]) -> "Dataset":
        """Fewer classes, each of which joins old ones: {new name: [old names]}, e.g. {"negative": ["angry", "sad"], ...}.

        Raises DataError unless the task is multiclass and every class is in exactly one group.
        """
        named = [label for labels in groups.values() for label in labels]
        if self.task != "multiclass" or sorted(named) != sorted(self.label_names):
            have = ", ".join(self.label_names) if self.task == "multiclass" else f"none, the task is {self.task}"
            raise DataError(f"{self.where}: groups name the classes {', '.join(named)}; name each class once: {have}")
        group = [next(i for i, labels in enumerate(groups.values()) if name in labels) for name in self.label_names]
        note = "classes grouped: " + "; ".join(f"{name} = {' + '.join(labels)}" for name, labels in groups.items())
        target = torch.tensor(group, device=self.device)[self.target]
        return replace(self, target=target, label_names=tuple(groups), provenance=self._derived(note))

    def with_folds(self, folds: int) -> "Dataset":
        """The same rows in new folds 0 .. folds - 1. The hash of its group, or else of its id, gives the fold of a row.

        Rows of one group are in the same fold. Raises DataError for fewer than three folds.
        """
        if folds < 3:
            raise DataError(f"{self.where}: folds is {folds}; three are needed, for train, valid and test")
        keys = self.ids if self.group is None else self.group
        hashes = [hashlib.blake2b(str(key).encode(), digest_size=8).digest() for key in keys]
        fold = np.array([int.from_bytes(digits) % folds for digits in hashes])
        return replace(self, fold=fold, provenance=self._derived(f"{folds} folds by hash"))

    def split_by_fold(self, test: int) -> "Dataset":
        """A new split for cross-validation: fold `test` becomes test, the next fold valid, all other folds train.

        Raises DataError where there are fewer than three folds, or none with this number.
        """
        folds = [] if self.fold is None else sorted(set(self.fold.tolist()))
        if test not in folds or len(folds) < 3:
            have = ", ".join(map(str, folds)) or "none"
            raise DataError(f"{self.where}: fold {test} cannot be the test split; the folds are {have}; 3 are needed")
        valid = folds[(folds.index(test) + 1) % len(folds)]
        split = np.where(self.fold == test, "test", np.where(self.fold == valid, "valid", "train"))
        return replace(self, split=split, provenance=self._derived(f"test is fold {test}, valid fold {valid}"))

    def with_valid_from_test(self, share: float = 1 / 3, seed: int = 0) -> "Dataset":
        """A new split for features that were trained with the labels of the train and valid rows, such as bc-LSTM's.

        Scores on such valid rows rank settings wrongly. They join train; a random share of the groups of test, which depends
        on their names and the seed alone, becomes valid, and the other groups stay test. Scores on fewer test rows are not
        comparable with those of the published split.
        Raises DataError without groups, where a group of test has rows in another split, and for a share that leaves valid
        or test without a group.
        """
        if self.group is None:
            raise DataError(f"{self.where}: there is no column 'group'; the rows of test cannot be divided by group")
        test = self.split == "test"
        groups, elsewhere = set(self.group[test].tolist()), set(self.group[~test].tolist())
        if groups & elsewhere:
            raise DataError(f"{self.where}: group {min(groups & elsewhere)!r} has rows in test and in another split")
        n = round(share * len(groups))
        if not 0 < n < len(groups):
            raise DataError(f"{self.where}: share {share:g} of {len(groups)} groups of test is {n}; choose another")
        order = sorted(groups, key=lambda group: hashlib.blake2b(f"{seed} {group}".encode()).digest())
        split = np.where(np.isin(self.group, order[:n]), "valid", np.where(test, "test", "train"))
        note = f"{n} of the {len(groups)} groups of test as valid (seed {seed}), valid joined to train"
        return replace(self, split=split, provenance=self._derived(note))

    def shifted(self, zero: float) -> "Dataset":
        """Regression targets minus `zero`, so that 0 separates negative from positive ones.

        Raises DataError unless the task is regression.
        """
        if self.task != "regression":
            raise DataError(f"{self.where}: only regression targets can be shifted, the task is {self.task}")
        return replace(self, target=self.target - zero, provenance=self._derived(f"target minus {zero:g}"))

    def standardised(self, limit: float = math.inf, but: tuple[str, ...] = (), per: str = "dimension") -> "Dataset":
        """Each feature with mean 0 and standard deviation 1 over the real frames of train; a constant one becomes 0.

        limit: largest distance from the mean, in standard deviations of the dimension; larger ones are cut to it (acoustic
        features can reach 100).
        but: modalities that stay as they are, such as token ids.
        per: 'modality' divides all dimensions of a modality by one number, the root of their mean variance, so that small
        dimensions stay small. Principal components of little variance, for example, are noise that 'dimension' would make as
        large as the signal.
        Absent modalities and padding stay exactly zero. The result carries its `scaling`, and so does a model that is trained
        with it and saved. Raises DataError where the data are scaled already, and for another value of `per`.
        """
        check_modalities(self.modalities, but, f"{self.where}: Dataset.standardised")
        if per not in ("dimension", "modality"):
            raise DataError(f"{self.where}: standardised per {per!r}; choose 'dimension' or 'modality'")
        mean, factor, spread = {}, {}, {}
        for m, x in self.features.items():
            if m in but:
                continue
            train = self.rows("train").split(len(self) if self.folder is None else chunk_rows(x))
            found = on_disk.moments(x[rows][self.observed[m][rows]].double() for rows in train)  # of (n, d)
            if found is None:
                continue
            centre, std = found[0], found[1].sqrt()
            varies = std > 1e-6 * (1 + centre.abs())
            scale = std if per == "dimension" else std.square().mean().sqrt()
            mean[m], factor[m] = centre.float(), torch.where(varies, 1 / scale, 0).float()
            if per == "modality":
                spread[m] = torch.where(varies, std / scale, 1).float()
        return self.scaled(Scaling(mean, factor, limit, spread))

    def scaled(self, scaling: "Scaling") -> "Dataset":
        """The features scaled as those of another Dataset, of its attribute `scaling`."""
        if self.scaling is not None:
            raise DataError(f"{self.where}: the features are scaled already; scale those of the Dataset as it was read")
        features = self._changed(len(self), lambda m, x, part: scaling(m, x[part].float(), self.observed[m][part]))
        note = "standardised on train" + (", one scale per modality" if scaling.spread else "")
        note += f", cut at {scaling.limit:g} deviations" if scaling.limit < math.inf else ""
        but = [m for m in self.modalities if m not in scaling.mean and bool(self.present[m][self.rows("train")].any())]
        note += f", but for {' and '.join(but)}" if but else ""
        return replace(self, features=features, provenance=self._derived(note), scaling=scaling)

    def to(self, device: torch.device | str) -> "Dataset":
        if torch.device(device) == self.device:
            return self
        return replace(
            self,
            features={m: x.to(device) for m, x in self.features.items()},
            observed={m: f.to(device) for m, f in self.observed.items()},
            target=self.target.to(device),
            folder=None,
        )

    def view(
        self, split: str, observed: Mask | None = None, *, labelled: bool = True, complete: bool = False
    ) -> "View":
        """The rows of a split, to be served as batches; frames that `observed` (n, T) hides become zero."""
        return View(self, self.rows(split), observed, labelled, complete)

    def _changed(self, n: int, change: Callable[[str, Tensor, slice], Tensor]) -> dict[str, Tensor]:
        """Per modality what `change` makes of its features for n new rows, asked for in parts where they are on disk."""
        return {m: on_disk.build(n, partial(change, m, x), self.folder) for m, x in self.features.items()}

    def _derived(self, note: str) -> dict[str, Any]:
        return {**self.provenance, "derived": [*self.provenance.get("derived", []), note]}


@dataclass(frozen=True, eq=False)
class Scaling:
    """Per modality the mean and factor (d,) that standardise its features; one without a mean stays as it is.

    limit: largest distance from the mean, in standard deviations of a dimension.
    spread: the standard deviations (d,) after scaling, where all dimensions of a modality have one factor. Empty: they are 1.
    """

    mean: Mapping[str, Float[Tensor, "_"]]
    factor: Mapping[str, Float[Tensor, "_"]]
    limit: float = math.inf
    spread: Mapping[str, Float[Tensor, "_"]] = field(default_factory=dict)

    def __call__(self, m: str, x: Float[Tensor, "n T d"], observed: Bool[Tensor, "n T"]) -> Float[Tensor, "n T d"]:
        if m not in self.mean:
            return x
        bound = self.limit * self.spread.get(m, torch.ones_like(self.factor[m]))
        scaled = ((x - self.mean[m]) * self.factor[m]).clamp(-bound, bound)
        return zero_hidden(scaled, observed)


class View:
    """Rows of a dataset under one mask of missing modalities, served as batches without copying the features."""

    def __init__(self, data: Dataset, rows: Int[Tensor, "n"], observed: Mask | None, labelled: bool, complete: bool):
        self.data, self.rows, self.labelled, self.complete = data, rows, labelled, complete
        self.observed = {m: f[rows] for m, f in data.observed.items()}
        if observed is not None:
            self.observed = {m: f & observed[m].to(f.device) for m, f in self.observed.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Int[Tensor, "B"]) -> Batch:
        """The rows at these positions of the view (not of the dataset)."""
        rows = self.rows[index]
        raw = {m: x.index_select(0, rows).float() for m, x in self.data.features.items()}
        observed = {m: f[index] for m, f in self.observed.items()}
        return Batch(
            x={m: zero_hidden(x, observed[m]) for m, x in raw.items()},
            observed=observed,
            target=self.data.target[rows] if self.labelled else None,
            index=rows,
            complete=raw if self.complete else None,
            place=None if self.data.places is None else self.data.places[rows],
        )

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Every row once, in file order."""
        for index in self.cut(torch.arange(len(self), device=self.rows.device), batch_size):
            yield self.batch(index)

    def cut(self, order: Int[Tensor, "n"], batch_size: int, dialogues: bool = False) -> tuple[Int[Tensor, "_"], ...]:
        """The positions of the rows of each batch, in this order.

        dialogues: the rows of a dialogue come together, and a batch ends where the next dialogue would make it too large.
        Raises DataError where that is asked of data without the columns group and order.
        """
        if not dialogues:
            return order.split(batch_size)
        if self.data.places is None:
            raise DataError(f"{self.data.where}: dialogues need the columns group and order; see data/README.md")
        numbers, members, batches = self.data.places[self.rows[order], 0].tolist(), defaultdict(list), [[]]
        for position, number in zip(order.tolist(), numbers):
            members[number].append(position)
        for positions in members.values():
            if batches[-1] and len(batches[-1]) + len(positions) > batch_size:
                batches.append([])
            batches[-1] += positions
        return tuple(torch.tensor(positions, device=order.device) for positions in batches)


def frame_mean(x: Float[Tensor, "n T d"], observed: Bool[Tensor, "n T"]) -> Float[Tensor, "n d"]:
    """The mean of each row's observed frames, zero where a row has none; other frames have no influence."""
    total = zero_hidden(x, observed).sum(1)
    return total if x.shape[1] == 1 else total / observed.sum(1, keepdim=True).clamp(min=1)


def zero_hidden(x: Float[Tensor, "n T d"], observed: Bool[Tensor, "n T"]) -> Float[Tensor, "n T d"]:
    """The features with zeros in place of all frames that are not observed, whatever stood there, NaN included."""
    if x.requires_grad or x.dtype != torch.float32:
        return x.masked_fill(~observed.unsqueeze(-1), 0)
    # As bits, -1 keeps a number and 0 clears it: on a CPU six times faster than masked_fill, which is not vectorised here.
    return (x.view(torch.int32) & -observed.int().unsqueeze(-1)).view(torch.float32)
