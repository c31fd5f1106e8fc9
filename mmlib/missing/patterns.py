"""Sets of modalities: which ones a row has, all that there are, and a random choice among them."""

import itertools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Observed = dict[str, Bool[Tensor, "n _"]]


def pattern_names(visible: Mapping[str, Bool[Tensor, "n _"]]) -> np.ndarray:
    """(n,) text such as 'image + text' naming what each row has."""
    present = {m: f.any(1).cpu().numpy() for m, f in visible.items()}
    rows = zip(*present.values())
    return np.array([" + ".join(itertools.compress(present, row)) for row in rows])


def availability(observed: Observed) -> Bool[Tensor, "n M"]:
    """Which modalities each row has a frame of."""
    return torch.stack([f.any(1) for f in observed.values()], 1)


def all_patterns(modalities: int) -> Bool[Tensor, "P M"]:
    """All non-empty sets of modalities."""
    return torch.tensor([p for p in itertools.product((False, True), repeat=modalities) if any(p)])


def within(patterns: Bool[Tensor, "P M"], present: Bool[Tensor, "n M"]) -> Bool[Tensor, "n P"]:
    """Which of these sets each row could be left with: those that ask for nothing it lacks."""
    return ~(patterns & ~present[:, None]).any(2)


def choose(
    patterns: Bool[Tensor, "P M"], allowed: Bool[Tensor, "n P"], u: Float[np.ndarray, "n"]
) -> Bool[Tensor, "n M"]:
    """One allowed pattern per row, uniformly; rows without any get an arbitrary one."""
    position = (torch.from_numpy(u) * allowed.sum(1)).floor() + 1
    return patterns[(allowed.cumsum(1) == position[:, None]).int().argmax(1)]
