"""Rows of each pair of a set of modalities that a row has and a set that training leaves of it; comparisons with references."""

import torch
from torch import nn

from mmlib.data.dataset import Batch
from mmlib.missing.patterns import all_patterns

DOUBLE = torch.float64
DIMS = {"text": 3, "audio": 2, "vision": 4}
NAMES = list(DIMS)
LENGTHS = {"text": 4, "audio": 2, "vision": 1}
# Each set of modalities that a row can have, with each set that training can leave of it.
HAS, KEPT = (
    torch.stack(side)
    for side in zip(*((p, q) for p in all_patterns(3) for q in all_patterns(3) if not bool((q & ~p).any())))
)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def clips(task="multiclass"):
    """A row of each pair in HAS and KEPT; frames are lost, too. What is not observed is NaN."""
    generator = torch.Generator().manual_seed(1)
    n, x, observed = len(HAS), {}, {}
    for k, (m, d) in enumerate(DIMS.items()):
        frames = torch.rand(n, LENGTHS[m], generator=generator) < 0.7
        frames[:, -1] = True
        observed[m] = frames & HAS[:, [k]]
        x[m] = torch.randn(n, LENGTHS[m], d, generator=generator, dtype=DOUBLE)
        x[m] = x[m].masked_fill(~observed[m][..., None], torch.nan)
    target = {
        "multiclass": torch.arange(n) % 3,
        "regression": torch.randn(n, generator=generator, dtype=DOUBLE),
        "multilabel": (torch.rand(n, 3, generator=generator) < 0.4).double(),
    }[task]
    return Batch(x=x, observed=observed, target=target, index=torch.arange(n))


def layers(**networks):
    """The linear layers of each network, as nested lists."""
    w = {}
    for name, network in networks.items():
        for i, layer in enumerate(m for m in network.modules() if isinstance(m, nn.Linear)):
            w[f"{name}.{i}.weight"], w[f"{name}.{i}.bias"] = layer.weight.tolist(), layer.bias.tolist()
    return w


def agree(terms, slow):
    assert list(terms) == list(slow)
    for name, theirs in slow.items():
        torch.testing.assert_close(terms[name].detach(), torch.tensor(theirs, dtype=DOUBLE), msg=name, **CLOSE)


def features(batch):
    """The mean of the observed frames of each modality that a row has."""
    rows = []
    for i in range(len(batch)):
        row = {}
        for m in NAMES:
            seen = [x.tolist() for x, here in zip(batch.x[m][i], batch.observed[m][i]) if here]
            if seen:
                row[m] = [sum(column) / len(column) for column in zip(*seen)]
        rows.append(row)
    return rows
