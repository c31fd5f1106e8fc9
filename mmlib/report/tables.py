"""The results tables of the four papers beside our rows: published | ours | difference.

`beside` gives one table with everything that can stand next to it, `summary` the short form for the README. All
numbers come from data/reported (as printed) and data/results (ours, one row per run and metric).
"""

from dataclasses import dataclass

import pandas as pd

from mmlib.report.published import PEERS, TABLES, Metric, Table
from mmlib.report.rows import (
    AVERAGE,
    CORPORA,
    NOTHING_MISSING,
    SHARED,
    SYSTEM_KEY,
    cached_reported,
    mean_text,
    measured,
)


def compare_table(paper: str, table: str) -> list[tuple[str, pd.DataFrame]]:
    """Everything that stands beside a published table: (caption, frame), one per data set of ours (and per metric).

    Lines: the own method as published, ours (mean ± standard deviation over seeds, n - 1), difference (ours minus
    published); the same for each ablation that we ran; our variants that the table lacks; the best competitor in print;
    the trivial rows; the oracle where there is one. Cells are text, – where there is no number. Columns are the
    table's; where our data lack some of its sets of modalities, a further one has both sides' average over those that
    are shared. What was not run is a frame of one cell that says why. Raises KeyError for no such table.
    """
    spec = TABLES[paper, table]
    found = []
    for dataset, published in spec.corpora.items():
        groups = [spec.metrics] if spec.columns == "metric" else [(m,) for m in spec.metrics]
        for group in groups:
            frame = _frame(paper, table, dataset, group)
            found.append((_caption(paper, table, dataset, published, group), frame))
    for name, why in spec.not_run:
        found.append((f"{_TITLES[paper]} Table {table}, {name}", pd.DataFrame({name: [f"not run: {why}"]})))
    return found


def _caption(paper: str, table: str, dataset: str, published: str, group: tuple[Metric, ...]) -> str:
    spec, data, ours = TABLES[paper, table], CORPORA[dataset], measured(paper, dataset)
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
    all_ = cached_reported(paper)
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
    spec, found = TABLES[paper, table], measured(paper, dataset)
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
        part = part.rename(columns={"condition": "column"})[[*SYSTEM_KEY, "value"]]
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
    cells = _printed(paper, table, spec.corpora[dataset]).rename(columns={spec.columns: "column"})
    cells = cells if spec.columns == "metric" else cells[cells["metric"] == group[0].printed]
    columns = list(dict.fromkeys(cells["column"]))
    places = {c: _places(part["value"]) for c, part in cells.groupby("column")}
    wide = cells.pivot(index="method", columns="column", values="value")
    ours = _ours(paper, table, dataset, group)
    if AVERAGE in columns:
        over = [c for c in columns if c not in (AVERAGE, *NOTHING_MISSING)]
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
    return _Sides(columns, metric, wide, places, systems, CORPORA[dataset].scale)


def _frame(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    spec, sides = TABLES[paper, table], _sides(paper, table, dataset, group)
    lines = []
    for name, systems in spec.lines.items():
        ran = [s for s in systems if s in sides.ours]
        if ran:
            lines.append((name, f"published, {spec.corpora[dataset]}", sides.as_printed(name)))
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
    wide = ours[ours["column"].isin(columns)].pivot(index=SYSTEM_KEY[:3], columns="column", values="value")
    return wide.mean(axis=1, skipna=False).rename("value").reset_index().assign(column=name)


def _label(paper: str, system: tuple[str, str]) -> str:
    method, variant = system
    return f"{method}, {variant or 'as printed'}" if variant or paper == "smcir" else method


def _places(values: pd.Series) -> int:
    """Decimal places in which the numbers are printed."""
    return max(len(f"{v:.6f}".rstrip("0").split(".")[1]) for v in values)
