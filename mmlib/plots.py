"""The figures of the notebooks: who misses what, training curves, t-SNE maps, scores against missingness.

Every function returns a Figure that pyplot no longer holds, so a notebook shows it once: as the value of its cell.
"""

import itertools
import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
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
LOST = to_rgb("#c4c4c4")  # beside white padding, from which MISSING hardly differs
REAL = to_rgb("#f2c12e")
IMPUTED = {"image": to_rgb("#cc2936"), "text": to_rgb("#0b6fb8")}
IMPUTED_OTHERS = [PALETTE[k] for k in (2, 4, 8, 7)]  # of the rest, those that stand out against yellow
# Of generated tokens; real ones are white with PALE of the hue in it. Modalities differ in marker, too.
HUES = {"text": to_rgb("#0b4f9e"), "audio": to_rgb("#12805c"), "vision": to_rgb("#d99a00"), "image": to_rgb("#d99a00")}
HUES_OTHERS = [PALETTE[k] for k in (9, 3, 4)]
PALE = 0.35
# Apart in lightness and marker, too: for the colour-blind and for print in grey.
SENTIMENTS = {
    "negative": {"color": to_rgb("#d9480f"), "marker": "v"},
    "neutral": {"color": to_rgb("#b8b8b8"), "marker": "o"},
    "positive": {"color": to_rgb("#0b4f8f"), "marker": "^"},
}
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
def missingness(
    frames: Mapping[str, Bool[Tensor, "n _"]],
    rows: int = 60,
    title: str = "",
    real: Mapping[str, Bool[Tensor, "n _"]] | None = None,
) -> Figure:
    """Who is missing what: the first `rows` samples frame by frame, and the share of each availability pattern.

    frames: per modality (n, T), True where observed; a vector feature has T = 1.
    real: per modality (n, T), True where a frame exists at all. With it, what never existed (padding, a modality that
        the sample lacks by nature) is white, and what was lost grey; without, both are the same pale grey.

    Raises ValueError where there is no modality, no sample, modalities differ in the number of samples, `real` has
    other modalities or shapes, or a frame is observed that does not exist.
    """
    counts = {m: len(f) for m, f in frames.items()}
    if not counts or 0 in counts.values() or len(set(counts.values())) > 1:
        raise ValueError(f"plots.missingness: needs the same samples, at least one, in each modality; got {counts}")
    exist = {m: torch.ones_like(f) for m, f in frames.items()} if real is None else real
    shapes, real_shapes = ({m: tuple(f.shape) for m, f in x.items()} for x in (frames, exist))
    if shapes != real_shapes:
        raise ValueError(f"plots.missingness: frames are {shapes} but real is {real_shapes}")
    if impossible := [m for m, f in frames.items() if bool((f.cpu() & ~exist[m].cpu()).any())]:
        raise ValueError(f"plots.missingness: {impossible[0]!r} is observed in frames that are not real")
    n = next(iter(counts.values()))
    shown = min(rows, n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT), width_ratios=(3, 2) if real is None else (5, 2))
    plt.close(figure)

    # Every modality is equally wide: at one width per frame a vector would vanish beside 500 frames.
    for k, (m, f) in enumerate(frames.items()):
        colours = torch.tensor([(1.0, 1.0, 1.0), MISSING if real is None else LOST, PALETTE[k % len(PALETTE)]])
        colours = colours[f[:shown].long().cpu() + exist[m][:shown].long().cpu()]  # (shown, T, 3)
        # Frames narrower than a pixel are averaged; ten rows for each sample keep its upper and lower edge sharp.
        pixels = colours.repeat_interleave(10, 0).numpy()
        if real is not None:  # frames as sharp, and a white line between samples, which are padded differently
            pixels = pixels.repeat(max(1, 500 // f.shape[1]), 1)
            pixels[9::10] = 1
            left.add_patch(Rectangle((k + 0.04, 0), 0.92, shown, fill=False, ec="0.7", lw=0.6, clip_on=False))
        left.imshow(pixels, extent=(k + 0.04, k + 0.96, shown, 0), aspect="auto", interpolation="antialiased")
    labels = [m if f.shape[1] == 1 else f"{m}\n{f.shape[1]} frames" for m, f in frames.items()]
    _categories(left, np.arange(len(labels)) + 0.5, labels, inches=3.2)
    left.set(xlim=(0, len(labels)), ylim=(shown, 0), ylabel=f"sample (first {shown} of {n})")
    sequences = any(f.shape[1] > 1 for f in frames.values())
    pale = "pale: missing" + (" or padding" if sequences else "")
    grey = "grey: lost, white: " + ("padding" if sequences else "never there")
    left.set_title(f"coloured: observed, {pale if real is None else grey}")
    left.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    left.grid(False)
    left.spines[:].set_visible(False)

    shares = _pattern_shares(frames)  # %
    bars = right.barh(list(shares), list(shares.values()), color="0.6", height=min(0.7, 0.15 * len(shares)))
    right.bar_label(bars, [f"{share:.1f} %" for share in shares.values()], padding=3, fontsize=8)
    right.set(
        xlim=(0, (1.3 if real is None else 1.5) * max(shares.values())),
        xlabel="share of samples (%)",
        title="available modalities",
    )
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


def embedding_points(
    real: Mapping[str, Float[Tensor, "_ _"]],
    imputed: Mapping[str, Float[Tensor, "_ _"]],
    seed: int = 0,
    limit: int = 600,
) -> pd.DataFrame:
    """t-SNE of real and imputed embeddings, a map for each modality: what `embeddings` draws.

    real, imputed: per modality (n, d) and (k, d), of which at most `limit` each are drawn; row i of both may be the
        same sample, but need not.
    Columns: modality, kind ('real', 'imputed'), x, y, and of each modality the balanced accuracy with which a linear
    classifier, cross-validated on the embeddings themselves, tells real from imputed; 0.5 means indistinguishable.

    Raises ValueError where the modalities or widths of the two differ, the width is 1, or there are fewer than 5 rows.
    """
    _require_pairs(real, imputed, "imputed", "embedding_points")
    tables = []
    for m in real:
        picked = _picked([len(real[m]), len(imputed[m])], seed, limit)
        x = np.concatenate([_array(x[m])[rows] for x, rows in zip((real, imputed), picked, strict=True)])
        is_imputed = np.repeat([0, 1], [len(rows) for rows in picked])
        accuracy = _told_apart(x, is_imputed, np.concatenate(picked), seed)
        labels = {"modality": m, "kind": np.array(["real", "imputed"])[is_imputed]}
        tables.append(_points(labels, _tsne(x, seed), accuracy=accuracy))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def embeddings(points: pd.DataFrame, title: str = "") -> Figure:
    """The maps of `embedding_points`, one panel for each modality, its accuracy below (Figure 1 of SIM-C).

    Raises ValueError for a missing column or no row.
    """
    _require(points, ["modality", "kind", "x", "y", "accuracy"], "embeddings")
    figure, panels = _maps(points["modality"].nunique())
    for k, ((m, rows), panel) in enumerate(zip(points.groupby("modality", sort=False), panels, strict=True)):
        draw_embeddings(panel, rows, IMPUTED.get(m, IMPUTED_OTHERS[k % 4]))
        note = f"real vs imputed: accuracy {rows['accuracy'].iloc[0]:.2f}\n(0.50 = indistinguishable)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}")
        panel.set_title(m, pad=20)
        panel.legend(
            loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2, markerscale=2, handletextpad=0, columnspacing=1
        )
    if title:
        figure.suptitle(title)
    return figure


def draw_embeddings(panel: Axes, points: pd.DataFrame, colour: tuple, size: float = 9) -> None:
    """The points of one modality: real ones yellow, imputed ones in this colour. size: area in square points."""
    for kind, shade in (("real", REAL), ("imputed", colour)):
        rows = points[points["kind"] == kind]
        panel.scatter(rows["x"], rows["y"], s=size, color=shade, alpha=0.7, lw=0, label=f"{kind} ({len(rows)})")


def generation_points(
    real: Mapping[str, Float[Tensor, "_ _"]],
    generated: Mapping[str, Mapping[str, Float[Tensor, "_ _"]]],
    seed: int = 0,
    limit: int = 600,
) -> pd.DataFrame:
    """t-SNE of real and generated tokens of all modalities: what `generations` draws.

    real: per modality (n, d). generated: per panel, such as "n = 50", per modality (k, d). Of each, at most `limit` are
        drawn; row i of all may be the same sample, but need not.
    There is one map, of the real tokens and those of all panels together, so a place means the same in each panel. It
    takes time: two minutes for 9000 tokens, as of 3 modalities, real and in 4 panels, 600 each.
    Columns: panel, modality, kind ('real', the same in each panel, or 'generated'), x, y, and of each panel and modality
    the balanced accuracy with which a linear classifier, cross-validated on the tokens themselves, tells real from
    generated; 0.5 means indistinguishable.

    Raises ValueError where there is no panel, the modalities of one differ from the real ones, not all widths are the
    same, the width is 1, or there are fewer than 5 rows.
    """
    if not generated:
        raise ValueError("plots.generation_points: nothing is generated")
    for name, tokens in generated.items():
        _require_pairs(real, tokens, f"generated ({name})", "generation_points")
    if len({x.shape[1] for x in real.values()}) > 1:
        widths = {m: x.shape[1] for m, x in real.items()}
        raise ValueError(f"plots.generation_points: one map needs one width, but the modalities have {widths}")
    clouds = [real, *generated.values()]
    picked = {m: _picked([len(cloud[m]) for cloud in clouds], seed, limit) for m in real}
    x = {(k, m): _array(cloud[m])[picked[m][k]] for k, cloud in enumerate(clouds) for m in real}
    ends = np.cumsum([len(tokens) for tokens in x.values()])
    at = dict(zip(x, np.split(_tsne(np.concatenate(list(x.values())), seed), ends[:-1]), strict=True))
    tables = []
    for (k, name), m in itertools.product(enumerate(generated, start=1), real):
        samples = [picked[m][0], picked[m][k]]
        is_generated = np.repeat([0, 1], [len(rows) for rows in samples])
        accuracy = _told_apart(np.concatenate([x[0, m], x[k, m]]), is_generated, np.concatenate(samples), seed)
        labels = {"panel": name, "modality": m, "kind": np.array(["real", "generated"])[is_generated]}
        tables.append(_points(labels, np.concatenate([at[0, m], at[k, m]]), accuracy=accuracy))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def generations(points: pd.DataFrame, title: str = "") -> Figure:
    """The map of `generation_points`, one panel for each start step, its accuracies below (Figure 3 of ADMC).

    Raises ValueError for a missing column or no row.
    """
    _require(points, ["panel", "modality", "kind", "x", "y", "accuracy"], "generations")
    names = list(dict.fromkeys(points["panel"]))
    figure, panels = _maps(len(names), columns=2 if len(names) == 4 else 3)
    for name, panel in zip(names, panels, strict=True):
        rows = points[points["panel"] == name]
        draw_generations(panel, rows)
        accuracies = rows.groupby("modality", sort=False)["accuracy"].first()
        told = ", ".join(f"{m}\N{NO-BREAK SPACE}{accuracy:.2f}" for m, accuracy in accuracies.items())
        note = f"real vs generated: accuracy\n{textwrap.fill(told, 36)}\n(0.50 = indistinguishable)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}", size=8)
        panel.set_title(textwrap.fill(name, 26))
    for panel in panels[1:]:
        panel.sharex(panels[0])
        panel.sharey(panels[0])
    counts = points.groupby(["modality", "kind", "panel"]).size()
    for cloud in panels[0].collections:
        sizes = counts.loc[tuple(cloud.get_label().split(", "))]
        cloud.set_label(f"{cloud.get_label()} ({'–'.join(str(n) for n in sorted({sizes.min(), sizes.max()}))})")
    _legend_below(panels[0], markerscale=1.8, handlelength=1)
    if title:
        figure.suptitle(title)
    return figure


