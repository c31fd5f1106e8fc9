"""mmlib's EMT and EMT-DLFR against the slow reference, which test_emt_by_hand.py compares with numbers worked out by hand."""

import pytest
import torch

from mmlib.models import emt as fast
from mmlib.models.emt import EMT
from mmlib.names import DataError
from tests.helpers.clips import WIDTHS
from tests.helpers.views import assert_equal_terms, prepared
from tests.helpers.weights import renamed
from tests.reference import emt as slow

TINY = {"d": 8, "heads": 2, "layers": 2}
SPACES = ("context", *WIDTHS)


def weights_of(system):
    spaces = [(f"predictors.{i}.", f"predictor.{space}.") for i, space in enumerate(SPACES)]
    unit = [("units.", "mpu."), (".norm.", ".norm_target."), (".local.attention", ".local.cross")]
    unit += [(".context.attention", ".context.cross"), (".context.", ".global.")]
    return renamed(
        system, *unit, ("input.", "encoder."), ("token.", "utterance."), ("decoders.", "reconstruct."), *spaces
    )


@pytest.mark.parametrize(("task", "dlfr"), [("regression", True), ("multiclass", True), ("multilabel", False)])
def test_logits_losses_and_gradients(task, dlfr, monkeypatch):
    system, batch, rows, part, view = prepared(EMT, task, dlfr=dlfr, **TINY, **({"w1": 0.7, "w2": 0.3} if dlfr else {}))
    w = weights_of(system)
    logits = system.predict(batch.unlabelled()).logits
    torch.testing.assert_close(logits, slow.predict(w, rows, 2, 2))
    if not dlfr:
        torch.testing.assert_close(system.loss(batch, "main"), {"task": system.task_loss(logits, batch.target)})
        return
    monkeypatch.setattr(fast, "incomplete_view", lambda patterns, batch, p_max: view)
    theirs = slow.losses(w, rows, part, batch.target, task, 2, 2, 0.7, 0.3)
    theirs["attraction"] = theirs["attraction"] + 0.7 * len(SPACES)  # 1 - cosine in place of -cosine
    assert_equal_terms(system, system.loss(batch, "main"), theirs)


def test_without_hidden_frames_there_is_nothing_to_reconstruct(monkeypatch):
    system, batch, *_ = prepared(EMT, "multiclass", **TINY)
    monkeypatch.setattr(fast, "incomplete_view", lambda patterns, batch, p_max: batch)
    terms = system.loss(batch, "main")
    assert terms["reconstruction"].item() == 0 and torch.equal(terms["task"], terms["complete"])


def test_a_row_without_anything_gets_a_finite_prediction():
    system, batch, *_ = prepared(EMT, "multiclass", **TINY)
    empty = batch.without(*WIDTHS)
    assert system.predict(empty).logits.isfinite().all()
    sum(system.loss(empty, "main").values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in system.parameters())


def test_dropout_of_modalities_is_for_the_system_without_restoration():
    with pytest.raises(DataError, match="dlfr=True hides modalities itself"):
        EMT({"text": 3}, "multiclass", 3, dropout_modalities=True)
    assert EMT({"text": 3}, "multiclass", 3).traits == ()
    assert EMT({"text": 3}, "multiclass", 3, dlfr=False).traits == ("hides_nothing",)
    assert EMT({"text": 3}, "multiclass", 3, dlfr=False, dropout_modalities=True).traits == ()
