"""One run: a notebook through papermill into a folder of its own, under a lock, and what came of it."""

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mmlib.runs.parameters import check_parameters
from mmlib.runs.records import RECORD, REQUEST, RunError, write
from mmlib.runs.versions import Version

NOTEBOOK = "run.ipynb"
LOG = "log.txt"
_LOCK = "lock"


class Busy(RunError):
    """Another process executes this run."""


class CellError(RunError):
    """A cell failed; cell is its number as the notebook shows it."""

    def __init__(self, message: str, cell: int | None = None):
        super().__init__(message)
        self.cell = cell


@dataclass(frozen=True)
class Run:
    """One execution of one notebook: what is asked, of which version, and the folder where it goes."""

    notebook: Path
    folder: Path
    parameters: dict[str, Any]
    version: Version
    kernel: str = "python3"

    @property
    def finished(self) -> bool:
        return (self.folder / RECORD).exists()


@dataclass(frozen=True)
class Outcome:
    """state: finished, failed or busy (another process has it); cell and error of a failure."""

    run: str
    state: str
    cell: int | None = None
    error: str = ""


def execute(notebook: Path, folder: Path, parameters: Mapping[str, Any], kernel: str = "python3") -> Path:
    """Runs a notebook through papermill into `folder`; returns the record that it wrote.

    Raises RunError for parameters that the notebook does not take, a folder of another run, a failing cell (CellError), a
    dead kernel, a full disk, and while another process executes this run (Busy).
    """
    check_parameters(notebook, parameters)
    return perform(Run(notebook, Path(folder).resolve(), dict(parameters), Version.of(notebook, parameters), kernel))


def attempt(run: Run) -> Outcome:
    """`perform`, with whatever happens as an outcome: what a worker does."""
    try:
        perform(run)
    except Busy as e:
        return Outcome(run.folder.name, "busy", error=str(e))
    except RunError as e:
        return Outcome(run.folder.name, "failed", getattr(e, "cell", None), str(e))
    return Outcome(run.folder.name, "finished")


def perform(run: Run) -> Path:
    """Executes a run unless it is finished. Success is the record, never the notebook's metadata: a killed kernel leaves
    cells that say `completed`."""
    run.version.check(run.notebook)
    record = run.folder / RECORD
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with _locked(run.folder):
            _claim(run)
            if not record.exists():
                with open(run.folder / LOG, "a", buffering=1) as log, _stderr_into(log):
                    _papermill(run, log)
    except OSError as e:
        raise RunError(f"{run.folder}: {e.strerror or e}") from None
    if not record.exists():
        raise RunError(f"{run.folder / NOTEBOOK}: finished without a record; its last cell must write one")
    return record


def _claim(run: Run) -> None:
    """Writes down what the folder is for, or raises RunError where it is for something else."""
    asked = {"notebook": run.notebook.name, "parameters": run.parameters, "version": run.version.hashes}
    request = run.folder / REQUEST
    if request.exists():
        before = json.loads(request.read_text())
        old, new = (
            {"notebook": a["notebook"], **Version(a["version"]).identity(a["parameters"])} for a in (before, asked)
        )
        for name in {**old, **new}:
            if old.get(name) != new.get(name):
                raise RunError(
                    f"{run.folder} is of a run with {name}={old.get(name)!r}, not {new.get(name)!r}; "
                    "choose another folder (--out)"
                )
    else:
        write(request, json.dumps(asked, indent=1))


def _papermill(run: Run, log: TextIO) -> None:
    import papermill  # two seconds, and notebooks that only record need neither
    from nbclient.exceptions import DeadKernelError

    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {run.notebook.name} on {platform.node()}, process {os.getpid()}\n")
    began, outcome = time.monotonic(), "stopped"
    try:
        papermill.execute_notebook(
            str(run.notebook),
            str(run.folder / NOTEBOOK),
            parameters={**run.parameters, "out_dir": str(run.folder)},
            kernel_name=run.kernel,
            progress_bar=False,
            cwd=str(run.notebook.parent),  # the kernel works in the notebook's folder
            stdout_file=log,
            stderr_file=log,
        )
        outcome = "finished"
    except papermill.PapermillExecutionError as e:
        outcome = f"cell {e.exec_count}: {e.ename}: {e.evalue}"
        raise CellError(f"{e.ename}: {e.evalue}", e.exec_count) from None
    except DeadKernelError:
        outcome = "the kernel was killed; out of memory?"
        raise RunError(outcome) from None
    except OSError as e:
        outcome = str(e)
        raise
    finally:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {outcome}, {time.monotonic() - began:.1f} s\n")


@contextmanager
def _stderr_into(log: TextIO) -> Iterator[None]:
    """What a dying kernel says goes to the log: it inherits this process's standard error."""
    own = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system lets go when this process ends, however it ends."""
    with open(folder / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{folder}: another process executes this run") from None
        yield
