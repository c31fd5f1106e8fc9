"""Published tables beside our rows: cells recomputed from the CSV files by hand, the set of tables, units, captions."""

import csv
import re
from collections import defaultdict
from functools import cache
from statistics import mean, stdev

import pandas as pd
import pytest

from mmlib import report, runs
from mmlib.report import published
from mmlib.report.paper_metrics import relative_error
from mmlib.report.rows import mean_text, measured, printed_cells
from mmlib.report.summary import SUMMARY
from mmlib.report.summary import summary as summary_rows
from mmlib.report.tables import compare_table

NAN = float("nan")
PAPERS = ("simc", "umdf", "admc", "smcir")
SIX = [f"available({m})" for m in ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")]
HOLES = ["100_image_20_text", "20_image_100_text", "complex_10_45_45", "complex_20_40_40", "complex_30_35_35"]


@cache
def lines(kind, paper):
    with open(runs.ROOT / "data" / kind / f"{paper}.csv", newline="") as file:
        return list(csv.DictReader(file))


def by_seed(paper, dataset, system, metric, conditions):
    """Seed -> mean over the conditions, as committed."""
    found = defaultdict(list)
    for row in lines("results", paper):
        key = row["dataset"], (row["method"], row["variant"]), row["metric"]
        if key == (dataset, system, metric) and row["condition"] in conditions:
            found[int(row["seed"])].append(float(row["value"]))
    assert found and all(len(values) == len(conditions) for values in found.values())
    return {seed: mean(values) for seed, values in found.items()}


def text_of(values, digits):
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


@pytest.fixture(scope="module")
def tables():
    return {key: compare_table(*key) for key in published.TABLES}


def frame(tables, key, *words):
    """The one frame of a table whose caption has these words."""
    found = [f for caption, f in tables[key] if all(w in caption for w in words)]
    assert len(found) == 1, [caption for caption, _ in tables[key]]
    return found[0]


# table, words of the caption, printed line, our line, column, as printed;
# data set, system, metric, condition, unit, digits
CELLS = [
    ("simc 1", ["F-micro"], "SIM-C", "SIM-C, paper, joint, lr 5e-05", "100_image_20_text", "0.93",
     "mmimdb_subset", ("SIM-C", "paper, joint, lr 5e-05"), "cell_accuracy", "100_image_20_text", 1, 3),
    ("simc 3", ["F-samples"], "SIM-C", "SIM-C, paper, two_stage, lr 0.0002", "complex_10_45_45", "0.57",
     "mmimdb_subset", ("SIM-C", "paper, two_stage, lr 0.0002"), "f1_samples", "complex_10_45_45", 1, 3),
    ("umdf 1", ["umdf_mosi.yaml", "F1 in %"], "UMDF", "UMDF", "audio", "67.80",
     "mosi", ("UMDF", ""), "f1_non0", "available(audio)", 100, 1),
    ("umdf 1", ["umdf_mosi.yaml", "mean absolute error"], "UMDF", "UMDF", "audio", "1.056",
     "mosi", ("UMDF", ""), "mae", "available(audio)", 1, 3),
    ("umdf 2", ["problem happy"], "UMDF", "UMDF", "text", "82.4",
     "iemocap", ("UMDF", ""), "f1_1", "available(text)", 100, 1),
    ("umdf 2", ["problem sad"], "UMDF", "UMDF", "complete", "86.5",
     "iemocap", ("UMDF", ""), "f1_3", "complete", 100, 1),
    ("umdf 2", ["problem angry"], "UMDF", "UMDF", "audio", "67.0",
     "iemocap", ("UMDF", ""), "f1_0", "available(audio)", 100, 1),
    ("umdf 2", ["problem neutral"], "UMDF", "UMDF", "audio", "53.2",
     "iemocap", ("UMDF", ""), "f1_2", "available(audio)", 100, 1),
    ("umdf 3", ["umdf_mosi_bclstm.yaml"], "UMDF w/o DFIM", "UMDF, w/o DFIM", "audio, vision", "72.16",
     "mosi_bclstm", ("UMDF", "w/o DFIM"), "f1_non0", "available(audio, vision)", 100, 1),
    ("umdf 3", ["umdf_synthetic.yaml"], "UMDF", "UMDF", "complete", "83.36",
     "synthetic mosi", ("UMDF", ""), "f1_non0", "complete", 100, 1),
    ("admc 1", ["admc_iemocap.yaml", "UA in %"], "MMCR w/o ADN", "ADMC, w/o ADN", "text", "73.0",
     "iemocap", ("ADMC", "w/o ADN"), "ua", "available(text)", 100, 1),
    ("admc 1", ["admc_iemocap.yaml", "WA in %"], "MMCR", "ADMC, official", "audio", "59.2",
     "iemocap", ("ADMC", "official"), "accuracy", "available(audio)", 100, 1),
    ("admc 2", ["admc_mintrec.yaml", "WA in %"], "MMCR", "ADMC", "text", "71.6",
     "mintrec_text", ("ADMC", ""), "accuracy", "complete", 100, 1),
    ("admc 3", ["admc_iemocap_binary.yaml", "Metric: accuracy"], "ADMC", "ADMC", "rate(0.3)", "85.8",
     "iemocap, binary", ("ADMC", ""), "accuracy", "rate(0.3)", 100, 1),
    ("admc 4", ["admc_iemocap.yaml", "Metric: UA"], "ADMC, n=50", "ADMC, probe, n=50", "audio -> text", "39.2",
     "iemocap", ("ADMC", "probe"), "ua", "audio -> text, n=50", 100, 1),
    ("admc 5", ["admc_iemocap.yaml"], "Jointly_training", "Jointly_training", "wa", "77.4",
     "iemocap", ("Jointly_training", ""), "accuracy", "complete", 100, 1),
    ("smcir 1", ["smcir_mosi.yaml"], "SMCIR", "SMCIR, as printed", "f1_has0", "83.12",
     "mosi", ("SMCIR", ""), "f1_has0", "complete", 100, 1),
    ("smcir 2", ["smcir_mosi_bclstm.yaml", "without neutral"], "SMCIR", "SMCIR, corrected", "text, vision", "84.12",
     "mosi_bclstm", ("SMCIR", "corrected"), "f1_non0", "available(text, vision)", 100, 1),
    ("smcir 2", ["smcir_mosi_bclstm.yaml", "against the rest"], "SMCIR", "SMCIR, as printed", "complete", "84.36",
     "mosi_bclstm", ("SMCIR", ""), "f1_has0", "complete", 100, 1),
    ("smcir 3", ["smcir_mosi.yaml"], "SMCIR w/o CMCG", "SMCIR, w/o CMCG", "mae", "0.723",
     "mosi", ("SMCIR", "w/o CMCG"), "mae", "complete", 1, 3),
    ("smcir 4", ["smcir_synthetic.yaml"], "SMCIR, HM", "SMCIR, HM", "corr", "0.772",
     "synthetic mosi", ("SMCIR", "HM"), "corr", "complete", 1, 3),
    ("smcir 5", ["smcir_mosi_bclstm.yaml"], "SMCIR, DMFD on audio", "SMCIR, DMFD on audio", "acc2_non0", "84.43",
     "mosi_bclstm", ("SMCIR", "DMFD on audio"), "acc2_non0", "complete", 100, 1),
]  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c[0]}, {c[3]}, {c[4]}")
def test_a_cell_by_hand(tables, cell):
    table, words, printed_line, our_line, column, as_printed, dataset, system, metric, condition, unit, digits = cell
    paper, number = table.split()
    values = [v * unit for v in by_seed(paper, dataset, system, metric, [condition]).values()]
    shown = frame(tables, (paper, number), *words)[column]
    (kind,) = {k for name, k in shown.index if name == printed_line and k.startswith("published, ")}
    assert shown[printed_line, kind] == as_printed
    assert shown[our_line, "ours"] == text_of(values, digits)
    assert shown[our_line, "difference"] == f"{mean(values) - float(as_printed):+.{digits}f}"


