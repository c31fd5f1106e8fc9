"""One line per paper and data set: published, ours, difference, baselines, oracle."""

from dataclasses import dataclass

import pandas as pd

from mmlib.report.published import BASELINES, DROPOUT, EMOTIONS, TITLES
from mmlib.report.rows import CORPORA, FOLDS, Rows, mean_text, measured, missing_conditions, printed_cells, score
from mmlib.report.tables import decimals


@dataclass(frozen=True)
class SummaryRow:
    """A line of the summary: our metric with its label, and where the published numbers are, if anywhere.

    metric: its name in data/results. missing, complete: (table, published data set, method), for the numbers with
    something missing and with everything available. metrics: their names in data/reported, which are averaged.
    unit: multiplier from our fraction to the unit of the label. digits: decimals of our numbers.
    """

    paper: str
    dataset: str
    metric: str
    label: str
    missing: tuple[str, str, str] | None = None
    complete: tuple[str, str, str] | None = None
    metrics: tuple[str, ...] = ()
    unit: float = 100
    digits: int = 1


def _f1(paper: str, dataset: str, place: tuple[str, str, str] | None = None) -> SummaryRow:
    return SummaryRow(paper, dataset, "f1_non0", "F1 without neutral, %", place, place, ("f1",))


_FILMS, _EMOTIONS = ("3", "MM-IMDb", "SIM-C"), ("2", "IEMOCAP", "UMDF")
_MMCR, _MMER, _TWO_CLASSES = ("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("3", "IEMOCAP binary", "ADMC")
_EMOTION_F1 = tuple(f"f1_{name}" for name in EMOTIONS)
SUMMARY = (
    SummaryRow("simc", "mmimdb_subset", "f1_samples", "F-samples", _FILMS, _FILMS, ("f1_samples",), unit=1, digits=3),
    _f1("umdf", "mosi", ("1", "MOSI", "UMDF")),
    _f1("umdf", "mosi_bclstm", ("1", "MOSI", "UMDF")),
    _f1("umdf", "mmmo"),
    SummaryRow("umdf", "iemocap", "f1_mean", "mean F1 of four emotions, %", _EMOTIONS, _EMOTIONS, _EMOTION_F1),
    _f1("umdf", "synthetic mosi"),
    SummaryRow("admc", "iemocap", "ua", "UA, %", _MMCR, _MMER, ("ua",)),
    SummaryRow("admc", FOLDS, "ua", "UA, %", _MMCR, _MMER, ("ua",)),
    SummaryRow("admc", "iemocap, binary", "accuracy", "accuracy, %", _TWO_CLASSES, _TWO_CLASSES, ("accuracy",)),
    SummaryRow("admc", "mintrec_text", "ua", "UA, %", ("2", "MIntRec", "MMCR"), None, ("ua",)),
    _f1("admc", "mosi_bclstm"),
    SummaryRow("admc", "synthetic iemocap", "ua", "UA, %"),
    _f1("smcir", "mosi", ("2", "MOSI", "SMCIR")),
    _f1("smcir", "mosi_bclstm", ("2", "MOSI", "SMCIR")),
    _f1("smcir", "mmmo"),
    _f1("smcir", "synthetic mosi"),
)
OWN = {
    "simc": ("SIM-C", "paper, two_stage, lr 5e-05"), "umdf": ("UMDF", ""), "admc": ("ADMC", ""), "smcir": ("SMCIR", ""),
}  # fmt: skip
"""The system that stands for each paper in the summary: the method with its settings and equations as printed. SIM-C has
the schedule of an earlier version of the paper, which prints the same tables; see notebooks/simc.ipynb, Audit."""


def summary() -> pd.DataFrame:
    """One line per paper and data set of ours; each cell has the number under missing modalities above the complete one.

    Missing: the mean over the sets of modalities (SIM-C: configurations, two classes: rates above 0) that our data have,
    published numbers over the same sets. Published numbers stand only beside rows of the published data set.
    Best baseline: of all baselines, by its mean.
    """
    return pd.DataFrame([_cells(line) for line in SUMMARY]).rename_axis(index=None)


def _cells(line: SummaryRow) -> dict[str, str]:
    corpus, rows = CORPORA[line.dataset], measured(line.paper, line.dataset)
    missing, features = missing_conditions(rows, line.dataset), rows["features"].iloc[0]
    halves = [{"test": f"missing ({len(missing)})", **_half(line, rows, missing, line.missing)}]
    if corpus.complete:
        halves.append({"test": "complete", **_half(line, rows, [corpus.complete], line.complete)})
    cells = {column: [half[column] for half in halves] for column in halves[0]}
    cells = {column: "–" if set(pair) == {"–"} else "<br>".join(pair) for column, pair in cells.items()}
    what = corpus.description + ("" if features == "synthetic" else f"<br>{features.removesuffix(', standardised')}")
    return {"paper": TITLES[line.paper], "data and features": what, "metric": line.label, **cells}


def _half(line: SummaryRow, rows: Rows, conditions: list[str], place: tuple[str, str, str] | None) -> dict[str, str]:
    def value(method: str, variant: str = "") -> pd.Series:
        return score(rows, line.dataset, (method, variant), line.metric, conditions) * line.unit

    methods = set(rows["method"])
    own, baselines = value(*OWN[line.paper]), {name: value(name) for name in BASELINES if name in methods}
    best = max(baselines, key=lambda name: baselines[name].mean())
    published, difference = "–", "–"
    if place:
        cells = printed_cells(line.paper, *place, line.metrics, conditions)
        places = decimals(cells) if len(cells) == 1 else max(2, decimals(cells))
        published = f"{cells.mean():.{places}f} ({place[1].removesuffix(' binary')})"
        difference = f"{own.mean() - cells.mean():+z.{line.digits}f}"
    return {
        "published": published,
        "ours": mean_text(own, line.digits),
        "difference": difference,
        DROPOUT: mean_text(baselines[DROPOUT], line.digits),
        "best baseline": f"{mean_text(baselines[best], line.digits)}, {best}",
        "oracle": mean_text(value("oracle") if "oracle" in methods else [], line.digits),
    }
