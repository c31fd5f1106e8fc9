"""The results tables of the four papers beside our rows: published | ours | difference.

`beside` gives one table with everything that can stand next to it, `summary` the short form for the README. All
numbers come from data/reported (as printed) and data/results (ours, one row per run and metric).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import pandas as pd

from mmlib import metrics, runs
from mmlib.missing import SIMC_CONFIGURATIONS

AVERAGE, SHARED = "average over missing", "average over shared"
FULL = ("complete", "100_image_100_text", "rate(0)")
"""Conditions under which nothing is missing."""
PEERS = (
    "zero fill", "zero fill + modality dropout", "zero fill, text kept", "zero fill, complete rows only", "mean fill",
    "text alone", "best single modality", "prior", "all zeros",
)  # fmt: skip
"""The trivial rows. What each does: mmlib/models/trivial.py."""
FOLDS = "iemocap, folds"
_KEY = ["method", "variant", "seed", "column"]
_results, _reported = cache(runs.results), cache(runs.reported)  # read once; nothing here changes them


@dataclass(frozen=True)
class Metric:
    """A metric of a published table, and which of ours it is.

    printed: its name in data/reported. ours: its name in data/results. meaning: what it counts, for captions. unit: our
    fractions times this are in the unit of the table. digits: of ours, where the paper's stand as printed.
    """

    printed: str
    ours: str
    meaning: str
    unit: float = 100
    digits: int = 1
    lower: bool = False


@dataclass(frozen=True)
class Table:
    """A published table: what it shows and which of our systems its lines are.

    lines: printed method -> our (method, variant)s, the paper's own method first. beside: our data sets -> the
    published one. extra: variants of ours that the table does not have. columns: of our frame, 'condition' or 'metric'
    (then everything is available). own: number of the table that prints the own method, if not this. derive: from our
    rows of a metric to those of the table. not_run: what has no counterpart here -> why.
    """

    shows: str
    metrics: tuple[Metric, ...]
    lines: Mapping[str, tuple[tuple[str, str], ...]]
    beside: Mapping[str, str]
    extra: tuple[tuple[str, str], ...] = ()
    columns: str = "condition"
    own: str = ""
    derive: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    not_run: tuple[tuple[str, str], ...] = ()


def _relative_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """SIM-C's Error (%) of a run against the run of its method and seed on complete films; nan where none is lost."""
    wide = rows.pivot(index=["method", "variant", "seed"], columns="column", values="value")
    for name in wide.columns.drop(SIMC_CONFIGURATIONS[0]):
        pairs = zip(wide[SIMC_CONFIGURATIONS[0]], wide[name])
        wide[name] = [metrics.relative_error(full, missing) for full, missing in pairs]
    return wide.drop(columns=SIMC_CONFIGURATIONS[0]).melt(ignore_index=False).reset_index()


def _variants(method: str, *variants: str) -> tuple[tuple[str, str], ...]:
    return tuple((method, v) for v in variants)


_MAE = Metric("mae", "mae", "mean absolute error", unit=1, digits=3, lower=True)
_CORR = Metric("corr", "corr", "Pearson correlation", unit=1, digits=3)
_WA = Metric("wa", "accuracy", "WA in %: accuracy, as the released code has it (Eq 7 as printed can exceed 1)")
_UA = Metric("ua", "ua", "UA in %: mean recall of the classes")
_SENTIMENT = (
    _MAE,
    _CORR,
    Metric("acc2_non0", "acc2_non0", "accuracy in %, negative against positive without neutral clips"),
    Metric("f1_non0", "f1_non0", "weighted F1 in %, the same"),
    Metric("acc2_has0", "acc2_has0", "accuracy in %, negative against the rest"),
    Metric("f1_has0", "f1_has0", "weighted F1 in %, the same"),
)
_CELLS = "cell accuracy, which the released code calls F-micro; the others were presumably scored by a true micro-F1"
_UMDF_F1 = Metric("f1", "f1_non0", "F1 in %, negative against positive, weighted, neutral clips left out as MulT does")
_EMOTIONS = {"happy": 1, "sad": 3, "angry": 0, "neutral": 2}  # the order of the archive's labels is alphabetical
_SIMC = {
    "SIM-C": _variants(
        "SIM-C",
        *(f"paper, {s}, lr {r}" for s in ("joint", "two_stage") for r in ("5e-05", "0.0002", "chosen on validation")),
    )
}
_SIMC_FILMS = {"mmimdb_subset": "MM-IMDb"}
_SIMC_NOT_RUN = (("MM-IMDb with CLIP embeddings and 27 genres", "no CLIP embeddings of the films at hand"),)
_UMDF_EXTRA = _variants("UMDF", "cloned streams", "complete rows only")
_UMDF_ABLATIONS = {f"UMDF {v}": (("UMDF", v),) for v in ("w/o L_fea", "w/o L_logits", "w/o MCIM", "w/o DFIM")}
_ADMC = {
    "MMCR": _variants("ADMC", "", "official"),
    "MMCR w/o ITFN": _variants("ADMC", "w/o ITFN"),
    "MMCR w/o ADN": _variants("ADMC", "w/o ADN"),
}
_UTTERANCES = {"iemocap": "IEMOCAP", FOLDS: "IEMOCAP", "synthetic iemocap": "IEMOCAP"}
_SMCIR = {"SMCIR": _variants("SMCIR", "", "corrected", "official")}
_THREE = ("mosi_bclstm", "mmmo", "synthetic mosi")
_CLIPS = dict.fromkeys(("mosi", *_THREE), "MOSI")
_NO_MOSEI = ("MOSEI", "no features of its clips at hand")

