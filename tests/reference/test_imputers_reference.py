"""AE, CRA, MMIN and IF-MMIN against their slow reference, and the reference against numbers worked out by hand."""

from collections import Counter

import pytest
import torch

from mmlib import synthetic
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models import cra, mmin
from mmlib.models.hiding import random_subset
from tests.helpers.pairs import CLOSE, DIMS, DOUBLE, HAS, KEPT, NAMES, agree, clips, features, layers
from tests.reference import imputers as reference

D = 4
TASKS = {"multiclass": 3, "regression": 1, "multilabel": 3}


def system_of(kind, task="multiclass", **arguments):
    torch.manual_seed(0)
    system = kind(DIMS, task, TASKS[task], d=D, **arguments).double().eval()
    for p in system.parameters():  # biases of zero would hide mistakes, as would a teacher equal to its pupil
        p.data += 0.1 * torch.randn(p.shape, dtype=DOUBLE)
    return system


@pytest.fixture
def hidden_as_planned(monkeypatch):
    for module in (cra, mmin):
        monkeypatch.setattr(module, "random_subset", lambda patterns, present: KEPT)


def blocks(name, cascade):
    w = {}
    for k, (down, up) in enumerate(zip(cascade.down, cascade.up, strict=True)):
        w |= layers(**{f"{name}.{k}.down": down, f"{name}.{k}.up": up})
    return w


def rows_of(vectors, has):
    """The rows of the reference: what each one has, of vectors (B, d) by modality."""
    return [{m: vectors[m][i].tolist() for m, here in zip(NAMES, own) if here} for i, own in enumerate(has.tolist())]


# AE and CRA


def autoencoder_weights(system):
    w = layers(classifier=system.classifier)
    for m in NAMES:
        w |= layers(**{f"encoder.{m}": system.encoders[m], f"output.{m}": system.decoders[m]})
    if isinstance(system, cra.CRA):
        cascade, transition = system.imputer
        return w | blocks("cascade", cascade) | layers(**{"cascade.transition": transition})
    return w | layers(**{"cascade.0.down": system.imputer[0], "cascade.0.up": system.imputer[2]})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind, impute", [("AE", "reconstructed"), ("CRA", "reconstructed"), ("CRA", "zeros")])
def test_ae_and_cra(kind, impute, task, hidden_as_planned):
    system, batch = system_of(getattr(cra, kind), task, impute=impute, weight=0.7), clips(task)
    w, rows, name = autoencoder_weights(system), features(batch), "zeros" if impute == "zeros" else kind.lower()
    prediction = system.predict(batch.unlabelled())
    slow = reference.predict(w, NAMES, rows, name)
    torch.testing.assert_close(prediction.logits, torch.tensor(slow, dtype=DOUBLE), **CLOSE)
    shown = [
        {m: x for m, x in row.items() if kept[NAMES.index(m)]} for row, kept in zip(rows, KEPT.tolist(), strict=True)
    ]
    agree(
        system.loss(batch, "main"),
        reference.losses(w, NAMES, rows, shown, batch.target.tolist(), task, name, weight=0.7),
    )
    if name == "zeros":
        assert prediction.completed is None
        return
    for i, row in enumerate(rows):
        for m, guess in reference.features(w, NAMES, reference.reconstructed(w, NAMES, row, name)).items():
            ours, seen = prediction.completed[m][i], batch.observed[m][i]
            assert torch.equal(ours[seen], batch.x[m][i][seen])
            guess = torch.tensor(guess, dtype=DOUBLE).expand(int((~seen).sum()), -1)
            torch.testing.assert_close(ours[~seen], guess, **CLOSE)


def test_the_number_of_blocks():
    system, batch = system_of(cra.CRA, blocks=3), clips()
    slow = reference.predict(autoencoder_weights(system), NAMES, features(batch), "cra")
    torch.testing.assert_close(system.predict(batch).logits, torch.tensor(slow, dtype=DOUBLE), **CLOSE)


