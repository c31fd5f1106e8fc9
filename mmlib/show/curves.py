"""Losses over epochs, scores against missing rates, average ranks, and predictions against true values."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import reduce

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmlib.metrics import better
from mmlib.show import theme
from mmlib.show.theme import HEIGHT, LETTER, MARKERS, PALETTE, THEME, WIDTH

_DASHES = [":", "-.", (0, (5, 4)), (0, (1, 4))]


@plt.rc_context(THEME)
def losses(history: pd.DataFrame) -> Figure:
    """Training loss terms and validation scores over the epochs of all stages; a star marks the best epoch.

    history: columns stage, epoch (within the stage; the axis counts from 1 through all stages), split, name, value.
        Rows of split 'train' are loss terms; those of split 'valid' are metrics with a name from `mmlib.metrics`.
    Raises ValueError for a missing column, no row, or another split.
    """
    theme.require_columns(history, ["stage", "epoch", "split", "name", "value"], "show.losses")
    if unknown := sorted(set(history["split"]) - {"train", "valid"}):
        raise ValueError(f"show.losses: split {unknown[0]!r}; only 'train' and 'valid' have a panel")
    spans, end = {}, 0
    for stage, rows in history.groupby("stage", sort=False):
        spans[stage] = (end, end + int(rows["epoch"].max() - rows["epoch"].min()) + 1)
        end = spans[stage][1]
    first = history.groupby("stage")["epoch"].transform("min")
    history = history.assign(at=history["epoch"] - first + history["stage"].map(lambda s: spans[s][0]) + 1)
    marker = "." if end <= 15 else None

    names = {"train": ("training", "loss term"), "valid": ("validation", "score")}  # of the panel and its y axis
    splits = [split for split in names if split in set(history["split"])]
    figure, axes = plt.subplots(1, len(splits), figsize=(WIDTH * len(splits) / 2, HEIGHT), squeeze=False)
    plt.close(figure)
    for panel, split in zip(axes[0], splits, strict=True):
        part = history[history["split"] == split]
        for k, (name, rows) in enumerate(part.groupby("name", sort=False)):
            for i, (_, run) in enumerate(rows.groupby("stage", sort=False)):
                style = {"color": PALETTE[k % len(PALETTE)], "ls": "-" if k < len(PALETTE) else "--", "marker": marker}
                panel.plot(run["at"], run["value"], label=name if i == 0 else "_", **style)
            if split == "valid":
                best = reduce(lambda a, b: b if better(name, b.value, a.value) else a, rows.itertuples())
                label = f"best {name}: {best.value:.3f} in epoch {best.at}"
                panel.plot(best.at, best.value, "*", color="black", ms=9, ls="none", label=label, zorder=3)
        for start, _ in list(spans.values())[1:]:
            panel.axvline(start + 0.5, color="0.6", lw=0.7)
        panel.set(xlabel="epoch", xlim=(0.5, end + 0.5), ylabel=names[split][1])
        panel.set_title(names[split][0], pad=8 + _stage_names(panel, spans))
        panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        positive = part.loc[part["value"] > 0, "value"]
        if split == "train" and (part["value"] >= 0).all() and positive.max() > 20 * positive.min():
            panel.set_yscale("log", nonpositive="mask")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.2, ncols=2 if split == "train" else 1)
    return figure


def _stage_names(panel: Axes, spans: Mapping[str, tuple[int, int]]) -> int:
    """Writes stage names above the panel, on one line or, for short stages, a line each; returns their height in points."""
    if len(spans) == 1:
        return 0
    end = max(stop for _, stop in spans.values())
    fit = all(LETTER * len(name) < 2.9 * (stop - start) / end for name, (start, stop) in spans.items())  # 2.9 inches
    for line, (name, (start, stop)) in enumerate(spans.items()):
        at, side = ((start + stop) / 2, "center") if fit else (start, "left") if start < end / 2 else (stop, "right")
        above = (0, 3 if fit else 3 + 11 * (len(spans) - 1 - line))
        where = {"xycoords": ("data", "axes fraction"), "xytext": above, "textcoords": "offset points", "ha": side}
        panel.annotate(name, (at + 0.5, 1), fontsize=8, color="0.35", **where)
    return 11 if fit else 11 * len(spans)


@plt.rc_context(THEME)
def degradation(
    table: pd.DataFrame,
    x: str,
    y: str | Sequence[str],
    label: str,
    floor: Mapping[str, float | Sequence[float]] | None = None,
    ceiling: str | None = None,
) -> Figure:
    """Scores of methods under each condition: the mean over runs and one standard deviation.

    table: one row per run, with a condition in column `x` (numbers give lines, names give points), a score in column `y`
        and a method in column `label`. Several columns `y` give a panel each and one legend below.
    floor: scores of baselines, as thin lines; with several columns `y`, one score for each column.
    ceiling: the method that is a black dashed line.
    Raises ValueError for a missing column, no row, a ceiling that is no method, or a floor with a wrong number of scores.
    """
    columns = [y] if isinstance(y, str) else list(y)
    theme.require_columns(table, [x, *columns, label], "show.degradation")
    methods = list(dict.fromkeys(table[label]))
    if ceiling is not None and ceiling not in methods:
        raise ValueError(f"show.degradation: no method {ceiling!r} in column {label!r}; there are {methods}")
    floors = {name: np.atleast_1d(value) for name, value in (floor or {}).items()}
    if bad := [name for name, values in floors.items() if len(values) != len(columns)]:
        raise ValueError(f"show.degradation: floor {bad[0]!r} needs a score for each of {columns}")
    numeric = pd.api.types.is_numeric_dtype(table[x]) and table[x].nunique() > 1  # a line needs two points
    conditions = sorted(set(table[x])) if numeric else list(dict.fromkeys(table[x]))
    competing = [m for m in methods if m != ceiling]
    dodge = (np.arange(len(competing)) - (len(competing) - 1) / 2) * min(0.16, 0.8 / max(1, len(competing)))

    figure, axes = plt.subplots(1, len(columns), figsize=(WIDTH, HEIGHT), squeeze=False)
    plt.close(figure)
    for i, (panel, column) in enumerate(zip(axes[0], columns, strict=True)):
        points = table.groupby([label, x], observed=True)[column].agg(["mean", "std"]).fillna({"std": 0})
        for k, method in enumerate(competing):
            at, mean, std = _series(points.loc[method], conditions, numeric)
            style = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)], "ms": 4}
            if numeric:
                draw_line(panel, at, mean, std, label=method, **style)
            else:
                panel.plot(at + dodge[k], mean, ls="none", label=method, **style)
                panel.vlines(at + dodge[k], mean - std, mean + std, color=style["color"], lw=1)
        if ceiling is not None:
            at, mean, std = _series(points.loc[ceiling], conditions, numeric)
            if not numeric:  # a bar across each category, with gaps between
                at, mean, std = (at[:, None] + [-0.45, 0.45, np.nan]).ravel(), mean.repeat(3), std.repeat(3)
            draw_line(panel, at, mean, std, alpha=0.1, color="black", ls="--", label=ceiling, zorder=1.9)
        for k, (name, values) in enumerate(floors.items()):
            scores = ", ".join(f"{value:.3f}" for value in values)
            style = {"color": "0.35", "lw": 0.9, "ls": _DASHES[k % len(_DASHES)], "zorder": 1}
            panel.axhline(values[i], label=f"{name}: {scores}", **style)
        if not numeric:
            inches = 4.5 if len(columns) == 1 else 5.6 / len(columns)
            theme.name_categories(panel, np.arange(len(conditions)), [str(c) for c in conditions], inches)
            panel.set_xlim(-0.5, len(conditions) - 0.5)
        spread = "\n(mean ± std)" if points["std"].any() else ""
        panel.set(xlabel=x.replace("_", " "), ylabel=column.replace("_", " ") + spread)
    if len(columns) == 1:
        figure.legend(loc="outside right upper", title=label.replace("_", " "), alignment="left")
    else:
        theme.legend_below(axes[0, 0], title=label.replace("_", " "))
    return figure


@plt.rc_context(THEME)
def critical_difference(ranks: pd.Series, cd: float, title: str = "") -> Figure:
    """Average ranks of methods, with a bar across methods that do not differ significantly (Demšar 2006, Figure 1).

    ranks: average rank per method; 1 is the best and on the left.
    cd: the critical difference in ranks (`mmlib.report.ranks.nemenyi`). A bar joins methods whose ranks differ by at
        most `cd`; a bar within a longer one is left out.
    Raises ValueError for fewer than two methods, a rank that is not from 1 to their number, or a cd that is not above 0.
    """
    k = len(ranks)
    if k < 2 or not ranks.between(1, k).all() or not 0 < cd < math.inf:
        needs = "at least two methods, ranks from 1 to their number, and a finite cd above 0"
        raise ValueError(f"show.critical_difference: needs {needs}; got {ranks.to_dict()} and {cd}")
    ranks = ranks.sort_values(kind="stable")
    names = [textwrap.fill(f"{name} ({rank:.2f})", 28) for name, rank in ranks.items()]
    half = math.ceil(k / 2)
    bars, end = [], 0
    for first, rank in enumerate(ranks):
        last = int((ranks <= rank + cd).sum()) - 1
        if last > max(first, end):
            bars.append((first, last))
            end = last

    # One unit of the panel is one inch, downwards: letters must not overlap, and their size is in inches.
    widths = [TextPath((0, 0), line, size=8).get_extents().width / 72 for line in "\n".join(names).split("\n")]
    margin = max(1.1, 0.2 + max(widths))
    heights = np.array([0.22 + 0.14 * name.count("\n") for name in names])
    axis = 0.75 + 0.2 * bool(title)
    rows = axis + 0.2 + 0.1 * len(bars)
    height = rows + max(heights[:half].sum(), heights[half:].sum())
    figure = plt.figure(figsize=(WIDTH, height), layout="none")
    plt.close(figure)
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    panel.set_axis_off()

    def at(rank: float) -> float:
        return margin + (rank - 1) * (WIDTH - 2 * margin) / max(k - 1, cd)

    thin, thick = {"color": "0.35", "lw": 0.9}, {"color": PALETTE[0], "lw": 3.5, "solid_capstyle": "butt"}
    panel.plot([at(1), at(k)], [axis, axis], **thin)
    for rank in range(1, k + 1):
        panel.plot([at(rank)] * 2, [axis - 0.06, axis], **thin)
        panel.text(at(rank), axis - 0.09, str(rank), size=8, ha="center", va="bottom")
    panel.text(margin - 0.15, axis, "average rank\n(1 is best)", size=8, ha="right", va="center")
    above = axis - 0.35
    panel.plot([at(1), at(1 + cd)], [above, above], color="black", lw=1.4, marker="|", ms=6)
    panel.text(at(1), above - 0.07, f"critical difference {cd:.2f}", size=8, va="bottom")
    for i, (first, last) in enumerate(bars):
        ends = at(ranks.iloc[first]) - 0.04, at(ranks.iloc[last]) + 0.04
        panel.plot(ends, [axis + 0.13 + 0.1 * i] * 2, **thick)
    left = np.arange(half), margin, -0.05, "right"
    right = np.arange(half, k)[::-1], WIDTH - margin, 0.05, "left"
    for order, side, gap, ha in (left, right):  # the outermost first, so no line crosses another
        for i, y in zip(order, rows + heights[order].cumsum() - heights[order] / 2, strict=True):
            panel.plot([at(ranks.iloc[i])] * 2 + [side], [axis, y, y], **thin, zorder=1)
            panel.text(side + gap, y, names[i], size=8, ha=ha, va="center")
    return theme.titled(figure, title)


def draw_line(panel: Axes, at: np.ndarray, mean: np.ndarray, std: np.ndarray, alpha: float = 0.15, **style) -> None:
    """Draws a line of means with a band of one standard deviation on each side."""
    panel.plot(at, mean, **style)
    panel.fill_between(at, mean - std, mean + std, color=style["color"], alpha=alpha, lw=0)


def agreement_points(panels: Mapping[tuple[str, str], tuple[Float[Tensor, "_"], Float[Tensor, "_"]]]) -> pd.DataFrame:
    """The table that `agreement` draws; columns: system, condition, truth, prediction.

    panels: per system and condition the true and the predicted values, (n,) each.
    Raises ValueError for no panel, and for a panel with fewer than two rows or different numbers of true and predicted ones.
    """
    if not panels:
        raise ValueError("show.agreement_points: there is nothing to draw")
    tables = []
    for (system, condition), (truth, prediction) in panels.items():
        if len(truth) != len(prediction) or len(truth) < 2:
            panel = f"panel {f'{system}, {condition}'!r} has {len(truth)} true and {len(prediction)} predicted values"
            raise ValueError(f"show.agreement_points: {panel}; needs at least two of each, and as many")
        values = {"truth": theme.to_array(truth), "prediction": theme.to_array(prediction)}
        tables.append(pd.DataFrame({"system": system, "condition": condition, **values}))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def agreement(points: pd.DataFrame, title: str = "") -> Figure:
    """Predicted against true values, a panel for each system and condition, three to a line (Figure 2 of SMCIR).

    points: of `agreement_points`. The dashed line is a perfect prediction; the colour is the true value. Below each panel:
    mean absolute error and slope of the least-squares line, 1 for a perfect prediction and 0 for a constant one.
    Raises ValueError for a missing column or no row.
    """
    theme.require_columns(points, ["system", "condition", "truth", "prediction"], "show.agreement")
    parts = list(points.groupby(["system", "condition"], sort=False))
    lines = math.ceil(len(parts) / 3)
    size = (WIDTH, 2.9 * lines)
    figure, axes = plt.subplots(lines, min(3, len(parts)), figsize=size, squeeze=False, sharex=True, sharey=True)
    plt.close(figure)
    ends = float(points["truth"].min()), float(points["truth"].max())
    for panel, (name, rows) in zip(axes.flat, parts):
        note = draw_agreement(panel, rows, ends)
        panel.set(title=textwrap.fill(", ".join(name), 30), xlabel=f"true value\n{note}")
    for panel in axes[:, 0]:
        panel.set_ylabel("prediction")
    for panel in list(axes.flat)[len(parts) :]:
        panel.set_visible(False)
    return theme.titled(figure, title)


def draw_agreement(panel: Axes, points: pd.DataFrame, ends: tuple[float, float], size: float = 9) -> str:
    """Draws one panel and the diagonal between `ends`; returns the mean absolute error and the slope as text.

    size: area of a point in square points.
    """
    truth, prediction = points["truth"].to_numpy(), points["prediction"].to_numpy()
    panel.plot(ends, ends, color="0.35", ls="--", lw=0.9, zorder=1)
    strongest = max(abs(end) for end in ends)
    shades = {"c": truth, "cmap": "coolwarm_r", "vmin": -strongest, "vmax": strongest}
    panel.scatter(truth, prediction, s=size, lw=0.2, edgecolor="0.3", **shades)
    covariance = ((truth - truth.mean()) * (prediction - prediction.mean())).mean()
    slope = covariance / truth.var() if truth.var() else math.nan
    return f"mae {np.abs(truth - prediction).mean():.2f}, slope {slope:.2f}"


def _series(points: pd.DataFrame, conditions: list, numeric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place on the x axis, mean and standard deviation of one method under each condition in its rows."""
    points = points.loc[[c for c in conditions if c in points.index]]
    at = points.index.to_numpy(float) if numeric else np.array([conditions.index(c) for c in points.index], float)
    return at, points["mean"].to_numpy(), points["std"].to_numpy()
