"""Rows are read and averaged in one way: tables over seeds by hand, and readers that hand out copies."""

import numpy as np
import pandas as pd
import pytest

from mmlib import report
from mmlib.report import rows as reader


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


def test_lines_and_columns_are_in_order_of_appearance_level_by_level():
    keys = [("b", "y", "t"), ("a", "y", "s"), ("b", "x", "s")]
    rows = pd.DataFrame(keys, columns=["method", "variant", "condition"]).assign(value=1.0)
    table = report.mean_and_deviation(rows, ["method", "variant"], "condition", 0)
    assert list(table.index) == [("b", "y"), ("b", "x"), ("a", "y")] and list(table) == ["t", "s"]


def test_who_changes_the_rows_changes_only_a_copy():
    for read in (report.results, report.reported):
        rows = read("simc")
        rows["value"] = 0.0
        assert read("simc")["value"].gt(0).any()


@pytest.mark.parametrize(
    "dataset, conditions",
    [
        ("mmimdb_subset", ["100_image_20_text", "20_image_100_text", "complex_10_45_45"]),
        ("iemocap, binary", ["rate(0.1)", "rate(0.5)"]),
        ("mosi", ["available(audio)", "available(text)"]),
    ],
)
def test_papers_average_over_these_conditions(dataset, conditions):
    others = ["complete", "100_image_100_text", "rate(0)", "available(text) then frames(0.5)", "available (text)"]
    rows = pd.DataFrame({"dataset": dataset, "condition": [*others, *reversed(conditions)]})
    assert reader.missing_conditions(rows, dataset) == conditions
