"""mmlib's MFMB-Net against the slow reference, which test_mfmb_by_hand.py compares with numbers worked out by hand."""

import pytest
import torch

from mmlib.models import mfmb as fast
from mmlib.models.mfmb import MFMBNet
from mmlib.names import DataError
from tests.helpers.clips import WIDTHS
from tests.helpers.views import assert_equal_terms, prepared
from tests.helpers.weights import renamed
from tests.reference import mfmb as slow

TINY = {"d": 8, "heads": 2, "layers": 1, "tokens": 3}


def weights_of(system):
    names = [("fuse_", "fusion."), ("branch.", "communicator."), ("decoder.", "reconstruct."), ("tokens", "bottleneck")]
    return renamed(system, *names)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_logits_losses_and_gradients(task, monkeypatch):
    system, batch, rows, part, view = prepared(MFMBNet, task, weight=0.3, **TINY)
    w = weights_of(system)
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, slow.predict(w, rows, 1, 2))
    monkeypatch.setattr(fast, "incomplete_view", lambda patterns, batch, p_max: view)
    theirs = slow.losses(w, rows, part, batch.target, task, 1, 2, dict.fromkeys(WIDTHS, 0.3))
    torch.testing.assert_close(system.loss(batch, "main")["cmd"], theirs["cmd"], atol=1e-5, rtol=0)
    # `mmin.cmd` takes a distance below 1e-6 as 1e-6; the reference's own is exact.
    monkeypatch.setattr(fast, "cmd", lambda a, b: slow.cmd([*a], [*b]))
    assert_equal_terms(system, system.loss(batch, "main"), theirs)


def test_what_no_row_shows_costs_nothing_and_what_none_hides_little(monkeypatch):
    system, batch, *_ = prepared(MFMBNet, "multiclass", **TINY)
    monkeypatch.setattr(fast, "incomplete_view", lambda patterns, batch, p_max: batch)
    terms = system.loss(batch, "main")
    assert terms["reconstruction"].item() == 0 and terms["cmd"].item() < 1e-4
    empty = batch.without(*WIDTHS)
    terms = system.loss(empty, "main")
    assert terms["reconstruction"].item() == terms["cmd"].item() == 0
    sum(terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in system.parameters())


def test_the_text_must_be_there():
    for dims in ({"audio": 3, "vision": 4}, {"text": 3}):
        with pytest.raises(DataError, match=f"defined for 'text'.*the data have {', '.join(dims)}"):
            MFMBNet(dims, "multiclass", 3)
