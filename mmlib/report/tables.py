"""The results tables of the four papers compared with our rows: published, ours, difference."""

from collections.abc import Iterable

import pandas as pd

from mmlib.report.published import BASELINES, TABLES, TITLES, Metric, Table
from mmlib.report.rows import AVERAGE, COMPLETE, CORPORA, SystemName, grid, mean_text, measured, reported, scores

_SHARED = "average over shared"


def compare_table(paper: str, table: str) -> list[tuple[str, pd.DataFrame]]:
    """A published table compared with our rows: (caption, frame), one per data set of ours (and per metric).

    Lines: the paper's method as published, ours (mean ± standard deviation over seeds, n - 1), the difference (ours minus
    published); the same for each ablation that we ran; our variants that the table lacks; the best printed competitor; the
    baselines; the oracle where there is one. Cells are text, – where there is no number. Columns are the table's; where
    our data lack some of its sets of modalities, a further column averages, on both sides, the sets that are shared.
    What was not run is a frame of one cell that says why. Raises KeyError for no such table.
    """
    spec = TABLES[paper, table]
    frames = []
    for dataset in spec.corpora:
        for group in [spec.metrics] if spec.columns == "metric" else [(m,) for m in spec.metrics]:
            frames.append((_caption(paper, table, dataset, group), _frame(paper, table, dataset, group)))
    for name, why in spec.not_run:
        frames.append((f"{TITLES[paper]} Table {table}, {name}", pd.DataFrame({name: [f"not run: {why}"]})))
    return frames


def show_table(paper: str, table: str) -> None:
    """Displays each frame of `compare_table` below its caption, a system's name once. KeyError for no such table."""
    from IPython.display import Markdown, display

    from mmlib import show

    for caption, frame in compare_table(paper, table):
        display(Markdown(caption))
        if "values" in frame.index.names:
            frame = frame.reset_index()
            frame["system"] = frame["system"].mask(frame["values"] == "difference", "")
        display(show.table(frame))


def decimals(values: Iterable[float]) -> int:
    """Decimal places in which the numbers are printed."""
    return max(len(f"{v:.6f}".rstrip("0").split(".")[1]) for v in values)


