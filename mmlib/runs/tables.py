"""The numbers that are committed, as printed and as measured, and tables of them over seeds."""

from collections.abc import Callable

import pandas as pd

from mmlib.runs.records import ROOT


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


def _by(order: list) -> Callable[[pd.Index], pd.Index]:
    return lambda labels: labels.map({value: i for i, value in enumerate(order)})


def _list(value: list[str] | str) -> list[str]:
    return [value] if isinstance(value, str) else value
