"""Federated training: what clients have, what the server makes of it, and that one client is ordinary training."""

import copy

import pytest
import torch

from mmlib import synthetic
from mmlib.data import DataError
from mmlib.federated import average, fit_federated, shards
from mmlib.models import MODELS
from mmlib.training import evaluate, fit

MODALITIES = {"image": synthetic.Modality(6, blur=0.4), "text": synthetic.Modality(6, blur=0.4)}


@pytest.fixture(scope="module", params=["iemocap", "mmimdb", "mosi"])
def data(request):
    world = synthetic.like(request.param, modalities=MODALITIES)
    return world.sample({"train": 300, "valid": 80, "test": 80}, 0).standardised()


def test_every_row_is_one_clients(data):
    parts = shards(data, 12, 0.3, seed=1)
    assert len(parts) == 12 and sorted(torch.cat(parts).tolist()) == data.rows("train").tolist()
    assert [p.tolist() for p in parts] == [p.tolist() for p in shards(data, 12, 0.3, seed=1)]
    assert [p.tolist() for p in parts] != [p.tolist() for p in shards(data, 12, 0.3, seed=2)]


def test_a_small_concentration_gives_clients_few_classes():
    data = synthetic.like("iemocap", modalities=MODALITIES).sample({"train": 2000, "valid": 5, "test": 5}, 0)

    def largest(concentration):
        """The share of a client's most frequent class, mean over rows."""
        counts = [torch.bincount(data.target[rows]) for rows in shards(data, 10, concentration) if len(rows)]
        return sum(int(c.max()) for c in counts) / 2000

    frequent = float(torch.bincount(data.target[data.rows("train")]).max()) / 2000
    assert largest(1000.0) < frequent + 0.1 < largest(0.1)


def test_average_by_hand():
    first = {
        "w": torch.tensor([1.0, 2.0]),
        "p": torch.tensor([[[1.0], [5.0], [7.0]]]),
        "p_count": torch.tensor([1.0, 0.0, 0.0]),
    }
    second = {
        "w": torch.tensor([4.0, 8.0]),
        "p": torch.tensor([[[4.0], [6.0], [8.0]]]),
        "p_count": torch.tensor([3.0, 2.0, 0.0]),
    }
    merged = average([first, second], [10, 20])
    torch.testing.assert_close(merged["w"], torch.tensor([3.0, 6.0]))  # (1 + 2 * 4) / 3
    # (1 * 1 + 3 * 4) / 4; the class that the first has no row of; one without rows keeps what was there.
    torch.testing.assert_close(merged["p"], torch.tensor([[[3.25], [6.0], [7.0]]]))
    assert merged["p_count"].tolist() == [4.0, 2.0, 0.0]


def test_prototypes_of_all_clients_are_those_of_their_rows():
    data = synthetic.like("iemocap", modalities=MODALITIES).sample({"train": 200, "valid": 5, "test": 5}, 0)
    system, states = MODELS["pmcmfl"].for_data(data, d=5).eval(), []
    view = data.view("train")
    system.collect(view)
    for rows in shards(data, 4, 0.5):
        local = copy.deepcopy(system)
        local.collect(data.subset(torch.cat((rows, data.rows("valid"), data.rows("test"))), "a client").view("train"))
        states.append(local.state_dict())
    merged = average(states, [1] * len(states))
    torch.testing.assert_close(merged["prototypes"], system.prototypes, rtol=1e-4, atol=1e-5)
    assert torch.equal(merged["prototypes_count"], system.prototypes_count)


def test_one_client_in_one_round_is_fit():
    data = synthetic.like("iemocap", modalities=MODALITIES).sample({"train": 120, "valid": 40, "test": 40}, 0)
    settings = {"clients": 1, "per_round": 1, "rounds": 1, "incomplete": False, "lr": 1e-2, "seed": 3}
    together = MODELS["fill"].for_data(data, dropout=True)
    alone = copy.deepcopy(together)
    history = fit_federated(together, data, **settings)
    fit(alone, data, "complete", epochs=1, lr=1e-2, seed=3, progress=False)
    for name, value in alone.state_dict().items():
        assert torch.equal(together.state_dict()[name], value), name
    assert history["rows"].tolist() == [120] and history["clients"].tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pmcmfl", "fill"])
def test_clients_with_holes_learn_together(name):
    world = synthetic.draw("multiclass", MODALITIES, prevalence={"a": 0.5, "b": 0.5}, latent=2, separation=3.0)
    data = world.sample({"train": 600, "valid": 200, "test": 500}, 0).standardised()
    system = MODELS[name].for_data(data)
    history = fit_federated(
        system, data, clients=8, per_round=4, concentration=1.0, rounds=12, local_epochs=2, lr=3e-3, seed=0
    )
    assert len(history) == 12 and (history["clients"] == 4).all()
    metric = history.columns[-1]
    assert evaluate(system, data, "patterns", "valid", seed=0)[metric] == pytest.approx(history[metric].max())
    central = MODELS[name].for_data(data)
    fit(central, data, "patterns", epochs=12, lr=3e-3, progress=False)
    for condition in ("complete", "available(text)"):
        ours, theirs = (evaluate(s, data, condition)["accuracy"] for s in (system, central))
        assert 0.6 < theirs - 0.1 < ours, condition


def test_errors():
    data = synthetic.like("iemocap", modalities=MODALITIES).sample({"train": 40, "valid": 10, "test": 10}, 0)
    with pytest.raises(DataError, match="of one stage, this one has teacher, main"):
        fit_federated(MODELS["mmin"].for_data(data, d=4, blocks=1), data)
    with pytest.raises(DataError, match="1 <= per_round"):
        fit_federated(MODELS["fill"].for_data(data), data, clients=3, per_round=4)
