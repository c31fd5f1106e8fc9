"""What a study costs beside the work itself: 40 short runs on two workers, and the resume of 1,000 finished ones."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from mmlib import runs
from tests.bench.table import Table
from tests.helpers.notebooks import RECORDING, notebook

RUNS, WORKERS = 40, 2
_BARE = """
import sys
from papermill import execute_notebook
notebook, folder, seeds = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
for seed in seeds:
    execute_notebook(notebook, f"{folder}/{seed}.ipynb", {"seed": int(seed)}, kernel_name="python3", progress_bar=False)
"""


def _study(folder: Path, count: int) -> tuple[Path, Path]:
    nb = notebook(folder, RECORDING)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump([{"notebook": str(nb), "grid": {"seed": list(range(count))}}]))
    return nb, path


def _bare(nb: Path, folder: Path) -> float:
    """The same notebooks by papermill alone, in as many processes: kernel starts and work."""
    began = time.perf_counter()
    seeds = [",".join(map(str, range(w, RUNS, WORKERS))) for w in range(WORKERS)]
    calls = [
        subprocess.Popen([sys.executable, "-c", _BARE, str(nb), str(folder), s], stderr=subprocess.DEVNULL)
        for s in seeds
    ]
    for call in calls:
        if call.wait():
            raise RuntimeError("papermill alone failed")
    return time.perf_counter() - began


def _call(study: Path, out: Path) -> float:
    command = [sys.executable, "-m", "mmlib.runs", str(study), "--out", str(out), "--workers", str(WORKERS)]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main(table: Table) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        nb, study = _study(folder, RUNS)
        (folder / "bare").mkdir()
        # Twice each in turn: what else the machine does falls on both.
        bare, ours = 0.0, 0.0
        for turn in range(2):
            bare += _bare(nb, folder / "bare")
            ours += _call(study, folder / f"out{turn}")
        overhead = (ours - bare) / 2 * WORKERS / RUNS
        size = f"{RUNS} short runs, {WORKERS} workers"
        table.add("a study", size, "time", ours / 2, "s", against="papermill alone", ratio=ours / bare)
        table.add("a study", size, "overhead of a run", overhead, "s", wanted="<= 1")
        _, study = _study(folder, 1000)
        labels = dict.fromkeys(("paper", "dataset", "features", "method", "variant", "protocol", "condition"), "x")
        for run in runs.plan(study, folder / "many"):
            rows = [{**labels, "metric": f"m{i}", "seed": run.parameters["seed"], "value": i / 7} for i in range(100)]
            run.folder.mkdir(parents=True)
            content = {"run": {"commit": "c", "data": {"fingerprint": "f"}}, "rows": rows}
            (run.folder / runs.RECORD).write_text(json.dumps(content))
        table.add("a study", "1,000 finished runs", "resume", _call(study, folder / "many"), "s", wanted="<= 5")
