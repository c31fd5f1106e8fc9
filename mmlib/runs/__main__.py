"""Executes the runs of a study: python -m mmlib.runs STUDY.yaml [--workers N] [--dry-run] ..."""

import argparse
import fnmatch
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mmlib import files
from mmlib.runs.errors import RunError
from mmlib.runs.execution import LOG, NOTEBOOK, Outcome, Run
from mmlib.runs.progress import Progress, compare_with_oracle
from mmlib.runs.rows import ROOT, TEST, collect, save
from mmlib.runs.study import plan


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every run is finished. 1: some are not. 2: the request is wrong. 130: Ctrl-C."""
    options = _parser().parse_args(arguments)
    out = (options.out or (ROOT if files.is_checkout() else Path()) / "runs" / options.study.stem).resolve()
    if options.fresh:
        out = out / time.strftime("%Y-%m-%d-%H%M%S")
    failures: list[Outcome] = []
    try:
        whole = plan(options.study, out, _pairs("--set", options.set, yaml.safe_load), options.kernel)
        runs = _only(whole, options.only)
        slurm = None if options.slurm is None else _pairs("--slurm", options.slurm, _slurm_value)
        if options.dry_run:
            return _dry(runs, options.force)
    except RunError as e:
        print(e, file=sys.stderr)
        return 2
    status = 0
    try:
        run_study(runs, slurm, options, failures)
    except KeyboardInterrupt:
        status = 130
    except RunError as e:
        print(e, file=sys.stderr)
        status = 1
    finished = [run for run in runs if run.finished]
    try:
        if finished:
            _report(finished, options.results, complete=len(finished) == len(whole))
    except (RunError, OSError) as e:
        print(e, file=sys.stderr)
        status = status or 1
    if failures:
        _failed(failures, out)
    rest = len(runs) - len(finished) - len(failures)
    again = f"call again {'with --out ' + str(out) + ' and without --fresh ' if options.fresh else ''}to go on"
    print(f"{len(finished)} runs finished, {len(failures)} failed" + f", {rest} not run; {again}" * (rest > 0))
    return status or int(bool(failures or rest))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mmlib.runs",
        description="Executes the runs of a study that are not finished yet, each a notebook in a folder of its own.",
    )
    add = parser.add_argument
    add("study", type=Path, help="a YAML file, such as those of notebooks/studies")
    add("--out", type=Path, metavar="FOLDER", help="where the run folders go (default: runs/<study>)")
    add("--fresh", action="store_true", help="into a new folder below it, named after date and time")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter for every run (YAML)")
    add("--only", action="append", default=[], metavar="PATTERN", help="runs whose name matches, such as '*seed=0-*'")
    add("--force", action="store_true", help="also run what is finished; the old run moves to FOLDER/replaced")
    add("--dry-run", action="store_true", help="say what would run, and stop")
    add(
        "--results",
        type=Path,
        metavar="CSV",
        help="write the rows here (to CSV.partial while runs are missing), replicates beside",
    )
    add("--kernel", default="python3", help="the Jupyter kernel (default: python3, of this environment)")
    add("--workers", type=_positive, metavar="N", help="how many at a time (default: one per GPU, else one per core)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="a Dask scheduler, whose workers share FOLDER")
    options = "memory=8GB walltime=04:00:00 queue=..."
    where.add_argument("--slurm", nargs="*", metavar="NAME=VALUE", help=f"workers as SLURM jobs: {options}")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers; give 1 or more")
    return int(text)


def run_study(
    runs: list[Run], slurm: dict[str, Any] | None, options: argparse.Namespace, failures: list[Outcome]
) -> None:
    """Executes the unfinished runs and adds failed ones to `failures`."""
    to_do = [run for run in runs if options.force or not run.finished]
    if not to_do:
        return
    from mmlib.runs import engine  # its import takes a second, and a finished study does not need it

    os.environ["TQDM_DISABLE"] = "1"  # for the kernels: progress bars stored in an executed notebook are noise
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress(len(runs), len(runs) - len(to_do), failures)
    cluster = options.scheduler
    try:
        if slurm is not None:
            cluster = engine.slurm(options.workers, len(to_do), slurm, to_do[0].folder.parent / "jobs")
        elif not cluster:
            cluster = engine.local(options.workers, len(to_do))
        with engine.connected(cluster) as client:
            if options.force:
                _set_aside(runs)
            engine.run_all(to_do, client, progress)
    finally:
        progress.close()
        if cluster is not None and cluster is not options.scheduler:
            cluster.close(timeout=5)


def _dry(runs: list[Run], force: bool) -> int:
    for run in runs:
        print(f"{'finished' if run.finished and not force else 'to run':<9} {run.folder}")
    print(f"{len(runs)} runs, {sum(run.finished for run in runs)} of them finished")
    return 0


def _only(runs: list[Run], patterns: list[str]) -> list[Run]:
    matches = [run for run in runs if not patterns or any(fnmatch.fnmatch(run.folder.name, p) for p in patterns)]
    if not matches:
        raise RunError(f"--only {' '.join(patterns)}: no run matches; --dry-run lists their names")
    return matches


def _set_aside(runs: list[Run]) -> None:
    for run in runs:
        if run.finished:
            replaced = run.folder.parent / "replaced"
            replaced.mkdir(exist_ok=True)
            name = f"{run.folder.name}-{time.strftime('%Y-%m-%d-%H%M%S')}"
            others = len(list(replaced.glob(f"{name}*")))
            run.folder.rename(replaced / (f"{name}-{others + 1}" if others else name))


def _slurm_value(value: str) -> Any:
    """Reads lists, mappings and whole numbers; everything else is text. YAML 1.1 reads 12:00:00 as a number."""
    return yaml.safe_load(value) if re.fullmatch(r"[\[{].*|0|[1-9]\d*", value) else value


def _pairs(option: str, texts: list[str], read: Callable[[str], Any]) -> dict[str, Any]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RunError(f"{option} {text}: it must be NAME=VALUE")
        try:
            pairs[name] = read(value)
        except yaml.YAMLError as e:
            raise RunError(f"{option} {text}: the value is not YAML: {e}") from None
    return pairs


def _failed(failures: list[Outcome], out: Path) -> None:
    from mmlib import show  # matplotlib and more, for a call that ends well in vain

    rows = [{"run": f.run, "cell": str(f.cell or ""), "error": f.error} for f in failures]
    print("\n" + show.table(pd.DataFrame(rows).set_index("run"), "Failed").data)
    print(f"\n{out}/<run>/{NOTEBOOK} shows how far each run came, {LOG} beside it has its messages.\n")


def _report(runs: list[Run], results: Path | None, complete: bool) -> None:
    folders = [run.folder for run in runs]
    rows = collect(folders)
    if results:
        results = results if complete else results.with_name(results.name + ".partial")
        save(folders, results)
        print(f"rows: {results}")
    print("\nTest split, the main metric of each data set, mean over the test conditions ± deviation over seeds:\n")
    print(compare_with_oracle(rows).to_string(index=False))
    _flags(rows)
    print("\nExecuted notebooks and figures:")
    for run in runs:
        for path in [run.folder / NOTEBOOK, *sorted(run.folder.glob("*.png"))]:
            if path.exists():
                print(f"  {path}")


def _flags(rows: pd.DataFrame) -> None:
    """The systems whose training was flagged: their rows enter no rank and no verdict."""
    flagged = rows[(rows["role"] == TEST) & (rows["flags"] != "")]
    if flagged.empty:
        return
    system = ["dataset", "protocol", "method", "variant", "flags"]
    seeds = flagged.groupby(system, sort=False)["seed"].agg(lambda s: ", ".join(str(n) for n in sorted(set(s))))
    print("\nFlagged; these rows enter no rank and no verdict:\n")
    print(seeds.rename("seeds").reset_index().to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