def _caption(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> str:
    spec, corpus, rows = TABLES[paper, table], CORPORA[dataset], measured(paper, dataset)
    over = f"{rows['seed'].nunique()} " + ("folds" if paper in corpus.folds else "seeds")
    meanings = "; ".join(f"{m.printed} is {m.meaning}" if len(group) > 1 else m.meaning for m in group)
    same = "Features and often labels differ from the paper's: the difference is not a reproduction error alone."
    other = "Other clips, features and labels than the paper's: the difference compares data sets as much as methods."
    warning = same if corpus.is_published else other
    if not corpus.same_unit and any(m.lower for m in group):
        warning += " Errors are in units of other labels and are not subtracted."
    return (
        f"{TITLES[paper]} Table {table}, {spec.shows}. Metric: {meanings}. Published: {spec.corpora[dataset]}. "
        f"Ours: {corpus.description}; {rows['features'].iloc[0]}; mean ± standard deviation over {over}; settings in "
        f"notebooks/studies/{paper}_{corpus.study}.yaml. {warning}"
    )


def _frame(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    spec = TABLES[paper, table]
    printed, ours = _printed(paper, table, dataset, group), _ours(paper, table, dataset, group)
    places = {c: decimals(printed[c].dropna()) for c in printed}
    if AVERAGE in printed:
        over = [c for c in printed if c not in (AVERAGE, *COMPLETE)]
        shared = [c for c in over if c in ours]
        name = AVERAGE if shared == over else _SHARED
        ours[name] = ours[shared].mean(axis=1, skipna=False)
        if name == _SHARED and len(shared) > 1:
            printed.insert(printed.columns.get_loc(AVERAGE) + 1, _SHARED, printed[shared].mean(axis=1))
            places[_SHARED] = max(2, *(places[c] for c in shared))
    ours = ours[[c for c in printed if c in ours]]
    systems = dict(list(ours.groupby(level=["method", "variant"])))
    metric = {c: next((m for m in group if m.printed == c), group[0]) for c in printed}

    def published(name: str) -> dict[str, str]:
        return {c: f"{v:.{places[c]}f}" for c, v in printed.loc[name].dropna().items()}

    def measurement(system: SystemName) -> dict[str, str]:
        return {c: mean_text(values, metric[c].digits) for c, values in systems[system].items()}

    def difference(system: SystemName, name: str) -> dict[str, str]:
        gaps = systems[system].mean(skipna=False) - printed.loc[name]
        subtracted = {c for c in printed if CORPORA[dataset].same_unit or not metric[c].lower}
        return {c: f"{gap:+z.{metric[c].digits}f}" for c, gap in gaps.dropna().items() if c in subtracted}

    lines = []
    for name, members in spec.lines.items():
        own = [system for system in members if system in systems]
        if own:
            lines.append((name, f"published, {spec.corpora[dataset]}", published(name)))
        for system in own:
            lines.append((_label(paper, system), "ours", measurement(system)))
            lines.append((_label(paper, system), "difference", difference(system, name)))
    extra = [system for system in spec.extra if system in systems]
    lines += [(_label(paper, system), "ours, not in the table", measurement(system)) for system in extra]
    if competitor := _best_competitor(spec, printed, metric):
        lines.append((competitor, "published, best of the others", published(competitor)))
    lines += [(m, "ours", measurement((m, ""))) for m in (*BASELINES, "oracle") if (m, "") in systems]
    frame = pd.DataFrame([cells for *_, cells in lines], columns=list(printed)).astype(object).fillna("–")
    frame.index = pd.MultiIndex.from_tuples([(name, kind) for name, kind, _ in lines], names=["system", "values"])
    return frame.rename(columns={c: c[len("available(") : -1] for c in frame if c.startswith("available(")})


def _printed(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    """A published table, methods by columns of our frame, in its order."""
    spec, cells = TABLES[paper, table], reported(paper)
    published = spec.corpora[dataset]
    if spec.columns == "metric":
        return pd.concat({m.printed: grid(cells, table, published, m.printed)["complete"] for m in group}, axis=1)
    (m,) = group
    if (paper, table) == ("admc", "4"):
        cells = _by_direction(cells[cells["table"] == table], "method")
    wide = grid(cells, table, published, m.printed)
    if spec.own:
        wide = pd.concat([grid(cells, spec.own, published, m.printed).loc[[next(iter(spec.lines))]], wide])
    return wide


def _ours(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    """Our scores as of `rows.scores`, by the columns and in the units of a published table."""
    spec, rows = TABLES[paper, table], measured(paper, dataset)
    if spec.columns == "metric":
        return pd.concat({m.printed: scores(rows, m.ours)["complete"] * m.unit for m in group}, axis=1)
    (m,) = group
    if (paper, table) == ("admc", "4"):
        generated = _by_direction(rows[rows["condition"].str.contains("->")], "variant")
        # A guess is the same from every start and in every direction.
        guess = rows[(rows["method"] == "prior") & (rows["condition"] == "complete")]
        rows = pd.concat([generated, *(guess.assign(condition=c) for c in generated["condition"].unique())])
    return spec.derive(scores(rows, m.ours)) if spec.derive else scores(rows, m.ours) * m.unit


def _by_direction(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The start step of condition 'audio, vision -> text, n=50' becomes part of the method or variant."""
    parts = rows["condition"].str.rsplit(", ", n=1)
    return rows.assign(**{"condition": parts.str[0], column: rows[column] + ", " + parts.str[1]})


def _best_competitor(spec: Table, printed: pd.DataFrame, metric: dict[str, Metric]) -> str | None:
    """The best other method in print: on average over missing, else by the first metric or over all columns."""
    others = printed.drop(index=list(spec.lines), errors="ignore").sort_index()
    if others.empty:
        return None
    first = AVERAGE if AVERAGE in printed else printed.columns[0]
    by = others[first] if AVERAGE in printed or spec.columns == "metric" else others.mean(axis=1)
    return by.idxmin() if metric[first].lower else by.idxmax()


def _label(paper: str, system: SystemName) -> str:
    method, variant = system
    return f"{method}, {variant or 'as printed'}" if variant or paper == "smcir" else method
