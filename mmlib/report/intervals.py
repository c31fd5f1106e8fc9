"""Differences between systems with their intervals, paired over seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t

from mmlib import metrics


def corrected_interval(
    differences: Float[np.ndarray, "k"], ratio: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Where the mean difference of two systems lies, from k folds or repeated splits that share training rows.

    ratio: test rows per training row. The variance of the mean is s^2 (1 / k + ratio) instead of s^2 / k, Student's t with
    k - 1 degrees (Nadeau, Bengio: Inference for the Generalization Error, 2003).
    """
    k = len(differences)
    if k < 2:
        raise ValueError(f"corrected_interval needs two differences, got {k}")
    half = float(t.ppf((1 + confidence) / 2, k - 1) * np.sqrt(differences.var(ddof=1) * (1 / k + ratio)))
    return float(differences.mean()) - half, float(differences.mean()) + half


FOLDED = {"mmmo": 1 / 3}  # data sets of SMCIR whose seeds are folds: test rows per training row


class Difference(NamedTuple):
    """A mean paired difference over seeds, positive where the first is better; its interval is mean ± half."""

    metric: str
    mean: float
    deviation: float
    seeds: int
    half: float

    @property
    def side(self) -> int:
        """1: the first is better, -1: the second is, 0: the interval holds 0."""
        return int(self.mean > self.half) - int(-self.mean > self.half)

    def __str__(self) -> str:
        if self.metric == "mae":
            return f"{self.mean:+.3f} ± {self.half:.3f} mae"
        return f"{self.mean * 100:+.1f} ± {self.half * 100:.1f} points of {self.metric}"


def paired(a: pd.Series, b: pd.Series | float, metric: str, confidence: float = 0.95, ratio: float = 0.0) -> Difference:
    """a against b, by seed; the interval is Student's t. b: scores of the same seeds, or one number for all.

    ratio: test rows per training row where the seeds are folds, else 0.
    Raises ValueError for other seeds or fewer than two.
    """
    if isinstance(b, pd.Series) and set(a.index) != set(b.index):
        raise ValueError(f"cannot pair seeds {sorted(a.index)} with seeds {sorted(b.index)}")
    if len(a) < 2:
        raise ValueError(f"an interval needs two seeds, got {len(a)}")
    ahead = (a - b) * (1 if metrics.better(metric, 1.0, 0.0) else -1)
    low, high = corrected_interval(ahead.to_numpy(), ratio, confidence)
    return Difference(metric, float(ahead.mean()), float(ahead.std()), len(ahead), (high - low) / 2)


def best(
    first: pd.Series, rivals: Mapping[str, pd.Series], metric: str, ratio: float = 0.0
) -> tuple[int, dict[str, Difference]]:
    """1: better than every rival, -1: some rival is better, 0: neither; and the differences, 95 % sure all together."""
    found = {name: paired(first, rival, metric, 1 - 0.05 / len(rivals), ratio) for name, rival in rivals.items()}
    sides = {d.side for d in found.values()}
    return (-1 if -1 in sides else int(sides == {1})), found
