"""The page of verdicts follows from the tables: change the numbers and the verdict changes."""

import re
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch

from mmlib import metrics, report
from mmlib.models.smcir import detector, system
from mmlib.models.yardsticks import oracle
from mmlib.report import claims, intervals, paper_metrics
from mmlib.report.claims import admc, verdicts
from mmlib.report.claims.page import CLAIMS
from mmlib.report.claims.verdicts import FAILS, FAILS_HERE, HOLDS, HOLDS_HERE, MEASURED_ANEW, UNCHECKED, UNDECIDED
from mmlib.report.published import TITLES
from mmlib.report.rows import (
    CORPORA,
    MissingRows,
    fold_ratio,
    grid,
    main_metric,
    missing_conditions,
    reported,
    results,
    score,
)

# What each paper has: numbers of tables, figures and equations, headings.
PARTS = {
    "SIM-C": (3, 1, 0, {"Abstract", *(f"Section {n}" for n in range(1, 6))}),
    "UMDF": (
        3, 6, 11,
        {"Abstract", "Introduction", "Related Work", "Methodology", "Experiments", "Implementation Details",
         "Comparison with State-of-the-Art Methods", "Ablation Studies", "Qualitative Analysis", "Conclusion"},
    ),
    "ADMC": (
        5, 3, 7,
        {"Abstract", *(f"Section {n}" for n in range(1, 7)),
         *(f"Section {n}.{k}" for n, last in ((2, 2), (3, 3), (4, 3), (5, 7)) for k in range(1, last + 1))},
    ),
    "SMCIR": (
        5, 3, 29,
        {"Abstract", "Introduction", "Related Work", "Methodology", "Dynamic Multi-feature Fusion Detector",
         "Context-aware Multi-modal Completion Generator", "Loss Function", "Experiment", "Implementation Details",
         "Comparison to State-of-the-art Methods", "Ablation Study", "Conclusion"},
    ),
}  # fmt: skip

# A word of each claim that the page must have.
ASKED = {
    "SIM-C": ("next to nothing is lost", "F-micro", "align with real"),
    "UMDF": ("robust under all six", "L_fea", "L_logits", "MCIM", "DFIM", "strongest modality", "missing performance falls",
             "framework significantly improves"),
    "ADMC": ("n = 50 is best", "reduce coupling", "ADN generates help", "two modalities are missing", "MMER", "WA as defined"),
    "SMCIR": ("per sample", "Low entropy", "(HMS)", "is the missing rate", "recovers the missing modality", "DMFD helps",
              "MSSE helps", "CMCG is essential", "{L}, {L, A} and {L, V}"),
}  # fmt: skip


PERCENTAGES = ["acc2_has0", "acc2_non0", "f1_has0", "f1_non0"]


@pytest.fixture(scope="module")
def page():
    return claims.page()


@pytest.fixture(scope="module")
def tables():
    """paper -> (our rows, printed numbers)."""
    return {title: (results(name), reported(name)) for name, title in TITLES.items()}


def the(paper, part):
    (claim,) = [claim for title, claim in claims_of_all() if title == paper and part in claim.text]
    return claim


def claims_of_all():
    """(title of the paper, claim)"""
    return [(TITLES[name], claim) for name, of_paper in CLAIMS.items() for claim in of_paper]


def changed(rows, where, value):
    """A copy with `value` (a number, or a function of the values) in the rows chosen by column -> value or values."""
    rows = rows.copy()
    chosen = pd.Series(True, index=rows.index)
    for column, wanted in where.items():
        chosen &= rows[column].isin([wanted] if isinstance(wanted, str) else wanted)
    assert chosen.any(), where
    rows.loc[chosen, "value"] = value(rows.loc[chosen, "value"]) if callable(value) else value
    return rows


def lifted(rows, where, step):
    """A copy with the chosen rows better by `step`, worse if it is negative."""
    rows = rows.copy()
    rows["step"] = rows["metric"].map(lambda m: -step if m == "mae" else step)
    return changed(rows, where, lambda v: v + rows.loc[v.index, "step"]).drop(columns="step")


