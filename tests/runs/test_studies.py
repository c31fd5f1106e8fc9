"""Studies and their engine: what runs, what is skipped, and that nothing finished is lost, whoever is killed when."""

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import nbformat
import pandas as pd
import psutil
import pytest

from mmlib import runs
from mmlib.runs.__main__ import main
from mmlib.runs.execution import Outcome, try_run
from mmlib.runs.progress import Progress, compare_with_oracle, first_scores
from tests.helpers.notebooks import RECORDING, WRITING, notebook, study

pytestmark = pytest.mark.slow
SMOKE = runs.ROOT / "notebooks" / "studies" / "smoke.yaml"


def records(out):
    return sorted(out.glob("*/record.json"))


def command(study, out, *options):
    return [sys.executable, "-m", "mmlib.runs", str(study), "--out", str(out), *options]


def interruptible():
    """A test run in the background ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(study, out, *options):
    log = open(out.with_suffix(".log"), "w")
    call = command(study, out, *options)
    return subprocess.Popen(call, stdout=log, stderr=log, start_new_session=True, preexec_fn=interruptible)


# --- what a study is


def test_plan_expands_the_grid_and_names_runs_by_their_point(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    entries = [
        {"notebook": str(nb), "parameters": {"method": "x"}, "grid": {"value": [1.0, 2.0], "seed": [0, 1]}},
        {"notebook": str(nb)},
    ]
    planned = runs.plan(study(tmp_path, entries), tmp_path / "out")
    assert [r.parameters for r in planned[:2]] == [
        {"method": "x", "value": 1.0, "seed": 0},
        {"method": "x", "value": 1.0, "seed": 1},
    ]
    assert len({r.folder for r in planned}) == 5 and planned[0].folder.name.startswith("tiny-value=1.0,seed=0-")
    changed = runs.plan(study(tmp_path, entries[:1]), tmp_path / "out", {"seed": 7})
    assert [r.parameters["seed"] for r in changed] == [7, 7], "a value given by hand replaces the axis"
    assert not (tmp_path / "out").exists(), "planning writes nothing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- notebook: NB\n  parameters: {valeu: 1}",
            r"unknown parameter 'valeu'; did you mean 'value'\? it takes value, method, seed, out_dir",
        ),
        ("- notebook: NB\n  grid: {seed: [0, x]}", "parameter 'seed' is 'x', expected int"),
        ("- notebook: 3", "notebook is 3, it must be text"),
        ("- notebook: NB\n  parameters: [1]", r"parameters is \[1\], it must be NAME: value"),
        ("- notebook: NB\n  grid: [1]", r"grid is \[1\], it must be NAME: value"),
        ("- notebook: NB\n- notebook: absent.ipynb", "no notebook .*absent.ipynb"),
        ("- notebook: NB\n  grd: {}", "entry 1: unknown key 'grd'; an entry has notebook, parameters, grid"),
        ("- parameters: {}", "entry 1: an entry without notebook"),
        ("- notebook: NB\n  grid: {seed: 3}", "grid 'seed' is 3, it must be a list"),
        ("- notebook: NB\n  grid: {seed: []}", "it must be a list of values"),
        ("- notebook: NB\n- notebook: NB", "is there twice"),
        ("notebook: NB", "a study is a list of entries"),
        ("", "a study is a list of entries"),
        ("- {", "is not YAML"),
        ("- notebook: NB\n  parameters: {method: $NO_SUCH_FOLDER/a.npz}", "no NO_SUCH_FOLDER; set it"),
        ("- notebook: NB\n  parameters: {method: $THERE/a.npz}", "there is no .*/a.npz"),
        ("- notebook: NB\n  parameters: {method: a.npz}", "method is a.npz, and there is no a.npz"),
    ],
)
def test_a_wrong_study_starts_nothing(text, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("THERE", str(tmp_path))
    nb = notebook(tmp_path, RECORDING)
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("NB", str(nb)))
    with pytest.raises(runs.RunError, match=message):
        runs.plan(path, tmp_path / "out")
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert str(path) in (told := capsys.readouterr().err) or str(nb) in told or "absent" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_a_file_that_is_no_notebook_is_a_clear_error(content, tmp_path):
    (tmp_path / "x.ipynb").write_text(content)
    with pytest.raises(runs.RunError, match="x.ipynb is not a notebook of format 4"):
        runs.plan(study(tmp_path, [{"notebook": str(tmp_path / "x.ipynb")}]), tmp_path / "out")


def test_a_missing_study_and_wrong_options_are_clear_errors(tmp_path, capsys):
    path = study(tmp_path, [{"notebook": str(notebook(tmp_path, RECORDING))}])
    for arguments, message in [
        ([str(tmp_path / "none.yaml")], "no study"),
        ([str(path), "--set", "seed"], "--set seed: it must be NAME=VALUE"),
        ([str(path), "--set", "seed=["], "is not YAML"),
        ([str(path), "--only", "*seed=9*"], "no run matches"),
        ([str(path), "--kernel", "cobol"], "no Jupyter kernel 'cobol' here; there are"),
        ([str(path), "--slurm", "memory"], "--slurm memory: it must be NAME=VALUE"),
    ]:
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_a_wrong_number_of_workers_is_an_error(workers, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(SMOKE), "--out", str(tmp_path / "out"), f"--workers={workers}"])
    assert "is not a number of workers" in capsys.readouterr().err


def test_relative_paths_are_the_caller_s_and_variables_are_replaced(tmp_path, monkeypatch):
    (tmp_path / "books").mkdir()
    nb = notebook(tmp_path / "books", RECORDING)
    (tmp_path / "features.npz").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMLIB_DATA", str(tmp_path))
    for value in ("features.npz", "$MMLIB_DATA/features.npz", "${MMLIB_DATA}/features.npz"):
        (run,) = runs.plan(study(tmp_path, [{"notebook": str(nb), "parameters": {"method": value}}]), tmp_path / "out")
        assert run.parameters["method"] == str(tmp_path / "features.npz")


def test_a_study_lies_anywhere_with_its_notebooks_and_data(tmp_path, monkeypatch):
    """Outside the project: a notebook beside the study or in the folder above it, an archive beside the study."""
    (tmp_path / "mine" / "studies").mkdir(parents=True)
    beside = notebook(tmp_path / "mine" / "studies", RECORDING, name="beside.ipynb")
    above = notebook(tmp_path / "mine", RECORDING, name="above.ipynb")
    (tmp_path / "mine" / "studies" / "features.npz").touch()
    entries = [{"notebook": p.name, "parameters": {"method": "features.npz"}} for p in (beside, above)]
    path = study(tmp_path / "mine" / "studies", entries)
    for folder in (tmp_path, tmp_path / "mine", "/"):
        monkeypatch.chdir(folder)
        planned = runs.plan(path, tmp_path / "out")
        assert [run.notebook for run in planned] == [beside, above]
        assert {run.parameters["method"] for run in planned} == {str(tmp_path / "mine" / "studies" / "features.npz")}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features.npz").touch()
    assert runs.plan(path, tmp_path / "out")[0].parameters["method"] == str(tmp_path / "features.npz"), (
        "the caller's first"
    )


def test_another_version_of_notebook_code_or_data_is_another_run(tmp_path, monkeypatch):
    nb, data = notebook(tmp_path, RECORDING), tmp_path / "features.npz"
    data.write_bytes(b"one")
    path = study(tmp_path, [{"notebook": str(nb), "parameters": {"method": str(data)}}])

    def name():
        return runs.plan(path, tmp_path / "out")[0].folder.name

    first = name()
    assert name() == first and first.startswith("tiny-method=features-")
    (tmp_path / "elsewhere").mkdir()
    moved = data.rename(tmp_path / "elsewhere" / "features.npz")
    study(tmp_path, [{"notebook": str(nb), "parameters": {"method": str(moved)}}])
    assert name() == first, "where a file lies does not matter"
    study(tmp_path, [{"notebook": str(nb), "parameters": {"method": str(data)}}])
    data.write_bytes(b"two")
    second = name()
    book = nbformat.read(nb, 4)
    book.cells.append(nbformat.v4.new_markdown_cell("words change no number"))
    nbformat.write(book, nb)
    assert name() == second != first
    book.cells.append(nbformat.v4.new_code_cell("1"))
    nbformat.write(book, nb)
    third = name()
    monkeypatch.setattr("mmlib.runs.versions.library_hash", lambda *_: "changed")
    assert len({first, second, third, name()}) == 4


def test_code_that_changed_after_planning_is_not_run(tmp_path):
    nb = notebook(tmp_path, RECORDING)
    (run,) = runs.plan(study(tmp_path, [{"notebook": str(nb)}]), tmp_path / "out")
    notebook(tmp_path, "1", RECORDING)
    outcome = try_run(run)
    assert outcome.state == "failed" and "code of the notebook is not what the study was planned with" in outcome.error


# --- what one call does


def test_a_study_skips_what_is_finished_and_says_what_failed(tmp_path, capsys):
    nb = notebook(tmp_path, "assert value != 2, 'two is | too much'", WRITING)
    path = study(tmp_path, [{"notebook": str(nb), "grid": {"value": [1.0, 2.0], "seed": [0, 1]}}])
    out = tmp_path / "out"
    arguments = [str(path), "--out", str(out), "--workers", "2", "--results", str(tmp_path / "r.csv")]
    assert main([*arguments, "--dry-run"]) == 0
    assert "4 runs, 0 of them finished" in capsys.readouterr().out and not out.exists()
    assert main(arguments) == 1
    told, watched = capsys.readouterr()
    assert "2 runs finished, 2 failed" in told
    assert (
        len(re.findall(r"tiny-value=1.0,seed=\d-\w+ finished in \d+ s; mae: a 1.000\n +/.*run.ipynb\n", watched)) == 2
    )
    assert len(re.findall(r"tiny-value=2.0,seed=\d-\w+ failed in \d+ s\n", watched)) == 2
    assert "tiny-value=1.0,seed=0, tiny-value=1.0,seed=1: " in watched, "the bar names what runs"
    failed = [line for line in told.splitlines() if "AssertionError" in line]
    assert len(failed) == 2 and all(line.startswith("| tiny-value=2.0,seed=") for line in failed)
    assert r"| 3 | AssertionError: two is \| too much |" in failed[0], failed
    frame = pd.read_csv(tmp_path / "r.csv.partial")
    assert sorted(frame[["value", "seed"]].values.tolist()) == [[1.0, 0], [1.0, 1]]
    for folder in out.iterdir():
        assert {"params.json", "run.ipynb", "log.txt"} <= {p.name for p in folder.iterdir()}
        assert ("AssertionError" in (folder / "log.txt").read_text()) == ("value=2.0" in folder.name)
        asked = json.loads((folder / "params.json").read_text())
        assert asked["notebook"] == "tiny.ipynb" and len(asked["version"]["code of mmlib"]) == 64
    stamps = [p.stat().st_mtime_ns for p in records(out)]
    assert main([*arguments, "--only", "*value=1.0*"]) == 0
    assert [p.stat().st_mtime_ns for p in records(out)] == stamps, "finished runs are kept"
    assert main([*arguments, "--only", "*value=1.0,seed=0*", "--force"]) == 0
    after = [p.stat().st_mtime_ns for p in records(out)]
    assert after[0] != stamps[0] and after[1] == stamps[1]
    assert len(list((out / "replaced").glob("*/record.json"))) == 1, "nothing finished is lost"
    assert len(runs.collect(out)) == 2, "what was replaced does not count"


def test_the_report_keeps_data_sets_and_their_metrics_apart():
    scores = {("a", "mae"): 1.0, ("a", "corr"): 9.0, ("b", "accuracy"): 9.0, ("b", "ua"): 3.0}
    rows = [
        {"paper": "p", "dataset": d, "protocol": "c", "condition": c, "method": m, "variant": "", "metric": k, "seed": s,
         "role": "test", "value": w + at}
        for (d, k), v in scores.items() for c, at in (("x", 0), ("y", 10)) for s in (0, 1)
        for m, w in (("m", v + s), ("oracle", 7 * v)) if (m, c, d) != ("oracle", "y", "b")
    ]  # fmt: skip
    table = compare_with_oracle(pd.DataFrame(rows))
    assert table[["dataset", "metric", "method", "test conditions", "score", "oracle"]].values.tolist() == [
        ["a", "mae", "m", 2, f"6.500 ± {0.5**0.5:.3f}", "12.000"],
        ["b", "ua", "m", 2, f"8.500 ± {0.5**0.5:.3f}", ""],  # no oracle under y, so none to compare with
    ]


def test_a_run_that_ends_is_told_in_a_line():
    scores = [("a", "SIM-C", "", 0.7), ("a", "SIM-C", "zeros", 0.6), ("a", "prior", "", 0.5), ("a", "coin", "", 0.4)]
    scores += [("a", "oracle", "", 0.9), ("b", "SIM-C", "", 0.1)]
    same = {"paper": "p", "protocol": "c", "condition": "x", "seed": 0, "role": "test", "metric": "mae"}
    rows = pd.DataFrame(
        [{**same, "dataset": d, "method": m, "variant": v, "value": value} for d, m, v, value in scores]
    )
    assert first_scores(rows) == "mae: SIM-C 0.700; SIM-C, zeros 0.600; prior 0.500; 1 more; oracle 0.900"
    assert first_scores(rows[rows["method"] != "oracle"]) == "mae: SIM-C 0.700; SIM-C, zeros 0.600; prior 0.500; 1 more"
    assert first_scores(rows.assign(metric="time")) == "no test scores"
    assert first_scores(pd.DataFrame()) == "no test scores"


@pytest.mark.parametrize("record", ["{half", '{"run": {}, "rows": []}', "{}"])
def test_a_bad_record_of_one_run_does_not_end_the_others(record, tmp_path, capsys):
    folder = tmp_path / "tiny-1234"
    folder.mkdir()
    (folder / "record.json").write_text(record)
    progress = Progress(2, 0, [])
    progress.began(SimpleNamespace(folder=folder))
    progress.ended(Outcome(folder.name, "finished"))
    progress.close()
    assert re.search(
        r"tiny-1234 finished in 0 s; (its record cannot be read|no test scores)\n", capsys.readouterr().err
    )


def test_a_thousand_finished_runs_are_resumed_in_five_seconds(tmp_path, capsys):
    nb = notebook(tmp_path, WRITING)
    path = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": list(range(1000))}}])
    labels = dict.fromkeys(("paper", "dataset", "features", "method", "variant", "protocol", "condition"), "x")
    for run in runs.plan(path, tmp_path / "out"):
        run.folder.mkdir(parents=True)
        rows = [{**labels, "metric": f"m{i}", "seed": run.parameters["seed"], "value": i / 7} for i in range(100)]
        content = {"run": {"commit": "c", "data": {"fingerprint": "f"}}, "rows": rows}
        (run.folder / "record.json").write_text(json.dumps(content))
        asked = {"notebook": nb.name, "parameters": run.parameters, "version": run.version.hashes}
        (run.folder / "params.json").write_text(json.dumps(asked))
    began = time.process_time()
    assert main([str(path), "--out", str(tmp_path / "out"), "--results", str(tmp_path / "r.csv")]) == 0
    assert time.process_time() - began <= 5
    assert "1000 runs finished, 0 failed" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "r.csv")) == 100_000


def test_collect_refuses_to_count_a_run_twice_and_what_is_no_record(tmp_path):
    nb = notebook(tmp_path, WRITING)
    path = study(tmp_path, [{"notebook": str(nb)}])
    (first,) = runs.plan(path, tmp_path / "out")
    assert try_run(first).state == "finished"
    notebook(tmp_path, "1", WRITING)
    (second,) = runs.plan(path, tmp_path / "out")
    assert try_run(second).state == "finished"
    with pytest.raises(runs.RunError, match="the same run by two versions"):
        runs.collect(tmp_path / "out")
    assert len(runs.collect([second.folder])) == len(runs.collect(second.folder)) == 1
    (second.folder / "record.json").write_text('{"rows": [')
    with pytest.raises(runs.RunError, match="record.json is damaged"):
        runs.collect([second.folder])


def test_a_run_that_another_process_has_in_hand_is_left_to_it(tmp_path):
    nb = notebook(tmp_path, WRITING)
    (run,) = runs.plan(study(tmp_path, [{"notebook": str(nb)}]), tmp_path / "out")
    run.folder.mkdir(parents=True)
    with open(run.folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert try_run(run).state == "busy" and not run.finished
    assert try_run(run).state == "finished"


def test_two_calls_at_once_share_the_work(tmp_path):
    nb = notebook(tmp_path, "import time\ntime.sleep(0.5)", WRITING)
    path, out = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1, 2]}}]), tmp_path / "out"
    both = [start(path, out, "--workers", "2") for _ in range(2)]
    assert [p.wait(200) for p in both] == [0, 0], out.with_suffix(".log").read_text()
    logs = [p.read_text() for p in out.glob("*/log.txt")]
    assert len(records(out)) == 3 and sum(text.count("finished, ") for text in logs) == 3, "each ran once"


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing_that_is_finished(tmp_path, small_disk, capsys):
    nb = notebook(tmp_path, "open(out_dir + '/big', 'wb').write(bytes(150_000 * seed))", WRITING)
    path = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1, 2]}}])
    arguments = [str(path), "--out", str(small_disk / "out"), "--workers", "1"]
    assert main(arguments) == 1
    told, kept = capsys.readouterr().out, records(small_disk / "out")
    assert "No space left on device" in told and 1 <= len(kept) < 3, told
    before = kept[0].read_text()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert main(arguments) == 0
    assert kept[0].read_text() == before and len(records(small_disk / "out")) == 3


# --- kills


def command_line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


def victims(process, kind):
    """Processes below a call: workers, the kernels below them, or the call itself, which holds the scheduler."""
    if kind == "scheduler":
        return [process]
    below = process.children(recursive=True)
    kernels = [p for p in below if "ipykernel_launcher" in command_line(p)]
    if kind == "kernel":
        return kernels
    return [p for p in below if "spawn_main" in command_line(p)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["kernel", "worker", "scheduler"])
def test_after_a_kill_a_second_call_completes_the_study(kind, tmp_path, capsys):
    """Two runs of a second and one that fails."""
    writing = RECORDING if kind == "kernel" else WRITING  # the kernel itself may die while it writes its record
    nb = str(notebook(tmp_path, "import time\ntime.sleep(1)\nassert value != 2", writing))
    entries = [{"notebook": nb, "grid": {"seed": [0, 1]}}, {"notebook": nb, "parameters": {"value": 2.0}}]
    three_runs, out = study(tmp_path, entries), tmp_path / "out"
    call = start(three_runs, out, "--workers", "2")
    process, deadline = psutil.Process(call.pid), time.monotonic() + 120
    while not victims(process, "kernel") and time.monotonic() < deadline:
        time.sleep(0.05)
    delay = random.SystemRandom().uniform(0, 6)
    time.sleep(delay)
    everyone = process.children(recursive=True)
    finished = {p: p.read_text() for p in records(out)}
    hit = [p.pid for p in victims(process, kind)[:1]]
    for pid in hit:
        os.kill(pid, signal.SIGKILL)
    if kind == "scheduler":
        call.wait()
        gone, alive = psutil.wait_procs(everyone, timeout=30)
        assert not alive, f"killed after {delay:.2f} s, still there: {alive}"
    else:
        assert call.wait(400) == 1
    told = out.with_suffix(".log").read_text()
    if kind == "worker" and hit:
        assert "2 runs finished, 1 failed" in told, f"another worker takes over (killed after {delay:.2f} s): {told}"
    assert main([str(three_runs), "--out", str(out), "--workers", "2"]) == 1
    again = capsys.readouterr()
    assert "2 runs finished, 1 failed" in again.out, f"killed after {delay:.2f} s: {again.out}{again.err}"
    assert all(p.read_text() == text for p, text in finished.items()), "what was finished stays as it was"
    rows = runs.collect(out)[["dataset", "method", "condition", "metric", "seed", "value"]]
    assert sorted(rows.values.tolist()) == [["d", "a", "p", "mae", 0, 1.0], ["d", "a", "p", "mae", 1, 1.0]]


def test_ctrl_c_stops_cleanly_and_the_next_call_goes_on(tmp_path):
    nb = notebook(tmp_path, "import time\ntime.sleep(8 * seed)", WRITING)
    out = tmp_path / "out"
    path = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1]}}])
    call = start(path, out, "--workers", "1")
    deadline = time.monotonic() + 120
    while not records(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    everyone = psutil.Process(call.pid).children(recursive=True)
    os.kill(call.pid, signal.SIGINT)
    assert call.wait(60) == 130
    assert not psutil.wait_procs(everyone, timeout=30)[1], "no kernel outlives the call"
    told = out.with_suffix(".log").read_text()
    assert "1 runs finished, 0 failed, 1 not run; call again to go on" in told and "Traceback" not in told, told
    assert main([str(path), "--out", str(out), "--workers", "1"]) == 0


def test_a_scheduler_elsewhere_that_dies_costs_the_running_runs_alone(tmp_path):
    nb = notebook(tmp_path, "import time\ntime.sleep(3600 * (seed == 1))", WRITING)
    path, out = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1]}}]), tmp_path / "out"
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*dask, "--no-dashboard", "--scheduler-file", str(address)], **quiet)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*worker, "--scheduler-file", str(address)], **quiet)
    deadline = time.monotonic() + 120
    try:
        while not address.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        call = start(path, out, "--scheduler", json.loads(address.read_text())["address"])
        while not records(out) and time.monotonic() < deadline:
            time.sleep(0.05)
        scheduler.kill()
        assert call.wait(120) == 1
        told = out.with_suffix(".log").read_text()
        assert "the Dask scheduler is lost" in told and "1 runs finished, 0 failed, 1 not run" in told, told
    finally:
        scheduler.kill()
        for p in psutil.Process(worker.pid).children(recursive=True):
            p.kill()
        worker.kill()
        worker.wait()
        scheduler.wait()


def test_a_run_that_kills_every_worker_fails_alone(tmp_path, capfd):
    nb = notebook(tmp_path, "import os\nif seed == 0:\n    os.kill(os.getppid(), 9)", WRITING)
    path = study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1]}}])
    assert main([str(path), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    told = capfd.readouterr().out
    assert "1 runs finished, 1 failed" in told and "its worker died under it, again and again" in told
    (log,) = (tmp_path / "out").glob("*seed=0*/log.txt")
    assert log.read_text().count("tiny.ipynb on") == 3


def test_a_scheduler_that_does_not_answer_is_a_clear_error(tmp_path, capsys):
    path = study(tmp_path, [{"notebook": str(notebook(tmp_path, WRITING))}])
    assert main([str(path), "--out", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err


def test_nothing_is_set_aside_before_the_call_can_work(tmp_path, capsys):
    path, out = study(tmp_path, [{"notebook": str(notebook(tmp_path, WRITING))}]), tmp_path / "out"
    assert main([str(path), "--out", str(out), "--workers", "1"]) == 0
    for wrong, code in ((["--slurm", "memory"], 2), (["--scheduler", "tcp://127.0.0.1:9"], 1)):
        assert main([str(path), "--out", str(out), "--force", *wrong]) == code
        assert len(records(out)) == 1 and not (out / "replaced").exists()
    capsys.readouterr()
    assert main([str(path), "--out", str(out), "--force", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("to run")
    assert main([str(path), "--out", str(out), "--force", "--workers", "1"]) == 0
    assert len(records(out)) == 1 and len(list((out / "replaced").iterdir())) == 1


def test_results_are_whole_or_called_partial(tmp_path, capsys):
    nb = notebook(tmp_path, "assert seed != 2", WRITING)
    path, out, csv = (
        study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1]}}]),
        tmp_path / "out",
        tmp_path / "r.csv",
    )
    assert main([str(path), "--out", str(out), "--workers", "2", "--results", str(csv)]) == 0
    whole = csv.read_text()
    assert main([str(path), "--out", str(out), "--only", "*seed=1-*", "--results", str(csv)]) == 0
    assert csv.read_text() == whole and len(pd.read_csv(tmp_path / "r.csv.partial")) == 1
    study(tmp_path, [{"notebook": str(nb), "grid": {"seed": [0, 1, 2]}}])
    capsys.readouterr()
    (tmp_path / "r.csv.partial").unlink()
    (tmp_path / "r.csv.partial").mkdir()  # cannot be written to: the table of failures comes all the same
    assert main([str(path), "--out", str(out), "--workers", "1", "--results", str(csv)]) == 1
    told = capsys.readouterr()
    assert "2 runs finished, 1 failed" in told.out and "AssertionError" in told.out and "directory" in told.err
