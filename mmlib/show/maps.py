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

from mmlib.show import theme
from mmlib.show.theme import HEIGHT, MARKERS, PALETTE, THEME, WIDTH

REAL = to_rgb("#f2c12e")
IMPUTED = {"image": to_rgb("#cc2936"), "text": to_rgb("#0b6fb8")}
IMPUTED_OTHERS = [PALETTE[k] for k in (2, 4, 8, 7)]  # the other colours that contrast with yellow
# Of generated tokens; real ones are white with a share PALE of the hue. The marker also tells the modality.
HUES = {"text": to_rgb("#0b4f9e"), "audio": to_rgb("#12805c"), "vision": to_rgb("#d99a00"), "image": to_rgb("#d99a00")}
HUES_OTHERS = [PALETTE[k] for k in (9, 3, 4)]
PALE = 0.35
# Lightness and marker differ, too: for colour-blind readers and for print in grey.
SENTIMENTS = {
    "negative": {"color": to_rgb("#d9480f"), "marker": "v"},
    "neutral": {"color": to_rgb("#b8b8b8"), "marker": "o"},
    "positive": {"color": to_rgb("#0b4f8f"), "marker": "^"},
}
Clouds = Mapping[str, Float[Tensor, "_ _"]]  # features per modality or method


def embedding_points(real: Clouds, imputed: Clouds, seed: int = 0, limit: int = 600) -> pd.DataFrame:
    """t-SNE of real and imputed embeddings, one map for each modality: the table that `embeddings` draws.

    real, imputed: per modality (n, d) and (k, d); the map has at most `limit` of each. Row i may be the same sample in both.
    Columns: modality, kind ('real', 'imputed'), x, y, and for each modality `accuracy`: the balanced accuracy with which
    a linear classifier, cross-validated on the embeddings, separates real from imputed; 0.5 means indistinguishable.
    Raises ValueError where the modalities or widths of the two differ, the width is 1, or there are fewer than 5 rows.
    """
    _require_pairs(real, imputed, "imputed", "embedding_points")
    tables = []
    for m in real:
        samples = _samples([len(real[m]), len(imputed[m])], seed, limit)
        x = [theme.to_array(cloud[m])[rows] for cloud, rows in zip((real, imputed), samples, strict=True)]
        kind, accuracy = _separability(x, samples, "imputed", seed)
        x, y = _tsne(np.concatenate(x), seed).T
        tables.append(pd.DataFrame({"modality": m, "kind": kind, "x": x, "y": y, "accuracy": accuracy}))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def embeddings(points: pd.DataFrame, title: str = "") -> Figure:
    """The maps of `embedding_points`, one panel for each modality, with its accuracy below (Figure 1 of SIM-C).

    Raises ValueError for a missing column or no row.
    """
    theme.require_columns(points, ["modality", "kind", "x", "y", "accuracy"], "show.embeddings")
    figure, maps = _maps(points, "modality")
    for k, (m, rows, panel) in enumerate(maps):
        draw_embeddings(panel, rows, IMPUTED.get(m, IMPUTED_OTHERS[k % 4]))
        note = f"real vs imputed: accuracy {rows['accuracy'].iloc[0]:.2f}\n(0.50 = indistinguishable)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}")
        panel.set_title(m, pad=20)
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.98), "ncols": 2}
        panel.legend(**place, markerscale=2, handletextpad=0, columnspacing=1)
    return theme.titled(figure, title)


def draw_embeddings(panel: Axes, points: pd.DataFrame, colour: tuple, size: float = 9) -> None:
    """Draws one modality: real points yellow, imputed points in `colour`. size: area of a point in square points."""
    for kind, shade in (("real", REAL), ("imputed", colour)):
        rows = points[points["kind"] == kind]
        panel.scatter(rows["x"], rows["y"], s=size, color=shade, alpha=0.7, lw=0, label=f"{kind} ({len(rows)})")


