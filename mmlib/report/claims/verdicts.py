"""What the four papers claim and what becomes of it, claim by claim: `page()` judges anew from the tables each time.

    from mmlib import report
    report.page("UMDF")

A judge reads our rows (data/results) and the paper's printed numbers (data/reported), or computes on a small tensor with the
project's own code; no measured number is typed in, and no verdict but one that was withdrawn. The verdicts:

  holds, does not hold           by the paper's own tables, its definitions or a general argument: features play no part
  ... on other features          by our measurement; features, splits and network sizes are not the paper's
  undecided on other features    the difference is within the noise, or the data sets disagree
  cannot be checked              something is missing, which the evidence names
  is being measured anew         our numbers do not carry a verdict; the evidence says what is measured anew and why

Ours are compared by pairs over seeds (same masks, same seed of weights and batches): the mean difference and its
two-sided t-interval at 95 %, in the task's main metric (`metrics.PRIMARY`), positive where the claim's side is better. A
data set is for the claim if all of the interval is above 0, against it if all of it is below. A claim holds if some data
set is for it and none against, does not hold if it is the other way about, and is undecided otherwise. A claim to be the
best takes one interval per rival, at 95 % for all together (Bonferroni): for it if better than every rival, against it if
any rival is better. There is no correction for several data sets. Where seeds are folds, which share training rows, the
interval is wider by as much (`metrics.corrected_interval`). Synthetic clips are shown where there are any, and have
no vote. What a table says about systems that are not built here is judged as that table's arithmetic, no more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmlib.report.intervals import FOLDED, Difference, paired
from mmlib.report.rows import COMPLETE, Entry, Rows, holes, main_metric, score

HOLDS, FAILS = "holds", "does not hold"
HOLDS_HERE, FAILS_HERE = "holds on other features", "does not hold on other features"
UNDECIDED, UNCHECKED = "undecided on other features", "cannot be checked"
MEASURED_ANEW = "is being measured anew"
VERDICTS = (HOLDS, HOLDS_HERE, FAILS, FAILS_HERE, UNDECIDED, UNCHECKED, MEASURED_ANEW)


SIMPLE = ("zero fill + modality dropout", "")  # the simplest remedy against missing modalities


class Judgement(NamedTuple):
    verdict: str
    evidence: str


Judge = Callable[[Rows, Rows], Judgement]
"""(our rows of the paper as `report.rows.results`, its printed numbers as `report.rows.reported`) -> verdict and evidence."""


@dataclass(frozen=True)
class Claim:
    """What a paper claims, in our words, where it does so (parts of the paper, separated by '; '), and who judges it."""

    paper: str
    where: str
    text: str
    judge: Judge


def vote(sides: Iterable[int]) -> str:
    """The verdict of several data sets: for the claim 1, against it -1, neither 0."""
    sides = set(sides)
    if (1 in sides) == (-1 in sides):
        return UNDECIDED
    return HOLDS_HERE if 1 in sides else FAILS_HERE


def ballot(sides: Iterable[int], evidence: str) -> Judgement:
    """`vote`, with the reason for being undecided behind the evidence."""
    sides = list(sides)
    verdict = vote(sides)
    reason = "the data sets disagree" if any(sides) else "no interval is clear of 0"
    return Judgement(verdict, f"{evidence}; {reason}" if verdict == UNDECIDED else evidence)


def gains(
    ours: Rows,
    printed: Rows,
    *,
    a: Entry,
    b: Entry,
    datasets: Sequence[str],
    shown: Sequence[str] = (),
    conditions: Sequence[str] | None = None,
) -> Judgement:
    """Entry a against b under conditions, by default the mean over all sets with something missing.

    datasets: those that vote; shown: those that do not.
    """
    found = {}
    for dataset in (*datasets, *shown):
        where, metric = conditions or holes(ours, dataset), main_metric(ours, dataset)
        first, second = (score(ours, dataset, system, metric, where) for system in (a, b))
        found[dataset] = paired(first, second, metric, ratio=FOLDED.get(dataset, 0.0))
    over = "complete clips" if conditions == COMPLETE else "mean over the sets with holes"
    evidence = f"Gain of {' '.join(a).strip()} over {' '.join(b).strip()}, {over} ({_sure(found)}): {_listed(found)}"
    return ballot([found[d].side for d in datasets], evidence + (" (no vote)" if shown else ""))


def _listed(found: Mapping[str, object]) -> str:
    return ", ".join(f"{name}{' (folds)' * (name in FOLDED)} {value}" for name, value in found.items())


def _sure(found: Mapping[str, Difference]) -> str:
    return f"95 %, {' or '.join(str(n) for n in sorted({d.seeds for d in found.values()}))} seeds"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _span(values: Iterable[float], digits: int) -> str:
    low, high = (f"{v:.{digits}f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
