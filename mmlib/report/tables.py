"""The results tables of the four papers compared with our rows: published, ours, difference, gains over the control."""

from collections.abc import Iterable

import pandas as pd

from mmlib.report.claims.verdicts import best_trivial, compare
from mmlib.report.published import BASELINES, CONTROLS, TABLES, TITLES, Metric, Table, not_run
from mmlib.report.rows import (
    AVERAGE,
    COMPLETE,
    CORPORA,
    MissingRows,
    Rows,
    SystemName,
    grid,
    mean_text,
    measured,
    reported,
    scores,
    unflagged,
)

FLAG = "\N{BLACK FLAG}"
_SHARED = "average over shared"


def compare_table(paper: str, table: str) -> list[tuple[str, pd.DataFrame]]:
    """A published table compared with our rows: (caption, frame), one per data set of ours (and per metric).

    Lines: the paper's method as published, ours (mean ± standard deviation over seeds, n - 1), the difference (ours minus
    published), where it imputes its control, the gain over it and over the best trivial row; the same for each ablation that
    we ran; our variants that the table lacks; the best printed competitor; the baselines; the oracle where there is one.
    Cells are text, – where there is no number. Seeds with a flag are a line of their own, which names the flags, and count
    nowhere else. Columns are the table's; where our data lack some of its sets of modalities, a further column averages, on
    both sides, the sets that are shared. What was not run is a frame of one cell that says why, or with which command it
    is run. Raises KeyError for no such table.
    """
    spec = TABLES[paper, table]
    frames = []
    for dataset in spec.corpora:
        if why := not_run(paper, dataset):
            frames.append(_one_cell(paper, table, CORPORA[dataset].description, why))
            continue
        for group in [spec.metrics] if spec.columns == "metric" else [(m,) for m in spec.metrics]:
            frame = _frame(paper, table, dataset, group)
            if frame.empty:
                why = f"not run: no study of {paper} measures it on {dataset}"
                frames.append(_one_cell(paper, table, CORPORA[dataset].description, why))
            else:
                frames.append((_caption(paper, table, dataset, group, frame), frame))
    return frames + [_one_cell(paper, table, name, f"not run: {why}") for name, why in spec.not_run]


def show_table(paper: str, table: str) -> None:
    """Displays each frame of `compare_table` below its caption, a system's name once; what was not run as a line.

    KeyError for no such table.
    """
    from IPython.display import Markdown, display

    from mmlib import show

    for caption, frame in compare_table(paper, table):
        if "values" not in frame.index.names:
            display(Markdown(f"{caption}: {frame.iloc[0, 0]}"))
            continue
        frame = frame.reset_index()
        frame["system"] = frame["system"].mask(
            frame["values"].eq("difference") | frame["values"].str.startswith("gain"), ""
        )
        display(Markdown(caption), show.table(frame))


def decimals(values: Iterable[float]) -> int:
    """Decimal places in which the numbers are printed."""
    return max(len(f"{v:.6f}".rstrip("0").split(".")[1]) for v in values)


def _one_cell(paper: str, table: str, name: str, text: str) -> tuple[str, pd.DataFrame]:
    return f"{TITLES[paper]} Table {table}, {name}", pd.DataFrame({name: [text]})


def _caption(paper: str, table: str, dataset: str, group: tuple[Metric, ...], frame: pd.DataFrame) -> str:
    spec, corpus, rows = TABLES[paper, table], CORPORA[dataset], measured(paper, dataset)
    over = f"{rows['seed'].nunique()} " + ("folds" if paper in corpus.folds else "seeds")
    meanings = "; ".join(f"{m.printed} is {m.meaning}" if len(group) > 1 else m.meaning for m in group)
    same = "Features and often labels differ from the paper's: the difference is not a reproduction error alone."
    other = "Other clips, features and labels than the paper's: the difference compares data sets as much as methods."
    notes = [same if corpus.is_published else other]
    names, kinds = zip(*frame.index)
    if not corpus.same_unit and any(m.lower for m in group):
        notes.append("Errors are in units of other labels and are not subtracted.")
    if any(kind.startswith("gain") for kind in kinds):
        notes.append("Gains are positive where the method is better, with 95 % intervals; their seeds have no flag.")
    if any(kind.startswith(FLAG) for kind in kinds):
        notes.append(f"{FLAG}: seeds with these flags, which count nowhere else; (3 of 5): so many seeds.")
    if lacking := [line for line in spec.lines if line not in names]:
        notes.append(f"Not run here: {', '.join(lacking)}.")
    return (
        f"{TITLES[paper]} Table {table}, {spec.shows}. Metric: {meanings}. Published: {spec.corpora[dataset]}. "
        f"Ours: {corpus.description}; {rows['features'].iloc[0]}; mean ± standard deviation over {over}; settings in "
        f"notebooks/studies/{paper}_{corpus.study}.yaml. {' '.join(notes)}"
    )


