"""Rows are read and averaged in one way: tables over seeds by hand, and readers that hand out copies."""

import shutil

import numpy as np
import pandas as pd
import pytest

from mmlib import metrics, report
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


def test_who_changes_the_rows_changes_only_a_copy(studies):
    for read in (report.results, report.reported):
        rows = read("simc")
        rows["value"] = 0.0
        assert read("simc")["value"].gt(0).any()


LINE = {"paper": "simc", "dataset": "sarcasm", "features": "f", "role": "test", "method": "SIM-C", "variant": "",
        "protocol": "complex_20_40_40", "condition": "complex_20_40_40", "metric": "ua", "seed": 0, "value": 0.5, "flags": "",
        "commit": "c", "data": "d", "run": "r"}  # fmt: skip


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two studies of SIM-C: six rows of two seeds on sarcasm with replicates, and a trial with a flag on films."""
    folder = tmp_path / "data" / "results"
    folder.mkdir(parents=True)
    shutil.copytree(reader.ROOT / "data" / "reported", tmp_path / "data" / "reported")
    monkeypatch.setattr(reader, "ROOT", tmp_path)
    conditions = ("complex_20_40_40", "complex_10_45_45", "100_image_100_text")
    rows = [
        LINE | {"seed": seed, "condition": c, "value": 0.5 + 0.1 * seed + 0.01 * i}
        for seed in (1, 0) for i, c in enumerate(conditions)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "simc_sarcasm.csv", index=False)
    deviation = np.arange(5)[:, None] * 100 + np.arange(metrics.RESAMPLES)
    np.savez(folder / "simc_sarcasm.npz", row=np.arange(5), deviation=deviation.astype(np.int16))
    trial = LINE | {"dataset": "mmimdb_genres", "role": "trial", "flags": "limit (sim)"}
    chosen = trial | {"role": "chosen", "flags": ""}
    last = LINE | {"dataset": "mmimdb_genres", "flags": "at_prior (head)", "protocol": "100_image_100_text"}
    pd.DataFrame([trial, chosen, last]).to_csv(folder / "simc_genres.csv", index=False)
    return folder


def test_results_are_the_test_rows_of_all_studies(studies):
    rows = reader.results("simc")
    assert list(rows) == [*reader.COLUMNS, "validation"] and len(rows) == 7 and set(rows["role"]) == {"test"}
    assert rows["study"].tolist() == ["simc_genres"] + ["simc_sarcasm"] * 6
    assert rows["line"].tolist() == [2, 0, 1, 2, 3, 4, 5]
    assert len(reader.unflagged(rows)) == 6 and (rows["variant"] == "").all()
    assert reader.trials("simc")["role"].tolist() == ["trial", "chosen"]
    assert reader.trials("simc")["flags"].tolist() == ["limit (sim)", ""]


def test_validation_belongs_to_the_system_under_its_training(studies):
    own = LINE | {"dataset": "mmimdb_subset", "value": 0.7}
    tried = [own | {"role": "chosen", "metric": metric, "value": v} for metric, v in (("mae", 0.4), ("mae", 0.6))]
    other = own | {"protocol": "100_image_100_text"}
    pd.DataFrame([*tried, own, other, other | {"role": "trial"}]).to_csv(studies / "simc_more.csv", index=False)
    rows = reader.results("simc").query("study == 'simc_more'")
    assert rows["validation"].iloc[0] == pytest.approx(-0.5) and rows["validation"].isna().iloc[1]
    assert reader.validated(rows, "mmimdb_subset", ("SIM-C", "")) == pytest.approx(-0.5)
    assert np.isnan(reader.validated(rows, "mmimdb_subset", ("SIM-C", "zeros")))


def test_a_paper_without_studies_has_no_rows_but_the_columns(studies):
    rows = reader.results("umdf")
    assert rows.empty and list(rows) == [*reader.COLUMNS, "validation"] and reader.trials("umdf").empty
    with pytest.raises(KeyError, match="no rows on 'mosi_words'"):
        reader.measured("umdf", "mosi_words")
    with pytest.raises(reader.MissingRows, match="lacks mae or ua"):
        reader.score(rows, "mosi_words", ("UMDF", ""), reader.main_metric(rows, "mosi_words"), ["complete"])


def test_replicates_go_with_their_rows(studies):
    rows = reader.results("simc").sample(frac=1, random_state=0)
    found = reader.replicates(rows)
    assert found.shape == (7, metrics.RESAMPLES)
    for row, values in zip(rows.itertuples(), found):
        if row.study == "simc_sarcasm" and row.line < 5:
            assert values == pytest.approx(row.value + (100 * row.line + np.arange(metrics.RESAMPLES)) / 1e4)
        else:
            assert np.isnan(values).all()


def test_a_score_comes_with_its_replicates(studies):
    rows, system = reader.results("simc"), ("SIM-C", "")
    conditions = ["complex_10_45_45", "complex_20_40_40"]
    found = reader.sampled(rows, "sarcasm", system, "ua", conditions)
    assert found.index.tolist() == [0, 1] and found.shape == (2, 1 + metrics.RESAMPLES)
    assert found[0].tolist() == pytest.approx([0.505, 0.605])
    pd.testing.assert_series_equal(found[0], reader.score(rows, "sarcasm", system, "ua", conditions).sort_index(),
                                   check_names=False)  # fmt: skip
    # Lines 3 and 4 are seed 0, lines 0 and 1 seed 1.
    assert found.loc[0, 1:].tolist() == pytest.approx(0.505 + (350 + np.arange(metrics.RESAMPLES)) / 1e4)
    assert found.loc[1, 1:].tolist() == pytest.approx(0.605 + (50 + np.arange(metrics.RESAMPLES)) / 1e4)
    every = reader.sampled(rows, "sarcasm", system, "ua", [*conditions, "100_image_100_text"])
    assert every.loc[1].notna().all() and every.loc[0, 1:].isna().all(), "line 5 has no replicates"


def test_simc_is_compared_with_its_paper_where_it_was_trained_as_it_is_tested(studies):
    assert reader.measured("simc", "sarcasm")["condition"].unique().tolist() == ["complex_20_40_40"]
    assert reader.trained_complete(reader.results("simc"))["dataset"].tolist() == ["mmimdb_genres"]


def test_folds_are_seeds_of_one_data_set(studies):
    rows = [LINE | {"paper": "admc", "dataset": f"iemocap, fold {k}", "condition": "complete"} for k in (2, 1)]
    pd.DataFrame([*rows, LINE | {"dataset": "iemocap"}]).to_csv(studies / "admc_folds.csv", index=False)
    rows = reader.results("admc")
    assert rows["dataset"].tolist() == [reader.FOLDS, reader.FOLDS, "iemocap"] and rows["seed"].tolist() == [2, 1, 0]


def test_a_commit_that_looks_like_a_number_stays_text(studies):
    pd.DataFrame([LINE | {"commit": "17566659e592"}]).to_csv(studies / "admc_x.csv", index=False)
    assert reader.results("admc")["commit"].tolist() == ["17566659e592"]


def test_the_corpus_of_a_data_set_with_some_of_its_modalities():
    assert reader.corpus("mosi_bclstm, text + audio") is reader.CORPORA["mosi_bclstm"]
    assert reader.corpus("iemocap_mpnet, one vs rest") is reader.CORPORA["iemocap_mpnet, one vs rest"]
    with pytest.raises(KeyError):
        reader.corpus("nothing")


@pytest.mark.parametrize(
    "dataset, conditions",
    [
        ("mmimdb_subset", ["100_image_20_text", "20_image_100_text", "complex_10_45_45"]),
        ("iemocap, binary", ["rate(0.1)", "rate(0.5)"]),
        ("mosi_words", ["available(audio)", "available(text)"]),
    ],
)
def test_papers_average_over_these_conditions(dataset, conditions):
    others = ["complete", "100_image_100_text", "rate(0)", "available(text) then frames(0.5)", "available (text)"]
    rows = pd.DataFrame({"dataset": dataset, "condition": [*others, *reversed(conditions)]})
    assert reader.missing_conditions(rows, dataset) == conditions
