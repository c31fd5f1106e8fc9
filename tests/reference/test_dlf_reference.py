"""mmlib's DLF against the slow reference, which test_dlf_by_hand.py compares with numbers worked out by hand."""

import pytest
import torch

from mmlib.models import dlf as fast
from mmlib.models.dlf import DLF
from mmlib.names import DataError
from tests.helpers.clips import SHAPES
from tests.helpers.views import assert_equal_terms, prepared
from tests.helpers.weights import renamed
from tests.reference import dlf as slow

TINY = {"d": 8, "heads": 2, "layers": 1, "length": 4}


def weights_of(system):
    names = [("common_head.", "common."), ("private_head.", "unimodal."), ("attract.", "attraction.")]
    w = renamed(system, *names)
    return {name.replace("attention", "cross") if "attraction" in name else name: v for name, v in w.items()}


def expected(w, rows, target, task):
    """The reference's terms, those of the specific features of all modalities together."""
    terms = slow.losses(w, rows, target, task, 4, 1, 2)
    private = sum(terms.pop(m) for m in rows[0])
    return {"task": terms.pop("all"), "private": private} | terms


@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task):
    system, batch, rows, _, _ = prepared(DLF, task, **TINY)
    w = weights_of(system)
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, slow.predict(w, rows, 4, 1, 2))
    theirs = expected(w, rows, batch.target, task)
    assert theirs["margin"].item() > 0
    assert_equal_terms(system, system.loss(batch, "main"), theirs)


def test_dropout_of_modalities_hides_them_from_every_term(monkeypatch):
    system, batch, _, part, view = prepared(DLF, "multiclass", dropout_modalities=True, **TINY)
    monkeypatch.setattr(fast, "with_random_subset", lambda patterns, batch: view)
    assert_equal_terms(
        system, system.loss(batch, "main"), expected(weights_of(system), part, batch.target, "multiclass")
    )


@pytest.mark.parametrize(
    ("task", "target"),
    [
        ("regression", torch.tensor([0.0, -1.5, -0.2, 3.0, 0.0])),
        ("multiclass", torch.tensor([2, 2, 0, 1, 2])),
        ("multibinary", torch.tensor([[1.0, 0], [1, 1], [1, 0], [0, 0], [1, 1]])),
    ],
)
def test_classes_and_margin(task, target):
    s = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = slow.classes(target, task)
    different = fast.other_class(target, task)
    assert different.tolist() == [[a != b for b in labels] for a in labels]
    torch.testing.assert_close(fast.margin(s, different), slow.margin([dict(enumerate(row)) for row in s], labels, 0.1))


def test_rows_of_one_class_have_no_margin():
    s = torch.randn(3, 2, 4, requires_grad=True)
    loss = fast.margin(s, torch.zeros(3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and s.grad.isfinite().all()


def test_the_text_must_be_there():
    for dims in ({"audio": 3, "vision": 4}, {"text": 3}):
        with pytest.raises(DataError, match=f"defined for 'text'.*the data have {', '.join(dims)}"):
            DLF(dims, "multiclass", 3)
    assert DLF({"text": 3, "audio": 2}, "multiclass", 3).traits == ("hides_nothing",)