# MMIN and IF-MMIN


def embeddings(encoders, batch, has):
    return rows_of({m: encoders[m](batch.x[m], batch.observed[m]) for m in NAMES}, has)


def mmin_weights(system):
    """(weights of the second stage, weights of the teacher)"""
    w = layers(classifier=system.classifier) | blocks("cascade", system.forwards)
    w |= layers(**{"cascade.transition": system.forwards.transition})
    teacher = layers(classifier=system.teacher_head)
    if isinstance(system, mmin.IFMMIN):
        return w | layers(invariance=system.shared), teacher | layers(invariance=system.teacher_shared)
    back = layers(**{"back.transition": system.backwards.transition})
    return w | blocks("back", system.backwards) | back, teacher


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(mmin, "_WIDTHS", (7, 6, 5))


KINDS = pytest.mark.parametrize("kind", [mmin.MMIN, mmin.IFMMIN])


@KINDS
def test_logits_of_the_imagination(kind, narrow):
    system, batch = system_of(kind, blocks=3), clips()
    (w, teacher), own = mmin_weights(system), "mmin" if kind is mmin.MMIN else "if_mmin"
    main, first = getattr(reference, own), getattr(reference, f"{own}_teacher")
    slow = [main(w, NAMES, row, D) for row in embeddings(system.encoders, batch, HAS)]
    prediction = system.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, torch.tensor([row[0] for row in slow], dtype=DOUBLE), **CLOSE)
    torch.testing.assert_close(prediction.representation, torch.tensor([row[1] for row in slow], dtype=DOUBLE), **CLOSE)
    slow = [first(teacher, NAMES, row, D) for row in embeddings(system.teacher, batch, HAS)]
    ours = system.predict_in("teacher", batch.unlabelled()).logits
    torch.testing.assert_close(ours, torch.tensor(slow, dtype=DOUBLE), **CLOSE)


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_mmin(task, narrow, hidden_as_planned):
    system, batch = system_of(mmin.MMIN, task, blocks=2, imagination=3.0, cycle=5.0), clips(task)
    (w, teacher), target = mmin_weights(system), batch.target.tolist()
    whole, shown = embeddings(system.teacher, batch, HAS), embeddings(system.encoders, batch, KEPT)
    agree(
        system.loss(batch, "main"),
        reference.mmin_losses(w, NAMES, whole, shown, target, task, D, weights=(3.0, 5.0)),
    )
    logits = [reference.mmin_teacher(teacher, NAMES, row, D) for row in whole]
    agree(system.loss(batch, "teacher"), {"task": reference.task_loss(logits, target, task)})


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_if_mmin(task, narrow, hidden_as_planned):
    system, batch = system_of(mmin.IFMMIN, task, blocks=2, imagination=3.0, invariance=5.0), clips(task)
    (w, teacher), target = mmin_weights(system), batch.target.tolist()
    whole, shown = embeddings(system.teacher, batch, HAS), embeddings(system.encoders, batch, KEPT)
    agree(
        system.loss(batch, "main"),
        reference.if_mmin_losses(w, teacher, NAMES, whole, shown, target, task, D, weights=(3.0, 5.0)),
    )


def test_losses_of_the_teacher_of_if_mmin():
    system, batch = system_of(mmin.IFMMIN, blocks=2, cmd=0.7), clips()
    for p in system.teacher_shared.parameters():  # mmlib takes distances of moments below 1e-6 for 1e-6
        p.data *= 15
    _, teacher = mmin_weights(system)
    # All rows; then rows in which vision meets no other modality; then rows with one modality each.
    for rows in (HAS.any(1), ~HAS[:, 2], HAS.sum(1) == 1):
        part = batch.select(rows)
        whole = embeddings(system.teacher, part, HAS[rows])
        logits = [reference.if_mmin_teacher(teacher, NAMES, row, D) for row in whole]
        slow = {"task": reference.task_loss(logits, part.target.tolist(), "multiclass")}
        agree(system.loss(part, "teacher"), slow | {"cmd": 0.7 * reference.cmd_loss(teacher, NAMES, whole)})