def generation_points(real: Clouds, generated: Mapping[str, Clouds], seed: int = 0, limit: int = 600) -> pd.DataFrame:
    """t-SNE of real and generated tokens of all modalities: the table that `generations` draws.

    real: per modality (n, d). generated: per panel, such as "n = 50", per modality (k, d). The map has at most `limit` of
        each; row i may be the same sample in all.
    One map holds the real tokens and the generated tokens of all panels, so a place means the same in each panel. 9000
    tokens (3 modalities, real and in 4 panels, 600 each) take two minutes.
    Columns: panel, modality, kind ('real', the same in each panel, or 'generated'), x, y, and for each panel and modality
    `accuracy`: the balanced accuracy with which a linear classifier, cross-validated on the tokens, separates real from
    generated; 0.5 means indistinguishable.
    Raises ValueError where there is no panel, a panel has other modalities than `real`, widths differ, the width is 1, or
    there are fewer than 5 rows.
    """
    if not generated:
        raise ValueError("show.generation_points: nothing is generated; give at least one panel")
    for name, others in generated.items():
        _require_pairs(real, others, f"generated ({name})", "generation_points")
    if len({x.shape[1] for x in real.values()}) > 1:
        widths = {m: x.shape[1] for m, x in real.items()}
        raise ValueError(f"show.generation_points: one map needs one width, but the modalities have {widths}")
    clouds = [real, *generated.values()]
    samples = {m: _samples([len(cloud[m]) for cloud in clouds], seed, limit) for m in real}
    tokens = {(k, m): theme.to_array(cloud[m])[samples[m][k]] for k, cloud in enumerate(clouds) for m in real}
    ends = np.cumsum([len(x) for x in tokens.values()])
    at = dict(zip(tokens, np.split(_tsne(np.concatenate([*tokens.values()]), seed), ends[:-1]), strict=True))
    tables = []
    for (k, name), m in itertools.product(enumerate(generated, start=1), real):
        kind, accuracy = _separability([tokens[0, m], tokens[k, m]], [samples[m][0], samples[m][k]], "generated", seed)
        x, y = np.concatenate([at[0, m], at[k, m]]).T
        tables.append(pd.DataFrame({"panel": name, "modality": m, "kind": kind, "x": x, "y": y, "accuracy": accuracy}))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def generations(points: pd.DataFrame, title: str = "") -> Figure:
    """The map of `generation_points`, one panel for each start step, with its accuracies below (Figure 3 of ADMC).

    Raises ValueError for a missing column or no row.
    """
    theme.require_columns(points, ["panel", "modality", "kind", "x", "y", "accuracy"], "show.generations")
    figure, maps = _maps(points, "panel", columns=2 if points["panel"].nunique() == 4 else 3)
    first = maps[0][2]
    for name, rows, panel in maps:
        draw_generations(panel, rows)
        accuracies = rows.groupby("modality", sort=False)["accuracy"].first()
        numbers = ", ".join(f"{m}\N{NO-BREAK SPACE}{accuracy:.2f}" for m, accuracy in accuracies.items())
        note = f"real vs generated: accuracy\n{textwrap.fill(numbers, 36)}\n(0.50 = indistinguishable)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}", size=8)
        panel.set_title(textwrap.fill(name, 26))
        if panel is not first:
            panel.sharex(first)
            panel.sharey(first)
    counts = points.groupby(["modality", "kind", "panel"]).size()
    for cloud in first.collections:
        sizes = counts.loc[tuple(cloud.get_label().split(", "))]
        cloud.set_label(f"{cloud.get_label()} ({'–'.join(str(n) for n in sorted({sizes.min(), sizes.max()}))})")
    theme.legend_below(first, markerscale=1.8, handlelength=1)
    return theme.titled(figure, title)


def draw_generations(panel: Axes, points: pd.DataFrame, size: float = 8) -> None:
    """Draws one panel, a hue and a marker for each modality. size: area of a generated point in square points."""
    for i, (m, rows) in enumerate(points.groupby("modality", sort=False)):
        strong = np.array(HUES.get(m, HUES_OTHERS[i % 3]))
        # Real points are below and larger, so that generated points at the same places do not hide them.
        styles = {
            "real": {"s": 2.5 * size, "color": 1 - PALE * (1 - strong), "zorder": 1},
            "generated": {"s": size, "color": strong, "alpha": 0.8, "zorder": 2},
        }
        for kind, style in styles.items():
            at = rows.loc[rows["kind"] == kind, ["x", "y"]].to_numpy()
            panel.scatter(*at.T, marker=MARKERS[i % len(MARKERS)], lw=0, label=f"{m}, {kind}", **style)


