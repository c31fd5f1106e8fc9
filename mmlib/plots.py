"""The figures of the notebooks: who misses what, training curves, embeddings, scores against missingness.

Every function returns a Figure that pyplot no longer holds, so a notebook shows it once: as the value of its cell.
"""

import math
import os
import textwrap
from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from mmlib.metrics import better

WIDTH, HEIGHT = 7.0, 3.5  # inches
# Dark violet instead of yellow, which cannot be read on white.
PALETTE = [*sns.color_palette("colorblind")[:8], sns.color_palette("colorblind")[9], to_rgb("#55287d")]
MISSING = to_rgb("#ebebeb")
REAL = to_rgb("#f2c12e")
IMPUTED = {"image": to_rgb("#cc2936"), "text": to_rgb("#0b6fb8")}
IMPUTED_OTHERS = [PALETTE[k] for k in (2, 4, 8, 7)]  # of the rest, those that stand out against yellow
THEME = {
    **sns.axes_style("whitegrid"),
    "axes.edgecolor": "0.4",
    "axes.grid.axis": "y",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 10,
    "font.size": 9,
    "grid.color": "0.92",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.title_fontsize": 8,
    "lines.linewidth": 1.4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
_PATTERNS = 8
_MARKERS = "osD^vPX"  # seven and ten colours: no pair of them repeats before the 71st method
_LETTER = 0.075  # width in inches of a wide letter of 8 points
_DASHES = [":", "-.", (0, (5, 4)), (0, (1, 4))]


@plt.rc_context(THEME)
def missingness(frames: Mapping[str, Bool[Tensor, "n _"]], rows: int = 60, title: str = "") -> Figure:
    """Who is missing what: the first `rows` samples frame by frame, and the share of each availability pattern.

    frames: per modality (n, T), True where observed; a vector feature has T = 1.

    Raises ValueError where there is no modality, no sample, or modalities differ in the number of samples.
    """
    counts = {m: len(f) for m, f in frames.items()}
    if not counts or 0 in counts.values() or len(set(counts.values())) > 1:
        raise ValueError(f"plots.missingness: needs the same samples, at least one, in each modality; got {counts}")
    n = next(iter(counts.values()))
    shown = min(rows, n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT), width_ratios=(3, 2))
    plt.close(figure)

    # Every modality is equally wide: at one width per frame a vector would vanish beside 500 frames.
    for k, f in enumerate(frames.values()):
        colours = torch.tensor([MISSING, PALETTE[k % len(PALETTE)]])[f[:shown].long().cpu()]  # (shown, T, 3)
        # Frames narrower than a pixel are averaged; ten rows for each sample keep its upper and lower edge sharp.
        pixels = colours.repeat_interleave(10, 0).numpy()
        left.imshow(pixels, extent=(k + 0.04, k + 0.96, shown, 0), aspect="auto", interpolation="antialiased")
    labels = [m if f.shape[1] == 1 else f"{m}\n{f.shape[1]} frames" for m, f in frames.items()]
    _categories(left, np.arange(len(labels)) + 0.5, labels, inches=3.2)
    left.set(xlim=(0, len(labels)), ylim=(shown, 0), ylabel=f"sample (first {shown} of {n})")
    left.set_title("coloured: observed, pale: missing" + (" or padding" if "frames" in "".join(labels) else ""))
    left.grid(False)
    left.spines[:].set_visible(False)

    shares = _pattern_shares(frames)  # %
    bars = right.barh(list(shares), list(shares.values()), color="0.6", height=min(0.7, 0.15 * len(shares)))
    right.bar_label(bars, [f"{share:.1f} %" for share in shares.values()], padding=3, fontsize=8)
    right.set(xlim=(0, 1.3 * max(shares.values())), xlabel="share of samples (%)", title="available modalities")
    right.set_xticks([tick for tick in right.get_xticks() if tick <= 100])
    right.set_ylim(-0.6, len(shares) - 0.4)
    right.invert_yaxis()
    right.grid(False)
    if title:
        figure.suptitle(title)
    return figure


