"""A run's record: tidy rows and everything needed to doubt or repeat them, written once as the run's last act."""

import json
import platform
import resource
import subprocess
import time
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mmlib.data.dataset import Dataset
from mmlib.files import write
from mmlib.runs.errors import RunError
from mmlib.runs.versions import check_kernel

ROOT = Path(__file__).parents[2]
RECORD = "record.json"
REQUEST = "params.json"
COLUMNS = (
    "paper", "dataset", "features", "method", "variant", "protocol", "condition", "metric", "seed", "value",
)  # fmt: skip
_PACKAGES = ("torch", "numpy", "scikit-learn", "scipy")
_STARTED = time.time()


def _commit() -> str | None:
    """The checkout's commit, with '+' where the working tree differs; None outside a git checkout."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


_COMMIT = _commit()  # of the code that runs, whatever is committed meanwhile


def score_rows(scores: Mapping[str, float], **labels: Any) -> list[dict[str, Any]]:
    """One tidy row per metric, all with these labels (any of COLUMNS but metric and value)."""
    unknown = set(labels) - set(COLUMNS)
    if unknown:
        raise RunError(f"score_rows: {sorted(unknown)[0]!r} is not one of {', '.join(COLUMNS)}")
    return [{**labels, "metric": metric, "value": value} for metric, value in scores.items()]


def record(folder: Path | str, rows: Iterable[Mapping[str, Any]], data: Dataset, parameters: Mapping[str, Any]) -> Path:
    """Writes `folder`/record.json, once and atomically: the rows, and everything needed to doubt or repeat them.

    rows: mappings over COLUMNS. parameters: of the run. The record is the last act of a run; a run without it did not
    happen. Raises RunError where a record is there already, a row lacks a column, or mmlib is not the planned one.
    """
    check_kernel()
    path = Path(folder) / RECORD
    if path.exists():
        raise RunError(f"{path} exists; a finished run is never overwritten, choose another folder")
    rows = list(rows)
    for row in rows:
        if set(row) != set(COLUMNS):
            raise RunError(f"record: row {row} must have exactly the columns {', '.join(COLUMNS)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    run = {
        "commit": _COMMIT,
        "python": platform.python_version(),
        "versions": {p: version(p) for p in _PACKAGES},
        "device": torch.cuda.get_device_name(data.device)
        if data.device.type == "cuda"
        else platform.machine() + " cpu",
        "threads": torch.get_num_threads(),
        "data": {"name": data.name, "file": Path(data.where).name, "fingerprint": data.fingerprint},
        "parameters": dict(parameters),
        "seconds": round(time.time() - _STARTED, 1),
        "peak_memory_mib": round(peak),
    }
    if data.device.type == "cuda":
        run["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated(data.device) / 2**20)
    try:
        write(path, json.dumps({"run": run, "rows": rows}, indent=1), exclusive=True)
    except FileExistsError:
        raise RunError(f"{path} was written by another run meanwhile; it is kept as it is") from None
    return path


def collect(folders: Path | str | Iterable[Path]) -> pd.DataFrame:
    """The rows of all records, with commit, data fingerprint and folder beside each: one tidy table.

    folders: run folders, or one folder that is a run's or holds run folders. Folders without a record, unfinished runs,
    are passed over. Raises RunError where none has one, and for a file that is no record. Of what lies in one folder also
    for two finished runs that differ in nothing but the version of code, notebook or data, as their rows would be counted
    twice; and warns where the runs of one notebook are of several versions of it or of mmlib.
    """
    found_there = isinstance(folders, (str, Path))
    if found_there:
        paths = sorted(p for p in (Path(folders) / RECORD, *Path(folders).glob(f"*/{RECORD}")) if p.exists())
    else:
        paths = [path for path in (Path(folder) / RECORD for folder in folders) if path.exists()]
    rows, seen, versions = [], {}, {}
    for path in paths:
        run, found = _read(path)
        if found_there and (asked := _asked(path.with_name(REQUEST))):
            same = json.dumps([asked["notebook"], asked["parameters"]], sort_keys=True)
            if same in seen:
                raise RunError(
                    f"{path.parent} and {seen[same]} are the same run by two versions of code, notebook or data; "
                    "collect one of them"
                )
            seen[same] = path.parent
            of_code = {k: v for k, v in asked["version"].items() if k.startswith("code of")}
            versions.setdefault(asked["notebook"], set()).add(json.dumps(of_code))
        commit = run["commit"] or "unknown"
        place = {
            "commit": commit[:12] + ("+" if commit.endswith("+") else ""),
            "data": run["data"]["fingerprint"][:12],
            "run": path.parent.name,
        }
        rows += [{**row, **place} for row in found]
    if not paths:
        raise RunError(f"no {RECORD} in any of the folders")
    for notebook, several in versions.items():
        if len(several) > 1:
            warnings.warn(f"the runs of {notebook} are of {len(several)} versions of its code or mmlib's", stacklevel=2)
    return pd.DataFrame(rows, columns=[*COLUMNS, "commit", "data", "run"])


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_text())
        return content["run"], content["rows"]
    except (ValueError, KeyError, TypeError) as e:
        raise RunError(
            f"{path} is not a record ({type(e).__name__}: {e}); remove its folder and run it again"
        ) from None


def _asked(request: Path) -> dict[str, Any] | None:
    if not request.exists():  # a run that was not started by a study
        return None
    try:
        asked = json.loads(request.read_text())
        return {key: asked[key] for key in ("notebook", "parameters", "version")}
    except (ValueError, KeyError, TypeError) as e:
        raise RunError(f"{request} is damaged ({type(e).__name__}: {e}); remove its folder and run it again") from None
