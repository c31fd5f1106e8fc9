"""TETFN against its slow reference: logits, losses and gradients; its labels are those of Self-MM."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mmlib import synthetic
from mmlib.models.tetfn import TETFN
from mmlib.names import DataError
from tests.helpers.clips import PRESENT, SHAPES, batch_of
from tests.helpers.mult import HEADS, LAYERS, MEMORY, SIZES, randomised
from tests.helpers.weights import crossmodal, renamed, trunk_weights
from tests.reference import tetfn as slow

DEPTHS = (LAYERS, MEMORY, HEADS)


def prepared(task):
    """A system with random weights, its batch as rows of the training split, these rows, the weights for the reference."""
    batch, rows, data = batch_of(task)
    system = randomised(TETFN.for_data(data, **SIZES))
    train = data.view("train")
    system.setup(train)
    return system, replace(batch, index=train.rows[5:14]), rows, weights_of(system)


def weights_of(system):
    enhance = renamed(nn.ModuleDict({"enhance": system.enhance}))
    heads = nn.ModuleDict({"fusion": system.fusion, "unimodal": system.spaces})
    heads = renamed(heads, (".feature.1.", ".1."), (".head.0.", ".2."), (".head.2.", ".3."))
    return trunk_weights(system.trunk) | {crossmodal(n): v for n, v in enhance.items()} | heads


@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task):
    system, batch, rows, w = prepared(task)
    assert len(w) == len(list(system.parameters()))
    torch.testing.assert_close(
        system.predict(batch.unlabelled()).logits, torch.stack([slow.predict(w, row, *DEPTHS) for row in rows])
    )
    if task == "regression":
        system.absolute = True
        system.ulgm.labels[5:14] = torch.randn(9, 4, generator=torch.Generator().manual_seed(2)).double()
        system.ulgm.labels[5:14, -1] = batch.target
        labels = [dict(zip(PRESENT, line.tolist())) for line in system.ulgm.labels[5:14]]
        theirs = slow.losses(w, rows, batch.target.tolist(), labels, *DEPTHS)
    else:
        theirs = slow.losses_without_ulgm(w, rows, batch.target, task, *DEPTHS)
    ours = system.loss(batch, "main")
    assert list(ours) == ["task", "generated" if task == "regression" else "unimodal"]
    torch.testing.assert_close(ours["task"], theirs["task"])
    gradients = [torch.autograd.grad(sum(terms.values()), list(w.values())) for terms in (ours, theirs)]
    for name, a, b in zip(w, *gradients):
        torch.testing.assert_close(a, b, msg=name)


def test_two_modalities_have_no_enhancer():
    batch, rows, data = batch_of("multiclass")
    names = ("audio", "text")
    batch = replace(batch, x={m: batch.x[m] for m in names}, observed={m: batch.observed[m] for m in names})
    torch.manual_seed(0)
    system = randomised(TETFN({m: data.dims[m] for m in names}, "multiclass", 3, **SIZES))
    w = weights_of(system)
    assert len(system.enhance) == 0
    expected = [slow.predict(w, {m: row[m] for m in names}, *DEPTHS) for row in rows]
    torch.testing.assert_close(system.predict(batch).logits, torch.stack(expected))


def test_labels_move_from_the_second_epoch_on():
    data = synthetic.like("mosi", dim=4, length=3).sample({"train": 24, "valid": 8, "test": 8}, 0)
    view, system = data.view("train"), TETFN.for_data(data, **SIZES)
    system.setup(view)
    for epoch in range(2):
        system.on_epoch("main", epoch)
        for batch in view.batches(8):
            system.loss(batch, "main")
            system.after_step(batch, "main")
        moved = (system.ulgm.labels != system.ulgm.labels[:, -1:]).any(0).tolist()
        assert moved == [epoch > 0] * 3 + [False]


def test_data_without_text_are_refused():
    for dims in ({"audio": 3, "vision": 2}, {"text": 3}):
        with pytest.raises(DataError, match="defined for text and other modalities"):
            TETFN(dims, "regression", 1)
