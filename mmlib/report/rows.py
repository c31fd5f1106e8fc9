"""The numbers that are committed, as printed and as measured: read, selected and averaged over conditions in one way."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from mmlib import metrics
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.runs.records import ROOT

Rows = pd.DataFrame
SystemName = tuple[str, str]
"""A system in data/results: its method and its variant."""
AVAILABLE = r"available\([^)]*\)"
AVERAGE = "average over missing"
FOLDS = "iemocap, folds"
RUN = ["method", "variant", "seed"]


class MissingRows(LookupError):
    """A table, figure or verdict needs rows that data/results or data/reported lack; the message names them."""


@dataclass(frozen=True)
class Corpus:
    """One of our data sets.

    study: the settings are in notebooks/studies/<paper>_<study>.yaml. is_published: its rows are of the published set.
    same_unit: its labels are in the published unit, so that mean absolute errors may be subtracted. folds: the papers in
    whose rows each seed is another fold. missing: regular expression of the conditions over which the paper averages.
    complete: the condition under which nothing is missing; empty where there is none.
    """

    description: str
    study: str
    is_published: bool = True
    same_unit: bool = True
    folds: tuple[str, ...] = ()
    missing: str = AVAILABLE
    complete: str = "complete"


CORPORA = {
    "mmimdb_subset": Corpus(
        "MM-IMDb films whose poster and plot are public, 17 MovieLens genres", "mmimdb",
        missing="|".join(SIMC_CONFIGURATIONS[1:]), complete=SIMC_CONFIGURATIONS[0],
    ),
    "mosi": Corpus("MOSI clips, no video", "mosi"),
    "mosi_bclstm": Corpus("MOSI clips as vectors, text and video trained with labels", "mosi_bclstm"),
    "mmmo": Corpus(
        "spoken film reviews (ICT-MMMO), labels from 1 to 5", "mmmo",
        is_published=False, same_unit=False, folds=("smcir",),
    ),
    "iemocap": Corpus("IEMOCAP utterances, session 5 for test, no video", "iemocap"),
    FOLDS: Corpus("IEMOCAP utterances, each session once for test, no video", "iemocap_folds", folds=("admc",)),
    "iemocap, binary": Corpus(
        "IEMOCAP utterances, two classes, no video", "iemocap_binary", missing=r"rate\(0\.\d+\)", complete="rate(0)"
    ),
    "mintrec_text": Corpus("MIntRec scenes, text alone", "mintrec", complete=""),
    "synthetic mosi": Corpus("synthetic clips in the form of MOSI", "synthetic", is_published=False),
    "synthetic iemocap": Corpus("synthetic clips in the form of IEMOCAP", "synthetic", is_published=False),
}  # fmt: skip
"""Our data sets by their name in data/results; the five folds of IEMOCAP are one."""
COMPLETE = {corpus.complete for corpus in CORPORA.values()}


def reported(paper: str) -> Rows:
    """Every number of a paper's tables as printed (data/reported)."""
    return _read(ROOT / "data" / "reported" / f"{paper}.csv")


def results(paper: str) -> Rows:
    """Our committed rows for a paper (data/results): one per run and metric."""
    return _read(ROOT / "data" / "results" / f"{paper}.csv").fillna({"variant": ""})


def _read(path: Path) -> Rows:
    return _read_once(path, path.stat().st_mtime_ns).copy()


@cache
def _read_once(path: Path, changed: int) -> Rows:
    return pd.read_csv(path, dtype={"table": str, "variant": str})


def measured(paper: str, dataset: str) -> Rows:
    """Our committed rows on one data set of CORPORA. The folds of IEMOCAP are its seeds.

    MIntRec has text alone here, so that what our rows call complete is the paper's {T}. KeyError where there are no rows.
    """
    rows = results(paper)
    if dataset == FOLDS:
        fold = rows["dataset"].str.extract(r"^iemocap, fold (\d+)$", expand=False).dropna().astype(int)
        rows = rows.loc[fold.index].assign(seed=fold, dataset=FOLDS)
    rows = rows[rows["dataset"] == dataset]
    if rows.empty:
        raise KeyError(f"data/results/{paper}.csv has no rows on {dataset!r}")
    if dataset == "mintrec_text":
        rows = rows.assign(condition=rows["condition"].replace("complete", "available(text)"))
    return rows


def main_metric(rows: Rows, dataset: str) -> str:
    """The metric of `metrics.PRIMARY` that a data set's rows have."""
    names = set(rows.loc[rows["dataset"] == dataset, "metric"])
    return next((m for m in metrics.PRIMARY.values() if m in names), " or ".join(metrics.PRIMARY.values()))


def conditions_like(rows: Rows, dataset: str, pattern: str) -> list[str]:
    """The conditions of a data set that match a regular expression, sorted.

    Where there are none the expression itself, so that `by_seed` names it as missing.
    """
    names = rows.loc[rows["dataset"] == dataset, "condition"].unique()
    return sorted(c for c in names if re.fullmatch(pattern, c)) or [pattern]


def missing_conditions(rows: Rows, dataset: str) -> list[str]:
    """The conditions with something missing over which the papers average."""
    return conditions_like(rows, dataset, CORPORA[dataset].missing)


