import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f, friedmanchisquare, t, ttest_rel

from mmlib import show
from mmlib.report import ranks
from mmlib.report.intervals import paired
from mmlib.report.rows import CORPORA
from tests.helpers.figures import assert_texts_are_apart

METHODS = ("A", "B", "C")


def scores(metrics=None, seeds=(0, 1), conditions=("full", 0.5), seed=0):
    """Rows of three methods; metrics: per data set the names of its metrics."""
    rng = np.random.default_rng(seed)
    metrics = metrics or {"meld": ["accuracy"], "mosi": ["mae"]}
    keys = [
        (d, m, c, metric, s)
        for d in metrics
        for c, s, m, metric in itertools.product(conditions, seeds, METHODS, metrics[d])
    ]
    rows = pd.DataFrame(keys, columns=["dataset", "method", "condition", "metric", "seed"])
    return rows.assign(value=rng.random(len(rows)), paper="compare")


def table(values, methods=METHODS):
    return pd.DataFrame(np.asarray(values, float), columns=list(methods))


# Blocks


def test_blocks_average_over_seeds_and_keep_the_order_of_appearance():
    rows = scores()[::-1]
    found = ranks.blocks(rows)
    assert found.index.names == ["dataset", "condition"] and list(found.columns) == ["C", "B", "A"]
    assert list(found.index) == [("mosi", 0.5), ("mosi", "full"), ("meld", 0.5), ("meld", "full")]
    for (dataset, condition), method in itertools.product(found.index, METHODS):
        of_block = (rows["dataset"] == dataset) & (rows["condition"] == condition) & (rows["method"] == method)
        mean = rows.loc[of_block, "value"].mean()
        sign = -1 if dataset == "mosi" else 1  # mae
        assert found.loc[(dataset, condition), method] == pytest.approx(sign * mean)


def test_blocks_per_seed_are_the_values_themselves():
    rows = scores({"meld": ["accuracy"]})
    found = ranks.blocks(rows, per="seed")
    assert found.index.names == ["dataset", "condition", "seed"] and len(found) == 4
    for row in rows.itertuples():
        assert found.loc[(row.dataset, row.condition, row.seed), row.method] == row.value


def test_blocks_take_the_metric_named_for_each_data_set():
    rows = scores({"meld": ["accuracy", "ua"], "mosi": ["corr", "mae"]})
    found = ranks.blocks(rows, metric_of={"meld": "ua", "mosi": "mae"})
    alone = ranks.blocks(rows[rows["metric"].isin(["ua", "mae"])])
    pd.testing.assert_frame_equal(found, alone)
    with pytest.raises(ValueError, match=r"'meld' has metrics \['accuracy', 'ua'\]"):
        ranks.blocks(rows)
    with pytest.raises(ValueError, match="no metric for dataset 'mosi'"):
        ranks.blocks(rows, metric_of={"meld": "ua"})


@pytest.mark.parametrize("per", ["condition", "seed"])
def test_a_missing_block_is_named(per):
    rows = scores()
    gone = (rows["method"] == "B") & (rows["dataset"] == "mosi") & (rows["condition"] == 0.5)
    with pytest.raises(ValueError, match=r"'B' has no mae on dataset mosi, condition 0.5, seed 0.*\(1 more gap"):
        ranks.blocks(rows[~gone], per=per)
    with pytest.raises(ValueError, match="'B' has no mae on dataset mosi, condition 0.5, seed 1, or it is nan;"):
        ranks.blocks(rows[~(gone & (rows["seed"] == 1))], per=per)
    with pytest.raises(ValueError, match="'B' has no mae on dataset mosi, condition 0.5, seed 0"):
        ranks.blocks(rows.assign(value=rows["value"].mask(gone)), per=per)


def test_a_block_that_has_other_metrics_only_is_a_gap():
    rows = scores({"meld": ["accuracy", "ua"]})
    rows = rows[~((rows["metric"] == "ua") & (rows["condition"] == "full"))]
    with pytest.raises(ValueError, match="'A' has no ua on dataset meld, condition full, seed 0"):
        ranks.blocks(rows, metric_of={"meld": "ua"})
    with pytest.raises(ValueError, match="no map on dataset meld"):
        ranks.blocks(rows, metric_of={"meld": "map"})


