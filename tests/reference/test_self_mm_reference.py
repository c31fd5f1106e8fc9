"""Self-MM against its slow reference; its labels, which are state, through epochs, a kill and a saved model."""

from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.models import self_mm as fast
from mmlib.models.saved import load, save
from mmlib.models.self_mm import LabelGeneration, SelfMM
from mmlib.names import DataError
from mmlib.training.fit import fit
from tests.helpers.clips import PRESENT, SHAPES, batch_of
from tests.helpers.weights import renamed
from tests.reference import self_mm as slow

DOUBLE = torch.float64
NAMES = (
    (".lstm.", "."), ("project.", "out."), ("spaces.", "unimodal."), (".feature.1.", ".1."), (".head.0.", ".2."),
    (".head.2.", ".3."),
)  # fmt: skip


def prepared(task, **options):
    """A system with random weights, its batch as rows of the training split, these rows, the weights for the reference."""
    batch, rows, data = batch_of(task)
    system = SelfMM.for_data(data, d=5, **options).double().eval()
    generator = torch.Generator().manual_seed(1)
    for p in system.parameters():
        p.data = 0.7 * torch.randn(p.shape, generator=generator, dtype=DOUBLE)
    train = data.view("train")
    system.setup(train)
    return system, replace(batch, index=train.rows[5:14]), rows, renamed(system, *NAMES)


def clips(n=24):
    """Values of both signs; clips of three modalities, of which training removes some."""
    return synthetic.like("mosi", dim=4, length=3).sample({"train": n, "valid": 8, "test": 8}, 0)


@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task):
    system, batch, rows, w = prepared(task)
    torch.testing.assert_close(
        system.predict(batch.unlabelled()).logits, torch.stack([slow.predict(w, row) for row in rows])
    )
    if task == "regression":
        system.absolute = True
        generator = torch.Generator().manual_seed(2)
        system.ulgm.labels[5:14] = torch.randn(9, 4, generator=generator, dtype=DOUBLE)
        system.ulgm.labels[5:14, -1] = batch.target
        labels = [dict(zip(PRESENT, line.tolist())) for line in system.ulgm.labels[5:14]]
        theirs = slow.losses(w, rows, batch.target.tolist(), labels)
    else:
        theirs = slow.losses_without_ulgm(w, rows, batch.target, task)
    ours = system.loss(batch, "main")
    assert list(ours) == ["task", "generated" if task == "regression" else "unimodal"]
    torch.testing.assert_close(ours["task"], theirs.pop("task"))
    modalities = sum(theirs.values())
    torch.testing.assert_close(list(ours.values())[1], modalities)
    ours, theirs = system.loss(batch, "main"), {"modalities": modalities, "task": ours["task"]}
    gradients = [torch.autograd.grad(sum(terms.values()), list(w.values())) for terms in (ours, theirs)]
    for name, a, b in zip(w, *gradients):
        torch.testing.assert_close(a, b, msg=name)


def test_labels_equal_the_reference_over_epochs():
    """Rows come in another order in each epoch and lack modalities; one modality is seen for the first time in the second."""
    train, widths = clips(20).view("train"), {"text": 3, "audio": 2}
    ulgm = LabelGeneration(widths, 4).double()
    ulgm.start(train)
    targets = train.data.target[train.rows].tolist()
    table = slow.Table(targets, list(widths))
    generator, moved = torch.Generator().manual_seed(0), 0
    for epoch in range(4):
        ulgm.epoch.fill_(epoch)
        for lines in torch.randperm(20, generator=generator).split(6):
            features = [torch.randn(len(lines), k, generator=generator, dtype=DOUBLE).relu() for k in (3, 2, 4)]
            present = torch.rand(len(lines), 2, generator=generator) < 0.7
            present[lines == 3] = epoch > 0
            ulgm.update(features, train.rows[lines], present)
            step = {}
            for b, line in enumerate(lines.tolist()):
                spaces = [m for m, has in zip(widths, present[b]) if has]
                step[line] = {m: features[list(widths).index(m)][b] for m in spaces} | {slow.JOINT: features[2][b]}
            table.step(epoch, step)
            theirs = torch.tensor([[*row.values(), y] for row, y in zip(table.labels, targets)], dtype=DOUBLE)
            torch.testing.assert_close(ulgm.labels, theirs)
        moved += int((ulgm.labels[:, :2] != ulgm.labels[:, 2:]).any(1).sum())
        assert (moved > 0) == (epoch > 0), "labels are the true ones in the first epoch alone"
    for i, space in enumerate((*widths, slow.JOINT)):
        assert set(ulgm.stored[:, i].nonzero()[:, 0].tolist()) == set(table.bank[space])
        for line, h in table.bank[space].items():
            assert torch.equal(ulgm.get_buffer(f"features_{i}")[line], h)