def _frame(paper: str, table: str, dataset: str, group: tuple[Metric, ...]) -> pd.DataFrame:
    """Of no line where we have none."""
    spec, rows = TABLES[paper, table], measured(paper, dataset)
    printed, every = _printed(paper, table, dataset, group), _ours(spec, table, rows, group)
    ours, flagged = (_ours(spec, table, part, group).reindex_like(every) for part in _apart(rows))
    places = {c: decimals(printed[c].dropna()) for c in printed}
    averaged: dict[str, list[str]] = {}
    if AVERAGE in printed:
        over = [c for c in printed if c not in (AVERAGE, *COMPLETE)]
        shared = [c for c in over if c in every]
        name = AVERAGE if shared == over else _SHARED
        for part in (ours, flagged):
            part[name] = part[shared].mean(axis=1, skipna=False)
        averaged[name] = shared
        if name == _SHARED and len(shared) > 1:
            printed.insert(printed.columns.get_loc(AVERAGE) + 1, _SHARED, printed[shared].mean(axis=1))
            places[_SHARED] = max(2, *(places[c] for c in shared))
    columns = [c for c in printed if c in ours]
    metric = {c: next((m for m in group if m.printed == c), group[0]) for c in printed}
    flags = rows[rows["flags"] != ""].groupby(["method", "variant"])["flags"].unique()
    systems = set(every.index.droplevel("seed"))

    def published(name: str) -> dict[str, str]:
        return {c: f"{v:.{places[c]}f}" for c, v in printed.loc[name].dropna().items()}

    def measurements(system: SystemName, kind: str = "ours") -> list[tuple[str, str, dict[str, str]]]:
        kinds = {kind: ours}
        if system in flags:
            kinds[f"{FLAG} {'; '.join(flags[system])}"] = flagged
        lines = [
            (_label(paper, system), k, {c: mean_text(part.loc[system, c], metric[c].digits) for c in columns})
            for k, part in kinds.items() if part.loc[[system], columns].notna().any(axis=None)
        ]  # fmt: skip
        return lines

    def difference(system: SystemName, name: str) -> dict[str, str]:
        gaps = ours.loc[system, columns].mean(skipna=False) - printed.loc[name, columns]
        subtracted = {c for c in printed if CORPORA[dataset].same_unit or not metric[c].lower}
        return {c: f"{gap:+z.{metric[c].digits}f}" for c, gap in gaps.dropna().items() if c in subtracted}

    def gains(system: SystemName) -> list[tuple[str, str, dict[str, str]]]:
        """The lines of the gain over the control and over the best trivial row."""
        control, counting = CONTROLS[system], unflagged(rows)
        if spec.columns == "metric":
            cells = {c: (metric[c], ["complete"]) for c in columns}
        else:
            cells = {c: (metric[c], averaged.get(c, [c])) for c in columns}
        rivals = {f"gain over {_label(paper, control)}": control}
        try:
            over = max((conditions for _, conditions in cells.values()), key=len)
            best = best_trivial(counting, dataset, over)
            rivals[f"gain over {best[0]}, the best trivial row"] = best
        except MissingRows:
            pass
        lines = []
        for kind, rival in rivals.items():
            texts = {c: _gain(counting, dataset, system, rival, *cell) for c, cell in cells.items()}
            if set(texts.values()) != {"–"}:
                lines.append((_label(paper, system), kind, texts))
        return lines

    lines = []
    shown = {s for members in spec.lines.values() for s in members}
    for k, (name, members) in enumerate(spec.lines.items()):
        own = [system for system in members if system in systems]
        of_own = []
        for system in own:
            found = measurements(system)
            if any(kind == "ours" for _, kind, _ in found):
                found.append((_label(paper, system), "difference", difference(system, name)))
            if system in CONTROLS and k == 0 and not spec.derive:
                found += gains(system)
            of_own += found
        if of_own:
            lines += [(name, f"published, {spec.corpora[dataset]}", published(name)), *of_own]
            for control in dict.fromkeys(CONTROLS[s] for s in own if s in CONTROLS and k == 0):
                if control in systems and control not in shown:
                    lines += measurements(control, "ours, control")
                    shown.add(control)
    if not lines:
        return pd.DataFrame()
    for system in spec.extra:
        lines += measurements(system, "ours, not in the table") if system in systems and system not in shown else []
    if competitor := _best_competitor(spec, printed, metric):
        lines.append((competitor, "published, best of the others", published(competitor)))
    for method in (*BASELINES, "oracle"):
        lines += measurements((method, "")) if (method, "") in systems else []
    frame = pd.DataFrame([cells for *_, cells in lines], columns=list(printed)).astype(object).fillna("–")
    frame.index = pd.MultiIndex.from_tuples([(name, kind) for name, kind, _ in lines], names=["system", "values"])
    return frame.rename(columns={c: c[len("available(") : -1] for c in frame if c.startswith("available(")})


def _apart(rows: Rows) -> tuple[Rows, Rows]:
    """The rows without and with a flag."""
    return unflagged(rows), rows[rows["flags"] != ""]


def _gain(
    rows: Rows, dataset: str, system: SystemName, rival: SystemName, metric: Metric, conditions: list[str]
) -> str:
    try:
        (gain,) = compare(rows, dataset, system, [rival], conditions, metric.ours).values()
    except MissingRows:
        return "–"
    return f"{gain.mean * metric.unit:+z.{metric.digits}f} ± {gain.half * metric.unit:.{metric.digits}f}"


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


def _ours(spec: Table, table: str, rows: Rows, group: tuple[Metric, ...]) -> pd.DataFrame:
    """Our scores as of `rows.scores`, by the columns and in the units of a published table."""
    if spec.columns == "metric":
        of_metric = {m.printed: scores(rows, m.ours).reindex(columns=["complete"])["complete"] * m.unit for m in group}
        return pd.concat(of_metric, axis=1)
    (m,) = group
    if table == "4":  # ADMC's
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
