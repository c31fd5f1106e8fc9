"""A fixed incomplete view of the nine clips of `tests.helpers.clips`, and the comparison of a system with its reference."""

import math
from dataclasses import replace

import torch

from tests.helpers.clips import WIDTHS, batch_of

HIDDEN = {"text": "010000000", "audio": "101000001", "vision": "000010000"}  # the rows that lose all of a modality


def prepared(kind, task, **options):
    """A system in float64 with random weights and without dropout, a batch, its rows, those of the view, the view."""
    batch, rows, data = batch_of(task)
    system = kind.for_data(data, dropout=0.0, **options).double().eval()
    generator = torch.Generator().manual_seed(0)
    for p in system.parameters():
        scale = 1 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.4
        p.data = scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    observed = {}
    for m, f in batch.observed.items():
        lost = torch.rand(f.shape, generator=generator) < 0.3
        lost[:, 0] = False
        observed[m] = f & ~lost & torch.tensor([[c == "0"] for c in HIDDEN[m]])
    part = [{m: (x, observed[m][i]) for m, (x, _) in row.items()} for i, row in enumerate(rows)]
    assert all((batch.observed[m] & ~observed[m]).any() for m in WIDTHS)
    return system, batch, rows, part, replace(batch, observed=observed)


def assert_equal_terms(system, ours, theirs):
    """The terms and the gradient of their sum for every parameter."""
    assert set(ours) == set(theirs)
    for name, term in theirs.items():
        torch.testing.assert_close(ours[name], term, msg=f"{name}: {ours[name]} and {term}")
    names, parameters = zip(*system.named_parameters())
    gradients = [torch.autograd.grad(sum(terms.values()), parameters, allow_unused=True) for terms in (ours, theirs)]
    for name, a, b in zip(names, *gradients):
        assert a is not None, f"{name} has no gradient"
        torch.testing.assert_close(a, b, msg=name)
