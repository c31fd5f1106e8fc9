"""One run = one execution of one notebook = one folder with one record. Execute, record, collect.

    python -m mmlib.runs notebooks/studies/demo.yaml

A study is a YAML list; each entry names a notebook, fixed parameters and a grid whose combinations are the runs.
"""

import argparse
import ast
import itertools
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import torch
import yaml
from nbclient.exceptions import DeadKernelError
from tqdm import tqdm

from mmlib.data.dataset import Dataset

ROOT = Path(__file__).parents[1]
RECORD = "record.json"
REQUEST = "parameters.json"
COLUMNS = (
    "paper", "dataset", "features", "method", "variant", "protocol", "condition", "metric", "seed", "value",
)  # fmt: skip
_PACKAGES = ("torch", "numpy", "scikit-learn", "scipy")
_TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list}
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


class RunError(RuntimeError):
    """A run that cannot start or did not finish; the message names notebook, parameter or cell."""


def score_rows(scores: Mapping[str, float], **labels: Any) -> list[dict[str, Any]]:
    """One tidy row per metric, all with these labels (any of COLUMNS but metric and value)."""
    unknown = set(labels) - set(COLUMNS)
    if unknown:
        raise RunError(f"score_rows: {sorted(unknown)[0]!r} is not one of {', '.join(COLUMNS)}")
    return [{**labels, "metric": metric, "value": value} for metric, value in scores.items()]


def record(folder: Path | str, rows: Iterable[Mapping[str, Any]], data: Dataset, parameters: Mapping[str, Any]) -> Path:
    """Writes `folder`/record.json, once and atomically: the rows, and everything needed to doubt or repeat them.

    rows: mappings over COLUMNS. parameters: of the run. The record is the last act of a run; a run without it did not
    happen. Raises RunError where a record is there already or a row lacks a column.
    """
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
    _write(path, json.dumps({"run": run, "rows": rows}, indent=1))
    return path


def collect(folders: Iterable[Path]) -> pd.DataFrame:
    """The rows of the records in these run folders, with commit, data fingerprint and folder beside each.

    Folders without a record, unfinished runs, are passed over; raises RunError where none has one.
    """
    frames = []
    for path in (Path(folder) / RECORD for folder in folders):
        if not path.exists():
            continue
        content = json.loads(path.read_text())
        frame = pd.DataFrame(content["rows"], columns=list(COLUMNS))
        run, commit = content["run"], content["run"]["commit"] or "unknown"
        commit = commit[:12] + ("+" if commit.endswith("+") else "")
        frames.append(frame.assign(commit=commit, data=run["data"]["fingerprint"][:12], run=path.parent.name))
    if not frames:
        raise RunError(f"no {RECORD} in any of the folders")
    return pd.concat(frames, ignore_index=True)


def reported(paper: str) -> pd.DataFrame:
    """Every number of a paper's tables as printed (data/reported)."""
    return pd.read_csv(ROOT / "data" / "reported" / f"{paper}.csv", dtype={"table": str})


def results(paper: str) -> pd.DataFrame:
    """Our committed rows for a paper (data/results): one per run and metric."""
    return pd.read_csv(ROOT / "data" / "results" / f"{paper}.csv").fillna({"variant": ""})


def mean_and_deviation(
    rows: pd.DataFrame, index: list[str] | str, columns: list[str] | str, digits: int = 3
) -> pd.DataFrame:
    """A table of 'mean ± standard deviation' over seeds (n - 1); the mean alone where there is one seed."""
    order = {c: list(dict.fromkeys(rows[c])) for c in [*_list(index), *_list(columns)]}
    grouped = rows.groupby([*_list(index), *_list(columns)])["value"]

    def text(values: pd.Series) -> str:
        mean = f"{values.mean():.{digits}f}"
        return mean if len(values) == 1 else f"{mean} ± {values.std():.{digits}f}"

    table = grouped.apply(text).unstack(_list(columns))
    for axis, names in (("index", _list(index)), ("columns", _list(columns))):
        for name in reversed(names):
            table = table.sort_index(axis=axis, level=name, sort_remaining=False, kind="stable", key=_by(order[name]))
    return table