def _pattern_shares(frames: Mapping[str, Bool[Tensor, "n _"]]) -> dict[str, float]:
    """Percentage of each set of available modalities, the most frequent first; the rarest are summed up."""
    present = torch.stack([f.any(1) for f in frames.values()], 1)  # (n, modalities)
    patterns, counts = present.unique(dim=0, return_counts=True)
    shares = {}
    for count, pattern in sorted(zip(counts.tolist(), patterns.tolist(), strict=True), reverse=True):
        names = [m for m, there in zip(frames, pattern, strict=True) if there]
        name = f"{names[0]} only" if len(names) == 1 else " + ".join(names) or "nothing"
        shares[textwrap.fill(name, 28)] = 100 * count / len(present)
    if len(shares) > _PATTERNS:
        rest = list(shares)[_PATTERNS - 1 :]
        shares[f"{len(rest)} other sets"] = sum(shares.pop(name) for name in rest)
    return shares


@plt.rc_context(THEME)
def losses(history: pd.DataFrame) -> Figure:
    """Training loss terms and validation score over the epochs of all stages, the best epoch marked.

    history: columns stage, epoch (within the stage; the axis counts from 1 through all stages), split, name, value.
        Rows of split 'train' are loss terms; those of 'valid' are metrics, of which `mmlib.metrics` knows the better.

    Raises ValueError for a missing column, no row, or another split.
    """
    _require(history, ["stage", "epoch", "split", "name", "value"], "losses")
    if unknown := sorted(set(history["split"]) - {"train", "valid"}):
        raise ValueError(f"plots.losses: split {unknown[0]!r}; only 'train' and 'valid' are drawn")
    spans, end = {}, 0
    for stage, rows in history.groupby("stage", sort=False):
        spans[stage] = (end, end + int(rows["epoch"].max() - rows["epoch"].min()) + 1)
        end = spans[stage][1]
    first = history.groupby("stage")["epoch"].transform("min")
    history = history.assign(at=history["epoch"] - first + history["stage"].map(lambda s: spans[s][0]) + 1)
    marker = "." if end <= 15 else None

    titles = {"train": "training", "valid": "validation"}
    splits = [split for split in titles if split in set(history["split"])]
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
        panel.set(xlabel="epoch", xlim=(0.5, end + 0.5))
        panel.set_ylabel({"train": "loss term", "valid": "score"}[split])
        panel.set_title(titles[split], pad=8 + _stage_names(panel, spans))
        panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        positive = part.loc[part["value"] > 0, "value"]
        if split == "train" and (part["value"] >= 0).all() and positive.max() > 20 * positive.min():
            panel.set_yscale("log", nonpositive="mask")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.2, ncols=2 if split == "train" else 1)
    return figure


def _stage_names(panel: Axes, spans: Mapping[str, tuple[int, int]]) -> int:
    """Writes stage names above the panel, on one line or, where stages are short, on one each; returns points used."""
    if len(spans) == 1:
        return 0
    end = max(stop for _, stop in spans.values())
    fit = all(_LETTER * len(name) < 2.9 * (stop - start) / end for name, (start, stop) in spans.items())  # 2.9 inches
    for line, (name, (start, stop)) in enumerate(spans.items()):
        at, side = ((start + stop) / 2, "center") if fit else (start, "left") if start < end / 2 else (stop, "right")
        above = (0, 3 if fit else 3 + 11 * (len(spans) - 1 - line))
        where = {"xycoords": ("data", "axes fraction"), "xytext": above, "textcoords": "offset points", "ha": side}
        panel.annotate(name, (at + 0.5, 1), fontsize=8, color="0.35", **where)
    return 11 if fit else 11 * len(spans)


