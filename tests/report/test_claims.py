"""The page of verdicts follows from the tables: change the numbers and the verdict changes."""

import math
import re
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib import metrics, report
from mmlib.models.smcir import detector, system
from mmlib.models.yardsticks import oracle
from mmlib.report import claims, needs, paper_metrics
from mmlib.report.claims import admc, simc, verdicts
from mmlib.report.claims.page import CLAIMS
from mmlib.report.claims.verdicts import (
    FAILS,
    FAILS_HERE,
    HOLDS,
    HOLDS_HERE,
    NO_LARGER,
    UNCHECKED,
    UNDECIDABLE,
    Claim,
    Measured,
)
from mmlib.report.headroom import has_vote as real_headroom
from mmlib.report.intervals import Difference
from mmlib.report.published import DROPOUT, FRAME_DROPOUT, TITLES
from mmlib.report.rows import COLUMNS, CORPORA, MissingRows, grid, missing_conditions, reported, score

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
    "SIM-C": ("next to nothing is lost", "F-micro", "makes up for it", "align with real", "they are faithful"),
    "UMDF": ("robust under all six", "between two views", "L_fea", "L_logits", "MCIM", "DFIM", "strongest modality",
             "missing performance falls",
             "framework significantly improves"),
    "ADMC": ("on average, by", "in every scenario", "n = 50 is best", "reduce coupling", "ADN generates help",
             "two modalities are missing", "MMER", "WA as defined"),
    "SMCIR": ("per sample", "Low entropy", "(HMS)", "is the missing rate", "recovers the missing modality", "DMFD helps",
              "MSSE helps", "CMCG is essential", "{L}, {L, A} and {L, V}"),
}  # fmt: skip


PERCENTAGES = ["acc2_has0", "acc2_non0", "f1_has0", "f1_non0"]
NAMES = {title: name for name, title in TITLES.items()}


@pytest.fixture(autouse=True)
def headroom(monkeypatch):
    """Data without trivial rows have it, too."""
    monkeypatch.setattr(needs, "has_vote", lambda rows, dataset, conditions: (True, ""))


@pytest.fixture(scope="module")
def page():
    return claims.page()


@pytest.fixture(scope="module")
def tables():
    """paper -> printed numbers."""
    return {title: reported(name) for name, title in TITLES.items()}


def the(paper, part):
    (claim,) = [claim for title, claim in claims_of_all() if title == paper and part in claim.text]
    return claim


def claims_of_all():
    """(title of the paper, claim)"""
    return [(TITLES[name], claim) for name, of_paper in CLAIMS.items() for claim in of_paper]


def judged(paper, part, ours=None, printed=None):
    name = NAMES[paper]
    ours = pd.DataFrame(columns=list(COLUMNS)) if ours is None else ours
    return the(paper, part).judged(name, ours, reported(name) if printed is None else printed)


def changed(rows, where, value):
    """A copy with `value` (a number, or a function of the values) in the rows chosen by column -> value or values."""
    rows = rows.copy()
    chosen = pd.Series(True, index=rows.index)
    for column, wanted in where.items():
        chosen &= rows[column].isin([wanted] if isinstance(wanted, str) else wanted)
    assert chosen.any(), where
    rows.loc[chosen, "value"] = value(rows.loc[chosen, "value"]) if callable(value) else value
    return rows


def made(paper, dataset, systems, conditions, metric=None, noise=0.001, seeds=5, **labels):
    """Rows of systems, (method, variant) -> value under every condition; their seeds differ by multiples of `noise`."""
    metric = metric or ("mae" if "mosi" in dataset or dataset in ("mmmo", "synthetic reviews") else "ua")
    lines = [
        {"paper": paper, "dataset": dataset, "method": method, "variant": variant, "condition": condition, "metric": metric,
         "seed": seed, "value": value + noise * ((seed * (i + 1)) % 5 - 2), "role": "test", "flags": "", "protocol": "p",
         "study": "", "line": 0, **labels}
        for i, ((method, variant), value) in enumerate(systems.items()) for condition in conditions for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS))


SETS = ("available(text)", "available(audio)")


def of_claim(claim, gain, noise=0.001, datasets=None):
    """Rows in which the system of a comparison is better than its rivals by `gain`, in the unit of the metric."""
    asked = claim.judge.keywords
    frames = []
    for dataset in datasets or asked["datasets"]:
        sign = -1 if (probe := made("x", dataset, {("m", ""): 0.0}, ["c"]))["metric"].eq("mae").all() else 1
        assert len(probe)
        systems = {asked["a"]: 0.5 + sign * gain, **dict.fromkeys(asked["rivals"], 0.5), ("zero fill", ""): 0.5}
        conditions = [*SETS, "complete", *verdicts.RATES]
        frames.append(made(paper_of(claim), dataset, systems, conditions, noise=noise))
    return pd.concat(frames, ignore_index=True)


def paper_of(claim):
    return next(name for name, of_paper in CLAIMS.items() if claim in of_paper)


# --- the page ---


def test_every_line_is_whole(page):
    assert list(page.columns) == ["paper", "claim", "where", "needs", "verdict", "evidence"]
    assert 26 <= len(page) <= 40 and set(page["paper"]) == set(TITLES.values())
    assert set(page["verdict"]) <= set(verdicts.VERDICTS) and len(verdicts.VERDICTS) == 7
    assert page["claim"].is_unique
    for line in page.itertuples():
        assert re.search(r"\d|Missing", line.evidence) and "nan" not in line.evidence, line
        if line.verdict in (HOLDS_HERE, FAILS_HERE, NO_LARGER, UNDECIDABLE) and "t-SNE" not in line.claim:
            assert "seeds)" in line.evidence, line
        if line.verdict == UNCHECKED:
            assert "Missing: " in line.evidence or "No vote: " in line.evidence
        if line.verdict == UNDECIDABLE:
            assert re.search("would|takes more than|disagree", line.evidence), line


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


