"""The style of all figures; saves a figure and the points that it shows."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from mmlib.files import replacing

WIDTH, HEIGHT = 7.0, 3.5  # inches
# Dark violet instead of yellow, which cannot be read on white.
PALETTE = [*sns.color_palette("colorblind")[:8], sns.color_palette("colorblind")[9], to_rgb("#55287d")]
MARKERS = "osD^vPX"  # seven, and ten colours: no pair repeats before the 71st method
LETTER = 0.075  # width in inches of a wide letter of 8 points
THEME = {
    **sns.axes_style("whitegrid"),
    "figure.constrained_layout.use": True, "figure.titlesize": 10, "font.size": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.edgecolor": "0.4", "axes.labelsize": 9, "axes.titlesize": 10, "axes.spines.right": False, "axes.spines.top": False,
    "axes.grid.axis": "y", "grid.color": "0.92", "lines.linewidth": 1.4,
    "legend.fontsize": 8, "legend.title_fontsize": 8, "legend.frameon": False,
}  # fmt: skip


def save(figure: Figure, folder: Path | str, name: str) -> Path:
    """Writes <folder>/<name>.png at 150 dpi, complete or not at all, and returns its path."""
    path = Path(folder) / f"{name}.png"
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
    return path


def save_points(points: pd.DataFrame, folder: Path | str, name: str) -> Path:
    """Writes <folder>/<name>.csv, complete or not at all, and returns its path.

    Numbers have four decimals. The rows of a group are sorted by their numbers, so their order does not reveal which
    sample a point is.
    """
    path = Path(folder) / f"{name}.csv"
    numbers = points.select_dtypes("number")
    labels = points.drop(columns=numbers.columns)
    group = labels.groupby(list(labels), sort=False).ngroup()
    order = np.lexsort([*numbers.to_numpy().T[::-1], group])
    with replacing(path) as partial:
        points.iloc[order].round(4).to_csv(partial, index=False)
    return path


def name_categories(panel: Axes, at: np.ndarray, labels: list[str], inches: float) -> None:
    """Writes labels on the x axis at these places, slanted where they do not fit side by side in this width."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    fits = LETTER * longest * len(labels) < inches
    panel.set_xticks(at, labels, **({} if fits else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}))


def legend_below(panel: Axes, handlelength: float = 2.0, **options) -> None:
    """Draws one legend for the whole figure, with the entries of this panel, at the bottom and in as few lines as fit."""
    handles, labels = panel.get_legend_handles_labels()
    widths = [(handlelength + 1.8) * 8 / 72 + 0.8 * LETTER * len(label) for label in labels]  # inches
    for lines in range(1, len(labels) + 1):
        ncols = math.ceil(len(labels) / lines)
        if sum(max(column) for column in np.array_split(widths, ncols)) <= panel.figure.get_figwidth():
            break
    options |= {"handlelength": handlelength, "columnspacing": 1, "ncols": ncols}
    panel.figure.legend(handles, labels, loc="outside lower center", **options)


def titled(figure: Figure, title: str) -> Figure:
    """The figure, with the title above if there is one: an empty one would take space."""
    if title:
        figure.suptitle(title)
    return figure


def to_array(x: Float[Tensor, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return x.detach().cpu().float().numpy()


def require_columns(table: pd.DataFrame, columns: list[str], function: str) -> None:
    """Raises ValueError, which names the function, for a missing column or a table without rows."""
    if missing := [c for c in columns if c not in table]:
        raise ValueError(f"{function}: the table has no column {missing[0]!r}; it has {list(table.columns)}")
    if table.empty:
        raise ValueError(f"{function}: the table has no rows")