TABLES: dict[tuple[str, str], Table] = {
    ("simc", "1"): Table(
        "F-micro under missing posters and plots",
        (Metric("f_micro_as_printed", "cell_accuracy", _CELLS, unit=1, digits=3),),
        _SIMC,
        _SIMC_FILMS,
        not_run=_SIMC_NOT_RUN,
    ),
    ("simc", "2"): Table(
        "degradation against complete films",
        (
            Metric(
                "relative_error_percent",
                "cell_accuracy",
                "relative error in %: the loss of Table 1's F-micro, ours of cell accuracy, over what is left, run by "
                "run; not defined where a run lost nothing, and only the runs where it is are averaged",
                digits=2,
                lower=True,
            ),
        ),
        _SIMC,
        _SIMC_FILMS,
        derive=_relative_errors,
        not_run=_SIMC_NOT_RUN,
    ),
    ("simc", "3"): Table(
        "F-samples under missing posters and plots",
        (Metric("f1_samples", "f1_samples", "F1 of each film's genres, averaged over films", unit=1, digits=3),),
        _SIMC,
        _SIMC_FILMS,
        not_run=_SIMC_NOT_RUN,
    ),
    ("umdf", "1"): Table(
        "sets of available modalities, MOSI and MOSEI",
        (_UMDF_F1, _MAE),
        {"UMDF": (("UMDF", ""),)},
        _CLIPS,
        _UMDF_EXTRA,
        not_run=(_NO_MOSEI,),
    ),
    ("umdf", "2"): Table(
        "sets of available modalities, IEMOCAP",
        tuple(
            Metric(f"f1_{name}", f"f1_{i}", f"weighted F1 in % of the yes/no problem {name}, as MulT does")
            for name, i in _EMOTIONS.items()
        ),
        {"UMDF": (("UMDF", ""),)},
        {"iemocap": "IEMOCAP"},
        _UMDF_EXTRA,
    ),
    ("umdf", "3"): Table(
        "ablations, MOSI (the line UMDF is Table 1's)",
        (_UMDF_F1,),
        {"UMDF": (("UMDF", ""),), **_UMDF_ABLATIONS},
        {"mosi_bclstm": "MOSI", "synthetic mosi": "MOSI"},
        _UMDF_EXTRA,
        own="1",
    ),
    ("admc", "1"): Table(
        "sets of available modalities, IEMOCAP",
        (_WA, _UA),
        _ADMC,
        _UTTERANCES,
        _variants("ADMC", "conditional"),
    ),
    ("admc", "2"): Table(
        "sets of available modalities, MIntRec",
        (_WA, _UA),
        _ADMC,
        {"mintrec_text": "MIntRec"},
        not_run=(("MIntRec with audio and video", "no audio nor video features of its scenes at hand"),),
    ),
    ("admc", "3"): Table(
        "two classes under missing rates, IEMOCAP",
        (
            Metric("accuracy", "accuracy", "accuracy in %"),
            *(
                Metric("f1", f"f1_{kind}", f"{kind} F1 in % (the table does not say which F1 it has)")
                for kind in ("macro", "weighted")
            ),
        ),
        {"ADMC": _variants("ADMC", "")},
        {"iemocap, binary": "IEMOCAP binary"},
    ),
    ("admc", "4"): Table(
        "classifying generated features, IEMOCAP",
        (_WA, _UA),
        {f"ADMC, n={n}": _variants("ADMC", f"head, n={n}", f"probe, n={n}") for n in (30, 50, 80)},
        {"iemocap": "IEMOCAP", "synthetic iemocap": "IEMOCAP"},
        _variants("ADMC", *(f"{by}, {how}" for how in ("n=200", "n=1000", "conditional") for by in ("head", "probe"))),
    ),
    ("admc", "5"): Table(
        "everything available, IEMOCAP and MIntRec",
        (_WA, _UA),
        {name: ((name, ""),) for name in ("MMER", "Use_ITFN", "Jointly_training")},
        _UTTERANCES,
        columns="metric",
        not_run=(("MIntRec with audio and video", "no audio nor video features of its scenes at hand"),),
    ),
    ("smcir", "1"): Table(
        "everything available, MOSI and MOSEI",
        _SENTIMENT,
        _SMCIR,
        _CLIPS,
        columns="metric",
        not_run=(("MOSI with a fine-tuned BERT", "no language model was trained along, ours are fixed"), _NO_MOSEI),
    ),
    ("smcir", "2"): Table(
        "audio and video missing, MOSI and MOSEI",
        tuple(
            Metric("f1", name, f"F1 in %, weighted, {reading} (the table does not say; it fits neither F1 of Table 1)")
            for name, reading in (("f1_non0", "without neutral clips"), ("f1_has0", "negative against the rest"))
        ),
        _SMCIR,
        _CLIPS,
        not_run=(_NO_MOSEI,),
    ),
    ("smcir", "3"): Table(
        "ablations, everything available (which line is which is a reading of the check marks)",
        (_MAE, _CORR),
        {**_SMCIR, "SMCIR w/o DMFD": _variants("SMCIR", "w/o DMFD", "corrected, w/o DMFD"),
         "SMCIR w/o MSSE": _variants("SMCIR", "w/o MSSE", "corrected, w/o MSSE"),
         "SMCIR w/o CMCG": _variants("SMCIR", "w/o CMCG")},
        _CLIPS,
        columns="metric",
        not_run=(_NO_MOSEI,),
    ),  # fmt: skip
    ("smcir", "4"): Table(
        "indicators of the detector, everything available, MOSEI",
        _SENTIMENT,
        {"SMCIR, HMS": _variants("SMCIR", ""),
         **{f"SMCIR, {v}": _variants("SMCIR", v) for v in ("H", "M", "S", "HM", "MS")}},
        dict.fromkeys(_THREE, "MOSEI"),
        _variants("SMCIR", "HS"),
        columns="metric",
        not_run=(_NO_MOSEI,),
    ),
    ("smcir", "5"): Table(
        "modalities that the detector watches, everything available",
        _SENTIMENT,
        {"SMCIR, DMFD on vision and audio": _variants("SMCIR", ""),
         **{f"SMCIR, DMFD on {m}": _variants("SMCIR", f"DMFD on {m}") for m in ("audio", "vision")}},
        dict.fromkeys(_THREE, "MOSI"),
        columns="metric",
        not_run=(_NO_MOSEI,),
    ),
}  # fmt: skip
"""Every results table of the four papers, by paper and number as printed."""


