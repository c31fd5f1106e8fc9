"""CubeMLP against its slow reference."""

import pytest
import torch

from mmlib.models import cubemlp as fast
from mmlib.models.cubemlp import CubeMLP
from mmlib.names import DataError
from tests.helpers.clips import SHAPES, batch_of
from tests.helpers.weights import renamed
from tests.reference import cubemlp as slow
from tests.reference.umdf import task_loss

DOUBLE = torch.float64
AXES = tuple((f".mix.{i}.", f".{axis}.") for i, axis in enumerate(slow.AXES))
NAMES = ((".mlp.0.", ".0."), (".mlp.3.", ".1."), (".residual.", ".project."), *AXES, ("blocks.", "block."))


def prepared(task="multiclass", **options):
    batch, rows, data = batch_of(task)
    system = CubeMLP.for_data(data, **({"d": 5, "length": 6} | options)).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, p in system.named_parameters():
        p.data = 0.6 * torch.randn(p.shape, generator=generator, dtype=DOUBLE) + (".norm.weight" in name)
    return system, batch, rows, renamed(system, *NAMES)


@pytest.mark.parametrize(
    ("task", "options"),
    [(task, {}) for task in SHAPES] + [("multiclass", {"lengths": (6, 3, 4), "widths": (7, 7, 2)})],
)
def test_logits_loss_and_gradients(task, options):
    system, batch, rows, w = prepared(task, **options)
    theirs = torch.stack([slow.predict(w, row, 6, len(system.blocks)) for row in rows])
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, theirs)
    ours = system.loss(batch, "main")
    assert list(ours) == ["task"]
    torch.testing.assert_close(ours["task"], task_loss(theirs, batch.target, task))
    losses = (ours["task"], task_loss(theirs, batch.target, task))
    for name, a, b in zip(w, *(torch.autograd.grad(loss, list(w.values())) for loss in losses)):
        torch.testing.assert_close(a, b, msg=name)


def test_the_default_blocks_shrink_as_in_the_paper():
    """50 steps and 128 channels stay so in the first block; the second one leaves 10 and 32."""
    system, batch, _, _ = prepared(d=128, length=50)
    cube, shapes = system.cube(batch), []
    for block in system.blocks:
        cube = block(cube)
        shapes.append(tuple(cube.shape[1:]))
    assert shapes == [(50, 3, 128), (10, 3, 32)]
    assert CubeMLP({"text": 3}, "regression", 1, d=2, length=3).head.in_features == 1


def test_blocks_without_a_size_are_an_error():
    for options in ({"lengths": (4,)}, {"widths": (4, 0)}, {"lengths": (), "widths": ()}, {"length": 0}):
        with pytest.raises(DataError, match="CubeMLP: lengths .* are not one size for each block"):
            CubeMLP({"text": 3}, "regression", 1, **options)


def test_modality_dropout_hides_in_training_alone(monkeypatch):
    system, batch, _, _ = prepared(dropout_modalities=True)
    monkeypatch.setattr(fast, "with_random_subset", lambda patterns, batch: batch.without("audio"))
    assert torch.equal(system.loss(batch, "main")["task"], prepared()[0].loss(batch.without("audio"), "main")["task"])
    assert not torch.equal(system.predict(batch).logits, system.predict(batch.without("audio")).logits)
    assert system.traits == () and prepared()[0].traits == ("hides_nothing",)
