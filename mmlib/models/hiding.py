"""Modalities and frames that training hides or shows at random. Systems say which law is theirs."""

from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from mmlib.data.dataset import Batch
from mmlib.missing.patterns import Observed, availability, within


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


def with_random_subset(patterns: Bool[Tensor, "P M"], batch: Batch) -> Batch:
    """The rows of a batch, each with one of the sets that it has, by the law of `random_subset`."""
    return showing(batch, random_subset(patterns, availability(batch.observed)))


def showing(batch: Batch, shown: Bool[Tensor, "B M"]) -> Batch:
    """The rows of a batch, each with no more than these modalities."""
    return replace(batch, observed={m: f & shown[:, [i]] for i, (m, f) in enumerate(batch.observed.items())})


def lose_frames(observed: Observed, p_max: float) -> Observed:
    """Each row loses its frames with one probability p from {0, .1, .., p_max}, but one frame per modality stays."""
    first, frames = next(iter(observed.values())), {}
    p = torch.randint(0, round(10 * p_max) + 1, (len(first), 1), device=first.device) / 10
    for m, f in observed.items():
        u = torch.rand(f.shape, device=f.device).masked_fill(~f, -1)
        frames[m] = f & ((u >= p) | (u == u.amax(1, keepdim=True)))
    return frames


def incomplete_view(patterns: Bool[Tensor, "P M"], batch: Batch, p_max: float) -> Batch:
    """The rows of `with_random_subset`, which then `lose_frames`."""
    view = with_random_subset(patterns, batch)
    return replace(view, observed=lose_frames(view.observed, p_max))