# --- the page ---


def test_every_line_is_whole(page):
    assert list(page.columns) == ["paper", "claim", "where", "verdict", "evidence"]
    assert 22 <= len(page) <= 32 and set(page["paper"]) == set(TITLES.values())
    assert set(page["verdict"]) <= set(verdicts.VERDICTS) and len(verdicts.VERDICTS) == 7
    assert page["claim"].is_unique and page["evidence"].is_unique
    for line in page.itertuples():
        assert len(line.evidence) <= 320 and re.search(r"\d", line.evidence) and "nan" not in line.evidence, line
        if line.verdict in (HOLDS_HERE, FAILS_HERE, UNDECIDED):
            assert "5 seeds" in line.evidence and re.search("mosi|iemocap|mmmo|mmimdb", line.evidence), line
        if line.verdict == UNCHECKED:
            assert "Missing: " in line.evidence


def test_the_page_has_the_claims_that_matter():
    for paper, parts in ASKED.items():
        for part in parts:
            the(paper, part)


def test_where_exists_in_the_paper():
    for title, claim in claims_of_all():
        tables, figures, equations, headings = PARTS[title]
        known = headings | {f"Table {n}" for n in range(1, tables + 1)} | {f"Figure {n}" for n in range(1, figures + 1)}
        known |= {f"Equation {n}" for n in range(1, equations + 1)}
        assert set(claim.where.split("; ")) <= known, claim.where


def test_one_paper_alone_and_an_unknown_one(page):
    one = claims.page("SMCIR")
    pd.testing.assert_frame_equal(one, page[page["paper"] == "SMCIR"].reset_index(drop=True))
    pd.testing.assert_frame_equal(one, claims.page("smcir"))
    with pytest.raises(ValueError, match="no paper 'MulT'; the papers are simc, umdf, admc, smcir"):
        claims.page("MulT")


def test_the_verdicts_of_a_paper_are_a_table_for_a_notebook(page):
    lines = report.verdicts("umdf").data.splitlines()
    assert lines[0] == "| claim | where | verdict | evidence |"
    first = page[page["paper"] == "UMDF"].iloc[0]
    assert len(lines) == 2 + 9 and lines[2].startswith(f"| {first['claim']} | {first['where']} | {first['verdict']} |")


# --- the helpers, by hand ---


def seeds(*values):
    return pd.Series(values, index=pd.Index(range(len(values)), name="seed"))


def test_a_paired_difference_by_hand():
    d = intervals.paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua")  # differences .1, .2, .3
    assert d.mean == pytest.approx(0.2) and d.deviation == pytest.approx(0.1) and d.seeds == 3
    assert d.half == pytest.approx(4.302653 * 0.1 / 3**0.5)  # t with 2 degrees of freedom
    assert d.side == 0 and str(d) == "+20.0 ± 24.8 points of ua"
    assert intervals.paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua", 0.9).side == 1  # 2.919986 * .0577 = .169


def test_folds_share_training_rows():
    d = intervals.paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua", ratio=1 / 3)
    assert d.mean == pytest.approx(0.2) and d.half == pytest.approx(4.302653 * 0.1 * (1 / 3 + 1 / 3) ** 0.5)


def test_what_was_tested_on_folds_says_so(page):
    assert [name for name in CORPORA if fold_ratio("smcir", name)] == ["mmmo"] and not fold_ratio("umdf", "mmmo")
    for line in page.itertuples():
        assert line.evidence.count("mmmo") == line.evidence.count("mmmo (folds)"), line


def test_smaller_errors_are_better():
    d = intervals.paired(seeds(1.0, 1.1), seeds(1.5, 1.6), "mae")
    assert d.mean == pytest.approx(0.5) and d.side == 1 and str(d) == "+0.500 ± 0.000 mae"
    assert intervals.paired(seeds(1.0, 1.1), seeds(1.5, 1.6), "corr").side == -1
    assert intervals.paired(seeds(1.0, 1.0), seeds(1.0, 1.0), "mae").side == 0


