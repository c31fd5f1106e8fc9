"""MPLMM against its slow reference: both stages, what each trains, and what the second one hides."""

import re

import pytest
import torch

from mmlib import synthetic
from mmlib.models.mplmm import MPLMM
from mmlib.names import DataError
from mmlib.training.fit import fit
from tests.helpers.clips import SHAPES, batch_of
from tests.helpers.mult import HEADS, LAYERS, MEMORY, SIZES, randomised, slow_logits, weights_of
from tests.helpers.weights import renamed, trunk_weights
from tests.reference import mplmm as slow
from tests.reference import mult
from tests.reference.umdf import task_loss


def prompt_weights(system):
    """Those of the frozen trunk, and the trained ones, among them other convolutions and another head."""
    trunk = {n: v for n, v in trunk_weights(system.pretrained.trunk).items() if not n.startswith("input.")}
    changes = [("head.hidden.0.", "residual.0."), ("head.hidden.3.", "residual.1."), ("head.out.", "head.")]
    trained = {}
    for name, value in renamed(system, *changes, ("missing_type", "type")).items():
        name = re.sub(r"^generative\.(\w+)$", r"generate.\1.prompt", name)
        name = re.sub(r"^(map|fold)\.(\w+)", r"generate.\2.\1", name)
        if not name.startswith("pretrained."):
            trained[name] = value
    assert len(trained) == len(system.parameters_of("prompt"))
    return trunk, trained


def slow_prompted(w, rows):
    return torch.stack([slow.predict(w, row, LAYERS, MEMORY, HEADS) for row in rows])


@pytest.mark.parametrize("task", SHAPES)
def test_logits_and_gradients(task, monkeypatch):
    batch, rows, data = batch_of(task)
    system = randomised(MPLMM.for_data(data, **SIZES, prompts=3))
    frozen, trained = prompt_weights(system)
    w = frozen | trained
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, slow_prompted(w, rows))
    torch.testing.assert_close(
        system.predict_in("pretrain", batch).logits, slow_logits(weights_of(system.pretrained), rows)
    )
    monkeypatch.setattr(system, "show", lambda batch: batch)
    (loss,) = system.loss(batch, "prompt").values()
    theirs = task_loss(slow_prompted(w, rows), batch.target, task)
    for name, a, b in zip(trained, *(torch.autograd.grad(x, list(trained.values())) for x in (loss, theirs))):
        torch.testing.assert_close(a, b, msg=name)


def test_rows_without_any_modality():
    batch, rows, data = batch_of("multiclass")
    batch = batch.without("audio", "vision").select(torch.tensor([0, 4]))
    system = randomised(MPLMM.for_data(data, **SIZES, prompts=3))
    rows = [{m: (batch.x[m][i], batch.observed[m][i]) for m in batch.x} for i in range(2)]
    expected = slow_prompted({**prompt_weights(system)[0], **prompt_weights(system)[1]}, rows)
    torch.testing.assert_close(system.predict(batch).logits, expected)


def test_pretraining_reads_complete_rows_alone():
    batch, rows, data = batch_of("multiclass")
    system = randomised(MPLMM.for_data(data, **SIZES))
    (loss,) = system.loss(batch, "pretrain").values()
    logits = mult.predict(weights_of(system.pretrained), rows[0], LAYERS, MEMORY, HEADS)
    torch.testing.assert_close(loss, task_loss(logits[None], batch.target[:1], "multiclass"))
    assert float(system.loss(batch.select(torch.arange(1, 9)), "pretrain")["task"].detach()) == 0


def test_hiding_follows_the_law_of_the_reference():
    """Of a complete row, of one with two modalities and of one with a single one; 20,000 draws each."""
    batch, _, data = batch_of("multiclass")
    system, n = MPLMM.for_data(data, **SIZES), 20_000
    torch.manual_seed(0)
    for row in (0, 3, 4):
        present = [m for m, has in batch.present.items() if bool(has[row])]
        shown = system.show(batch.select(torch.full((n,), row))).present
        kept = torch.stack(list(shown.values()), 1)
        law = slow.kept_law(present)
        for subset, p in law.items():
            share = (kept == torch.tensor([m in subset for m in shown])).all(1).double().mean()
            assert float(share) == pytest.approx(p, abs=0.015)


def test_the_second_stage_leaves_the_pretrained_weights_as_they_are():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 40, "valid": 20, "test": 20}, 0)
    system = MPLMM.for_data(data, **SIZES, prompts=2)
    parts = [{id(p) for p in system.parameters_of(stage)} for stage in system.stages]
    assert not parts[0] & parts[1] and parts[0] | parts[1] == {id(p) for p in system.parameters()}
    view = data.view("train")
    system.prepare("prompt", view)
    sum(system.loss(view.batch(torch.arange(40)), "prompt").values()).backward()
    assert all(p.grad is None for p in system.pretrained.parameters())
    fit(system, data, "patterns", epochs=1, progress=False)  # `prepare` of the first stage sets them free
    assert all(p.grad is not None for p in system.pretrained.parameters())


def test_what_it_refuses():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 40, "valid": 20, "test": 20}, 0)
    with pytest.raises(DataError, match="no training row has every modality; MPLMM trains a MulT on such rows"):
        fit(MPLMM.for_data(data, **SIZES), data, "available(text)", epochs=1, progress=False)
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        MPLMM({"text": 3}, "regression", 1)
    with pytest.raises(DataError, match="rate 2 is outside 0..1"):
        MPLMM({"text": 3, "audio": 3}, "regression", 1, rate=2)
