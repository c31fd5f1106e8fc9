"""Made-up points for the maps of `mmlib.report.figures`, in the form in which runs leave them."""

import itertools

import numpy as np
import pandas as pd

_SYSTEMS = ["SMCIR", "SMCIR corrected", "zero fill + modality dropout"]
_STARTS = ["n = 30", "n = 50", "n = 80", "n = 200", "n = 1000"]


def made(name: str) -> pd.DataFrame:
    """The points of one map; KeyError for a map that is always read from data/results/figures."""
    return {"smcir_fig2": _predictions, "admc_fig3": _starts}[name](np.random.default_rng(0)).round(4)


def _predictions(rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for system, condition in itertools.product(_SYSTEMS, ["(text)", "(text, audio)", "(text, vision)"]):
        truth = rng.uniform(-3, 3, 200)
        values = {"truth": truth, "prediction": truth / 2 + rng.normal(size=200)}
        parts.append(pd.DataFrame({"system": system, "condition": condition, **values}))
    return pd.concat(parts, ignore_index=True)


def _starts(rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for i, (panel, m) in enumerate(itertools.product(_STARTS, ["text", "audio"])):
        for kind in ("real", "generated"):
            x, y = rng.normal(5 * i, 3, (2, 100))
            parts.append(pd.DataFrame(
                {"panel": panel, "modality": m, "kind": kind, "x": x, "y": y, "accuracy": 0.53 + i / 40}
            ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
