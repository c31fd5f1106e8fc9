"""The numbers that are committed, as printed and as measured: read, selected and averaged over conditions in one way."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmlib import metrics
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.runs.rows import ROOT

Rows = pd.DataFrame
SystemName = tuple[str, str]
"""A system in data/results: its method and its variant."""
AVAILABLE = r"available\([^)]*\)"
AVERAGE = "average over missing"
FOLDS = "iemocap, folds"
RUN = ["method", "variant", "seed"]
COLUMNS = (
    "paper", "dataset", "features", "role", "method", "variant", "protocol", "condition", "metric", "seed", "value", "flags",
    "commit", "data", "run", "study", "line",
)  # fmt: skip
"""Of `results`; study and line are the place of the row, by which its replicates are found."""


class MissingRows(LookupError):
    """A table, figure or verdict needs rows that data/results or data/reported lack; the message names them.

    system: of the rows that data/results lack.
    """

    def __init__(self, message: str, system: SystemName = ("", "")):
        super().__init__(message)
        self.system = system


@dataclass(frozen=True)
class Corpus:
    """One of our data sets.

    study: the settings are in notebooks/studies/<paper>_<study>.yaml. is_published: its rows are of the published set.
    folds: the papers in whose rows each seed is another fold. missing: regular expression of the conditions over which the
    paper averages. complete: the condition under which nothing is missing; empty where there is none.
    sequences: the modalities with more than one frame. contextual: a frame of them that is hidden after encoding is told by
    its neighbours. contaminated: settings are chosen on rows whose labels trained the features; the studies on mosi_bclstm
    choose on a third of its test videos instead.
    """

    description: str
    study: str
    is_published: bool = True
    folds: tuple[str, ...] = ()
    missing: str = AVAILABLE
    complete: str = "complete"
    sequences: tuple[str, ...] = ()
    contextual: bool = False
    contaminated: bool = False

    @property
    def one_frame(self) -> bool:
        """Every modality is a single vector."""
        return not self.sequences


_CONFIGURATIONS = {"missing": "|".join(SIMC_CONFIGURATIONS[1:]), "complete": SIMC_CONFIGURATIONS[0]}
_THREE = ("text", "audio", "vision")
CORPORA = {
    "mmimdb_subset": Corpus(
        "MM-IMDb films whose poster and plot are public, 17 MovieLens genres", "mmimdb_subset", **_CONFIGURATIONS
    ),
    "mmimdb_genres": Corpus(
        "MM-IMDb films whose poster and plot are public, 21 genres of IMDb", "mmimdb_genres", **_CONFIGURATIONS
    ),
    "sarcasm": Corpus("posts of text and image, sarcastic or not", "sarcasm", is_published=False, **_CONFIGURATIONS),
    "synthetic mmimdb": Corpus(
        "synthetic films in the form of MM-IMDb", "synthetic", is_published=False, **_CONFIGURATIONS
    ),
    "mosi_words": Corpus("MOSI clips, static word pieces, no video", "mosi_words", sequences=("text",)),
    "mosi_mpnet": Corpus("MOSI clips, contextual tokens, no video", "mosi_mpnet", sequences=("text",), contextual=True),
    "mosi_bclstm": Corpus("MOSI clips as vectors, text and video trained with labels", "mosi_bclstm"),
    "mmmo": Corpus(
        "spoken film reviews (ICT-MMMO), labels from 1 to 5", "mmmo",
        is_published=False, folds=("smcir",), sequences=_THREE,
    ),
    "synthetic reviews": Corpus(
        "synthetic clips in which every modality matters", "synthetic", is_published=False, sequences=_THREE
    ),
    "iemocap": Corpus("IEMOCAP utterances, session 5 for test, no video", "iemocap"),
    FOLDS: Corpus("IEMOCAP utterances, each session once for test, no video", "iemocap_folds", folds=("admc",)),
    "iemocap, binary": Corpus(
        "IEMOCAP utterances, two classes, no video", "iemocap_binary", missing=r"rate\(0\.\d+\)", complete="rate(0)"
    ),
    "iemocap_mpnet, one vs rest": Corpus("IEMOCAP utterances, four yes or no problems, no video", "iemocap"),
    "iemocap_mpnet": Corpus("IEMOCAP utterances, sentence vectors of MPNet, no video", "iemocap"),
    "avdigits": Corpus("spoken and written digits", "avdigits", is_published=False, sequences=("audio",)),
    "mintrec_mpnet": Corpus(
        "MIntRec scenes, text alone", "mintrec", complete="", sequences=("text",), contextual=True
    ),
    "synthetic iemocap": Corpus("synthetic clips in the form of IEMOCAP", "synthetic", is_published=False),
}  # fmt: skip
"""Our data sets by their name in data/results; the five folds of IEMOCAP are one."""
COMPLETE = {corpus.complete for corpus in CORPORA.values()}
PEER_FORMS = ("", "-central", " w/o ULGM")
"""What our name of a compared system may have after the printed one: which form of it runs here."""


def corpus(dataset: str) -> Corpus:
    """The corpus of a data set, also of one that has some of its modalities: 'mosi_bclstm, text + audio'. Or a KeyError."""
    return CORPORA[dataset if dataset in CORPORA else dataset.partition(",")[0]]


def reported(paper: str) -> Rows:
    """Every number of a paper's tables as printed (data/reported)."""
    return _read(ROOT / "data" / "reported" / f"{paper}.csv")


