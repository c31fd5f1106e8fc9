"""The published numbers in data/reported: complete, and consistent with one another where the papers derive them."""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from mmlib.metrics import relative_error

REPORTED = Path(__file__).parents[1] / "data" / "reported"

BASELINES = ("ShaSpec", "M3Care", "PmcmFL")
METHODS = (*BASELINES, "SIM-C")
FULL = "100_image_100_text"
MISSING = ("100_image_20_text", "20_image_100_text", "complex_10_45_45", "complex_20_40_40", "complex_30_35_35")
AVERAGE = "average over missing"
METRICS = {1: "f_micro_as_printed", 2: "relative_error_percent", 3: "f1_samples"}

# Every number is printed to two digits, so it stands for anything within half a unit of the second.
HALF_UNIT = 0.005
ROUNDING = 1e-9


@pytest.fixture(scope="module")
def simc() -> pd.DataFrame:
    return pd.read_csv(REPORTED / "simc.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def printed(simc) -> dict[tuple[int, str, str], float]:
    return simc.set_index(["table", "method", "condition"])["value"].to_dict()


def test_simc_is_complete(simc):
    assert list(simc) == ["paper", "table", "dataset", "method", "condition", "metric", "value", "note"]
    assert set(simc["paper"]) == {"simc"} and set(simc["dataset"]) == {"MM-IMDb"}
    expected = {(t, m, c) for t, m, c in product((1, 3), METHODS, (FULL, *MISSING, AVERAGE))}
    # Table 2 compares with the full data, so it has no column for them.
    expected |= {(2, m, c) for m, c in product(METHODS, (*MISSING, AVERAGE))}
    cells = list(zip(simc["table"], simc["method"], simc["condition"]))
    assert set(cells) == expected and len(cells) == len(expected) == 80
    assert (simc["metric"] == simc["table"].map(METRICS)).all()
    assert simc["value"].dtype == float and simc["value"].notna().all()
    assert simc.loc[simc["table"] != 2, "value"].between(0, 1).all()


def test_simc_table_1_says_how_each_row_was_scored(simc):
    table = simc[(simc["table"] == 1) & (simc["condition"] != AVERAGE)]
    baseline = table["method"].isin(BASELINES)
    assert set(table.loc[baseline, "note"]) == {"scoring code not released"}
    assert set(table.loc[~baseline, "note"]) == {"flattened: equals cell accuracy"}
    assert simc.loc[simc["condition"] == AVERAGE, "note"].str.endswith("stated in the text").all()


@pytest.mark.parametrize(("method", "condition"), list(product(BASELINES, MISSING)))
def test_simc_table_2_recomputes_from_table_1_for_the_baselines(printed, method, condition):
    recomputed = relative_error(printed[1, method, FULL], printed[1, method, condition])
    assert recomputed == pytest.approx(printed[2, method, condition], abs=HALF_UNIT + ROUNDING)


def test_simc_table_2_is_consistent_with_unrounded_scores_for_its_own_row(printed):
    # Table 1 as printed explains one of the five cells only.
    assert round(relative_error(0.94, 0.93), 2) == 1.08
    assert [printed[2, "SIM-C", condition] for condition in MISSING].count(1.08) == 1
    # Within the rounding of both tables each cell bounds the full score by missing * (1 + error / 100); the bounds must
    # leave one score that explains all five.
    low, high = printed[1, "SIM-C", FULL] - HALF_UNIT, printed[1, "SIM-C", FULL] + HALF_UNIT
    for condition in MISSING:
        missing, error = printed[1, "SIM-C", condition], printed[2, "SIM-C", condition]
        low = max(low, (missing - HALF_UNIT) * (1 + (error - HALF_UNIT) / 100))
        high = min(high, (missing + HALF_UNIT) * (1 + (error + HALF_UNIT) / 100))
    assert (round(low, 4), round(high, 4)) == (0.935, 0.9401)


def test_simc_table_2_recomputes_from_three_digit_scores_that_round_to_table_1(printed):
    # One set of several: full scores of 0.935, 0.936, 0.937 and 0.939 have theirs too.
    full, missing = 0.938, dict(zip(MISSING, (0.929, 0.933, 0.928, 0.929, 0.931)))
    assert full == pytest.approx(printed[1, "SIM-C", FULL], abs=HALF_UNIT)
    for condition, score in missing.items():
        assert score == pytest.approx(printed[1, "SIM-C", condition], abs=HALF_UNIT)
        error = printed[2, "SIM-C", condition]
        assert relative_error(full, score) == pytest.approx(error, abs=HALF_UNIT + ROUNDING)


@pytest.mark.parametrize(("table", "method"), list(product(METRICS, METHODS)))
def test_simc_averages_in_the_text_recompute(printed, table, method):
    # Half a unit is the rounding of the average alone. Averages taken before the cells were rounded could be off by
    # another half unit; none is, so the text averages the printed cells.
    mean = sum(printed[table, method, condition] for condition in MISSING) / len(MISSING)
    assert mean == pytest.approx(printed[table, method, AVERAGE], abs=HALF_UNIT + ROUNDING)


@pytest.mark.parametrize(
    ("table", "method", "percent"),
    [
        (1, "ShaSpec", 127.94), (1, "M3Care", 124.64), (1, "PmcmFL", 83.07),
        (2, "ShaSpec", -95.82), (2, "M3Care", -92.63), (2, "PmcmFL", -97.14),
        (3, "ShaSpec", 43.07), (3, "M3Care", 42.36), (3, "PmcmFL", 17.96),
    ],
)  # fmt: skip
def test_simc_gains_in_the_text_recompute(printed, table, method, percent):
    # The text divides means of printed cells and rounds once: half a unit. Any one mistyped cell shows here.
    own, other = (sum(printed[table, m, condition] for condition in MISSING) for m in ("SIM-C", method))
    assert (own / other - 1) * 100 == pytest.approx(percent, abs=HALF_UNIT + ROUNDING)


def test_simc_full_scores_are_those_of_the_text(printed):
    assert [printed[1, method, FULL] for method in METHODS] == [0.49, 0.46, 0.66, 0.94]
    assert [printed[3, method, FULL] for method in METHODS] == [0.5, 0.45, 0.66, 0.64]
