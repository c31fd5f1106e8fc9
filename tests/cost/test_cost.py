"""Small networks train with one thread, and say what they will take; a number that the user chose stays."""

import re
import subprocess
import sys

import pytest
import torch
from tqdm import tqdm

from mmlib import synthetic
from mmlib.cost import threads
from mmlib.cost.plan import Plan, duration
from mmlib.models.catalogue import MODELS
from mmlib.training.fit import fit

CPU = torch.device("cpu")


@pytest.fixture
def four(monkeypatch):
    """A machine of four cores on which nothing was set."""
    before = torch.get_num_threads()
    for name in threads._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(threads, "_AT_IMPORT", 4)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def inside(system, device=CPU):
    with threads.threads_for(system, device) as alone:
        return torch.get_num_threads(), alone


def test_a_small_network_has_one_thread_and_the_number_comes_back(four):
    assert inside(torch.nn.Linear(10, 10)) == (1, True) and torch.get_num_threads() == 4
    with pytest.raises(RuntimeError), threads.threads_for(torch.nn.Linear(10, 10), CPU):
        raise RuntimeError
    assert torch.get_num_threads() == 4


def test_a_large_network_and_a_gpu_keep_theirs(four):
    assert inside(torch.nn.Linear(2000, 1000)) == (4, False)
    assert inside(torch.nn.Linear(10, 10), torch.device("cuda")) == (4, False)


def test_an_explicit_number_stays(four, monkeypatch):
    torch.set_num_threads(3)
    assert inside(torch.nn.Linear(10, 10)) == (3, False)
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert inside(torch.nn.Linear(10, 10)) == (4, False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "_AT_IMPORT", 3)  # set before mmlib was imported
    torch.set_num_threads(3)
    assert inside(torch.nn.Linear(10, 10)) == (3, False)


def test_fit_and_predict_use_it(four, monkeypatch):
    data = synthetic.like("mmimdb", dim=4).sample({"train": 20, "valid": 10, "test": 10}, 0)
    system, seen = MODELS["fill"].for_data(data), set()
    system.register_forward_hook(lambda *a: seen.add(torch.get_num_threads()))
    loss = system.loss
    monkeypatch.setattr(system, "loss", lambda *a: seen.add(torch.get_num_threads()) or loss(*a))
    fit(system, data, "complete", epochs=1, progress=False)
    assert seen == {1} and torch.get_num_threads() == 4


def test_the_line_before_training(monkeypatch, capfd, four):
    class Shown(tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "disable": False})

    monkeypatch.setattr(sys.modules["mmlib.training.fit"], "tqdm", Shown)  # TQDM_DISABLE is read when tqdm is imported
    monkeypatch.setattr(Plan, "_said", False)
    data = synthetic.like("mmimdb", dim=4).sample({"train": 20, "valid": 10, "test": 10}, 0)
    for _ in range(2):
        fit(MODELS["simc"].for_data(data, schedule="two_stage"), data, "complete", epochs=2, batch_size=5)
    lines = [line for line in re.split(r"[\r\n]+", capfd.readouterr().err) if "at most" in line]
    pattern = r"SIMC: 0\.\d+ M parameters, 2 stages, 16 steps at most, \d+ s at most"
    assert re.search(rf"{pattern}, one thread \(OMP_NUM_THREADS sets more\)$", lines[0])
    assert re.search(rf"{pattern}$", lines[1]) and len(lines) == 2


def test_time_follows_the_first_steps_of_each_kind_of_stage(monkeypatch):
    clock = iter([10.0, 10.2, 10.4, 0, 20.0, 20.4, 30.0, 30.01])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    plan = Plan(torch.nn.Linear(1, 1), {"itfn a": 10, "itfn b": 10, "mf": 5, "end": 5}, False)
    assert plan.line("itfn a", 1, 100) is None and plan.line("itfn a", 2, 100) is None
    first = plan.line("itfn a", 3, 100)  # 0.2 s a step, 3,000 steps
    assert first == "Linear: 2e-06 M parameters, 4 stages, 3,000 steps at most, 10 min at most"
    assert plan.line("itfn b", 1, 100) is None
    assert plan.line("mf", 1, 100) is None
    assert plan.line("mf", 2, 100) == "Linear, stage mf: 500 steps at most, 3 min at most"
    assert plan.line("end", 1, 2) is None and plan.line("end", 2, 2) is None  # 10 steps take a tenth of a second


@pytest.mark.parametrize(
    "seconds, text",
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (9000, "2.5 h"), (float("nan"), "a moment")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_process_starts_with_a_number_that_counts_as_not_set():
    code = "import torch; from mmlib.cost import threads as t; print(t._is_chosen(torch.get_num_threads()))"
    environment = {"PATH": "/usr/bin:/bin"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
