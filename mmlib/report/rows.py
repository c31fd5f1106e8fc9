"""The numbers that are committed, as printed and as measured, and tables of them over seeds."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from mmlib import metrics
from mmlib.models.simc import SIMC_CONFIGURATIONS
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


COMPLETE = ("complete",)

Rows = pd.DataFrame
Entry = tuple[str, str]  # method, variant


class MissingRows(LookupError):
    """A judge needs rows that data/results or data/reported lack; the message names them."""


def score(rows: Rows, dataset: str, system: Entry, metric: str, conditions: Sequence[str]) -> pd.Series:
    """Of one system the mean over these conditions, per seed (index); raises MissingRows where a row is absent."""
    method, variant = system
    part = rows[(rows["method"] == method) & (rows["dataset"] == dataset)]
    part = part[(part["variant"] == variant) & (part["metric"] == metric) & part["condition"].isin(conditions)]
    wide = part.pivot(index="seed", columns="condition", values="value").reindex(columns=list(conditions))
    for condition in conditions:
        if wide.empty or wide[condition].isna().any():
            paper = "".join(rows["paper"].unique())
            raise MissingRows(
                f"data/results/{paper}.csv: {paper} lacks {metric} of {method!r}, variant {variant!r}, under "
                f"{condition!r} on {dataset!r}, for at least one seed; run its study and collect the rows"
            )
    return wide.mean(axis=1)


def main_metric(rows: Rows, dataset: str) -> str:
    """The metric of `metrics.PRIMARY` that a data set's rows have."""
    known = set(rows.loc[rows["dataset"] == dataset, "metric"])
    return next((m for m in metrics.PRIMARY.values() if m in known), " or ".join(metrics.PRIMARY.values()))


def holes(rows: Rows, dataset: str) -> list[str]:
    """The conditions of a data set that leave one set of modalities to all clips: the papers' testing conditions."""
    known = rows.loc[rows["dataset"] == dataset, "condition"].unique()
    return sorted(c for c in known if re.fullmatch(r"available\([^)]*\)", c)) or ["available(...)"]


def grid(printed: Rows, table: str, dataset: str, metric: str) -> pd.DataFrame:
    """One of a paper's tables as printed, methods by conditions; raises MissingRows where it is not there."""
    part = printed[(printed["table"] == table) & (printed["dataset"] == dataset) & (printed["metric"] == metric)]
    if part.empty:
        paper = "".join(printed["paper"].unique())
        raise MissingRows(f"data/reported/{paper}.csv: {paper} lacks {metric} of table {table} on {dataset!r}")
    wide = part.pivot(index="method", columns="condition", values="value")
    return wide.loc[list(dict.fromkeys(part["method"])), list(dict.fromkeys(part["condition"]))]


def without_average(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="average over missing", errors="ignore")


AVERAGE, SHARED = "average over missing", "average over shared"
NOTHING_MISSING = ("complete", "100_image_100_text", "rate(0)")
"""Conditions under which nothing is missing."""


FOLDS = "iemocap, folds"
SYSTEM_KEY = ["method", "variant", "seed", "column"]
_results, cached_reported = cache(results), cache(reported)  # read once; nothing here changes them


@dataclass(frozen=True)
class Corpus:
    """A data set of ours: what it is, whether its rows are of the published set, and where its settings are."""

    what: str
    study: str
    same: bool = True
    scale: bool = True  # labels in the published unit, so that mean absolute errors may be subtracted
    folds: tuple[str, ...] = ()  # papers in whose rows each seed is another fold


CORPORA = {
    "mmimdb_subset": Corpus("MM-IMDb films whose poster and plot are public, 17 MovieLens genres", "mmimdb"),
    "mosi": Corpus("MOSI clips, no video", "mosi"),
    "mosi_bclstm": Corpus("MOSI clips as vectors, text and video trained with labels", "mosi_bclstm"),
    "mmmo": Corpus(
        "spoken film reviews (ICT-MMMO), labels from 1 to 5", "mmmo", same=False, scale=False, folds=("smcir",)
    ),
    "iemocap": Corpus("IEMOCAP utterances, session 5 for test, no video", "iemocap"),
    FOLDS: Corpus("IEMOCAP utterances, each session once for test, no video", "iemocap_folds", folds=("admc",)),
    "iemocap, binary": Corpus("IEMOCAP utterances, two classes, no video", "iemocap_binary"),
    "mintrec_text": Corpus("MIntRec scenes, text alone", "mintrec"),
    "synthetic mosi": Corpus("synthetic clips in the form of MOSI", "synthetic", same=False),
    "synthetic iemocap": Corpus("synthetic clips in the form of IEMOCAP", "synthetic", same=False),
}
"""Our data sets by their name in data/results; the five folds of IEMOCAP are one."""


