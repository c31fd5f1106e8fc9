"""Protocols of missingness: which frames of which modalities a row shows, for each (seed, split, sample id).

One class per line of this table, in this order; `parse` turns a name into a protocol.

    complete                         nothing is removed; what a row lacks by nature stays missing
    available(text, audio)           exactly these modalities
    100_image_20_text                SIM-C: one modality is complete, an exact percentage of the rows has the other
    complex_20_40_40                 SIM-C: exact percentages of rows with both / the first / the second modality only
    frames(0.3)                      each frame of each modality is lost with probability 0.3 (UMDF, TFR-Net, EMT)
    frames(0.3, keep=text)           the same, but the text loses nothing
    rate(0.3)                        an exact 30 % of the rows lose one or more modalities (TATE, ADMC)
    rate(0.3, lose=1)                an exact 30 % of the rows lose exactly one modality
    rates(text=0.1, audio=0.6)       each named modality is lost independently with its own rate (MissBench)
    slots(0.5)                       half of all (row, modality) slots are lost, evenly over the rows (IMDer's MR)
    patterns                         a random non-empty set of modalities, drawn anew in every training epoch
    patterns(keep=text)              a random set that contains the text
    mar(text, given=image, rate=0.5)     missing at random: the loss depends on another modality of the row
    mnar(text, given=target, rate=0.5)   missing not at random: the loss depends on the target or, with given=text, on
                                         the modality that is lost
    available(text) then frames(0.5)     one after the other: the second acts on what the first leaves

SIM-C's names take the suffix `_bernoulli`: independent draws instead of exact percentages, as in its released code. Every
protocol takes `complete_training=true`: the loss of a system may read the features that the protocol removes.

Random numbers are hashes of (seed, split, id, family of protocol). So the order of batches, the batch size, the device and
the system cannot change a mask, and a higher rate removes all that a lower rate removes, and more (rates: but for the rows
that are drawn again). Protocols with an exact share rank these numbers within the split, so their masks depend on the set
of ids, though not on its order. mar and mnar also depend on the features or the target that they name. No protocol removes
everything from a row.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from torch import Tensor

from mmlib.data.checks import check_modalities
from mmlib.data.dataset import Dataset, frame_mean
from mmlib.missing.patterns import Observed, all_patterns, availability, choose, pattern_names, within
from mmlib.names import SPLITS, DataError


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Base of all protocols. `str(protocol)` is its name and `parse` reads that name back."""

    complete_training: bool = False
    redrawn: ClassVar[bool] = False
    kind: ClassVar[str]
    largest_rate: ClassVar[float] = 1.0

    def observed(self, data: Dataset, split: str, seed: int, epoch: int = 0) -> Observed:
        """Per modality (n, T) bool for the n rows of a split: True on the real frames that the protocol does not remove.

        epoch: changes the masks of the training split where `redrawn` is True, and nothing else. Raises DataError where
        the protocol does not fit the data or would remove everything from a row.
        """
        rows = data.rows(split).cpu()
        self.check(data)
        real = {m: f.cpu()[rows] for m, f in data.observed.items()}
        draw = _Draw(seed, split, data.ids[rows.numpy()], epoch if self.redrawn and split == "train" else None)
        mask = self._mask(data, real, draw, rows)
        visible = {m: f & mask[m] for m, f in real.items()}
        empty = ~availability(visible).any(1)
        if bool(empty.any()):
            row = int(rows[empty.nonzero()[0]])
            place = f"protocol {str(self)!r}, row {row} (id {str(data.ids[row])!r})"
            reason = "the row would lose everything, because it lacks by nature what the protocol leaves"
            raise DataError(f"{data.where}: {place}: {reason}; select rows with Dataset.having(...) first")
        return visible

    def check(self, data: Dataset) -> None:
        """Raises DataError where the protocol names something that the data do not have."""
        if keep := getattr(self, "keep", ""):
            self._check_modalities(data, keep)

    def _mask(self, data: Dataset, observed: Observed, draw: "_Draw", rows: Tensor) -> Mapping[str, Tensor]:
        """Per modality a bool tensor that broadcasts with (n, T), the shape of `observed`; False removes a frame."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        self._check_rate(getattr(self, "rate", 0.0))

    def _check_rate(self, rate: float) -> None:
        if not isinstance(rate, int | float) or math.isnan(rate) or not 0 <= rate <= self.largest_rate:
            raise DataError(f"protocol {self.kind!r}: rate {rate!r} is outside 0..{self.largest_rate:g}")

    def _check_modalities(self, data: Dataset, *names: str) -> None:
        check_modalities(data.modalities, names, f"{data.where}: protocol {str(self)!r}")

    def _error(self, data: Dataset, message: str) -> DataError:
        return DataError(f"{data.where}: protocol {str(self)!r}: {message}")

    def __str__(self) -> str:
        order = sorted(fields(self), key=lambda f: f.kw_only)  # complete_training comes last
        arguments = [f"{f.name}={_text(v)}" for f in order if (v := getattr(self, f.name)) != f.default]
        return f"{self.kind}({', '.join(arguments)})" if arguments else self.kind


@dataclass(frozen=True)
class Complete(Protocol):
    """Nothing is removed."""

    kind = "complete"

    def _mask(self, data, observed, draw, rows):
        return {m: torch.ones(len(rows), 1, dtype=torch.bool) for m in observed}


@dataclass(frozen=True)
class Available(Protocol):
    """Every row keeps exactly these modalities."""

    modalities: tuple[str, ...]
    kind = "available"

    def check(self, data):
        self._check_modalities(data, *self.modalities)

    def _mask(self, data, observed, draw, rows):
        return {m: torch.full((len(rows), 1), m in self.modalities) for m in observed}

    def __str__(self) -> str:
        arguments = *self.modalities, *["complete_training=true"] * self.complete_training
        return f"available({', '.join(arguments)})"


@dataclass(frozen=True)
class Fractions(Protocol):
    """Percentages of the rows have both modalities, the first only, the second only (SIM-C, configurations of Table 1).

    name: as the paper writes the configuration. percent: (both, first only, second only), with the sum 100. named: the
    first and the second modality as in `100_image_20_text`; None for `complex_...`, which takes the order of the data.
    bernoulli: each row draws for itself, so the percentages hold on average only.
    """

    name: str
    percent: tuple[float, float, float]
    named: tuple[str, str] | None = None
    bernoulli: bool = False
    kind = "fractions"

    def __post_init__(self) -> None:
        if min(self.percent) < 0 or abs(sum(self.percent) - 100) > 1e-6:
            total = f"{'_'.join(f'{p:g}' for p in self.percent)} sums to {sum(self.percent):g}"
            raise DataError(f"protocol {self.name!r}: {total}, the percentages must sum to 100")

    def check(self, data):
        if len(data.modalities) != 2:
            modalities = f"it is for two modalities, the data have {', '.join(data.modalities)}"
            raise self._error(data, f"{modalities}; use rate(...), slots(...) or available(...)")
        self._check_modalities(data, *(self.named or ()))

    def _mask(self, data, observed, draw, rows):
        first, second = self.named or data.modalities
        u, share = draw.uniform("fractions"), np.cumsum(self.percent) / 100
        if not self.bernoulli:
            u, share = draw.rank("fractions"), np.round(share * len(rows))
        pattern = torch.from_numpy(np.searchsorted(share[:2], u, side="right"))  # 0 both, 1 first only, 2 second only
        return {first: (pattern != 2)[:, None], second: (pattern != 1)[:, None]}

    def __str__(self) -> str:
        return f"{self.name}(complete_training=true)" if self.complete_training else self.name


@dataclass(frozen=True)
class Frames(Protocol):
    """Each real frame of each modality is lost with probability `rate`; one frame of each row always stays.

    A frame is lost if its random number is below `rate`; the frame with the largest number stays. The number depends on the
    place of the frame among the real frames of its row, so padding changes nothing. keep: a modality that loses nothing.
    """

    rate: float
    keep: str = ""
    kind = "frames"

    def _mask(self, data, observed, draw, rows):
        place = {m: (f.cumsum(1) - 1).clamp(min=0) for m, f in observed.items()}
        u = {m: torch.from_numpy(draw.matrix("frames", m, count=p.shape[1])).gather(1, p) for m, p in place.items()}
        if self.keep:
            u[self.keep].fill_(1)
        largest = torch.stack([x.masked_fill(~observed[m], -1).amax(1) for m, x in u.items()]).amax(0)[:, None]
        return {m: (x >= self.rate) | (x == largest) for m, x in u.items()}


@dataclass(frozen=True)
class Rate(Protocol):
    """An exact share of the rows loses modalities: `lose` modalities each or, with lose=0, any number below all.

    The set of modalities that remains is uniformly random among the sets that `lose` allows.
    """

    rate: float
    lose: int = 0
    kind = "rate"

    def check(self, data):
        count = len(data.modalities)
        if not 0 <= self.lose < count:
            raise self._error(data, f"lose must be 0 (any number) to {count - 1}, the data have {count} modalities")

    def _mask(self, data, observed, draw, rows):
        present = availability(observed)
        patterns = all_patterns(len(observed))
        lost = present.sum(1, keepdim=True) - patterns.sum(1)
        allowed = within(patterns, present) & ((lost == self.lose) if self.lose else (lost >= 1))
        pattern = choose(patterns, allowed, draw.uniform("rate pattern"))
        loses = torch.from_numpy(draw.rank("rate") < round(self.rate * len(rows))) & allowed.any(1)
        return dict(zip(observed, torch.where(loses[:, None], pattern, present).T[..., None]))


@dataclass(frozen=True)
class Rates(Protocol):
    """Each named modality is lost independently with its own rate, under the condition that the row keeps something.

    rates: pairs (modality, rate in 0..1); a modality without a pair loses nothing. The condition is within the modalities
    that the row has by nature. It changes the rates, which `exact` states: `rates(text=0.1, audio=0.6)` on rows with text
    and audio loses text in (0.1 - 0.06) / (1 - 0.06) = 4.3 % and audio in (0.6 - 0.06) / (1 - 0.06) = 57.4 % of the rows.

    A row that loses everything in its first draw is drawn again, with other numbers, from the distribution under the
    condition. Where the first draw at the higher rates leaves something, they remove all that lower rates remove. This
    cannot hold for all rows: raising the rate of text alone makes the exact rate of audio smaller.

    Imbalanced rates as in MissBench (arXiv 2603.09874) and MissMAC-Bench (arXiv 2602.00811).
    """

    rates: tuple[tuple[str, float], ...]
    kind = "rates"

    def __post_init__(self) -> None:
        if not self.rates:
            raise DataError("protocol 'rates': names no modality; write rates(text=0.1, audio=0.6)")
        for _, rate in self.rates:
            self._check_rate(rate)

    def exact(self, modalities: Sequence[str]) -> dict[str, float]:
        """Per modality the probability that a row with these modalities, and no others, loses it.

        P(m lost | something remains) = (rate of m - product of all rates) / (1 - product of all rates). Raises DataError
        where every rate is 1.
        """
        rates = [dict(self.rates).get(m, 0.0) for m in modalities]
        everything = math.prod(rates)
        if everything == 1:
            raise DataError(f"protocol {str(self)!r}: every modality has rate 1, so nothing would remain")
        return {m: (rate - everything) / (1 - everything) for m, rate in zip(modalities, rates, strict=True)}

    def check(self, data):
        self._check_modalities(data, *dict(self.rates))
        self.exact(data.modalities)

    def _mask(self, data, observed, draw, rows):
        present = availability(observed)
        rates = torch.tensor([dict(self.rates).get(m, 0.0) for m in observed], dtype=torch.float64)
        rates = torch.where(present, rates, 1.0)  # what a row lacks counts as lost
        first, second = (np.stack([draw.uniform(tag, m) for m in observed], 1) for tag in ("rates", "rates again"))
        stays = torch.from_numpy(first) >= rates
        again = ~stays.any(1)
        # Modality by modality: while nothing is kept, the chance of a loss leaves room for a later modality to be kept.
        # Attempts until something is kept would have the same distribution, and no bound on their number.
        rest = rates.flip(1).cumprod(1).flip(1)  # (n, M): all modalities from here on are lost
        for k, rate in enumerate(rates.T):
            kept = stays[:, :k].any(1)
            loss = torch.where(kept, rate, (rate - rest[:, k]) / (1 - rest[:, k]))
            stays[:, k] = torch.where(again, torch.from_numpy(second[:, k]) >= loss, stays[:, k])
        return dict(zip(observed, stays.T[..., None]))

    def __str__(self) -> str:
        pairs = [f"{m}={_text(float(rate))}" for m, rate in self.rates]
        return f"rates({', '.join([*pairs, *['complete_training=true'] * self.complete_training])})"


@dataclass(frozen=True)
class Slots(Protocol):
    """The share `rate` of all (row, modality) slots is lost, as evenly over the rows as whole numbers allow."""

    rate: float
    kind = "slots"

    def check(self, data):
        limit = (len(data.modalities) - 1) / len(data.modalities)
        if self.rate > limit + 1e-9:
            share = f"with {len(data.modalities)} modalities at most {limit:.3f} of the slots can be lost"
            raise self._error(data, f"{share} without rows losing everything")

    def _mask(self, data, observed, draw, rows):
        present = availability(observed)
        slots = present.sum(1)
        even = (draw.rank("slots") + 0.5) / len(rows)
        lost = (self.rate * slots + torch.from_numpy(even)).floor().clamp(max=slots - 1)
        order = torch.from_numpy(draw.matrix("slots which", count=len(observed)))
        rank = order.masked_fill(~present, 2).argsort(1).argsort(1)
        return dict(zip(observed, (present & (rank >= lost[:, None])).T[..., None]))


@dataclass(frozen=True)
class Patterns(Protocol):
    """A uniformly random non-empty set of the modalities that the row has, drawn anew in every training epoch.

    keep: a modality that is in the set of every row that has this modality.
    """

    keep: str = ""
    kind = "patterns"
    redrawn = True

    def _mask(self, data, observed, draw, rows):
        patterns, present = all_patterns(len(observed)), availability(observed)
        allowed = within(patterns, present)
        if self.keep:
            k = list(observed).index(self.keep)
            allowed = allowed & (patterns[:, k] | ~present[:, k, None])
        return dict(zip(observed, choose(patterns, allowed, draw.uniform("patterns")).T[..., None]))


@dataclass(frozen=True)
class Dependent(Protocol):
    """One modality is lost with the probability sigmoid(strength * score + bias), and the score depends on `given`.

    given: another modality (missing at random); 'target' or the lost modality itself (missing not at random). score: for a
    modality the first principal component of its mean frame, each dimension in units of its standard deviation; for a
    regression target its value; for labels 1 where the row has `label` (default: the most frequent label), else 0; then
    standardised on the training rows. bias: the mean probability over the training rows that can lose the modality is `rate`.
    """

    modality: str
    given: str
    rate: float
    strength: float = 2.0
    label: str = ""
    largest_rate = 0.999

    @property
    def kind(self) -> str:
        return "mnar" if self.given in ("target", self.modality) else "mar"

    def check(self, data):
        self._check_modalities(data, self.modality, *[self.given] * (self.given != "target"))
        if self.label and (self.given != "target" or self.label not in data.label_names):
            raise self._error(data, f"label {self.label!r} is not one of {', '.join(data.label_names)} (given=target)")

    def _mask(self, data, observed, draw, rows):
        score = self._score(data)
        others = torch.stack([data.present[m] for m in data.modalities if m != self.modality]).any(0).cpu().numpy()
        can_lose = others & data.present[self.modality].cpu().numpy()
        if self.given != "target":
            can_lose &= data.present[self.given].cpu().numpy()
        train = can_lose & (data.split == "train")
        if not train.any():
            raise self._error(data, f"no training row has {self.modality!r} and another modality")
        lost = np.zeros(len(rows), bool)
        if self.rate > 0:
            from scipy.optimize import brentq  # half a second that no other protocol needs

            bias = brentq(lambda b: expit(self.strength * score[train] + b).mean() - self.rate, -1e3, 1e3)
            probability = expit(self.strength * score[rows.numpy()] + bias)
            lost = can_lose[rows.numpy()] & (draw.uniform("dependent", self.modality) < probability)
        return Complete()._mask(data, observed, draw, rows) | {self.modality: torch.from_numpy(~lost)[:, None]}

    def _score(self, data: Dataset) -> Float[np.ndarray, "N"]:
        train = data.split == "train"
        if self.given != "target":
            x, real = data.features[self.given].float().cpu(), data.observed[self.given].cpu()
            pooled = frame_mean(x, real).double().numpy()
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
        return super().__str__().replace("modality=", "", 1)


@dataclass(frozen=True)
class Then(Protocol):
    """One protocol after the other: the second acts on what the first leaves."""

    first: Protocol
    second: Protocol
    kind = "then"

    def check(self, data):
        for part in (self.first, self.second):
            if part.redrawn:
                raise self._error(data, f"{str(part)!r} is redrawn and stands alone")
            part.check(data)

    def _mask(self, data, observed, draw, rows):
        for part in (self.first, self.second):
            mask = part._mask(data, observed, draw, rows)
            observed = {m: f & mask[m] for m, f in observed.items()}
        return observed

    def __str__(self) -> str:
        return f"{self.first} then {self.second}"


def summary(data: Dataset, protocol: Protocol, seed: int) -> pd.DataFrame:
    """Per split and set of modalities that remains: its rows, its share of the rows, the visible share of all real frames."""
    table = []
    for split in SPLITS:
        visible = protocol.observed(data, split, seed)
        real = sum(int(f[data.rows(split)].sum()) for f in data.observed.values())
        frames = sum(int(f.sum()) for f in visible.values()) / real
        names = pattern_names(visible)
        for pattern, count in zip(*np.unique(names, return_counts=True)):
            table.append((split, str(pattern), int(count), count / len(names), frames))
    return pd.DataFrame(table, columns=["split", "observed", "rows", "share", "frames visible"])


def uniforms(seed: int, split: str, ids: np.ndarray, *tags: str, count: int = 1) -> Float[np.ndarray, "n count"]:
    """Numbers in [0, 1) that depend on (seed, split, id, tags) alone: the first bits of their SHAKE-128 hash."""
    head = hashlib.shake_128("\0".join([str(seed), split, *tags, ""]).encode())

    def bits(name: str) -> bytes:
        digest = head.copy()
        digest.update(name.encode())
        return digest.digest(8 * count)

    raw = b"".join(map(bits, map(str, ids.tolist())))
    return (np.frombuffer(raw, dtype="<u8").reshape(len(ids), count) >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class _Draw:
    """The random numbers of the rows of a split; `tags` name what the numbers are for."""

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

    def rank(self, *tags: str) -> Int[np.ndarray, "n"]:
        return self.uniform(*tags).argsort().argsort()


def _text(value) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