def test_pairs_go_by_seed_and_not_by_place():
    a, b = seeds(0.1, 0.5, 0.9), seeds(0.0, 0.4, 0.8)
    assert intervals.paired(a, b.iloc[::-1], "ua").deviation == pytest.approx(0)
    with pytest.raises(ValueError, match=r"cannot pair seeds \[0, 1, 2\] with seeds \[0, 1\]"):
        intervals.paired(a, b.iloc[:2], "ua")
    with pytest.raises(ValueError, match="an interval needs two seeds, got 1"):
        intervals.paired(a.iloc[:1], 0.5, "ua")


def test_one_number_stands_for_all_seeds():
    assert intervals.paired(seeds(0.6, 0.8), 0.5, "diagnosis_f1").mean == pytest.approx(0.2)


@pytest.mark.parametrize(
    "sides, verdict",
    [([1], HOLDS_HERE), ([1, 0, 0], HOLDS_HERE), ([-1, 0], FAILS_HERE), ([0, 0], UNDECIDED), ([1, -1, 0], UNDECIDED)],
)
def test_the_vote(sides, verdict):
    assert verdicts.vote(sides) == verdict
    said = verdicts.ballot(sides, "numbers")
    assert said.verdict == verdict
    reasons = {(0, 0): "; no interval is clear of 0", (1, -1, 0): "; the data sets disagree"}
    assert said.evidence == "numbers" + reasons.get(tuple(sides), "")


def test_the_best_beats_all_and_one_better_rival_is_enough():
    first, low, high = seeds(0.50, 0.52, 0.51), seeds(0.30, 0.31, 0.32), seeds(0.70, 0.73, 0.71)
    assert intervals.best(first, {"low": low}, "ua")[0] == 1
    assert intervals.best(first, {"low": low, "itself": first}, "ua")[0] == 0
    assert intervals.best(first, {"low": low, "high": high}, "ua")[0] == -1
    # Differences .1, .2, .3, as above: with two rivals each interval is at 97.5 %, t = 6.205347.
    side, found = intervals.best(seeds(0.4, 0.5, 0.9), {k: seeds(0.3, 0.3, 0.6) for k in "ab"}, "ua")
    assert side == 0 and found["a"].half == pytest.approx(6.205347 * 0.1 / 3**0.5)


def rows(**changes):
    base = {"paper": "admc", "dataset": "iemocap", "method": "ADMC", "variant": "", "metric": "ua"}
    cells = [("available(text)", 0, 0.5), ("available(text)", 1, 0.6), ("available(audio)", 0, 0.3),
             ("available(audio)", 1, 0.2), ("available(text) then frames(0.5)", 0, 0.1), ("complete", 0, 0.7),
             ("complete", 1, 0.8)]  # fmt: skip
    return pd.DataFrame([{**base, "condition": c, "seed": s, "value": v, **changes} for c, s, v in cells])


def test_scores_are_means_over_conditions_by_seed():
    both = missing_conditions(rows(), "iemocap")
    assert both == ["available(audio)", "available(text)"]  # not what only begins so
    found = score(rows(), "iemocap", ("ADMC", ""), "ua", both)
    assert found.to_dict() == pytest.approx({0: 0.4, 1: 0.4})
    assert main_metric(rows(), "iemocap") == "ua"
    assert main_metric(pd.concat([rows(), rows(metric="f1_mean", dataset="other")]), "other") == "f1_mean"


@pytest.mark.parametrize(
    "system, condition, dataset",
    [(("ADMC", "w/o ADN"), "complete", "iemocap"), (("MMER", ""), "complete", "iemocap"), (("ADMC", ""), "complete", "mosi"),
     (("ADMC", ""), "rate(0.1)", "iemocap"), (("ADMC", ""), "available(text) then frames(0.5)", "iemocap")],
)  # fmt: skip
def test_absent_rows_are_named(system, condition, dataset):
    """The last has one of two seeds."""
    named = f"admc lacks ua of '{system[0]}', variant '{system[1]}', under '{condition}' on '{dataset}'"
    with pytest.raises(MissingRows, match=re.escape(named)):
        score(rows(), dataset, system, "ua", ["complete", condition] if "then" in condition else [condition])


