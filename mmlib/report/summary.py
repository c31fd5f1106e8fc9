"""One line per paper and data set: published, ours, difference, baselines, oracle."""

from dataclasses import dataclass

import pandas as pd

from mmlib.report.published import EMOTIONS, PEERS, TITLES
from mmlib.report.rows import CORPORA, FOLDS, mean_text, measured, nothing_missing, printed_cells, scores, sets
from mmlib.report.tables import _places


@dataclass(frozen=True)
class SummaryRow:
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


def _umdf(dataset: str, published: tuple[str, str, str] | None = None) -> SummaryRow:
    return SummaryRow("umdf", dataset, "f1_non0", "F1 without neutral, %", published, published, ("f1",))


def _smcir(dataset: str, published: tuple[str, str, str] | None = None) -> SummaryRow:
    return SummaryRow("smcir", dataset, "f1_non0", "F1 without neutral, %", published, published, ("f1",))


_FILMS = ("3", "MM-IMDb", "SIM-C")
_EMOTION_F1 = tuple(f"f1_{name}" for name in EMOTIONS)
SUMMARY = (
    SummaryRow("simc", "mmimdb_subset", "f1_samples", "F-samples", _FILMS, _FILMS, ("f1_samples",), unit=1, digits=3),
    _umdf("mosi", ("1", "MOSI", "UMDF")),
    _umdf("mosi_bclstm", ("1", "MOSI", "UMDF")),
    _umdf("mmmo"),
    SummaryRow(
        "umdf", "iemocap", "f1_mean", "mean F1 of four emotions, %", *[("2", "IEMOCAP", "UMDF")] * 2, _EMOTION_F1
    ),
    _umdf("synthetic mosi"),
    SummaryRow("admc", "iemocap", "ua", "UA, %", ("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("ua",)),
    SummaryRow("admc", FOLDS, "ua", "UA, %", ("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("ua",)),
    SummaryRow(
        "admc", "iemocap, binary", "accuracy", "accuracy, %", *[("3", "IEMOCAP binary", "ADMC")] * 2, ("accuracy",)
    ),
    SummaryRow("admc", "mintrec_text", "ua", "UA, %", ("2", "MIntRec", "MMCR"), None, ("ua",)),
    SummaryRow("admc", "mosi_bclstm", "f1_non0", "F1 without neutral, %"),
    SummaryRow("admc", "synthetic iemocap", "ua", "UA, %"),
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


def _summarise(line: SummaryRow) -> dict[str, str]:
    data, features = CORPORA[line.dataset], measured(line.paper, line.dataset)["features"].iloc[0]
    missing, full = sets(line.paper, line.dataset), nothing_missing(line.paper, line.dataset)
    halves = [{"test": f"missing ({len(missing)})", **_half(line, missing, line.missing)}]
    if full:
        halves.append({"test": "complete", **_half(line, full, line.complete)})
    cells = {column: [half[column] for half in halves] for column in halves[0]}
    cells = {column: "–" if set(pair) == {"–"} else "<br>".join(pair) for column, pair in cells.items()}
    where = data.what if features == "synthetic" else f"{data.what}<br>{features.removesuffix(', standardised')}"
    return {"paper": TITLES[line.paper], "data and features": where, "metric": line.says, **cells}


def _half(line: SummaryRow, conditions: list[str], place: tuple[str, str, str] | None) -> dict[str, str]:
    found = scores(line.paper, line.dataset, line.metric, conditions) * line.unit
    systems = {key: part for key, part in found.groupby(level=["method", "variant"], sort=False)}
    own = systems[OWN[line.paper]]
    peers = {name: systems[name, ""] for name in PEERS if (name, "") in systems}
    best = max(peers, key=lambda name: peers[name].mean())
    published, difference = "–", "–"
    if place:
        cells = printed_cells(line.paper, *place, line.metrics, conditions)
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