@dataclass(frozen=True)
class Data:
    """A data set of ours: what it is, whether its rows are of the published set, and where its settings are."""

    what: str
    study: str
    same: bool = True
    scale: bool = True  # labels in the published unit, so that mean absolute errors may be subtracted
    folds: tuple[str, ...] = ()  # papers in whose rows each seed is another fold


DATA = {
    "mmimdb_subset": Data("MM-IMDb films whose poster and plot are public, 17 MovieLens genres", "mmimdb"),
    "mosi": Data("MOSI clips, no video", "mosi"),
    "mosi_bclstm": Data("MOSI clips as vectors, text and video trained with labels", "mosi_bclstm"),
    "mmmo": Data(
        "spoken film reviews (ICT-MMMO), labels from 1 to 5", "mmmo", same=False, scale=False, folds=("smcir",)
    ),
    "iemocap": Data("IEMOCAP utterances, session 5 for test, no video", "iemocap"),
    FOLDS: Data("IEMOCAP utterances, each session once for test, no video", "iemocap_folds", folds=("admc",)),
    "iemocap, binary": Data("IEMOCAP utterances, two classes, no video", "iemocap_binary"),
    "mintrec_text": Data("MIntRec scenes, text alone", "mintrec"),
    "synthetic mosi": Data("synthetic clips in the form of MOSI", "synthetic", same=False),
    "synthetic iemocap": Data("synthetic clips in the form of IEMOCAP", "synthetic", same=False),
}
"""Our data sets by their name in data/results; the five folds of IEMOCAP are one."""


