"""SLURM itself, one node of it on this machine (tests/slurm/one_node.sh): its jobs, Dask's workers in them, its end."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mmlib import runs

SCRIPT = Path(__file__).parents[1] / "slurm" / "one_node.sh"
SECONDS = 600  # a command on the node has so many, then it is interrupted and still cleans up
INSTALLED = shutil.which("slurmctld", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS + 60),
    pytest.mark.skipif(
        not INSTALLED and os.environ.get("MMLIB_SLURM") != "1",
        reason="SLURM is not installed; with MMLIB_SLURM=1, as root on Debian, the test installs it",
    ),
]

Node = Callable[..., subprocess.CompletedProcess]

DASK = """
import os, sys
from dask.distributed import Client
from dask_jobqueue import SLURMCluster

def job(n):
    return n, os.environ["SLURM_JOB_ID"]

if __name__ == "__main__":
    with SLURMCluster(
        cores=1, memory="1GB", processes=1, interface="lo", log_directory=sys.argv[1],
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    ) as cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        print(*client.gather(client.map(job, range(3))))
"""

CANCEL = """
import subprocess, sys, time
from pathlib import Path

call = subprocess.Popen([sys.executable, *sys.argv[2:]])
while not any(p.read_text() for p in Path(sys.argv[1]).glob("*/log.txt")) and call.poll() is None:
    time.sleep(0.1)
working = subprocess.check_output(["squeue", "--noheader", "--states=R", "--format=%i"], text=True).split()
subprocess.check_call(["scancel", *working])
print("cancelled:", *working, flush=True)
sys.exit(call.wait())
"""


@pytest.fixture
def node() -> Node:
    """Runs a command on the node; returns what it wrote and its exit code. Skips where the script says so."""

    def run(*command: str | Path) -> subprocess.CompletedProcess:
        interrupt = ["timeout", "--foreground", "--signal=INT", str(SECONDS)]
        done = subprocess.run([*interrupt, SCRIPT, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.stdout.startswith("skipped: "):
            pytest.skip(done.stdout.removeprefix("skipped: ").strip())
        return done

    return run


def interruptible() -> None:
    """A test run in the background ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def left_of(folder: Path) -> list[int]:
    """Processes that know the node of this folder: its daemons and whatever its jobs started."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def test_a_command_runs_in_a_job_of_the_node(node):
    done = node("sh", "-c", "uname -n; srun hostname; srun printenv SLURM_JOB_ID")
    assert done.returncode == 0, done.stderr
    here, there, job = done.stdout.split()
    assert here == there and job == "2"


def test_a_failing_command_leaves_its_exit_code_and_the_logs_alone(node):
    done = node("sh", "-c", "dirname $SLURM_CONF; exit 3")
    folder = Path(done.stdout.strip())
    try:
        assert done.returncode == 3
        assert done.stderr.endswith(f"logs: {folder}/logs\n")
        assert [p.name for p in folder.iterdir()] == ["logs"]
        assert "Running as primary controller" in (folder / "logs" / "slurmctld.log").read_text()
        assert not left_of(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_daemons_and_jobs(node, how):
    node("true")  # skips where there is no node
    work = "dirname $SLURM_CONF; srun sh -c '(setsid sleep 300 >/dev/null 2>&1 &); echo started; sleep 300'"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [SCRIPT, "sh", "-c", work], stdout=pipe, stderr=pipe, text=True, preexec_fn=interruptible
    ) as process:
        try:
            folder = Path(process.stdout.readline().strip())
            assert process.stdout.readline() == "started\n" and len(left_of(folder)) >= 6
        finally:
            process.send_signal(how)
            process.communicate(timeout=60)
    shutil.rmtree(folder)
    assert process.returncode == 128 + how
    assert not left_of(folder)


def test_tasks_of_dask_run_in_jobs(node, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DASK)
    done = node(sys.executable, "-W", "error", program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(0, '1') (1, '1') (2, '1')"
    assert "Registered to:" in (tmp_path / "dask-worker-1.err").read_text()


def test_a_study_through_slurm_has_the_rows_of_a_direct_call(node, tmp_path):
    study = ["-m", "mmlib.runs", runs.ROOT / "notebooks/studies/smoke.yaml", "--only", "*seed=[01]*", "--workers", "2"]
    options = ["--slurm", "memory=2GB", "walltime=00:20:00", "interface=lo"]
    done = node(sys.executable, *study, "--out", tmp_path / "slurm", *options)
    assert done.returncode == 0 and "2 runs finished, 0 failed" in done.stdout, done.stdout + done.stderr
    subprocess.run([sys.executable, *study, "--out", tmp_path / "direct"], check=True, capture_output=True)
    pd.testing.assert_frame_equal(runs.collect(tmp_path / "slurm"), runs.collect(tmp_path / "direct"))
    assert len(list((tmp_path / "slurm" / "jobs").glob("dask-worker-*.err"))) >= 2


def test_a_cancelled_job_of_a_study_is_replaced_and_its_run_tried_again(node, tmp_path):
    out = tmp_path / "out"
    study = ["-m", "mmlib.runs", runs.ROOT / "notebooks/studies/smoke.yaml", "--only", "*seed=0*", "--out", out]
    options = ["--slurm", "memory=2GB", "walltime=00:20:00", "interface=lo"]
    done = node(sys.executable, "-c", CANCEL, out, *study, *options)
    assert re.search(r"^cancelled: \d+$", done.stdout, re.M), done.stdout + done.stderr
    assert done.returncode == 0 and "1 runs finished, 0 failed" in done.stdout, done.stdout + done.stderr
    (log,) = out.glob("*seed=0*/log.txt")
    assert log.read_text().count("start.ipynb on") == 2
    assert len(list((out / "jobs").glob("dask-worker-*.err"))) == 2
