"""A run counts when its record is there, and only then. Studies and their engine: test_studies.py."""

import json
import re
from dataclasses import replace
from functools import partial

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure

from mmlib import metrics, runs, synthetic, training
from mmlib.models import MODELS
from mmlib.runs import records
from tests.helpers.notebooks import RECORDING, notebook

CELL = 'lr: float = 1e-3\nseed: int = 0\nout_dir: str = ""'
LABELS = {"method": "m", "condition": "c", "variant": "v", "protocol": "p", "features": "f"}


@pytest.fixture(scope="module")
def data():
    return synthetic.like("mosi", dim=2, length=2).sample({"train": 4, "valid": 2, "test": 2})


def recording(data, out_dir, cells=(CELL,), **values):
    """A record as a notebook begins it that has run these cells."""
    namespace = {"In": ["", *cells, "record = ..."], "lr": 1e-3, "seed": 0, "out_dir": str(out_dir), **values}
    record = runs.Record("test", namespace)
    record.of(data, dataset="d")
    return record


def test_record_holds_rows_and_everything_to_repeat_them(data, tmp_path):
    record = recording(data, tmp_path / "run", seed=3)
    record.add({"mae": 0.5, "corr": 0.1}, **LABELS)
    path = record.write()
    content = json.loads(path.read_text())
    labels = {**LABELS, "paper": "test", "dataset": "d", "seed": 3, "role": "test", "flags": ""}
    assert content["rows"] == [{**labels, "metric": "mae", "value": 0.5}, {**labels, "metric": "corr", "value": 0.1}]
    assert record.frame.to_dict("records") == content["rows"] and list(record.frame) == list(runs.COLUMNS)
    run = content["run"]
    assert run["parameters"] == {"lr": 1e-3, "seed": 3} and run["data"]["fingerprint"] == data.fingerprint
    assert set(run["versions"]) == {"torch", "numpy", "scikit-learn", "scipy"} and run["peak_memory_mib"] > 50
    assert 0 < run["cpu_seconds"] and 0 <= run["seconds"]
    assert [p.name for p in path.parent.iterdir()] == ["record.json"], "no temporary file stays"
    with pytest.raises(runs.RunError, match="never overwritten"):
        record.write()
    assert json.loads(path.read_text()) == content


def test_parameters_are_taken_as_they_are_behind_their_cell(data, tmp_path):
    film = tmp_path / "films.npz"
    film.touch()
    cell = 'rows: list = [1]\narchive: str = ""\nout_dir: str = ""'
    namespace = {"In": [cell, 'print("x")'], "rows": [1, 2], "archive": str(film), "out_dir": str(tmp_path)}
    record = runs.Record("test", namespace)
    namespace["rows"].append(3)
    record.of(data, seed=0, features="f", protocol="p")
    record.add({"mae": 1.0}, method="m", condition="c", seed=7)
    content = json.loads(record.write().read_text())
    assert content["run"]["parameters"] == {"rows": [1, 2], "archive": "films.npz"}
    assert content["rows"][0]["seed"] == 7 and content["rows"][0]["variant"] == ""


def test_nothing_is_written_without_a_folder(data, tmp_path):
    record = recording(data, "")
    record.add({"mae": 0.5}, **LABELS)
    assert record.write() is None and not list(tmp_path.iterdir())


def test_figures_points_and_flags_lie_beside_the_record(data, tmp_path):
    record = recording(data, tmp_path / "run")
    record.add({"mae": 0.5}, **LABELS)
    record.flag("limit", method="m", variant="v")
    record.figure("losses", Figure())
    record.points("map", pd.DataFrame({"kind": ["real"], "x": [1.0]}))
    assert not (tmp_path / "run").exists(), "all is written at the end"
    path = record.write()
    assert sorted(p.name for p in path.parent.iterdir()) == ["losses.png", "map.csv", "record.json"]
    assert json.loads(path.read_text())["flags"] == [{"flag": "limit", "dataset": "d", "method": "m", "variant": "v"}]