def test_one_paper_alone_and_an_unknown_one(page, monkeypatch):
    monkeypatch.undo()  # the page was made with the headroom that the data have
    one = claims.page("SMCIR")
    pd.testing.assert_frame_equal(one, page[page["paper"] == "SMCIR"].reset_index(drop=True))
    pd.testing.assert_frame_equal(one, claims.page("smcir"))
    with pytest.raises(ValueError, match="no paper 'MulT'; the papers are simc, umdf, admc, smcir"):
        claims.page("MulT")


def test_the_verdicts_of_a_paper_are_a_table_for_a_notebook(page):
    lines = report.verdicts("umdf").data.splitlines()
    assert lines[0] == "| claim | where | needs | verdict | evidence |"
    first = page[page["paper"] == "UMDF"].iloc[0]
    assert len(lines) == 2 + 10 and lines[2].startswith(f"| {first['claim']} | {first['where']} | {first['needs']} |")


# --- what one data set says ---


def difference(mean, half, metric="ua", **changes):
    """Five seeds; the rows have a fifth of the variance unless they are given."""
    return Difference(metric, mean, half / 1.4, 5, half, **{"by_rows": half / 5, **changes})


@pytest.mark.parametrize(
    "gains, side, small",
    [
        ((0.03, 0.02), 1, False),
        ((-0.03, 0.02), -1, False),
        ((0.002, 0.005), 0, True),
        ((0.002, 0.02), 0, False),
        ((-0.004, 0.012), 0, False),  # -1.6 to +0.8
    ],
)
def test_a_difference_is_clear_small_or_open(gains, side, small):
    found = Measured({"b": difference(*gains)})
    assert (found.side, found.is_small) == (side, small)


def test_one_better_rival_is_enough_and_all_must_be_worse():
    low, high, level = difference(0.03, 0.01), difference(-0.03, 0.01), difference(0, 0.01)
    sides = [Measured(dict(zip("ab", pair))).side for pair in ((low, low), (low, high), (low, level))]
    assert sides == [1, -1, 0]


def test_small_is_what_the_paper_prints_or_the_margin():
    """The IEMOCAP numbers of the first measurement: -0.4 ± 1.2 points where 1.7 are printed."""
    found = Measured({"b": difference(-0.004, 0.012)}, published=0.017)
    assert found.is_small and str(found) == (
        "-0.4 ± 1.2 points of ua [none larger than 1.7 points; published effect excluded: +1.7 points]"
    )
    assert not Measured({"b": difference(0.01, 0.012)}, published=0.017).is_small
    assert "published effect possible: +1.7" in str(Measured({"b": difference(0.01, 0.012)}, published=0.017))
    mae = Measured({"b": difference(-0.002, 0.019, "mae")}, published=0.027)
    assert mae.is_small and "none larger than 0.027; published effect excluded: +0.027" in str(mae)


def test_an_effect_that_is_printed_in_another_metric_does_not_set_the_margin():
    found = Measured({"b": difference(0, 0.015, "mae")}, published=0.021, check=difference(0.001, 0.008, "f1_non0"))
    assert "none larger than 0.020" in str(found)
    assert "published effect excluded: +2.1 points of f1_non0, ours +0.1 ± 0.8 points of f1_non0" in str(found)


def test_what_is_open_says_what_is_excluded_and_what_would_decide():
    found = str(Measured({"b": difference(0.005, 0.02, by_rows=0.001)}))
    # t * sqrt(1.43^2 / 40 + 0.1^2) = 0.5: half of the 1.0 points that matter.
    assert "none larger than 2.5 points; 40 seeds would decide 1.0 points" in found
    found = str(Measured({"b": difference(0.005, 0.02, by_rows=0.008)}))
    # 1.96 * 0.8 points against a half-width of 0.5: (1.568 / 0.5)^2.
    assert "1.0 points is not decided by seeds alone, 9.8 times the test rows would" in found
    assert "takes more than folds" in str(Measured({"b": difference(0.005, 0.02, by_rows=np.nan, ratio=1 / 3)}))


# --- several data sets ---

DATASETS = ("iemocap", "avdigits")
LEVEL, OPEN, FOR, AGAINST = (0.001, 0.004), (0.005, 0.02), (0.03, 0.01), (-0.03, 0.01)


def polled(*found, needs=(), **labels):
    case = verdicts.Case("admc", made("admc", "iemocap", {}, []), None, made("admc", "iemocap", {}, []), needs)
    numbers = dict(zip(labels.get("datasets", DATASETS), found))
    return verdicts.poll(
        case, "Gain", tuple(numbers), lambda dataset, scope, conditions: Measured({"b": difference(*numbers[dataset])}),
        {"missing": lambda rows, dataset: SETS},
    )  # fmt: skip


@pytest.mark.parametrize(
    "found, verdict",
    [((FOR, OPEN), HOLDS_HERE), ((FOR, LEVEL), HOLDS_HERE), ((AGAINST, OPEN), FAILS_HERE), ((LEVEL, LEVEL), NO_LARGER),
     ((LEVEL, OPEN), UNDECIDABLE), ((FOR, AGAINST), UNDECIDABLE)],
)  # fmt: skip
def test_the_verdict_of_two_data_sets(found, verdict):
    said = polled(*found)
    assert said.verdict == verdict
    assert said.evidence.startswith("Gain (95 %, 5 seeds): iemocap ") and "; avdigits " in said.evidence
    assert said.evidence.endswith("The data sets disagree") == (found == (FOR, AGAINST))


def test_a_verdict_of_synthetic_data_alone_says_so():
    both = ("iemocap", "synthetic iemocap")
    assert polled(OPEN, FOR, datasets=both).evidence.endswith("On synthetic data alone")
    assert not polled(FOR, FOR, datasets=both).evidence.endswith("alone")


def test_who_lacks_what_is_needed_has_no_vote():
    need = needs.Need("an even name", lambda rows, dataset, _: "odd" if dataset == "avdigits" else "")
    said = polled(OPEN, FOR, needs=(need,))
    assert said.verdict == UNDECIDABLE
    assert said.evidence.endswith("No vote: avdigits +3.0 ± 1.0 points of ua (odd)")
    nobody = needs.Need("more", lambda rows, dataset, _: "too few")
    assert polled(FOR, FOR, needs=(nobody,)).verdict == UNCHECKED


