"""Where runs are executed: Dask workers on this machine, on any Dask cluster, or as SLURM jobs. One run at a time each."""

import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from dask.distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, wait
from dask.system import CPU_COUNT
from distributed.deploy.cluster import Cluster
from tqdm import tqdm

from mmlib.runs.errors import RunError
from mmlib.runs.execution import Outcome, Run, try_run
from mmlib.runs.progress import Progress
from mmlib.runs.rows import RECORD

_TRIES = 3  # of a run whose worker dies under it
_SLURM_TRIES = 10  # there a job may also have reached its walltime or been preempted
_SEEN = 60  # seconds after which a file from another machine must be visible here
# Dask looks at itself many times a second, which costs 6 % of a core; here a worker waits minutes for one kernel.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
_LISTS = ("job_extra_directives", "job_directives_skip", "job_script_prologue", "worker_extra_args")


class OneGPU(WorkerPlugin):
    """Gives each worker of this machine one GPU; kernels of the worker see only that GPU."""

    def __init__(self, gpus: int):
        self.gpus = gpus

    def setup(self, worker: Any) -> None:
        if self.gpus:
            inherited = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            own = inherited.split(",") if inherited else [str(i) for i in range(self.gpus)]
            os.environ["CUDA_VISIBLE_DEVICES"] = own[int(worker.name) % len(own)]


def local(workers: int | None, runs: int) -> Cluster:
    """Worker processes on this machine: one per GPU where there are GPUs, else one per core, and never more than runs."""
    workers = workers or min(_gpus() or CPU_COUNT, runs)
    # Toy models are slower on several threads than on one, and kernels that run side by side would fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    dask.config.set({"distributed.scheduler.allowed-failures": _TRIES - 1, **_QUIET})
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # a worker only waits for its kernel
            silence_logs=logging.CRITICAL,
        )
    except (OSError, RuntimeError) as e:
        raise RunError(f"no workers can be started here: {e}") from None


def _gpus() -> int:
    # Without a driver there is none to count, and a study need not wait two seconds for the import of torch.
    if not any(Path("/dev", driver).exists() for driver in ("nvidiactl", "dxg", "kfd")):
        return 0
    import torch  # here, because the workers import this module, too, and have no use for torch

    return torch.cuda.device_count()


def slurm(workers: int | None, runs: int, options: Mapping[str, Any], logs: Path) -> Cluster:
    """One SLURM job per worker; options as dask-jobqueue's SLURMCluster takes them: memory, walltime, queue, account, ...

    logs: the folder for what jobs write. A job that ends early, by its walltime or by hand, is replaced. Raises RunError
    for an option that does not exist, and for what sbatch would not take.
    """
    from dask_jobqueue import SLURMCluster

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the import of dask_jobqueue has replaced it by sys.exit
    dask.config.set({"distributed.scheduler.allowed-failures": _SLURM_TRIES - 1, **_QUIET})
    options = {k: [v] if k in _LISTS and isinstance(v, str) else v for k, v in options.items()}
    defaults = {"cores": 1, "processes": 1, "memory": "4GB", "job_script_prologue": ["export OMP_NUM_THREADS=1"]}
    defaults |= {"log_directory": str(logs), "scheduler_options": {"dashboard_address": "127.0.0.1:0"}}
    jobs = min(workers or runs, runs)
    try:
        cluster = SLURMCluster(**defaults | options)
    except (TypeError, ValueError, OSError, RuntimeError) as e:
        raise RunError(f"--slurm: {e}") from None
    try:
        _check_submission(cluster.job_script(), logs)
    except RunError:
        cluster.close(timeout=5)
        raise
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster


def _check_submission(script: str, logs: Path) -> None:
    """Asks SLURM whether it accepts this job. Jobs are submitted in the background, where errors would be lost."""
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / "job.sh"
    path.write_text(script)
    try:
        reply = subprocess.run(["sbatch", "--test-only", path], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise RunError(f"--slurm: {e}") from None
    if reply.returncode:
        raise RunError(f"--slurm: SLURM does not take {path}: {reply.stderr.strip()}")


@contextmanager
def connected(cluster: Cluster | str) -> Iterator[Client]:
    """A client of a cluster or of the scheduler at this address. Raises RunError where no scheduler answers."""
    try:
        client = Client(cluster, timeout=10)
    except (OSError, ValueError) as e:
        raise RunError(f"no Dask scheduler answers at {cluster}: {e}") from None
    with client:
        if isinstance(cluster, LocalCluster):
            client.register_plugin(OneGPU(_gpus()))
        yield client


def run_all(runs: Sequence[Run], client: Client, progress: Progress) -> None:
    """Executes every run and tells `progress` of each when it begins and when it ends.

    A run whose worker dies is tried again on another one; what another study has in hand is waited for. Raises RunError
    where the scheduler is lost. Finished runs stay finished whatever happens.
    """
    waiting = list(runs)
    try:
        if not _workers(client):
            tqdm.write("no worker is there yet; waiting for one", file=sys.stderr)
        while waiting:
            waiting = _one_round(client, waiting, progress)
            time.sleep(1 if waiting else 0)
    except CancelledError:
        raise RunError("the Dask scheduler is lost; call again to go on") from None


def _one_round(client: Client, runs: list[Run], progress: Progress) -> list[Run]:
    """Executes each run once; returns the runs that another process holds. Raises CancelledError without a scheduler."""
    waiting = deque(runs)
    in_hand: dict[Future, Run] = {}
    busy = []
    while waiting or in_hand:
        # Dask counts a worker's death against all of its runs, also those that have not begun: give it one at a time.
        free = max(1, _workers(client)) - len(in_hand)
        for run in [waiting.popleft() for _ in range(min(free, len(waiting)))]:
            in_hand[client.submit(try_run, run, key=f"{run.folder.name}-{uuid.uuid4().hex[:8]}")] = run
            progress.began(run)
        for future in _ended(in_hand):
            run = in_hand.pop(future)
            outcome = _outcome(future, run)
            if outcome.state == "busy":
                busy.append(run)
            progress.ended(outcome)
    return busy


def _workers(client: Client) -> int:
    try:
        return len(client.nthreads())
    except OSError:
        raise CancelledError from None


def _ended(futures: Iterable[Future]) -> list[Future]:
    """The futures that are done, as soon as there is one; none after a second, as workers may have joined or left."""
    try:
        return list(wait(list(futures), timeout=1, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _outcome(future: Future, run: Run) -> Outcome:
    name = run.folder.name
    try:
        outcome = future.result()
    except KilledWorker:
        return Outcome(name, "failed", error="its worker died under it, again and again: out of memory, walltime?")
    except CancelledError:
        raise
    except Exception as e:
        return Outcome(name, "failed", error=f"{type(e).__name__}: {e}")
    if outcome.state == "finished" and not _seen(run):
        error = f"its worker wrote a record, but there is no {run.folder / RECORD} here; workers must share this folder"
        return Outcome(name, "failed", error=error)
    return outcome


def _seen(run: Run) -> bool:
    """Whether the record is visible here; a network file system may show it late."""
    deadline = time.monotonic() + _SEEN
    while not run.finished and time.monotonic() < deadline:
        for folder in (run.folder.parent, run.folder):
            if folder.exists():
                os.listdir(folder)
        time.sleep(1)
    return run.finished