def test_every_table_has_a_cell_by_hand():
    assert {cell[0] for cell in CELLS} | {"simc 2"} == {f"{paper} {table}" for paper, table in published.TABLES}


def test_relative_errors_are_made_run_by_run(tables):
    system, shown = ("SIM-C", "paper, joint, lr 5e-05"), frame(tables, ("simc", "2"), "relative error")
    full, *lossy = (
        by_seed("simc", "mmimdb_subset", system, "cell_accuracy", [c]) for c in ("100_image_100_text", *HOLES)
    )
    errors = [[relative_error(full[seed], values[seed]) for seed in range(5)] for values in lossy]
    name = "SIM-C, paper, joint, lr 5e-05"
    assert shown.loc[(name, "ours"), HOLES[0]] == text_of(errors[0], 2)
    assert shown.loc[(name, "difference"), HOLES[0]] == f"{mean(errors[0]) - 0.97:+.2f}"
    # (F_full - F_missing) / F_missing, in %
    assert errors[0][0] == pytest.approx(100 * (full[0] / lossy[0][0] - 1))
    # With text there some runs lose nothing: what is left is no mean of five, and nothing is subtracted from it.
    defined = [e for e in errors[1] if e == e]
    assert 1 < len(defined) < 5
    assert shown.loc[(name, "ours"), HOLES[1]] == f"{text_of(defined, 2)} ({len(defined)} of 5)"
    assert shown.loc[(name, "difference"), HOLES[1]] == "–"
    averages = [mean(run) for run in zip(*errors) if all(e == e for e in run)]
    average = f"{text_of(averages, 2)} ({len(averages)} of 5)"
    assert shown.loc[(name, "ours"), "average over missing"] == average