@pytest.mark.parametrize(
    "need, lacking",
    [(needs.FRAMES, {"mosi_bclstm", "iemocap", "iemocap_mpnet", "sarcasm", "synthetic iemocap"}),
     (needs.JUDGED_FRAMES, {"mosi_bclstm", "mosi_mpnet", "mosi_words", "iemocap_mpnet"}),
     (needs.CLEAN, {"mosi_bclstm", "mosi_bclstm, text + audio"}), (needs.STATIC, {"mosi_mpnet"})],
    ids=lambda value: getattr(value, "text", ""),
)  # fmt: skip
def test_the_needs_know_the_data(need, lacking, monkeypatch):
    monkeypatch.setitem(CORPORA, "mosi_bclstm", replace(CORPORA["mosi_bclstm"], contaminated=True))
    having = {"mmmo", "synthetic reviews"}
    rows = made("x", "mmmo", {}, [])
    assert {d for d in lacking | having if need.lacks(rows, d, ["frames(0.5)"])} == lacking
    assert not needs.STATIC.lacks(rows, "mosi_mpnet", ["complete"])


def test_headroom_is_asked_where_something_is_missing(monkeypatch):
    asked = []
    monkeypatch.setattr(
        needs, "has_vote", lambda rows, dataset, conditions: asked.append(conditions) or (False, "none")
    )
    rows = made("smcir", "mosi_mpnet", {("SMCIR", ""): 1.0}, [*SETS, "complete"])
    assert needs.HEADROOM.lacks(rows, "mosi_mpnet", ["complete"]) == "none"
    needs.HEADROOM.lacks(rows, "mosi_mpnet", [*SETS])
    assert [sorted(c) for c in asked] == [sorted(SETS)] * 2


@pytest.mark.parametrize("complete, verdict", [(0.3, HOLDS_HERE), (0.5, UNCHECKED)])
def test_data_without_headroom_have_no_vote_on_completion(monkeypatch, complete, verdict):
    monkeypatch.setattr(needs, "has_vote", real_headroom)
    claim = the("SMCIR", "CMCG is essential")
    rows = of_claim(claim, 0.1, datasets=["mosi_mpnet"])
    rows = changed(rows, {"method": "zero fill", "condition": "complete"}, lambda v: v - 0.5 + complete)
    said = claim.judged("smcir", rows, reported("smcir"))
    assert said.verdict == verdict and ("complete is not better than what is left" in said.evidence) == (
        verdict == UNCHECKED
    )
    # Without trivial rows nobody knows.
    claim = the("SMCIR", "MSSE helps")
    rows = of_claim(claim, 0.1, datasets=["mosi_mpnet"])
    said = claim.judged("smcir", rows[rows["method"] != "zero fill"], reported("smcir"))
    assert said.verdict == UNCHECKED and "trivial rows in smcir_mosi_mpnet" in said.evidence


# --- verdicts follow our rows ---

COMPARED = [(t, c) for t, c in claims_of_all() if isinstance(c.judge, partial) and c.judge.func is verdicts.gains]


@pytest.mark.parametrize("paper, claim", COMPARED, ids=lambda value: getattr(value, "text", value)[:30])
def test_comparisons_follow_the_rows(paper, claim, tables):
    for gain, noise, verdict in ((0.2, 0.001, HOLDS_HERE), (-0.2, 0.001, FAILS_HERE), (0, 0.001, NO_LARGER),
                                 (0, 0.02, UNDECIDABLE)):  # fmt: skip
        said = claim.judged(NAMES[paper], of_claim(claim, gain, noise), tables[paper])
        assert said.verdict == verdict, said
        assert "5 seeds" in said.evidence and "Missing" not in said.evidence


def test_contaminated_validation_and_single_frames_have_no_vote(tables, monkeypatch):
    claim = the("UMDF", "DFIM helps")
    said = claim.judged("umdf", of_claim(claim, 0.2, datasets=["mosi_bclstm"]), tables["UMDF"])
    assert said.verdict == UNCHECKED and "mosi_bclstm +0.200 ± " in said.evidence
    assert (
        "(one frame per modality). Missing: UMDF in umdf_mosi_words, umdf_mosi_mpnet, umdf_synthetic" in said.evidence
    )
    claim = the("ADMC", "ADN generates help")
    monkeypatch.setitem(CORPORA, "mosi_bclstm", replace(CORPORA["mosi_bclstm"], contaminated=True))
    said = claim.judged("admc", of_claim(claim, 0.2, datasets=["mosi_bclstm"]), tables["ADMC"])
    assert said.verdict == UNCHECKED and "(its validation labels trained the features)" in said.evidence


def test_rows_that_are_missing_are_asked_for(tables):
    claim = the("ADMC", "ADN generates help")
    rows = of_claim(claim, 0.2)
    lost = rows[~((rows["variant"] == "w/o ADN") & (rows["dataset"] == "avdigits"))]
    said = claim.judged("admc", lost, tables["ADMC"])
    assert said.verdict == HOLDS_HERE and said.evidence.endswith("Missing: ADMC w/o ADN in admc_avdigits")


def test_flagged_rows_do_not_count(tables):
    claim = the("ADMC", "ADN generates help")
    rows = of_claim(claim, 0.2, datasets=["iemocap", "avdigits"])
    bad = (rows["dataset"] == "avdigits") & (rows["variant"] == "w/o ADN")
    rows.loc[bad, "flags"] = "limit (mf text)"
    said = claim.judged("admc", rows, tables["ADMC"])
    assert "avdigits (ADMC w/o ADN is flagged: limit (mf text))" in said.evidence and "avdigits +" not in said.evidence
    rows.loc[bad & (rows["seed"] > 0), "flags"] = ""
    said = claim.judged("admc", rows, tables["ADMC"])
    assert "4 or 5 seeds" in said.evidence, "the pairs of the seed that has a flag are left out"


