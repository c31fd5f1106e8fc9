"""Committed results are whole, and what is shown of each data set is what its rows say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib import metrics, report
from mmlib.report import datasets, rows
from mmlib.report.published import DATASETS
from tests.helpers import results as made

STUDIES = sorted((rows.ROOT / "data" / "results").glob("*_*.csv"))  # speed.csv is of the benchmark
SYSTEM = ["dataset", "method", "variant", "protocol"]
NOT_TRAINED = ("untrained detector", "prior", "coin", "all zeros", "oracle", "MMER", "Use_ITFN", "Jointly_training")


@pytest.fixture(scope="module", params=STUDIES, ids=lambda path: path.stem)
def study(request):
    texts = dict.fromkeys(("commit", "data", "run"), str)  # a commit such as 17566659e592 is no number
    return request.param, pd.read_csv(request.param, keep_default_na=False, na_values={"value": [""]}, dtype=texts)


def test_a_study_is_whole(study):
    path, table = study
    assert list(table) == list(rows.COLUMNS[:-2]) and set(table["role"]) <= {"test", "trial", "chosen"}
    assert path.name.startswith(tuple(f"{p}_" for p in table["paper"].unique())) and table["paper"].nunique() == 1
    keys = [c for c in table if c not in ("value", "flags", "commit", "data", "run")]
    tests = table[table["role"] == "test"]
    assert not tests.duplicated(keys).any() and not np.isinf(tests["value"]).any()
    assert set(tests.loc[tests["value"].isna(), "metric"]) <= {"corr"}  # of a constant
    assert not table["commit"].str.endswith("+").any(), "made from a clean checkout"
    assert not table["features"].str.contains("/").any()


def test_every_system_has_the_same_seeds_and_there_are_five(study):
    tests = study[1][study[1]["role"] == "test"]
    is_fold = tests["dataset"].str.contains("fold ")
    tests = tests.assign(seed=tests["seed"].mask(is_fold, tests["dataset"].str.extract(r"fold (\d+)", expand=False)))
    tests = tests.assign(dataset=tests["dataset"].str.replace(r"fold \d+", "folds", regex=True))
    seeds = tests.groupby([*SYSTEM, "condition", "metric"])["seed"].apply(lambda s: tuple(sorted(map(int, s))))
    of_dataset = seeds.groupby(level="dataset").nunique()
    assert (of_dataset == 1).all() and seeds.map(len).min() >= 5, seeds[seeds.map(len) < 5]


def test_every_trained_system_has_trials_and_all_have_the_same_number(study):
    """`Record.tuned` is called for each, so a row that was made in another way is seen. Clients have the central rate."""
    table = study[1][study[1]["protocol"] != "clients"]
    trained = table[
        (table["role"] == "test") & ~table["method"].isin(NOT_TRAINED) & ~table["variant"].isin(["head", "probe"])
    ]
    tried = table[table["role"] != "test"]
    assert set(trained[SYSTEM].itertuples(index=False, name=None)) <= set(
        tried[SYSTEM].itertuples(index=False, name=None)
    )
    several = tried[~tried["method"].isin(NOT_TRAINED)]
    counts = several.groupby([*SYSTEM, "seed"])["condition"].nunique()
    assert counts.nunique() == 1, counts


def test_the_main_metric_has_its_replicates(study):
    path, table = study
    with np.load(path.with_suffix(".npz")) as archive:
        kept, deviation = archive["row"], archive["deviation"]
    assert deviation.shape == (len(kept), metrics.RESAMPLES) and deviation.dtype == np.int16
    assert (table.loc[kept, "role"] == "test").all() and set(table.loc[kept, "metric"]) <= set(metrics.PRIMARY.values())
    own = table[(table["role"] == "test") & table["metric"].isin(set(table.loc[kept, "metric"]))]
    assert len(own) == len(set(kept)) == len(kept)


def test_frames_that_lose_nothing_are_complete_rows(study):
    tests = study[1][study[1]["role"] == "test"]
    index = [*SYSTEM, "metric", "seed"]
    wide = tests[tests["condition"].isin(["complete", "frames(0)", "rate(0)"])].pivot(
        index=index, columns="condition", values="value"
    )
    for other in {"frames(0)", "rate(0)"} & set(wide):
        both = wide[["complete", other]].dropna()
        assert len(both) and (both["complete"] - both[other]).abs().max() < 1e-6


# --- what is shown of each data set ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def write(folder: Path):
        made.write_study(folder, "umdf", "mosi_words", {("UMDF", "", 1): "limit", ("UMDF", "", 2): "limit"})
        made.write_study(folder, "umdf", "synthetic reviews")
        for dataset in DATASETS["smcir"]:
            made.write_study(folder, "smcir", dataset)
        made.write_study(folder, "simc", "sarcasm")

    with made.read_from(tmp_path_factory.mktemp("rows"), write) as folder:
        yield folder


def test_headroom_of_all_data_sets_below_each_other(folder):
    table = report.headroom_table("umdf")
    assert list(dict.fromkeys(table.index.get_level_values("data set"))) == [
        "mosi_words", "synthetic reviews", "mosi_mpnet", "mosi_bclstm", "iemocap_mpnet, one vs rest"
    ]  # fmt: skip
    whole = report.headroom(report.results("umdf"), "synthetic reviews")
    own = table.loc["synthetic reviews"]
    assert list(own.index) == [c for c in whole.index if not c.startswith("frames")]
    assert own.loc["available(text)", "headroom"] == whole.loc["available(text)", "headroom"]
    assert (own["metric"] == "mae").all() and list(table)[-1] == "vote"
    assert (
        table.loc["mosi_mpnet"].index == "not run: python -m mmlib.runs notebooks/studies/umdf_mosi_mpnet.yaml"
    ).all()


def test_simc_has_the_headroom_of_systems_trained_as_they_are_tested(folder):
    table = report.headroom_table("simc").loc["sarcasm"]
    assert len(table) == 6 and "100_image_100_text" in table.index


def test_worth_is_shown_of_the_method_its_control_and_what_is_trivial(folder, monkeypatch):
    table = report.worth_table("umdf")
    methods = ["UMDF", "UMDF, one view", "zero fill", "zero fill + modality dropout"]
    assert list(table.loc["mosi_words"].index) == methods
    assert list(table.loc["synthetic reviews"].index) == [*methods, "oracle"]
    whole = report.worth(report.results("umdf"), "synthetic reviews")
    assert table.loc[("synthetic reviews", "UMDF"), "audio"] == whole.loc["UMDF", "audio"]
    assert list(table)[-2:] == ["total", "note"]
    assert table.loc[("mosi_words", "UMDF"), "note"].startswith("flagged (2 of 5 runs)")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    report.show_worth("umdf", "synthetic reviews")
    report.show_worth("umdf", "mosi_mpnet")  # has no rows
    (figure,) = shown
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {*methods, "oracle"}


def test_where_no_set_of_modalities_is_whole_there_is_no_worth(folder):
    table = report.worth_table("smcir")  # never scored without text
    assert table.loc["mmmo"].iloc[0].startswith("no worth: no score: available(audio)")
    assert report.worth_table("simc").loc["sarcasm"].iloc[0].startswith("worth: needs")


def test_trials_with_what_was_chosen_and_the_flags_of_the_runs(folder):
    table = report.trial_table("umdf")
    line = table.loc[("mosi_words", "UMDF")]
    assert line.to_dict() == {
        "chosen": "lr 0.0005, decay none", "tried": "2", "on validation": "0.550 loss", "flags": "limit, 2 of 5 seeds"
    }  # fmt: skip
    assert table.loc[("synthetic reviews", "UMDF"), "flags"] == "none"


def test_trials_say_under_what_a_system_was_trained_where_that_differs(tmp_path):
    labels = {"paper": "simc", "dataset": "sarcasm", "features": "f", "method": "SIM-C", "variant": "", "metric": "ua",
              "seed": 0, "flags": "", "commit": "c", "data": "d", "run": "r"}  # fmt: skip
    lines = [
        labels | {"role": role, "protocol": protocol, "condition": f"validation, lr={lr}", "value": lr}
        for protocol, best in (("complex_20_40_40", 0.1), ("complex_10_45_45", 0.2)) for lr in (0.1, 0.2)
        for role in ["chosen" if lr == best else "trial"]
    ]  # fmt: skip
    tests = [
        labels | {"role": "test", "protocol": p, "condition": p, "value": 0.5} for p in {x["protocol"] for x in lines}
    ]

    def write(folder):
        pd.DataFrame([*lines, *tests])[list(rows.COLUMNS[:-2])].to_csv(folder / "simc_sarcasm.csv", index=False)

    with made.read_from(tmp_path, write):
        table = report.trial_table("simc").loc["sarcasm"]
    assert table["chosen"].to_dict() == {
        "SIM-C, trained on complex_20_40_40": "lr=0.1", "SIM-C, trained on complex_10_45_45": "lr=0.2"
    }  # fmt: skip


@pytest.mark.parametrize("paper", DATASETS)
def test_without_rows_each_table_says_which_commands_make_them(paper, tmp_path):
    with made.read_from(tmp_path, made.nothing):
        for table in (datasets.headroom_table, datasets.worth_table, datasets.trial_table):
            found = table(paper)
            assert list(found.index) == list(DATASETS[paper]) and found.index.name == "data set"
            assert found.iloc[:, 0].str.startswith(f"not run: python -m mmlib.runs notebooks/studies/{paper}_").all()
        assert report.page(paper)["verdict"].notna().all()


def test_every_system_of_a_study_tried_every_learning_rate(study):
    """One budget: a system that missed a rate which its rivals tried has no fair row."""
    path, table = study
    tried = table[table["role"] != "test"]
    rate = tried["condition"].str.extract(r"\blr=([\d.e-]+)", expand=False)
    of_each = tried.assign(rate=rate).groupby(SYSTEM)["rate"].agg(set)
    assert of_each.map(lambda rates: rates == set(rate)).all(), of_each[of_each != set(rate)]


def test_choices_at_the_ends_of_the_grid_are_counted(tmp_path):
    chosen, tried = {"a": 0.2, "b": 0.1, "c": 0.3, "d": 0.1}, (0.1, 0.2, 0.3)
    table = pd.DataFrame(
        {"dataset": "iemocap", "method": m, "protocol": "p", "role": "chosen" if lr == best else "trial", "seed": 0,
         "value": 0.5, "metric": "ua", "condition": f"validation, decay=none, lr={lr:g}", "paper": "admc"}
        for m, best in chosen.items() for lr in tried
    )  # fmt: skip
    with made.read_from(tmp_path, made.nothing):
        place = tmp_path / "data" / "results" / "admc_iemocap.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        table.reindex(columns=list(rows.COLUMNS[:-2])).to_csv(place, index=False)
        line = report.at_the_ends().loc[("ADMC", "iemocap")]
    assert line.to_dict() == {"rates": "0.1, 0.2, 0.3", "smallest": 2, "largest": 1, "between": 1}
