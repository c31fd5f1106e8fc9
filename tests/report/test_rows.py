"""Tables over seeds, by hand."""

import numpy as np
import pandas as pd

from mmlib import report


def test_by_pattern_by_hand():
    values = {
        "available(text)": (0.5, 0.7),
        "available(audio)": (0.2, 0.4),
        "complete": (0.9, 0.9),
        "frames(0.5)": (0, 0),
    }
    rows = [
        {"method": method, "variant": variant, "condition": c, "metric": metric, "seed": seed, "value": scores[seed]}
        for c, scores in values.items() for seed in (0, 1) for metric in ("f1", "mae")
        for method, variant in (("UMDF", "x"), ("best single modality", "text" if seed else "audio"))
    ]  # fmt: skip
    table = report.by_pattern(pd.DataFrame(rows), "f1")
    assert list(table.columns) == ["text", "audio", "missing", "complete"]
    expected = ["60.0 ± 14.1", "30.0 ± 14.1", "45.0 ± 14.1", "90.0 ± 0.0"]
    assert (
        table.loc[("UMDF", "x")].tolist() == expected and table.loc[("best single modality", "")].tolist() == expected
    )
    assert report.by_pattern(pd.DataFrame(rows), "mae").loc[("UMDF", "x"), "text"] == "0.600 ± 0.141"


def test_mean_and_deviation_by_hand():
    rows = pd.DataFrame(
        {"method": ["b", "b", "a"], "condition": ["x", "x", "x"], "value": [1.0, 2.0, 5.0], "seed": [0, 1, 0]}
    )
    table = report.mean_and_deviation(rows, "method", "condition")
    assert table["x"].to_dict() == {"b": f"1.500 ± {np.sqrt(0.5):.3f}", "a": "5.000"}
    assert list(table.index) == ["b", "a"], "order of appearance, not of the alphabet"
