"""Sets of modalities: which set a row has, all possible sets, and a random choice among them."""

import itertools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Observed = dict[str, Bool[Tensor, "n _"]]


def pattern_names(visible: Mapping[str, Bool[Tensor, "n _"]]) -> np.ndarray:
    """(n,) text such as 'image + text': the modalities of each row."""
    rows = zip(*(f.any(1).cpu().numpy() for f in visible.values()))
    return np.array([" + ".join(itertools.compress(visible, row)) for row in rows])


def availability(observed: Observed) -> Bool[Tensor, "n M"]:
    """True where the row has at least one frame of the modality."""
    return torch.stack([f.any(1) for f in observed.values()], 1)


def all_patterns(modalities: int) -> Bool[Tensor, "P M"]:
    """All non-empty sets of modalities, P = 2^M - 1."""
    return torch.tensor([p for p in itertools.product((False, True), repeat=modalities) if any(p)])


def within(patterns: Bool[Tensor, "P M"], present: Bool[Tensor, "n M"]) -> Bool[Tensor, "n P"]:
    """True where the row has every modality of the set."""
    return ~(patterns & ~present[:, None]).any(2)


def choose(
    patterns: Bool[Tensor, "P M"], allowed: Bool[Tensor, "n P"], u: Float[np.ndarray, "n"]
) -> Bool[Tensor, "n M"]:
    """One allowed set per row, uniformly by the random numbers u in [0, 1); an arbitrary set for rows without any."""
    position = (torch.from_numpy(u) * allowed.sum(1)).floor() + 1
    return patterns[(allowed.cumsum(1) == position[:, None]).int().argmax(1)]
