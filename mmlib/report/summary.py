"""One line per paper and data set: published, ours, difference, gains over the control and over the best trivial row."""

from dataclasses import dataclass

import pandas as pd

from mmlib.report.claims.verdicts import best_trivial, compare, reading
from mmlib.report.published import CONTROLS, DATASETS, EMOTIONS, OWN, TITLES, not_run
from mmlib.report.rows import (
    CORPORA,
    FOLDS,
    MissingRows,
    Rows,
    SystemName,
    main_metric,
    mean_text,
    measured,
    missing_conditions,
    printed_cells,
    score,
    unflagged,
)
from mmlib.report.tables import FLAG, decimals

COLUMNS = (
    "paper", "data and features", "metric", "test", "published", "ours", "difference", "gain over the control",
    "gain over the best trivial row", "oracle",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where the published numbers of a data set are: table, published data set, method; and the metrics that are averaged.

    missing, complete: with something missing, and with everything available.
    """

    missing: tuple[str, str, str] | None
    complete: tuple[str, str, str] | None
    metrics: tuple[str, ...]


_UMDF, _SMCIR = (Place(place, ("1", "MOSI", name), ("mae",)) for name, place in
                 {"UMDF": ("1", "MOSI", "UMDF"), "SMCIR": None}.items())  # fmt: skip
_IEMOCAP = Place(("1", "IEMOCAP", "MMCR"), ("5", "IEMOCAP", "MMER"), ("ua",))
PLACES = {
    **dict.fromkeys([("umdf", d) for d in ("mosi_words", "mosi_mpnet", "mosi_bclstm")], _UMDF),
    ("umdf", "iemocap_mpnet, one vs rest"): Place(
        ("2", "IEMOCAP", "UMDF"), ("2", "IEMOCAP", "UMDF"), tuple(f"f1_{name}" for name in EMOTIONS)
    ),
    **dict.fromkeys([("admc", d) for d in ("iemocap", FOLDS)], _IEMOCAP),
    ("admc", "mintrec_mpnet"): Place(("2", "MIntRec", "MMCR"), None, ("ua",)),
    **dict.fromkeys([("smcir", d) for d in ("mosi_mpnet", "mosi_bclstm")], _SMCIR),
}
"""The published numbers in the main metric of a data set of ours."""


def summary() -> pd.DataFrame:
    """One line per paper and data set of ours, in the main metric; columns: COLUMNS, all text.

    Each cell has the number under missing modalities above the complete one. Missing: the mean over the sets of modalities
    (SIM-C: configurations, two classes: rates above 0) that our data have, published numbers over the same sets. Ours: mean
    ± standard deviation over the seeds without a flag, in the reading that validation chose, which is named where it is not the
    printed one. Gains are positive where the method is better, with 95 % intervals.
    A data set without rows has the command that makes them in `ours`.
    """
    cells = [_cells(paper, dataset) for paper, datasets in DATASETS.items() for dataset in datasets]
    return pd.DataFrame(cells, columns=list(COLUMNS)).fillna("–").rename_axis(index=None)


def _cells(paper: str, dataset: str) -> dict[str, str]:
    corpus = CORPORA[dataset]
    if why := not_run(paper, dataset):
        return {"paper": TITLES[paper], "data and features": corpus.description, "ours": why}
    rows, place = measured(paper, dataset), PLACES.get((paper, dataset), Place(None, None, ()))
    missing, features = missing_conditions(rows, dataset), rows["features"].iloc[0]
    halves = [{"test": f"missing ({len(missing)})", **_half(paper, dataset, rows, missing, place.missing)}]
    if corpus.complete:
        halves.append({"test": "complete", **_half(paper, dataset, rows, [corpus.complete], place.complete)})
    cells = {column: [half[column] for half in halves] for column in halves[0]}
    cells = {column: "–" if set(pair) == {"–"} else "<br>".join(pair) for column, pair in cells.items()}
    what = corpus.description + ("" if features == "synthetic" else f"<br>{features.removesuffix(', standardised')}")
    metric = main_metric(rows, dataset)
    return {"paper": TITLES[paper], "data and features": what, "metric": metric + ", %" * (metric != "mae"), **cells}


def _half(
    paper: str, dataset: str, rows: Rows, conditions: list[str], place: tuple[str, str, str] | None
) -> dict[str, str]:
    metric, counting = main_metric(rows, dataset), unflagged(rows)
    own = reading(counting, dataset, OWN[paper])
    unit, digits = (1, 3) if metric == "mae" else (100, 1)

    def value(system: SystemName) -> pd.Series:
        try:
            return score(counting, dataset, system, metric, conditions) * unit
        except MissingRows:
            return pd.Series(dtype=float)

    def gain(rival: SystemName) -> str:
        try:
            (found,) = compare(counting, dataset, own, [rival], conditions, metric).values()
        except MissingRows:
            return "–"
        return f"{found.mean * unit:+z.{digits}f} ± {found.half * unit:.{digits}f}"

    ours, published, difference = value(own), "–", "–"
    if place:
        cells = printed_cells(paper, *place, PLACES[paper, dataset].metrics, conditions)
        places = decimals(cells) if len(cells) == 1 else max(2, decimals(cells))
        published = f"{cells.mean():.{places}f} ({place[1]})"
        difference = "–" if ours.empty else f"{ours.mean() - cells.mean():+z.{digits}f}"
    try:
        trivial, best = best_trivial(counting, dataset, conditions), ""
        best = f"{gain(trivial)}, {trivial[0]}"
    except MissingRows:
        best = "–"
    flagged = rows[(rows["flags"] != "") & (rows["method"] == own[0]) & (rows["variant"] == own[1])]
    mark = f" {FLAG}" if flagged["condition"].isin(conditions).any() else ""
    return {
        "published": published,
        "ours": mean_text(ours, digits) + mark + f" ({own[1]})" * (own != OWN[paper]),
        "difference": difference,
        "gain over the control": "–"
        if (control := gain(CONTROLS[own])) == "–"
        else f"{control}, {' '.join(CONTROLS[own])}",
        "gain over the best trivial row": best,
        "oracle": mean_text(value(("oracle", "")), digits),
    }