def by_pattern(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric under every set of available modalities, their mean ('missing'), and under all of them ('complete').

    One line per method and variant, over seeds as in `mean_and_deviation`; mae as it is, all else in percent. The best single
    modality is one line, whichever it was.
    """
    part = rows[(rows["metric"] == metric) & rows["condition"].str.fullmatch(r"available\([^)]*\)|complete")]
    short = part["condition"].str.removeprefix("available(").str.removesuffix(")")
    value = part["value"] * (1 if metric == "mae" else 100)
    variant = part["variant"].mask(part["method"] == "best single modality", "")
    part = part.assign(condition=short, value=value, variant=variant)
    sets = [c for c in dict.fromkeys(short) if c != "complete"]
    mean = part[part["condition"].isin(sets)].groupby(["method", "variant", "seed"], sort=False)["value"].mean()
    part = pd.concat([part, mean.reset_index().assign(condition="missing")])
    table = mean_and_deviation(part, ["method", "variant"], "condition", 3 if metric == "mae" else 1)
    return table[[*sets, "missing", "complete"]]


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Raises RunError for a notebook that does not exist or has no parameters, an unknown name, or a value of a wrong type.

    papermill itself passes over all of these with at most a line in its log.
    """
    if not notebook.is_file():
        raise RunError(f"no notebook {notebook}")
    cells = nbformat.read(notebook, 4).cells
    tagged = [c.source for c in cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if not tagged:
        raise RunError(f"{notebook}: no cell is tagged 'parameters'")
    _check_values(str(notebook), _assignments(tagged[0]), parameters)


def check_injected(cells: list[str]) -> None:
    """The same check from inside a notebook, for runs that papermill starts without us: `runs.check_injected(In)`.

    cells: the sources executed so far. papermill puts a cell that begins with `# Parameters` behind the tagged one.
    """
    for defaults, injected in itertools.pairwise(cells):
        if injected.startswith("# Parameters\n"):
            values = {name: value for name, (_, value) in _assignments(injected).items()}
            _check_values("this notebook", _assignments(defaults), values)


def _assignments(source: str) -> dict[str, tuple[str, Any]]:
    """Name -> (annotated type, literal value) of the assignments in a parameters cell."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            found[node.target.id] = (ast.unparse(node.annotation), ast.literal_eval(node.value))
        elif isinstance(node, ast.Assign):
            found[node.targets[0].id] = ("", ast.literal_eval(node.value))
    return found


def _check_values(where: str, known: Mapping[str, tuple[str, Any]], parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        if name not in known:
            raise RunError(f"{where}: unknown parameter {name!r}; it takes {', '.join(known)}")
        kind = known[name][0]
        expected = _TYPES.get(kind, object)
        if not isinstance(value, expected) or (isinstance(value, bool) and expected not in (bool, object)):
            raise RunError(f"{where}: parameter {name!r} is {value!r}, expected {kind}")


def execute(notebook: Path, folder: Path, parameters: Mapping[str, Any], kernel: str = "python3") -> Path:
    """Runs a notebook through papermill into `folder`; returns the record that it wrote.

    Success is the record, never the notebook's metadata: a killed kernel leaves cells that say `completed`.
    """
    folder = folder.resolve()  # the kernel works in the notebook's folder
    parameters = {**parameters, "out_dir": str(folder)}
    check_parameters(notebook, parameters)
    asked, request = {"notebook": notebook.name, **parameters}, folder / REQUEST
    if request.exists():
        before = json.loads(request.read_text())
        for name in {**before, **asked}:
            if before.get(name) != asked.get(name):
                raise RunError(
                    f"{folder} is of a run with {name}={before.get(name)!r}, not {asked.get(name)!r}; choose another --out"
                )
    if (folder / RECORD).exists():
        return folder / RECORD
    _write(request, json.dumps(asked, indent=1))
    papermill = _papermill()
    try:
        papermill.execute_notebook(
            str(notebook),
            str(folder / notebook.name),
            parameters=parameters,
            kernel_name=kernel,
            progress_bar=False,
            cwd=str(notebook.parent),
            extra_arguments=["--log-level=40"],
        )
    except papermill.PapermillExecutionError as e:
        raise RunError(f"{folder / notebook.name}: cell {e.exec_count}: {e.ename}: {e.evalue}") from None
    except DeadKernelError:
        raise RunError(f"{folder / notebook.name}: the kernel was killed; out of memory?") from None
    if not (folder / RECORD).exists():
        raise RunError(f"{folder / notebook.name}: finished without a record; its last cell must write one")
    return folder / RECORD


def plan(study: Path, out: Path, changes: Mapping[str, Any]) -> list[tuple[Path, Path, dict[str, Any]]]:
    """(notebook, folder, parameters) of every run of a study, all checked before anything starts.

    changes: parameters set for every entry; a value given here replaces a grid axis of that name.
    """
    entries = yaml.safe_load(study.read_text())
    runs = []
    for entry in entries:
        unknown = set(entry) - {"notebook", "parameters", "grid"}
        if unknown or "notebook" not in entry:
            wrong = f"unknown key {sorted(unknown)[0]!r}" if unknown else "an entry without notebook"
            raise RunError(f"{study}: {wrong}; an entry has notebook, parameters, grid")
        notebook = ROOT / "notebooks" / entry["notebook"]
        grid = {k: v for k, v in entry.get("grid", {}).items() if k not in changes}
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid, values))
            parameters = {**entry.get("parameters", {}), **changes, **point}
            check_parameters(notebook, parameters)
            name = "-".join(
                [notebook.stem, *(f"{k}={v}" for k, v in {**point, **changes}.items() if "/" not in str(v))]
            )
            runs.append((notebook, out / re.sub(r"[^\w.=+-]+", "_", name), parameters))
    return runs


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mmlib.runs", description="Executes the runs of a study.")
    parser.add_argument("study", type=Path, help="a YAML file of notebooks/studies")
    parser.add_argument(
        "--out", type=Path, help="folder of the runs (default: runs/<study>); finished runs are skipped"
    )
    parser.add_argument("--fresh", action="store_true", help="a new folder below it, named after date and time")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter for every run (YAML)"
    )
    parser.add_argument("--results", type=Path, help="write the rows of all runs to this CSV")
    options = parser.parse_args(arguments)
    out = (options.out or ROOT / "runs" / options.study.stem).resolve()
    if options.fresh:
        out = out / time.strftime("%Y-%m-%d-%H%M%S")
    try:
        changes = {k: _from_here(yaml.safe_load(v)) for k, _, v in (s.partition("=") for s in options.set)}
        runs = plan(options.study, out, changes)
    except (RunError, OSError, yaml.YAMLError) as e:
        print(e, file=sys.stderr)
        return 2
    failures = []
    # For the kernels: progress bars stored in an executed notebook are noise.
    os.environ["TQDM_DISABLE"] = "1"
    for notebook, folder, parameters in tqdm(runs, unit="run"):
        try:
            execute(notebook, folder, parameters)
        except RunError as e:
            failures.append(str(e))
            tqdm.write(f"failed: {e}", file=sys.stderr)
    if len(failures) < len(runs):
        _report(out, runs, options.results)
    print(f"{len(runs) - len(failures)} runs finished, {len(failures)} failed", *failures, sep="\n")
    return 1 if failures else 0


def _report(out: Path, runs: list, results: Path | None) -> None:
    rows = collect(folder for _, folder, _ in runs)
    if results:
        _write(results, rows.to_csv(index=False))
        print(f"rows: {results}")
    print("\nTest split, the main metric of each paper, mean ± standard deviation over seeds:\n")
    print(_beside_oracle(rows).to_string(index=False))
    print("\nExecuted notebooks and figures:")
    for notebook, folder, _ in runs:
        for path in [folder / notebook.name, *sorted(folder.glob("*.png"))]:
            if path.exists():
                print(f"  {path}")


def _beside_oracle(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per paper, condition and method, with the oracle's score in the same condition and what is missing to it."""
    rows = rows[rows["metric"] == rows.groupby("paper")["metric"].transform("first")]
    place, system = ["paper", "protocol", "condition"], ["method", "variant"]
    is_oracle = (rows["method"] == "oracle") & (rows["variant"] == "")
    oracle = rows[is_oracle].groupby(place)["value"].mean()
    table = (
        rows[~is_oracle].groupby([*place, "metric", *system], sort=False)["value"].agg(["mean", "std"]).reset_index()
    )
    best = pd.MultiIndex.from_frame(table[place]).map(oracle)
    deviation = table.pop("std").map(lambda d: "" if pd.isna(d) else f" ± {d:.3f}")
    table["score"] = table.pop("mean").map("{:.3f}".format) + deviation
    table["oracle"] = [f"{b:.3f}" if pd.notna(b) else "" for b in best]
    return table.rename(columns={"protocol": "trained under", "condition": "tested under"})


def _from_here(value: Any) -> Any:
    """A path that exists from where the caller stands, absolute: kernels work in the notebook's folder."""
    return str(Path(value).resolve()) if isinstance(value, str) and value and Path(value).exists() else value


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with open(temporary, "w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def _by(order: list) -> Callable[[pd.Index], pd.Index]:
    return lambda labels: labels.map({value: i for i, value in enumerate(order)})


def _list(value: list[str] | str) -> list[str]:
    return [value] if isinstance(value, str) else value


def _papermill():
    import papermill  # takes a second to import, and notebooks that only record do not need it

    return papermill


if __name__ == "__main__":
    sys.exit(main())