@KINDS
def test_the_control_learns_from_the_task_alone(kind, narrow, hidden_as_planned):
    batch = clips()
    system, control = (system_of(kind, blocks=2, impute=impute) for impute in ("imagined", "zeros"))
    terms = control.loss(batch, "main")
    assert list(terms) == ["task"] and torch.equal(terms["task"], system.loss(batch, "main")["task"])


def test_the_way_back_does_not_move_its_target(narrow, hidden_as_planned):
    """The derivative of the cycle by a weight of an encoder, in which the target stands still."""
    system, batch, step = system_of(mmin.MMIN, blocks=2), clips(), 1e-5
    w, _ = mmin_weights(system)
    weight = system.encoders["vision"].lstm.weight_ih_l0
    system.loss(batch, "main")["cycle"].backward()
    start, values = embeddings(system.encoders, batch, KEPT), []
    for change in (step, -2 * step):
        weight.data[0, 0] += change
        backs = [reference.mmin(w, NAMES, row, D)[2] for row in embeddings(system.encoders, batch, KEPT)]
        errors = [
            reference.squared_error(back, reference.joined(NAMES, row, D))
            for back, row, hidden in zip(backs, start, (HAS & ~KEPT).any(1).tolist(), strict=True)
            if hidden
        ]
        values.append(2.0 * reference.mean(errors))
    expected = (values[0] - values[1]) / (2 * step)
    assert expected and float(weight.grad[0, 0]) == pytest.approx(expected, rel=1e-5)


@KINDS
def test_the_teacher_gives_its_weights_and_stays_as_it_is(kind, narrow, hidden_as_planned):
    system, batch = system_of(kind, blocks=2), clips()
    system.on_stage("main", synthetic.like("iemocap").sample({"train": 2, "valid": 2, "test": 2}, 0).view("train"))
    parts = [(system.encoders, system.teacher)]
    parts += [(system.shared, system.teacher_shared)] if kind is mmin.IFMMIN else []
    before = [{k: v.clone() for k, v in teacher.state_dict().items()} for _, teacher in parts]
    for (pupil, _), state in zip(parts, before):
        assert all(torch.equal(v, state[k]) for k, v in pupil.state_dict().items())
    optimizer = torch.optim.SGD(system.parameters_of("main"), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sum(system.loss(batch, "main").values()).backward()
        optimizer.step()
    for (pupil, teacher), state in zip(parts, before):
        assert all(torch.equal(v, state[k]) for k, v in teacher.state_dict().items())
        assert any(not torch.equal(v, state[k]) for k, v in pupil.state_dict().items())


# What training hides


def test_each_set_that_a_row_has_is_equally_likely():
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [False, False, False]])
    drawn = [random_subset(all_patterns(3), present) for _ in range(7000)]
    for row, sets in enumerate((7, 3, 1)):
        counts = Counter(tuple(subset[row].tolist()) for subset in drawn)
        assert len(counts) == sets and (0, 0, 0) not in counts
        assert all(abs(n - 7000 / sets) < 5 * (7000 / sets) ** 0.5 for n in counts.values())
    assert not any(bool(subset[3].any()) for subset in drawn)


def test_what_training_hides_is_what_the_row_has(monkeypatch):
    """The target of a modality that the protocol removed would be zeros: no error of it may count."""
    system, batch, seen = system_of(cra.AE), clips(), []
    monkeypatch.setattr(system, "reconstruction", lambda joint, x, hidden: seen.append(hidden) or joint.sum())
    present = availability(batch.observed)
    for _ in range(20):
        system.loss(batch, "main")
    hidden = torch.stack(seen)
    assert not bool((hidden & ~present).any()) and bool(hidden.any())
    assert bool((hidden.sum(2) < present.sum(1)).all()), "one modality of each row is kept"


