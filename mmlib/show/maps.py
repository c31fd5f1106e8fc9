"""t-SNE maps of real, imputed and generated features."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from mmlib.show.theme import HEIGHT, MARKERS, PALETTE, THEME, WIDTH, _array, legend_below, require_columns

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
    require_columns(points, ["modality", "kind", "x", "y", "accuracy"], "embeddings")
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
        raise ValueError("show.generation_points: nothing is generated")
    for name, tokens in generated.items():
        _require_pairs(real, tokens, f"generated ({name})", "generation_points")
    if len({x.shape[1] for x in real.values()}) > 1:
        widths = {m: x.shape[1] for m, x in real.items()}
        raise ValueError(f"show.generation_points: one map needs one width, but the modalities have {widths}")
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
    require_columns(points, ["panel", "modality", "kind", "x", "y", "accuracy"], "generations")
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
    legend_below(panels[0], markerscale=1.8, handlelength=1)
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
            panel.scatter(*at.T, marker=MARKERS[i % len(MARKERS)], lw=0, label=f"{m}, {kind}", **style)


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
        raise ValueError(f"show.representation_points: needs {needs}")
    if min(len(value), limit) < 5:
        raise ValueError(f"show.representation_points: {len(value)} samples, limit {limit}; needs at least 5 of both")
    if bad := [m for m, x in [("value", value), *clouds.items()] if not bool(x.isfinite().all())]:
        raise ValueError(f"show.representation_points: {bad[0]!r} is NaN or infinite")
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
    require_columns(points, ["method", column, "x", "y", "told", "accuracy", "chance"], "representations")
    figure, panels = _maps(points["method"].nunique())
    for (m, rows), panel in zip(points.groupby("method", sort=False), panels, strict=True):
        draw_representations(panel, rows)
        note = "no accuracy: fewer than\ntwo groups of 5 samples"
        told, accuracy, chance = rows.iloc[0][["told", "accuracy", "chance"]]
        if not math.isnan(accuracy):
            note = f"{textwrap.fill(told, 28)}:\naccuracy {accuracy:.2f} ({chance:.2f} = chance)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}")
        panel.set_title(textwrap.fill(m, 26))
    legend_below(panels[0], markerscale=1.6, handlelength=1)
    if title:
        figure.suptitle(title)
    return figure


def draw_representations(panel: Axes, points: pd.DataFrame, size: float = 12) -> None:
    """The points of one method, a colour and a marker for each sentiment or class. size: area in square points."""
    column = "sentiment" if "sentiment" in points else "class"
    for k, (name, rows) in enumerate(points.groupby(column, sort=False)):
        style = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)]}
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
                f"show.representation_points: names {list(names)} are for class numbers, not {value.dtype}"
            )
        return (1 + (value > neutral).long() - (value < neutral).long()).numpy(), list(SENTIMENTS)
    low, high = int(value.min()), int(value.max())
    names = names or [f"class {k}" for k in range(high + 1)]
    if low < 0 or high >= len(names):
        raise ValueError(f"show.representation_points: class numbers from {low} to {high}, with {len(names)} names")
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


def _require_pairs(real: Mapping[str, Tensor], made: Mapping[str, Tensor], kind: str, function: str) -> None:
    if not real or set(real) != set(made):
        raise ValueError(f"show.{function}: real has modalities {sorted(real)} but {kind} has {sorted(made)}")
    for m in real:
        a, b = tuple(real[m].shape), tuple(made[m].shape)
        if len(a) != 2 or len(b) != 2 or a[1] != b[1] or a[1] < 2 or min(a[0], b[0]) < 5:
            needs = "the same width of at least 2, and at least 5 rows of each"
            raise ValueError(f"show.{function}: {m!r} is {a} real and {b} {kind}; needs {needs}")