def results(paper: str) -> Rows:
    """Our committed test rows for a paper, of all its studies (data/results/<paper>_*.csv): one per run and metric.

    Columns as `COLUMNS`, also where there are no rows, and `validation`, the score with which the system's settings were
    chosen, larger is better, nan where nothing was. Each fold of IEMOCAP is a seed of FOLDS.
    """
    return _results_once(tuple((path, path.stat().st_mtime_ns) for path in _tables(paper))).copy(deep=False)


@lru_cache(maxsize=16)  # a page of verdicts asks sixty times
def _results_once(tables: tuple[tuple[Path, int], ...]) -> Rows:
    rows = _committed(path for path, _ in tables)
    chosen, system = rows[rows["role"] == "chosen"], ["dataset", "method", "variant", "protocol"]
    larger = chosen["value"].where(~chosen["metric"].isin(("mae", "loss")), -chosen["value"]).astype(float)
    scores = larger.groupby([chosen[name] for name in system]).mean().rename("validation")
    rows = rows[rows["role"] == "test"].join(scores, on=system).reset_index(drop=True)
    fold = rows["dataset"].str.extract(r"^iemocap, fold (\d+)$", expand=False)
    dataset, seed = rows["dataset"].mask(fold.notna(), FOLDS), fold.fillna(rows["seed"]).astype(int)
    return rows.assign(dataset=dataset, seed=seed)


def trials(paper: str) -> Rows:
    """The rows of the settings that were tried on validation, the chosen ones included (their role is 'chosen')."""
    rows = _committed(_tables(paper))
    return rows[rows["role"] != "test"].reset_index(drop=True)


def unflagged(rows: Rows) -> Rows:
    """The rows that may be ranked and judged: not of a system that was trained too short or learned nothing."""
    return rows[rows["flags"] == ""]


def replicates(rows: Rows) -> Float[np.ndarray, "n R"]:
    """The value of each row of `results` on R resamples of its test rows (`metrics.replicates`), nan where none is kept."""
    values = np.full((len(rows), metrics.RESAMPLES), np.nan)
    for study, lines in pd.Series(np.arange(len(rows)), index=rows["study"]).groupby(level=0):
        kept = _deviations(_place(study).with_suffix(".npz"))
        for place, line, value in zip(lines, rows["line"].iloc[lines], rows["value"].iloc[lines]):
            if line in kept:
                values[place] = value + kept[line] / 1e4
    return values


def has_replicates(rows: Rows, metric: str) -> bool:
    """Whether resamples of the test rows are kept of a metric, so that intervals count them."""
    own = rows[rows["metric"] == metric].drop_duplicates("study")
    return not bool(np.isnan(replicates(own)).any())


def _tables(paper: str) -> list[Path]:
    return sorted((ROOT / "data" / "results").glob(f"{paper}_*.csv"))


def _committed(tables: Iterable[Path]) -> Rows:
    frames = [_read(path).rename_axis("line").reset_index().assign(study=path.stem) for path in tables]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    return rows[list(COLUMNS)].fillna({"variant": "", "flags": ""})


def _place(study: str) -> Path:
    return ROOT / "data" / "results" / f"{study}.csv"