def test_a_judge_without_its_rows_says_which(tables):
    ours, printed = tables["ADMC"]
    lost = ours.query("not (variant == 'w/o ADN' and dataset == 'mosi_bclstm' and condition == 'available(audio)')")
    named = "mae of 'ADMC', variant 'w/o ADN', under 'available(audio)' on 'mosi_bclstm'"
    with pytest.raises(MissingRows, match=re.escape(named)):
        the("ADMC", "ADN generates help").judge(lost, printed)
    with pytest.raises(MissingRows, match="under 'available"):  # a data set that is gone altogether
        the("ADMC", "reduce coupling").judge(ours[ours["dataset"] != "iemocap"], printed)
    with pytest.raises(MissingRows, match="admc lacks wa of table 4 on 'IEMOCAP'"):
        the("ADMC", "by themselves").judge(ours, printed[printed["table"] != "4"])


def test_a_printed_table_keeps_its_order(tables):
    table = grid(tables["SIM-C"][1], "3", "MM-IMDb", "f1_samples")
    assert list(table.index) == ["ShaSpec", "M3Care", "PmcmFL", "SIM-C"] and table.columns[0] == "100_image_100_text"
    assert table.loc["PmcmFL", "complex_30_35_35"] == 0.54


# --- verdicts follow our rows ---

COMPARED = [(t, c) for t, c in claims_of_all() if isinstance(c.judge, partial) and c.judge.func is verdicts.gains]


@pytest.mark.parametrize("paper, claim", COMPARED, ids=lambda value: getattr(value, "text", value)[:20])
def test_comparisons_follow_the_rows(paper, claim, tables):
    ours, printed = tables[paper]
    own = dict(zip(("method", "variant"), claim.judge.keywords["a"]))
    assert claim.judge(lifted(ours, own, 10), printed).verdict == HOLDS_HERE
    assert claim.judge(lifted(ours, own, -10), printed).verdict == FAILS_HERE


def test_swapped_variants_turn_a_verdict_round(tables):
    ours, printed = tables["ADMC"]
    claim = the("ADMC", "reduce coupling")
    swapped = ours.assign(variant=ours["variant"].replace({"": "w/o ITFN", "w/o ITFN": ""}))
    swapped = swapped[~((swapped["variant"] == "w/o ITFN") & (swapped["method"] != "ADMC"))]
    assert {claim.judge(ours, printed).verdict, claim.judge(swapped, printed).verdict} == {HOLDS_HERE, FAILS_HERE}


def test_synthetic_clips_have_no_vote(tables):
    ours, printed = tables["ADMC"]
    claim = the("ADMC", "ADN generates help")
    raised = lifted(ours, {"dataset": "synthetic iemocap", "method": "ADMC", "variant": ""}, 10)
    assert claim.judge(raised, printed).verdict == claim.judge(ours, printed).verdict
    assert claim.judge(raised, printed).evidence != claim.judge(ours, printed).evidence


def test_data_sets_that_disagree_leave_a_claim_undecided(tables):
    ours, printed = tables["ADMC"]
    own = {"method": "ADMC", "variant": ""}
    ours = lifted(lifted(ours, {**own, "dataset": "iemocap"}, 10), {**own, "dataset": "mosi_bclstm"}, -10)
    said = the("ADMC", "ADN generates help").judge(ours, printed)
    assert said.verdict == UNDECIDED and said.evidence.endswith("; the data sets disagree")


def test_what_is_measured_anew_says_what_and_why(page):
    lines = page[page["verdict"] == MEASURED_ANEW]
    assert list(lines["claim"]) == [the("SIM-C", "Zeros in place").text]
    (evidence,) = lines["evidence"]
    assert "is being measured anew" in evidence and "because" in evidence and ". " not in evidence