def test_the_published_effect_comes_from_the_printed_table(tables):
    claim = the("ADMC", "ADN generates help")
    said = claim.judged("admc", of_claim(claim, -0.004, 0.0005), tables["ADMC"])
    assert re.search(r"; iemocap, folds -0.4 [^;]*\[published effect excluded: \+1.7 points", said.evidence)
    assert said.evidence.count("published effect") == 2, "digits and synthetic clips are not the published data"
    umdf = verdicts.Printed("f1_non0", "f1", "3", "MOSI", "UMDF", "UMDF w/o L_fea", full_table="1")
    assert umdf.effect(tables["UMDF"]) == pytest.approx(0.7556 - 0.7350)
    smcir = verdicts.Printed("mae", "mae", "3", "MOSI", "SMCIR", "SMCIR w/o CMCG", scope="complete")
    assert smcir.effect(tables["SMCIR"]) == pytest.approx(0.027)


def test_an_effect_printed_as_f1_is_compared_with_ours_in_f1(tables):
    claim = the("UMDF", "Feature distillation helps")
    f1 = made("umdf", "mosi_words", {("UMDF", ""): 0.75, ("UMDF", "w/o L_fea"): 0.75}, SETS, "f1_non0")
    said = claim.judged("umdf", pd.concat([of_claim(claim, 0), f1]), tables["UMDF"])
    assert "published effect excluded: +2.1 points of f1_non0, ours +0.0 ± 0.2 points of f1_non0" in said.evidence


def test_a_gain_is_shown_over_the_best_trivial_row_too(tables):
    claim = the("ADMC", "ADN generates help")
    rows = pd.concat([
        of_claim(claim, 0.1, datasets=["iemocap"]),
        made("admc", "iemocap", {("text alone", ""): 0.55, ("prior", ""): 0.25}, [*SETS, "complete"]),
    ])  # fmt: skip
    said = claim.judged("admc", rows, tables["ADMC"])
    assert re.search(r"over text alone, the best trivial row, \+5.0 ± ", said.evidence)


def test_ablations_of_smcir_are_judged_with_holes_and_complete(tables):
    claim = the("SMCIR", "CMCG is essential")
    rows = of_claim(claim, 0, datasets=["mosi_mpnet"])
    said = claim.judged("smcir", rows, tables["SMCIR"])
    assert said.verdict == NO_LARGER and "mosi_mpnet, missing" in said.evidence
    assert re.search(r"mosi_mpnet, complete [^;]* \[none larger than 0.027; published effect excluded", said.evidence)
    own = {"variant": "w/o CMCG", "condition": "complete"}
    assert claim.judged("smcir", changed(rows, own, 0.7), tables["SMCIR"]).verdict == HOLDS_HERE


CONFIGURATIONS = [*simc.SIMC_CONFIGURATIONS]


def films(matched, complete):
    """SIM-C's gain over its zeros, trained as tested and trained complete."""
    systems = [
        {("SIM-C", ""): 0.5 + gain, ("SIM-C", "zeros"): 0.5, ("zero fill", ""): 0.5} for gain in (matched, complete)
    ]
    frames = [made("simc", "mmimdb_subset", systems[0], [c], "f1_micro", protocol=c) for c in CONFIGURATIONS]
    full = CONFIGURATIONS[0]
    frames.append(made("simc", "mmimdb_subset", systems[1], CONFIGURATIONS[1:], "f1_micro", protocol=full))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    "matched, complete, verdict",
    [(0.2, 0.2, HOLDS_HERE), (0, 0.2, HOLDS_HERE), (0, 0, NO_LARGER), (-0.2, 0, FAILS_HERE), (-0.2, 0.2, UNDECIDABLE)],
)
def test_simulation_is_judged_against_zeros_under_both_ways_of_training(matched, complete, verdict):
    said = judged("SIM-C", "makes up for it", films(matched, complete))
    assert said.verdict == verdict
    assert "mmimdb_subset, matched" in said.evidence and "mmimdb_subset, trained complete" in said.evidence
    assert said.evidence.endswith("Missing: SIM-C in simc_mmimdb_genres, simc_sarcasm, simc_synthetic")


def test_mixing_is_judged_by_a_classifier(tmp_path, monkeypatch):
    place = tmp_path / "map.csv"
    monkeypatch.setattr(simc, "MAP", place)
    assert judged("SIM-C", "on a t-SNE map.").verdict == UNCHECKED
    for accuracy, verdict in ((0.6, HOLDS_HERE), (0.9, FAILS_HERE), (0.75, UNDECIDABLE), (0.77, UNDECIDABLE)):
        points = pd.DataFrame(
            {"modality": ["text"] * 400 + ["image"] * 400, "accuracy": [accuracy] * 400 + [0.6] * 400}
        )
        points.to_csv(place)
        assert judged("SIM-C", "on a t-SNE map.").verdict == verdict
    assert "text 0.770 (0.73 to 0.81)" in judged("SIM-C", "on a t-SNE map.").evidence, "0.77 ± 1.96 * 0.021"


def falling(fall):
    """F1 falls by `fall` from complete clips to text and audio alone; the paper prints a fall of its own."""
    systems = {("UMDF", ""): 0.8 - fall, ("zero fill", ""): 0.5, (DROPOUT, ""): 0.78}
    whole = made("umdf", "mosi_words", dict.fromkeys(systems, 0.8), ["complete"], "f1_non0")
    return pd.concat([made("umdf", "mosi_words", systems, SETS, "f1_non0"), whole])


def test_robust_is_as_robust_as_printed(tables):
    f1 = grid(tables["UMDF"], "1", "MOSI", "f1").loc["UMDF"]
    fall = (f1["complete"] - f1[[*SETS]].mean()) / 100
    for more, verdict in ((-0.05, HOLDS_HERE), (0, HOLDS_HERE), (0.03, FAILS_HERE)):
        said = judged("UMDF", "robust under", falling(fall + more))
        assert said.verdict == verdict
        assert (
            f"UMDF falls by {(fall + more) * 100:.1f} points, in print by {fall * 100:.1f}, zero fill by 30.0"
            in said.evidence
        )