# By hand


def scalar(**layers):
    """Layers from one number to one number: name=(weight, bias), with _ for the dots of the name."""
    w = {}
    for name, (weight, bias) in layers.items():
        name = name.replace("_", ".")
        w |= {f"{name}.weight": [[weight]], f"{name}.bias": [bias]}
    return w


def test_cascade_by_hand():
    """Read 2: code 3 * 2 - 1 = 5, gives 10. Read 2 + 10: code -12, gives -6. The sum 6; 6 + 1 = 7, doubled 14."""
    w = scalar(c_0_down_0=(3.0, -1.0), c_0_up_0=(2.0, 0.0), c_1_down_0=(-1.0, 0.0), c_1_up_0=(0.5, 0.0))
    assert reference.cascade(w, "c", [2.0]) == ([6.0], [[5.0], [-12.0]])
    w |= scalar(c_transition_0=(1.0, 1.0), c_transition_1=(2.0, 0.0))
    assert reference.cascade(w, "c", [2.0]) == ([14.0], [[5.0], [-12.0]])
    w |= {"c.0.down.0.weight": [[3.0, 100.0]], "c.1.down.0.weight": [[-1.0, 0.0]]}
    assert reference.cascade(w, "c", [2.0], [0.1])[1] == [[15.0], [-32.0]], "each block reads what stands beside it"
    net = cra.Cascade(1, (1,), 2).double()
    for part, layer in (("down", 0), ("up", 0)):
        for k in range(2):
            getattr(net, part)[k][layer].weight.data[:] = torch.tensor([[3.0, 2.0], [-1.0, 0.5]][k][part == "up"])
            getattr(net, part)[k][layer].bias.data[:] = -1.0 if (k, part) == (0, "down") else 0.0
    result, codes = net(torch.tensor([[2.0]], dtype=DOUBLE))
    assert result.tolist() == [[6.0]] and codes.tolist() == [[5.0, -12.0]]


def test_ae_by_hand():
    """Two modalities with codes of width 1; b is absent. The code 3 * 2 = 6 of a, halved to 3, and -2 * 3 + 1 = -5 of it:
    bent to -.05, it gives -.1 for a and .05 for b. Features: of a 10 * (-.1), of b 10 * .05 + 1. Logit -.1 + .05.
    """
    w = scalar(encoder_a_0=(3.0, 0.0), encoder_b_0=(1.0, 7.0)) | {
        "cascade.0.down.0.weight": [[0.5, 9.0]], "cascade.0.down.0.bias": [0.0],
        "cascade.0.down.1.weight": [[-2.0]], "cascade.0.down.1.bias": [1.0],
        "cascade.0.up.0.weight": [[2.0], [-1.0]], "cascade.0.up.0.bias": [0.0, 0.0],
        "output.a.0.weight": [[10.0, 0.0]], "output.a.0.bias": [0.0],
        "output.b.0.weight": [[0.0, 10.0]], "output.b.0.bias": [1.0],
        "classifier.0.weight": [[1.0, 1.0]], "classifier.0.bias": [0.0],
    }  # fmt: skip
    row, names = {"a": [2.0]}, ["a", "b"]
    assert reference.predict(w, names, [row], "ae")[0] == pytest.approx([-0.05])
    guess = reference.features(w, names, reference.reconstructed(w, names, row, "ae"))
    assert guess["a"] == pytest.approx([-1.0]) and guess["b"] == pytest.approx([1.5])
    # Of two rows the first hides b = 2, with the error .5; the second hides nothing. Half of .25, times the weight .4.
    terms = reference.losses(w, names, [row | {"b": [2.0]}, row], [row, row], [0.0, 0.0], "regression", "ae", 0.4)
    assert terms == pytest.approx({"task": 0.0025, "reconstruction": 0.05})
    assert reference.predict(w, names, [row], "zeros") == [[6.0]], "the control reads the code of a and a zero"


