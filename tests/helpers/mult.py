"""MulT, and systems on its trunk, with random weights: what tests against slow references share."""

import torch

from tests.helpers.weights import renamed, trunk_weights
from tests.reference import mult as slow

DOUBLE = torch.float64
SIZES = {"d": 4, "heads": 2, "layers": 2, "memory": 2}
LAYERS, MEMORY, HEADS = 2, 2, 2


def randomised(system):
    """Biases of zero and norms of one would hide mistakes."""
    generator, system = torch.Generator().manual_seed(1), system.double()
    for p in system.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=DOUBLE)
    return system.eval()


def weights_of(system):
    head = renamed(system.head, ("hidden.0.", "residual.0."), ("hidden.3.", "residual.1."), ("out.", "head."))
    return trunk_weights(system.trunk) | head


def slow_logits(w, rows):
    return torch.stack([slow.predict(w, row, LAYERS, MEMORY, HEADS) for row in rows])
