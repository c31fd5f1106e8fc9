"""Differences between systems with their intervals over seeds and test rows, and what would make them narrower."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import norm, t

from mmlib import metrics

_MOST_SEEDS = 100_000


def corrected_interval(
    differences: Float[np.ndarray, "k"], ratio: float, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of the mean difference of two systems, from k folds or repeated splits that share training rows.

    ratio: test rows per training row. The variance of the mean is s^2 (1 / k + ratio) instead of s^2 / k, Student's t with
    k - 1 degrees (Nadeau, Bengio: Inference for the Generalization Error, 2003).
    """
    k = len(differences)
    if k < 2:
        raise ValueError(f"corrected_interval needs two differences, got {k}")
    half = float(t.ppf((1 + confidence) / 2, k - 1) * np.sqrt(differences.var(ddof=1) * (1 / k + ratio)))
    return float(differences.mean()) - half, float(differences.mean()) + half


class Difference(NamedTuple):
    """A mean paired difference, positive where the first system is better; its interval is mean ± half.

    deviation: between seeds. by_rows: standard deviation of the mean over resamples of the test rows; nan where the
    interval is over seeds alone or over folds. ratio: as for `paired`. degrees: of Student's t, from which `half` comes.
    """

    metric: str
    mean: float
    deviation: float
    seeds: int
    half: float
    by_rows: float = np.nan
    confidence: float = 0.95
    ratio: float = 0.0
    degrees: float = np.inf

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference: the interval of confidence 1 - p ends at 0."""
        if self.half == 0:
            return float(self.mean == 0)
        error = self.half / t.ppf((1 + self.confidence) / 2, self.degrees)
        return float(2 * t.sf(abs(self.mean) / error, self.degrees))

    @property
    def side(self) -> int:
        """1: the first system is better, -1: the second is, 0: the interval contains 0."""
        return int(self.mean > self.half) - int(-self.mean > self.half)

    @property
    def largest(self) -> float:
        """The size of the largest effect that the interval contains."""
        return abs(self.mean) + self.half

    def __str__(self) -> str:
        basis = " (folds)" if self.ratio else " (seeds alone)" if np.isnan(self.by_rows) else ""
        if self.metric == "mae":
            return f"{self.mean:+.3f} ± {self.half:.3f} mae{basis}"
        return f"{self.mean * 100:+.1f} ± {self.half * 100:.1f} points of {self.metric}{basis}"


def paired(
    a: pd.Series | pd.DataFrame,
    b: pd.Series | pd.DataFrame | float,
    metric: str = "score",
    confidence: float = 0.95,
    ratio: float = 0.0,
) -> Difference:
    """System a against system b, paired by seed and, where the replicates are there, by test row.

    a, b: scores by seed as of `rows.score`, or with replicates as of `rows.sampled`; b may be one number for all seeds.
    metric: lower is better for mae, higher for every other name. ratio: test rows per training row where the seeds are
    folds, else 0; folds have `corrected_interval`.

    The variance of the mean over S seeds is s^2 / S for the seeds plus the variance of the mean over resamples of the test
    rows, which are the same for both systems; Student's t with Welch and Satterthwaite's degrees, S - 1 for the seeds and
    infinite for the rows. What seeds and rows do only together is in both parts, so the interval is rather too wide (Owen:
    The Pigeonhole Bootstrap, 2007). Without replicates the interval holds for other seeds on the same rows.
    Raises ValueError where a and b have other seeds, fewer than two, or a score that is not finite.
    """
    if not isinstance(b, (int, float)) and set(a.index) != set(b.index):
        raise ValueError(f"cannot pair seeds {sorted(a.index)} with seeds {sorted(b.index)}")
    if len(a) < 2:
        raise ValueError(f"an interval needs two seeds, got {len(a)}")
    a, b = (x.to_frame(0) if isinstance(x, pd.Series) else x for x in (a, b))
    gains = (a - b) * (1 if metrics.better(metric, 1.0, 0.0) else -1)
    gain = gains[0].to_numpy()
    if not np.isfinite(gain).all():
        raise ValueError(f"an interval needs finite differences, got {gain.tolist()}")
    replicates = gains.drop(columns=0).to_numpy().mean(0)
    mean, deviation, seeds = float(gain.mean()), float(gain.std(ddof=1)), len(gain)
    if ratio:
        low, high = corrected_interval(gain, ratio, confidence)
        return Difference(metric, mean, deviation, seeds, (high - low) / 2, np.nan, confidence, ratio, seeds - 1)
    by_rows = float(replicates.std(ddof=1)) if len(replicates) > 1 else np.nan
    of_rows = 0.0 if np.isnan(by_rows) else by_rows
    half, degrees = float(_half(deviation, seeds, of_rows, confidence)), float(_degrees(deviation, seeds, of_rows))
    return Difference(metric, mean, deviation, seeds, half, by_rows, confidence, degrees=degrees)


def _half(
    deviation: float, seeds: int | Int[np.ndarray, "n"], by_rows: float, confidence: float
) -> float | Float[np.ndarray, "n"]:
    error = np.sqrt(deviation**2 / seeds + by_rows**2)
    return t.ppf((1 + confidence) / 2, _degrees(deviation, seeds, by_rows)) * error


def _degrees(deviation: float, seeds: int | Int[np.ndarray, "n"], by_rows: float) -> float | Float[np.ndarray, "n"]:
    """Welch's and Satterthwaite's degrees of freedom; infinite without any deviation between seeds."""
    return (seeds - 1) * (1 + by_rows**2 * seeds / deviation**2) ** 2 if deviation else np.inf


def seeds_for(difference: Difference, half: float) -> int | None:
    """The seeds with which mean ± `half` would be the interval, if seeds and rows vary as they did.

    None where no number of seeds is enough: the test rows alone make it wider, or the seeds are folds.
    """
    if difference.ratio or rows_for(difference, half) >= 1:
        return None
    seeds = np.arange(2, _MOST_SEEDS)
    rows = 0.0 if np.isnan(difference.by_rows) else difference.by_rows
    enough = _half(difference.deviation, seeds, rows, difference.confidence) <= half
    return int(seeds[enough.argmax()]) if enough.any() else None


def rows_for(difference: Difference, half: float) -> float:
    """The test rows that mean ± `half` needs even from endless seeds, as a multiple of the rows that were there.

    0 without replicates of the rows.
    """
    by_rows = 0.0 if np.isnan(difference.by_rows) else difference.by_rows
    return float((norm.ppf((1 + difference.confidence) / 2) * by_rows / half) ** 2)


def survivors(p: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several tests Holm's correction leaves, at this level for all together."""
    order, kept = np.argsort(p), np.zeros(len(p), bool)
    for place, index in enumerate(order):
        if p[index] > level / (len(p) - place):
            break
        kept[index] = True
    return kept.tolist()


def against(
    first: pd.Series | pd.DataFrame, rivals: Mapping[str, pd.Series | pd.DataFrame], metric: str, ratio: float = 0.0
) -> dict[str, Difference]:
    """One system against several, 95 % sure all together (Bonferroni); arguments and errors as of `paired`."""
    return {name: paired(first, rival, metric, 1 - 0.05 / len(rivals), ratio) for name, rival in rivals.items()}
