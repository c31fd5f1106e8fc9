"""Sets of modalities that training hides or shows at random. Systems say which law is theirs."""

import torch
from jaxtyping import Bool
from torch import Tensor

from mmlib.missing.patterns import within


def random_subset(patterns: Bool[Tensor, "P M"], present: Bool[Tensor, "B M"]) -> Bool[Tensor, "B M"]:
    """One of the sets that each row has, all equally likely; nothing for a row without any."""
    allowed = within(patterns, present)  # (B, P)
    u = torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1)
    return patterns[u.argmax(1)] & present


def subset_of_random_size(present: Bool[Tensor, "B M"]) -> Bool[Tensor, "B M"]:
    """A uniform number of the modalities that each row has, then a uniform subset of this size."""
    u = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    rank = u.argsort(1, descending=True).argsort(1)  # those that the row has come first, in random order
    hidden = torch.rand(len(present), 1, device=present.device) * present.sum(1, keepdim=True)  # in [0, n)
    return present & (rank <= hidden.floor())
