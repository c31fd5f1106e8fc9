"""What the person who watches a study is told: which runs are under way, and the scores of each one that ends."""

import sys
import time
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from mmlib.names import PRIMARY
from mmlib.runs.errors import RunError
from mmlib.runs.execution import NOTEBOOK, Outcome, Run
from mmlib.runs.rows import TEST, collect

_NAMED = 3  # runs in the bar, and systems in a line


class Progress:
    """The bar of a study of `total` runs, `done` of which are finished already; it adds failed ones to `failures`."""

    def __init__(self, total: int, done: int, failures: list[Outcome]):
        self.failures = failures
        self.under_way: dict[str, tuple[float, Path]] = {}  # by name of the run: when it began, its folder
        self.bar = tqdm(total=total, initial=done, unit="run", disable=False)

    def began(self, run: Run) -> None:
        self.under_way[run.folder.name] = time.monotonic(), run.folder
        self._name()

    def ended(self, outcome: Outcome) -> None:
        began, folder = self.under_way.pop(outcome.run)
        if outcome.state != "busy":
            scores = f"; {_scores_in(folder)}" if outcome.state == "finished" else ""
            place = f"{folder.name} {outcome.state} in {time.monotonic() - began:.0f} s"
            self.bar.write(f"{place}{scores}\n    {folder / NOTEBOOK}", file=sys.stderr)
            self.bar.update()
        if outcome.state == "failed":
            self.failures.append(outcome)
            self.bar.set_postfix(failed=len(self.failures), refresh=False)
        self._name()

    def close(self) -> None:
        self.bar.close()

    def _name(self) -> None:
        names = [name.rpartition("-")[0] for name in self.under_way]  # without the hash of the parameters
        more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
        self.bar.set_description(", ".join([*names[:_NAMED], *more]))


def _scores_in(folder: Path) -> str:
    """A record that cannot be read must not end the other runs; the end of the study says what is wrong with it."""
    try:
        return first_scores(collect([folder]))
    except (RunError, KeyError):
        return "its record cannot be read"


def first_scores(rows: pd.DataFrame) -> str:
    """The scores of the first systems of a run on its first data set: 'mae: UMDF 0.741; prior 1.102; oracle 0.690'."""
    if rows.empty or (table := compare_with_oracle(rows)).empty:
        return "no test scores"
    table = table[table["dataset"] == table["dataset"].iloc[0]]
    systems = (table["method"] + (", " + table["variant"]).where(table["variant"] != "", "")).str.cat(
        table["score"], sep=" "
    )
    text = f"{table['metric'].iloc[0]}: {'; '.join(systems[:_NAMED])}"
    text += f"; {len(table) - _NAMED} more" if len(table) > _NAMED else ""
    return text + (f"; oracle {table['oracle'].iloc[0]}" if table["oracle"].iloc[0] else "")


def compare_with_oracle(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per data set and system: its mean over all test conditions, beside the oracle's mean over them."""

    def text(values: pd.Series) -> str:
        return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if values.count() > 1 else "")

    rows = rows[rows["role"] == TEST]
    main = rows["metric"].where(rows["metric"].isin(PRIMARY.values())).groupby([rows["paper"], rows["dataset"]])
    rows = rows[rows["metric"] == main.transform("first")]
    is_oracle = (rows["method"] == "oracle") & (rows["variant"] == "")
    place = ["paper", "dataset", "condition", "seed"]
    line = ["paper", "dataset", "protocol", "metric", "method", "variant"]
    oracle = rows[is_oracle].groupby(place)["value"].mean().rename("oracle")
    by_seed = rows[~is_oracle].join(oracle, on=place).groupby([*line, "seed"], sort=False)
    scores = by_seed.agg(tests=("condition", "nunique"), value=("value", "mean"))
    scores["oracle"] = by_seed["oracle"].agg(lambda v: v.mean(skipna=False))
    systems = scores.groupby(line, sort=False)
    table = systems.agg(tests=("tests", "max"), score=("value", text), oracle=("oracle", "mean")).reset_index()
    table["oracle"] = table["oracle"].map(lambda o: "" if pd.isna(o) else f"{o:.3f}")
    return table.rename(columns={"protocol": "trained under", "tests": "test conditions"})
