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
    """A mean paired difference over seeds, positive where the first system is better; its interval is mean ± half."""

    metric: str
    mean: float
    deviation: float
    seeds: int
    half: float

    @property
    def side(self) -> int:
        """1: the first system is better, -1: the second is, 0: the interval contains 0."""
        return int(self.mean > self.half) - int(-self.mean > self.half)

    def __str__(self) -> str:
        if self.metric == "mae":
            return f"{self.mean:+.3f} ± {self.half:.3f} mae"
        return f"{self.mean * 100:+.1f} ± {self.half * 100:.1f} points of {self.metric}"


def paired(
    a: pd.Series, b: pd.Series | float, metric: str = "score", confidence: float = 0.95, ratio: float = 0.0
) -> Difference:
    """System a against system b, paired by seed, with the interval of Student's t.

    a, b: scores by seed, as of `rows.score` or from `ranks.blocks(rows, per="seed")`; b may be one number for all seeds.
    metric: lower is better for mae, higher for every other name. ratio: test rows per training row where the seeds are
    folds, else 0. The interval holds for other seeds on the same rows, not for other rows or data sets.
    Raises ValueError where a and b have other seeds, fewer than two, or a score that is not finite.
    """
    if isinstance(b, pd.Series) and set(a.index) != set(b.index):
        raise ValueError(f"cannot pair seeds {sorted(a.index)} with seeds {sorted(b.index)}")
    if len(a) < 2:
        raise ValueError(f"an interval needs two seeds, got {len(a)}")
    gain = (a - b) * (1 if metrics.better(metric, 1.0, 0.0) else -1)
    if not np.isfinite(gain).all():
        raise ValueError(f"an interval needs finite differences, got {gain.tolist()}")
    low, high = corrected_interval(gain.to_numpy(), ratio, confidence)
    return Difference(metric, float(gain.mean()), float(gain.std()), len(gain), (high - low) / 2)


def best(
    first: pd.Series, rivals: Mapping[str, pd.Series], metric: str, ratio: float = 0.0
) -> tuple[int, dict[str, Difference]]:
    """1: better than every rival, -1: some rival is better, 0: neither; and the differences, 95 % sure all together."""
    gains = {name: paired(first, rival, metric, 1 - 0.05 / len(rivals), ratio) for name, rival in rivals.items()}
    sides = {d.side for d in gains.values()}
    return (-1 if -1 in sides else int(sides == {1})), gains