def test_trials_and_flags_of_a_training_reach_the_rows(data, tmp_path):
    record = recording(data, tmp_path)
    new = partial(MODELS["fill"].for_data, data)
    grid = {"lr": [1e-3, 1e-2], "decay": ["none"]}
    result = training.tune(new, data, "complete", grid=grid, trials=2, epochs=1, seed=3, trial_seed=3, progress=False)
    labels = {"method": "zero fill", "protocol": "p", "features": "f"}
    record.tuned(result, **labels)
    for method in ("zero fill", "prior"):
        record.add({"mae": 0.5}, **{**labels, "method": method}, condition="c")
    assert record.frame.set_index("method")["flags"].to_dict() == {"zero fill": result.history.flagged, "prior": ""}
    assert "limit" in result.history.flagged, "one epoch is the last tenth of one epoch"
    assert sorted(record.trials["role"]) == ["chosen", "trial"] and set(record.trials["seed"]) == {3}
    assert set(record.trials["condition"]) == {f"validation, lr={lr}, decay=none" for lr in ("0.001", "0.01")}
    rows = json.loads(record.write().read_text())["rows"]
    assert len(rows) == 4 and rows[2]["flags"] == result.history.flagged


def test_replicates_are_saved_with_their_rows_and_trials_of_several_runs_once(data, tmp_path):
    generator = torch.Generator().manual_seed(0)
    target, logits = torch.randn(40, generator=generator), torch.randn(40, 1, generator=generator)
    scores = metrics.score("regression", logits, target)
    for seed in (1, 2):
        record = recording(data, tmp_path / str(seed), seed=seed)
        record.rows.append(
            {**record._row({**LABELS, "role": "trial", "seed": 0}), "metric": "mae", "value": 9.0, "flags": ""}
        )
        record.add(scores, **LABELS)
        record.write()
    rows = runs.save([tmp_path / "1", tmp_path / "2"], tmp_path / "study.csv")
    assert (rows["role"] == "trial").sum() == 1
    written = pd.read_csv(tmp_path / "study.csv")
    with np.load(tmp_path / "study.npz") as arrays:
        lines = written.loc[arrays["row"]]
        assert set(lines["metric"]) == {"mae"} and sorted(lines["seed"]) == [1, 2] and set(lines["role"]) == {"test"}
        replicates = lines["value"].to_numpy()[:, None] + arrays["deviation"] / 1e4
    assert replicates == pytest.approx(np.stack([scores.replicates["mae"]] * 2), abs=1e-4)


def test_rows_must_be_complete(data, tmp_path):
    record = recording(data, tmp_path)
    with pytest.raises(runs.RunError, match="nothing was measured"):
        record.write()
    with pytest.raises(runs.RunError, match="'metod' is not one of paper, dataset, .*seed"):
        record.add({"mae": 1.0}, **LABELS, metod="x")
    with pytest.raises(runs.RunError, match="'condition' has no value"):
        record.add({"mae": 1.0}, method="m", features="f", protocol="p")
    assert record.rows == [] and not (tmp_path / "record.json").exists()


def test_a_record_needs_a_parameters_cell_and_refuses_what_papermill_lets_pass(data, tmp_path):
    with pytest.raises(runs.RunError, match="no parameters cell has run"):
        recording(data, tmp_path, cells=("lr = 1", "lr: float = f()"))
    for injected, message in (
        ("lrr = 2", "unknown parameter 'lrr'; did you mean 'lr'"),
        ("lr = 'x'", "'lr' is 'x', expected float"),
        ("lr = float('nan')", "'lr' is nan; give a finite number"),
    ):
        with pytest.raises(runs.RunError, match=message):
            recording(data, tmp_path, cells=(CELL, f"# Parameters\n{injected}"))
    assert recording(data, tmp_path, cells=(CELL, "# Parameters\nlr = 2.0"), lr=2.0).parameters["lr"] == 2.0


def test_nbval_keeps_no_history_so_the_annotations_name_the_parameters():
    namespace = {"In": [""], "__annotations__": {"seed": int, "out_dir": str}, "seed": 5, "out_dir": "", "torch": None}
    assert runs.parameters_of(namespace) == {"seed": 5, "out_dir": ""}


