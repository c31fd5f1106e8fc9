"""A run counts when its record is there, and only then. Studies and their engine: test_studies.py."""

import json

import nbformat
import numpy as np
import pandas as pd
import pytest

from mmlib import runs
from mmlib.data import synthetic
from tests.helpers.notebooks import RECORDING, notebook

LABELS = {
    "paper": "test", "dataset": "d", "features": "f", "method": "m", "variant": "v", "protocol": "p", "condition": "c",
    "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return synthetic.like("mosi", dim=2, length=2).sample({"train": 4, "valid": 2, "test": 2})


def test_record_holds_rows_and_everything_to_repeat_them(data, tmp_path):
    rows = runs.score_rows({"mae": 0.5, "corr": 0.1}, **LABELS)
    path = runs.record(tmp_path / "run", rows, data, {"lr": 1e-3})
    content = json.loads(path.read_text())
    assert content["rows"] == [{**LABELS, "metric": "mae", "value": 0.5}, {**LABELS, "metric": "corr", "value": 0.1}]
    run = content["run"]
    assert run["parameters"] == {"lr": 1e-3} and run["data"]["fingerprint"] == data.fingerprint
    assert set(run["versions"]) == {"torch", "numpy", "scikit-learn", "scipy"} and run["peak_memory_mib"] > 50
    assert [p.name for p in path.parent.iterdir()] == ["record.json"], "no temporary file stays"
    with pytest.raises(runs.RunError, match="never overwritten"):
        runs.record(tmp_path / "run", rows, data, {})
    assert json.loads(path.read_text()) == content


def test_rows_must_be_complete(data, tmp_path):
    with pytest.raises(runs.RunError, match="exactly the columns"):
        runs.record(tmp_path, [{"metric": "mae", "value": 1.0}], data, {})
    with pytest.raises(runs.RunError, match="'metod' is not one of"):
        runs.score_rows({"mae": 1.0}, metod="x")
    assert not (tmp_path / "record.json").exists()


def test_collect_joins_records(data, tmp_path):
    for seed in (0, 1):
        runs.record(tmp_path / str(seed), runs.score_rows({"mae": seed}, **{**LABELS, "seed": seed}), data, {})
    frame = runs.collect([tmp_path / "0", tmp_path / "unfinished", tmp_path / "1"])
    assert frame["value"].tolist() == [0, 1] and frame["run"].tolist() == ["0", "1"]
    with pytest.raises(runs.RunError, match=r"no record.json in any"):
        runs.collect([tmp_path / "nothing"])


def test_by_pattern_by_hand():
    values = {
        "available(text)": (0.5, 0.7),
        "available(audio)": (0.2, 0.4),
        "complete": (0.9, 0.9),
        "frames(0.5)": (0, 0),
    }
    rows = [
        {"method": method, "variant": variant, "condition": c, "metric": metric, "seed": seed, "value": scores[seed]}
        for c, scores in values.items() for seed in (0, 1) for metric in ("f1", "mae")
        for method, variant in (("UMDF", "x"), ("best single modality", "text" if seed else "audio"))
    ]  # fmt: skip
    table = rows.by_pattern(pd.DataFrame(rows), "f1")
    assert list(table.columns) == ["text", "audio", "missing", "complete"]
    expected = ["60.0 ± 14.1", "30.0 ± 14.1", "45.0 ± 14.1", "90.0 ± 0.0"]
    assert (
        table.loc[("UMDF", "x")].tolist() == expected and table.loc[("best single modality", "")].tolist() == expected
    )
    assert rows.by_pattern(pd.DataFrame(rows), "mae").loc[("UMDF", "x"), "text"] == "0.600 ± 0.141"


def test_mean_and_deviation_by_hand():
    rows = pd.DataFrame(
        {"method": ["b", "b", "a"], "condition": ["x", "x", "x"], "value": [1.0, 2.0, 5.0], "seed": [0, 1, 0]}
    )
    table = rows.mean_and_deviation(rows, "method", "condition")
    assert table["x"].to_dict() == {"b": f"1.500 ± {np.sqrt(0.5):.3f}", "a": "5.000"}
    assert list(table.index) == ["b", "a"], "order of appearance, not of the alphabet"


def test_execute_runs_once_and_returns_the_record(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    path = runs.execute(nb, tmp_path / "run", {"value": 3.0})
    assert json.loads(path.read_text())["rows"][0]["value"] == 3.0
    stamp = path.stat().st_mtime_ns
    assert runs.execute(nb, tmp_path / "run", {"value": 3.0}).stat().st_mtime_ns == stamp, "a finished run is kept"
    with pytest.raises(runs.RunError, match="is of a run with value=3.0, not 4.0; choose another"):
        runs.execute(nb, tmp_path / "run", {"value": 4.0})


def test_unknown_parameters_fail_before_anything_starts(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    with pytest.raises(runs.RunError, match="unknown parameter 'vallue'; it takes value, method, seed, out_dir"):
        runs.execute(nb, tmp_path / "run", {"vallue": 3.0})
    assert not (tmp_path / "run").exists()
    lost = notebook(tmp_path, RECORDING, tag="parametres", name="lost.ipynb")
    with pytest.raises(runs.RunError, match="no cell is tagged 'parameters'"):
        runs.execute(lost, tmp_path / "run", {})
    for value, kind in ((["3"], "float"), ("3", "float"), (True, "float")):
        with pytest.raises(runs.RunError, match=f"'value' is .*, expected {kind}"):
            runs.execute(nb, tmp_path / "run", {"value": value})
    with pytest.raises(runs.RunError, match="no notebook"):
        runs.execute(tmp_path / "none.ipynb", tmp_path / "run", {})


def test_papermill_by_hand_fails_on_unknown_parameters_too(tmp_path):
    import papermill

    nb = notebook(tmp_path, "from mmlib import runs\nruns.check_injected(In)", RECORDING)
    run = {"output_path": str(tmp_path / "out.ipynb"), "progress_bar": False, "kernel_name": "python3"}
    papermill.execute_notebook(str(nb), parameters={"value": 2.0}, **run)
    for parameters, message in (
        ({"valeu": 2.0}, "unknown parameter 'valeu'"),
        ({"seed": "x"}, "'seed' is 'x', expected int"),
    ):
        with pytest.raises(papermill.PapermillExecutionError, match=message):
            papermill.execute_notebook(str(nb), parameters=parameters, **run)


def test_a_failing_cell_and_a_killed_kernel_are_failures(tmp_path):
    failing = notebook(tmp_path, "raise ValueError('no such film')", name="failing.ipynb")
    with pytest.raises(runs.RunError, match="ValueError: no such film"):
        runs.execute(failing, tmp_path / "failing", {})
    killed = notebook(
        tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", RECORDING, name="killed.ipynb"
    )
    with pytest.raises(runs.RunError, match="the kernel was killed"):
        runs.execute(killed, tmp_path / "killed", {})
    silent = notebook(tmp_path, "value", name="silent.ipynb")
    with pytest.raises(runs.RunError, match="finished without a record"):
        runs.execute(silent, tmp_path / "silent", {})


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
    ],
)
def test_values_in_lists_and_what_no_check_can_read(line, value, message, tmp_path):
    nb = notebook(tmp_path, RECORDING)
    book = nbformat.read(nb, 4)
    book.cells[0].source = line
    nbformat.write(book, nb)
    name = line.splitlines()[-1].partition(":")[0]
    with pytest.raises(runs.RunError, match=message):
        runs.check_parameters(nb, {name: value})


def test_lists_of_numbers_may_hold_others_and_other_lists_anything(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    book = nbformat.read(nb, 4)
    book.cells[0].source = "lrs: list = [1e-3]\nnames: list = ['a']\nnothing: list = []"
    nbformat.write(book, nb)
    runs.check_parameters(nb, {"lrs": [1, 0.5], "names": ["b", "c"], "nothing": [[1, "x"]]})
    runs.check_parameters(nb, {"lrs": []})