def test_parts_of_umdf_are_not_judged_on_one_frame(page):
    lines = page[page["evidence"].str.contains("1 frame per modality")]
    assert len(lines) == 4 and set(lines["verdict"]) == {UNCHECKED}
    for part, evidence in zip(("L_fea", "L_logits", "MCIM", "DFIM"), lines["evidence"], strict=True):
        assert evidence.endswith(f"Missing: UMDF w/o {part} on real sequences")


def test_language_loses_to_one_stronger_modality(tables):
    ours, printed = tables["UMDF"]
    claim = the("UMDF", "strongest modality")
    own = {"method": "UMDF", "variant": ""}
    vision = {**own, "condition": "available(vision)", "dataset": "mosi_bclstm"}
    assert claim.judge(ours, printed).verdict == HOLDS_HERE
    assert claim.judge(lifted(ours, vision, 10), printed).verdict == UNDECIDED  # the other data sets are for it
    assert claim.judge(lifted(ours, {**own, "condition": "available(text)"}, -10), printed).verdict == FAILS_HERE


def test_a_steady_network_falls_slowly(tables):
    ours, printed = tables["UMDF"]
    claim = the("UMDF", "missing performance falls")
    whole = {"method": "UMDF", "variant": "", "condition": "frames(0)"}
    assert claim.judge(lifted(ours, whole, -10), printed).verdict == HOLDS_HERE
    assert claim.judge(lifted(ours, whole, 10), printed).verdict == FAILS_HERE


@pytest.mark.parametrize("condition", ["complete", "available(text)"])
def test_training_on_complete_data_is_judged_with_and_without_holes(tables, condition):
    ours, printed = tables["UMDF"]
    claim = the("UMDF", "framework significantly improves")
    rival = {"method": "UMDF", "variant": "complete rows only"}
    every = lifted(ours, rival, -10)
    assert claim.judge(every, printed).verdict == HOLDS_HERE
    assert claim.judge(lifted(every, {**rival, "condition": condition}, 100), printed).verdict == UNDECIDED


def test_two_missing_modalities(tables):
    ours, printed = tables["ADMC"]
    claim = the("ADMC", "two modalities are missing")
    alone = {"method": "ADMC", "variant": "", "condition": [f"available({m})" for m in ("text", "audio", "vision")]}
    assert claim.judge(lifted(ours, alone, 1), printed).verdict == HOLDS_HERE
    assert claim.judge(lifted(ours, alone, -1), printed).verdict == FAILS_HERE


def test_the_start_step(tables):
    ours, printed = tables["ADMC"]
    claim = the("ADMC", "n = 50 is best")
    at_50 = {"variant": "probe", "condition": [c for c in ours["condition"].unique() if c.endswith(", n=50")]}
    assert claim.judge(changed(ours, at_50, lambda v: v + 1), printed).verdict == HOLDS_HERE
    # Of the paper's own steps one that is better is enough.
    at_30 = {"variant": "probe", "dataset": "iemocap", "condition": ["audio -> text, n=30", "text -> audio, n=30"]}
    risen = changed(changed(ours, at_50, lambda v: v + 1), at_30, lambda v: v + 10)
    assert claim.judge(risen, printed).verdict == UNDECIDED  # mosi_bclstm is for it


def test_a_detector_that_finds_everything(tables):
    ours, printed = tables["SMCIR"]
    claim = the("SMCIR", "per sample")
    f1 = {"method": "SMCIR", "variant": "", "metric": ["diagnosis_f1_audio", "diagnosis_f1_vision"]}
    assert claim.judge(ours, printed).verdict == FAILS_HERE
    assert claim.judge(changed(ours, f1, 1.0), printed).verdict == HOLDS_HERE
    assert claim.judge(changed(ours, f1, 0.5), printed).verdict == UNDECIDED  # a coin