def test_collect_joins_records(data, tmp_path):
    for seed in (0, 1):
        record = recording(data, tmp_path / str(seed), seed=seed)
        record.add({"mae": seed}, **LABELS)
        record.write()
    frame = runs.collect([tmp_path / "0", tmp_path / "unfinished", tmp_path / "1"])
    assert frame["value"].tolist() == [0, 1] and frame["run"].tolist() == ["0", "1"]
    with pytest.raises(runs.RunError, match=r"no record.json in any"):
        runs.collect([tmp_path / "nothing"])


@pytest.mark.slow
def test_execute_runs_once_and_returns_the_record(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    path = runs.run_notebook(nb, tmp_path / "run", {"value": 3.0})
    assert json.loads(path.read_text())["rows"][0]["value"] == 3.0
    stamp = path.stat().st_mtime_ns
    assert runs.run_notebook(nb, tmp_path / "run", {"value": 3.0}).stat().st_mtime_ns == stamp, "a finished run is kept"
    with pytest.raises(runs.RunError, match="is of a run with value=3.0, not 4.0; choose another"):
        runs.run_notebook(nb, tmp_path / "run", {"value": 4.0})


def test_unknown_parameters_fail_before_anything_starts(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    with pytest.raises(
        runs.RunError, match="unknown parameter 'vallue'; did you mean 'value'\\? it takes value, method, seed, out_dir"
    ):
        runs.run_notebook(nb, tmp_path / "run", {"vallue": 3.0})
    assert not (tmp_path / "run").exists()
    lost = notebook(tmp_path, RECORDING, tag="parametres", name="lost.ipynb")
    with pytest.raises(runs.RunError, match="no cell is tagged 'parameters'"):
        runs.run_notebook(lost, tmp_path / "run", {})
    for value, kind in ((["3"], "float"), ("3", "float"), (True, "float")):
        with pytest.raises(runs.RunError, match=f"'value' is .*, expected {kind}"):
            runs.run_notebook(nb, tmp_path / "run", {"value": value})
    with pytest.raises(runs.RunError, match="no notebook"):
        runs.run_notebook(tmp_path / "none.ipynb", tmp_path / "run", {})


def test_the_label_of_features_belongs_to_the_content_of_a_file(data, monkeypatch):
    """A file of other content under a known name must not be recorded as the known features."""
    monkeypatch.setattr(records, "_archives", lambda: {"a" * 64: "MiniLM-L6 tokens"})
    known, other = ({**data.provenance, "sha256": c * 64, "file": "mosi.npz"} for c in "ab")
    known, other = (replace(data, provenance=p) for p in (known, other))
    assert runs.features_label("MiniLM-L6 tokens, standardised", known) == "MiniLM-L6 tokens, standardised"
    assert runs.features_label("synthetic", known) == "MiniLM-L6 tokens"
    assert runs.features_label("MiniLM-L6 tokens", other) == "MiniLM-L6 tokens [file bbbbbbbbbbbb]"
    assert runs.features_label("synthetic", other) == f"{data.name} [file bbbbbbbbbbbb]"
    with pytest.raises(runs.RunError, match="features is 'GloVe', but mosi.npz holds 'MiniLM-L6 tokens'; begin"):
        runs.features_label("GloVe", known)
    changed = replace(data, provenance={"published": False})
    assert runs.features_label("MMSA release", changed) == "MMSA release [not a file as published]"
    assert runs.features_label("synthetic", data) == "synthetic"


def test_every_study_names_its_features_as_the_archive_is_known():
    known = set(pd.read_csv(runs.ROOT / "data" / "archives.csv")["features"])
    for path in sorted((runs.ROOT / "notebooks" / "studies").glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text()):
            parameters = entry.get("parameters", {})
            if parameters.get("archive", "").endswith(".npz") and "mmimdb_clip" not in parameters["archive"]:
                assert any(parameters["features"].startswith(name) for name in known), (
                    path.name,
                    parameters["features"],
                )


@pytest.mark.slow
def test_papermill_by_hand_fails_on_unknown_parameters_too(tmp_path):
    import papermill

    nb = notebook(tmp_path, RECORDING)
    run = {"output_path": str(tmp_path / "out.ipynb"), "progress_bar": False, "kernel_name": "python3"}
    papermill.execute_notebook(str(nb), parameters={"value": 2.0}, **run)
    for parameters, message in (
        ({"valeu": 2.0}, "unknown parameter 'valeu'"),
        ({"seed": "x"}, "'seed' is 'x', expected int"),
    ):
        with pytest.raises(papermill.PapermillExecutionError, match=message):
            papermill.execute_notebook(str(nb), parameters=parameters, **run)


@pytest.mark.slow
def test_a_failing_cell_and_a_killed_kernel_are_failures(tmp_path):
    failing = notebook(tmp_path, "raise ValueError('no such film')", name="failing.ipynb")
    with pytest.raises(runs.RunError, match="ValueError: no such film"):
        runs.run_notebook(failing, tmp_path / "failing", {})
    killed = notebook(
        tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", RECORDING, name="killed.ipynb"
    )
    with pytest.raises(runs.RunError, match="the kernel was killed"):
        runs.run_notebook(killed, tmp_path / "killed", {})
    silent = notebook(tmp_path, "value", name="silent.ipynb")
    with pytest.raises(runs.RunError, match="finished without a record"):
        runs.run_notebook(silent, tmp_path / "silent", {})


@pytest.mark.parametrize(
    "line, value, message",
    [
        ("lrs: list = [1e-3]", ["5e-4"], r"'lrs' is \['5e-4'\], expected numbers \(YAML writes 5.0e-4, not 5e-4\)"),
        ("pairs: list = [[1, 0.5]]", [[1, "x"]], "'pairs' is .*, expected numbers"),
        ("names: list = []", "a", "'names' is 'a', expected list"),
        ("size: int | None = None", "abc", "'size' is annotated int | None; use int, float, str, bool, list"),
        ("size: int", 3, "its parameters cell has more than lines of `name: type = literal`"),
        ("sizes: list = [1] * 2", [3], "its parameters cell has more than lines"),
        ("%matplotlib inline\nsize: int = 1", 3, "its parameters cell has more than lines"),
        ("lr: float = 1.0", float("inf"), "parameter 'lr' is inf; give a finite number"),
        ("lrs: list = [1.0]", [1.0, float("nan")], "parameter 'lrs' is nan; give a finite number"),
        (
            "protocol: str = 'complete'",
            "availble(text)",
            "parameter 'protocol': .*unknown; write a name such as complete",
        ),
        ("holes: list = []", ["complete", "rate(2)"], "parameter 'holes': "),
        ("scale: str = 'a'  # [a | b c]", "b", "parameter 'scale': 'b' is not one of a, b c"),
        (
            "decays: list = []  # or [none | plateau]; more",
            ["none", "plato"],
            "'plato' is not one of none, plateau; did you",
        ),
        ("kinds: list = []  # more\n# of [a, b | on *\n# | c]", ["on audio", "d"], r"'d' is not one of a, b, on \*, c"),
    ],
)
def test_values_in_lists_and_what_no_check_can_read(line, value, message, tmp_path):
    nb = notebook(tmp_path, RECORDING)
    book = nbformat.read(nb, 4)
    book.cells[0].source = line
    nbformat.write(book, nb)
    (name,) = re.findall(r"^(\w+):", line, re.M)
    with pytest.raises(runs.RunError, match=message):
        runs.check_parameters(nb, {name: value})


def test_lists_of_numbers_may_hold_others_and_other_lists_anything(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    book = nbformat.read(nb, 4)
    book.cells[0].source = "lrs: list = [1e-3]\nnames: list = ['a']\nnothing: list = []"
    nbformat.write(book, nb)
    runs.check_parameters(nb, {"lrs": [1, 0.5], "names": ["b", "c"], "nothing": [[1, "x"]]})
    runs.check_parameters(nb, {"lrs": []})
    book.cells[0].source = "kinds: list = []  # [a | b]\nprotocol: str = ''\nplain: str = 'x'  # a [note], no choice"
    nbformat.write(book, tmp_path / "other.ipynb")
    given = {"kinds": ["a", "b"], "protocol": "rates(text=0.1, audio=0.6)", "plain": "y"}
    runs.check_parameters(tmp_path / "other.ipynb", given)
