"""Missingness as data: a protocol says for every (seed, split, sample id) what is observed, and for nothing else.

Random numbers come from hashing (seed, split, id, family of protocol), never from a generator's state: batch order, batch
size, device and method cannot change a mask, and a higher rate hides a superset of what a lower one hides. Protocols with
exact fractions rank these numbers within the split, so there the set of ids counts too, though not its order; mar and mnar
also read the features or the target that they depend on. What a row lacks by nature stays missing, and no row ever loses
everything.

    complete                         nothing is removed (natural missingness stays)
    available(text, audio)           exactly these modalities
    100_image_20_text                SIM-C: one modality complete, the other in an exact fraction of the rows
    complex_20_40_40                 SIM-C: both / first only / second only, in exact percentages (image first)
    frames(0.3)                      each frame of each modality lost with probability 0.3 (UMDF, TFR-Net, EMT)
    rate(0.3), rate(0.3, lose=1)     an exact 30 % of complete rows lose one or more (exactly one) modalities (TATE, ADMC)
    slots(0.5)                       half of all modality slots are lost, spread evenly over rows (IMDer's MR)
    patterns                         a uniformly random non-empty set of modalities, drawn anew every epoch (training)
    patterns(keep=text)              one that holds the text; frames(0.3, keep=text): frames of all but the text are lost
    mar(text, given=image, rate=0.5)     missing at random: depends on another modality of the row
    mnar(text, given=target, rate=0.5)   not at random: depends on the target, or with given=text on the lost feature
    available(text) then frames(0.5)     one after the other: the second sees what the first leaves

SIM-C's names take a suffix `_bernoulli` for independent draws instead of exact fractions (as its released code does).
Any protocol takes `complete_training=true`: training may look at what was removed.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from mmlib.data.checks import SPLITS, DataError, check_modalities
from mmlib.data.dataset import Dataset
from mmlib.missing.patterns import Observed, all_patterns, availability, choose, pattern_names, within


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Base of all protocols. `str(protocol)` is its name and `parse` reads that name back."""

    complete_training: bool = False
    redrawn: ClassVar[bool] = False
    kind: ClassVar[str]

    def observed(self, data: Dataset, split: str, seed: int, epoch: int = 0) -> Observed:
        """Per modality (n, T) bool for the n rows of a split: True on real frames that the protocol leaves visible.

        epoch matters only where `redrawn` is True and only for the training split. Raises DataError where the protocol
        does not fit the data or would leave a row with nothing.
        """
        rows = data.rows(split).cpu()
        self.check(data)
        observed = {m: f.cpu()[rows] for m, f in data.observed.items()}
        draw = _Draw(seed, split, data.ids[rows.numpy()], epoch if self.redrawn and split == "train" else None)
        kept = self._keep(data, observed, draw, rows)
        visible = {m: f & kept[m] for m, f in observed.items()}
        lost = ~torch.stack([f.any(1) for f in visible.values()]).any(0)
        if bool(lost.any()):
            row = int(rows[lost.nonzero()[0]])
            raise DataError(
                f"{data.where}: protocol {str(self)!r}, row {row} (id {str(data.ids[row])!r}): would lose everything, since "
                "the row lacks by nature what the protocol leaves; select rows with Dataset.having(...) first"
            )
        return visible

    def check(self, data: Dataset) -> None:
        """Raises DataError where the protocol names something that the data do not have."""

    def _keep(self, data: Dataset, observed: Observed, draw: "_Draw", rows: Tensor) -> Mapping[str, Tensor]:
        """Per modality a bool tensor that broadcasts with (n, T)."""
        raise NotImplementedError

    def __str__(self) -> str:
        given = [f"{f.name}={_text(v)}" for f in fields(self) if (v := getattr(self, f.name)) != f.default]
        return f"{self.kind}({', '.join(given)})" if given else self.kind


@dataclass(frozen=True)
class Complete(Protocol):
    kind = "complete"

    def _keep(self, data, observed, draw, rows):
        return {m: torch.ones(len(rows), 1, dtype=torch.bool) for m in observed}


@dataclass(frozen=True)
class Available(Protocol):
    """Exactly these modalities for every row."""

    modalities: tuple[str, ...]
    kind = "available"

    def check(self, data):
        check_modalities(data.modalities, self.modalities, f"{data.where}: protocol {str(self)!r}")

    def _keep(self, data, observed, draw, rows):
        return {m: torch.full((len(rows), 1), m in self.modalities) for m in observed}

    def __str__(self) -> str:
        extra = ("complete_training=true",) if self.complete_training else ()
        return f"available({', '.join((*self.modalities, *extra))})"


