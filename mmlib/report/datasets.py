"""What is shown of each data set of a paper: headroom, what each modality is worth, the settings that were tried."""

from collections.abc import Callable

import pandas as pd

from mmlib.report.headroom import headroom
from mmlib.report.published import CONTROLS, DATASETS, DROPOUT, OWN, TITLES, not_run
from mmlib.report.rows import (
    CORPORA,
    FOLDS,
    MissingRows,
    Rows,
    main_metric,
    mean_text,
    measured,
    missing_conditions,
    results,
    trained_complete,
    trials,
)
from mmlib.report.worth import contributions, worth


def headroom_table(paper: str) -> pd.DataFrame:
    """`headroom.headroom` of each data set of a paper, under the conditions over which it averages and on complete rows."""

    def of(dataset: str) -> pd.DataFrame:
        rows = measured(paper, dataset)
        frame = headroom(rows, dataset)
        kept = [c for c in frame.index if c in (*missing_conditions(rows, dataset), CORPORA[dataset].complete)]
        frame.insert(0, "metric", main_metric(rows, dataset))
        return frame.loc[kept]

    return _stacked(paper, of, last=["vote"])


def worth_table(paper: str) -> pd.DataFrame:
    """`worth.worth` of each data set of a paper: of its method, the control, zero fill and the oracle.

    Of SIM-C the systems that were trained on complete rows.
    """
    own = OWN[paper]
    kept = [", ".join(filter(None, system)) for system in (own, CONTROLS[own])] + ["zero fill", DROPOUT, "oracle"]

    def of(dataset: str) -> pd.DataFrame:
        frame = worth(worth_rows(paper, dataset), dataset)
        whole = ~frame["note"].str.startswith("no score")
        if not whole.any():
            raise MissingRows(f"no worth: {frame['note'].iloc[0]}")
        return frame.loc[[method for method in kept if method in frame.index[whole]]]

    return _stacked(paper, of, last=["total", "note"])


def show_worth(paper: str, dataset: str) -> None:
    """Displays `show.worth` of one data set, of the systems of `worth_table`; nothing where it has no rows."""
    from IPython.display import display

    from mmlib import show

    if not_run(paper, dataset):
        return
    kept = list(worth_table(paper).loc[dataset].index)
    values = contributions(worth_rows(paper, dataset), dataset).loc[kept]
    unit = "MAE" if main_metric(results(paper), dataset) == "mae" else "points"
    display(show.worth(values, unit, "oracle" if "oracle" in kept else None))


def worth_rows(paper: str, dataset: str) -> Rows:
    """The rows from which `worth` is taken."""
    return trained_complete(results(paper)) if paper == "simc" else results(paper)


def trial_table(paper: str) -> pd.DataFrame:
    """The settings that were tried on validation: a line per data set and system, and where there are several per training.

    Columns, all text: `chosen`, how many were tried, the validation score of the chosen one (mean ± standard deviation where
    each seed chose for itself), and the flags of the test runs with the number of seeds.
    """
    every, test = trials(paper), results(paper)
    every = every.assign(dataset=every["dataset"].str.replace(r"^iemocap, fold \d+$", FOLDS, regex=True))

    def of(dataset: str) -> pd.DataFrame:
        rows, lines = every[every["dataset"] == dataset], {}
        if rows.empty:
            raise MissingRows(f"no trials of {paper} on {dataset!r}")
        several = rows.groupby(["method", "variant"])["protocol"].nunique().gt(1)
        for (method, variant, protocol), part in rows.groupby(["method", "variant", "protocol"], sort=False):
            name = ", ".join(filter(None, (method, variant)))
            name += f", trained on {protocol}" if several[method, variant] else ""
            chosen = part[part["role"] == "chosen"]
            run = test[(test["dataset"] == dataset) & (test["method"] == method) & (test["variant"] == variant)]
            lines[name] = {
                "chosen": " or ".join(chosen["condition"].str.removeprefix("validation, ").unique()),
                "tried": str(part["condition"].nunique()),
                "on validation": f"{mean_text(chosen['value'], 3)} {' or '.join(chosen['metric'].unique())}",
                "flags": _flags(run[run["protocol"] == protocol]),
            }
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("system")

    return _stacked(paper, of, last=["flags"])


def at_the_ends() -> pd.DataFrame:
    """Per data set and paper: how many systems chose the smallest, the largest, or another of the learning rates tried.

    A choice at an end of the grid says that a rate outside it may be better.
    """
    lines = {}
    for paper in (*DATASETS, "compared"):
        rows = trials(paper)
        rate = rows["condition"].str.extract(r"\blr=([\d.e-]+)", expand=False).astype(float)
        for dataset, part in rows.assign(rate=rate).dropna(subset=["rate"]).groupby("dataset", sort=False):
            chosen = part.loc[part["role"] == "chosen"].drop_duplicates(["method", "variant", "protocol"])["rate"]
            low, high = part["rate"].min(), part["rate"].max()
            place = {"smallest": (chosen == low).sum(), "largest": (chosen == high).sum()}
            tried = ", ".join(f"{r:g}" for r in sorted(part["rate"].unique()))
            inside = len(chosen) - sum(place.values())
            lines[TITLES.get(paper, "compared"), dataset] = {"rates": tried, **place, "between": inside}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["paper", "data set"])


def _flags(rows: Rows) -> str:
    seeds = rows.drop_duplicates(["seed", "flags"])
    counts = seeds.loc[seeds["flags"] != "", "flags"].value_counts()
    return "; ".join(f"{flag}, {count} of {rows['seed'].nunique()} seeds" for flag, count in counts.items()) or "none"


def _stacked(paper: str, of: Callable[[str], pd.DataFrame], last: list[str]) -> pd.DataFrame:
    """The tables of all data sets of a paper, one below the other; of one without numbers a line that says why.

    last: the last columns.
    """
    frames, reasons = {}, {}
    for dataset in DATASETS[paper]:
        if why := not_run(paper, dataset):
            reasons[dataset] = why
            continue
        try:
            frames[dataset] = of(dataset)
        except MissingRows as error:
            reasons[dataset] = str(error)
    if not frames:
        return pd.DataFrame({"why there is nothing": reasons}).rename_axis("data set")
    table = pd.concat(frames, names=["data set"])
    table = table[[*(c for c in table if c not in last), *last]]
    for dataset, why in reasons.items():
        table.loc[(dataset, why), :] = "–"
    return table.fillna("–").rename_axis(columns=None)
