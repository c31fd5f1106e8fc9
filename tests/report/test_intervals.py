"""Intervals over seeds and test rows: by hand, against a literal bootstrap, and by how often they hold the truth."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, norm, ttest_rel

from mmlib import metrics
from mmlib.report import intervals
from mmlib.report.intervals import Difference, paired, rows_for, seeds_for, survivors


def seeds(*values):
    return pd.Series(values, index=pd.Index(range(len(values)), name="seed"))


def sampled(scores):
    """(S, n) of each seed and test row -> as of `rows.sampled`, the score being the mean over rows."""
    replicates = scores @ metrics.resamples(scores.shape[1]).T / scores.shape[1]
    return pd.DataFrame(np.column_stack([scores.mean(1), replicates]))


def drawn(rng, n_seeds, n_rows, of_seed=0.03, of_row=0.5, both=0.3, mean=0.1):
    """Differences of two systems with effects of seed, of test row and of both."""
    scores = mean + of_seed * rng.standard_normal((n_seeds, 1)) + of_row * rng.standard_normal((1, n_rows))
    return scores + both * rng.standard_normal((n_seeds, n_rows))


def test_a_paired_difference_by_hand():
    d = paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua")  # differences .1, .2, .3
    assert d.mean == pytest.approx(0.2) and d.deviation == pytest.approx(0.1) and d.seeds == 3
    assert d.half == pytest.approx(4.302653 * 0.1 / 3**0.5)  # t with 2 degrees of freedom
    assert d.side == 0 and str(d) == "+20.0 ± 24.8 points of ua (seeds alone)"
    assert paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua", 0.9).side == 1  # 2.919986 * .0577 = .169
    assert d.largest == pytest.approx(d.mean + d.half)


def test_rows_add_to_the_variance_and_to_the_degrees():
    """Seeds .1, .2, .3: s^2 / S = .01 / 3. Replicates of their mean are .1, .2, .3 as well: variance .01."""
    a = pd.DataFrame([[0.1, 0.1, 0.2, 0.0], [0.2, 0.1, 0.2, 0.3], [0.3, 0.1, 0.2, 0.6]])
    d = paired(a, 0.0, "ua")
    of_seeds, of_rows = 0.01 / 3, 0.01
    assert d.by_rows == pytest.approx(0.1)
    # Welch and Satterthwaite: 2 (1/3 + 1)^2 / (1/3)^2 = 32 degrees, t = 2.036933.
    assert d.half == pytest.approx(2.036933 * math.sqrt(of_seeds + of_rows), rel=1e-6)
    assert str(d) == f"+20.0 ± {d.half * 100:.1f} points of ua"


def test_rows_alone_have_the_normal_quantile():
    a = pd.DataFrame([[0.2, 0.1, 0.2, 0.3]] * 2)
    assert paired(a, 0.0, "ua").half == pytest.approx(1.959964 * 0.1)


def test_replicates_of_one_side_only_are_none():
    a = sampled(drawn(np.random.default_rng(0), 3, 50))
    assert np.isnan(paired(a, seeds(0.0, 0.0, 0.1)).by_rows) and np.isnan(paired(a[0], a).by_rows)
    assert paired(a, 0.0).by_rows > 0


def test_what_both_systems_find_hard_cancels():
    rng = np.random.default_rng(0)
    shared = 5 * rng.standard_normal((1, 200))
    a, b = (shared + 0.1 * rng.standard_normal((4, 200)) for _ in range(2))
    assert paired(sampled(a), sampled(b)).by_rows < 0.02 < paired(sampled(a), 0.0).by_rows


def test_folds_share_training_rows():
    d = paired(seeds(0.4, 0.5, 0.9), seeds(0.3, 0.3, 0.6), "ua", ratio=1 / 3)
    assert d.mean == pytest.approx(0.2) and d.half == pytest.approx(4.302653 * 0.1 * (1 / 3 + 1 / 3) ** 0.5)
    assert str(d).endswith("points of ua (folds)")
    replicated = sampled(drawn(np.random.default_rng(0), 3, 50))
    assert paired(replicated, 0.0, ratio=1 / 3).half == paired(replicated[0], 0.0, ratio=1 / 3).half


def test_smaller_errors_are_better():
    d = paired(seeds(1.0, 1.1), seeds(1.5, 1.6), "mae")
    assert d.mean == pytest.approx(0.5) and d.side == 1 and str(d) == "+0.500 ± 0.000 mae (seeds alone)"
    assert paired(seeds(1.0, 1.1), seeds(1.5, 1.6), "corr").side == -1
    assert paired(seeds(1.0, 1.0), seeds(1.0, 1.0), "mae").side == 0


def test_pairs_go_by_seed_and_not_by_place():
    a, b = seeds(0.1, 0.5, 0.9), seeds(0.0, 0.4, 0.8)
    assert paired(a, b.iloc[::-1], "ua").deviation == pytest.approx(0)
    with pytest.raises(ValueError, match=r"cannot pair seeds \[0, 1, 2\] with seeds \[0, 1\]"):
        paired(a, b.iloc[:2], "ua")
    with pytest.raises(ValueError, match="an interval needs two seeds, got 1"):
        paired(a.iloc[:1], 0.5, "ua")


def test_several_rivals_share_the_error():
    """Differences .1, .2, .3: with two rivals each interval is at 97.5 %, t = 6.205347."""
    found = intervals.against(seeds(0.4, 0.5, 0.9), {k: seeds(0.3, 0.3, 0.6) for k in "ab"}, "ua")
    assert found["a"].half == found["b"].half == pytest.approx(6.205347 * 0.1 / 3**0.5)


def test_the_interval_is_that_of_a_literal_bootstrap_of_seeds_and_rows():
    """20 seeds and 400 rows are drawn again, independently; percentiles of the mean are the interval."""
    scores = drawn(np.random.default_rng(1), 20, 400)
    rng = np.random.default_rng(2)
    draws = [scores[rng.integers(20, size=20)][:, rng.integers(400, size=400)].mean() for _ in range(4000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    assert paired(sampled(scores), 0.0).half == pytest.approx((high - low) / 2, rel=0.1)


def test_the_part_of_the_rows_is_scipys_bootstrap():
    scores = drawn(np.random.default_rng(3), 5, 400)
    found = bootstrap((scores.mean(0),), np.mean, n_resamples=4000, random_state=np.random.default_rng(0))
    assert paired(sampled(scores), 0.0).by_rows == pytest.approx(found.standard_error, rel=0.15)


@pytest.mark.parametrize("of_seed, of_row", [(0.03, 0.5), (0.0, 0.5), (0.05, 0.1)])
def test_the_interval_holds_the_truth_in_95_of_100_experiments(of_seed, of_row):
    rng = np.random.default_rng(4)
    trials = [paired(sampled(drawn(rng, 5, 200, of_seed, of_row)), 0.1) for _ in range(500)]
    # A share of 0.95 has a standard error of 0.01; what seeds and rows do together is counted twice, which widens.
    assert 0.93 < np.mean([d.side == 0 for d in trials]) < 0.985


def test_seeds_alone_hold_the_truth_too_rarely():
    rng = np.random.default_rng(4)
    trials = [paired(sampled(drawn(rng, 5, 200))[0], 0.1) for _ in range(500)]
    assert np.mean([d.side == 0 for d in trials]) < 0.85


@pytest.mark.parametrize("by_rows", [np.nan, 0.004])
def test_the_seeds_that_are_asked_for_are_enough_and_no_more(by_rows):
    d = Difference("ua", 0.0, 0.02, 5, 0.03, by_rows)
    n = seeds_for(d, 0.01)
    rows = 0.0 if np.isnan(by_rows) else by_rows
    enough = [intervals._half(0.02, k, rows, 0.95) <= 0.01 for k in (n - 1, n)]
    assert enough == [False, True] and n == {True: 18, False: 41}[bool(np.isnan(by_rows))]


def test_seeds_cannot_make_up_for_rows_or_folds():
    d = Difference("ua", 0.0, 0.02, 5, 0.03, by_rows=0.008)
    assert seeds_for(d, 0.01) is None
    assert rows_for(d, 0.01) == pytest.approx((norm.ppf(0.975) * 0.8) ** 2)  # 2.46 times the rows
    assert seeds_for(d._replace(by_rows=np.nan, ratio=1 / 3), 0.01) is None
    assert rows_for(d._replace(by_rows=np.nan), 0.01) == 0


def test_p_is_that_of_scipys_paired_test_and_survivors_are_holms():
    a, b = pd.Series([0.61, 0.64, 0.60, 0.66, 0.63]), pd.Series([0.60, 0.61, 0.60, 0.62, 0.64])
    assert paired(a, b).p == pytest.approx(ttest_rel(a, b).pvalue)
    assert paired(a, b, confidence=0.99).p == pytest.approx(ttest_rel(a, b).pvalue)
    assert paired(a, a).p == 1 and paired(a, a - 0.01).p == pytest.approx(0)
    # In order: 0.01 < 0.05 / 4, 0.015 < 0.05 / 3, 0.03 > 0.05 / 2, and what follows falls with it.
    assert survivors([0.03, 0.01, 0.04, 0.015]) == [False, True, False, True]
    assert survivors([]) == []