def draw_generations(panel: Axes, points: pd.DataFrame, size: float = 8) -> None:
    """The points of one panel: a hue and a marker for each modality. size: area of generated ones in square points."""
    for i, (m, rows) in enumerate(points.groupby("modality", sort=False)):
        strong = np.array(HUES.get(m, HUES_OTHERS[i % 3]))
        # Real points are below and larger: they show even where each has a generated one upon it.
        styles = {
            "real": {"s": 2.5 * size, "color": 1 - PALE * (1 - strong), "zorder": 1},
            "generated": {"s": size, "color": strong, "alpha": 0.8, "zorder": 2},
        }
        for kind, style in styles.items():
            at = rows.loc[rows["kind"] == kind, ["x", "y"]].to_numpy()
            panel.scatter(*at.T, marker=_MARKERS[i % len(_MARKERS)], lw=0, label=f"{m}, {kind}", **style)


def representation_points(
    clouds: Mapping[str, Float[Tensor, "_ _"]],
    value: Float[Tensor, "_"] | Int[Tensor, "_"],
    seed: int = 0,
    limit: int = 600,
    neutral: float = 0.0,
    names: Sequence[str] = (),
) -> pd.DataFrame:
    """t-SNE of joint representations, a map for each method: what `representations` draws.

    clouds: per method (n, h); row i is the same sample in each. At most `limit` samples are drawn, the same everywhere.
    value: a float target, which becomes negative, neutral (exactly `neutral`) or positive; or class numbers, which index
        `names` if there are any.
    Columns: method, sentiment or class (in the order of their numbers), x, y, and of each method: what a linear
    classifier, cross-validated on the representations themselves of the samples drawn, tells apart (`told`), its
    balanced accuracy, and the same for guessing (`chance`). Left out of it are the neutral samples and every group with
    fewer than 5 samples drawn, one for each fold; without two groups the accuracy is NaN. A method whose representations
    are all the same, but for rounding, is one dot at 0, told apart as well as by guessing.

    Raises ValueError where methods and `value` differ in the number of samples, it or `limit` is less than 5, the width
    less than 2, something is not finite, a class number is negative or has no name, or a float target comes with names.
    """
    shapes = {m: tuple(x.shape) for m, x in clouds.items()}
    if not shapes or any(len(s) != 2 or s[:1] != tuple(value.shape) or s[1] < 2 for s in shapes.values()):
        needs = f"one value a sample and a width of at least 2; value is {tuple(value.shape)}, clouds are {shapes}"
        raise ValueError(f"plots.representation_points: needs {needs}")
    if min(len(value), limit) < 5:
        raise ValueError(f"plots.representation_points: {len(value)} samples, limit {limit}; needs at least 5 of both")
    if bad := [m for m, x in [("value", value), *clouds.items()] if not bool(x.isfinite().all())]:
        raise ValueError(f"plots.representation_points: {bad[0]!r} is NaN or infinite")
    group, groups = _groups(value.cpu(), neutral, names)
    column = "sentiment" if value.is_floating_point() else "class"
    picked = np.random.default_rng(seed).permutation(len(value))[:limit]
    group = group[picked]
    order = np.argsort(group, kind="stable")
    candidates = [g for g in np.unique(group) if not (column == "sentiment" and groups[g] == "neutral")]
    told = [g for g in candidates if (group == g).sum() >= 5]
    rows = np.isin(group, told)
    some = f"{len(told)} of {len(candidates)}" if len(told) < len(candidates) else f"{len(told)}"
    what = " vs ".join(groups[g] for g in told) if len(told) == 2 else f"{some} classes"
    tables = []
    for m, cloud in clouds.items():
        x = _array(cloud)[picked]
        if np.ptp(x, axis=0).max() <= 1e-6 * np.abs(x).max():  # nothing but rounding, of which t-SNE makes a picture
            x = np.zeros_like(x)
        at = _tsne(x, seed) if x.any() else x[:, :2]
        accuracy = _told_apart(x[rows], group[rows], picked[rows], seed) if len(told) > 1 else math.nan
        labels = {"method": m, column: np.array(groups)[group[order]]}
        tables.append(_points(labels, at[order], told=what, accuracy=accuracy, chance=1 / max(1, len(told))))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def representations(points: pd.DataFrame, title: str = "") -> Figure:
    """The maps of `representation_points`, one panel for each method, its accuracy below (Figure 6 of UMDF).

    Raises ValueError for a missing column or no row.
    """
    column = "sentiment" if "sentiment" in points else "class"
    _require(points, ["method", column, "x", "y", "told", "accuracy", "chance"], "representations")
    figure, panels = _maps(points["method"].nunique())
    for (m, rows), panel in zip(points.groupby("method", sort=False), panels, strict=True):
        draw_representations(panel, rows)
        note = "no accuracy: fewer than\ntwo groups of 5 samples"
        told, accuracy, chance = rows.iloc[0][["told", "accuracy", "chance"]]
        if not math.isnan(accuracy):
            note = f"{textwrap.fill(told, 28)}:\naccuracy {accuracy:.2f} ({chance:.2f} = chance)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}")
        panel.set_title(textwrap.fill(m, 26))
    _legend_below(panels[0], markerscale=1.6, handlelength=1)
    if title:
        figure.suptitle(title)
    return figure


