"""SMIL against its slow reference, its two levels against finite differences, and the laws of centroids and random sets."""

import math
from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.models.smil import SMIL
from mmlib.names import DataError
from tests.helpers.clips import SHAPES, WIDTHS, batch_of, flags
from tests.helpers.weights import renamed
from tests.reference import smil as reference

DOUBLE = torch.float64
# Rows 0 to 2 are complete; 0 and 1 are judged, row 2 belongs to the inner step.
PRESENT = {"text": "111110100", "audio": "111011010", "vision": "111101001"}
SHOWN = {"text": "101110000", "audio": "010001010", "vision": "011001001"}
JUDGED = flags("110000000")


def prepared(task, **options):
    """A system with random weights and centroids in float64, without dropout, in training mode, and its batch."""
    torch.manual_seed(0)
    batch, rows, data = batch_of(task, PRESENT)
    system = SMIL.for_data(data, d=6, centroids=4, dropout=0.0, **options).double().train()
    for p in system.parameters():
        p.data = (1 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.3) * torch.randn(p.shape, dtype=DOUBLE)
    system.banks.normal_()
    system.sizes = torch.tensor([4, 3, 2])
    return system, batch, rows


def columns(table):
    return torch.stack([flags(table[m]) for m in WIDTHS], 1)


def in_reference(system):
    w = renamed(system, ("encoders.", "encoder."), ("head.joint", "head.0"), ("head.out", "head.2"))
    w = {name.replace("regulariser", "regularise"): value for name, value in w.items()}
    banks = system.banks.split(list(system.dims.values()), 1)
    return w, {m: bank[:size] for m, bank, size in zip(system.dims, banks, system.sizes.tolist())}


def fixed(system, monkeypatch):
    """The random sets of SHOWN and the rows of JUDGED in place of drawn ones; a list of the noise that will be drawn."""
    monkeypatch.setattr(system, "draw", lambda _: (columns(SHOWN), JUDGED))
    drawn, randn_like = [], torch.randn_like
    monkeypatch.setattr(torch, "randn_like", lambda x: drawn.append(randn_like(x)) or drawn[-1])
    return drawn


