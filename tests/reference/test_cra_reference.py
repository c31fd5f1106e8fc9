"""AE, CRA, MMIN and IF-MMIN against loops over rows, and against numbers found by hand."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmlib import synthetic
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.cra import AE, CRA, Cascade
from mmlib.models.hiding import random_subset
from mmlib.models.mmin import IFMMIN, MMIN, cmd
from tests.reference import cra as slow


def layers(net):
    return [(m.weight.tolist(), m.bias.tolist()) for m in net.modules() if isinstance(m, nn.Linear)]


def blocks(cascade):
    return [(layers(down), layers(up)) for down, up in zip(cascade.down, cascade.up)]


@pytest.fixture(scope="module")
def view():
    modalities = {"text": synthetic.Modality(4), "audio": synthetic.Modality(3), "vision": synthetic.Modality(2)}
    data = synthetic.like("iemocap", modalities=modalities).sample({"train": 60, "valid": 2, "test": 2}, 0)
    return data.view("train")


@pytest.fixture(scope="module")
def batch(view):
    rows = view.batch(torch.arange(60))
    gone = {"text": torch.arange(60) % 5 == 1, "audio": torch.arange(60) % 5 == 2, "vision": torch.arange(60) % 5 > 2}
    observed = {m: f & ~gone[m][:, None] for m, f in rows.observed.items()}
    return replace(rows, x={m: x * observed[m][..., None] for m, x in rows.x.items()}, observed=observed)


@pytest.mark.parametrize("extra", [0, 3])
def test_the_cascade(extra):
    torch.manual_seed(0)
    net, h, prior = Cascade(5, (4, 3, 2), 3, extra), torch.randn(7, 5), torch.randn(7, extra)
    completed, codes = net(h, prior if extra else None)
    for i in range(7):
        by_hand, codes_by_hand = slow.cascade(h[i].tolist(), blocks(net), prior[i].tolist())
        torch.testing.assert_close(completed[i], torch.tensor(by_hand))
        torch.testing.assert_close(codes[i], torch.tensor(codes_by_hand))


def test_a_cascade_of_blocks_that_give_nothing_changes_nothing():
    net, h = Cascade(5, (4, 2), 3), torch.randn(2, 5)
    for up in net.up:
        nn.init.zeros_(up[-1].weight), nn.init.zeros_(up[-1].bias)
    assert torch.equal(net(h)[0], h)


def test_each_set_that_a_row_has_is_equally_likely():
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [False, False, False]])
    drawn = [random_subset(all_patterns(3), present) for _ in range(7000)]
    for row, sets in enumerate((7, 3, 1)):
        counts = Counter(tuple(subset[row].tolist()) for subset in drawn)
        assert len(counts) == sets and (0, 0, 0) not in counts
        assert all(abs(n - 7000 / sets) < 5 * (7000 / sets) ** 0.5 for n in counts.values())
    assert not any(bool(subset[3].any()) for subset in drawn)


@pytest.mark.parametrize("kind", [AE, CRA])
def test_reconstruction_and_prediction(kind, batch):
    torch.manual_seed(0)
    system = kind(dict(text=4, audio=3, vision=2), "multiclass", 4, d=6).eval()
    x, present = system.pooled(batch), availability(batch.observed)
    h = system.joint(x, batch.present)
    if kind is AE:
        first, _, second = system.imputer
        joint = [
            slow.through(slow.leaky(slow.through(row, layers(first), slow.leaky)), layers(second), slow.relu)
            for row in h.tolist()
        ]
    else:
        cascade, transition = system.imputer
        joint = [
            slow.through(slow.cascade(row, blocks(cascade))[0], layers(transition), slow.relu) for row in h.tolist()
        ]
    torch.testing.assert_close(system.impute(h), torch.tensor(joint), rtol=1e-4, atol=1e-5)
    logits = [slow.through(row, layers(system.classifier), slow.relu) for row in joint]
    torch.testing.assert_close(system.predict(batch).logits, torch.tensor(logits), rtol=1e-4, atol=1e-5)
    hidden = torch.rand(present.shape) < 0.4
    decoded = {m: [slow.linear(row, *layers(system.decoders[m])[0]) for row in joint] for m in system.dims}
    by_hand = slow.reconstruction(
        decoded, {m: v.tolist() for m, v in x.items()}, dict(zip(system.dims, hidden.T.tolist()))
    )
    assert float(system.reconstruction(torch.tensor(joint), x, hidden).detach()) == pytest.approx(by_hand, rel=1e-4)


def test_what_training_hides_is_what_the_row_has(batch, monkeypatch):
    """The target of a modality that the protocol removed would be zeros: no error of it may count."""
    system, seen = AE(dict(text=4, audio=3, vision=2), "multiclass", 4, d=6), []
    monkeypatch.setattr(system, "reconstruction", lambda joint, x, hidden: seen.append(hidden) or joint.sum())
    present = availability(batch.observed)
    for _ in range(20):
        system.loss(batch, "main")
    hidden = torch.stack(seen)
    assert not bool((hidden & ~present).any()) and bool(hidden.any())
    assert bool((hidden.sum(2) < present.sum(1)).all()), "one modality of each row is kept"


def test_cmd_by_hand():
    x, y = torch.tensor([[0.0, 0.2], [1.0, 0.4]]), torch.tensor([[0.5, 0.3], [0.5, 0.3]])
    # Equal means. Second moments .25 and .01 against 0, fourth .0625 and .0001; the odd ones are 0.
    by_hand = (0.25**2 + 0.01**2) ** 0.5 + (0.0625**2 + 0.0001**2) ** 0.5
    assert float(cmd(x, y)) == pytest.approx(by_hand, abs=1e-5)
    assert float(cmd(x, y)) == pytest.approx(slow.cmd(x.tolist(), y.tolist()), abs=1e-5)
    x, y = torch.rand(9, 3), torch.rand(12, 3) ** 2
    assert float(cmd(x, y)) == pytest.approx(slow.cmd(x.tolist(), y.tolist()), rel=1e-4)
    assert float(cmd(x, x[torch.randperm(9)])) < 1e-5


@pytest.mark.parametrize("kind", [MMIN, IFMMIN])
def test_the_losses_of_the_imagination(kind, batch, view):
    torch.manual_seed(0)
    system = kind(dict(text=4, audio=3, vision=2), "multiclass", 4, d=6, blocks=2, dropout=0.0)
    system.on_stage("main", view)
    for p in system.encoders.parameters():
        p.data.add_(0.1)  # as after some training: the teacher is another network
    system.eval()
    present = availability(batch.observed)
    torch.manual_seed(7)
    kept = random_subset(system.patterns, present)
    hidden = present & ~kept
    columns = list(enumerate(system.dims))

    def embedded(encoders, keep):
        rows = [encoders[m](batch.x[m], batch.observed[m]).tolist() for _, m in columns]
        zero = [0.0] * 6
        return [sum(((rows[k][i] if keep[i, k] else zero) for k, _ in columns), []) for i in range(60)]

    h, target = embedded(system.encoders, kept), embedded(system.teacher, hidden)
    prior, complete = [[]] * 60, []
    if kind is IFMMIN:
        net = layers(system.shared), layers(system.teacher_shared)

        def invariant(rows, net, keep):
            parts = [
                [slow.leaky(slow.through(row[6 * k : 6 * k + 6], net, slow.leaky)) for k in range(3)] for row in rows
            ]
            return [
                sum((p if keep[i, k] else [0.0] * 6 for k, p in enumerate(part)), []) for i, part in enumerate(parts)
            ]

        prior = invariant(h, net[0], kept)
        complete = invariant(embedded(system.teacher, present), net[1], present)
    imagined = [slow.cascade(row, blocks(system.forwards), extra)[0] for row, extra in zip(h, prior)]
    rows = hidden.any(1).tolist()
    expected = {"imagination": system.imagination * slow.squares(imagined, target, rows)}
    if kind is MMIN:
        back = [slow.cascade(row, blocks(system.backwards))[0] for row in imagined]
        expected["cycle"] = system.cycle * slow.squares(back, h, rows)
    else:
        expected["invariance"] = system.invariance * slow.squares(prior, complete, rows)
    torch.manual_seed(7)
    terms = system.loss(batch, "main")
    for name, value in expected.items():
        assert float(terms[name].detach()) == pytest.approx(value, rel=1e-4), name
    assert any(rows) and not all(rows)


def test_the_teacher_gives_its_weights_and_stays_as_it_is(batch, view):
    system = MMIN(dict(text=4, audio=3, vision=2), "multiclass", 4, d=6, blocks=2)
    system.on_stage("main", view)
    before = {k: v.clone() for k, v in system.teacher.state_dict().items()}
    assert all(torch.equal(v, before[k]) for k, v in system.encoders.state_dict().items())
    optimizer = torch.optim.SGD(system.parameters_of("main"), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sum(system.loss(batch, "main").values()).backward()
        optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in system.teacher.state_dict().items())
    assert any(not torch.equal(v, before[k]) for k, v in system.encoders.state_dict().items())