def test_robust_has_no_vote_where_every_system_falls_by_more(tables):
    rows = falling(0.3)
    rows = rows[rows["method"] != DROPOUT]
    chance = made("umdf", "mosi_words", {("prior", ""): 0.8, ("coin", ""): 0.8}, [*SETS, "complete"], "f1_non0")
    said = judged("UMDF", "robust under", pd.concat([rows, chance]))
    assert said.verdict == UNCHECKED
    assert "mosi_words (the best system of each set falls by 30.0 points, more than is allowed)" in said.evidence


def validated(values):
    """Rows of UMDF's control claim, each system with a score on validation, larger is better."""
    errors = {("UMDF", ""): 1.2, ("UMDF", "any views"): 1.0, ("UMDF", "one view"): 1.1, **TRIVIAL}
    rows = made("umdf", "mosi_words", errors, [*SETS, "complete"], "mae")
    keys = list(zip(rows["method"], rows["variant"]))
    return rows.assign(validation=[values.get(key, math.nan) for key in keys])


TRIVIAL = {("zero fill", ""): 1.3, (DROPOUT, ""): 1.25, ("text alone", ""): 1.4, ("prior", ""): 1.5}


def test_validation_chooses_the_reading_and_the_trivial_row():
    """Unlike the scores of the test, on which the other reading and another trivial row are best."""
    gains = verdicts.gains
    trivial = {("zero fill", ""): -1.3, (DROPOUT, ""): -1.4, ("text alone", ""): -1.5}
    for own, other, mean in ((-1.3, -1.2, "+0.100"), (-1.2, -1.3, "-0.100")):
        rows = validated({("UMDF", ""): own, ("UMDF", "any views"): other, **trivial})
        case = verdicts.Case("umdf", rows, rows, rows[:0])
        said = gains(case, a=("UMDF", ""), rivals=[("UMDF", "one view")], datasets=["mosi_words"], trivial=True)
        assert f"mosi_words {mean} " in said.evidence and "over zero fill, the best trivial row" in said.evidence
        assert ("UMDF any views, the reading that is best on validation" in said.evidence) == (mean == "+0.100")
        part = gains(case, a=("UMDF", ""), rivals=[("UMDF", "one view"), ("zero fill", "")], datasets=["mosi_words"])
        assert "UMDF any views" not in part.evidence, "a rival without rows in this reading: all stay as printed"
    assert verdicts.best_trivial(validated({}), "mosi_words", [*SETS]) == (DROPOUT, ""), "without validation, the best"


def test_a_claim_in_another_metric_must_come_out_in_both(tables):
    claim = the("ADMC", "reduce coupling")
    rows = of_claim(claim, 0.1, datasets=["iemocap"])
    assert claim.judged("admc", rows, tables["ADMC"]).verdict == HOLDS_HERE
    same = rows.assign(metric="accuracy", value=0.5)
    said = claim.judged("admc", pd.concat([rows, same]), tables["ADMC"])
    assert said.verdict == NO_LARGER
    assert "0.0 points of accuracy (seeds alone) over ADMC w/o ITFN, as claimed" in said.evidence


def test_language_loses_to_one_stronger_modality():
    def rows(text, audio):
        systems = {"available(text)": text, "available(audio)": audio}
        return pd.concat([made("umdf", "mosi_words", {("UMDF", ""): v}, [c]) for c, v in systems.items()])

    assert judged("UMDF", "strongest modality", rows(0.9, 1.4)).verdict == HOLDS_HERE  # errors
    assert judged("UMDF", "strongest modality", rows(1.4, 0.9)).verdict == FAILS_HERE


def test_a_steady_network_falls_slowly():
    def rows(dataset, own, rival):
        rivals = ("zero fill", DROPOUT, FRAME_DROPOUT)
        lost = {("UMDF", ""): 1 + own, **{(name, ""): 1 + rival for name in rivals}}
        whole = made("umdf", dataset, dict.fromkeys(lost, 1.0), ["complete"])
        return pd.concat([made("umdf", dataset, lost, verdicts.RATES), whole])

    assert judged("UMDF", "falls the least", rows("mosi_words", 0.1, 0.3)).verdict == HOLDS_HERE
    assert judged("UMDF", "falls the least", rows("mosi_words", 0.3, 0.1)).verdict == FAILS_HERE
    unequal = rows("mosi_words", 0.1, 0.3)
    unequal = unequal[unequal["method"] != FRAME_DROPOUT]  # the others lost no frame in training, UMDF did
    said = judged("UMDF", "falls the least", unequal)
    assert said.verdict == UNCHECKED and f"Missing: {FRAME_DROPOUT} in umdf_mosi_words" in said.evidence
    fewer = rows("mosi_words", 0.1, 0.3)
    fewer = fewer[(fewer["method"] != DROPOUT) | (fewer["seed"] != 1)]  # as where one seed of the rival is flagged
    assert "4 seeds" in judged("UMDF", "falls the least", fewer).evidence
    said = judged("UMDF", "falls the least", rows("mosi_mpnet", 0.1, 0.3))
    assert said.verdict == UNCHECKED and "(its tokens are hidden after encoding)" in said.evidence


def test_two_missing_modalities_against_both_jointly_trained_networks():
    alone = [f"available({m})" for m in ("text", "audio", "vision")]

    def rows(own, zero, joint):
        systems = {("ADMC", ""): own, ("zero fill", ""): zero, ("ADMC", "w/o ITFN"): joint}
        return made("admc", "synthetic iemocap", systems, alone)

    assert judged("ADMC", "two modalities", rows(0.6, 0.5, 0.5)).verdict == HOLDS_HERE
    assert judged("ADMC", "two modalities", rows(0.6, 0.5, 0.7)).verdict == FAILS_HERE
    assert judged("ADMC", "two modalities", rows(0.6, 0.5, 0.6)).verdict == NO_LARGER


