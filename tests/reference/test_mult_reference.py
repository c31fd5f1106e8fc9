"""MulT against its slow reference, and its size against that of another implementation."""

from dataclasses import replace

import pytest
import torch

from mmlib.models.mult import MulT, TemporalConvolution
from mmlib.names import DataError
from tests.helpers.clips import SHAPES, batch_of
from tests.helpers.mult import DOUBLE, SIZES, randomised, slow_logits, weights_of
from tests.reference.umdf import task_loss


@pytest.mark.parametrize("task", SHAPES)
def test_logits_and_gradients(task):
    batch, rows, data = batch_of(task)
    system = randomised(MulT.for_data(data, **SIZES))
    w = weights_of(system)
    assert len(w) == len(list(system.parameters()))
    logits = system.predict(batch.unlabelled()).logits
    torch.testing.assert_close(logits, slow_logits(w, rows))
    (loss,) = system.loss(batch, "main").values()
    theirs = task_loss(slow_logits(w, rows), batch.target, task)
    torch.testing.assert_close(loss, theirs)
    for name, a, b in zip(w, *(torch.autograd.grad(x, list(w.values())) for x in (loss, theirs))):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("names", [("text",), ("audio",), ("vision", "text")])
def test_fewer_modalities(names):
    batch, rows, data = batch_of("multiclass")
    batch = replace(batch, x={m: batch.x[m] for m in names}, observed={m: batch.observed[m] for m in names})
    torch.manual_seed(0)
    system = randomised(MulT({m: data.dims[m] for m in names}, "multiclass", 3, **SIZES))
    expected = slow_logits(weights_of(system), [{m: row[m] for m in names} for row in rows])
    torch.testing.assert_close(system.predict(batch).logits, expected)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_the_convolution_equals_that_of_torch(kernel, frames):
    torch.manual_seed(0)
    ours, x = TemporalConvolution(3, 4, kernel).double(), torch.randn(2, frames, 3, dtype=DOUBLE)
    theirs = torch.nn.functional.conv1d(x.transpose(1, 2), ours.weight, padding=kernel // 2).transpose(1, 2)
    torch.testing.assert_close(ours(x), theirs)


def test_an_even_kernel_is_refused():
    with pytest.raises(DataError, match="kernel 4 is even"):
        MulT({"text": 3}, "regression", 1, kernel=4)


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ({"d": 50, "heads": 10, "layers": 4, "memory": 4, "kernel": 5}, 2_571_551),
        ({"d": 40, "heads": 10, "layers": 4, "memory": 4, "kernel": 1}, 1_555_961),
        ({"d": 30, "heads": 6, "layers": 2, "memory": 3, "kernel": 1}, 619_951),
    ],
)
def test_it_has_as_many_parameters_as_that_of_the_package_mmsa(sizes, parameters):
    """Counted in MMSA 2.2.1 for features of 768, 5 and 20 numbers; the first sizes are its own for MOSI."""
    system = MulT({"text": 768, "audio": 5, "vision": 20}, "regression", 1, **sizes)
    assert sum(p.numel() for p in system.parameters()) == parameters


def test_modality_dropout_trains_on_rows_that_show_less():
    batch, _, data = batch_of("multiclass")
    batch = batch.select(torch.zeros(40, dtype=torch.long))  # the complete row
    system = randomised(MulT.for_data(data, **SIZES, dropout_modalities=True))
    assert system.traits == () and MulT.for_data(data).traits == ("hides_nothing",)
    seen = []
    system.predict = lambda batch, predict=system.predict: seen.append(batch) or predict(batch)
    system.loss(batch, "main")
    shown = {tuple(row) for row in torch.stack(list(seen[0].present.values()), 1).tolist()}
    assert len(shown) == 7
