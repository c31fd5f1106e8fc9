"""The rows of finished runs as one table, and the names of what a run leaves in its folder."""

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib import files
from mmlib.runs.errors import RunError

ROOT = files.home()
RECORD = "record.json"
REQUEST = "params.json"
REPLICATES = "replicates.npz"
LABELS = ("paper", "dataset", "features", "role", "method", "variant", "protocol", "condition", "seed")
COLUMNS = (*LABELS[:-1], "metric", "seed", "value", "flags")
TEST, TRIAL, CHOSEN = "test", "trial", "chosen"
"""Roles of rows: a score on the test split; a trial's score on validation; that of the trial which was chosen."""
_DEFAULTS = {"role": TEST, "flags": ""}  # of records that are older than these columns


def collect(folders: Path | str | Iterable[Path]) -> pd.DataFrame:
    """The rows of all records, with commit, data fingerprint and folder beside each: one tidy table.

    folders: run folders, or one folder that is a run's or holds run folders. Folders without a record are unfinished runs
    and are skipped. A trial that several runs share is there once. Raises RunError where no folder has a record, and for a
    damaged file. In one folder it also raises RunError for two finished runs that differ only in the version of code, notebook
    or data, because their rows would be counted twice; it warns where the runs of one notebook have several versions of its
    code or of mmlib.
    """
    in_one_folder = isinstance(folders, (str, Path))
    if in_one_folder:
        folders = sorted([Path(folders), *Path(folders).glob("*")])
    paths = [path for folder in folders if (path := Path(folder) / RECORD).exists()]
    rows, runs, versions = [], {}, {}
    for path in paths:
        folder, request = path.parent, path.with_name(REQUEST)
        run, values = read(path, "run", "rows")
        if in_one_folder and request.exists():  # a run that was started by hand has none
            notebook, parameters, hashes = read(request, "notebook", "parameters", "version")
            other = runs.setdefault(json.dumps([notebook, parameters], sort_keys=True), folder)
            if other != folder:
                what = "are the same run by two versions of code, notebook or data"
                raise RunError(f"{folder} and {other} {what}; collect one of them")
            of_code = {name: value for name, value in hashes.items() if name.startswith("code of")}
            versions.setdefault(notebook, set()).add(json.dumps(of_code))
        commit = run["commit"] or "unknown"
        commit = commit[:12] + ("+" if commit.endswith("+") else "")
        origin = {"commit": commit, "data": run["data"]["fingerprint"][:12], "run": folder.name}
        rows += [{**_DEFAULTS, **row, **origin} for row in values]
    if not paths:
        raise RunError(f"no {RECORD} in any of the folders")
    for notebook, several in versions.items():
        if len(several) > 1:
            warnings.warn(f"the runs of {notebook} are of {len(several)} versions of its code or mmlib's", stacklevel=2)
    table = pd.DataFrame(rows, columns=[*COLUMNS, "commit", "data", "run"])
    again = (table["role"] != TEST) & table.duplicated([*COLUMNS[:-2]])
    return table[~again].reset_index(drop=True)


def save(folders: Sequence[Path], path: Path) -> pd.DataFrame:
    """Writes the rows of run folders to a csv file and their replicates to an .npz beside it; returns the rows.

    The arrays of the .npz: `row`, the line of each in the csv, counted from 0; `deviation` (n, R) int16, 1e4 times the
    difference between the score on a resample of the test rows and the score (`metrics.replicates`).
    """
    rows, places, deviations = collect(folders), [], []
    for folder in folders:
        if (file := folder / REPLICATES).exists():
            tests = np.flatnonzero((rows["run"] == folder.name) & (rows["role"] == TEST))
            (whole,) = read(folder / RECORD, "rows")
            order = {number: i for i, number in enumerate(n for n, row in enumerate(whole) if row["role"] == TEST)}
            with np.load(file, allow_pickle=False) as arrays:
                places.append(tests[[order[number] for number in arrays["row"].tolist()]])
                deviations.append(arrays["deviation"])
    if places:
        with files.replacing(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, row=np.concatenate(places), deviation=np.concatenate(deviations))
    files.write(path, rows.to_csv(index=False))
    return rows


def read(path: Path, *keys: str) -> list[Any]:
    """The values of these keys in a JSON file of a run. Raises RunError where it is damaged."""
    try:
        content = json.loads(path.read_text())
        return [content[key] for key in keys]
    except (ValueError, KeyError, TypeError) as e:
        raise RunError(f"{path} is damaged ({type(e).__name__}: {e}); remove its folder and run it again") from None