def test_the_start_step():
    def rows(**values):
        frames = [
            made("admc", "iemocap", {("ADMC", "probe"): value}, [f"audio -> text, {n}", f"text -> audio, {n}"])
            for n, value in ((name.replace("_", "="), value) for name, value in values.items())
        ]
        return pd.concat(frames)

    assert judged("ADMC", "n = 50 is best", rows(n_50=0.5, n_30=0.3, n_80=0.4)).verdict == HOLDS_HERE
    said = judged("ADMC", "n = 50 is best", rows(n_50=0.5, n_30=0.3, n_80=0.6))
    assert said.verdict == FAILS_HERE and "-10.0 ± 0.0 points of ua (seeds alone) over n = 80" in said.evidence
    said = judged("ADMC", "n = 50 is best", rows(n_50=0.5, n_30=0.3, n_1000=0.6))
    assert said.verdict == HOLDS_HERE, "the paper compares 30, 50 and 80"
    assert "-10.0 ± 0.0 points of ua (seeds alone) over n = 1000, which the paper does not try" in said.evidence
    assert judged("ADMC", "n = 50 is best", rows(n_50=0.5, n_1000=0.6)).verdict == UNCHECKED


def diagnoses(dataset, metric, values):
    """(condition, variant) -> value"""
    return pd.concat([
        made("smcir", dataset, {("SMCIR", variant): value}, [condition], f"{metric}_{m}")
        for (condition, variant), value in values.items() for m in ("audio", "vision")
    ] + [made("smcir", dataset, {("SMCIR", ""): 0.5}, ["complete"], f"diagnosed_{m}") for m in ("audio", "vision")
         if metric != "diagnosed"])  # fmt: skip


@pytest.mark.parametrize("f1, verdict", [(0.9, HOLDS_HERE), (0.5, NO_LARGER), (0.3, FAILS_HERE)])
def test_a_detector_against_a_coin(f1, verdict):
    mixed = "patterns(keep=text)"
    rows = diagnoses("synthetic reviews", "diagnosis_f1", {(mixed, ""): f1, (mixed, "corrected"): 0.99})
    said = judged("SMCIR", "per sample", rows)
    assert said.verdict == verdict and f"F1 {f1:.2f}, with our corrections 0.99" in said.evidence
    one_step = judged("SMCIR", "per sample", rows.assign(dataset="mosi_bclstm"))
    assert one_step.verdict == UNCHECKED and "(its audio is one frame)" in one_step.evidence


@pytest.mark.parametrize("gone, verdict", [(0.9, HOLDS_HERE), (0.5, NO_LARGER), (0.3, FAILS_HERE)])
def test_shares_that_rise_by_all_or_by_a_little(gone, verdict):
    rows = diagnoses("synthetic reviews", "diagnosed", {("complete", ""): 0.0, ("available(text)", ""): gone})
    assert judged("SMCIR", "is the missing rate", rows).verdict == verdict


def test_scores_are_means_over_conditions_by_seed():
    rows = made("admc", "iemocap", {("ADMC", ""): 0.5}, ["available(text)"], noise=0)
    rows = pd.concat([rows, made("admc", "iemocap", {("ADMC", ""): 0.3}, ["available(audio)"], noise=0),
                      made("admc", "iemocap", {("ADMC", ""): 0.1}, ["available(text) then frames(0.5)"], seeds=1)])  # fmt: skip
    both = missing_conditions(rows, "iemocap")
    assert both == ["available(audio)", "available(text)"]  # not what only begins so
    assert score(rows, "iemocap", ("ADMC", ""), "ua", both).tolist() == pytest.approx([0.4] * 5)
    for system_, conditions in (
        (("ADMC", "w/o ADN"), both),
        (("ADMC", ""), [*both, "available(text) then frames(0.5)"]),
    ):
        named = f"variant {system_[1]!r}, on 'iemocap'"  # the last has one of five seeds
        with pytest.raises(MissingRows, match=re.escape(named)):
            score(rows, "iemocap", system_, "ua", conditions)


def test_a_printed_table_keeps_its_order(tables):
    table = grid(tables["SIM-C"], "3", "MM-IMDb", "f1_samples")
    assert list(table.index) == ["ShaSpec", "M3Care", "PmcmFL", "SIM-C"] and table.columns[0] == "100_image_100_text"
    assert table.loc["PmcmFL", "complex_30_35_35"] == 0.54
    with pytest.raises(MissingRows, match="admc lacks wa of table 4 on 'IEMOCAP'"):
        grid(tables["ADMC"].query("table != '4'"), "4", "IEMOCAP", "wa")


# --- verdicts follow the printed tables ---


def test_no_degradation_in_table_3(tables):
    printed = tables["SIM-C"]
    own = {"table": "3", "method": "SIM-C"}
    assert judged("SIM-C", "next to nothing is lost").verdict == FAILS
    assert judged("SIM-C", "next to nothing is lost", None, changed(printed, own, 0.64)).verdict == HOLDS
    assert (
        judged(
            "SIM-C", "next to nothing is lost", None, changed(printed, {**own, "condition": "complex_10_45_45"}, 0.638)
        ).verdict
        == FAILS
    )


FITTING = {"table": "3", "method": "SIM-C"}


def test_f_micro_needs_f_samples_that_fit_it(tables):
    """With 2.487 labels per film F-micro of 0.935 and 0.925 force F-samples to 0.654 and 0.597."""
    printed = changed(tables["SIM-C"], {"table": "1", "method": ["ShaSpec", "M3Care", "PmcmFL"]}, 0.92)
    said = judged("SIM-C", "F-micro is")
    assert (
        said.verdict == FAILS
        and "at least 0.654; Table 3 prints 0.64, and contradicts Table 1 in 5 of 6" in said.evidence
    )
    complete, rest = (
        {**FITTING, "condition": c} for c in (simc.SIMC_CONFIGURATIONS[0], [*simc.SIMC_CONFIGURATIONS[1:]])
    )
    fits = changed(changed(printed, complete, 0.65), rest, 0.6)
    assert judged("SIM-C", "F-micro is", None, fits).verdict == HOLDS
    assert judged("SIM-C", "F-micro is", None, changed(fits, complete, 0.64)).verdict == FAILS