def _deviations(path: Path) -> dict[int, np.ndarray]:
    """Line of a study's table -> 1e4 * (replicate - value)."""
    return _load_once(path, path.stat().st_mtime_ns) if path.exists() else {}


@lru_cache(maxsize=16)
def _load_once(path: Path, changed: int) -> dict[int, np.ndarray]:
    with np.load(path) as archive:
        return dict(zip(archive["row"].tolist(), archive["deviation"]))


def _read(path: Path) -> Rows:
    return _read_once(path, path.stat().st_mtime_ns).copy()


@cache
def _read_once(path: Path, changed: int) -> Rows:
    texts = ("table", "variant", "flags", "commit", "data", "run")  # a commit such as 17566659e592 is no number
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str))


def measured(paper: str, dataset: str) -> Rows:
    """Our committed rows on one data set of CORPORA.

    Of SIM-C those that were trained under the condition of their test, as in the paper. MIntRec has text alone here, so
    that what our rows call complete is the paper's {T}. KeyError where there are no rows.
    """
    rows = results(paper)
    rows = rows[rows["dataset"] == dataset]
    if paper == "simc":
        rows = matched(rows)
    if rows.empty:
        raise KeyError(f"data/results/{paper}_*.csv have no rows on {dataset!r}")
    if dataset == "mintrec_mpnet":
        rows = rows.assign(condition=rows["condition"].replace("complete", "available(text)"))
    return rows


def matched(rows: Rows) -> Rows:
    """The rows of systems that were trained under the condition under which they are tested."""
    return rows[rows["protocol"] == rows["condition"]]


def trained_complete(rows: Rows) -> Rows:
    """The rows of systems that were trained on complete rows, whatever is missing at test."""
    return rows[rows["protocol"].isin(COMPLETE)]


def validated(rows: Rows, dataset: str, system: SystemName) -> float:
    """The score of a system's settings on validation, the mean over its training conditions; nan where none is stored."""
    if "validation" not in rows:
        return float("nan")
    return float(_of(rows, dataset, system).drop_duplicates("protocol")["validation"].mean())


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
    return conditions_like(rows, dataset, corpus(dataset).missing)


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
    part = _of(rows, dataset, system)
    part = part[part["metric"] == metric]
    wide = part.pivot(index="seed", columns="condition", values="value").reindex(columns=list(conditions))
    for condition in conditions:
        if wide.empty or wide[condition].isna().any():
            raise absent(rows, dataset, system, f"{metric} under {condition!r}, for at least one seed")
    return wide


def score(rows: Rows, dataset: str, system: SystemName, metric: str, conditions: Sequence[str]) -> pd.Series:
    """The mean of one system over conditions, per seed (index). Raises MissingRows as `by_seed` does."""
    return by_seed(rows, dataset, system, metric, conditions).mean(axis=1)


def sampled(rows: Rows, dataset: str, system: SystemName, metric: str, conditions: Sequence[str]) -> pd.DataFrame:
    """The mean of one system over conditions: a line per seed, column 0 the score, 1 to R that of each resample of its test
    rows, nan where those are not kept. Sums and differences are thus taken of scores and replicates alike.

    Raises MissingRows as `by_seed` does.
    """
    means = score(rows, dataset, system, metric, conditions).sort_index()
    part = _of(rows, dataset, system)
    part = part[(part["metric"] == metric) & part["condition"].isin(conditions)].sort_values("seed")
    values = replicates(part).reshape(len(means), len(conditions), -1).mean(1)
    return pd.DataFrame(np.column_stack([means, values]), index=means.index)


def absent(rows: Rows, dataset: str, system: SystemName, what: str) -> MissingRows:
    """The error that names absent rows of a system."""
    paper, (method, variant) = "".join(rows["paper"].unique()), system
    cell = f"{paper} lacks {what} of {method!r}, variant {variant!r}, on {dataset!r}"
    return MissingRows(f"data/results: {cell}; run its study and collect the rows", system)


def _of(rows: Rows, dataset: str, system: SystemName) -> Rows:
    """The best single modality is one system, whichever modality its variant names."""
    method, variant = system
    own = (rows["dataset"] == dataset) & (rows["method"] == method)
    return rows[own] if method == "best single modality" else rows[own & (rows["variant"] == variant)]


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