def rows(paper: str, dataset: str) -> pd.DataFrame:
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
    part = rows(paper, dataset)
    part = part[(part["metric"] == metric) & part["condition"].isin(wanted)]
    found = part.groupby(["method", "variant", "seed"], sort=False)["value"].agg(["mean", "size"])
    return found.loc[found["size"] == len(wanted), "mean"]


def sets(paper: str, dataset: str) -> list[str]:
    """The conditions under which something is missing, of those that the papers average over."""
    if paper == "simc":
        return list(SIMC_CONFIGURATIONS[1:])
    conditions = list(dict.fromkeys(rows(paper, dataset)["condition"]))
    if dataset == "iemocap, binary":
        return [c for c in conditions if c.startswith("rate(") and c not in FULL]
    return [c for c in conditions if c.startswith("available(") and c.endswith(")") and " then " not in c]


def nothing_missing(paper: str, dataset: str) -> list[str]:
    """The condition under which nothing is missing; none for MIntRec's text alone."""
    if paper == "simc":
        return [SIMC_CONFIGURATIONS[0]]
    return {"mintrec_text": [], "iemocap, binary": ["rate(0)"]}.get(dataset, ["complete"])


def beside(paper: str, table: str) -> list[tuple[str, pd.DataFrame]]:
    """Everything that stands beside a published table: (caption, frame), one per data set of ours (and per metric).

    Lines: the own method as published, ours (mean ± standard deviation over seeds, n - 1), difference (ours minus
    published); the same for each ablation that we ran; our variants that the table lacks; the best competitor in print;
    the trivial rows; the oracle where there is one. Cells are text, – where there is no number. Columns are the
    table's; where our data lack some of its sets of modalities, a further one has both sides' average over those that
    are shared. What was not run is a frame of one cell that says why. Raises KeyError for no such table.
    """
    spec = TABLES[paper, table]
    found = []
    for dataset, published in spec.beside.items():
        groups = [spec.metrics] if spec.columns == "metric" else [(m,) for m in spec.metrics]
        for group in groups:
            frame = _frame(paper, table, dataset, group)
            found.append((_caption(paper, table, dataset, published, group), frame))
    for name, why in spec.not_run:
        found.append((f"{_TITLES[paper]} Table {table}, {name}", pd.DataFrame({name: [f"not run: {why}"]})))
    return found


_TITLES = {"simc": "SIM-C", "umdf": "UMDF", "admc": "ADMC", "smcir": "SMCIR"}


def _caption(paper: str, table: str, dataset: str, published: str, group: tuple[Metric, ...]) -> str:
    spec, data, ours = TABLES[paper, table], DATA[dataset], rows(paper, dataset)
    over = f"{ours['seed'].nunique()} " + ("folds" if paper in data.folds else "seeds")
    counts = "; ".join(f"{m.printed} is {m.meaning}" if len(group) > 1 else m.meaning for m in group)
    differ = (
        "Features and often labels differ from the paper's: the difference is not a reproduction error alone."
        if data.same
        else "Other clips, features and labels than the paper's: the difference compares data sets as much as methods."
    )
    if not data.scale and any(m.lower for m in group):
        differ += " Errors are in units of other labels and are not subtracted."
    return (
        f"{_TITLES[paper]} Table {table}, {spec.shows}. Metric: {counts}. Published: {published}. "
        f"Ours: {data.what}; {ours['features'].iloc[0]}; mean ± standard deviation over {over}; settings in "
        f"notebooks/studies/{paper}_{data.study}.yaml. {differ}"
    )