def test_f_micro_would_hold_on_a_scale_whose_floor_is_below_the_rivals(tables, monkeypatch):
    printed = changed(tables["SIM-C"], FITTING, 0.9)
    rivals = {"table": "1", "method": ["ShaSpec", "M3Care", "PmcmFL"]}
    assert judged("SIM-C", "F-micro is", None, printed).verdict == FAILS
    assert judged("SIM-C", "F-micro is", None, changed(printed, rivals, 0.92)).verdict == HOLDS
    assert judged("SIM-C", "F-micro is", None, changed(printed, rivals, 0.95)).verdict == FAILS
    monkeypatch.setattr(paper_metrics, "flattened_f1_micro", lambda logits, target: metrics.score(
        "multilabel", logits, target)["f1_micro"])  # fmt: skip
    assert judged("SIM-C", "F-micro is", None, printed).verdict == HOLDS


@pytest.mark.parametrize(
    "paper, part, where, better, worse",
    [
        ("SIM-C", "F-samples", {"table": "3", "method": "PmcmFL", "condition": "complex_20_40_40"}, 0.49, 0.58),
        ("SIM-C", "F-samples", {"table": "3", "method": "PmcmFL", "condition": "100_image_100_text"}, 0.65, 0.63),
        ("ADMC", "in every scenario", {"table": ["1", "2"], "method": "MMCR"}, 100, 10),
        ("ADMC", "on average, by", {"table": ["1", "2"], "method": "MMCR"}, 100, 10),
        ("ADMC", "by themselves", {"table": "4"}, 70, 40),
        ("SMCIR", "full-modal", {"table": "1", "method": "SMCIR", "metric": PERCENTAGES}, 99, 80),
    ],
)
def test_claims_about_tables_follow_them(tables, paper, part, where, better, worse):
    printed = tables[paper]
    good = UNCHECKED if part == "F-samples" else HOLDS  # where the rivals would have to be built
    assert judged(paper, part, None, changed(printed, where, better)).verdict == good
    assert judged(paper, part, None, changed(printed, where, worse)).verdict == FAILS


def test_one_column_is_enough_to_be_behind(tables):
    printed = tables["UMDF"]
    complete = {"table": ["1", "2"], "condition": "complete"}
    first = changed(
        changed(printed, {**complete, "method": "UMDF"}, 99), {**complete, "method": "UMDF", "metric": "mae"}, 0.2
    )
    assert judged("UMDF", "outperforms MCTN").verdict == FAILS
    assert judged("UMDF", "outperforms MCTN", None, first).verdict == HOLDS
    assert (
        judged(
            "UMDF", "outperforms MCTN", None, changed(first, {**complete, "method": "GCNet", "metric": "mae"}, 0.1)
        ).verdict
        == FAILS
    )
    assert (
        judged("UMDF", "outperforms MCTN", None, changed(first, {**complete, "method": "Self-MM"}, 100)).verdict
        == HOLDS
    )  # not of the four


def test_a_borrowed_row_stands_in_the_way(tables):
    printed = tables["SMCIR"]
    table = {"table": "2", "dataset": "MOSI", "condition": "available(text)"}
    assert judged("SMCIR", "{L}, {L, A}").verdict == UNCHECKED
    assert judged("SMCIR", "{L}, {L, A}", None, changed(printed, {**table, "method": "SMIL"}, 78.0)).verdict == HOLDS
    assert judged("SMCIR", "{L}, {L, A}", None, changed(printed, {**table, "method": "SMCIR"}, 70.0)).verdict == FAILS


def test_indicators_go_by_our_rows_once_the_table_agrees(tables):
    agreed = changed(tables["SMCIR"], {"table": "4", "method": "SMCIR, H", "metric": ["acc2_has0", "f1_has0"]}, 80.0)
    assert judged("SMCIR", "(HMS)").verdict == FAILS
    systems = {("SMCIR", v): 0.9 for v in ("", "H", "M", "S", "HM", "HS", "MS")}
    for own, other, verdict in ((0.5, 0.9, HOLDS_HERE), (0.5, 0.4, FAILS_HERE), (0.95, 0.9, FAILS_HERE)):
        rows = made("smcir", "mmmo", {**systems, ("SMCIR", ""): own, ("SMCIR", "MS"): other}, [*SETS, "complete"])
        assert judged("SMCIR", "(HMS)", rows, agreed).verdict == verdict


# --- verdicts follow the equations ---


def test_an_entropy_that_is_low_for_zeros(tables, monkeypatch):
    assert judged("SMCIR", "Low entropy").verdict == FAILS
    monkeypatch.setattr(detector, "norm_entropy", lambda P: detector.histogram_entropy(P.flatten(1)))
    assert judged("SMCIR", "Low entropy").verdict == HOLDS


def test_a_loss_that_tells_shuffled_features(tables, monkeypatch):
    loss = system.reconstruction_loss
    assert judged("SMCIR", "recovers").verdict == FAILS
    monkeypatch.setattr(system, "reconstruction_loss", lambda real, made, kind: loss(real, made, "mse"))
    assert judged("SMCIR", "recovers").verdict == HOLDS


def test_an_accuracy_that_is_a_share(tables, monkeypatch):
    right, size = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 4.0])
    assert paper_metrics.equation_7(right, size, torch.tensor([2.0, 1.0])) == pytest.approx(10 / 6)
    assert judged("ADMC", "WA as defined").verdict == FAILS
    monkeypatch.setattr(admc, "equation_7", lambda right, size, w: float((w * right).sum() / (w.sum() * size.sum())))
    assert judged("ADMC", "WA as defined").verdict == HOLDS


def test_an_imputation_that_would_mix(tables, monkeypatch):
    """If the best imputation were as spread out as the real texts."""
    complete = oracle.Oracle.complete
    assert judged("SIM-C", "they are faithful").verdict == FAILS
    monkeypatch.setattr(oracle.Oracle, "complete", lambda self, batch: {
        m: replace(found, mean=3 * found.mean) for m, found in complete(self, batch).items()})  # fmt: skip
    assert judged("SIM-C", "they are faithful").verdict == HOLDS