def test_shares_that_rise_by_all_or_by_a_little(tables):
    ours, printed = tables["SMCIR"]
    claim = the("SMCIR", "is the missing rate")
    share = {"method": "SMCIR", "variant": "", "metric": ["diagnosed_audio", "diagnosed_vision"]}
    for gone, verdict in ((0.9, HOLDS_HERE), (0.3, FAILS_HERE), (0.5, UNDECIDED)):
        ours_ = changed(
            changed(ours, {**share, "condition": "complete"}, 0.0), {**share, "condition": "available(text)"}, gone
        )
        assert claim.judge(ours_, printed).verdict == verdict


# --- verdicts follow the printed tables ---


def test_no_degradation_in_table_3(tables):
    ours, printed = tables["SIM-C"]
    claim = the("SIM-C", "next to nothing is lost")
    own = {"table": "3", "method": "SIM-C"}
    assert claim.judge(ours, printed).verdict == FAILS
    assert claim.judge(ours, changed(printed, own, 0.64)).verdict == HOLDS
    assert claim.judge(ours, changed(printed, {**own, "condition": "complex_10_45_45"}, 0.638)).verdict == FAILS


def test_f_micro_would_hold_on_a_scale_whose_floor_is_below_the_rivals(tables):
    ours, printed = tables["SIM-C"]
    claim = the("SIM-C", "F-micro is")
    rivals = {"table": "1", "method": ["ShaSpec", "M3Care", "PmcmFL"]}
    assert claim.judge(ours, printed).verdict == FAILS
    assert claim.judge(ours, changed(printed, rivals, 0.92)).verdict == HOLDS
    assert claim.judge(ours, changed(printed, rivals, 0.95)).verdict == FAILS


def test_f_micro_would_hold_if_it_were_a_micro_f1(tables, monkeypatch):
    monkeypatch.setattr(paper_metrics, "flattened_f1_micro", lambda logits, target: metrics.score(
        "multilabel", logits, target)["f1_micro"])  # fmt: skip
    assert the("SIM-C", "F-micro is").judge(*tables["SIM-C"]).verdict == HOLDS


@pytest.mark.parametrize(
    "paper, part, where, better, worse",
    [
        ("SIM-C", "F-samples", {"table": "3", "method": "PmcmFL", "condition": "complex_20_40_40"}, 0.49, 0.58),
        ("SIM-C", "F-samples", {"table": "3", "method": "PmcmFL", "condition": "100_image_100_text"}, 0.65, 0.63),
        ("ADMC", "in every scenario", {"table": ["1", "2"], "method": "MMCR"}, 100, 10),
        ("ADMC", "by themselves", {"table": "4"}, 70, 40),
        ("SMCIR", "full-modal", {"table": "1", "method": "SMCIR", "metric": PERCENTAGES}, 99, 80),
    ],
)
def test_claims_about_tables_follow_them(tables, paper, part, where, better, worse):
    ours, printed = tables[paper]
    good = UNCHECKED if part == "F-samples" else HOLDS  # where the rivals would have to be built
    assert the(paper, part).judge(ours, changed(printed, where, better)).verdict == good
    assert the(paper, part).judge(ours, changed(printed, where, worse)).verdict == FAILS


def test_one_column_is_enough_to_be_behind(tables):
    ours, printed = tables["UMDF"]
    claim = the("UMDF", "outperforms MCTN")
    complete = {"table": ["1", "2"], "condition": "complete"}
    first = changed(
        changed(printed, {**complete, "method": "UMDF"}, 99), {**complete, "method": "UMDF", "metric": "mae"}, 0.2
    )
    assert claim.judge(ours, printed).verdict == FAILS
    assert claim.judge(ours, first).verdict == HOLDS
    assert claim.judge(ours, changed(first, {**complete, "method": "GCNet", "metric": "mae"}, 0.1)).verdict == FAILS
    assert claim.judge(ours, changed(first, {**complete, "method": "Self-MM"}, 100)).verdict == HOLDS  # not of the four