def draw_representations(panel: Axes, points: pd.DataFrame, size: float = 12) -> None:
    """The points of one method, a colour and a marker for each sentiment or class. size: area in square points."""
    column = "sentiment" if "sentiment" in points else "class"
    for k, (name, rows) in enumerate(points.groupby(column, sort=False)):
        style = {"color": PALETTE[k % len(PALETTE)], "marker": _MARKERS[k % len(_MARKERS)]}
        style = SENTIMENTS[name] if column == "sentiment" else style
        panel.scatter(rows["x"], rows["y"], s=size, alpha=0.7, lw=0, **style, label=f"{name} ({len(rows)})")
    if not points[["x", "y"]].to_numpy().any():
        panel.annotate("all the same", (0, 0), (0, 8), textcoords="offset points", ha="center", color="0.35")


def _groups(
    value: Float[Tensor, "n"] | Int[Tensor, "n"], neutral: float, names: Sequence[str]
) -> tuple[Int[np.ndarray, "n"], list[str]]:
    """Number of each sample's group, and the names of the groups."""
    if value.is_floating_point():
        if names:
            raise ValueError(
                f"plots.representation_points: names {list(names)} are for class numbers, not {value.dtype}"
            )
        return (1 + (value > neutral).long() - (value < neutral).long()).numpy(), list(SENTIMENTS)
    low, high = int(value.min()), int(value.max())
    names = names or [f"class {k}" for k in range(high + 1)]
    if low < 0 or high >= len(names):
        raise ValueError(f"plots.representation_points: class numbers from {low} to {high}, with {len(names)} names")
    return value.long().numpy(), list(names)