def test_a_label_stays_where_the_formula_has_no_number():
    train = clips(6).view("train")
    one, both = torch.tensor([1.0, 2, 3, 4, 5, 0]), torch.tensor([1.0, -2, 3, -4, 5, 0])
    index, has = train.rows, torch.ones(6, 1, dtype=torch.bool)
    for y, features in ((one, torch.randn(6, 3)), (both, torch.zeros(6, 3))):  # no negative centre; both are one point
        ulgm = LabelGeneration({"text": 3}, 3)
        ulgm.start(train)
        ulgm.labels.copy_(y[:, None])
        for epoch in range(3):
            ulgm.epoch.fill_(epoch)
            ulgm.update([features, features], index, has)
        assert torch.equal(ulgm.labels, y[:, None].expand(6, 2))


def test_training_generates_labels_for_what_a_row_has():
    data = clips()
    system = SelfMM.for_data(data, d=5)
    fit(system, data, "patterns", epochs=1, batch_size=10, progress=False)
    y = data.target[data.rows("train")]
    assert torch.equal(system.ulgm.labels, y[:, None].expand(-1, 4))
    assert bool(system.ulgm.stored[:, -1].all()) and not bool(system.ulgm.stored.all())
    system = SelfMM.for_data(data, d=5)
    system.predict_in = lambda stage, batch: None  # the weights and labels of the last epoch
    fit(system, data, "patterns", epochs=3, batch_size=10, progress=False)
    changed = system.ulgm.labels != y[:, None]
    assert int(system.ulgm.epoch) == 2 and bool(changed[:, :3].any(0).all()) and not bool(changed[:, 3].any())
    assert torch.equal(changed, changed & system.ulgm.stored)
    assert float(system.ulgm.labels.abs().max()) <= float(y.abs().max())
    system.setup(data.view("train"))
    assert not bool((system.ulgm.labels != y[:, None]).any()) and not bool(system.ulgm.stored.any())


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [4, 7])
def test_a_killed_run_finds_its_labels_again(step, tmp_path, monkeypatch):
    """Three steps an epoch: in the second epoch, and in the third."""
    monkeypatch.setattr("mmlib.training.checkpoint.SECONDS", 0.0)
    data = clips()

    def run(limit, folder=None):
        system = SelfMM.for_data(data, d=5, dropout_modalities=True)
        system.predict_in = lambda stage, batch: None
        loss, count = system.loss, iter(range(limit))

        def counted(batch, stage):
            if next(count, None) is None:
                raise Stop
            return loss(batch, stage)

        system.loss = counted
        fit(system, data, "patterns", epochs=3, batch_size=10, folder=folder, progress=False)
        return system.state_dict()

    whole = run(9)
    with pytest.raises(Stop):
        run(step, tmp_path)
    again = run(9 - step, tmp_path)
    assert list(whole) == list(again) and all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_saved_model_predicts_and_has_its_labels(tmp_path):
    data = clips()
    system = SelfMM.for_data(data, d=5)
    fit(system, data, "complete", epochs=2, batch_size=10, progress=False)
    model = load(save(system, data, tmp_path))
    batch = data.view("test").batch(torch.arange(8))
    torch.testing.assert_close(model.predict(batch.x), system.predict(batch).logits)
    assert torch.equal(model.system.ulgm.labels, system.ulgm.labels) and len(system.ulgm.labels) == 24
    other = LabelGeneration({"text": 5, "audio": 5, "vision": 5}, 6)
    with pytest.raises(RuntimeError, match="size mismatch for features_3"):
        other.load_state_dict(system.ulgm.state_dict())


def test_modality_dropout_hides_in_training_alone(monkeypatch):
    system, batch, _, _ = prepared("regression", dropout_modalities=True)
    monkeypatch.setattr(fast, "with_random_subset", lambda patterns, batch: batch.without("audio"))
    plain = prepared("regression")[0]
    hidden, expected = system.loss(batch, "main"), plain.loss(batch.without("audio"), "main")
    assert all(torch.equal(hidden[name], expected[name]) for name in expected)
    system.after_step(batch, "main")
    assert not bool(system.ulgm.stored[:, 1].any()) and bool(system.ulgm.stored[:, 0].any())
    assert not torch.equal(system.predict(batch).logits, system.predict(batch.without("audio")).logits)
    assert system.traits == () and plain.traits == ("hides_nothing",)


def test_classes_have_no_generated_labels_and_one_modality_is_not_enough():
    assert SelfMM({"text": 3, "audio": 2}, "multiclass", 4).ulgm is None
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        SelfMM({"text": 3}, "regression", 1)


@pytest.mark.parametrize(
    ("d", "widths", "parameters"),
    [(32, (768, 5, 20), 71_748), (64, (768, 5, 20), 180_356), (24, (300, 74, 35), 35_956)],
)
def test_it_has_as_many_parameters_as_that_of_the_package_mmsa(d, widths, parameters):
    """Counted in MMSA 2.2.1 without its BERT, all of its widths d."""
    system = SelfMM(dict(zip(("text", "audio", "vision"), widths)), "regression", 1, d=d)
    assert sum(p.numel() for p in system.parameters()) == parameters