@plt.rc_context(THEME)
def embeddings(
    real: Mapping[str, Float[Tensor, "_ _"]],
    imputed: Mapping[str, Float[Tensor, "_ _"]],
    seed: int = 0,
    limit: int = 600,
    title: str = "",
) -> Figure:
    """t-SNE of real and imputed embeddings, one panel for each modality (Figure 1 of SIM-C).

    real, imputed: per modality (n, d) and (k, d), of which at most `limit` each are drawn; row i of both may be the
        same sample, but need not.
    Below each panel: the balanced accuracy with which a linear classifier, cross-validated on the embeddings
    themselves, tells real from imputed; 0.5 means indistinguishable.

    Raises ValueError where the modalities or widths of the two differ, the width is 1, or there are fewer than 5 rows.
    """
    if not real or set(real) != set(imputed):
        raise ValueError(f"plots.embeddings: real has modalities {sorted(real)} but imputed has {sorted(imputed)}")
    for m in real:
        a, b = tuple(real[m].shape), tuple(imputed[m].shape)
        if len(a) != 2 or len(b) != 2 or a[1] != b[1] or a[1] < 2 or min(a[0], b[0]) < 5:
            needs = "the same width of at least 2, and at least 5 rows of each"
            raise ValueError(f"plots.embeddings: {m!r} is {a} real and {b} imputed; needs {needs}")
    columns = min(3, len(real))
    lines = math.ceil(len(real) / columns)
    figure = plt.figure(figsize=(min(WIDTH, HEIGHT * columns), HEIGHT * lines))
    plt.close(figure)
    for k, m in enumerate(real):
        order = np.random.default_rng(seed).permutation(max(len(real[m]), len(imputed[m])))
        picked = [order[order < len(x[m])][:limit] for x in (real, imputed)]
        x = np.concatenate([_array(x[m])[rows] for x, rows in zip((real, imputed), picked, strict=True)])
        is_imputed = np.repeat([0, 1], [len(rows) for rows in picked])
        at = _tsne(x, seed)
        panel = figure.add_subplot(lines, columns, k + 1)
        for kind, colour in enumerate((REAL, IMPUTED.get(m, IMPUTED_OTHERS[k % 4]))):
            label = f"{('real', 'imputed')[kind]} ({len(picked[kind])})"
            panel.scatter(*at[is_imputed == kind].T, s=9, color=colour, alpha=0.7, lw=0, label=label)
        accuracy = _told_apart(x, is_imputed, np.concatenate(picked), seed)
        note = f"real vs imputed: accuracy {accuracy:.2f}\n(0.50 = indistinguishable)"
        panel.set(xticks=[], yticks=[], xlabel=f"t-SNE 1\n\n{note}", ylabel="t-SNE 2")
        panel.set_title(m, pad=20)
        panel.legend(
            loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2, markerscale=2, handletextpad=0, columnspacing=1
        )
    if title:
        figure.suptitle(title)
    return figure


def _tsne(x: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n 2"]:
    # Another number of threads adds up in another order, and t-SNE makes another picture of the last bit.
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=min(30, (len(x) - 1) / 3), random_state=seed).fit_transform(x)


def _told_apart(x: Float[np.ndarray, "n d"], is_imputed: np.ndarray, sample: np.ndarray, seed: int) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    # A sample's real and imputed embeddings share a fold: a near twin of opposite label in the training folds would
    # push the accuracy below 0.5.
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(classifier, x, is_imputed, groups=sample, cv=folds, scoring="balanced_accuracy")
    return float(scores.mean())