@dataclass(frozen=True)
class Fractions(Protocol):
    """SIM-C's configurations for two modalities: percentages of rows with both, the first only, the second only.

    name: as the paper writes it. percent: (both, first only, second only), summing to 100. named: first and second as
    `100_image_20_text` names them; None for `complex_...`, which takes the dataset's order.
    """

    name: str
    percent: tuple[float, float, float]
    named: tuple[str, str] | None = None
    bernoulli: bool = False
    kind = "fractions"

    def __post_init__(self) -> None:
        if min(self.percent) < 0 or abs(sum(self.percent) - 100) > 1e-6:
            total = "_".join(f"{p:g}" for p in self.percent)
            raise DataError(
                f"protocol {self.name!r}: {total} sums to {sum(self.percent):g}, the percentages must sum to 100"
            )

    def check(self, data):
        if len(data.modalities) != 2:
            raise DataError(
                f"{data.where}: protocol {self.name!r} is for two modalities, the data have "
                f"{', '.join(data.modalities)}; use rate(...), slots(...) or available(...)"
            )
        if self.named:
            check_modalities(data.modalities, self.named, f"{data.where}: protocol {self.name!r}")

    def _keep(self, data, observed, draw, rows):
        first, second = self.named or data.modalities
        u = draw.uniform("fractions")
        share = np.cumsum(self.percent) / 100
        if not self.bernoulli:
            u, share = u.argsort().argsort(), np.round(share * len(u))
        pattern = torch.from_numpy(np.searchsorted(share[:2], u, side="right"))  # 0 both, 1 first only, 2 second only
        return {first: (pattern != 2)[:, None], second: (pattern != 1)[:, None]}

    def __str__(self) -> str:
        return self.name if not self.complete_training else f"{self.name}(complete_training=true)"


@dataclass(frozen=True)
class Frames(Protocol):
    """Each real frame of each modality is lost with this probability; the luckiest frame of a row always stays.

    A frame draws by its place among the row's real frames: padding, in front or at the end, changes nothing.
    keep: a modality that loses nothing.
    """

    rate: float
    keep: str = ""
    kind = "frames"

    def __post_init__(self) -> None:
        _check_rate(self, 1.0)

    def check(self, data):
        _check_kept(self, data)

    def _keep(self, data, observed, draw, rows):
        place = {m: (f.cumsum(1) - 1).clamp(min=0) for m, f in observed.items()}
        u = {m: torch.from_numpy(draw.matrix("frames", m, count=p.shape[1])).gather(1, p) for m, p in place.items()}
        u = {m: torch.full_like(x, 1) if m == self.keep else x for m, x in u.items()}
        best = torch.stack([x.masked_fill(~observed[m], -1).amax(1) for m, x in u.items()]).amax(0)[:, None]
        return {m: (x >= self.rate) | (x == best) for m, x in u.items()}


@dataclass(frozen=True)
class Rate(Protocol):
    """An exact fraction of the rows lose modalities: `lose` of them, or (0) a uniformly random incomplete pattern."""

    rate: float
    lose: int = 0
    kind = "rate"

    def __post_init__(self) -> None:
        _check_rate(self, 1.0)

    def check(self, data):
        if not 0 <= self.lose < len(data.modalities):
            raise DataError(
                f"{data.where}: protocol {str(self)!r}: lose must be 0 (any number) to {len(data.modalities) - 1}, "
                f"the data have {len(data.modalities)} modalities"
            )

    def _keep(self, data, observed, draw, rows):
        present = availability(observed)
        patterns = all_patterns(len(observed))
        left, has = patterns.sum(1), present.sum(1, keepdim=True)
        lost = has - left
        allowed = within(patterns, present) & ((lost == self.lose) if self.lose else (lost >= 1))
        chosen = choose(patterns, allowed, draw.uniform("rate pattern"))
        hit = draw.uniform("rate").argsort().argsort() < round(self.rate * len(rows))
        hit = torch.from_numpy(hit) & allowed.any(1)
        return dict(zip(observed, torch.where(hit[:, None], chosen, present).T[..., None]))