def test_averages_are_made_seed_by_seed_over_all_six_sets(tables):
    values = [100 * v for v in by_seed("umdf", "mosi_bclstm", ("UMDF", ""), "f1_non0", SIX).values()]
    shown = frame(tables, ("umdf", "1"), "umdf_mosi_bclstm.yaml", "F1 in %")["average over missing"]
    assert shown["UMDF", "published, MOSI"] == "75.56" and shown["UMDF", "ours"] == text_of(values, 1)
    assert shown["UMDF", "difference"] == f"{mean(values) - 75.56:+.1f}"
    assert "average over shared" not in frame(tables, ("umdf", "1"), "umdf_mosi_bclstm.yaml", "F1 in %")


def test_where_a_modality_is_not_there_both_sides_average_the_sets_they_share(tables):
    shown = frame(tables, ("umdf", "1"), "umdf_mosi.yaml", "F1 in %")
    values = [100 * v for v in by_seed("umdf", "mosi", ("UMDF", ""), "f1_non0", SIX[:2]).values()]
    assert list(shown.loc[("UMDF", "ours"), ["average over missing", "vision"]]) == ["–", "–"]
    column = shown["average over shared"]
    assert column["UMDF", "published, MOSI"] == f"{(82.92 + 67.80) / 2:.2f}"
    assert column["UMDF", "ours"] == text_of(values, 1)
    assert column["UMDF", "difference"] == f"{mean(values) - (82.92 + 67.80) / 2:+.1f}"


def test_the_folds_of_iemocap_are_one_data_set(tables):
    folds = [by_seed("admc", f"iemocap, fold {k}", ("ADMC", ""), "ua", ["available(text)"])[0] for k in range(1, 6)]
    shown = frame(tables, ("admc", "1"), "admc_iemocap_folds.yaml", "UA in %")
    assert shown.loc[("ADMC", "ours"), "text"] == text_of([100 * v for v in folds], 1)
    assert any("5 folds" in caption for caption, _ in tables["admc", "1"])


def test_the_set_of_tables_is_complete():
    for paper in PAPERS:
        printed = lines("reported", paper)
        assert {row["table"] for row in printed} == {t for p, t in published.TABLES if p == paper}
        for row in printed:
            spec = published.TABLES[paper, row["table"]]
            left_out = " ".join(name for name, _ in spec.not_run)
            assert row["dataset"] in spec.corpora.values() or row["dataset"] in left_out, row
            left = row["metric"].upper() in left_out.split()
            assert row["metric"] in {m.printed for m in spec.metrics} or left, row


