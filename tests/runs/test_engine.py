"""Where runs are executed, as far as it can be seen without executing any: options of SLURM, GPUs, numbers of workers."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import dask
import pytest

from mmlib import runs
from mmlib.runs import engine
from mmlib.runs.__main__ import _pairs, _slurm_value
from mmlib.runs.versions import Version


@pytest.mark.parametrize(
    "given, value",
    [
        ("walltime=12:00:00", "12:00:00"),
        ("walltime=04:00:00", "04:00:00"),
        ("account=0123", "0123"),
        ("queue=on", "on"),
        ("cores=4", 4),
        ("processes=0", 0),
        ("job_extra_directives=['--gres=gpu:1', --exclusive]", ["--gres=gpu:1", "--exclusive"]),
        ("scheduler_options={port: 8786}", {"port": 8786}),
    ],
)
def test_options_of_slurm_are_text_unless_they_cannot_be(given, value):
    assert list(_pairs("--slurm", [given], _slurm_value).values()) == [value]


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A SLURM of which only sbatch is there: it does with a script what a test says."""

    def does(line):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / "sbatch").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return does


def test_what_slurm_does_not_take_is_an_error_at_once(tmp_path, sbatch):
    sbatch("echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    with pytest.raises(
        runs.RunError, match="does not take .*job.sh: sbatch: error: invalid partition specified: nowhere"
    ):
        engine.slurm(1, 1, {"queue": "nowhere", "interface": "lo"}, tmp_path / "jobs")
    assert "#SBATCH -p nowhere" in (tmp_path / "jobs" / "job.sh").read_text()
    with pytest.raises(runs.RunError, match="--slurm: .*wall_time"):
        engine.slurm(1, 1, {"wall_time": "1"}, tmp_path / "jobs")


def test_a_study_on_slurm_can_be_interrupted_and_one_directive_is_a_list(tmp_path, sbatch):
    sbatch("exit 1")
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(runs.RunError):
            engine.slurm(1, 1, {"job_extra_directives": "--gres=gpu:1", "interface": "lo"}, tmp_path / "jobs")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "#SBATCH --gres=gpu:1\n" in (tmp_path / "jobs" / "job.sh").read_text()


@pytest.mark.parametrize("inherited, expected", [(None, ["0", "1", "0", "1"]), ("2,3", ["2", "3", "2", "3"])])
def test_one_gpu_for_each_worker_of_those_that_are_ours(monkeypatch, inherited, expected):
    found = []
    for name in range(4):  # each worker is a process of its own
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if inherited:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
        engine.OneGPU(2).setup(SimpleNamespace(name=name))
        found.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert found == expected
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    engine.OneGPU(0).setup(SimpleNamespace(name=0))
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_record_may_be_seen_late(tmp_path, monkeypatch):
    run = runs.Run(tmp_path / "a.ipynb", tmp_path / "run", {}, Version({}))
    run.folder.mkdir()
    monkeypatch.setattr(engine.time, "sleep", lambda _: (run.folder / "record.json").touch())
    assert engine._seen(run)
    (run.folder / "record.json").unlink()
    monkeypatch.setattr(engine, "_SEEN", 0)
    assert not engine._seen(run)


def test_a_worker_does_not_import_torch():
    code = "import sys, mmlib.runs.engine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", "it only waits for its kernel, and torch takes longer than all the rest"


def test_workers_that_wait_do_not_look_at_themselves(monkeypatch):
    """Ten times a second is Dask's own setting; of each worker and of the study it costs 3 % of a core."""
    inherited = {}  # workers get the configuration that is there when their cluster is made

    def cluster(**options):
        inherited.update(dask.config.get("distributed"))
        raise OSError("no cluster in this test")

    monkeypatch.setattr(engine, "LocalCluster", cluster)
    with dask.config.set({}), pytest.raises(runs.RunError, match="no cluster in this test"):
        engine.local(1, 1)
    assert inherited["worker"]["profile"]["enabled"] is False and inherited["admin"]["tick"]["interval"] == "1s"