def fold_ratio(paper: str, dataset: str) -> float:
    """Test rows per training row where the seeds of a paper's rows are folds, else 0, as `intervals.paired` takes it."""
    # Of five folds one is for test, one for validation and three are for training.
    return 1 / 3 if paper in CORPORA[dataset].folds else 0.0


def scores(rows: Rows, metric: str) -> pd.DataFrame:
    """A metric on one data set: a line per method, variant and seed, a column per condition, in order of appearance.

    nan where a row is absent. The best single modality is one system, whichever modality its variant names.
    """
    part = rows[rows["metric"] == metric]
    part = part.assign(variant=part["variant"].mask(part["method"] == "best single modality", ""))
    wide = part.pivot(index=RUN, columns="condition", values="value")
    runs = pd.MultiIndex.from_frame(part[RUN].drop_duplicates())
    return wide.reindex(index=runs, columns=list(dict.fromkeys(part["condition"])))


def by_seed(rows: Rows, dataset: str, system: SystemName, metric: str, conditions: Sequence[str]) -> pd.DataFrame:
    """The scores of one system: a line per seed, a column per condition. Raises MissingRows where a row is absent."""
    method, variant = system
    wide = scores(rows[(rows["dataset"] == dataset) & (rows["method"] == method)], metric)
    wide = wide[wide.index.get_level_values("variant") == variant].droplevel(["method", "variant"])
    wide = wide.reindex(columns=list(conditions))
    for condition in conditions:
        if wide.empty or wide[condition].isna().any():
            paper = "".join(rows["paper"].unique())
            cell = f"{metric} of {method!r}, variant {variant!r}, under {condition!r} on {dataset!r}, for at least one seed"
            raise MissingRows(f"data/results/{paper}.csv: {paper} lacks {cell}; run its study and collect the rows")
    return wide


def score(rows: Rows, dataset: str, system: SystemName, metric: str, conditions: Sequence[str]) -> pd.Series:
    """The mean of one system over conditions, per seed (index). Raises MissingRows as `by_seed` does."""
    return by_seed(rows, dataset, system, metric, conditions).mean(axis=1)


def mean_text(values: Iterable[float], digits: int) -> str:
    """'mean ± standard deviation' (n - 1), the number alone where there is one, – where there is none.

    Numbers that are nan are not averaged; the text then says how many numbers were.
    """
    values = pd.Series(list(values), dtype=float)
    finite = values.dropna()
    if finite.empty:
        return "–"
    text = f"{finite.mean():z.{digits}f}" + (f" ± {finite.std():.{digits}f}" if len(finite) > 1 else "")
    return text if len(finite) == len(values) else f"{text} ({len(finite)} of {len(values)})"


def mean_and_deviation(rows: Rows, index: list[str] | str, columns: list[str] | str, digits: int = 3) -> pd.DataFrame:
    """A table of `mean_text` over seeds, whose lines and columns are in order of appearance."""
    index, columns = ([names] if isinstance(names, str) else list(names) for names in (index, columns))
    order = {name: {value: i for i, value in enumerate(dict.fromkeys(rows[name]))} for name in (*index, *columns)}
    table = rows.groupby([*index, *columns])["value"].apply(mean_text, digits).unstack(columns)
    for axis in ("index", "columns"):
        table = table.sort_index(axis=axis, key=lambda labels: labels.map(order[labels.name]))
    return table


def by_pattern(rows: Rows, metric: str) -> pd.DataFrame:
    """A metric under every set of available modalities, their mean ('missing'), and under all of them ('complete').

    rows: of one data set. One line per method and variant, each cell as of `mean_text`; mae as it is, all else in percent.
    """
    wide = scores(rows[rows["condition"].str.fullmatch(f"{AVAILABLE}|complete")], metric)
    sets = wide.drop(columns="complete").rename(columns=lambda c: c.removeprefix("available(").removesuffix(")"))
    table = sets.assign(missing=sets.mean(axis=1), complete=wide["complete"]) * (1 if metric == "mae" else 100)
    digits = 3 if metric == "mae" else 1
    return table.groupby(level=["method", "variant"], sort=False).agg(lambda values: mean_text(values, digits))


def grid(printed: Rows, table: str, dataset: str, metric: str) -> pd.DataFrame:
    """One of a paper's tables as printed, methods by conditions; raises MissingRows where it is not there."""
    part = printed[(printed["table"] == table) & (printed["dataset"] == dataset) & (printed["metric"] == metric)]
    if part.empty:
        paper = "".join(printed["paper"].unique())
        raise MissingRows(f"data/reported/{paper}.csv: {paper} lacks {metric} of table {table} on {dataset!r}")
    wide = part.pivot(index="method", columns="condition", values="value")
    return wide.loc[list(dict.fromkeys(part["method"])), list(dict.fromkeys(part["condition"]))]


def printed_cells(
    paper: str, table: str, dataset: str, method: str, names: Iterable[str], conditions: Iterable[str]
) -> pd.Series:
    """The printed cells of a method, for all metrics of these names; the printed average alone where it has all conditions.

    Raises KeyError where a cell is not printed.
    """
    cells = pd.concat([grid(reported(paper), table, dataset, name).loc[method].dropna() for name in names])
    conditions = list(conditions)
    averaged = AVERAGE in cells.index and set(conditions) == set(cells.index) - {AVERAGE, *COMPLETE}
    return cells.loc[[AVERAGE] if averaged else conditions]
