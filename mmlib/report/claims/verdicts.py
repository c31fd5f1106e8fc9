"""What the four papers claim, and the verdict on each claim: `page()` computes all of them anew from the tables.

    from mmlib import report
    report.page("umdf")

A judge reads our rows (data/results) and the paper's printed numbers (data/reported), or computes on a small tensor with the
project's own code. No measured number is typed in, and no verdict except those that were withdrawn. The verdicts:

  holds, does not hold           by the paper's own tables, its definitions or a general argument, on any features
  ... on other features          by our measurement; features, splits and network sizes are not the paper's
  undecided on other features    the difference is within the noise, or the data sets disagree
  cannot be checked              something is missing, which the evidence names
  is being measured anew         our numbers do not support a verdict; the evidence says what is measured anew and why

Our systems are compared by pairs over seeds (same masks, same seed of weights and batches): the mean difference and its
two-sided t-interval at 95 %, in the task's main metric (`metrics.PRIMARY`), positive where the claim's side is better. A
data set is for the claim if the whole interval is above 0, and against the claim if the whole interval is below 0. A claim
holds if some data set is for it and none against it, does not hold in the opposite case, and is undecided otherwise. A
claim to be the best has one interval per rival, at 95 % for all together (Bonferroni): a data set is for the claim if the
method is better than every rival, against it if any rival is better. There is no correction for several data sets. Where
seeds are folds, which share training rows, the interval is corrected (`intervals.corrected_interval`). Synthetic clips are
shown where there are any, and have no vote. A claim about systems that are not built here is judged by the arithmetic of
the paper's table alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmlib.report.intervals import Difference, paired
from mmlib.report.published import DROPOUT
from mmlib.report.rows import CORPORA, Rows, SystemName, fold_ratio, main_metric, missing_conditions, score

HOLDS, FAILS = "holds", "does not hold"
HOLDS_HERE, FAILS_HERE = "holds on other features", "does not hold on other features"
UNDECIDED, UNCHECKED = "undecided on other features", "cannot be checked"
MEASURED_ANEW = "is being measured anew"
VERDICTS = (HOLDS, HOLDS_HERE, FAILS, FAILS_HERE, UNDECIDED, UNCHECKED, MEASURED_ANEW)
BASELINE = (DROPOUT, "")


class Judgement(NamedTuple):
    verdict: str
    evidence: str


Judge = Callable[[Rows, Rows], Judgement]
"""(our rows of the paper as `rows.results`, its printed numbers as `rows.reported`) -> verdict and evidence."""


@dataclass(frozen=True)
class Claim:
    """What a paper claims, in our words; where: the parts of the paper that state it, separated by '; '."""

    where: str
    judge: Judge
    text: str


def vote(sides: Iterable[int]) -> str:
    """The verdict of several data sets: for the claim 1, against it -1, neither 0."""
    sides = set(sides)
    if (1 in sides) == (-1 in sides):
        return UNDECIDED
    return HOLDS_HERE if 1 in sides else FAILS_HERE


def ballot(sides: Iterable[int], evidence: str) -> Judgement:
    """`vote`; where it is undecided, the reason stands behind the evidence."""
    sides = list(sides)
    verdict = vote(sides)
    reason = "the data sets disagree" if any(sides) else "no interval is clear of 0"
    return Judgement(verdict, f"{evidence}; {reason}" if verdict == UNDECIDED else evidence)


def compare(rows: Rows, dataset: str, a: SystemName, b: SystemName, conditions: Sequence[str]) -> Difference:
    """System a against b in the main metric, mean over conditions, paired over seeds or folds. May raise MissingRows."""
    metric, (paper,) = main_metric(rows, dataset), rows["paper"].unique()
    first, second = (score(rows, dataset, system, metric, conditions) for system in (a, b))
    return paired(first, second, metric, ratio=fold_ratio(paper, dataset))


def gains(
    ours: Rows,
    printed: Rows,
    *,
    a: SystemName,
    b: SystemName,
    datasets: Sequence[str],
    without_vote: Sequence[str] = (),
    complete: bool = False,
) -> Judgement:
    """System a against b, on complete rows or by the mean over all sets with something missing.

    datasets: those that vote. without_vote: those that stand in the evidence alone.
    """
    differences = {}
    for dataset in (*datasets, *without_vote):
        conditions = [CORPORA[dataset].complete] if complete else missing_conditions(ours, dataset)
        differences[dataset] = compare(ours, dataset, a, b, conditions)
    over = "complete clips" if complete else "mean over the sets with missing modalities"
    systems = f"{' '.join(a).strip()} over {' '.join(b).strip()}"
    evidence = f"Gain of {systems}, {over} ({certainty(differences)}): {listed(differences)}"
    return ballot([differences[d].side for d in datasets], evidence + (" (no vote)" if without_vote else ""))


def listed(values: Mapping[str, object]) -> str:
    """'name value, name value'; a data set that is tested on folds says so."""
    folds = {name for name in values if name in CORPORA and CORPORA[name].folds}
    return ", ".join(f"{name}{' (folds)' * (name in folds)} {value}" for name, value in values.items())


def certainty(differences: Mapping[str, Difference]) -> str:
    return f"95 %, {' or '.join(str(n) for n in sorted({d.seeds for d in differences.values()}))} seeds"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def span(values: Iterable[float], digits: int) -> str:
    """'smallest to largest', or one number where both print the same."""
    low, high = (f"{v:.{digits}f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
