"""Committed results are whole, and the README says what they say."""

import pytest

from mmlib import missing, runs, show

SEEDS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def rows():
    return runs.results("simc")


def test_every_configuration_has_all_methods_and_five_seeds(rows):
    assert set(rows["protocol"]) == {*missing.SIMC_CONFIGURATIONS, "complete"}
    assert (rows["protocol"] == rows["condition"]).all()
    groups = rows.groupby(["protocol", "method", "variant", "metric"], dropna=False)["seed"].apply(sorted)
    single = groups.index.get_level_values("method") == "best single modality"
    assert all(seeds == SEEDS for seeds in groups[~single]), groups[groups.map(len) != 5]
    variants = set(rows.loc[rows["method"] == "SIM-C", "variant"])
    rates = ("lr 5e-05", "lr 0.0002", "lr chosen on validation")
    assert variants == {f"paper, {s}, {r}" for s in ("joint", "two_stage") for r in rates}
    trivial = {"prior", "all zeros", "zero fill", "zero fill + modality dropout", "mean fill", "best single modality"}
    assert trivial < set(rows["method"])
    assert rows["features"].nunique() == 1 and "EfficientNet" in rows["features"].iloc[0]
    assert rows.groupby("protocol")["data"].nunique().max() == 1, "one data set per protocol"
    assert not rows["commit"].str.endswith("+").any(), "made from a clean checkout"


def test_the_chosen_rate_is_one_of_the_tried(rows):
    simc = rows[(rows["method"] == "SIM-C") & (rows["metric"] == "f1_micro")]
    values = simc.pivot(index=["protocol", "seed"], columns="variant", values="value")
    for schedule in ("joint", "two_stage"):
        chosen = values[f"paper, {schedule}, lr chosen on validation"]
        tried = values[[f"paper, {schedule}, lr {lr}" for lr in ("5e-05", "0.0002")]]
        assert tried.eq(chosen, axis=0).any(axis=1).all()


@pytest.mark.parametrize(("metric", "table"), [("f1_samples", "3"), ("cell_accuracy", "1")])
def test_readme_shows_these_rows(rows, metric, table):
    readme = (runs.ROOT / "README.md").read_text()
    paired = rows[rows["condition"].isin(missing.SIMC_CONFIGURATIONS) & (rows["metric"] == metric)]
    ours = runs.mean_and_deviation(paired, ["method", "variant"], "condition")
    for line in show.table(ours[list(missing.SIMC_CONFIGURATIONS)]).data.splitlines()[2:]:
        if line.startswith(("| SIM-C | paper, joint, lr 5e-05", "| zero fill + mod", "| all zeros")):
            assert line in readme, line
    printed = runs.reported("simc").query("method == 'SIM-C' and table == @table").set_index("condition")["value"]
    cells = " | ".join(f"{printed[c]:.2f}" for c in missing.SIMC_CONFIGURATIONS)
    assert cells in readme, cells
