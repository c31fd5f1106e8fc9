"""One run: papermill executes a notebook into a folder, under a lock; the result is an Outcome."""

import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mmlib.files import locked, write
from mmlib.runs.errors import Busy, CellError, RunError
from mmlib.runs.parameters import check_parameters, completed
from mmlib.runs.rows import RECORD, REQUEST
from mmlib.runs.versions import Version

NOTEBOOK = "run.ipynb"
LOG = "log.txt"
REFUSED = "record.refused.json"  # of a run that failed after it had written its record
_NO_ANSWER = "Kernel didn't respond"  # of jupyter_client, in place of a class of its own
_LOCK = "lock"
_PROCESS_LOCK = threading.Lock()  # papermill changes the folder of the process, and `_stderr_into` its stderr


@dataclass(frozen=True)
class Run:
    """One execution of one notebook: its parameters, its version, and the folder for its files."""

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


def run_notebook(notebook: Path, folder: Path, parameters: Mapping[str, Any], kernel: str = "python3") -> Path:
    """Runs a notebook through papermill into `folder`; returns the record that it wrote.

    Raises RunError for parameters that the notebook does not take, a folder of another run, a failing cell (CellError), a
    dead kernel, a full disk, and while another process executes this run (Busy).
    """
    check_parameters(notebook, parameters)
    version = Version.of(notebook, completed(notebook, parameters))
    return run_once(Run(notebook, Path(folder).resolve(), dict(parameters), version, kernel))


def try_run(run: Run) -> Outcome:
    """`run_once` for a worker: every error becomes an outcome."""
    try:
        run_once(run)
    except Busy as e:
        return Outcome(run.folder.name, "busy", error=str(e))
    except RunError as e:
        return Outcome(run.folder.name, "failed", getattr(e, "cell", None), str(e))
    return Outcome(run.folder.name, "finished")


def run_once(run: Run) -> Path:
    """Executes a run unless it is finished, and returns its record.

    Only the record means success: a killed kernel leaves cells whose metadata say `completed`. The record is set aside if a
    later cell fails, or if code or data change during the run.
    """
    whole = completed(run.notebook, run.parameters)
    run.version.check(run.notebook, whole)
    record = run.folder / RECORD
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with _locked(run.folder):
            _claim(run, whole)
            if not record.exists():
                try:
                    with (
                        _PROCESS_LOCK,
                        _environment(run.version.environment(run.notebook)),
                        open(run.folder / LOG, "a", buffering=1) as log,
                        _stderr_into(log),
                    ):
                        _papermill(run, log)
                    run.version.check(run.notebook, whole)
                except (RunError, OSError):
                    if record.exists():
                        os.replace(record, record.with_name(REFUSED))
                    raise
    except OSError as e:
        raise RunError(f"{run.folder}: {e.strerror or e}") from None
    if not record.exists():
        raise RunError(f"{run.folder / NOTEBOOK}: finished without a record; its last cell must write one")
    return record


def _claim(run: Run, whole: Mapping[str, Any]) -> None:
    """Writes the request of a run into its folder. Raises RunError if the folder belongs to another run."""
    request = {"notebook": run.notebook.name, "parameters": whole, "version": run.version.hashes}
    path = run.folder / REQUEST
    if path.exists():
        pair = json.loads(path.read_text()), request
        old, new = ({"notebook": r["notebook"], **Version(r["version"]).identity(r["parameters"])} for r in pair)
        for name in {**old, **new}:
            if json.dumps(old.get(name)) != json.dumps(
                new.get(name)
            ):  # nan differs from nan, but their texts are equal
                raise RunError(
                    f"{run.folder} is of a run with {name}={old.get(name)!r}, not {new.get(name)!r}; "
                    "choose another folder (--out)"
                )
    else:
        write(path, json.dumps(request, indent=1))


def _papermill(run: Run, log: TextIO) -> None:
    import papermill  # its import takes two seconds, and a notebook that only records does not need it
    from nbclient.exceptions import DeadKernelError

    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {run.notebook.name} on {platform.node()}, process {os.getpid()}\n")
    began, outcome = time.monotonic(), "stopped"
    try:
        # papermill takes braces for names of parameters.
        source, target = (str(p).replace("{", "{{").replace("}", "}}") for p in (run.notebook, run.folder / NOTEBOOK))
        parameters = {**run.parameters, "out_dir": str(run.folder)}
        kernel = {"kernel_name": run.kernel, "cwd": str(run.notebook.parent)}  # it works in the notebook's folder
        output = {"progress_bar": False, "stdout_file": log, "stderr_file": log}
        try:
            papermill.execute_notebook(source, target, parameters, **kernel, **output)
        except RuntimeError as e:
            # Kernels that start at the same moment may choose the same port; then one of them never answers.
            if _NO_ANSWER not in str(e):
                raise
            papermill.execute_notebook(source, target, parameters, **kernel, **output)
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
    except RuntimeError as e:
        outcome = str(e)
        raise RunError(outcome) from None
    finally:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {outcome}, {time.monotonic() - began:.1f} s\n")


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that kernels inherit, and restores the old values at the end."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _stderr_into(log: TextIO) -> Iterator[None]:
    """Sends this process's standard error to the log; a kernel inherits it, and writes there when it dies."""
    own = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock."""
    with locked(folder / _LOCK) as mine:
        if not mine:
            raise Busy(f"{folder}: another process executes this run")
        yield