@dataclass(frozen=True)
class Slots(Protocol):
    """This fraction of all (row, modality) slots is lost, as evenly over the rows as whole numbers allow."""

    rate: float
    kind = "slots"

    def __post_init__(self) -> None:
        _check_rate(self, 1.0)

    def check(self, data):
        limit = (len(data.modalities) - 1) / len(data.modalities)
        if self.rate > limit + 1e-9:
            raise DataError(
                f"{data.where}: protocol {str(self)!r}: with {len(data.modalities)} modalities at most "
                f"{limit:.3f} of the slots can be lost without rows losing everything"
            )

    def _keep(self, data, observed, draw, rows):
        present = availability(observed)
        has = present.sum(1)
        even = (draw.uniform("slots").argsort().argsort() + 0.5) / len(rows)
        lost = (self.rate * has + torch.from_numpy(even)).floor().clamp(max=has - 1)
        order = torch.from_numpy(draw.matrix("slots which", count=len(observed)))
        rank = order.masked_fill(~present, 2).argsort(1).argsort(1)
        return dict(zip(observed, (present & (rank >= lost[:, None])).T[..., None]))


@dataclass(frozen=True)
class Patterns(Protocol):
    """A uniformly random non-empty subset of what the row has, drawn anew for every training epoch.

    keep: a modality that is in the subset wherever the row has it.
    """

    keep: str = ""
    kind = "patterns"
    redrawn = True

    def check(self, data):
        _check_kept(self, data)

    def _keep(self, data, observed, draw, rows):
        patterns, present = all_patterns(len(observed)), availability(observed)
        allowed = within(patterns, present)
        if self.keep:
            k = list(observed).index(self.keep)
            allowed = allowed & (patterns[:, k] | ~present[:, k, None])
        chosen = choose(patterns, allowed, draw.uniform("patterns"))
        return dict(zip(observed, chosen.T[..., None]))


@dataclass(frozen=True)
class Then(Protocol):
    """One protocol after another: the second sees what the first leaves."""

    first: Protocol
    second: Protocol
    kind = "then"

    def check(self, data):
        for part in (self.first, self.second):
            if part.redrawn:
                raise DataError(f"{data.where}: protocol {str(self)!r}: {str(part)!r} is redrawn and stands alone")
            part.check(data)

    def _keep(self, data, observed, draw, rows):
        first = self.first._keep(data, observed, draw, rows)
        left = {m: f & first[m] for m, f in observed.items()}
        second = self.second._keep(data, left, draw, rows)
        return {m: f & second[m] for m, f in left.items()}

    def __str__(self) -> str:
        return f"{self.first} then {self.second}"


