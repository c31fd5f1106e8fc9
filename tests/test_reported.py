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


UMDF_BASELINES = ("Self-MM", "CubeMLP", "MCTN", "TransM", "SMIL", "GCNet")
ABLATIONS = ("UMDF w/o L_fea", "UMDF w/o L_logits", "UMDF w/o MCIM", "UMDF w/o DFIM")
AVAILABLE = ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")
UMDF_MISSING = tuple(f"available({modalities})" for modalities in AVAILABLE)
UMDF_CONDITIONS = (*UMDF_MISSING, AVERAGE, "complete")
EMOTIONS = ("f1_happy", "f1_sad", "f1_angry", "f1_neutral")
# Each table prints a metric to its own number of digits.
UMDF_DIGITS = {
    **{(1, dataset, "mae"): 3 for dataset in ("MOSI", "MOSEI")},
    **{(1, dataset, "f1"): 2 for dataset in ("MOSI", "MOSEI")},
    **{(2, "IEMOCAP", metric): 1 for metric in EMOTIONS},
    (3, "MOSI", "f1"): 2,
}
# The row of table 3 for UMDF itself is blank in our text of the paper, so the file leaves it out.
UMDF_ROWS = [
    (*block, method) for block in UMDF_DIGITS for method in (ABLATIONS if block[0] == 3 else (*UMDF_BASELINES, "UMDF"))
]


@pytest.fixture(scope="module")
def umdf() -> pd.DataFrame:
    return pd.read_csv(REPORTED / "umdf.csv", keep_default_na=False, dtype={"value": str})


@pytest.fixture(scope="module")
def umdf_printed(umdf) -> dict[tuple[int, str, str, str, str], float]:
    cells = umdf.set_index(["table", "dataset", "metric", "method", "condition"])
    return cells["value"].astype(float).to_dict()


def test_umdf_is_complete(umdf):
    assert list(umdf) == ["paper", "table", "dataset", "method", "condition", "metric", "value", "note"]
    assert set(umdf["paper"]) == {"umdf"} and set(umdf["note"]) == {""}
    expected = {(*row, condition) for row, condition in product(UMDF_ROWS, UMDF_CONDITIONS)}
    cells = list(zip(umdf["table"], umdf["dataset"], umdf["metric"], umdf["method"], umdf["condition"]))
    assert set(cells) == expected and len(cells) == len(expected) == 480
    assert umdf["table"].value_counts().to_dict() == {1: 224, 2: 224, 3: 32}


def test_umdf_values_are_as_printed(umdf):
    digits = [UMDF_DIGITS[block] for block in zip(umdf["table"], umdf["dataset"], umdf["metric"])]
    assert umdf["value"].str.extract(r"^\d+\.(\d+)$")[0].str.len().tolist() == digits
    value, mae = umdf["value"].astype(float), umdf["metric"] == "mae"
    # F1 is in percent.
    assert value[mae].between(0.5, 1.5).all() and value[~mae].between(30, 100).all()


@pytest.mark.parametrize(("table", "dataset", "metric", "method"), UMDF_ROWS)
def test_umdf_averages_recompute(umdf_printed, table, dataset, metric, method):
    # All 60 do, within the rounding of the average alone: the paper averages the printed cells, and without a slip.
    half_unit = 0.5 * 10 ** -UMDF_DIGITS[table, dataset, metric]
    mean = sum(umdf_printed[table, dataset, metric, method, c] for c in UMDF_MISSING) / len(UMDF_MISSING)
    assert mean == pytest.approx(umdf_printed[table, dataset, metric, method, AVERAGE], abs=half_unit + ROUNDING)


@pytest.mark.parametrize(
    ("table", "dataset", "metric", "totals"),
    [
        (1, "MOSI", "mae", (6.406, 8.255, 8.502, 6.197, 6.236, 7.766, 7.228, 5.616)),
        (1, "MOSI", "f1", (526.89, 403.24, 375.10, 543.63, 542.63, 440.73, 472.05, 581.31)),
        (1, "MOSEI", "mae", (4.617, 8.096, 8.434, 4.480, 4.559, 7.863, 6.342, 3.941)),
        (1, "MOSEI", "f1", (531.19, 409.43, 372.29, 547.59, 539.95, 430.70, 471.86, 575.34)),
        (2, "IEMOCAP", "f1_happy", (535.9, 436.8, 421.0, 555.9, 544.4, 457.4, 492.0, 610.8)),
        (2, "IEMOCAP", "f1_sad", (530.8, 439.6, 422.7, 552.7, 539.5, 459.1, 490.8, 600.6)),
        (2, "IEMOCAP", "f1_angry", (530.6, 432.5, 410.5, 554.0, 544.9, 441.0, 485.6, 602.2)),
        (2, "IEMOCAP", "f1_neutral", (415.9, 355.5, 349.5, 444.1, 426.8, 372.8, 394.1, 489.8)),
        (3, "MOSI", "f1", (325.68, 265.44, 234.91, 336.86, 331.36, 285.57, 296.64, 331.11)),
    ],
)
def test_umdf_columns_sum_to_those_of_the_text(umdf_printed, table, dataset, metric, totals):
    # An average hides a slip of a few units in one of its six cells, and complete data has none: so each column's sum, in
    # the paper's order, taken from its text apart from the file. Any one mistyped cell shows here, and two swapped in a row.
    methods = [method for *block, method in UMDF_ROWS if block == [table, dataset, metric]]
    for condition, total in zip(UMDF_CONDITIONS, totals):
        column = sum(umdf_printed[table, dataset, metric, method, condition] for method in methods)
        assert column == pytest.approx(total, abs=ROUNDING), condition


@pytest.mark.parametrize(("method", "condition"), list(product(ABLATIONS, UMDF_CONDITIONS)))
def test_umdf_ablations_are_below_the_full_model(umdf_printed, method, condition):
    # All 32 cells of table 3, against UMDF's row of table 1.
    assert umdf_printed[3, "MOSI", "f1", method, condition] < umdf_printed[1, "MOSI", "f1", "UMDF", condition]


@pytest.mark.parametrize(("table", "dataset", "metric"), [block for block in UMDF_DIGITS if block[0] != 3])
def test_umdf_is_best_on_average_as_the_text_says(umdf_printed, table, dataset, metric):
    # On average only: single cells go to others, and with complete data every best score does.
    sign = -1 if metric == "mae" else 1
    own, *others = (
        sign * umdf_printed[table, dataset, metric, method, AVERAGE] for method in ("UMDF", *UMDF_BASELINES)
    )
    assert own > max(others)
