"""PmcmFL against loops over rows and classes."""

from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.missing.patterns import availability
from mmlib.models.pmcmfl import PmcmFL
from mmlib.names import DataError
from mmlib.training import fit
from tests.reference import pmcmfl as slow


@pytest.fixture(scope="module", params=["iemocap", "mmimdb"])
def data(request):
    modalities = {"image": synthetic.Modality(4), "text": synthetic.Modality(3)}
    return synthetic.like(request.param, modalities=modalities).sample({"train": 50, "valid": 10, "test": 2}, 0)


@pytest.fixture
def batch(data):
    rows = data.view("train").batch(torch.arange(50))
    gone = {"image": torch.arange(50) % 5 == 1, "text": torch.arange(50) % 5 == 2}
    observed = {m: f & ~gone[m][:, None] for m, f in rows.observed.items()}
    return replace(rows, x={m: x * observed[m][..., None] for m, x in rows.x.items()}, observed=observed)


@pytest.fixture
def system(data):
    system = PmcmFL.for_data(data, d=5, dropout=0.0).eval()
    system.collect(data.view("train"))
    return system


def lists(system):
    return system.prototypes.tolist(), system.prototypes_count.tolist()


def test_prototypes_are_means_of_complete_rows(system, data):
    whole = data.view("train").batch(torch.arange(50))
    codes = system.encode(whole)
    parts = [*codes.unbind(1), system.fuse(codes)]
    classes = system.classes(whole.target).tolist()
    for prototypes, code in zip(system.prototypes, parts, strict=True):
        by_hand, counts = slow.library(code.tolist(), classes)
        torch.testing.assert_close(prototypes, torch.tensor(by_hand), rtol=1e-4, atol=1e-5)
        assert system.prototypes_count.tolist() == counts


def test_the_mask_is_the_class_in_training_and_the_nearest_class_at_test(system, batch):
    prototypes, counts = lists(system)
    codes, present, classes = system.encode(batch), availability(batch.observed), system.classes(batch.target)
    in_training = system.masked(codes, present, classes)
    at_test = system.nearest(codes, present)
    for i in range(50):
        z, has = codes[i].tolist(), present[i].tolist()
        assert int(at_test[i].argmax()) == slow.nearest(z, has, prototypes, counts) and float(at_test[i].sum()) == 1
        for m in range(2):
            by_hand = z[m] if has[m] else slow.stand_in(classes[i].tolist(), prototypes[m], counts)
            torch.testing.assert_close(in_training[i, m], torch.tensor(by_hand), rtol=1e-4, atol=1e-5)
    other = replace(batch, target=batch.target.roll(1, 0))
    assert torch.equal(system.predict(other).logits, system.predict(batch).logits), "a prediction reads no label"


def test_the_contrast(system, batch):
    prototypes, counts = lists(system)
    codes, classes, rows = system.encode(batch), system.classes(batch.target), torch.arange(50) % 3 > 0
    for m in range(2):
        ours = system.contrast(codes[:, m], system.prototypes[m], classes, rows)
        by_hand = slow.contrast(codes[:, m].tolist(), prototypes[m], classes.tolist(), counts, rows.tolist())
        assert float(ours.detach()) == pytest.approx(by_hand, rel=1e-4)


def test_contrast_by_hand(data):
    system = PmcmFL({"image": 2, "text": 2}, "multiclass", 3, d=2)
    system.prototypes_count.copy_(torch.tensor([4.0, 1.0, 0.0]))
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])  # the third class has no rows
    code, label = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    # Cosines 1 and 0: -log(1 / (1 + exp(1 / .07))) = 14.2857 to four digits.
    cost = system.contrast(code, prototypes, label, torch.tensor([True]))
    assert float(cost) == pytest.approx(1 / 0.07, abs=1e-4)
    unknown = torch.tensor([[0.0, 0.0, 1.0]])
    assert float(system.contrast(code, prototypes, unknown, torch.tensor([True]))) == 0


def test_prototypes_appear_with_the_second_epoch(data):
    seen = []
    system = PmcmFL.for_data(data, d=5)
    collect, system.collect = system.collect, lambda train: seen.append(len(train)) or collect(train)
    history = fit(system, data, "complete", epochs=3, progress=False)
    assert seen == [50, 50]
    assert [row[1] for row in history.rows if row[3] == "contrast"] == [1, 2]


def test_regression_has_no_classes():
    with pytest.raises(DataError, match="prototype for each class, so it is not defined for regression"):
        PmcmFL({"text": 2, "audio": 2}, "regression", 1)