def _points(labels: Mapping, at: Float[np.ndarray, "n 2"], **numbers) -> pd.DataFrame:
    return pd.DataFrame({**labels, "x": at[:, 0], "y": at[:, 1], **numbers})


def _maps(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of panels for t-SNE, up to `columns` on a line."""
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    figure = plt.figure(figsize=(min(WIDTH, HEIGHT * columns), HEIGHT * lines))
    plt.close(figure)
    figure.get_layout_engine().set(hspace=0.08)  # between the note below a panel and the title of the next
    panels = [figure.add_subplot(lines, columns, k + 1) for k in range(count)]
    for panel in panels:
        panel.set(xticks=[], yticks=[], ylabel="t-SNE 2")
    return figure, panels


def _picked(counts: Sequence[int], seed: int, limit: int) -> list[Int[np.ndarray, "_"]]:
    """At most `limit` random rows of clouds with that many each: the same rows as far as all clouds have them."""
    order = np.random.default_rng(seed).permutation(max(counts))
    return [order[order < count][:limit] for count in counts]


def _tsne(x: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n 2"]:
    # Another number of threads adds up in another order, and t-SNE makes another picture of the last bit.
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=min(30, (len(x) - 1) / 3), random_state=seed).fit_transform(x)


def _told_apart(x: Float[np.ndarray, "n d"], group: np.ndarray, sample: np.ndarray, seed: int) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    # A sample's real and imputed embeddings share a fold: a near twin of opposite label in the training folds would
    # push the accuracy below 0.5.
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(classifier, x, group, groups=sample, cv=folds, scoring="balanced_accuracy")
    return float(scores.mean())


@plt.rc_context(THEME)
def degradation(
    table: pd.DataFrame,
    x: str,
    y: str | Sequence[str],
    label: str,
    floor: Mapping[str, float | Sequence[float]] | None = None,
    ceiling: str | None = None,
) -> Figure:
    """Scores of methods as more goes missing: the mean over the rows of a point and one standard deviation.

    table: one row for each run, with a condition in column `x` (numbers give lines, names give points), a score in
        column `y` and a method in column `label`. Several columns `y` give a panel each and one legend below.
    floor: scores of trivial predictors, as thin lines; with several columns `y`, one score for each of them.
    ceiling: the method drawn as a black dashed line.

    Raises ValueError for a missing column, no row, a ceiling that is no method, or a floor with too few or many scores.
    """
    columns = [y] if isinstance(y, str) else list(y)
    _require(table, [x, *columns, label], "degradation")
    methods = list(dict.fromkeys(table[label]))
    if ceiling is not None and ceiling not in methods:
        raise ValueError(f"plots.degradation: no method {ceiling!r} in column {label!r}; there are {methods}")
    floors = {name: np.atleast_1d(value) for name, value in (floor or {}).items()}
    if wrong := [name for name, values in floors.items() if len(values) != len(columns)]:
        raise ValueError(f"plots.degradation: floor {wrong[0]!r} needs a score for each of {columns}")
    numeric = pd.api.types.is_numeric_dtype(table[x]) and table[x].nunique() > 1  # one point is no line
    conditions = sorted(set(table[x])) if numeric else list(dict.fromkeys(table[x]))
    competing = [m for m in methods if m != ceiling]
    dodge = (np.arange(len(competing)) - (len(competing) - 1) / 2) * min(0.16, 0.8 / max(1, len(competing)))

    figure, axes = plt.subplots(1, len(columns), figsize=(WIDTH, HEIGHT), squeeze=False)
    plt.close(figure)
    for i, (panel, column) in enumerate(zip(axes[0], columns, strict=True)):
        points = table.groupby([label, x], observed=True)[column].agg(["mean", "std"]).fillna({"std": 0})
        for k, method in enumerate(competing):
            at, mean, std = _series(points.loc[method], conditions, numeric)
            style = {"color": PALETTE[k % len(PALETTE)], "marker": _MARKERS[k % len(_MARKERS)], "ms": 4}
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
            _categories(panel, np.arange(len(conditions)), [str(c) for c in conditions], inches)
            panel.set_xlim(-0.5, len(conditions) - 0.5)
        spread = "\n(mean ± std)" if points["std"].any() else ""
        panel.set(xlabel=x.replace("_", " "), ylabel=column.replace("_", " ") + spread)
    if len(columns) == 1:
        figure.legend(loc="outside right upper", title=label.replace("_", " "), alignment="left")
    else:
        _legend_below(axes[0, 0], title=label.replace("_", " "))
    return figure


@plt.rc_context(THEME)
def critical_difference(ranks: pd.Series, cd: float, title: str = "") -> Figure:
    """Average ranks of methods, with a bar across those that do not differ significantly (Demšar 2006, Figure 1).

    ranks: per method its average rank, 1 the best. cd: the critical difference, in ranks (`mmlib.ranks.nemenyi`); a bar
    joins methods that are at most that far apart, and bars within a longer one are left out. Rank 1 is on the left.

    Raises ValueError for fewer than two methods, a rank that is not from 1 to their number, or a cd that is not above 0.
    """
    k = len(ranks)
    if k < 2 or not ranks.between(1, k).all() or not 0 < cd < math.inf:
        needs = "at least two methods, ranks from 1 to their number, and a finite cd above 0"
        raise ValueError(f"plots.critical_difference: needs {needs}; got {ranks.to_dict()} and {cd}")
    ranks = ranks.sort_values(kind="stable")
    names = [textwrap.fill(f"{name} ({rank:.2f})", 28) for name, rank in ranks.items()]
    half = math.ceil(k / 2)
    bars, end = [], 0
    for first, rank in enumerate(ranks):
        last = int((ranks <= rank + cd).sum()) - 1
        if last > max(first, end):
            bars.append((first, last))
            end = last

    # One unit of the panel is one inch, downwards: what must not overlap are letters, whose size is in inches.
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
    # Outermost first, so no line crosses another.
    for order, side, gap, ha in (
        (np.arange(half), margin, -0.05, "right"),
        (np.arange(half, k)[::-1], WIDTH - margin, 0.05, "left"),
    ):
        for i, y in zip(order, rows + heights[order].cumsum() - heights[order] / 2, strict=True):
            panel.plot([at(ranks.iloc[i])] * 2 + [side], [axis, y, y], **thin, zorder=1)
            panel.text(side + gap, y, names[i], size=8, ha=ha, va="center")
    if title:
        figure.suptitle(title)
    return figure


def draw_line(panel: Axes, at: np.ndarray, mean: np.ndarray, std: np.ndarray, alpha: float = 0.15, **style) -> None:
    """A line of means with a band of one standard deviation on each side."""
    panel.plot(at, mean, **style)
    panel.fill_between(at, mean - std, mean + std, color=style["color"], alpha=alpha, lw=0)


def agreement_points(
    panels: Mapping[tuple[str, str], tuple[Float[Tensor, "_"], Float[Tensor, "_"]]],
) -> pd.DataFrame:
    """Predicted beside true values: what `agreement` draws.

    panels: per system and condition the truth and the prediction. Columns: system, condition, truth, prediction.

    Raises ValueError where there is no panel, or one has truth and prediction of different lengths or fewer than two rows.
    """
    if not panels:
        raise ValueError("plots.agreement_points: there is nothing to draw")
    tables = []
    for (system, condition), (truth, said) in panels.items():
        if len(truth) != len(said) or len(truth) < 2:
            raise ValueError(
                f"plots.agreement_points: panel {f'{system}, {condition}'!r} has {len(truth)} true and {len(said)} "
                "predicted values; needs at least two of each, and as many"
            )
        values = {"truth": _array(truth), "prediction": _array(said)}
        tables.append(pd.DataFrame({"system": system, "condition": condition, **values}))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def agreement(points: pd.DataFrame, title: str = "") -> Figure:
    """The points of `agreement_points`, a panel for each system and condition, three to a line (Figure 2 of SMCIR).

    The dashed line is a perfect prediction; colour is the truth. Below each panel: mean absolute error and slope of the
    least-squares line, 1 for a perfect prediction, 0 for a constant one.

    Raises ValueError for a missing column or no row.
    """
    _require(points, ["system", "condition", "truth", "prediction"], "agreement")
    parts = list(points.groupby(["system", "condition"], sort=False))
    columns = min(3, len(parts))
    lines = math.ceil(len(parts) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(WIDTH, 2.9 * lines), squeeze=False, sharex=True, sharey=True)
    plt.close(figure)
    ends = float(points["truth"].min()), float(points["truth"].max())
    for panel, (name, rows) in zip(axes.flat, parts):
        note = draw_agreement(panel, rows, ends)
        panel.set(title=textwrap.fill(", ".join(name), 30), xlabel=f"true value\n{note}")
    for panel in axes[:, 0]:
        panel.set_ylabel("prediction")
    for panel in list(axes.flat)[len(parts) :]:
        panel.set_visible(False)
    if title:
        figure.suptitle(title)
    return figure


def draw_agreement(panel: Axes, points: pd.DataFrame, ends: tuple[float, float], size: float = 9) -> str:
    """The points of one panel and the diagonal between `ends`; returns mean absolute error and slope in words.

    size: area of a point in square points.
    """
    truth, said = points["truth"].to_numpy(), points["prediction"].to_numpy()
    panel.plot(ends, ends, color="0.35", ls="--", lw=0.9, zorder=1)
    strongest = max(abs(end) for end in ends)
    shades = {"c": truth, "cmap": "coolwarm_r", "vmin": -strongest, "vmax": strongest}
    panel.scatter(truth, said, s=size, lw=0.2, edgecolor="0.3", **shades)
    spread = truth.var()
    slope = ((truth - truth.mean()) * (said - said.mean())).mean() / spread if spread else math.nan
    return f"mae {np.abs(truth - said).mean():.2f}, slope {slope:.2f}"


def _series(points: pd.DataFrame, conditions: list, numeric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, mean and deviation of one method at the conditions it has."""
    points = points.loc[[c for c in conditions if c in points.index]]
    at = points.index.to_numpy(float) if numeric else np.array([conditions.index(c) for c in points.index], float)
    return at, points["mean"].to_numpy(), points["std"].to_numpy()


def save(figure: Figure, folder: Path | str, name: str) -> Path:
    """Writes <folder>/<name>.png at 150 dpi, whole or not at all, and returns its path."""
    path = Path(folder) / f"{name}.png"
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
    return path


def save_points(points: pd.DataFrame, folder: Path | str, name: str) -> Path:
    """Writes <folder>/<name>.csv, whole or not at all, and returns its path.

    Numbers are rounded to four digits after the point; the rows of a group are sorted by their numbers, so that nothing
    tells which sample a point is.
    """
    path = Path(folder) / f"{name}.csv"
    numbers = points.select_dtypes("number")
    labels = points.drop(columns=numbers.columns)
    group = labels.groupby(list(labels), sort=False).ngroup()
    order = np.lexsort([*numbers.to_numpy().T[::-1], group])
    with replacing(path) as partial:
        points.iloc[order].round(4).to_csv(partial, index=False)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`, which it replaces once all is written; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _categories(panel: Axes, at: np.ndarray, labels: list[str], inches: float) -> None:
    """Names on the x axis, slanted where they would not fit side by side on this width."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    fits = _LETTER * longest * len(labels) < inches
    panel.set_xticks(at, labels, **({} if fits else slanted))


def _legend_below(panel: Axes, handlelength: float = 2.0, **options) -> None:
    """One legend for the whole figure, of what is in this panel, below everything and in as few lines as fit."""
    handles, labels = panel.get_legend_handles_labels()
    widths = [(handlelength + 1.8) * 8 / 72 + 0.8 * _LETTER * len(label) for label in labels]  # inches
    for lines in range(1, len(labels) + 1):
        ncols = math.ceil(len(labels) / lines)
        if sum(max(column) for column in np.array_split(widths, ncols)) <= panel.figure.get_figwidth():
            break
    options |= {"handlelength": handlelength, "columnspacing": 1, "ncols": ncols}
    panel.figure.legend(handles, labels, loc="outside lower center", **options)


def _array(x: Float[Tensor, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return x.detach().cpu().float().numpy()


def _require(table: pd.DataFrame, columns: list[str], function: str) -> None:
    lacking = [c for c in columns if c not in table]
    if lacking:
        raise ValueError(f"plots.{function}: the table has no column {lacking[0]!r}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError(f"plots.{function}: the table has no rows")


def _require_pairs(real: Mapping[str, Tensor], made: Mapping[str, Tensor], kind: str, function: str) -> None:
    if not real or set(real) != set(made):
        raise ValueError(f"plots.{function}: real has modalities {sorted(real)} but {kind} has {sorted(made)}")
    for m in real:
        a, b = tuple(real[m].shape), tuple(made[m].shape)
        if len(a) != 2 or len(b) != 2 or a[1] != b[1] or a[1] < 2 or min(a[0], b[0]) < 5:
            needs = "the same width of at least 2, and at least 5 rows of each"
            raise ValueError(f"plots.{function}: {m!r} is {a} real and {b} {kind}; needs {needs}")