def test_blocks_refuse_what_they_cannot_read():
    rows = scores()
    with pytest.raises(ValueError, match="'B' has two values of mae on dataset mosi, condition full, seed 1"):
        ranks.blocks(pd.concat([rows, rows.query("method == 'B' and dataset == 'mosi' and seed == 1").head(1)]))
    with pytest.raises(ValueError, match="no column 'seed'"):
        ranks.blocks(rows.drop(columns="seed"))
    with pytest.raises(ValueError, match="no rows"):
        ranks.blocks(rows[:0])
    with pytest.raises(ValueError, match="per is 'dataset'"):
        ranks.blocks(rows, per="dataset")


# Ranks


def test_average_ranks_of_a_table_by_hand():
    found = ranks.average_ranks(table([[0.9, 0.8, 0.7], [0.5, 0.5, 0.6], [0.4, 0.4, 0.4]]))
    #                                   1    2    3     2.5  2.5  1     2    2    2
    assert found.to_dict() == pytest.approx({"A": 5.5 / 3, "B": 6.5 / 3, "C": 2.0})


def test_scores_that_differ_by_rounding_alone_are_tied():
    assert 0.1 + 0.2 != 0.3
    assert ranks.average_ranks(table([[0.1 + 0.2, 0.3, 0.0]])).tolist() == [1.5, 1.5, 3]


def test_the_lowest_mae_and_the_highest_accuracy_are_rank_1():
    rows = scores(seeds=(0,), conditions=("full",))
    rows["value"] = [0.1, 0.2, 0.3] * 2
    rank = {d: ranks.average_ranks(part) for d, part in ranks.blocks(rows).groupby("dataset")}
    assert rank["meld"].to_dict() == {"A": 3, "B": 2, "C": 1}
    assert rank["mosi"].to_dict() == {"A": 1, "B": 2, "C": 3}