def test_a_borrowed_row_stands_in_the_way(tables):
    ours, printed = tables["SMCIR"]
    claim = the("SMCIR", "{L}, {L, A}")
    table = {"table": "2", "dataset": "MOSI", "condition": "available(text)"}
    assert claim.judge(ours, printed).verdict == UNCHECKED
    assert claim.judge(ours, changed(printed, {**table, "method": "SMIL"}, 78.0)).verdict == HOLDS
    assert claim.judge(ours, changed(printed, {**table, "method": "SMCIR"}, 70.0)).verdict == FAILS


def test_indicators_go_by_our_rows_once_the_table_agrees(tables):
    ours, printed = tables["SMCIR"]
    claim = the("SMCIR", "(HMS)")
    agreed = changed(printed, {"table": "4", "method": "SMCIR, H", "metric": ["acc2_has0", "f1_has0"]}, 80.0)
    assert claim.judge(ours, printed).verdict == FAILS
    own = {"method": "SMCIR", "variant": "", "metric": "mae", "condition": "complete", "dataset": "mmmo"}
    assert claim.judge(changed(ours, own, lambda v: v - 10), agreed).verdict == HOLDS_HERE
    assert claim.judge(changed(ours, own, lambda v: v + 10), agreed).verdict == FAILS_HERE
    one = {**own, "variant": "MS"}
    assert claim.judge(changed(ours, one, lambda v: v - 10), agreed).verdict == FAILS_HERE


# --- verdicts follow the equations ---


def test_an_entropy_that_is_low_for_zeros(tables, monkeypatch):
    claim = the("SMCIR", "Low entropy")
    assert claim.judge(*tables["SMCIR"]).verdict == FAILS
    monkeypatch.setattr(detector, "norm_entropy", lambda P: detector.histogram_entropy(P.flatten(1)))
    assert claim.judge(*tables["SMCIR"]).verdict == HOLDS


def test_a_loss_that_tells_shuffled_features(tables, monkeypatch):
    claim, loss = the("SMCIR", "recovers"), system.reconstruction_loss
    assert claim.judge(*tables["SMCIR"]).verdict == FAILS
    monkeypatch.setattr(system, "reconstruction_loss", lambda real, made, kind: loss(real, made, "mse"))
    assert claim.judge(*tables["SMCIR"]).verdict == HOLDS


def test_an_accuracy_that_is_a_share(tables, monkeypatch):
    claim = the("ADMC", "WA as defined")
    right, size = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 4.0])
    assert paper_metrics.equation_7(right, size, torch.tensor([2.0, 1.0])) == pytest.approx(10 / 6)
    assert claim.judge(*tables["ADMC"]).verdict == FAILS
    monkeypatch.setattr(admc, "equation_7", lambda right, size, w: float((w * right).sum() / (w.sum() * size.sum())))
    assert claim.judge(*tables["ADMC"]).verdict == HOLDS


def test_an_imputation_that_would_mix(tables, monkeypatch):
    """If the best imputation were as spread out as the real texts."""
    claim, complete = the("SIM-C", "align with real"), oracle.Oracle.complete
    assert claim.judge(*tables["SIM-C"]).verdict == FAILS
    monkeypatch.setattr(oracle.Oracle, "complete", lambda self, batch: {
        m: replace(found, mean=3 * found.mean) for m, found in complete(self, batch).items()})  # fmt: skip
    assert claim.judge(*tables["SIM-C"]).verdict == HOLDS


def test_what_the_general_arguments_compute(page):
    """By hand: 1 - 64570 / (25959 * 27); ln 50; 32 / 9; mean recall of (2/3, 1, 1/2, 1)."""
    evidence = page.set_index("claim")["evidence"]
    assert "0.908" in evidence[the("SIM-C", "F-micro is").text]
    assert "ln 50 = 3.912" in evidence[the("SMCIR", "Low entropy").text]
    wa = evidence[the("ADMC", "WA as defined").text]
    assert "3.56 (equal weights), 3.67 (1 / N_i)" in wa and "0.889" in wa and "0.778" in wa and "0.792" in wa
