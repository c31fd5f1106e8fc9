"""Comparisons of all systems over data sets, conditions and seeds, by ranks and by differences.

Every function takes a table of blocks, one column per method, in which higher is better (see `blocks`). The tests assume
independent blocks. Corpora are independent; seeds on one data set share its rows, so by default they are averaged
(Demšar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006, section 3). Conditions of one data set
share its rows, too, and so do several forms of one corpus: p values over many of them are too small. `by_corpus` makes
one block per corpus.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2, f, studentized_range

from mmlib.metrics import better
from mmlib.report.intervals import paired
from mmlib.report.needs import CLEAN, HEADROOM
from mmlib.report.published import DROPOUT
from mmlib.report.rows import AVAILABLE, COMPLETE, Rows, main_metric, unflagged

_LEVEL = 0.05
_DIGITS = 12  # scores this close are tied: the same seeds averaged in another order differ in the last bit
_PRIOR = 0.5  # weight of the pseudo-observation; each block has weight 1

_NO_RIVALS = ("prior", DROPOUT)
_COSTS = {  # metric -> what it is, decimals
    "train_seconds": ("training, seconds", 1), "steps": ("optimiser steps", 0), "step_ms": ("a step, ms", 1),
    "parameters": ("parameters", 0),
}  # fmt: skip


class Friedman(NamedTuple):
    """`chi2` with k - 1 degrees, Iman-Davenport `f` with k - 1 and (k - 1)(N - 1), and the p value of each."""

    chi2: float
    chi2_p: float
    f: float
    f_p: float


class Nemenyi(NamedTuple):
    """`cd`: average ranks further apart than this differ at 5 %. `p`: methods x methods, adjusted for all pairs."""

    cd: float
    p: pd.DataFrame


class SignedRank(NamedTuple):
    """Probabilities that the first method is better, practically equal, worse; they add up to 1."""

    better: float
    equal: float
    worse: float


def blocks(rows: Rows, metric_of: Mapping[str, str] | None = None, per: str = "condition") -> pd.DataFrame:
    """The scores side by side: one line per block, one column per method, both in order of appearance.

    rows: columns dataset, method, condition, metric, seed, value; one row for each score.
    metric_of: the metric that counts, per data set; not needed where each data set has rows of a single one.
    per: 'condition' makes a block of (dataset, condition), with the mean over seeds, as seeds on the same data set are not
        independent data sets (Demšar 2006). 'seed' makes one of (dataset, condition, seed): to compare two methods on one
        data set with `intervals.paired`, not to test over data sets.

    Higher is better in the result: where lower is better (mae), the sign is turned.
    Raises ValueError for a missing column, no row, a data set without one metric to take, a score that occurs twice, and
    a method that lacks a block, or a seed of it, that any other has: no gap is dropped silently.
    """
    keys = ["dataset", "condition", "seed"]
    if lacking := [c for c in (*keys, "method", "metric", "value") if c not in rows]:
        raise ValueError(f"ranks.blocks: rows have no column {lacking[0]!r}; they have {list(rows.columns)}")
    if rows.empty:
        raise ValueError("ranks.blocks: there are no rows to compare")
    if per not in ("condition", "seed"):
        raise ValueError(f"ranks.blocks: per is {per!r}; it is 'condition' or 'seed'")
    metric_of = _single_metrics(rows) if metric_of is None else metric_of
    if unknown := sorted(set(rows["dataset"]) - set(metric_of)):
        raise ValueError(f"ranks.blocks: metric_of names no metric for dataset {unknown[0]!r}")

    scores = rows[rows["metric"] == rows["dataset"].map(dict(metric_of))]
    if (twice := scores.duplicated([*keys, "method"])).any():
        row = scores[twice].iloc[0]
        raise ValueError(f"ranks.blocks: method {row['method']!r} has two values of {_place(row, metric_of)}; keep one")
    # Blocks and methods of all rows: one that lacks the metric is a gap, too.
    index = pd.MultiIndex.from_frame(rows[keys].drop_duplicates())
    wide = scores.pivot(index=keys, columns="method", values="value").astype(float)
    wide = wide.reindex(index=index, columns=list(dict.fromkeys(rows["method"])))
    gaps = wide.isna().stack()
    gaps = gaps[gaps].index.to_frame(index=False)
    if len(gaps):
        others = f" ({len(gaps) - 1} more gaps)" if len(gaps) > 1 else ""
        gap = f"method {gaps['method'][0]!r} has no {_place(gaps.iloc[0], metric_of)}, or it is nan{others}"
        raise ValueError(f"ranks.blocks: {gap}; run it there, or take the method or the block out of the rows")
    smaller = [better(metric_of[name], 0.0, 1.0) for name in index.get_level_values("dataset")]
    wide = wide.mul(np.where(smaller, -1.0, 1.0), axis=0)
    return wide if per == "seed" else wide.groupby(["dataset", "condition"], sort=False).mean()


def _single_metrics(rows: pd.DataFrame) -> dict[str, str]:
    metrics_of = rows.groupby("dataset", sort=False)["metric"].unique()
    for name, metrics in metrics_of.items():
        if len(metrics) > 1:
            raise ValueError(f"ranks.blocks: dataset {name!r} has metrics {sorted(metrics)}; name one in metric_of")
    return {name: metrics[0] for name, metrics in metrics_of.items()}


def _place(row: pd.Series, metric_of: Mapping[str, str]) -> str:
    return f"{metric_of[row['dataset']]} on dataset {row['dataset']}, condition {row['condition']}, seed {row['seed']}"


def competing(rows: Rows) -> Rows:
    """The rows of `results("compare")` in the main metric of their data set, under the sets of available modalities.

    These conditions leave all rows of a data set the same modalities. Methods are in one order on all data sets.
    """
    main = rows["dataset"].map({name: main_metric(rows, name) for name in rows["dataset"].unique()})
    rows = rows[rows["metric"] == main]
    rows = rows.sort_values("method", key=lambda methods: methods.factorize()[0], kind="stable")
    return rows[rows["condition"].str.fullmatch(f"{AVAILABLE}|complete")]


def voting(rows: Rows) -> tuple[Rows, pd.DataFrame]:
    """The rows of `results("compare")` that may be ranked, and what was left out: data set, condition, seeds, why.

    A seed in which a competing system has a flag is left out for all systems of the data set, because blocks are compared
    whole. Left out are also data sets whose validation is contaminated, and conditions under which completion has no room.
    """
    flagged = rows[rows["flags"] != ""]
    lines, keep = [], pd.Series(True, index=rows.index)
    for (dataset, seed), part in _ranked(flagged).groupby(["dataset", "seed"], sort=False):
        systems = (part["method"] + ": " + part["flags"]).unique()
        lines.append((dataset, "all", str(seed), "; ".join(systems)))
        keep &= (rows["dataset"] != dataset) | (rows["seed"] != seed)
    for (dataset, condition), part in competing(rows).groupby(["dataset", "condition"], sort=False):
        needs = (CLEAN,) if condition in COMPLETE else (CLEAN, HEADROOM)
        if reason := next(filter(None, (need.lacks(rows, dataset, [condition]) for need in needs)), ""):
            lines.append((dataset, condition, "all", reason))
            keep[part.index] = False
    return unflagged(rows[keep]), pd.DataFrame(lines, columns=["data set", "condition", "seeds", "why"])


def _ranked(rows: Rows) -> Rows:
    return rows[~(rows["method"].str.endswith(" alone") | rows["method"].isin(["oracle", "all zeros", "coin"]))]


def comparison(rows: Rows, per: str = "condition") -> dict[str, pd.DataFrame]:
    """The blocks of `results("compare")`, by title. SMCIR, which needs text, is in the first table alone.

    Rows are those of `competing`, without systems of a single modality, all zeros, the coin and the oracle. per: as in
    `blocks`. What should not count, `voting` leaves out beforehand.
    """
    rows = _ranked(competing(rows))
    with_text, smcir = rows["condition"].isin(["complete", "available(text)"]), rows["method"].str.startswith("SMCIR")
    return {
        "text is there, all methods": blocks(rows[with_text], per=per),
        "either may be missing, without SMCIR": blocks(rows[~smcir], per=per),
    }


def average_ranks(table: pd.DataFrame) -> pd.Series:
    """Per method the mean over blocks of its rank: 1 for the highest score, tied scores share their mean rank.

    table: from `blocks`, higher is better; for raw errors pass `-table`. Raises ValueError for no block and for nan.
    """
    if table.empty or table.isna().to_numpy().any():
        raise ValueError(f"ranks: needs blocks x methods without gaps; the table is {table.shape}, or has nan")
    return table.round(_DIGITS).rank(axis=1, ascending=False).mean()


def friedman(table: pd.DataFrame) -> Friedman:
    """Do any of k methods differ over N blocks? Friedman's chi squared, and the less conservative F of Iman and Davenport.

    table: from `blocks`. Demšar 2006, section 3.2.2: chi2 = 12 N / (k (k + 1)) (sum of R_j^2 - k (k + 1)^2 / 4) of the
    average ranks R_j, and F = (N - 1) chi2 / (N (k - 1) - chi2), infinite where all blocks agree. As printed there, ties
    are not corrected for (scipy.stats.friedmanchisquare does), so with many ties both tests are conservative.
    Raises ValueError below 3 methods or 2 blocks, and for nan.
    """
    n, k = _size(table, "friedman")
    ranks = average_ranks(table)
    # The sum of squares about the mean rank: the printed difference of large numbers can end below 0.
    statistic = 12 * n / (k * (k + 1)) * float(((ranks - (k + 1) / 2) ** 2).sum())
    rest = n * (k - 1) - statistic
    ratio = math.inf if rest < 1e-9 else (n - 1) * statistic / rest
    return Friedman(statistic, float(chi2.sf(statistic, k - 1)), ratio, float(f.sf(ratio, k - 1, (k - 1) * (n - 1))))


def nemenyi(table: pd.DataFrame) -> Nemenyi:
    """Which of k methods differ, once `friedman` says that some do? All pairs, at 5 % for the whole family.

    table: from `blocks`. Demšar 2006, section 3.2.2: ranks are compared in units of sqrt(k (k + 1) / (6 N)) with the
    studentised range for infinite degrees, divided by sqrt 2. Raises ValueError below 3 methods or 2 blocks, and for nan.
    """
    n, k = _size(table, "nemenyi")
    ranks = average_ranks(table)
    unit = math.sqrt(k * (k + 1) / (6 * n)) / math.sqrt(2)
    apart = np.abs(np.subtract.outer(ranks.to_numpy(), ranks.to_numpy()))
    p = pd.DataFrame(studentized_range.sf(apart / unit, k, np.inf), ranks.index, ranks.index)
    return Nemenyi(float(studentized_range.ppf(1 - _LEVEL, k, np.inf)) * unit, p)


def _size(table: pd.DataFrame, function: str) -> tuple[int, int]:
    n, k = table.shape
    if n < 2 or k < 3:
        needs = "needs at least 2 blocks and 3 methods"
        raise ValueError(f"ranks.{function}: {needs}, got {n} and {k}; two methods: ranks.signed_rank")
    return n, k


def signed_rank(a: pd.Series, b: pd.Series, rope: float, draws: int = 50_000, seed: int = 0) -> SignedRank:
    """Is method a better than b over blocks? Bayesian signed-rank test with a region of practical equivalence.

    a, b: two columns of `blocks`, higher is better; differences must mean the same in all blocks, so mix no metrics.
    rope: at least 0; differences from -rope to rope are no difference, in units of the score (0.01: one point of accuracy).
    draws, seed: of the Monte Carlo estimate, whose standard error is at most 0.5 / sqrt(draws).

    With differences z_1 .. z_n, a pseudo-observation z_0 = 0 of prior weight 0.5, and w from Dirichlet(0.5, 1, .., 1), the
    mass above the region is the sum of w_i w_j over all i, j whose Walsh average (z_i + z_j) / 2 exceeds rope; likewise
    inside and below. Each probability is the share of draws in which that mass is the greatest (Benavoli et al.: A Bayesian
    Wilcoxon Signed-Rank Test Based on the Dirichlet Process, ICML 2014; with the region: Benavoli, Corani, Demšar, Zaffalon:
    Time for a Change, JMLR 2017).
    Raises ValueError where a and b have other blocks, none, or a value that is not finite, and for a negative rope.
    """
    if not rope >= 0:
        raise ValueError(f"ranks.signed_rank: rope is {rope}; it is at least 0, in units of the score")
    if not a.index.equals(b.index):
        raise ValueError("ranks.signed_rank: a and b need the same blocks in the same order, to be compared in pairs")
    differences = a.to_numpy(float) - b.to_numpy(float)
    if not len(differences) or not np.isfinite(differences).all():
        raise ValueError(f"ranks.signed_rank: needs at least 1 finite difference, got {differences.tolist()}")
    z = np.append(0.0, differences)
    # Rounded: in binary, 0.81 - 0.80 is more than 0.01.
    walsh = np.add.outer(z, z).round(_DIGITS) / 2  # (n + 1, n + 1)
    weights = np.random.default_rng(seed).dirichlet([_PRIOR] + [1.0] * (len(z) - 1), draws)  # (draws, n + 1)
    regions = walsh > rope, np.abs(walsh) <= rope, walsh < -rope
    mass = np.stack([((weights @ region.astype(float)) * weights).sum(1) for region in regions])  # (3, draws)
    return SignedRank(*(np.bincount(mass.argmax(0), minlength=3) / draws).tolist())


def by_corpus(table: pd.DataFrame) -> pd.DataFrame:
    """One block per corpus, the mean of its blocks: 'mosi' for mosi and mosi_bclstm with any pair of its modalities."""
    names = table.index.get_level_values("dataset")
    return table.groupby(names.map(lambda name: name.partition(",")[0].partition("_")[0])).mean()


def rank_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A line per table of blocks: average ranks, the critical difference of `nemenyi`, Friedman's p value as text."""
    lines = {}
    for title, table in tables.items():
        tests = {"critical difference": nemenyi(table).cd, "p": f"{friedman(table).chi2_p:.1e}"}
        lines[title] = {**average_ranks(table), **tests}
    return pd.DataFrame(lines).T.rename_axis("average ranks")


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Each score as the share of the way from the prior to the best method of its block, so that metrics can be mixed.

    table: from `blocks`, with a column 'prior'. 0: the prior or worse, 1: the best; nan where no method beats the prior.
    """
    gain = table.sub(table["prior"], axis=0).clip(lower=0)
    return gain.div(gain.max(axis=1), axis=0)


def learned(table: pd.DataFrame, by_seed: pd.DataFrame) -> pd.DataFrame:
    """The blocks whose best method beats the prior by more than noise: the 95 % interval over seeds is above 0.

    table, by_seed: `blocks` of the same rows per condition and per seed.
    """
    seeds = dict(list(by_seed.groupby(level=["dataset", "condition"])))
    best = table.idxmax(axis=1)
    return table[[paired(seeds[block][method], seeds[block]["prior"]).side == 1 for block, method in best.items()]]


def chances(table: pd.DataFrame, rope: float) -> pd.DataFrame:
    """Per method the probabilities of `signed_rank` against DROPOUT: better, equal, worse.

    table: from `relative`; rope in its units. The prior has no line.
    """
    lines = {m: signed_rank(table[m], table[DROPOUT], rope)._asdict() for m in table if m not in _NO_RIVALS}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def tally(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Per method the number of blocks in which its 95 % interval over seeds against DROPOUT is above, around or below 0.

    tables: `comparison(rows, per="seed")`; a method of both tables counts in the second, which has more blocks. The prior
    has no line.
    """
    lines = {}
    for table in tables.values():
        groups = [block for _, block in table.groupby(level=["dataset", "condition"])]
        for method in (m for m in table if m not in _NO_RIVALS):
            sides = [paired(block[method], block[DROPOUT]).side for block in groups]
            counts = {"better": sides.count(1), "interval contains 0": sides.count(0), "worse": sides.count(-1)}
            lines[method] = {"blocks": len(sides), **counts}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def costs(rows: Rows) -> pd.DataFrame:
    """What training costs, per method: 'median (smallest to largest)' over data sets of the medians over seeds.

    rows: of `results("compare")`; those of condition 'training' count.
    """
    rows = rows[(rows["condition"] == "training") & rows["metric"].isin(_COSTS)]
    medians = rows.groupby(["method", "metric", "dataset"], sort=False)["value"].median()
    spread = medians.groupby(["method", "metric"], sort=False).agg(["median", "min", "max"])
    text = "{:,.{d}f} ({:,.{d}f} to {:,.{d}f})"
    cells = {key: text.format(*line, d=_COSTS[key[1]][1]) for key, line in spread.T.items()}
    table = pd.Series(cells).unstack(sort=False).rename_axis("method")
    return table[list(_COSTS)].rename(columns=lambda metric: _COSTS[metric][0])
