"""The record of a run: its scores as tidy rows, and everything that is needed to check or repeat them."""

import copy
import hashlib
import json
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from mmlib import files
from mmlib.data.dataset import Dataset
from mmlib.runs.errors import RunError
from mmlib.runs.parameters import parameters_of
from mmlib.runs.rows import CHOSEN, COLUMNS, LABELS, RECORD, REPLICATES, REQUEST, ROOT, TEST, TRIAL, read
from mmlib.runs.versions import check_kernel

if TYPE_CHECKING:  # every process of a study imports this module, and none but a kernel trains
    import mmlib.training.tune

_PACKAGES = ("torch", "numpy", "scikit-learn", "scipy")
_NOT_GIVEN = "synthetic"  # the parameter features of a notebook on which no archive is set
_STARTED = time.time()


def features_label(label: str, data: Dataset) -> str:
    """How result rows name the features: `label`, tied to the content of the file that they come from.

    data/archives.csv names the archives of the studies by their SHA-256. For such a file the label has to begin with that
    name; it is the label where none is given. The label of any other archive ends with the beginning of its SHA-256, so that
    another file is not taken for a known one.
    Raises RunError for another label of a known file.
    """
    sha256, given = data.provenance.get("sha256"), "" if label == _NOT_GIVEN else label
    if sha256 is None:
        return label + (" [not a file as published]" if data.provenance.get("published") is False else "")
    known = _archives().get(sha256)
    if known is None:
        return f"{given or data.name} [file {sha256[:12]}]"
    if given and not given.startswith(known):
        raise RunError(f"features is {given!r}, but {data.where} holds {known!r}; begin the parameter with that")
    return given or known


@cache
def _archives() -> dict[str, str]:
    path = ROOT / "data" / "archives.csv"
    return dict(pd.read_csv(path)[["sha256", "features"]].to_numpy().tolist()) if path.exists() else {}


def _commit() -> str | None:
    """The checkout's commit, with '+' where the working tree differs; None outside a git checkout."""
    if not (ROOT / ".git").exists():  # an installed package may lie inside the checkout of another project
        return None
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


_COMMIT = _commit()  # read once, because somebody may commit during the run


