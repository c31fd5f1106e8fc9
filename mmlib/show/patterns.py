"""The picture of a missing-modality protocol."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmlib.show.theme import HEIGHT, PALETTE, THEME, WIDTH, name_categories, titled

MISSING = to_rgb("#ebebeb")
LOST = to_rgb("#c4c4c4")  # used beside white padding, from which MISSING hardly differs
_PATTERNS = 8  # bars at most


@plt.rc_context(THEME)
def missingness(
    observed: Mapping[str, Bool[Tensor, "n _"]],
    rows: int = 60,
    title: str = "",
    real: Mapping[str, Bool[Tensor, "n _"]] | None = None,
) -> Figure:
    """Observed frames of the first `rows` samples, and the share of samples with each set of available modalities.

    observed: per modality (n, T), True where observed; a vector feature has T = 1.
    real: per modality (n, T), True where the data has a frame. With `real`, a frame that the data lacks (padding, or a
        modality that the sample never had) is white and a frame that the protocol removed is grey; without `real`,
        both have the same pale grey.
    Raises ValueError where there is no modality or no sample, modalities differ in the number of samples, `real` has
    other modalities or shapes, or a frame is observed that is not real.
    """
    counts = {m: len(f) for m, f in observed.items()}
    if not counts or 0 in counts.values() or len(set(counts.values())) > 1:
        raise ValueError(f"show.missingness: needs the same samples, at least one, in each modality; got {counts}")
    exists = {m: torch.ones_like(f) for m, f in observed.items()} if real is None else real
    shapes, real_shapes = ({m: tuple(f.shape) for m, f in x.items()} for x in (observed, exists))
    if shapes != real_shapes:
        raise ValueError(f"show.missingness: observed is {shapes} but real is {real_shapes}")
    if impossible := [m for m, f in observed.items() if bool((f.cpu() & ~exists[m].cpu()).any())]:
        raise ValueError(f"show.missingness: {impossible[0]!r} is observed in frames that are not real")
    n = next(iter(counts.values()))
    rows = min(rows, n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT), width_ratios=(3, 2) if real is None else (5, 2))
    plt.close(figure)

    # All modalities are equally wide: with one width per frame, a vector would vanish beside 500 frames.
    for k, (m, f) in enumerate(observed.items()):
        colours = torch.tensor([(1.0, 1.0, 1.0), MISSING if real is None else LOST, PALETTE[k % len(PALETTE)]])
        colours = colours[f[:rows].long().cpu() + exists[m][:rows].long().cpu()]  # (rows, T, 3)
        # imshow averages frames narrower than a pixel; ten pixel rows per sample keep its upper and lower edge sharp.
        pixels = colours.repeat_interleave(10, 0).numpy()
        if real is not None:  # sharp frames, and a white line between samples, whose padding differs
            pixels = pixels.repeat(max(1, 500 // f.shape[1]), 1)
            pixels[9::10] = 1
            left.add_patch(Rectangle((k + 0.04, 0), 0.92, rows, fill=False, ec="0.7", lw=0.6, clip_on=False))
        left.imshow(pixels, extent=(k + 0.04, k + 0.96, rows, 0), aspect="auto", interpolation="antialiased")
    labels = [m if f.shape[1] == 1 else f"{m}\n{f.shape[1]} frames" for m, f in observed.items()]
    name_categories(left, np.arange(len(labels)) + 0.5, labels, inches=3.2)
    left.set(xlim=(0, len(labels)), ylim=(rows, 0), ylabel=f"sample (first {rows} of {n})")
    sequences = any(f.shape[1] > 1 for f in observed.values())
    pale = "pale: missing" + (" or padding" if sequences else "")
    grey = "grey: lost, white: " + ("padding" if sequences else "never there")
    left.set_title(f"coloured: observed, {pale if real is None else grey}")
    left.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    left.grid(False)
    left.spines[:].set_visible(False)

    shares = _pattern_shares(observed)  # %
    bars = right.barh(list(shares), list(shares.values()), color="0.6", height=min(0.7, 0.15 * len(shares)))
    right.bar_label(bars, [f"{share:.1f} %" for share in shares.values()], padding=3, fontsize=8)
    end = (1.3 if real is None else 1.5) * max(shares.values())
    right.set(xlim=(0, end), xlabel="share of samples (%)", title="available modalities")
    right.set_xticks([tick for tick in right.get_xticks() if tick <= 100])
    right.set_ylim(-0.6, len(shares) - 0.4)
    right.invert_yaxis()
    right.grid(False)
    return titled(figure, title)


def _pattern_shares(observed: Mapping[str, Bool[Tensor, "n _"]]) -> dict[str, float]:
    """Percentage of samples with each set of available modalities, descending; the rarest sets are one sum."""
    present = torch.stack([f.any(1) for f in observed.values()], 1)  # (n, modalities)
    patterns, counts = present.unique(dim=0, return_counts=True)
    shares = {}
    for count, pattern in sorted(zip(counts.tolist(), patterns.tolist(), strict=True), reverse=True):
        names = [m for m, available in zip(observed, pattern, strict=True) if available]
        name = f"{names[0]} only" if len(names) == 1 else " + ".join(names) or "nothing"
        shares[textwrap.fill(name, 28)] = 100 * count / len(present)
    if len(shares) > _PATTERNS:
        rest = list(shares)[_PATTERNS - 1 :]
        shares[f"{len(rest)} other sets"] = sum(shares.pop(name) for name in rest)
    return shares