def demsar():
    """Ranks with the column sums of Demšar 2006, Table 6: 44, 28, 40.5 and 27.5 over 14 data sets."""
    lines = [[1, 2, 3, 4]] * 3 + [[1, 2, 4, 3]] + [[4, 2, 3, 1]] * 8 + [[4, 3, 1, 2], [4, 1, 2.5, 2.5]]
    return -table(lines, ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"])


def test_friedman_and_nemenyi_as_demsar_prints_them():
    assert ranks.average_ranks(demsar()).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    found = ranks.friedman(demsar())
    assert (round(found.chi2, 2), round(found.f, 2)) == (9.28, 3.69)
    assert 0.01 < found.f_p < found.chi2_p < 0.05  # 2.85 is the critical value of F(3, 39) at 5 %
    assert ranks.nemenyi(demsar()).cd == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_nemenyi_has_the_critical_values_of_demsars_table_5(k, q):
    found = ranks.nemenyi(table(np.random.default_rng(k).random((7, k)), range(k)))
    assert found.cd / math.sqrt(k * (k + 1) / (6 * 7)) == pytest.approx(q, abs=1e-3)


def test_friedman_is_scipys_without_ties():
    values = np.random.default_rng(1).random((9, 5))
    found = ranks.friedman(table(values, range(5)))
    expected = friedmanchisquare(*values.T)
    assert (found.chi2, found.chi2_p) == pytest.approx((expected.statistic, expected.pvalue))
    # Iman and Davenport's F is that of a two-way analysis of variance of the ranks.
    rank = np.argsort(np.argsort(-values, 1), 1) + 1.0
    between = 9 * ((rank.mean(0) - 3) ** 2).sum()
    within = ((rank - rank.mean(0)) ** 2).sum()
    assert found.f == pytest.approx((between / 4) / (within / 32))
    assert found.f_p == pytest.approx(f.sf(found.f, 4, 32))


def test_friedman_at_both_ends():
    assert ranks.friedman(table([[0.5] * 3] * 4)) == (0, 1, 0, 1)
    agreed = ranks.friedman(table([[0.9, 0.7, 0.5]] * 7))
    assert agreed.chi2 == pytest.approx(14) and agreed.f == math.inf and agreed.f_p == 0


def test_nemenyi_p_values_are_below_5_percent_where_ranks_are_further_apart_than_cd():
    values = np.random.default_rng(3).random((30, 6)) + np.linspace(0, 0.6, 6)
    found = ranks.nemenyi(table(values, "abcdef"))
    rank = ranks.average_ranks(table(values, "abcdef"))
    apart = np.abs(rank.to_numpy()[:, None] - rank.to_numpy()) > found.cd
    assert apart.any() and not apart.all()
    np.testing.assert_array_equal(found.p < 0.05, apart)
    assert list(found.p.index) == list(found.p.columns) == list("abcdef")
    assert (np.diag(found.p) == 1).all() and np.array_equal(found.p, found.p.T)


@pytest.mark.parametrize("test", [ranks.friedman, ranks.nemenyi])
def test_too_few_methods_or_blocks(test):
    with pytest.raises(ValueError, match="2 blocks and 3 methods, got 5 and 2"):
        test(table(np.ones((5, 2)), "AB"))
    with pytest.raises(ValueError, match="2 blocks and 3 methods, got 1 and 3"):
        test(table(np.ones((1, 3))))
    with pytest.raises(ValueError, match="nan"):
        test(table([[1, 2, 3], [1, 2, math.nan]]))


# Bayesian signed-rank test


def test_signed_rank_is_the_sum_over_walsh_averages():
    rng = np.random.default_rng(5)
    a, b = pd.Series(rng.normal(0.02, 0.05, 6)), pd.Series(np.zeros(6))
    found = ranks.signed_rank(a, b, rope=0.02, draws=300, seed=9)
    z = [0.0, *a]
    wins = np.zeros(3)
    for w in np.random.default_rng(9).dirichlet([0.5] + [1] * 6, 300):
        mass = np.zeros(3)
        for i, j in itertools.product(range(7), range(7)):
            average = (z[i] + z[j]) / 2
            mass[0 if average > 0.02 else 2 if average < -0.02 else 1] += w[i] * w[j]
        wins[mass.argmax()] += 1
    assert tuple(found) == pytest.approx(tuple(wins / 300))
    assert min(found[:2]) > 0.1


def test_signed_rank_of_one_block_by_hand():
    # w_1 of weight 1 beside w_0 of weight 0.5, zeros within the region: the mass above is w_1^2 + 2 w_0 w_1 for a
    # difference of 1 and a region of 0.4, where the average 0.5 counts; w_1^2 alone for 0.6. w_1 is Beta(1, 0.5).
    one, zero = pd.Series([1.0]), pd.Series([0.0])
    wide, narrow = (ranks.signed_rank(one, zero, rope, draws=200_000) for rope in (0.6, 0.4))
    assert wide.better == pytest.approx(math.sqrt(1 - math.sqrt(0.5)), abs=0.005)  # w_1^2 > 0.5
    assert narrow.better == pytest.approx(math.sqrt(math.sqrt(0.5)), abs=0.005)  # (1 - w_1)^2 < 0.5
    assert wide.worse == narrow.worse == 0


def test_signed_rank_is_symmetric_and_reproducible():
    rng = np.random.default_rng(2)
    a, b = pd.Series(rng.normal(0, 1, 12)), pd.Series(rng.normal(0.3, 1, 12))
    there, back = ranks.signed_rank(a, b, 0.2, draws=4000), ranks.signed_rank(b, a, 0.2, draws=4000)
    assert tuple(there) == tuple(back)[::-1] and there.worse > there.better > 0
    assert sum(there) == pytest.approx(1)
    assert there == ranks.signed_rank(a, b, 0.2, draws=4000) != ranks.signed_rank(a, b, 0.2, draws=4000, seed=1)


def test_signed_rank_of_clear_cases():
    a = pd.Series(np.linspace(0.6, 0.8, 10))
    assert ranks.signed_rank(a, a, rope=0.0) == (0, 1, 0)
    assert ranks.signed_rank(a, a - 0.01, rope=0.01) == (0, 1, 0)  # the region includes its ends, but for rounding
    assert ranks.signed_rank(a, a - 0.05, rope=0.01).better > 0.999
    assert ranks.signed_rank(a - 0.05, a, rope=0.01).worse > 0.999


def test_signed_rank_follows_the_direction_of_the_metric():
    for metric, expected in (("mae", "worse"), ("accuracy", "better")):
        rows = scores({f"set {k}": [metric] for k in range(8)})
        rows["value"] = 0.5 + 0.1 * (rows["method"] == "A")
        found = ranks.blocks(rows)
        assert getattr(ranks.signed_rank(found["A"], found["B"], rope=0.01), expected) > 0.99
        assert (paired(found["A"], found["B"]).mean > 0) == (metric == "accuracy")


def test_pairs_need_the_same_blocks_and_finite_values():
    a = pd.Series([0.1, 0.2], ["x", "y"])
    with pytest.raises(ValueError, match="same blocks in the same order"):
        ranks.signed_rank(a, a[::-1], 0.1)
    for compare in (lambda a, b: ranks.signed_rank(a, b, 0.1), paired):
        with pytest.raises(ValueError, match="finite"):
            compare(a, pd.Series([0.1, math.nan], ["x", "y"]))
        with pytest.raises(ValueError, match="at least|two seeds"):
            compare(a[:0], a[:0])


@pytest.mark.parametrize("rope", [-0.01, math.nan])
def test_rope_is_not_negative(rope):
    with pytest.raises(ValueError, match=f"rope is {rope}"):
        ranks.signed_rank(pd.Series([0.1]), pd.Series([0.2]), rope)


# Paired over seeds


def test_paired_by_hand_and_as_scipys_paired_t_test():
    a, b = pd.Series([0.72, 0.70, 0.74, 0.71, 0.73]), pd.Series([0.70, 0.69, 0.71, 0.71, 0.69])
    found = paired(a, b)  # differences 0.02, 0.01, 0.03, 0, 0.04: mean 0.02, variance 0.00025
    half = t.ppf(0.975, 4) * math.sqrt(0.00025 / 5)
    assert (found.mean, found.half) == pytest.approx((0.02, half))
    interval = ttest_rel(a, b).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((interval.low, interval.high))
    assert (paired(b, a).mean, paired(b, a).half) == pytest.approx((-0.02, half))


def test_paired_needs_two_seeds():
    with pytest.raises(ValueError, match="an interval needs two seeds, got 1"):
        paired(pd.Series([1.0]), pd.Series([0.5]))


# Critical difference diagram

SYSTEMS = ["SIM-C", "SMCIR", "UMDF", "ADMC", "zero fill", "zero fill + modality dropout", "mean fill", "MMIN", "MulT"]
SYSTEMS += ["best single modality", "majority class", "late fusion of three separately trained classifiers"]
TWELVE = pd.Series([3.1, 3.4, 4.2, 4.2, 7.9, 6.1, 8.3, 5.5, 6.4, 9.2, 11.6, 8.1], SYSTEMS)


def drawn(figure, cd):
    """First and last rank of each thick bar, read off the picture."""
    (panel,) = figure.axes
    ticks = {text.get_text(): text.get_position()[0] for text in panel.texts if text.get_text().isdigit()}
    one, unit = ticks["1"], ticks["2"] - ticks["1"]
    (ruler,) = [line for line in panel.lines if line.get_marker() == "|"]
    assert np.ptp(ruler.get_xdata()) == pytest.approx(cd * unit)
    bars = [line.get_xdata() for line in panel.lines if line.get_linewidth() > 3]
    return [tuple(np.round((np.array(x) + [0.04, -0.04] - one) / unit + 1, 3)) for x in bars]


def test_bars_join_what_is_not_further_apart_than_cd():
    joined = [(3.1, 6.4), (5.5, 8.3), (6.1, 9.2), (8.3, 11.6)]
    assert drawn(show.critical_difference(TWELVE, 3.4), 3.4) == joined
    assert drawn(show.critical_difference(TWELVE, 0.25), 0.25) == [(4.2, 4.2), (7.9, 8.1), (8.1, 8.3)]
    three = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0})
    assert drawn(show.critical_difference(three, 0.9), 0.9) == []
    assert drawn(show.critical_difference(three, 2.34), 2.34) == [(1, 3)]