@dataclass(frozen=True)
class Dependent(Protocol):
    """One modality is lost with a probability that depends on something: P = sigmoid(strength * score + bias).

    given: another modality (missing at random), 'target' or the lost modality itself (not at random). The score is
    standardised on the training rows: of a modality the first principal component of its mean frame (in units of each
    dimension's deviation), of a regression
    target its value, of labels whether the row has `label` (default: the most frequent one). bias makes the mean
    probability equal to `rate` on the training rows that can lose the modality.
    """

    modality: str
    given: str
    rate: float
    strength: float = 2.0
    label: str = ""
    kind = "dependent"

    def __post_init__(self) -> None:
        _check_rate(self, 0.999)

    def check(self, data):
        where = f"{data.where}: protocol {str(self)!r}"
        check_modalities(data.modalities, (self.modality,), where)
        if self.given != "target":
            check_modalities(data.modalities, (self.given,), where)
        if self.label and (self.given != "target" or self.label not in data.label_names):
            raise DataError(f"{where}: label {self.label!r} is not one of {', '.join(data.label_names)} (given=target)")

    def _keep(self, data, observed, draw, rows):
        score = self._score(data)
        others = torch.stack([data.present[m] for m in data.modalities if m != self.modality]).any(0).cpu().numpy()
        can_lose = others & data.present[self.modality].cpu().numpy()
        if self.given != "target":
            can_lose &= data.present[self.given].cpu().numpy()
        train = can_lose & (data.split == "train")
        if not train.any():
            raise DataError(
                f"{data.where}: protocol {str(self)!r}: no training row has {self.modality!r} and another modality"
            )
        lost = np.zeros(len(rows), bool)
        if self.rate > 0:
            bias = brentq(lambda b: expit(self.strength * score[train] + b).mean() - self.rate, -1e3, 1e3)
            chance = expit(self.strength * score[rows.numpy()] + bias)
            lost = can_lose[rows.numpy()] & (draw.uniform("dependent", self.modality) < chance)
        keep = {m: torch.ones(len(rows), 1, dtype=torch.bool) for m in observed}
        return {**keep, self.modality: torch.from_numpy(~lost)[:, None]}

    def _score(self, data: Dataset) -> Float[np.ndarray, "N"]:
        train = data.split == "train"
        if self.given != "target":
            x, real = data.features[self.given].float().cpu(), data.observed[self.given].cpu()
            pooled = (x.sum(1) / real.sum(1, keepdim=True).clamp(min=1)).double().numpy()
            seen = pooled[train & real.any(1).numpy()]
            # Unit deviations first, so that standardising the features changes no mask.
            scale = np.maximum(seen.std(0), 1e-12)
            pooled, seen = pooled / scale, seen / scale
            centre = seen.mean(0)
            direction = np.linalg.eigh(np.cov(seen - centre, rowvar=False).reshape(2 * (seen.shape[1],)))[1][:, -1]
            # An eigenvector's sign is arbitrary; fixing it keeps masks equal on every machine.
            raw = (pooled - centre) @ (direction * np.sign(direction[np.abs(direction).argmax()]))
        elif data.task == "regression":
            raw = data.target.cpu().double().numpy()
        else:
            onehot = data.target.cpu().numpy()
            if data.task == "multiclass":
                onehot = np.eye(data.outputs)[onehot]
            column = data.label_names.index(self.label) if self.label else int(onehot[train].sum(0).argmax())
            raw = onehot[:, column].astype(float)
        return (raw - raw[train].mean()) / max(raw[train].std(), 1e-12)

    def __str__(self) -> str:
        kind = "mnar" if self.given in ("target", self.modality) else "mar"
        shown = [self.modality, f"given={self.given}", f"rate={_text(self.rate)}"]
        for name in ("strength", "label", "complete_training"):
            if (value := getattr(self, name)) != getattr(Dependent, name, False):
                shown.append(f"{name}={_text(value)}")
        return f"{kind}({', '.join(shown)})"


def summary(data: Dataset, protocol: Protocol, seed: int) -> pd.DataFrame:
    """Rows and share of each availability pattern per split, and the share of real frames that stay visible."""
    out = []
    for split in SPLITS:
        visible = protocol.observed(data, split, seed)
        real = sum(int(f[data.rows(split)].sum()) for f in data.observed.values())
        frames_kept = sum(int(f.sum()) for f in visible.values()) / real
        names = pattern_names(visible)
        for pattern, count in zip(*np.unique(names, return_counts=True)):
            out.append((split, str(pattern), int(count), count / len(names), frames_kept))
    return pd.DataFrame(out, columns=["split", "observed", "rows", "share", "frames visible"])


def uniforms(seed: int, split: str, ids: np.ndarray, *tags: str, count: int = 1) -> Float[np.ndarray, "n count"]:
    """Numbers in [0, 1) that depend on (seed, split, id, tags) alone: the leading bits of SHAKE-128."""
    head = "\0".join([str(seed), split, *tags]) + "\0"
    raw = b"".join(hashlib.shake_128((head + str(i)).encode()).digest(8 * count) for i in ids)
    return (np.frombuffer(raw, dtype="<u8").reshape(len(ids), count) >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class _Draw:
    seed: int
    split: str
    ids: np.ndarray
    epoch: int | None

    def matrix(self, *tags: str, count: int) -> Float[np.ndarray, "n count"]:
        if self.epoch is not None:
            tags = (*tags, f"epoch {self.epoch}")
        return uniforms(self.seed, self.split, self.ids, *tags, count=count)

    def uniform(self, *tags: str) -> Float[np.ndarray, "n"]:
        return self.matrix(*tags, count=1)[:, 0]


def _check_rate(protocol: Protocol, limit: float) -> None:
    rate = protocol.rate
    if not isinstance(rate, int | float) or math.isnan(rate) or not 0 <= rate <= limit:
        raise DataError(f"protocol {protocol.kind!r}: rate {rate!r} is outside 0..{limit:g}")


def _check_kept(protocol: Frames | Patterns, data: Dataset) -> None:
    if protocol.keep:
        check_modalities(data.modalities, (protocol.keep,), f"{data.where}: protocol {str(protocol)!r}")


def _text(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
