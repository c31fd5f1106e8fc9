"""The results tables of the four papers compared with our rows: published, ours, difference, gains over the control."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from mmlib.report.claims.verdicts import best_trivial, compare
from mmlib.report.published import (
    BASELINES,
    CONTROLS,
    DROPOUT,
    PEER_CONTROLS,
    TABLES,
    TITLES,
    Metric,
    Table,
    not_run,
    with_peers,
)
from mmlib.report.rows import (
    AVERAGE,
    COMPLETE,
    CORPORA,
    PEER_FORMS,
    MissingRows,
    Rows,
    SystemName,
    grid,
    has_replicates,
    main_metric,
    mean_text,
    measured,
    reported,
    scores,
    unflagged,
)

FLAG = "\N{BLACK FLAG}"
_SHARED = "mean of these sets"
_OWN, _OTHERS = {"own"}, {"others"}  # whose printed lines a frame shows
_FILLS = ("zero fill", DROPOUT, "zero fill, text kept")


def compare_table(paper: str, table: str) -> list[tuple[str, pd.DataFrame]]:
    """A published table compared with our rows: (caption, frame), one per data set of ours (and per metric).

    Lines: the paper's method as published, ours (mean ± standard deviation over seeds, n - 1), on the published data the
    difference (ours minus published), where it imputes its control and its gains over it, over zero fill and, in the metric
    that chose the settings, over the best trivial row on validation; the same for each ablation that we ran; our variants that
    the table lacks; the compared systems that we ran on the same features, as published, ours and their controls; the best
    printed competitor; the baselines; the oracle where there is one. Where the other methods are printed in another metric,
    they have a frame of their own, with ours of the paper's method and the baselines in that metric.
    Cells are text, – where there is no number. Seeds with a flag are a line of their own, which names the flags, and count
    nowhere else. Columns are the table's, but for those of which we have no number; where our data lack some of its sets of
    modalities, a further column averages, on both sides, the sets that are shared. What was not run is a frame of one cell
    that says why, or with which command it is run. Raises KeyError for no such table.
    """
    spec = TABLES[paper, table]
    frames = []
    for dataset in spec.corpora:
        if why := not_run(paper, dataset):
            frames.append(_one_cell(paper, table, CORPORA[dataset].description, why))
            continue
        rows = with_peers(paper, measured(paper, dataset))
        for group in [spec.metrics] if spec.columns == "metric" else [(m,) for m in spec.metrics]:
            of_others = tuple(m.of_others for m in group if m.of_others)
            for metrics, shows in [(group, _OWN), (of_others, _OTHERS)] if of_others else [(group, _OWN | _OTHERS)]:
                block = _Block.of(paper, table, dataset, rows, metrics)
                frame = _frame(block, spec, shows)
                if frame.empty:
                    why = f"not run: no study of {paper} measures it on {dataset}"
                    frames.append(_one_cell(paper, table, CORPORA[dataset].description, why))
                else:
                    frames.append((_caption(block, table, metrics, frame), frame))
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


def _caption(block: "_Block", table: str, group: tuple[Metric, ...], frame: pd.DataFrame) -> str:
    paper, dataset, rows = block.paper, block.dataset, block.rows
    spec, corpus = TABLES[paper, table], CORPORA[dataset]
    over = f"{rows['seed'].nunique()} " + ("folds" if paper in corpus.folds else "seeds")
    meanings = "; ".join(f"{m.printed} is {m.meaning}" if len(group) > 1 else m.meaning for m in group)
    same = "Features and often labels differ from the paper's: the difference is not a reproduction error alone."
    other = "Other clips, features and labels than the paper's: no difference is taken."
    notes = [same if corpus.is_published else other]
    names, kinds = zip(*frame.index)
    if any(kind.startswith("gain") for kind in kinds):
        alone = ", ".join(m.printed for m in group if not has_replicates(rows, m.ours))
        basis = " over seeds alone" if alone == ", ".join(m.printed for m in group) else " over seeds and test rows"
        basis += f" (of {alone} over seeds alone)" if alone and basis != " over seeds alone" else ""
        notes.append(f"Gains: 95 % intervals{basis}, positive where the method is better.")
    if _SHARED in frame:
        notes.append(f"*{_SHARED}*: on both sides computed by us.")
    if left_out := [c for c in block.printed if _short(c) not in frame]:
        notes.append(f"Our rows have nothing under {'; '.join(map(_short, left_out))}.")
    if any(kind.startswith(FLAG) for kind in kinds):
        notes.append(f"{FLAG}: seeds with these flags, which count nowhere else.")
    if lacking := [line for line in spec.lines if line not in names]:
        notes.append(f"Not run here: {', '.join(lacking)}.")
    studies = [f"notebooks/studies/{paper}_{corpus.study}.yaml"]
    studies += [f"{study}.yaml" for study in rows["study"].unique() if study.startswith("compared_")]
    return (
        f"{TITLES[paper]} Table {table}, {spec.shows}. Metric: {meanings}. Published: {spec.corpora[dataset]}. "
        f"Ours: {corpus.description}; {rows['features'].iloc[0]}; mean ± standard deviation over {over}; settings in "
        f"{' and '.join(studies)}. {' '.join(notes)}"
    )


Line = tuple[str, str, dict[str, str]]
"""A line of a frame: system, what its cells are, the cells by column."""


def _frame(block: "_Block", spec: Table, shows: set[str]) -> pd.DataFrame:
    """Of no line where we have none. shows: whose printed lines."""
    lines: list[Line] = []
    shown = {system for members in spec.lines.values() for system in members}
    for name, members in spec.lines.items():
        own = [system for system in members if system in block.systems]
        if own and _OWN <= shows:
            lines.append((name, f"published, {spec.corpora[block.dataset]}", block.published(name)))
        for system in own:
            lines += [*block.measured(system), *(block.difference(system, name) if _OWN <= shows else ())]
            if name == next(iter(spec.lines)) and system in CONTROLS and not spec.derive:
                lines += block.gains(system)
        for control in dict.fromkeys(CONTROLS[system] for system in own if system in CONTROLS):
            if control not in shown:
                lines += block.measured(control, "ours, control")
                shown.add(control)
    _, *others = spec.lines.values()
    if not lines or spec.ablates and not block.systems & {system for members in others for system in members}:
        return pd.DataFrame()
    lines += [line for s in spec.extra if s not in shown for line in block.measured(s, "ours, not in the table")]
    others = [name for name in block.printed.index if name not in spec.lines]
    competitors = {n: s for n in others for s in ((n + form, "") for form in PEER_FORMS) if s in block.systems}
    for name, system in competitors.items() if _OTHERS <= shows else ():
        lines.append((name, f"published, {spec.corpora[block.dataset]}", block.published(name)))
        lines += [*block.measured(system), *block.difference(system, name)]
        control = PEER_CONTROLS.get(system[0], ""), ""
        if control not in shown:
            lines += block.measured(control, "ours, control")
            shown.add(control)
    competitor = _best_competitor(spec, block.printed, block.metric) if _OTHERS <= shows else None
    if competitor and competitor not in competitors:
        lines.append((competitor, "published, best of the others", block.published(competitor)))
    lines += [line for method in (*BASELINES, "oracle") for line in block.measured((method, ""))]
    ours = [cells for _, kind, cells in lines if not kind.startswith("published")]
    of_ours = {c for cells in ours for c, text in cells.items() if text != "–"}
    columns = [c for c in block.printed if c in of_ours]
    frame = pd.DataFrame([cells for *_, cells in lines], columns=columns).astype(object).fillna("–")
    frame.index = pd.MultiIndex.from_tuples([(name, kind) for name, kind, _ in lines], names=["system", "values"])
    return frame.rename(columns=_short)


def _short(column: str) -> str:
    return column[len("available(") : -1] if column.startswith("available(") else column


@dataclass(frozen=True)
class _Block:
    """The numbers of one published table on one data set of ours.

    rows: ours. printed: methods by columns. ours, flagged: system -> seeds by columns, without and with a flag; a cell is nan
    in the one where it is in the other. averaged: column -> the conditions that it is the mean of. metric: of each column.
    """

    paper: str
    dataset: str
    rows: Rows
    printed: pd.DataFrame
    ours: Mapping[SystemName, pd.DataFrame]
    flagged: Mapping[SystemName, pd.DataFrame]
    averaged: Mapping[str, list[str]]
    metric: Mapping[str, Metric]
    places: Mapping[str, int]

    @classmethod
    def of(cls, paper: str, table: str, dataset: str, rows: Rows, group: tuple[Metric, ...]) -> "_Block":
        spec = TABLES[paper, table]
        printed, every = _printed(paper, table, dataset, group), _ours(spec, table, rows, group)
        halves = [unflagged(rows), rows[rows["flags"] != ""]]
        halves = [_ours(spec, table, half, group).reindex(index=every.index, columns=every.columns) for half in halves]
        columns, averaged = [c for c in printed if c in every], {c: [c] for c in every}
        places = {c: decimals(printed[c].dropna()) for c in printed}
        if AVERAGE in printed:
            over = [c for c in printed if c not in (AVERAGE, *COMPLETE)]
            shared = [c for c in over if c in every]
            name = AVERAGE if shared == over else _SHARED
            averaged[name] = shared
            if name == AVERAGE or len(shared) > 1:
                columns.append(name)
                halves = [half.assign(**{name: half[shared].mean(axis=1, skipna=False)}) for half in halves]
            if name == _SHARED and len(shared) > 1:
                printed.insert(printed.columns.get_loc(AVERAGE) + 1, _SHARED, printed[shared].mean(axis=1))
                places[_SHARED] = max(2, *(places[c] for c in shared))
        if spec.columns == "metric":
            averaged = {c: ["complete"] for c in columns}
        metric = {c: next((m for m in group if m.printed == c), group[0]) for c in printed}
        ours, flagged = (dict(list(half[columns].groupby(level=["method", "variant"]))) for half in halves)
        return cls(paper, dataset, rows, printed, ours, flagged, averaged, metric, places)

    @property
    def systems(self) -> set[SystemName]:
        return set(self.ours)

    @cached_property
    def trivial(self) -> SystemName | None:
        """The best trivial row, if there is one."""
        rows = unflagged(self.rows)
        rows = rows[rows["metric"] == main_metric(rows, self.dataset)]
        with suppress(MissingRows):
            return best_trivial(rows, self.dataset, max(self.averaged.values(), key=len))
        return None

    def published(self, name: str) -> dict[str, str]:
        return {c: f"{v:.{self.places[c]}f}" for c, v in self.printed.loc[name].dropna().items()}

    def measured(self, system: SystemName, kind: str = "ours") -> list[Line]:
        """The line of the seeds without a flag, and that of the others; none for a system that was not run."""
        own = (self.rows["method"] == system[0]) & (self.rows["variant"] == system[1])
        flags = "; ".join(flag for flag in self.rows.loc[own, "flags"].unique() if flag)
        parts = {kind: self.ours.get(system), f"{FLAG} {flags}": self.flagged.get(system)}
        return [
            (_label(self.paper, system), k, {c: mean_text(v, self.metric[c].digits) for c, v in part.items()})
            for k, part in parts.items() if part is not None and part.notna().any(axis=None)
        ]  # fmt: skip

    def difference(self, system: SystemName, name: str) -> list[Line]:
        """Ours minus published, on the published data alone and where no seed of a cell is left out."""
        if not CORPORA[self.dataset].is_published:
            return []
        gaps = (self.ours[system].mean(skipna=False) - self.printed.loc[name]).dropna()
        cells = {c: f"{gap:+z.{self.metric[c].digits}f}" for c, gap in gaps.items()}
        return [(_label(self.paper, system), "difference", cells)] if cells else []

    def gains(self, system: SystemName) -> list[Line]:
        """The gains over the control and trivial rows, each with its interval; none where there is no number.

        Of averages and complete rows alone, where there are averages: single conditions are many comparisons. Zero fill is the
        rival in every metric; a row that validation chose is one in the metric of that choice alone, where it is the best.
        """
        has = [c for c, values in self.ours[system].items() if values.notna().any()]
        averages = [c for c in has if len(self.averaged[c]) > 1]
        columns = [c for c in has if not averages or c in averages or self.averaged[c][0] in COMPLETE]
        rows, control = unflagged(self.rows), CONTROLS[system]
        main, own = main_metric(rows, self.dataset), rows["metric"].isin({m.ours for m in self.metric.values()})
        rivals = {f"gain over {_label(self.paper, control)}": (control, columns)}
        rivals |= {f"gain over {name}": ((name, ""), columns) for name in _FILLS if (name, "") in self.systems}
        if self.trivial and self.trivial[0] not in _FILLS:
            of_main = [c for c in columns if self.metric[c].ours == main]
            rivals[f"gain over {self.trivial[0]}, the best trivial row on validation"] = self.trivial, of_main
        lines = []
        for kind, (rival, of) in rivals.items():
            both, cells = rows[own & rows["method"].isin([system[0], rival[0]])], {}
            for c in of:
                with suppress(MissingRows):
                    cells[c] = self._gain(both, system, rival, c)
            lines += [(_label(self.paper, system), kind, cells)] if cells else []
        return lines

    def _gain(self, rows: Rows, system: SystemName, rival: SystemName, column: str) -> str:
        m, seeds = self.metric[column], self.rows["seed"].nunique()
        (gain,) = compare(rows, self.dataset, system, [rival], self.averaged[column], m.ours).values()
        text = f"{gain.mean * m.unit:+z.{m.digits}f} ± {gain.half * m.unit:.{m.digits}f}"
        return text + f" ({gain.seeds} of {seeds})" * (gain.seeds < seeds)


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
    return f"{method}, {variant or 'as printed'}" if variant or method == "SMCIR" else method