@pytest.mark.parametrize("cd", [0.25, 3.4, 11.9])
@pytest.mark.parametrize("ranked", [TWELVE, pd.Series(6.5, SYSTEMS), pd.Series({"SIM-C": 1.5, "SMCIR": 1.5})])
def test_critical_difference_is_legible(ranked, cd):
    figure = show.critical_difference(ranked, cd, title="accuracy, 9 data sets")
    assert figure.get_figwidth() <= 7 and figure.get_suptitle() == "accuracy, 9 data sets"
    texts = {" ".join(text.get_text().split()) for text in figure.axes[0].texts}
    assert {f"{name} ({rank:.2f})" for name, rank in ranked.items()} <= texts
    assert f"critical difference {cd:.2f}" in texts
    assert all(0 <= x <= figure.get_figwidth() for line in figure.axes[0].lines for x in line.get_xdata())
    assert_texts_are_apart(figure)


def test_each_line_leads_from_the_rank_to_the_name_and_crosses_no_other():
    figure = show.critical_difference(TWELVE, 2.0)
    (panel,) = figure.axes
    ticks = {text.get_text(): text.get_position()[0] for text in panel.texts if text.get_text().isdigit()}
    for name, rank in TWELVE.items():
        (label,) = [text for text in panel.texts if " ".join(text.get_text().split()) == f"{name} ({rank:.2f})"]
        x, y = label.get_position()
        (line,) = [line for line in panel.lines if len(line.get_xdata()) == 3 and line.get_ydata()[2] == y
                   and abs(line.get_xdata()[2] - x) < 0.06]  # fmt: skip
        assert line.get_xdata()[0] == pytest.approx(ticks["1"] + (rank - 1) * (ticks["2"] - ticks["1"]))
    elbows = [line.get_xydata() for line in panel.lines if len(line.get_xdata()) == 3]
    for one, other in itertools.permutations(elbows, 2):
        (x, bottom), (end, _) = one[1:]  # its horizontal part; the vertical one of the other is at other[0, 0]
        assert not min(x, end) < other[0, 0] < max(x, end) or other[1, 1] < bottom


