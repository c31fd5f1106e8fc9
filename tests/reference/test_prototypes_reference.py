"""PmcmFL against its slow reference, and the reference against numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.data.dataset import View
from mmlib.models import pmcmfl
from mmlib.models.pmcmfl import PmcmFL
from mmlib.names import DataError
from mmlib.training import fit
from tests.helpers.pairs import (
    CLOSE,
    DIMS,
    DOUBLE,
    HAS,
    KEPT,
    NAMES,
    agree,
    clips,
    features,
    layers,
)
from tests.reference import prototypes as reference
from tests.reference.imputers import mlp

C, D = 4, 5  # the last class has no row with all modalities


def system_of(task, **arguments):
    torch.manual_seed(0)
    system = PmcmFL(DIMS, task, C, d=D, **arguments).double().eval()
    for p in system.parameters():
        p.data += 0.2 * torch.randn(p.shape, dtype=DOUBLE)
    return system


def batch_of(task):
    """Rows of each set of modalities; those of the last class lack one. Of several labels some rows have none."""
    batch = clips()
    target = torch.arange(len(batch)) % C
    target[HAS.all(1)] %= C - 1
    if task != "multiclass":
        target = torch.nn.functional.one_hot(target, C).double()
        target[::3, 1] = 1
        target[::5] = 0
    return replace(batch, target=target)


def weights_of(system):
    w = layers(head=system.head) | {
        "fuse.weight": system.fusion.weight.tolist(),
        "fuse.bias": system.fusion.bias.tolist(),
    }
    for m in NAMES:
        w |= layers(**{f"encoder.{m}": system.encoders[m]})
    for name, norm in [(f"norm.{m}", system.norms[m]) for m in NAMES] + [("head.norm", system.head[1])]:
        w |= {f"{name}.weight": norm.weight.tolist(), f"{name}.bias": norm.bias.tolist()}
    return w


def codes(w, batch):
    return [{m: mlp(w, f"encoder.{m}", x) for m, x in row.items()} for row in features(batch)]


def labels_of(target):
    return [[t] if isinstance(t, int) else [c for c, y in enumerate(t) if y] for t in target.tolist()]


class Rows(View):
    """The rows of one batch, served as three of which the first has no complete row."""

    def __init__(self, batch):
        self.batch = batch

    def batches(self, batch_size, order=None):
        return (self.batch.select(part) for part in torch.arange(len(self.batch)).split([10, 5, 4]))


@pytest.fixture(params=["multiclass", "multilabel"])
def task(request):
    return request.param


def collected(task, **arguments):
    """A system with prototypes, rows, their representations and labels, the weights and the library of the reference."""
    system, batch = system_of(task, **arguments), batch_of(task)
    system.collect(Rows(batch))
    w = weights_of(system)
    rows, labels = codes(w, batch), labels_of(batch.target)
    return system, batch, w, rows, labels, reference.library(w, NAMES, rows, labels, C)


def test_prototypes_are_means_of_complete_rows(task):
    system, batch, _, _, labels, library = collected(task)
    assert [entry is None for entry in library] == [False, False, False, True]
    counts = [sum(c in own for own, whole in zip(labels, HAS.all(1).tolist()) if whole) for c in range(C)]
    assert system.prototypes_count.tolist() == counts
    for k, name in enumerate([*NAMES, reference.FUSION]):
        slow = [entry[name] if entry else [0.0] * D for entry in library]
        torch.testing.assert_close(system.prototypes[k], torch.tensor(slow, dtype=DOUBLE), **CLOSE)


@pytest.mark.parametrize("impute", ["prototypes", "zeros"])
def test_logits(task, impute):
    system, batch, w, rows, _, library = collected(task, impute=impute)
    slow = reference.predict(w, NAMES, rows, [None] * C if impute == "zeros" else library, D)
    prediction = system.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, torch.tensor(slow, dtype=DOUBLE), **CLOSE)
    chosen = {reference.nearest(row, library) for row in rows}
    assert len(chosen) > 1, "the rows choose several classes"


@pytest.mark.parametrize("impute", ["prototypes", "zeros"])
def test_losses(task, impute, monkeypatch):
    settings = {"weight": 0.3, "single": 0.2}
    system, batch, w, rows, labels, library = collected(task, impute=impute, **settings)
    monkeypatch.setattr(pmcmfl, "random_subset", lambda patterns, present: KEPT)
    shown = [{m: z for m, z in row.items() if kept[NAMES.index(m)]} for row, kept in zip(rows, KEPT.tolist())]
    arguments = (w, NAMES, shown, labels, task, library, D)
    agree(system.loss(batch, "main"), reference.losses(*arguments, weights=(0.2, 0.3), zeros=impute == "zeros"))


def test_without_prototypes_zeros_stand_in_and_nothing_is_contrasted(task, monkeypatch):
    system, batch = system_of(task), batch_of(task)
    w, none = weights_of(system), [None] * C
    rows, labels = codes(w, batch), labels_of(batch.target)
    monkeypatch.setattr(pmcmfl, "random_subset", lambda patterns, present: present)
    slow = reference.losses(w, NAMES, rows, labels, task, none, D)
    assert slow.pop("contrast") == 0
    agree(system.loss(batch, "main"), slow)
    slow = torch.tensor(reference.predict(w, NAMES, rows, none, D), dtype=DOUBLE)
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, slow, **CLOSE)


def test_prototypes_appear_with_the_second_epoch():
    modalities = {"image": synthetic.Modality(4), "text": synthetic.Modality(3)}
    for name in ("iemocap", "mmimdb"):
        data = synthetic.like(name, modalities=modalities).sample({"train": 50, "valid": 10, "test": 2}, 0)
        seen, system = [], PmcmFL.for_data(data, d=5)
        collect = system.collect
        system.collect = lambda train, seen=seen, collect=collect: seen.append(len(train)) or collect(train)
        history = fit(system, data, "complete", epochs=3, progress=False)
        assert seen == [50, 50]
        assert [row[1] for row in history.rows if row[3] == "contrast"] == [1, 2]


def test_regression_has_no_classes():
    with pytest.raises(DataError, match="prototype for each class, so it is not defined for regression"):
        PmcmFL({"text": 2, "audio": 2}, "regression", 1)


# By hand

LIBRARY = [{"a": [1.0, 0.0], "b": [0.0, 4.0]}, {"a": [0.0, 2.0], "b": [6.0, 0.0]}, None]


def test_stand_ins_by_hand():
    row, none = {"a": [3.0, 4.0]}, [0.0, 0.0]
    assert reference.masked(["a", "b"], row, [0, 1], LIBRARY, 2) == row | {"b": [3.0, 2.0]}
    assert reference.masked(["a", "b"], row, [1, 2], LIBRARY, 2) == row | {"b": [6.0, 0.0]}, "the last class has none"
    assert reference.masked(["a", "b"], row, [2], LIBRARY, 2) == row | {"b": none}
    # Cosines .6 and .8: the second class. With b as well (.6 + 1) / 2 against (.8 + 0) / 2: the first.
    assert reference.nearest(row, LIBRARY) == 1
    assert reference.nearest(row | {"b": [0.0, 9.0]}, LIBRARY) == 0
    assert reference.nearest(row, [None]) is None


def test_library_by_hand():
    """The third row lacks b and does not count; the second has both labels. Constant rows have a LayerNorm of its bias."""
    w = {
        "norm.a.weight": [5.0, 5.0], "norm.a.bias": [1.0, 0.0], "norm.b.weight": [5.0, 5.0], "norm.b.bias": [0.0, 2.0],
        "fuse.weight": [[1.0, 0.0, 0.0, 3.0]], "fuse.bias": [1.0],
    }  # fmt: skip
    rows = [{"a": [1.0, 1.0], "b": [2.0, 2.0]}, {"a": [3.0, 3.0], "b": [4.0, 4.0]}, {"a": [9.0, 9.0]}]
    fusion = [math.tanh(4.0)]  # (1 + 3 * 2 + 1) / 2
    assert reference.library(w, ["a", "b"], rows, [[0], [0, 1], [0, 2]], 3) == [
        {"a": [2.0, 2.0], "b": [3.0, 3.0], "fusion": fusion},
        {"a": [3.0, 3.0], "b": [4.0, 4.0], "fusion": fusion},
        None,
    ]


def test_head_by_hand():
    """1 and -1 are normalised to themselves; GELU(1) = .8413 and GELU(-1) = -.1587, the normal distribution at 1 and -1."""
    w = {
        "head.0.weight": [[1.0], [-1.0]], "head.0.bias": [0.0, 0.0], "head.norm.weight": [1.0, 1.0],
        "head.norm.bias": [0.0, 0.0], "head.1.weight": [[1.0, 0.0], [0.0, 1.0]], "head.1.bias": [0.0, 10.0],
    }  # fmt: skip
    assert reference.head(w, [7.0]) == pytest.approx([0.841345, 9.841345], abs=1e-5)


def test_contrast_by_hand():
    """Cosines 1 and 0 at the scale 1 / .07: the costs are ln(1 + exp(-14.2857)) and 14.2857 more."""
    scale = 1 / 0.07
    low = math.log(1 + math.exp(-scale))
    x = [3.0, 0.0]
    for labels, expected in (
        ([0], low),
        ([1], scale + low),
        ([0, 1], scale / 2 + low),
        ([1, 2], scale + low),
        ([2], 0),
    ):
        assert reference.contrast([x], [labels], LIBRARY, "a") == pytest.approx(expected, rel=1e-12)
    several = reference.contrast([x, None, x], [[0], [1], [1]], LIBRARY, "a")
    assert several == pytest.approx(scale / 2 + low, rel=1e-12), "a row without the modality does not count"
    system = PmcmFL({"image": 2, "text": 2}, "multiclass", 3, d=2)
    system.prototypes_count.copy_(torch.tensor([4.0, 1.0, 0.0]))
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    for label, expected in (([0.0, 1.0, 0.0], scale), ([0.0, 0.0, 1.0], 0)):
        cost = system.contrast(torch.tensor([x]), prototypes, torch.tensor([label]), torch.tensor([True]))
        assert float(cost) == pytest.approx(expected, abs=1e-4)
