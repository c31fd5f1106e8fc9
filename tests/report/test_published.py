"""Published tables beside our rows: cells recomputed from the CSV files by hand, the set of tables, units, captions."""

import csv
import re
from collections import defaultdict
from functools import cache
from statistics import mean, stdev

import pandas as pd
import pytest

from mmlib import report, runs
from mmlib.report import published, rows
from mmlib.report.paper_metrics import relative_error
from mmlib.report.rows import CORPORA, mean_text, measured, printed_cells, sampled, unflagged
from mmlib.report.tables import FLAG, compare_table
from tests.helpers import results as made

NAN = float("nan")
PAPERS = ("simc", "umdf", "admc", "smcir")
SIX = [f"available({m})" for m in ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")]
HOLES = ["100_image_20_text", "20_image_100_text", "complex_10_45_45", "complex_20_40_40", "complex_30_35_35"]
FLAGGED = {("zero fill", "", 1): "limit", **{("UMDF", "w/o MCIM", seed): "at_prior" for seed in range(5)}}


def write(folder):
    """All data sets but three; one seed of zero fill and all seeds of an ablation have a flag."""
    for paper, datasets in published.DATASETS.items():
        for dataset in datasets:
            if (paper, dataset) not in (("simc", "sarcasm"), ("umdf", "mosi_mpnet"), ("admc", "iemocap")):
                made.write_study(folder, paper, dataset, FLAGGED)
    made.write_study(folder, "admc", "iemocap")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with made.read_from(tmp_path_factory.mktemp("rows"), write) as folder:
        yield folder


@cache
def lines(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def reported(paper):
    return lines(runs.ROOT / "data" / "reported" / f"{paper}.csv")


def by_seed(folder, paper, dataset, system, metric, conditions, flag=""):
    """Seed -> mean over the conditions, read without the project's code; SIM-C trained as tested."""
    found = defaultdict(list)
    for row in lines(folder / f"{paper}_{CORPORA[dataset].study}.csv"):
        key = row["dataset"], (row["method"], row["variant"]), row["metric"], row["flags"], row["role"]
        trained = paper != "simc" or row["protocol"] == row["condition"]
        if key == (dataset, system, metric, flag, "test") and row["condition"] in conditions and trained:
            found[int(row["seed"])].append(float(row["value"]))
    assert found and all(len(values) == len(conditions) for values in found.values())
    return {seed: mean(values) for seed, values in found.items()}


def text_of(values, digits):
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


@pytest.fixture(scope="module")
def tables(folder):
    return {key: compare_table(*key) for key in published.TABLES}


def frame(tables, key, *words):
    """The one frame of a table whose caption has these words."""
    found = [f for caption, f in tables[key] if all(w in caption for w in words)]
    assert len(found) == 1, [caption for caption, _ in tables[key]]
    return found[0]


# table, words of the caption, printed line, our line, column, as printed;
# data set, system, metric, condition, unit, digits
CELLS = [
    ("simc 1", ["subset.yaml", "cell accuracy, which"], "SIM-C", "SIM-C", "100_image_20_text", "0.93",
     "mmimdb_subset", ("SIM-C", ""), "cell_accuracy", "100_image_20_text", 1, 3),
    ("simc 3", ["genres.yaml"], "SIM-C", "SIM-C, two_stage", "complex_10_45_45", "0.57",
     "mmimdb_genres", ("SIM-C", "two_stage"), "f1_samples", "complex_10_45_45", 1, 3),
    ("umdf 1", ["umdf_mosi_words.yaml", "F1 in %"], "UMDF", "UMDF", "audio", "67.80",
     "mosi_words", ("UMDF", ""), "f1_non0", "available(audio)", 100, 1),
    ("umdf 1", ["umdf_mosi_words.yaml", "mean absolute error"], "UMDF", "UMDF", "audio", "1.056",
     "mosi_words", ("UMDF", ""), "mae", "available(audio)", 1, 3),
    ("umdf 2", ["problem happy"], "UMDF", "UMDF", "text", "82.4",
     "iemocap_mpnet, one vs rest", ("UMDF", ""), "f1_1", "available(text)", 100, 1),
    ("umdf 2", ["problem sad"], "UMDF", "UMDF", "complete", "86.5",
     "iemocap_mpnet, one vs rest", ("UMDF", ""), "f1_3", "complete", 100, 1),
    ("umdf 2", ["problem angry"], "UMDF", "UMDF", "audio", "67.0",
     "iemocap_mpnet, one vs rest", ("UMDF", ""), "f1_0", "available(audio)", 100, 1),
    ("umdf 2", ["problem neutral"], "UMDF", "UMDF", "audio", "53.2",
     "iemocap_mpnet, one vs rest", ("UMDF", ""), "f1_2", "available(audio)", 100, 1),
    ("umdf 3", ["umdf_mosi_bclstm.yaml"], "UMDF w/o DFIM", "UMDF, w/o DFIM", "audio, vision", "72.16",
     "mosi_bclstm", ("UMDF", "w/o DFIM"), "f1_non0", "available(audio, vision)", 100, 1),
    ("umdf 3", ["umdf_synthetic.yaml"], "UMDF", "UMDF", "complete", "83.36",
     "synthetic reviews", ("UMDF", ""), "f1_non0", "complete", 100, 1),
    ("admc 1", ["admc_iemocap.yaml", "UA in %"], "MMCR w/o ADN", "ADMC, w/o ADN", "text", "73.0",
     "iemocap", ("ADMC", "w/o ADN"), "ua", "available(text)", 100, 1),
    ("admc 1", ["admc_iemocap.yaml", "WA in %"], "MMCR", "ADMC", "audio", "59.2",
     "iemocap", ("ADMC", ""), "accuracy", "available(audio)", 100, 1),
    ("admc 2", ["admc_mintrec.yaml", "WA in %"], "MMCR", "ADMC", "text", "71.6",
     "mintrec_mpnet", ("ADMC", ""), "accuracy", "complete", 100, 1),
    ("admc 3", ["admc_iemocap_binary.yaml", "macro"], "ADMC", "ADMC", "rate(0.3)", "84.2",
     "iemocap, binary", ("ADMC", ""), "f1_macro", "rate(0.3)", 100, 1),
    ("admc 4", ["admc_iemocap.yaml", "Metric: UA"], "ADMC, n=50", "ADMC, probe, n=50", "audio -> text", "39.2",
     "iemocap", ("ADMC", "probe"), "ua", "audio -> text, n=50", 100, 1),
    ("admc 5", ["admc_iemocap.yaml"], "Jointly_training", "Jointly_training", "wa", "77.4",
     "iemocap", ("Jointly_training", ""), "accuracy", "complete", 100, 1),
    ("smcir 1", ["smcir_mosi_mpnet.yaml"], "SMCIR", "SMCIR, as printed", "f1_has0", "83.12",
     "mosi_mpnet", ("SMCIR", ""), "f1_has0", "complete", 100, 1),
    ("smcir 2", ["smcir_mosi_bclstm.yaml", "without neutral"], "SMCIR", "SMCIR, corrected", "text, vision", "84.12",
     "mosi_bclstm", ("SMCIR", "corrected"), "f1_non0", "available(text, vision)", 100, 1),
    ("smcir 3", ["smcir_mosi_mpnet.yaml"], "SMCIR w/o CMCG", "SMCIR, w/o CMCG", "mae", "0.723",
     "mosi_mpnet", ("SMCIR", "w/o CMCG"), "mae", "complete", 1, 3),
]  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c[0]}, {c[3]}, {c[4]}")
def test_a_cell_by_hand(folder, tables, cell):
    table, words, printed_line, our_line, column, as_printed, dataset, system, metric, condition, unit, digits = cell
    paper, number = table.split()
    values = [v * unit for v in by_seed(folder, paper, dataset, system, metric, [condition]).values()]
    shown = frame(tables, (paper, number), *words)[column]
    (kind,) = {k for name, k in shown.index if name == printed_line and k.startswith("published, ")}
    assert shown[printed_line, kind] == as_printed
    assert shown[our_line, "ours"] == text_of(values, digits)
    if CORPORA[dataset].is_published:
        assert shown[our_line, "difference"] == f"{mean(values) - float(as_printed):+.{digits}f}"
    else:  # numbers of other data sets are not subtracted
        assert (our_line, "difference") not in shown.index


# --- flags ---


def test_seeds_with_a_flag_are_a_line_of_their_own(folder, tables):
    shown = frame(tables, ("umdf", "1"), "umdf_mosi_words.yaml", "mean absolute error")["complete"]
    place = (folder, "umdf", "mosi_words", ("zero fill", ""), "mae", ["complete"])
    counted, flagged = by_seed(*place), by_seed(*place, flag="limit")
    assert sorted(counted) == [0, 2, 3, 4] and list(flagged) == [1]
    assert shown["zero fill", "ours"] == f"{text_of(counted.values(), 3)} (4 of 5)"
    assert shown["zero fill", f"{FLAG} limit"] == f"{flagged[1]:.3f} (1 of 5)"


def test_a_system_whose_seeds_all_have_a_flag_has_no_other_line(tables):
    shown = frame(tables, ("umdf", "3"), "umdf_mosi_words.yaml")
    kinds = [kind for name, kind in shown.index if name == "UMDF, w/o MCIM"]
    assert kinds == [f"{FLAG} at_prior"]
    (caption,) = [c for c, _ in tables["umdf", "3"] if "umdf_mosi_words.yaml" in c]
    assert FLAG in caption


def test_nothing_is_subtracted_where_a_seed_is_left_out(tmp_path):
    def flagged(folder):
        made.write_study(folder, "umdf", "mosi_words", {("UMDF", "", 3): "limit"})

    with made.read_from(tmp_path, flagged):
        shown = frame({("umdf", "1"): compare_table("umdf", "1")}, ("umdf", "1"), "umdf_mosi_words.yaml", "F1 in %")
    assert ("UMDF", "difference") not in shown.index and "(4 of 5)" in shown.loc[("UMDF", "ours"), "text"]
    assert "±" in shown.loc[("UMDF", "gain over UMDF, one view"), "complete"]  # of the other four seeds


# --- gains ---


def test_the_gains_stand_below_and_the_control_beside(folder, tables):
    shown = frame(tables, ("umdf", "1"), "umdf_mosi_bclstm.yaml", "F1 in %")
    assert [line for line in shown.index][:7] == [
        ("UMDF", "published, MOSI"), ("UMDF", "ours"), ("UMDF", "difference"), ("UMDF", "gain over UMDF, one view"),
        ("UMDF", "gain over zero fill"), ("UMDF", "gain over zero fill + modality dropout"),
        ("UMDF, one view", "ours, control"),
    ]  # fmt: skip
    own, control = (
        by_seed(folder, "umdf", "mosi_bclstm", ("UMDF", v), "f1_non0", SIX).values() for v in ("", "one view")
    )
    gains = [100 * (a - b) for a, b in zip(own, control)]
    half = 2.776 * stdev(gains) / 5**0.5  # Student's t with four degrees: this metric has no replicates
    assert shown.loc[("UMDF", "gain over UMDF, one view"), "average over missing"] == f"{mean(gains):+.1f} ± {half:.1f}"
    assert shown.loc[("UMDF", "gain over UMDF, one view"), "text"] == "–"  # one condition alone


def test_an_error_that_falls_is_a_gain_and_its_interval_counts_the_test_rows(folder, tables):
    shown = frame(tables, ("umdf", "1"), "umdf_mosi_bclstm.yaml", "mean absolute error")
    data = unflagged(measured("umdf", "mosi_bclstm"))
    own, control = (sampled(data, "mosi_bclstm", ("UMDF", v), "mae", SIX) for v in ("", "one view"))
    gain = report.paired(own, control, "mae")
    assert own[0].mean() < control[0].mean() and gain.mean > 0 and gain.by_rows > 0
    cell = shown.loc[("UMDF", "gain over UMDF, one view"), "average over missing"]
    assert cell == f"{gain.mean:+.3f} ± {gain.half:.3f}"


def test_every_method_that_imputes_has_its_gains(tables):
    for (paper, table), system in (
        (("simc", "1"), "SIM-C"), (("simc", "3"), "SIM-C, two_stage"), (("umdf", "2"), "UMDF"), (("admc", "1"), "ADMC"),
        (("admc", "5"), "MMER"), (("smcir", "1"), "SMCIR, corrected"), (("smcir", "3"), "SMCIR, as printed"),
    ):  # fmt: skip
        of_ours = [f for _, f in tables[paper, table] if isinstance(f.index, pd.MultiIndex)]
        assert of_ours
        for shown in of_ours:
            kinds = [kind for name, kind in shown.index if name == system and kind.startswith("gain over")]
            assert len(kinds) >= 2 and "gain over zero fill" in kinds, (paper, table, kinds)


# --- compared systems ---


def test_a_compared_system_stands_beside_its_printed_row(tmp_path):
    with made.read_from(tmp_path, lambda folder: made.write_peers(folder, "admc", "iemocap", {"MMIN": 0.5})):
        found = {("admc", "1"): compare_table("admc", "1")}
    shown = frame(found, ("admc", "1"), "compared_iemocap.yaml", "UA in %")
    printed = [r for r in reported("admc") if (r["table"], r["method"], r["metric"]) == ("1", "MMIN", "ua")]
    (as_printed,) = [r["value"] for r in printed if r["condition"] == "available(text)"]
    assert shown.loc[("MMIN", "published, IEMOCAP"), "text"] == as_printed
    assert shown.loc[("MMIN", "ours"), "text"] == "50.0 ± 0.0"
    assert shown.loc[("MMIN", "difference"), "text"] == f"{50 - float(as_printed):+.1f}"


@pytest.mark.parametrize("other", [{"features": "others, standardised"}, {"data": "another scaling"}])
def test_a_compared_system_on_other_features_is_not_shown(tmp_path, other):
    def write_other(folder):
        made.write_peers(folder, "admc", "iemocap", {"MMIN": 0.5}, **other)

    with made.read_from(tmp_path, write_other):
        shown = frame({("admc", "1"): compare_table("admc", "1")}, ("admc", "1"), "admc_iemocap.yaml", "UA in %")
    assert "ours" not in [kind for name, kind in shown.index if name == "MMIN"]


def test_compared_systems_in_simc_are_those_trained_as_tested(tmp_path):
    """PmcmFL with one client, too, which has a name of its own. Printed below the cell accuracy of no genre at all, they are
    compared in micro-F1."""
    with made.read_from(
        tmp_path, lambda folder: made.write_peers(folder, "simc", "mmimdb_subset", {"PmcmFL-central": 0.8})
    ):
        path = tmp_path / "data/results/compared_mmimdb_subset.csv"
        table = pd.read_csv(path)
        whole = table["condition"] == "complete"
        table.loc[whole, "value"] = 0.9
        table.loc[~whole & (table["protocol"] == "complete"), "value"] = 0.1
        table.loc[table["metric"] == "cell_accuracy", "value"] = 0.1
        table.to_csv(path, index=False)
        first, second = (
            frame({("simc", t): compare_table("simc", t)}, ("simc", t), "mmimdb_subset.yaml", "micro-F1")
            for t in ("1", "2")
        )
    own = ("PmcmFL-central", "ours")
    assert first.loc[own].tolist()[:6] == ["0.900 ± 0.000", *["0.800 ± 0.000"] * 5]
    assert "0.1" not in " ".join(first.loc[own])
    assert (second.loc[own] == "12.50 ± 0.00").all()  # 0.9 / 0.8 - 1


def test_where_the_others_are_printed_in_another_metric_they_have_a_table_of_their_own(folder, tables):
    """The baselines and the paper's method are in both, each in its metric."""
    own, others = (
        frame(tables, ("simc", "1"), "subset.yaml", words) for words in ("cell accuracy, which", "micro-F1, as")
    )
    assert ("SIM-C", "published, MM-IMDb") in own.index and ("SIM-C", "published, MM-IMDb") not in others.index
    assert ("PmcmFL", "published, best of the others") in others.index and "PmcmFL" not in own.index.get_level_values(0)
    for system, key in ((("SIM-C", ""), "SIM-C"), (("zero fill", ""), "zero fill")):
        for shown, metric in ((own, "cell_accuracy"), (others, "f1_micro")):
            values = by_seed(folder, "simc", "mmimdb_subset", system, metric, [HOLES[0]], "").values()
            assert shown.loc[(key, "ours"), HOLES[0]].startswith(text_of(values, 3))


def test_a_gain_is_not_over_a_row_that_another_metric_chose(tmp_path):
    """Text alone is chosen by the error; in F1, where it answers the constant under audio, it is no rival."""

    def chosen(folder):
        made.write_study(folder, "umdf", "mosi_words")
        path = folder / "umdf_mosi_words.csv"
        table = pd.read_csv(path)
        table.loc[table["role"] == "chosen", ["method", "variant"]] = "text alone", ""
        table.to_csv(path, index=False)

    with made.read_from(tmp_path, chosen):
        found = {("umdf", "1"): compare_table("umdf", "1")}
    kinds = {}
    for words in ("F1 in %", "mean absolute error"):
        index = frame(found, ("umdf", "1"), "umdf_mosi_words.yaml", words).index
        kinds[words] = [kind for name, kind in index if name == "UMDF" and kind.startswith("gain")]
    alone = "gain over text alone, the best trivial row on validation"
    assert alone in kinds["mean absolute error"] and alone not in kinds["F1 in %"]
    assert "gain over zero fill" in kinds["F1 in %"]


def test_gains_say_how_many_seeds_they_are_of_and_whether_test_rows_count(tmp_path):
    def flagged(folder):
        made.write_study(folder, "umdf", "mosi_words", {("UMDF", "one view", 3): "limit"})

    with made.read_from(tmp_path, flagged):
        found = {("umdf", "1"): compare_table("umdf", "1")}
        shown = frame(found, ("umdf", "1"), "umdf_mosi_words.yaml", "F1 in %")
        (caption,) = [c for c, _ in found["umdf", "1"] if "umdf_mosi_words.yaml" in c and "F1 in %" in c]
        (of_error,) = [c for c, _ in found["umdf", "1"] if "umdf_mosi_words.yaml" in c and "absolute error" in c]
    assert shown.loc[("UMDF", "gain over UMDF, one view"), "complete"].endswith(" (4 of 5)")
    assert "of" not in shown.loc[("UMDF", "gain over zero fill"), "complete"]
    assert "over seeds alone" in caption and "over seeds and test rows, positive" in of_error


# --- averages ---


def test_relative_errors_are_made_run_by_run(folder, tables):
    shown = frame(tables, ("simc", "2"), "subset.yaml", "the loss of cell accuracy")
    place = (folder, "simc", "mmimdb_subset", ("SIM-C", ""), "cell_accuracy")
    full, *lossy = (by_seed(*place, [c]) for c in ("100_image_100_text", *HOLES))
    errors = [[relative_error(full[seed], values[seed]) for seed in range(5)] for values in lossy]
    assert shown.loc[("SIM-C", "ours"), HOLES[0]] == text_of(errors[0], 2)
    assert errors[0][0] == pytest.approx(100 * (full[0] / lossy[0][0] - 1))
    assert shown.loc[("SIM-C", "difference"), HOLES[0]] == f"{mean(errors[0]) - 0.97:+.2f}"
    # A guess loses nothing in some runs: what is left is no mean of five.
    full, lossy = (by_seed(*place[:3], ("prior", ""), *place[4:], [c]) for c in ("100_image_100_text", HOLES[0]))
    defined = [e for e in (relative_error(full[s], lossy[s]) for s in range(5)) if e == e]
    assert len(defined) < 5 and shown.loc[("prior", "ours"), HOLES[0]] == mean_text(
        [*defined, *[NAN] * (5 - len(defined))], 2
    )


def test_averages_are_made_seed_by_seed_over_all_six_sets(folder, tables):
    values = [100 * v for v in by_seed(folder, "umdf", "mosi_bclstm", ("UMDF", ""), "f1_non0", SIX).values()]
    whole = frame(tables, ("umdf", "1"), "umdf_mosi_bclstm.yaml", "F1 in %")
    shown = whole["average over missing"]
    assert shown["UMDF", "published, MOSI"] == "75.56" and shown["UMDF", "ours"] == text_of(values, 1)
    assert shown["UMDF", "difference"] == f"{mean(values) - 75.56:+.1f}" and "mean of these sets" not in whole


def test_where_a_modality_is_not_there_both_sides_average_the_sets_they_share(folder, tables):
    shown = frame(tables, ("umdf", "1"), "umdf_mosi_words.yaml", "F1 in %")
    values = [100 * v for v in by_seed(folder, "umdf", "mosi_words", ("UMDF", ""), "f1_non0", SIX[:2]).values()]
    assert not {"average over missing", "vision"} & set(shown), "columns without a number of ours"
    (caption,) = [c for c, _ in tables["umdf", "1"] if "umdf_mosi_words.yaml" in c and "F1 in %" in c]
    assert "nothing under vision; text, audio; text, vision; audio, vision; average over missing." in caption
    column = shown["mean of these sets"]
    assert column["UMDF", "published, MOSI"] == f"{(82.92 + 67.80) / 2:.2f}"
    assert column["UMDF", "ours"] == text_of(values, 1)
    assert column["UMDF", "difference"] == f"{mean(values) - (82.92 + 67.80) / 2:+.1f}"


def test_the_folds_of_iemocap_are_one_data_set(folder, tables):
    values = [
        100 * float(row["value"]) for row in lines(folder / "admc_iemocap_folds.csv")
        if (row["method"], row["variant"], row["metric"], row["condition"], row["role"])
        == ("ADMC", "", "ua", "available(text)", "test")
    ]  # fmt: skip
    shown = frame(tables, ("admc", "1"), "admc_iemocap_folds.yaml", "UA in %")
    assert len(values) == 5 and shown.loc[("ADMC", "ours"), "text"] == text_of(values, 1)
    assert any("5 folds" in caption for caption, _ in tables["admc", "1"])


# --- the set of tables ---


def test_the_set_of_tables_is_complete():
    for paper in PAPERS:
        printed = reported(paper)
        assert {row["table"] for row in printed} == {t for p, t in published.TABLES if p == paper}
        for row in printed:
            spec = published.TABLES[paper, row["table"]]
            left_out = " ".join(name for name, _ in spec.not_run)
            assert row["dataset"] in spec.corpora.values() or row["dataset"] in left_out, row
            left = row["metric"].upper() in left_out.split()
            assert row["metric"] in {m.printed for m in spec.metrics} or left, row


def test_every_printed_ablation_has_its_line_and_every_variant_of_ours_a_place(monkeypatch):
    monkeypatch.setattr(rows, "ROOT", runs.ROOT)  # the committed rows
    own = {"simc": "SIM-C", "umdf": "UMDF", "admc": ("MMCR", "ADMC", "MMER", "Use_ITFN", "Jointly"), "smcir": "SMCIR"}
    for (paper, table), spec in published.TABLES.items():
        printed = {row["method"] for row in reported(paper) if row["table"] == table}
        named = {line.split(", n=")[0] for line in spec.lines} if table == "4" and paper == "admc" else set(spec.lines)
        assert {m for m in printed if m.startswith(own[paper])} <= named, (paper, table)
    for paper in PAPERS:
        specs = [spec for (p, _), spec in published.TABLES.items() if p == paper]
        placed = {s for spec in specs for systems in (*spec.lines.values(), spec.extra) for s in systems}
        placed |= {("ADMC", by) for by in ("head", "probe")} | set(published.CONTROLS.values())
        for method, variant in report.results(paper)[["method", "variant"]].drop_duplicates().itertuples(index=False):
            assert (method, variant) in placed or method in (*published.BASELINES, "oracle", "untrained detector"), (
                paper,
                method,
                variant,
            )


def test_every_data_set_has_a_study_and_every_one_with_rows_is_shown(monkeypatch):
    monkeypatch.setattr(rows, "ROOT", runs.ROOT)  # the committed rows
    for paper, datasets in published.DATASETS.items():
        shown = {d for (p, _), spec in published.TABLES.items() if p == paper for d in spec.corpora}
        assert shown <= set(datasets) <= set(CORPORA)
        assert set(report.results(paper)["dataset"]) <= set(datasets)
        for dataset in datasets:
            assert (runs.ROOT / "notebooks" / "studies" / f"{paper}_{CORPORA[dataset].study}.yaml").is_file(), dataset


def test_both_sides_of_a_column_are_in_one_unit(tables):
    """Fractions beside percentages would be apart by a factor of 100."""
    compared = 0
    for (paper, table), found in tables.items():
        for caption, shown in found:
            if "not run" in str(shown.iloc[0, 0]) or (paper, table) == ("simc", "2"):
                continue
            for column in shown:
                known = [(kind, float(v.split()[0])) for (_, kind), v in shown[column].items() if v != "–"]
                printed = [v for kind, v in known if kind.startswith("published, ")]
                ours = [v for kind, v in known if kind == "ours"]
                if printed and ours:
                    assert 0.2 < max(ours) / max(printed) < 5, (caption, column)
                    compared += 1
    assert compared > 100


def test_a_difference_stands_only_between_two_numbers(tables):
    for found in tables.values():
        for caption, shown in found:
            if isinstance(shown.index, pd.MultiIndex):
                assert shown.index.is_unique and not (shown == "").any().any(), caption
                for (name, kind), cells in shown.iterrows():
                    if kind == "difference":
                        ours = shown.loc[(name, "ours")]
                        assert ((cells == "–") | (ours != "–")).all(), caption
                        assert cells.str.fullmatch(r"–|[+-]\d+\.\d+").all(), caption
                    if kind.startswith("gain over"):
                        assert cells.str.fullmatch(r"–|[+-]\d+\.\d+ ± \d+\.\d+( \(\d of \d\))?").all(), caption


def test_numbers_of_other_data_are_not_subtracted(tables):
    shown = frame(tables, ("smcir", "1"), "smcir_mmmo.yaml")
    assert "difference" not in shown.index.get_level_values("values")
    assert shown.loc[("SMCIR, as printed", "ours"), "mae"] != "–"


def test_the_best_of_the_others_is_the_best_in_print(tables):
    kind = "published, best of the others"
    assert ("GCNet", kind) in frame(
        tables, ("umdf", "1"), "umdf_mosi_words.yaml", "absolute error"
    ).index  # least error
    assert ("RGM-LoRA", kind) in frame(tables, ("smcir", "1"), "smcir_mosi_mpnet.yaml").index
    assert ("M3Care", kind) in frame(tables, ("simc", "2"), "subset.yaml", "micro-F1").index  # least degradation
    assert ("PmcmFL", kind) in frame(tables, ("simc", "3"), "subset.yaml").index
    assert ("TATE", kind) in frame(tables, ("admc", "3"), "accuracy in %").index


def test_the_baselines_and_the_oracle_stand_at_the_end(folder, tables):
    shown = frame(tables, ("umdf", "1"), "umdf_synthetic.yaml", "F1 in %")
    names = [name for name, kind in shown.index if kind == "ours"]
    trivial = [
        "zero fill",
        "zero fill + modality dropout",
        "text alone",
        "audio alone",
        "vision alone",
        "prior",
        "coin",
    ]
    assert names[-8:] == [*trivial, "oracle"]
    values = by_seed(folder, "umdf", "synthetic reviews", ("oracle", ""), "f1_non0", ["available(audio)"]).values()
    assert shown.loc[("oracle", "ours"), "audio"] == text_of([100 * v for v in values], 1)


def test_captions_say_what_differs(tables):
    for key, found in tables.items():
        for caption, shown in found:
            if isinstance(shown.index, pd.MultiIndex):
                assert "mean ± standard deviation over 5" in caption and "difference" in caption, key
                assert "not a reproduction error alone" in caption or "no difference is taken" in caption, key
                (study,) = re.findall(r"notebooks/studies/\w+\.yaml", caption)
                assert (runs.ROOT / study).exists(), study


# --- what was not run ---


def test_what_was_not_run_says_why_in_one_line(tables):
    for key in (("umdf", "1"), ("smcir", "2")):
        (cell,) = [f for caption, f in tables[key] if caption.endswith("MOSEI")]
        assert cell.shape == (1, 1) and cell.iloc[0, 0].startswith("not run: ")
    (cell,) = [f for caption, f in tables["umdf", "1"] if caption.endswith(CORPORA["mosi_mpnet"].description)]
    assert cell.iloc[0, 0] == "not run: python -m mmlib.runs notebooks/studies/umdf_mosi_mpnet.yaml"
    (cell,) = [f for caption, f in tables["smcir", "5"] if "MOSEI" not in caption]  # its lines are in no study
    assert cell.iloc[0, 0] == "not run: no study of smcir measures it on synthetic reviews"


def test_without_any_row_every_table_names_its_commands(tmp_path):
    described = {corpus.description for corpus in CORPORA.values()}
    with made.read_from(tmp_path, made.nothing):
        for paper, table in published.TABLES:
            for _, shown in compare_table(paper, table):
                assert shown.shape == (1, 1) and shown.iloc[0, 0].startswith("not run: ")
                assert (
                    shown.iloc[0, 0].startswith("not run: python -m mmlib.runs ") or shown.columns[0] not in described
                )
            report.show_table(paper, table)
        page = report.summary()
    assert len(page) == sum(map(len, published.DATASETS.values()))
    assert page["ours"].str.startswith("not run: python -m mmlib.runs notebooks/studies/").all()
    assert (page["difference"] == "–").all()


def test_lines_that_a_study_lacks_are_named(tables):
    (caption,) = [caption for caption, _ in tables["admc", "4"] if "synthetic" in caption and "UA" in caption]
    assert "Not run" not in caption  # n = 30, 50, 80 are all there
    (caption,) = [caption for caption, _ in tables["smcir", "3"] if "mmmo" in caption]
    assert "Not run" not in caption


def test_a_notebook_shows_each_frame_below_its_caption_and_a_name_once(tables, monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda *shown: outputs.extend(s.data for s in shown))
    report.show_table("umdf", "1")
    captions, frames = zip(*((c, f) for c, f in tables["umdf", "1"] if "values" in f.index.names))
    tables_shown = [output for output in outputs if output.startswith("| system")]
    assert [output for output in outputs if output in captions] == list(captions) and len(tables_shown) == len(frames)
    names = [line.split(" | ")[0].removeprefix("|").strip() for line in tables_shown[0].splitlines()[2:]]
    printed = ["" if kind == "difference" or kind.startswith("gain") else name for name, kind in frames[0].index]
    assert names == printed and outputs[-1].startswith("UMDF Table 1, MOSEI: not run: ")


@pytest.mark.parametrize(
    ("values", "text"),
    [([0.5], "0.50"), ([], "–"), ([NAN], "–"), ([1, 2, NAN], "1.50 ± 0.71 (2 of 3)"), ([-0.001], "0.00")],
)
def test_mean_text(values, text):
    assert mean_text(values, 2) == text


def test_printed_takes_the_printed_average_for_all_sets_and_the_cells_for_some():
    place = ("umdf", "1", "MOSI", "UMDF", ["f1"])
    assert printed_cells(*place, SIX).tolist() == [75.56]
    assert printed_cells(*place, SIX[:2]).tolist() == [82.92, 67.80]
    with pytest.raises(KeyError):
        printed_cells(*place, ["rate(0.5)"])


# --- the summary ---


@pytest.fixture(scope="module")
def summary(folder):
    return report.summary().set_index(["paper", "data and features"])


def line(summary, paper, dataset):
    (found,) = [
        row for (p, what), row in summary.iterrows() if p == paper and what.startswith(CORPORA[dataset].description)
    ]
    return found


def test_summary_by_hand(folder, summary):
    found, data = line(summary, "UMDF", "mosi_words"), (folder, "umdf", "mosi_words")
    missing = by_seed(*data, ("UMDF", ""), "mae", SIX[:2]).values()
    complete = by_seed(*data, ("UMDF", ""), "mae", ["complete"]).values()
    assert found["metric"] == "mae" and found["test"] == "missing (2)<br>complete"
    assert found["published"] == f"{(0.832 + 1.056) / 2:.3f} (MOSI)<br>0.782 (MOSI)"
    assert found["ours"] == f"{text_of(missing, 3)}<br>{text_of(complete, 3)}"
    assert found["difference"] == f"{mean(missing) - 0.944:+.3f}<br>{mean(complete) - 0.782:+.3f}"
    rows_of = unflagged(measured("umdf", "mosi_words"))
    pair = [sampled(rows_of, "mosi_words", ("UMDF", v), "mae", SIX[:2]) for v in ("", "one view")]
    gain = report.paired(*pair, "mae")
    assert found["gain over the control"].startswith(f"{gain.mean:+.3f} ± {gain.half:.3f}, UMDF one view<br>")
    assert found["gain over the best trivial row"].count("zero fill + modality dropout") == 2 and found["oracle"] == "–"


def test_summary_of_several_metrics_and_tables(folder, summary):
    emotions = by_seed(folder, "umdf", "iemocap_mpnet, one vs rest", ("UMDF", ""), "f1_mean", SIX[:2]).values()
    found = line(summary, "UMDF", "iemocap_mpnet, one vs rest")
    printed = (82.4 + 68.6 + 81.2 + 70.7 + 81.6 + 67.0 + 64.3 + 53.2) / 8
    assert found["published"].startswith(f"{printed:.2f} (IEMOCAP)") and found["metric"] == "f1_mean, %"
    assert found["difference"].startswith(f"{100 * mean(emotions) - printed:+.1f}<br>")
    assert line(summary, "ADMC", "iemocap")["published"] == "67.85 (IEMOCAP)<br>79.5 (IEMOCAP)"  # Tables 1 and 5
    assert line(summary, "ADMC", "mintrec_mpnet")["test"] == "missing (1)"


def test_summary_subtracts_nothing_beside_other_clips_and_marks_flags(folder, summary, tmp_path):
    synthetic = summary.index.get_level_values(1).str.contains("synthetic")
    other = summary[synthetic | summary.index.get_level_values(1).str.contains("film reviews")]
    assert (other["published"] == "–").all() and (other["difference"] == "–").all()
    assert (summary.loc[synthetic, "oracle"] != "–").all() and (summary.loc[~synthetic, "oracle"] == "–").all()
    assert not summary["ours"].str.contains(FLAG).any()  # no seed of a paper's method has a flag

    def flagged(folder):
        made.write_study(folder, "admc", "avdigits", {("ADMC", "", 3): "below_part"})

    with made.read_from(tmp_path, flagged):
        found = line(report.summary().set_index(["paper", "data and features"]), "ADMC", "avdigits")
    assert found["ours"].count(FLAG) == 2


def test_rows_names_file_and_data_set_where_there_are_none():
    with pytest.raises(KeyError, match="no rows on 'mosei'"):
        rows.measured("umdf", "mosei")