@pytest.mark.parametrize(
    ("ranked", "cd"),
    [([1.0], 1.0), ([1.0, 3.0, 2.5, 5.0], 1.0), ([0.5, 2.0], 1.0), ([1.0, math.nan], 1.0), ([1.0, 2.0], 0.0),
     ([1.0, 2.0], math.nan), ([1.0, 2.0], math.inf)],
)  # fmt: skip
def test_critical_difference_refuses_what_are_no_ranks(ranked, cd):
    with pytest.raises(ValueError, match="show.critical_difference: needs"):
        show.critical_difference(pd.Series(ranked), cd)


# The comparison


def test_the_comparison_leaves_out_who_does_not_compete_and_smcir_where_text_is_away():
    conditions = ("available(text)", "available(audio)", "complete", "patterns(keep=text)")
    methods = ("UMDF", "SMCIR", "SMCIR, corrected", "prior", "text alone", "oracle", "all zeros")
    keys = itertools.product(["mosi"], methods, conditions, ["mae", "corr"], [0, 1])
    rows = pd.DataFrame(keys, columns=["dataset", "method", "condition", "metric", "seed"])
    rows = rows[~(rows["method"].str.startswith("SMCIR") & (rows["condition"] == "available(audio)"))]
    rows = rows.assign(value=np.random.default_rng(0).random(len(rows)))
    there, either = ranks.comparison(rows).values()
    assert list(there.columns) == ["UMDF", "SMCIR", "SMCIR, corrected", "prior"]
    assert list(there.index) == [("mosi", "available(text)"), ("mosi", "complete")]
    assert list(either.columns) == ["UMDF", "prior"] and len(either) == 3
    by_seed = ranks.comparison(rows, per="seed")
    for title, blocks in ranks.comparison(rows).items():
        averaged = by_seed[title].groupby(["dataset", "condition"], sort=False).mean()
        pd.testing.assert_frame_equal(averaged, blocks)
    mae = rows.query("metric == 'mae' and method == 'UMDF' and condition == 'complete'")["value"].mean()
    assert there.loc[("mosi", "complete"), "UMDF"] == pytest.approx(-mae)


