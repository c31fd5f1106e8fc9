"""Headroom by hand, on rows small enough to add up."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t
from sklearn.metrics import f1_score

from mmlib import report
from mmlib.report.headroom import CAPTION, FEW_SEEDS, GAIN, NO_GAIN, NO_ROW, NO_SIGNAL, has_vote
from mmlib.report.rows import MissingRows

TEXT, AUDIO = "available(text)", "available(audio)"
F1 = {  # method -> condition -> scores of seeds 0, 1, 2
    "zero fill": {"complete": (0.80, 0.84, 0.82), TEXT: (0.70, 0.70, 0.70), AUDIO: (0.4, 0.4, 0.4)},
    "zero fill + modality dropout": {"complete": (0.81, 0.81, 0.81), TEXT: (0.71, 0.75, 0.73), AUDIO: (0.81, 0.83, 0.84)},
    "text alone": {"complete": (0.74, 0.74, 0.74), TEXT: (0.69, 0.69, 0.69), AUDIO: (0.9, 0.3, 0.3)},
    "audio alone": {"complete": (0.5, 0.5, 0.5), TEXT: (0.99, 0.3, 0.3), AUDIO: (0.6, 0.6, 0.6)},
    "prior": dict.fromkeys(("complete", TEXT, AUDIO), (0.25, 0.25, 0.25)),
    "coin": dict.fromkeys(("complete", TEXT, AUDIO), (0.49, 0.51, 0.50)),
    "UMDF": dict.fromkeys(("complete", TEXT, AUDIO), (0.99, 0.99, 0.99)),
}  # fmt: skip


def table(scores=F1, metric="f1_mean", **changes):
    columns = {"paper": "umdf", "dataset": "clips", "role": "test", "variant": "", "protocol": "patterns", "flags": ""}
    return pd.DataFrame(
        {**columns, "method": method, "condition": c, "metric": metric, "seed": seed, "value": value, **changes}
        for method, conditions in scores.items()
        for c, values in conditions.items()
        for seed, value in enumerate(values)
    )  # fmt: skip


def marked(rows, flags, **where):
    chosen = pd.concat([rows[k] == v for k, v in where.items()], axis=1).all(axis=1)
    return rows.assign(flags=rows["flags"].mask(chosen, flags))


def test_headroom_by_hand():
    frame = report.headroom(table(), "clips")
    assert list(frame.index) == ["complete", TEXT, AUDIO] and "oracle" not in frame
    line = frame.loc[TEXT]
    assert line["constant"] == "25.0 ± 0.0" and line["coin"] == "50.0 ± 1.0"
    assert line["best single modality"] == "69.0 ± 0.0 (text alone)"
    assert line["best row on test"] == "73.0 ± 2.0 (zero fill + modality dropout)"
    assert line["complete"] == "82.0 ± 2.0"
    # 0.80 - 0.71, 0.84 - 0.75, 0.82 - 0.73: nine points for every seed
    assert line["headroom"] == "+9.0 ± 0.0 points of f1_mean (seeds alone)" and line["vote"] == "yes"


def test_no_vote_where_the_interval_holds_zero():
    line = report.headroom(table(), "clips").loc[AUDIO]
    # differences -1, 1 and -2 points: mean -2/3, deviation sqrt(7/3)
    half = t.ppf(0.975, 2) * (7 / 3 / 3) ** 0.5
    assert line["headroom"] == f"-0.7 ± {half:.1f} points of f1_mean (seeds alone)" and line["vote"] == f"no: {NO_GAIN}"


def test_complete_rows_are_compared_with_the_best_single_modality():
    line = report.headroom(table(), "clips").loc["complete"]
    assert line["best single modality"] == "74.0 ± 0.0 (text alone)"
    assert line["headroom"].startswith("+8.0 ±") and line["vote"] == "yes"


def test_lower_errors_are_better():
    errors = {
        "zero fill": {"complete": (0.9, 0.8, 0.7), TEXT: (1.0, 0.9, 0.8)},
        "text alone": {"complete": (1.2, 1.2, 1.2), TEXT: (1.1, 1.1, 1.1)},
        "oracle": {"complete": (0.5, 0.5, 0.5), TEXT: (0.7, 0.7, 0.7)},
    }
    line = report.headroom(table(errors, "mae"), "clips").loc[TEXT]
    assert line["best row on test"] == "0.900 ± 0.100 (zero fill)" and line["oracle"] == "0.700 ± 0.000"
    assert line["headroom"] == "+0.100 ± 0.000 mae (seeds alone)" and line["coin"] == "–"


def test_flagged_rows_trials_and_other_metrics_do_not_count():
    flagged = marked(table(), "limit", method="zero fill + modality dropout", condition=TEXT)
    assert report.headroom(flagged, "clips").loc[TEXT, "best row on test"] == "70.0 ± 0.0 (zero fill)"
    trial = table({"zero fill": {TEXT: (0.99, 0.99, 0.99)}})
    more = pd.concat([table(), trial.assign(role="trial"), trial.assign(metric="map"), trial.assign(dataset="films")])
    pd.testing.assert_frame_equal(report.headroom(more, "clips"), report.headroom(table(), "clips"))


def test_a_flagged_seed_is_left_out_of_both_sides():
    four = table({m: {c: (*values, values[2]) for c, values in scores.items()} for m, scores in F1.items()})
    rows = marked(four, "limit", method="zero fill", seed=0, condition="complete")
    line = report.headroom(rows, "clips").loc[TEXT]
    # zero fill keeps 0.84, 0.82, 0.82 on complete rows; dropout has 0.75, 0.73, 0.73 for these seeds
    assert line["complete"] == "82.7 ± 1.2" and line["headroom"] == "+9.0 ± 0.0 points of f1_mean (seeds alone)"
    few = marked(four, "limit", condition="complete", seed=1)
    assert (
        report.headroom(marked(few, "limit", condition="complete", seed=2), "clips").loc[TEXT, "vote"]
        == f"no: {FEW_SEEDS}"
    )


def test_every_trivial_row_flagged_is_no_vote():
    rows = marked(table(), "at_prior", condition=TEXT)
    line = report.headroom(rows, "clips").loc[TEXT]
    assert line["vote"] == f"no: {NO_ROW}" and line["headroom"] == "–" and line["best row on test"] == "–"
    assert has_vote(rows, "clips", [TEXT, AUDIO]) == (False, NO_ROW)


def test_complete_rows_without_a_single_modality_have_no_vote():
    fill = {method: F1[method] for method in ("zero fill", "zero fill + modality dropout")}
    frame = report.headroom(table(fill), "clips")
    assert frame.loc["complete", "vote"] == f"no: {NO_ROW}" and frame.loc[TEXT, "vote"] == "yes"


def test_the_best_training_condition_of_a_row_counts():
    matched = table({"zero fill": {TEXT: (0.76, 0.76, 0.76)}}, protocol=TEXT)
    line = report.headroom(pd.concat([table(), matched]), "clips").loc[TEXT]
    assert line["best row on test"] == "76.0 ± 0.0 (zero fill)"


def test_a_condition_in_which_nothing_beats_the_constant_does_not_count():
    at_chance = {m: {c: (0.25, 0.26, 0.25) if c == AUDIO else v for c, v in scores.items()} for m, scores in F1.items()}
    rows = table(at_chance | {"prior": F1["prior"]})
    assert report.headroom(rows, "clips").loc[AUDIO, "vote"] == f"no: {NO_SIGNAL}"
    assert has_vote(rows, "clips", [AUDIO]) == (False, NO_SIGNAL)
    assert (
        has_vote(rows, "clips", [TEXT, AUDIO]) == has_vote(rows, "clips", [TEXT]) == has_vote(table(), "clips", [TEXT])
    )


def test_vote_over_conditions_is_of_the_mean():
    assert has_vote(table(), "clips", [TEXT]) == (True, f"{GAIN} (+9.0 ± 0.0 points of f1_mean (seeds alone), 3 seeds)")
    assert has_vote(table(), "clips", [AUDIO])[0] is False
    # differences 9, 9, 9 and -1, 1, -2: means 4, 5 and 3.5
    half = t.ppf(0.975, 2) * pd.Series([4, 5, 3.5]).std() / 3**0.5
    gain = f"+4.2 ± {half:.1f} points of f1_mean (seeds alone)"
    assert has_vote(table(), "clips", [TEXT, AUDIO]) == (True, f"{GAIN} ({gain}, 3 seeds)")


def test_test_rows_widen_the_interval_of_committed_rows(monkeypatch):
    """Between seeds complete rows differ by 9 points from what is left; they alone vary by 0.1 with the rows."""
    noise = np.tile([0.1, -0.1], 100)

    def replicates(rows):
        return rows[["value"]].to_numpy() + np.outer(rows["condition"] == "complete", noise)

    monkeypatch.setattr(import_module("mmlib.report.headroom"), "replicates", replicates)
    rows = table().assign(study="umdf_clips", line=0)
    half = 100 * norm.ppf(0.975) * noise.std(ddof=1)
    assert report.headroom(rows, "clips").loc[TEXT, "headroom"] == f"+9.0 ± {half:.1f} points of f1_mean"
    gain = f"+9.0 ± {half:.1f} points of f1_mean, 3 seeds"
    assert has_vote(rows, "clips", [TEXT]) == (False, f"{NO_GAIN} ({gain})")


def test_caption_says_what_weighted_f1_pays_for_nothing():
    def pays(share):  # for a constant that names a class of this share of the rows
        truth = [1] * round(1000 * share) + [0] * round(1000 * (1 - share))
        return f1_score(truth, [1] * 1000, average="weighted", zero_division=0)

    caption = f"{100 * pays(0.5):.0f} if it names half of the rows, {100 * pays(0.42):.0f} if it names 42 % of them"
    assert caption in CAPTION


def test_missing_rows_are_named():
    with pytest.raises(MissingRows, match="umdf lacks f1_mean under 'available\\(vision\\)' of 'trivial rows'"):
        has_vote(table(), "clips", ["available(vision)"])
    with pytest.raises(MissingRows, match="on complete rows"):
        report.headroom(table({"zero fill": {TEXT: (0.5, 0.5, 0.5)}}), "clips")
