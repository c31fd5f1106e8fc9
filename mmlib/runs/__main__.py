"""Executes the runs of a study: python -m mmlib.runs STUDY.yaml"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

from mmlib.runs.execution import NOTEBOOK, Run, attempt
from mmlib.runs.records import ROOT, RunError, collect, write
from mmlib.runs.study import plan


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
        changes = {k: yaml.safe_load(v) for k, _, v in (s.partition("=") for s in options.set)}
        runs = plan(options.study, out, changes)
    except (RunError, OSError, yaml.YAMLError) as e:
        print(e, file=sys.stderr)
        return 2
    failures = []
    # For the kernels: progress bars stored in an executed notebook are noise.
    os.environ["TQDM_DISABLE"] = "1"
    for run in tqdm(runs, unit="run"):
        outcome = attempt(run)
        if outcome.state != "finished":
            failures.append(f"{outcome.run}: {outcome.error}")
            tqdm.write(f"failed: {failures[-1]}", file=sys.stderr)
    if len(failures) < len(runs):
        _report(out, runs, options.results)
    print(f"{len(runs) - len(failures)} runs finished, {len(failures)} failed", *failures, sep="\n")
    return 1 if failures else 0


def _report(out: Path, runs: list[Run], results: Path | None) -> None:
    rows = collect(run.folder for run in runs)
    if results:
        write(results, rows.to_csv(index=False))
        print(f"rows: {results}")
    print("\nTest split, the main metric of each paper, mean ± standard deviation over seeds:\n")
    print(_beside_oracle(rows).to_string(index=False))
    print("\nExecuted notebooks and figures:")
    for run in runs:
        for path in [run.folder / NOTEBOOK, *sorted(run.folder.glob("*.png"))]:
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




if __name__ == "__main__":
    sys.exit(main())
