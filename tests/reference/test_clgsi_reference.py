"""CLGSI against its slow reference, and its pairs against numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from mmlib.models import clgsi as fast
from mmlib.models.clgsi import CLGSI, contrast, differences
from tests.helpers.clips import SHAPES, batch_of
from tests.helpers.weights import renamed
from tests.reference import clgsi as slow

DOUBLE = torch.float64
NAMES = (
    (".lstm.", "."), ("project.", "out."), ("fuse.wide", "glfk.global"), ("fuse.point", "glfk.local"),
    ("fuse.out", "glfk.out"), (".2.", ".1."),
)  # fmt: skip


def prepared(task, **options):
    batch, rows, data = batch_of(task)
    system = CLGSI.for_data(data, d=6, **options).double().eval()
    generator = torch.Generator().manual_seed(1)
    for p in system.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=DOUBLE)
    return system, batch, rows, renamed(system, *NAMES)


@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task):
    system, batch, rows, w = prepared(task, weight=0.3, temperature=0.4)
    prediction = system.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, torch.stack([slow.predict(w, row) for row in rows]))
    torch.testing.assert_close(prediction.representation, torch.stack([slow.joint(w, row) for row in rows]))
    ours, theirs = system.loss(batch, "main"), slow.losses(w, rows, batch.target, task, 0.3, 0.4)
    assert set(ours) == set(theirs) and float(ours["contrast"].detach()) > 0
    for name, term in theirs.items():
        torch.testing.assert_close(ours[name], term)
    gradients = [torch.autograd.grad(sum(terms.values()), list(w.values())) for terms in (ours, theirs)]
    for name, a, b in zip(w, *gradients):
        torch.testing.assert_close(a, b, msg=name)


def test_differences_by_hand():
    values = torch.tensor([1.0, 3.0, -1.0])
    assert differences(values, "regression").tolist() == [[0, 0.5, 0.5], [0.5, 0, 1], [0.5, 1, 0]]
    assert differences(torch.tensor([2, 2, 0]), "multiclass")[0].tolist() == [0, 0, 1]
    labels = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    assert differences(labels, "multilabel")[0].tolist() == [0, 0.5, 1], "1 and 2 labels of 4, over 2 of 4"
    assert not bool(differences(torch.ones(3), "regression").any())


def test_contrast_by_hand():
    """Labels 0, 1, 4 as in the test of the reference: row 2 has no positive pair."""
    H = torch.tensor([[2.0, 0], [0, 5], [-1, 0]], dtype=DOUBLE)
    w = differences(torch.tensor([0.0, 1, 4], dtype=DOUBLE), "regression")
    first = -math.log(0.75 / (0.75 + math.exp(-2)))
    second = -math.log(0.75 / (0.75 + 0.75))
    assert float(contrast(H, w, 0.5)) == pytest.approx((first + second) / 2, rel=1e-12)


def test_a_batch_without_pairs_has_no_contrast_and_finite_gradients():
    for h, w in ((torch.ones(1, 3), torch.zeros(1, 1)), (torch.ones(2, 3), 1 - torch.eye(2)), (torch.zeros(2, 3),) * 2):
        h.requires_grad_()
        value = contrast(h, w[:, : len(h)], 0.001)
        value.backward()
        assert float(value.detach()) == 0 and bool(h.grad.isfinite().all())


def test_modality_dropout_hides_in_training_alone(monkeypatch):
    system, batch, _, _ = prepared("multiclass", dropout_modalities=True)
    monkeypatch.setattr(fast, "with_random_subset", lambda patterns, batch: batch.without("audio"))
    hidden, plain = system.loss(batch, "main"), prepared("multiclass")[0].loss(batch.without("audio"), "main")
    assert all(torch.equal(hidden[name], plain[name]) for name in plain)
    assert not torch.equal(system.predict(batch).logits, system.predict(batch.without("audio")).logits)
    assert system.traits == () and prepared("multiclass")[0].traits == ("hides_nothing",)


def test_data_without_text_have_lstms_alone():
    system = CLGSI({"audio": 5, "vision": 2}, "multiclass", 4, d=6)
    batch, _, _ = batch_of("multiclass")
    x = {m: batch.x[m].float() for m in system.dims}
    batch = replace(batch, x=x, observed={m: batch.observed[m] for m in x})
    assert bool(system.predict(batch).logits.isfinite().all())