def test_every_printed_ablation_has_its_line_and_every_variant_of_ours_a_place():
    own = {"simc": "SIM-C", "umdf": "UMDF", "admc": ("MMCR", "ADMC", "MMER", "Use_ITFN", "Jointly"), "smcir": "SMCIR"}
    for (paper, table), spec in published.TABLES.items():
        printed = {row["method"] for row in lines("reported", paper) if row["table"] == table}
        named = {line.split(", n=")[0] for line in spec.lines} if table == "4" and paper == "admc" else set(spec.lines)
        assert {m for m in printed if m.startswith(own[paper])} <= named, (paper, table)
    for paper in PAPERS:
        specs = [spec for (p, _), spec in published.TABLES.items() if p == paper]
        placed = {s for spec in specs for systems in (*spec.lines.values(), spec.extra) for s in systems}
        placed |= {("ADMC", by) for by in ("head", "probe")}
        for row in lines("results", paper):
            if row["condition"] != "patterns, validation split":
                system = row["method"], row["variant"]
                assert system in placed or row["method"] in (*published.BASELINES, "oracle"), (paper, system)


def test_every_data_set_of_ours_is_shown():
    for paper in PAPERS:
        shown = {d for (p, _), spec in published.TABLES.items() if p == paper for d in spec.corpora}
        ours = {re.sub(r"fold \d", "folds", row["dataset"]) for row in lines("results", paper)}
        summed = {line.dataset for line in SUMMARY if line.paper == paper}
        assert summed == ours and shown <= ours
        # The one that stands beside no table: sentiment of MOSI, which ADMC does not publish.
        assert ours - shown == ({"mosi_bclstm"} if paper == "admc" else set())


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
                    assert 0.3 < max(ours) / max(printed) < 3, (caption, column)
                    compared += 1
    assert compared > 150


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


def test_errors_in_other_units_are_not_subtracted(tables):
    shown = frame(tables, ("smcir", "1"), "smcir_mmmo.yaml")
    assert shown.loc[("SMCIR, as printed", "difference"), "mae"] == "–"
    assert shown.loc[("SMCIR, as printed", "difference"), "corr"] != "–"
    assert shown.loc[("SMCIR, as printed", "ours"), "mae"] != "–"


def test_the_best_of_the_others_is_the_best_in_print(tables):
    kind = "published, best of the others"
    assert ("GCNet", kind) in frame(tables, ("umdf", "1"), "umdf_mosi.yaml", "mean absolute error").index  # least error
    assert ("RGM-LoRA", kind) in frame(tables, ("smcir", "1"), "smcir_mosi.yaml").index
    assert ("M3Care", kind) in frame(tables, ("simc", "2"), "relative error").index  # least degradation
    assert ("PmcmFL", kind) in frame(tables, ("simc", "3"), "F-samples").index
    assert ("TATE", kind) in frame(tables, ("admc", "3"), "accuracy").index


def test_the_baselines_and_the_oracle_stand_at_the_end(tables):
    shown = frame(tables, ("umdf", "1"), "umdf_synthetic.yaml", "F1 in %")
    names = [name for name, kind in shown.index if kind == "ours"]
    assert names[-5:] == ["zero fill", "zero fill + modality dropout", "best single modality", "prior", "oracle"]
    values = by_seed("umdf", "synthetic mosi", ("oracle", ""), "f1_non0", ["available(audio)"]).values()
    assert shown.loc[("oracle", "ours"), "audio"] == text_of([100 * v for v in values], 1)


def test_captions_say_what_differs(tables):
    for key, found in tables.items():
        for caption, shown in found:
            if isinstance(shown.index, pd.MultiIndex):
                assert "mean ± standard deviation over 5" in caption and "difference" in caption, key
                assert "not a reproduction error alone" in caption or "compares data sets" in caption, key
                (study,) = re.findall(r"notebooks/studies/\w+\.yaml", caption)
                assert (runs.ROOT / study).exists(), study