def representation_points(
    clouds: Clouds,
    value: Float[Tensor, "_"] | Int[Tensor, "_"],
    seed: int = 0,
    limit: int = 600,
    neutral: float = 0.0,
    names: Sequence[str] = (),
) -> pd.DataFrame:
    """t-SNE of joint representations, one map for each method: the table that `representations` draws.

    clouds: per method (n, h); row i is the same sample in each. All maps have the same samples, at most `limit`.
    value: (n,), a float target, which becomes negative, neutral (exactly `neutral`) or positive; or class numbers, which
        index `names` if there are any.
    Columns: method, sentiment or class (in the order of their numbers), x, y, and for each method: the groups that a
    linear classifier, cross-validated on the representations of these samples, separates (`told`), its balanced
    `accuracy`, and that of guessing (`chance`). The classifier gets no neutral sample and no group with fewer than 5
    samples, one for each fold; with fewer than two groups the accuracy is NaN. A method whose representations differ by
    rounding alone is one dot at 0, with the accuracy of guessing.
    Raises ValueError where methods and `value` differ in the number of samples, there are fewer than 5 or `limit` is less
    than 5, the width is less than 2, a number is not finite, a class number is negative or has no name, or a float target
    comes with names.
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
    samples = np.random.default_rng(seed).permutation(len(value))[:limit]
    group = group[samples]
    order = np.argsort(group, kind="stable")
    candidates = [g for g in np.unique(group) if not (column == "sentiment" and groups[g] == "neutral")]
    classes = [g for g in candidates if (group == g).sum() >= 5]
    rows = np.isin(group, classes)
    count = f"{len(classes)} of {len(candidates)}" if len(classes) < len(candidates) else f"{len(classes)}"
    told = " vs ".join(groups[g] for g in classes) if len(classes) == 2 else f"{count} classes"
    tables = []
    for m, cloud in clouds.items():
        x = theme.to_array(cloud)[samples]
        if np.ptp(x, axis=0).max() <= 1e-6 * np.abs(x).max():  # rounding alone, which t-SNE would spread to a cloud
            x = np.zeros_like(x)
        at = (_tsne(x, seed) if x.any() else x[:, :2])[order]
        accuracy = _accuracy(x[rows], group[rows], samples[rows], seed) if len(classes) > 1 else math.nan
        columns = {"method": m, column: np.array(groups)[group[order]], "x": at[:, 0], "y": at[:, 1]}
        columns |= {"told": told, "accuracy": accuracy, "chance": 1 / max(1, len(classes))}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


@plt.rc_context(THEME)
def representations(points: pd.DataFrame, title: str = "") -> Figure:
    """The maps of `representation_points`, one panel for each method, with its accuracy below (Figure 6 of UMDF).

    Raises ValueError for a missing column or no row.
    """
    column = "sentiment" if "sentiment" in points else "class"
    theme.require_columns(points, ["method", column, "x", "y", "told", "accuracy", "chance"], "show.representations")
    figure, maps = _maps(points, "method")
    for m, rows, panel in maps:
        draw_representations(panel, rows)
        note = "no accuracy: fewer than\ntwo groups of 5 samples"
        told, accuracy, chance = rows.iloc[0][["told", "accuracy", "chance"]]
        if not math.isnan(accuracy):
            note = f"{textwrap.fill(told, 28)}:\naccuracy {accuracy:.2f} ({chance:.2f} = chance)"
        panel.set_xlabel(f"t-SNE 1\n\n{note}")
        panel.set_title(textwrap.fill(m, 26))
    theme.legend_below(maps[0][2], markerscale=1.6, handlelength=1)
    return theme.titled(figure, title)


def draw_representations(panel: Axes, points: pd.DataFrame, size: float = 12) -> None:
    """Draws one method, a colour and a marker for each sentiment or class. size: area of a point in square points."""
    column = "sentiment" if "sentiment" in points else "class"
    for k, (name, rows) in enumerate(points.groupby(column, sort=False)):
        of_class = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)]}
        style = SENTIMENTS[name] if column == "sentiment" else of_class
        panel.scatter(rows["x"], rows["y"], s=size, alpha=0.7, lw=0, **style, label=f"{name} ({len(rows)})")
    if not points[["x", "y"]].to_numpy().any():
        panel.annotate("all the same", (0, 0), (0, 8), textcoords="offset points", ha="center", color="0.35")


def _groups(
    value: Float[Tensor, "n"] | Int[Tensor, "n"], neutral: float, names: Sequence[str]
) -> tuple[Int[np.ndarray, "n"], list[str]]:
    """Group number of each sample, and the names of the groups."""
    if value.is_floating_point():
        if names:
            raise ValueError(f"show.representation_points: names {[*names]} are for class numbers, not {value.dtype}")
        return (1 + (value > neutral).long() - (value < neutral).long()).numpy(), list(SENTIMENTS)
    low, high = int(value.min()), int(value.max())
    names = names or [f"class {k}" for k in range(high + 1)]
    if low < 0 or high >= len(names):
        raise ValueError(f"show.representation_points: class numbers from {low} to {high}, with {len(names)} names")
    return value.long().numpy(), list(names)


def _maps(points: pd.DataFrame, by: str, columns: int = 3) -> tuple[Figure, list[tuple[str, pd.DataFrame, Axes]]]:
    """A figure, and for each group its name, its rows and an empty panel; at most `columns` panels on a line."""
    groups = list(points.groupby(by, sort=False))
    columns = min(columns, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = plt.figure(figsize=(min(WIDTH, HEIGHT * columns), HEIGHT * lines))
    plt.close(figure)
    figure.get_layout_engine().set(hspace=0.08)  # between the note below a panel and the title of the next
    options = {"xticks": [], "yticks": [], "ylabel": "t-SNE 2"}
    return figure, [(*group, figure.add_subplot(lines, columns, k, **options)) for k, group in enumerate(groups, 1)]


def _samples(counts: Sequence[int], seed: int, limit: int) -> list[Int[np.ndarray, "_"]]:
    """At most `limit` random rows of each cloud, whose sizes are `counts`: the same rows where all clouds have them."""
    order = np.random.default_rng(seed).permutation(max(counts))
    return [order[order < count][:limit] for count in counts]


def _tsne(x: Float[np.ndarray, "n d"], seed: int) -> Float[np.ndarray, "n 2"]:
    # The number of threads changes the order of sums, and a difference in the last bit gives another map.
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=min(30, (len(x) - 1) / 3), random_state=seed).fit_transform(x)


def _separability(x: list[np.ndarray], samples: list[np.ndarray], kind: str, seed: int) -> tuple[np.ndarray, float]:
    """Kind of each row, real ones first, and the accuracy with which a linear classifier separates both kinds."""
    is_other = np.repeat([0, 1], [len(rows) for rows in samples])
    accuracy = _accuracy(np.concatenate(x), is_other, np.concatenate(samples), seed)
    return np.array(["real", kind])[is_other], accuracy


def _accuracy(x: Float[np.ndarray, "n d"], group: np.ndarray, sample: np.ndarray, seed: int) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    # Real and imputed embeddings of a sample are in one fold: a near copy with the other label among the training rows
    # would push the accuracy below 0.5.
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(classifier, x, group, groups=sample, cv=folds, scoring="balanced_accuracy").mean())


def _require_pairs(real: Mapping[str, Tensor], others: Mapping[str, Tensor], kind: str, function: str) -> None:
    if not real or set(real) != set(others):
        raise ValueError(f"show.{function}: real has modalities {sorted(real)} but {kind} has {sorted(others)}")
    for m in real:
        a, b = tuple(real[m].shape), tuple(others[m].shape)
        if len(a) != 2 or len(b) != 2 or a[1] != b[1] or a[1] < 2 or min(a[0], b[0]) < 5:
            needs = "the same width of at least 2, and at least 5 rows of each"
            raise ValueError(f"show.{function}: {m!r} is {a} real and {b} {kind}; needs {needs}")
