"""One function chooses: equal trials, judged on validation, shared by the runs of a study."""

import json
import multiprocessing
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from mmlib import synthetic
from mmlib.models.catalogue import MODELS
from mmlib.training.checkpoint import Diverged
from mmlib.training.evaluate import evaluate, predict
from mmlib.training.fit import fit
from mmlib.training.tune import candidates, tune

module = sys.modules[tune.__module__]
GRID = {"lr": [1e-7, 3e-3]}  # and two values of alpha, which SIM-C has itself


@pytest.fixture(scope="module")
def films():
    return synthetic.like("mmimdb", dim=8).sample({"train": 120, "valid": 60, "test": 40}, 0)


def tuned(data, **changes):
    new = partial(MODELS["simc"].for_data, data, hidden=8, heads=2)
    settings = {"grid": GRID, "trials": 4, "epochs": 4, "batch_size": 16, "progress": False}
    return tune(new, data, "complete", **{**settings, **changes})


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_the_best_trial_on_validation_is_chosen_and_trained_with_the_seed(films):
    result = tuned(films, seed=3)
    best = result.trials.loc[result.trials["value"].idxmax()]
    assert len(result.trials) == 4 and best["chosen"] and result.trials["chosen"].sum() == 1
    assert result.settings["lr"] == 3e-3 and "lr=0.003, " in best["settings"]
    alone = MODELS["simc"].for_data(films, seed=3, hidden=8, heads=2, alpha=result.settings["alpha"])
    fit(alone, films, "complete", seed=3, epochs=4, batch_size=16, lr=3e-3, progress=False)
    assert same(alone, result.system)


def test_trials_are_compared_under_the_missingness_that_is_asked_for(films):
    """Zero fill with and without modality dropout, which is worth most where little is left."""
    new = partial(MODELS["fill"].for_data, films)
    settings = {"grid": {"dropout": [False, True], "lr": [3e-3]}, "trials": 2, "epochs": 3, "progress": False}
    for judged in ("available(image)", "complete"):
        result = tune(new, films, "complete", judged=judged, **settings)
        scores = []
        for dropout in (False, True):
            system = new(seed=0, dropout=dropout)
            fit(system, films, "complete", epochs=3, lr=3e-3, progress=False)
            scores.append(evaluate(system, films, judged, "valid")["map"])
        assert result.trials["value"].tolist() == scores
        assert result.settings["dropout"] == (scores[1] > scores[0])
        chosen = evaluate(result.system, films, judged, "valid")["map"]
        assert chosen == max(scores), "the system of the best trial is returned"


def test_the_trial_of_the_same_seed_is_not_trained_again(films, monkeypatch):
    seeds = []
    monkeypatch.setattr(module, "fit", lambda *a, **k: seeds.append(k["seed"]) or fit(*a, **k))
    tuned(films)
    assert seeds == [0] * 4


def test_trials_are_compared_by_the_loss_where_it_stops_training(films):
    """Yes/no problems are stopped by their loss, which is no metric."""
    films = replace(films, task="multibinary")
    result = tuned(films, grid={"lr": [3e-3]}, trials=1, judged="patterns")
    logits, target = predict(result.system, films, "patterns", "valid").logits, films.target[films.rows("valid")]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert result.trials["metric"].tolist() == ["loss"] and result.trials["value"][0] == pytest.approx(float(loss))


def test_every_system_has_the_same_number_of_trials():
    large = {"lr": [1, 2, 3], "decay": ["none", "plateau"], "alpha": [1, 2, 3]}
    assert len(candidates(large, 4)) == len(candidates({"lr": [1, 2], "alpha": [1, 2]}, 4)) == 4
    assert candidates(large, 4) == candidates(large, 4)
    assert len({json.dumps(point) for point in candidates(large, 4)}) == 4


def test_every_system_tries_every_learning_rate():
    """A random sample of 3 from 6 settings can leave a rate out, and then the trivial rows have one that the method lacks."""
    rates = {"lr": [3e-3, 1e-3, 3e-4], "decay": ["plateau"]}
    for own in (
        {},
        {"alpha": (0.1, 0.5)},
        {"alpha": (0.1, 1.0), "beta": (0.02, 0.2)},
        {"weight": (1, 2), "z": (1, 2, 3)},
    ):
        tried = candidates({**rates, **own}, 3)
        assert {point["lr"] for point in tried} == set(rates["lr"]) and len(tried) == 3
        assert all({point[name] for point in tried} == set(values) for name, values in own.items())
        assert {p["lr"] for p in candidates({**rates, **own}, 2)} < set(rates["lr"])
    assert len(candidates(rates, 7)) == 3


def test_runs_share_trials_and_a_finished_one_is_kept(films, tmp_path, monkeypatch):
    first = tuned(films, shared=tmp_path)
    trained = []
    monkeypatch.setattr(module, "fit", lambda *a, **k: trained.append(k["seed"]) or fit(*a, **k))
    second = tuned(films, shared=tmp_path, seed=1)
    assert trained == [1] and second.trials.equals(first.trials) and second.settings == first.settings
    tuned(films, shared=tmp_path, seed=1, grid={"lr": [2e-3, 3e-3]})
    assert trained[1:] == [0, 0, 1], "a setting that was tried is not tried again, another one is"


def _share(folder, seed, queue):
    torch.set_num_threads(1)
    data = synthetic.like("mmimdb", dim=8).sample({"train": 120, "valid": 60, "test": 40}, 0)
    count, real = [0], module.fit

    def counted(*arguments, **settings):
        count[0] += settings["seed"] == 0
        return real(*arguments, **settings)

    module.fit = counted
    tuned(data, shared=folder, seed=seed)
    queue.put(count[0])


def test_two_processes_make_each_trial_once(tmp_path):
    context = multiprocessing.get_context("fork")  # a new interpreter would import torch
    queue = context.Queue()
    processes = [context.Process(target=_share, args=(tmp_path, seed, queue)) for seed in (1, 2)]
    for process in processes:
        process.start()
    made = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sum(made) == 4


def test_a_trial_that_diverges_loses(films):
    result = tuned(films, grid={"lr": [1e30, 3e-3]}, trials=4)
    assert (result.trials["flags"] == "diverged").sum() == 2 and result.settings["lr"] == 3e-3
    with pytest.raises(Diverged, match="all 1 trials diverged; give smaller learning rates than"):
        tuned(films, grid={"lr": [1e30]}, trials=1)


def test_a_system_without_stages_has_nothing_to_try(films):
    result = tune(partial(MODELS["prior"].for_data, films), films, "complete", grid=GRID, trials=4)
    assert result.trials.empty and result.settings == {}