# All systems on the same data


def compared():
    """Seeds 0 and 1 of two corpora, one in two forms, higher is better: the prior, a baseline and two methods."""
    names = ("prior", ranks.DROPOUT, "SIM-C", "SMCIR")
    values = {  # (dataset, condition) -> per method the scores of both seeds
        ("mosi", "complete"): ((0.2, 0.2), (0.5, 0.6), (0.8, 0.9), (0.4, 0.7)),
        ("mosi_bclstm, text + audio", "complete"): ((0.2, 0.2), (0.5, 0.6), (0.4, 0.5), (0.6, 0.7)),
        ("iemocap", "complete"): ((0.2, 0.2), (0.1, 0.1), (0.0, 0.9), (0.1, 0.2)),
    }
    keys = [(*block, seed) for block in values for seed in (0, 1)]
    index = pd.MultiIndex.from_tuples(keys, names=["dataset", "condition", "seed"])
    by_seed = pd.DataFrame([dict(zip(names, v)) for scores in values.values() for v in zip(*scores)], index)
    return by_seed.groupby(["dataset", "condition"], sort=False).mean(), by_seed


def test_relative_is_the_share_of_the_way_from_the_prior_to_the_best():
    shares = ranks.relative(compared()[0])
    assert shares.loc[("mosi", "complete")].tolist() == pytest.approx([0, 0.35 / 0.65, 1, 0.35 / 0.65])
    assert shares.loc[("iemocap", "complete")].tolist() == pytest.approx([0, 0, 1, 0])  # below the prior is 0
    assert ranks.relative(compared()[0][["prior", "SMCIR"]]).iloc[2].isna().all()  # nobody beats the prior


def test_learned_leaves_out_blocks_whose_best_does_not_clearly_beat_the_prior():
    """Two scores that differ by 0.1 have an interval of ± 12.706 * 0.05: 0.65 is clear of it, 0.45 is not."""
    table, by_seed = compared()
    assert list(ranks.learned(table, by_seed).index) == [("mosi", "complete")]


def test_tally_counts_blocks_above_around_and_below_the_baseline():
    _, by_seed = compared()
    # SIM-C: +0.3 and +0.3, -0.1 and -0.1, -0.1 and +0.8. SMCIR: -0.1 and +0.1, +0.1 and +0.1, 0 and +0.1.
    counts = ranks.tally({"first": by_seed, "second": by_seed.iloc[:4].drop(columns="SMCIR")})
    assert list(counts) == ["blocks", "better", "interval contains 0", "worse"]
    assert counts.loc["SMCIR"].tolist() == [3, 1, 2, 0] and counts.loc["SIM-C"].tolist() == [2, 1, 0, 1]
    assert ranks.tally({"first": by_seed}).loc["SIM-C"].tolist() == [3, 1, 1, 1]


def test_chances_are_those_of_the_signed_rank_test():
    shares = ranks.relative(compared()[0])
    found = ranks.chances(shares, rope=0.01)
    assert list(found.index) == ["SIM-C", "SMCIR"] and list(found) == ["better", "equal", "worse"]
    assert tuple(found.loc["SMCIR"]) == ranks.signed_rank(shares["SMCIR"], shares[ranks.DROPOUT], 0.01)


def test_a_corpus_is_one_block_whatever_its_forms():
    table, _ = compared()
    corpora = ranks.by_corpus(table)
    assert list(corpora.index) == ["iemocap", "mosi"]
    assert corpora.loc["mosi"].tolist() == pytest.approx([0.2, 0.55, (0.85 + 0.45) / 2, (0.55 + 0.65) / 2])
    line = ranks.rank_table({"two corpora": corpora}).loc["two corpora"]
    assert line[list(corpora)].tolist() == ranks.average_ranks(corpora).tolist() == [3, 3.5, 1, 2.5]
    assert line["critical difference"] == ranks.nemenyi(corpora).cd
    assert line["p"] == f"{ranks.friedman(corpora).chi2_p:.1e}"