class Record:
    """The result of a run: scores, flags, figures, cost, and everything that is needed to repeat it.

        record = runs.Record("simc", globals())  # behind the parameters cell
        record.of(data)
        record.tuned(result, method="SIM-C", variant="joint")  # the trials and flags of training.tune
        record.add(scores, method="SIM-C", variant="joint", condition="complex_20_40_40")
        record.figure("simc_losses", figure)
        record.write()  # the last cell

    paper: label of all rows. namespace: `globals()` of the notebook; the record takes the parameters from it, with the
    values that they have now. Nothing is written where the parameter `out_dir` is empty.
    Raises RunError where no parameters cell has run, or papermill has injected a parameter that it does not have.
    """

    def __init__(self, paper: str, namespace: Mapping[str, Any]):
        self.parameters = copy.deepcopy(parameters_of(namespace))
        out_dir = self.parameters.pop("out_dir", "")
        self.folder = Path(out_dir) if out_dir else None
        self.rows: list[dict[str, Any]] = []
        self.flags: list[dict[str, Any]] = []
        self._figures: dict[str, Any] = {}
        self._points: dict[str, pd.DataFrame] = {}
        self._replicates: dict[int, np.ndarray] = {}
        self._data: Dataset | None = None
        defaults = {name: self.parameters[name] for name in ("features", "protocol", "seed") if name in self.parameters}
        self._labels = {"paper": paper, "role": TEST, "variant": "", **defaults}

    @property
    def frame(self) -> pd.DataFrame:
        """All scores on the test split so far."""
        return pd.DataFrame([row for row in self._flagged() if row["role"] == TEST], columns=list(COLUMNS))

    @property
    def trials(self) -> pd.DataFrame:
        """All trials so far; the settings are in the column condition."""
        return pd.DataFrame([row for row in self._flagged() if row["role"] != TEST], columns=list(COLUMNS))

    @property
    def shared(self) -> Path | None:
        """The folder in which the runs of a study share trials, of this version of code; None where nothing is written."""
        if self.folder is None or not (self.folder / REQUEST).exists():
            return None
        (version,) = read(self.folder / REQUEST, "version")
        code = json.dumps({name: value for name, value in version.items() if name.startswith("code of")})
        return self.folder.parent / "trials" / hashlib.sha256(code.encode()).hexdigest()[:12]

    def of(self, data: Dataset, **labels: Any) -> None:
        """The data that the next scores are of, and labels of their rows; by default dataset is the name of the data.

        Labels features, protocol and seed are the parameters of these names where the notebook has them; for what features
        becomes see `features_label`.
        """
        self._data = data
        self._labels |= {"dataset": data.name}
        if "features" in self.parameters:
            self._labels["features"] = features_label(self.parameters["features"], data)
        self._labels |= labels

    def add(self, scores: Mapping[str, float], **labels: Any) -> None:
        """One row per metric, with these labels (method, condition, ...) and the labels of all rows.

        The replicates of `metrics.Scores` are saved with the rows. Raises RunError for a label that is no column, or where a
        column has no label.
        """
        row, replicates = self._row(labels), getattr(scores, "replicates", {})
        for metric, value in scores.items():
            if metric in replicates:
                self._replicates[len(self.rows)] = replicates[metric] - value
            self.rows.append({**row, "metric": metric, "value": value})

    def tuned(self, result: "mmlib.training.tune.Tuned", **labels: Any) -> None:
        """The trials of a system as rows, judged on validation, and the flags of its training; labels as for `add`."""
        for trial in result.trials.to_dict("records"):
            role, condition = CHOSEN if trial["chosen"] else TRIAL, f"validation, {trial['settings']}"
            row = self._row({**labels, "role": role, "condition": condition, "seed": trial["seed"]})
            self.rows.append({**row, "metric": trial["metric"], "value": trial["value"], "flags": trial["flags"]})
        self.flag(result.history.flagged, **labels)

    def flag(self, name: str, **labels: Any) -> None:
        """Marks the scores with these labels (method, variant, ...), which must not be counted as the method's best."""
        if name:
            self.flags.append({"flag": name, **{"variant": "", "dataset": self._labels.get("dataset"), **labels}})

    def _flagged(self) -> list[dict[str, Any]]:
        """The rows, each with the flags of its system."""

        def text(row: Mapping[str, Any]) -> str:
            return "; ".join(f["flag"] for f in self.flags if all(row[k] == v for k, v in f.items() if k != "flag"))

        return [{**row, "flags": row.get("flags", text(row))} for row in self.rows]

    def figure(self, name: str, figure: Any) -> None:
        """A figure to be saved as `name`.png beside the record."""
        self._figures[name] = figure

    def points(self, name: str, points: pd.DataFrame) -> None:
        """The points of a figure, to be saved as `name`.csv beside the record."""
        self._points[name] = points

    def write(self) -> Path | None:
        """Saves the figures, then writes record.json, once and atomically: the last act of a run.

        Returns its path, None where `out_dir` is empty. Raises RunError where a record is there already, nothing was
        measured, or mmlib is not the planned one.
        """
        if self.folder is None:
            return None
        check_kernel(self.parameters)
        path = self.folder / RECORD
        if path.exists():
            raise RunError(f"{path} exists; a finished run is never overwritten, choose another folder")
        if self._data is None or not self.rows:
            raise RunError("record: nothing was measured; call record.of(data) and record.add(scores, ...) first")
        if self._figures or self._points:
            from mmlib import show  # a second to import, which a run without figures saves

            for name, figure in self._figures.items():
                show.save(figure, self.folder, name)
            for name, points in self._points.items():
                show.save_points(points, self.folder, name)
        if self._replicates:
            with files.replacing(self.folder / REPLICATES) as temporary, open(temporary, "wb") as file:
                deviation = np.stack([*self._replicates.values()])
                np.savez_compressed(file, row=[*self._replicates], deviation=(1e4 * deviation).round().astype(np.int16))
        content = {"run": self._run(self._data), "rows": self._flagged(), "flags": self.flags}
        try:
            files.write(path, json.dumps(content, indent=1), exclusive=True)
        except FileExistsError:
            raise RunError(f"{path} was written by another run meanwhile; it is kept as it is") from None
        return path

    def _row(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        row = {**self._labels, **labels}
        if wrong := [*(name for name in row if name not in LABELS), *(name for name in LABELS if name not in row)]:
            problem = "is not one of" if wrong[0] in row else "has no value; a row has the labels"
            raise RunError(f"record.add: {wrong[0]!r} {problem} {', '.join(LABELS)}")
        return {name: row[name] for name in LABELS}

    def _run(self, data: Dataset) -> dict[str, Any]:
        gpu = data.device.type == "cuda"
        used = resource.getrusage(resource.RUSAGE_SELF)
        run = {
            "commit": _COMMIT,
            "python": platform.python_version(),
            "versions": {p: version(p) for p in _PACKAGES},
            "device": torch.cuda.get_device_name(data.device) if gpu else f"{platform.machine()} cpu",
            "threads": torch.get_num_threads(),
            "data": {"name": data.name, "file": Path(data.where).name, "fingerprint": data.fingerprint},
            "parameters": {k: Path(v).name if _is_path(v) else v for k, v in self.parameters.items()},
            "seconds": round(time.time() - _STARTED, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_memory_mib": round(used.ru_maxrss / 1024),
        }
        if gpu:
            run["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated(data.device) / 2**20)
        return run


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "/" in value and Path(value).exists()