def measured(paper: str, dataset: str) -> pd.DataFrame:
    """Our committed rows on one data set. The folds of IEMOCAP are its seeds; the best single modality has no variant.

    MIntRec is text alone here, so that what our rows call complete is the paper's {T}. KeyError where there are none.
    """
    all_ = _results(paper)
    fold = all_["dataset"].str.extract(r"^iemocap, fold (\d+)$", expand=False)
    if dataset == FOLDS:
        found = all_[fold.notna()].assign(seed=fold.dropna().astype(int))
    else:
        found = all_[all_["dataset"] == dataset]
    if found.empty:
        raise KeyError(f"data/results/{paper}.csv has no rows on {dataset!r}")
    found = found.assign(variant=found["variant"].mask(found["method"] == "best single modality", ""))
    if dataset == "mintrec_text":
        found = found.assign(condition=found["condition"].replace("complete", "available(text)"))
    return found


def scores(paper: str, dataset: str, metric: str, conditions: Iterable[str]) -> pd.Series:
    """Method, variant, seed -> mean of our scores over the conditions, in the unit of data/results.

    A system is there only with all the conditions. The order is that of data/results.
    """
    wanted = list(conditions)
    part = measured(paper, dataset)
    part = part[(part["metric"] == metric) & part["condition"].isin(wanted)]
    found = part.groupby(["method", "variant", "seed"], sort=False)["value"].agg(["mean", "size"])
    return found.loc[found["size"] == len(wanted), "mean"]


def sets(paper: str, dataset: str) -> list[str]:
    """The conditions under which something is missing, of those that the papers average over."""
    if paper == "simc":
        return list(SIMC_CONFIGURATIONS[1:])
    conditions = list(dict.fromkeys(measured(paper, dataset)["condition"]))
    if dataset == "iemocap, binary":
        return [c for c in conditions if c.startswith("rate(") and c not in NOTHING_MISSING]
    return [c for c in conditions if c.startswith("available(") and c.endswith(")") and " then " not in c]


def nothing_missing(paper: str, dataset: str) -> list[str]:
    """The condition under which nothing is missing; none for MIntRec's text alone."""
    if paper == "simc":
        return [SIMC_CONFIGURATIONS[0]]
    return {"mintrec_text": [], "iemocap, binary": ["rate(0)"]}.get(dataset, ["complete"])


def mean_text(values: Iterable[float], digits: int) -> str:
    """'mean ± standard deviation' (n - 1), the number alone where there is one, – where there is none.

    Numbers that are nan are left out, and the text says how many are not.
    """
    all_ = pd.Series(list(values), dtype=float)
    known = all_.dropna()
    if known.empty:
        return "–"
    text = f"{known.mean():z.{digits}f}" + (f" ± {known.std():.{digits}f}" if len(known) > 1 else "")
    return text if len(known) == len(all_) else f"{text} ({len(known)} of {len(all_)})"


def printed_cells(
    paper: str, table: str, dataset: str, method: str, names: Iterable[str], conditions: Iterable[str]
) -> pd.Series:
    """The printed cells of a method by metric and condition; the printed average alone where it is of these conditions.

    Raises KeyError where a cell is not printed.
    """
    cells = cached_reported(paper)
    cells = cells[(cells["table"] == table) & (cells["dataset"] == dataset) & (cells["method"] == method)]
    wanted, known = list(conditions), set(cells["condition"])
    if AVERAGE in known and set(wanted) == known - {AVERAGE, *NOTHING_MISSING}:
        wanted = [AVERAGE]
    return cells.set_index(["metric", "condition"])["value"].loc[[(m, c) for m in names for c in wanted]]