def test_the_invariance_trains_from_the_first_step(hidden_as_planned):
    """Encoders are copies of the teacher's then: of what is shown the loss is at its minimum, of what is hidden it is not."""
    system, batch = system_of(mmin.IFMMIN, "multiclass", blocks=2), clips("multiclass")
    system.encoders.load_state_dict(system.teacher.state_dict())
    system.shared.load_state_dict(system.teacher_shared.state_dict())
    loss = system.loss(batch, "main")["invariance"]
    gradients = torch.autograd.grad(loss, list(system.shared.parameters()))
    assert loss > 1e-4 and any(g.abs().max() > 1e-6 for g in gradients)


def test_losses_of_the_imagination_by_hand():
    """The cascade doubles what it reads and the way back halves it; one row shows a = 1 and hides b = 3, one hides nothing.

    Imagined (2, 0) for the target (0, 3): (4 + 9) / 2. Back (1, 0), which was read: 0.
    """
    same = [[1.0, 0.0], [0.0, 1.0]]
    w = {
        "cascade.0.down.0.weight": same, "cascade.0.down.0.bias": [0.0, 0.0],
        "cascade.0.up.0.weight": same, "cascade.0.up.0.bias": [0.0, 0.0],
        "back.0.down.0.weight": same, "back.0.down.0.bias": [0.0, 0.0],
        "back.0.up.0.weight": [[-0.5, 0.0], [0.0, -0.5]], "back.0.up.0.bias": [0.0, 0.0],
        "classifier.0.weight": [[1.0, 1.0]], "classifier.0.bias": [0.0],
    }  # fmt: skip
    names, whole, shown = ["a", "b"], [{"a": [8.0], "b": [3.0]}, {"a": [1.0]}], [{"a": [1.0]}, {"a": [1.0]}]
    terms = reference.mmin_losses(w, names, whole, shown, [1.0, 1.0], "regression", 1)
    assert terms == {"task": 0.0, "imagination": 4 * 6.5, "cycle": 0.0}
    # The invariant features are -.01 of the embedding, bent; the teacher's -.02 of a = 8, and of b = 3, which is hidden.
    w = {k: v for k, v in w.items() if not k.startswith("back")} | {
        "cascade.0.down.0.weight": [[1.0, 0, 0, 0], [0, 1.0, 0, 0]]
    }
    w |= scalar(invariance_0=(-1.0, 0.0))
    assert reference.invariant(w, names, shown[0], 1) == [-0.01, 0.0]
    terms = reference.if_mmin_losses(
        w, scalar(invariance_0=(-2.0, 0.0)), names, whole, shown, [1.0, 1.0], "regression", 1
    )
    assert terms == pytest.approx({"task": 0.0, "imagination": 6.5, "invariance": (0.15**2 + 0.06**2) / 2})


def test_cmd_by_hand():
    x, y = [[0.0, 0.2], [1.0, 0.4]], [[0.5, 0.3], [0.5, 0.3]]
    # Equal means. Second moments .25 and .01 against 0, fourth .0625 and .0001; the odd ones are 0.
    by_hand = (0.25**2 + 0.01**2) ** 0.5 + (0.0625**2 + 0.0001**2) ** 0.5
    assert reference.cmd(x, y) == pytest.approx(by_hand, rel=1e-12)
    assert float(mmin.cmd(torch.tensor(x), torch.tensor(y))) == pytest.approx(by_hand, abs=1e-5)
    x, y = torch.rand(9, 3, dtype=DOUBLE), torch.rand(12, 3, dtype=DOUBLE) ** 2
    assert float(mmin.cmd(x, y)) == pytest.approx(reference.cmd(x.tolist(), y.tolist()), rel=1e-9)
    assert float(mmin.cmd(x, x[torch.randperm(9)])) < 1e-5