def test_costs_are_medians_over_seeds_then_over_data_sets():
    values = {("a", "x"): (1, 2, 9), ("a", "y"): (4, 4, 4), ("b", "x"): (1000, 2000, 3000)}  # per method and data set
    rows = [
        {"method": m, "dataset": d, "condition": "training", "metric": metric, "seed": seed, "value": value}
        for (m, d), scores in values.items() for seed, value in enumerate(scores)
        for metric in ("train_seconds", "steps", "step_ms", "parameters", "epochs")
    ]  # fmt: skip
    table = ranks.costs(pd.DataFrame([*rows, {**rows[0], "condition": "complete", "value": 99.0}]))
    assert list(table) == ["training, seconds", "optimiser steps", "a step, ms", "parameters"]
    assert table.index.name == "method"  # an index without a name is not shown
    assert table.loc["a"].tolist() == ["3.0 (2.0 to 4.0)", "3 (2 to 4)", "3.0 (2.0 to 4.0)", "3 (2 to 4)"]
    assert table.loc["b", "parameters"] == "2,000 (2,000 to 2,000)" and list(table.index) == ["a", "b"]


def test_methods_compete_in_the_main_metric_and_in_one_order():
    keys = [("iemocap", "b", "ua"), ("mosi", "a", "mae"), ("mosi", "b", "mae"), ("mosi", "b", "corr")]
    rows = pd.DataFrame(
        [(*key, c) for key in keys for c in ("complete", "available(text)", "patterns")],
        columns=["dataset", "method", "metric", "condition"],
    )
    found = ranks.competing(rows)
    assert found["method"].tolist() == ["b"] * 4 + ["a"] * 2 and set(found["metric"]) == {"ua", "mae"}
    assert set(found["condition"]) == {"complete", "available(text)"}


def test_flagged_rows_and_blocks_without_a_vote_are_left_out(monkeypatch):
    monkeypatch.setitem(CORPORA, "mosi_bclstm", replace(CORPORA["mosi_bclstm"], contaminated=True))
    keys = itertools.product(
        ["mosi_words", "mosi_bclstm, text + audio"],
        ["A", "B", "text alone"],
        ["available(text)", "complete"],
        [0, 1, 2],
    )
    rows = pd.DataFrame(keys, columns=["dataset", "method", "condition", "seed"])
    rows = rows.assign(metric="mae", value=1.0, paper="compare", flags="")
    flagged = (rows["dataset"] == "mosi_words") & (rows["method"] == "A") & (rows["seed"] == 1)
    alone = (rows["method"] == "text alone") & (rows["seed"] == 2)
    rows.loc[flagged, "flags"], rows.loc[alone, "flags"] = "limit (mf)", "at_prior (text)"
    monkeypatch.setattr("mmlib.report.needs.has_vote", lambda *_: (True, ""))
    kept, left_out = ranks.voting(rows)
    assert left_out.to_numpy().tolist() == [
        ["mosi_words", "all", "1", "A: limit (mf)"],
        ["mosi_bclstm, text + audio", "available(text)", "all", "its validation labels trained the features"],
        ["mosi_bclstm, text + audio", "complete", "all", "its validation labels trained the features"],
    ]
    assert set(zip(kept["dataset"], kept["seed"])) == {("mosi_words", 0), ("mosi_words", 2)}
    assert set(kept.loc[kept["method"] == "text alone", "seed"]) == {0}, "its flag is no other system's"
    table = ranks.blocks(kept[kept["method"] != "text alone"], per="seed")
    assert list(table) == ["A", "B"] and len(table) == 4
    monkeypatch.setattr("mmlib.report.needs.has_vote", lambda *_: (False, "complete is not better"))
    kept, left_out = ranks.voting(rows)
    assert ["mosi_words", "available(text)", "all", "complete is not better"] in left_out.to_numpy().tolist()
    assert set(kept["condition"]) == {"complete"}, "nothing is to be completed there"