def test_what_was_not_run_says_why_in_one_line(tables):
    for key in (("umdf", "1"), ("smcir", "2")):
        (cell,) = [f for caption, f in tables[key] if caption.endswith("MOSEI")]
        assert cell.shape == (1, 1) and cell.iloc[0, 0].startswith("not run: ")


def test_a_notebook_shows_each_frame_below_its_caption_and_a_name_once(tables, monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda output: outputs.append(output.data))
    report.show_table("umdf", "1")
    captions, frames = zip(*tables["umdf", "1"])
    assert outputs[::2] == list(captions)
    names = [line.split(" | ")[0].removeprefix("| ") for line in outputs[1].splitlines()[2:]]
    printed = [name if kind != "difference" else "" for name, kind in frames[0].index]
    assert names == printed and outputs[-1].splitlines()[2].startswith("| not run: ")


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


def test_rows_names_file_and_data_set_where_there_are_none():
    with pytest.raises(KeyError, match=r"data/results/umdf\.csv has no rows on 'mosei'"):
        measured("umdf", "mosei")


@pytest.fixture(scope="module")
def summary():
    return summary_rows()


def line(summary, paper, word):
    (found,) = [row for _, row in summary.iterrows() if row["paper"] == paper and word in row["data and features"]]
    return found


def test_summary_by_hand(summary):
    found, data = line(summary, "UMDF", "no video<br>MiniLM-L6 tokens"), ("umdf", "mosi")
    missing = [100 * v for v in by_seed(*data, ("UMDF", ""), "f1_non0", SIX[:2]).values()]
    complete = [100 * v for v in by_seed(*data, ("UMDF", ""), "f1_non0", ["complete"]).values()]
    assert found["test"] == "missing (2)<br>complete" and found["published"] == "75.36 (MOSI)<br>83.36 (MOSI)"
    assert found["ours"] == f"{text_of(missing, 1)}<br>{text_of(complete, 1)}"
    assert found["difference"] == f"{mean(missing) - 75.36:+.1f}<br>{mean(complete) - 83.36:+.1f}"
    zero = [100 * v for v in by_seed(*data, ("zero fill", ""), "f1_non0", SIX[:2]).values()]
    assert found["best baseline"].startswith(f"{text_of(zero, 1)}, zero fill<br>") and found["oracle"] == "–"


def test_summary_of_several_metrics_and_tables(summary):
    emotions = [100 * v for v in by_seed("umdf", "iemocap", ("UMDF", ""), "f1_mean", SIX[:2]).values()]
    found = line(summary, "UMDF", "IEMOCAP")
    printed = (82.4 + 68.6 + 81.2 + 70.7 + 81.6 + 67.0 + 64.3 + 53.2) / 8
    assert found["published"].startswith(f"{printed:.2f} (IEMOCAP)")
    assert found["difference"].startswith(f"{mean(emotions) - printed:+.1f}<br>")
    assert line(summary, "ADMC", "session 5")["published"] == "67.85 (IEMOCAP)<br>79.5 (IEMOCAP)"  # Tables 1 and 5
    rates = mean([87.4, 86.3, 85.8, 84.0, 82.7])
    assert line(summary, "ADMC", "two classes")["published"] == f"{rates:.2f} (IEMOCAP)<br>87.6 (IEMOCAP)"
    assert line(summary, "SIM-C", "MM-IMDb")["published"] == "0.58 (MM-IMDb)<br>0.64 (MM-IMDb)"


def test_summary_subtracts_nothing_beside_other_clips(summary):
    other = summary[summary["data and features"].str.contains("synthetic|film reviews")]
    assert len(other) == 5 and (other["published"] == "–").all() and (other["difference"] == "–").all()
    synthetic = summary["data and features"].str.contains("synthetic")
    assert (summary.loc[synthetic, "oracle"] != "–").all() and (summary.loc[~synthetic, "oracle"] == "–").all()


def test_no_baseline_is_above_the_best(summary):
    dropout = summary["zero fill + modality dropout"].str.split("<br>").explode().str.split().str[0].astype(float)
    best = summary["best baseline"].str.split("<br>").explode().str.split().str[0].astype(float)
    assert len(summary) == 16 and (best.to_numpy() >= dropout.to_numpy()).all()
