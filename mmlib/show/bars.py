"""What each modality is worth to each method, as bars side by side."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmlib.show import theme
from mmlib.show.theme import HEIGHT, PALETTE, THEME, WIDTH


@plt.rc_context(THEME)
def worth(values: pd.DataFrame, unit: str, ceiling: str | None = None) -> Figure:
    """A group of bars for each modality, a bar for each method: the mean over runs and one standard deviation.

    values: of `report.contributions`: a line per run, with the method in the index level 'method'; a column per group. A
        cross is in the place of a mean that is nan.
    unit: of the values, for the axis.
    ceiling: the method that is a black line across each group.
    Raises ValueError for no row and for a ceiling that is no method.
    """
    if values.empty:
        raise ValueError("show.worth: the table has no rows")
    runs = values.groupby(level="method", sort=False)
    mean, std = runs.mean(), runs.std().fillna(0)
    if ceiling is not None and ceiling not in mean.index:
        raise ValueError(f"show.worth: no method {ceiling!r}; there are {list(mean.index)}")
    competing = mean.index[mean.index != ceiling]
    at, width = np.arange(len(values.columns)), 0.8 / max(1, len(competing))

    figure, panel = plt.subplots(figsize=(WIDTH, HEIGHT))
    plt.close(figure)
    for k, method in enumerate(competing):
        places, middle, spread = at - 0.4 + width * (k + 0.5), mean.loc[method], std.loc[method]
        color = PALETTE[k % len(PALETTE)]
        stripes = {"hatch": "////" * (k // len(PALETTE)), "edgecolor": "white"}  # where colours return
        panel.bar(places, middle, width, color=color, lw=0.3, label=method, **stripes)
        panel.vlines(places, middle - spread, middle + spread, color="0.25", lw=0.8)
        unknown = places[middle.isna()]
        if len(unknown):
            panel.plot(unknown, 0 * unknown, ls="none", marker="x", ms=4, color=color, clip_on=False, zorder=3)
    if ceiling is not None:
        panel.hlines(mean.loc[ceiling], at - 0.45, at + 0.45, color="black", lw=1.2, label=ceiling)
    panel.axhline(0, color="0.4", lw=0.8)
    theme.name_categories(panel, at, list(values.columns), inches=4.5)
    note = "\n(mean ± std)" if std.to_numpy().any() else ""
    panel.set(xlim=(-0.5, len(at) - 0.5), ylabel=f"worth, {unit}{note}")
    panel.spines["bottom"].set_visible(False)
    panel.tick_params(axis="x", length=0)
    figure.legend(loc="outside right upper", title="method", alignment="left")
    return figure