def test_what_the_general_arguments_compute(page):
    """By hand: 1 - 64570 / (25959 * 27); ln 50; 32 / 9; mean recall of (2/3, 1, 1/2, 1)."""
    evidence = page.set_index("claim")["evidence"]
    assert "0.908" in evidence[the("SIM-C", "F-micro is").text]
    assert "ln 50 = 3.912" in evidence[the("SMCIR", "Low entropy").text]
    wa = evidence[the("ADMC", "WA as defined").text]
    assert "3.56 (equal weights), 3.67 (1 / N_i)" in wa and "0.889" in wa and "0.778" in wa and "0.792" in wa


def test_what_chance_would_decide_is_counted(monkeypatch):
    def with_votes(*means):
        votes = tuple(
            Difference("ua", mean, 0.01, 5, 0.0196, 0.01) for mean in means
        )  # normal: p = 2 Phi(-mean / 0.01)
        return lambda case: verdicts.Judgement(HOLDS_HERE, "", votes)

    claims = [Claim("Table 1", with_votes(0.05), "Sure: yes."), Claim("Table 1", with_votes(0.021, 0.0), "By a hair.")]
    monkeypatch.setattr(
        sys.modules["mmlib.report.claims.page"], "CLAIMS", {"simc": claims}
    )  # `page` is a function, too
    said = report.by_chance()
    # p = 6e-7 is below 0.05 / 3; p = 0.036 is not below 0.05 / 2.
    assert said.startswith("3 intervals ") and "2 exclude 0; by chance about 0 would. 1 are left" in said
    assert said.endswith("no interval that is left: SIM-C, *By a hair*.")


def test_a_reading_that_was_trained_otherwise_is_not_chosen():
    both = {("SIM-C", ""): 0.5, ("SIM-C", "two_stage"): 0.6}
    rows = pd.concat([made("simc", "mmimdb_genres", both, [c], "f1_micro", protocol=c) for c in CONFIGURATIONS[:3]])
    rows = rows.assign(validation=rows["value"])
    assert verdicts.reading(rows, "mmimdb_genres", ("SIM-C", "")) == ("SIM-C", "two_stage")
    fewer = rows[(rows["variant"] == "") | (rows["protocol"] != CONFIGURATIONS[1])]
    assert verdicts.reading(fewer, "mmimdb_genres", ("SIM-C", "")) == ("SIM-C", "")


@pytest.fixture
def beside_rivals(monkeypatch):
    """(scores of SIM-C and its rivals in two metrics, complete films) -> what is judged of them."""

    def judge(claim, micro, samples, complete=0.9):
        parts = [
            made("simc", "mmimdb_genres", {(name, ""): value}, [c], metric, protocol=c)
            for metric, values in (("f1_micro", micro), ("f1_samples", samples)) for name, value in values.items()
            for c, value in [(CONFIGURATIONS[0], complete), *((c, value) for c in CONFIGURATIONS[1:])]
        ]  # fmt: skip
        both = pd.concat(parts)
        ours, peers = (both[both["method"].isin(simc.RIVALS) == is_peer] for is_peer in (False, True))
        monkeypatch.setattr(simc, "with_peers", lambda paper, rows: pd.concat([rows, peers]))
        return judged("SIM-C", claim, ours)

    return judge


def test_f_samples_are_judged_beside_the_three_rivals_in_both_metrics(beside_rivals):
    low, high = {"SIM-C": 0.6, "ShaSpec": 0.5, "M3Care": 0.5}, {"SIM-C": 0.6, "ShaSpec": 0.5, "M3Care": 0.7}
    rest = {"PmcmFL-central": 0.4}
    assert beside_rivals("best of the four", low | rest, low | rest).verdict == HOLDS_HERE
    assert beside_rivals("best of the four", high | rest, low | rest).verdict == FAILS_HERE
    assert beside_rivals("best of the four", low | rest, high | rest).verdict == FAILS_HERE
    fewer = beside_rivals("best of the four", low, low)
    assert fewer.verdict == UNCHECKED and "Missing: ShaSpec in compared_mmimdb_genres" in fewer.evidence


def test_losses_of_our_networks_follow_the_formula_of_table_2(beside_rivals):
    scores = {"SIM-C": 0.6, "ShaSpec": 0.5, "M3Care": 0.45, "PmcmFL-central": 0.3, "zero fill": 0.6, DROPOUT: 0.9}
    said = beside_rivals("next to nothing is lost", scores, scores).evidence  # 0.9 / 0.6 - 1, and so on
    assert "SIM-C 50.0, ShaSpec 80.0, M3Care 100.0, PmcmFL-central 200.0, zero fill 50.0" in said
    assert f"{DROPOUT} 0.0" in said
    del scores["M3Care"]
    assert "Our networks" not in beside_rivals("next to nothing is lost", scores, scores).evidence


def test_our_rows_of_the_five_stand_beside_the_printed_claim():
    said = judged("ADMC", "on average, by", report.results("admc"))
    assert "over MCTN" in said.evidence and "points of ua" in said.evidence


def test_two_classes_at_every_rate_beside_the_systems_that_have_rows(monkeypatch):
    rates = [f"rate({r})" for r in ("0.1", "0.2", "0.3", "0.4", "0.5")]

    def verdict(own, rival):
        systems = {("ADMC", ""): own, ("MCTN", ""): rival, ("AE", ""): 0.3}
        both = pd.concat([made("admc", "iemocap, binary", systems, rates, metric) for metric in ("ua", "accuracy")])
        ours, peers = both[both["method"] == "ADMC"], both[both["method"] != "ADMC"]
        monkeypatch.setattr(admc, "with_peers", lambda paper, rows: pd.concat([rows, peers]))
        return judged("ADMC", "every missing rate", ours)

    assert verdict(0.8, 0.7).verdict == HOLDS_HERE and verdict(0.7, 0.8).verdict == FAILS_HERE
    assert "without rows of CRA, TransM, MMIN, TATE" in verdict(0.8, 0.7).evidence