@pytest.mark.parametrize("task", SHAPES)
def test_logits_and_the_warm_loss_equal_the_reference(task):
    system, batch, rows = prepared(task)
    w, banks = in_reference(system)
    torch.testing.assert_close(
        system.eval().predict(batch.unlabelled()).logits, reference.predict(w, banks, rows), rtol=1e-9, atol=1e-9
    )
    ours, slow = system.loss(batch, "warm"), reference.warm(w, rows[:3], batch.target[:3], task)
    assert list(ours) == ["task"]
    torch.testing.assert_close(ours["task"], slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", SHAPES)
def test_main_losses_and_gradients_equal_the_reference(task, monkeypatch):
    """The reference writes out the gradient of the inner step."""
    system, batch, rows = prepared(task, inner=0.4, weight=0.7)
    w, banks = in_reference(system)
    drawn = fixed(system, monkeypatch)
    ours = system.loss(batch, "main")
    *mixture, first, second = drawn
    noises = [
        {"mixture": {m: e[i] for m, e in zip(WIDTHS, mixture)}, "joint": (second if judged else first)[i]}
        for i, judged in enumerate(JUDGED)
    ]
    hidden = [{m for m in WIDTHS if SHOWN[m][i] == "0"} for i in range(9)]
    incomplete = [reference.without(row, gone) for row, gone in zip(rows[2:], hidden[2:])]
    slow = reference.losses(
        w, banks, (incomplete, noises[2:], batch.target[2:]), (rows[:2], noises[:2], batch.target[:2]), hidden[:2], task,
        0.4, 0.7,
    )  # fmt: skip
    assert list(ours) == list(slow)
    for name, term in slow.items():
        torch.testing.assert_close(ours[name], term, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(sum(terms.values()), list(w.values())) for terms in (ours, slow)]
    for name, a, b in zip(w, *gradients):
        assert float(a.abs().sum()) > 0, name
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_gradient_through_the_inner_step_equals_finite_differences(task, monkeypatch):
    """Along one random direction of each parameter; a gradient of first order is another one."""
    system, batch, _ = prepared(task, inner=0.5)
    fixed(system, monkeypatch)

    def total():
        torch.manual_seed(3)
        terms = system.loss(batch, "main")
        return terms["task"] + terms["alignment"]  # the losses after the step

    parameters = dict(system.named_parameters())
    exact = torch.autograd.grad(total(), list(parameters.values()))
    grad = torch.autograd.grad

    def of_first_order(*arguments, create_graph):
        return [g.detach() for g in grad(*arguments, retain_graph=True)]

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", of_first_order)
        rough = grad(total(), list(parameters.values()))
    generator, different = torch.Generator().manual_seed(1), []
    for (name, p), g, g_rough in zip(parameters.items(), exact, rough):
        direction = torch.randn(p.shape, generator=generator, dtype=DOUBLE)
        start, values = p.data.clone(), []
        for t in (1e-5, -1e-5):
            p.data = start + t * direction
            values.append(total().item())
        p.data = start
        slope = (values[0] - values[1]) / 2e-5
        assert float((g * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-7), name
        different.append(abs(float((g_rough * direction).sum()) - slope) > 1e-3 * abs(slope))
    assert sum(different) > len(different) / 2


def test_the_step_changes_what_the_judged_rows_get(monkeypatch):
    losses = []
    for inner in (0.0, 0.5):
        system, batch, _ = prepared("multiclass", inner=inner)
        fixed(system, monkeypatch)
        torch.manual_seed(3)
        losses.append(system.loss(batch, "main"))
    without, with_step = losses
    assert torch.equal(without["inner"], with_step["inner"])
    assert all(without[name] != with_step[name] for name in ("task", "alignment"))


@pytest.mark.parametrize("judged", [False, True])
def test_a_batch_of_one_kind_of_rows_has_zero_for_the_other(judged, monkeypatch):
    system, batch, _ = prepared("multiclass")
    rows = batch.select(JUDGED if judged else ~JUDGED)
    monkeypatch.setattr(system, "draw", lambda _: (columns(SHOWN)[JUDGED == judged], JUDGED[JUDGED == judged]))
    terms = system.loss(rows, "main")
    zero = {name for name, term in terms.items() if term.item() == 0}
    assert zero == ({"inner"} if judged else {"task", "alignment"})
    sum(terms.values()).backward()
    assert all(p.grad.isfinite().all() for p in system.parameters())


def test_noise_is_in_training_alone():
    system, batch, _ = prepared("multiclass")
    assert not torch.equal(system.predict(batch).logits, system.predict(batch).logits)
    system.eval()
    assert torch.equal(system.predict(batch).logits, system.predict(batch).logits)


def test_centroids_are_those_of_the_rows_that_have_the_modality():
    data = synthetic.like("mosi", dim=3, length=2).sample({"train": 40, "valid": 4, "test": 4}, 0)
    observed = {m: f.clone() for m, f in data.observed.items()}
    observed["audio"][5:] = False
    system = SMIL.for_data(data, d=4, centroids=8)
    system.setup(data.view("train", {m: f[data.rows("train")] for m, f in observed.items()}))
    assert system.sizes.tolist() == [8, 5, 8]
    batch = data.view("train").batch(torch.arange(40))
    for m, bank in zip(system.dims, system.banks.split(list(system.dims.values()), 1)):
        rows = range(5) if m == "audio" else range(40)
        points = [reference.vector(batch.x[m][i], batch.observed[m][i]) for i in rows]
        if m == "audio":
            each = [torch.tensor(sorted(x.tolist())) for x in (bank[:5], torch.stack(points))]
            torch.testing.assert_close(*each, rtol=1e-5, atol=1e-6)
            continue
        again = reference.means_of_nearest(bank, points)
        torch.testing.assert_close(again, bank, rtol=1e-4, atol=1e-4)


def test_mixtures_lie_among_the_centroids_that_there_are():
    system, batch, _ = prepared("multiclass")
    made = system.mixtures(system.encode(batch).flatten(1))
    for m, bank in in_reference(system)[1].items():
        assert (made[m] <= bank.amax(0)).all() and (made[m] >= bank.amin(0)).all()


def test_random_sets_and_judged_rows():
    system, n = prepared("multiclass")[0], 20_000
    present = torch.tensor([[True, True, True], [True, False, True]]).repeat_interleave(n, 0)
    shown, judged = system.draw(present)
    whole, pair = shown.split(n)
    for chosen, sets in ((whole, 7), (pair, 3)):
        count = chosen.unique(dim=0, return_counts=True)[1]
        assert len(count) == sets and bool(((count / n - 1 / sets).abs() < 0.02).all())
    assert not judged[n:].any() and judged[:n][whole.all(1)].all()
    assert float(judged[:n].double().mean()) == pytest.approx(4 / 7, abs=0.02)


def test_what_it_cannot_be_trained_on():
    data = synthetic.like("mosi", dim=3, length=2).sample({"train": 8, "valid": 4, "test": 4}, 0)
    frames = {m: f & (torch.arange(16) % 3 != i)[:, None] for i, (m, f) in enumerate(data.observed.items())}
    with pytest.raises(DataError, match="no training row has every modality; SMIL judges its inner step on such rows"):
        SMIL.for_data(data).setup(data.view("train", {m: f[:8] for m, f in frames.items()}))
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        SMIL({"text": 3}, "multiclass", 3)


def test_hidden_features_of_a_judged_row_reach_the_alignment_alone(monkeypatch):
    system, batch, _ = prepared("multiclass")
    fixed(system, monkeypatch)
    text = batch.x["text"].clone()
    text[1] += 1  # row 1 is judged and hides its text
    losses = []
    for x in (batch.x, batch.x | {"text": text}):
        torch.manual_seed(3)
        losses.append(system.loss(replace(batch, x=x), "main"))
    assert [name for name in losses[0] if losses[0][name] != losses[1][name]] == ["alignment"]