@plt.rc_context(THEME)
def degradation(
    table: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    floor: Mapping[str, float] | None = None,
    ceiling: str | None = None,
) -> Figure:
    """Scores of methods as more goes missing: the mean over the rows of a point and one standard deviation.

    table: one row for each run, with a condition in column `x` (numbers give lines, names give points), a score in
        column `y` and a method in column `label`.
    floor: scores of trivial predictors, as thin lines. ceiling: the method drawn as a black dashed line.

    Raises ValueError for a missing column, no row, or a ceiling that is no method.
    """
    _require(table, [x, y, label], "degradation")
    methods = list(dict.fromkeys(table[label]))
    if ceiling is not None and ceiling not in methods:
        raise ValueError(f"plots.degradation: no method {ceiling!r} in column {label!r}; there are {methods}")
    numeric = pd.api.types.is_numeric_dtype(table[x]) and table[x].nunique() > 1  # one point is no line
    conditions = sorted(set(table[x])) if numeric else list(dict.fromkeys(table[x]))
    points = table.groupby([label, x], observed=True)[y].agg(["mean", "std"]).fillna({"std": 0})

    figure, panel = plt.subplots(figsize=(WIDTH, HEIGHT))
    plt.close(figure)
    competing = [m for m in methods if m != ceiling]
    dodge = (np.arange(len(competing)) - (len(competing) - 1) / 2) * min(0.16, 0.8 / max(1, len(competing)))
    for k, method in enumerate(competing):
        at, mean, std = _series(points.loc[method], conditions, numeric)
        style = {"color": PALETTE[k % len(PALETTE)], "marker": _MARKERS[k % len(_MARKERS)], "ms": 4, "label": method}
        if numeric:
            panel.plot(at, mean, **style)
            panel.fill_between(at, mean - std, mean + std, color=style["color"], alpha=0.15, lw=0)
        else:
            panel.plot(at + dodge[k], mean, ls="none", **style)
            panel.vlines(at + dodge[k], mean - std, mean + std, color=style["color"], lw=1)
    if ceiling is not None:
        at, mean, std = _series(points.loc[ceiling], conditions, numeric)
        if not numeric:  # a bar across each category, with gaps between
            at, mean, std = (at[:, None] + [-0.45, 0.45, np.nan]).ravel(), mean.repeat(3), std.repeat(3)
        panel.plot(at, mean, color="black", ls="--", label=ceiling, zorder=1.9)
        panel.fill_between(at, mean - std, mean + std, color="black", alpha=0.1, lw=0)
    for k, (name, value) in enumerate((floor or {}).items()):
        panel.axhline(value, color="0.35", lw=0.9, ls=_DASHES[k % len(_DASHES)], label=f"{name}: {value:.3f}", zorder=1)
    if not numeric:
        _categories(panel, np.arange(len(conditions)), [str(c) for c in conditions], inches=4.5)
        panel.set_xlim(-0.5, len(conditions) - 0.5)
    spread = "\n(mean ± std)" if points["std"].any() else ""
    panel.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " ") + spread)
    figure.legend(loc="outside right upper", title=label.replace("_", " "), alignment="left")
    return figure


def _series(points: pd.DataFrame, conditions: list, numeric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, mean and deviation of one method at the conditions it has."""
    points = points.loc[[c for c in conditions if c in points.index]]
    at = points.index.to_numpy(float) if numeric else np.array([conditions.index(c) for c in points.index], float)
    return at, points["mean"].to_numpy(), points["std"].to_numpy()


def save(figure: Figure, folder: Path | str, name: str) -> Path:
    """Writes <folder>/<name>.png at 150 dpi, whole or not at all, and returns its path."""
    path = Path(folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, dpi=150, format="png")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _categories(panel: Axes, at: np.ndarray, labels: list[str], inches: float) -> None:
    """Names on the x axis, slanted where they would not fit side by side on this width."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    fits = _LETTER * longest * len(labels) < inches
    panel.set_xticks(at, labels, **({} if fits else slanted))


def _array(x: Float[Tensor, "n d"]) -> Float[np.ndarray, "n d"]:
    return x.detach().cpu().float().numpy()


def _require(table: pd.DataFrame, columns: list[str], function: str) -> None:
    lacking = [c for c in columns if c not in table]
    if lacking:
        raise ValueError(f"plots.{function}: the table has no column {lacking[0]!r}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError(f"plots.{function}: the table has no rows")