def _printed(paper: str, table: str, dataset: str) -> pd.DataFrame:
    """Method, condition, metric, value of a published table, in its order; a start step is part of the method."""
    all_ = _reported(paper)
    part = all_[(all_["table"] == table) & (all_["dataset"] == dataset)]
    spec = TABLES[paper, table]
    if spec.own:
        own = all_[(all_["table"] == spec.own) & (all_["dataset"] == dataset)]
        part = pd.concat([own[own["method"] == next(iter(spec.lines))], part])
    if (paper, table) == ("admc", "4"):
        direction, start = _directions(part["condition"])
        part = part.assign(condition=direction, method=part["method"] + ", " + start)
    return part


def _directions(conditions: pd.Series) -> tuple[pd.Series, pd.Series]:
    """'audio, vision -> text, n=50' becomes 'audio, vision -> text' and 'n=50'."""
    parts = conditions.str.rsplit(", ", n=1)
    return parts.str[0], parts.str[1]


def _ours(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    """Method, variant, seed, column, value in the units of a published table."""
    spec, found = TABLES[paper, table], rows(paper, dataset)
    if (paper, table) == ("admc", "4"):
        made = found[found["condition"].str.contains("->")]
        direction, start = _directions(made["condition"])
        made = made.assign(condition=direction, variant=made["variant"] + ", " + start)
        # A guess is the same whatever was generated.
        guess = found[(found["method"] == "prior") & (found["condition"] == "complete")]
        found = pd.concat([made, *(guess.assign(condition=d) for d in dict.fromkeys(direction))])
    parts = []
    for m in group:
        part = found[found["metric"] == m.ours]
        if spec.columns == "metric":
            part = part[part["condition"] == "complete"].assign(condition=m.printed)
        part = part.rename(columns={"condition": "column"})[[*_KEY, "value"]]
        parts.append(spec.derive(part) if spec.derive else part.assign(value=part["value"] * m.unit))
    return pd.concat(parts)


@dataclass(frozen=True)
class _Sides:
    """A published table and our rows over the same columns: printed cells and their places, our values per seed."""

    columns: list[str]
    metric: dict[str, Metric]
    printed: pd.DataFrame
    places: dict[str, int]
    ours: dict[tuple[str, str], pd.Series]
    subtract_errors: bool

    def as_printed(self, name: str) -> dict[str, str]:
        return {c: f"{v:.{self.places[c]}f}" for c, v in self.printed.loc[name].dropna().items()}

    def measured(self, system: tuple[str, str]) -> dict[str, str]:
        return {c: mean_text(v, self.metric[c].digits) for c, v in self.ours[system].items()}

    def difference(self, system: tuple[str, str], name: str) -> dict[str, str]:
        known, cells = self.printed.loc[name].dropna(), {}
        for c, values in self.ours[system].items():
            mean, m = pd.Series(values).mean(skipna=False), self.metric[c]
            if c in known and pd.notna(mean) and (self.subtract_errors or not m.lower):
                cells[c] = f"{mean - known[c]:+z.{m.digits}f}"
        return cells


def _sides(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> _Sides:
    spec = TABLES[paper, table]
    cells = _printed(paper, table, spec.beside[dataset]).rename(columns={spec.columns: "column"})
    cells = cells if spec.columns == "metric" else cells[cells["metric"] == group[0].printed]
    columns = list(dict.fromkeys(cells["column"]))
    places = {c: _places(part["value"]) for c, part in cells.groupby("column")}
    wide = cells.pivot(index="method", columns="column", values="value")
    ours = _ours(paper, table, dataset, group)
    if AVERAGE in columns:
        over = [c for c in columns if c not in (AVERAGE, *FULL)]
        shared = [c for c in over if c in set(ours["column"])]
        name = AVERAGE if shared == over else SHARED
        ours = pd.concat([ours, _averaged(ours, shared, name)])
        if name == SHARED and len(shared) > 1:
            wide[SHARED] = wide[shared].mean(axis=1)
            places[SHARED] = max(2, *(places[c] for c in shared))
            columns.insert(columns.index(AVERAGE) + 1, SHARED)
    ours = ours[ours["column"].isin(columns)]
    systems = {key: part.groupby("column")["value"].apply(list) for key, part in ours.groupby(["method", "variant"])}
    metric = {c: next((m for m in group if m.printed == c), group[0]) for c in columns}
    return _Sides(columns, metric, wide, places, systems, DATA[dataset].scale)


def _frame(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    spec, sides = TABLES[paper, table], _sides(paper, table, dataset, group)
    lines = []
    for name, systems in spec.lines.items():
        ran = [s for s in systems if s in sides.ours]
        if ran:
            lines.append((name, f"published, {spec.beside[dataset]}", sides.as_printed(name)))
        for system in ran:
            lines.append((_label(paper, system), "ours", sides.measured(system)))
            lines.append((_label(paper, system), "difference", sides.difference(system, name)))
    for system in spec.extra:
        if system in sides.ours:
            lines.append((_label(paper, system), "ours, not in the table", sides.measured(system)))
    best = _best_of_the_others(spec, sides)
    if best:
        lines.append((best, "published, best of the others", sides.as_printed(best)))
    lines += [(m, "ours", sides.measured((m, ""))) for m in (*PEERS, "oracle") if (m, "") in sides.ours]
    frame = pd.DataFrame([cells for *_, cells in lines], columns=sides.columns).astype(object).fillna("–")
    frame.index = pd.MultiIndex.from_tuples([(name, kind) for name, kind, _ in lines], names=["system", "values"])
    return frame.rename(columns={c: c[len("available(") : -1] for c in frame if c.startswith("available(")})


def _best_of_the_others(spec: Table, sides: _Sides) -> str | None:
    """The competitor best in print: on average over missing, else by the first metric or over all columns."""
    others = sides.printed.drop(index=list(spec.lines), errors="ignore")
    if others.empty:
        return None
    first = AVERAGE if AVERAGE in sides.columns else sides.columns[0]
    by = others[first] if AVERAGE in sides.columns or spec.columns == "metric" else others.mean(axis=1)
    return by.idxmin() if sides.metric[first].lower else by.idxmax()


def _averaged(ours: pd.DataFrame, columns: list[str], name: str) -> pd.DataFrame:
    """One row per system and seed: the mean over the columns, nan where one of them is missing or undefined."""
    wide = ours[ours["column"].isin(columns)].pivot(index=_KEY[:3], columns="column", values="value")
    return wide.mean(axis=1, skipna=False).rename("value").reset_index().assign(column=name)


def _label(paper: str, system: tuple[str, str]) -> str:
    method, variant = system
    return f"{method}, {variant or 'as printed'}" if variant or paper == "smcir" else method


def _places(values: pd.Series) -> int:
    """Decimal places in which the numbers are printed."""
    return max(len(f"{v:.6f}".rstrip("0").split(".")[1]) for v in values)


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


@dataclass(frozen=True)
class Line:
    """A line of the summary: the metric (in data/results), and where its published numbers are, if anywhere.

    missing, complete: (table, published data set, method); metrics: their names in data/reported, averaged.
    """

    paper: str
    dataset: str
    metric: str
    says: str
    missing: tuple[str, str, str] | None = None
    complete: tuple[str, str, str] | None = None
    metrics: tuple[str, ...] = ()
    unit: float = 100
    digits: int = 1


def _umdf(dataset: str, published: tuple[str, str, str] | None = None) -> Line:
    return Line("umdf", dataset, "f1_non0", "F1 without neutral, %", published, published, ("f1",))


def _smcir(dataset: str, published: tuple[str, str, str] | None = None) -> Line:
    return Line("smcir", dataset, "f1_non0", "F1 without neutral, %", published, published, ("f1",))


_FILMS = ("3", "MM-IMDb", "SIM-C")
_EMOTION_F1 = tuple(f"f1_{name}" for name in _EMOTIONS)
SUMMARY = (
    Line("simc", "mmimdb_subset", "f1_samples", "F-samples", _FILMS, _FILMS, ("f1_samples",), unit=1, digits=3),
    _umdf("mosi", ("1", "MOSI", "UMDF")),
    _umdf("mosi_bclstm", ("1", "MOSI", "UMDF")),
    _umdf("mmmo"),
    Line("umdf", "iemocap", "f1_mean", "mean F1 of four emotions, %", *[("2", "IEMOCAP", "UMDF")] * 2, _EMOTION_F1),
    _umdf("synthetic mosi"),
    Line("admc", "iemocap", "ua", "UA, %", ("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("ua",)),
    Line("admc", FOLDS, "ua", "UA, %", ("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("ua",)),
    Line("admc", "iemocap, binary", "accuracy", "accuracy, %", *[("3", "IEMOCAP binary", "ADMC")] * 2, ("accuracy",)),
    Line("admc", "mintrec_text", "ua", "UA, %", ("2", "MIntRec", "MMCR"), None, ("ua",)),
    Line("admc", "mosi_bclstm", "f1_non0", "F1 without neutral, %"),
    Line("admc", "synthetic iemocap", "ua", "UA, %"),
    _smcir("mosi", ("2", "MOSI", "SMCIR")),
    _smcir("mosi_bclstm", ("2", "MOSI", "SMCIR")),
    _smcir("mmmo"),
    _smcir("synthetic mosi"),
)
OWN = {
    "simc": ("SIM-C", "paper, two_stage, lr 5e-05"),
    "umdf": ("UMDF", ""),
    "admc": ("ADMC", ""),
    "smcir": ("SMCIR", ""),
}
"""The system that stands for each paper in the summary: its method with its settings and equations as printed. For SIM-C
the schedule that an earlier version of the paper describes, with the same tables; see notebooks/simc.ipynb, Audit."""


def summary() -> pd.DataFrame:
    """One line per paper and data set of ours; each cell has the number under missing modalities over the complete one.

    Missing: the mean over the sets of modalities (SIM-C: the configurations, two classes: the rates above 0) that our
    data have, published numbers over the same sets. Published numbers stand only beside rows of the published data set.
    Best trivial: of all trivial rows, by its mean.
    """
    return pd.DataFrame([_summarise(line) for line in SUMMARY]).rename_axis(index=None)


def _summarise(line: Line) -> dict[str, str]:
    data, features = DATA[line.dataset], rows(line.paper, line.dataset)["features"].iloc[0]
    missing, full = sets(line.paper, line.dataset), nothing_missing(line.paper, line.dataset)
    halves = [{"test": f"missing ({len(missing)})", **_half(line, missing, line.missing)}]
    if full:
        halves.append({"test": "complete", **_half(line, full, line.complete)})
    cells = {column: [half[column] for half in halves] for column in halves[0]}
    cells = {column: "–" if set(pair) == {"–"} else "<br>".join(pair) for column, pair in cells.items()}
    where = data.what if features == "synthetic" else f"{data.what}<br>{features.removesuffix(', standardised')}"
    return {"paper": _TITLES[line.paper], "data and features": where, "metric": line.says, **cells}


def _half(line: Line, conditions: list[str], place: tuple[str, str, str] | None) -> dict[str, str]:
    found = scores(line.paper, line.dataset, line.metric, conditions) * line.unit
    systems = {key: part for key, part in found.groupby(level=["method", "variant"], sort=False)}
    own = systems[OWN[line.paper]]
    peers = {name: systems[name, ""] for name in PEERS if (name, "") in systems}
    best = max(peers, key=lambda name: peers[name].mean())
    published, difference = "–", "–"
    if place:
        cells = printed(line.paper, *place, line.metrics, conditions)
        places = _places(cells) if len(cells) == 1 else max(2, _places(cells))
        published = f"{cells.mean():.{places}f} ({place[1].removesuffix(' binary')})"
        difference = f"{own.mean() - cells.mean():+z.{line.digits}f}"
    return {
        "published": published,
        "ours": mean_text(own, line.digits),
        "difference": difference,
        "zero fill + modality dropout": mean_text(peers["zero fill + modality dropout"], line.digits),
        "best trivial": f"{mean_text(peers[best], line.digits)}, {best}",
        "oracle": mean_text(systems.get(("oracle", ""), []), line.digits),
    }


def printed(
    paper: str, table: str, dataset: str, method: str, names: Iterable[str], conditions: Iterable[str]
) -> pd.Series:
    """The printed cells of a method by metric and condition; the printed average alone where it is of these conditions.

    Raises KeyError where a cell is not printed.
    """
    cells = _reported(paper)
    cells = cells[(cells["table"] == table) & (cells["dataset"] == dataset) & (cells["method"] == method)]
    wanted, known = list(conditions), set(cells["condition"])
    if AVERAGE in known and set(wanted) == known - {AVERAGE, *FULL}:
        wanted = [AVERAGE]
    return cells.set_index(["metric", "condition"])["value"].loc[[(m, c) for m in names for c in wanted]]
