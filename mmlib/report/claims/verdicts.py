"""What the four papers claim, and the verdict on each claim: `page()` computes all of them anew from the tables.

    from mmlib import report
    report.page("umdf")

A judge reads our rows (data/results) and the paper's printed numbers (data/reported), or computes on a small tensor with the
project's own code. No measured number and no verdict is typed in. The verdicts:

  holds, does not hold           by the paper's own tables, its definitions or a general argument, on any features
  ... on other features          by our measurement; features, splits and network sizes are not the paper's
  no effect larger than stated   every interval lies between -x and x; the evidence states x
  undecidable with what is there the evidence says which effects are excluded, and how many seeds or test rows would decide
  cannot be checked              no data set can vote; the evidence says why, or which study makes the rows

Our systems are compared by pairs over seeds and test rows (`intervals.paired`): the mean difference and its interval at
95 %, in the task's main metric (`metrics.PRIMARY`), positive where the claim's side is better. A data set is for the claim
if the whole interval is above 0, and against the claim if the whole interval is below 0. The x of a data set is the effect
that the paper prints, where it prints one in the same metric for the same corpus, else `MARGIN`. Seeds would decide with an
interval of ± x / 2, which excludes either 0 or x. A claim holds if some data set is for it and none against it, and does not
hold in the opposite case. A claim against several rivals has one interval per rival, at 95 % for all together (Bonferroni):
a data set is for the claim if the method is better than every rival, against it if any rival is better. There is no
correction for several data sets or claims: `page.by_chance` counts what is left after one.

A data set votes where it has what the claim needs (`mmlib.report.needs`); others stand in the evidence with the reason.
Rows of systems with a flag, such as training that ended at its limit, do not count. Where seeds are folds, which share
training rows, the interval is corrected (`intervals.corrected_interval`). A verdict that synthetic data alone carry says so.
A claim about systems that are not built here is judged by the arithmetic of the paper's table alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from mmlib.metrics import better
from mmlib.report.intervals import Difference, against, rows_for, seeds_for
from mmlib.report.needs import Need
from mmlib.report.published import BASELINES, CONTROLS, PEER_CONTROLS, READINGS
from mmlib.report.rows import (
    AVERAGE,
    CORPORA,
    MissingRows,
    Rows,
    SystemName,
    absent,
    fold_ratio,
    grid,
    main_metric,
    missing_conditions,
    sampled,
    score,
    unflagged,
    validated,
)

HOLDS, FAILS = "holds", "does not hold"
HOLDS_HERE, FAILS_HERE = "holds on other features", "does not hold on other features"
NO_LARGER = "no effect larger than stated"
UNDECIDABLE, UNCHECKED = "undecidable with what is there", "cannot be checked"
VERDICTS = (HOLDS, HOLDS_HERE, FAILS, FAILS_HERE, NO_LARGER, UNDECIDABLE, UNCHECKED)
_FEWEST_SEEDS = 3
MARGIN = {"mae": 0.02}
"""The smallest effect that matters where the paper prints none; 0.01, one point, for every other metric."""


class Judgement(NamedTuple):
    """votes: the intervals on which the verdict rests; none where it does not rest on a measurement."""

    verdict: str
    evidence: str
    votes: tuple[Difference, ...] = ()


class NoVote(Exception):
    """Raised by a measure: why a data set could not show what is claimed."""


class Case(NamedTuple):
    """What a judge reads.

    ours, printed: as of `rows.results` without flagged rows, and of `rows.reported`. flagged: the rows left out. needs: what
    a data set must have to vote.
    """

    paper: str
    ours: Rows
    printed: Rows
    flagged: Rows
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What a paper claims, in our words; where: the parts of the paper that state it, separated by '; '.

    needs: what a data set must have to vote on it.
    """

    where: str
    judge: Callable[[Case], Judgement]
    text: str
    needs: tuple[Need, ...] = ()

    def judged(self, paper: str, ours: Rows, printed: Rows) -> Judgement:
        """ours, printed: as of `rows.results` and `rows.reported`."""
        flagged = ours[ours["flags"] != ""]
        return self.judge(Case(paper, unflagged(ours), printed, flagged, self.needs))


class Printed(NamedTuple):
    """An effect that a paper prints: of a full system, over the same without a part.

    metric: ours. name: its name in the table. full_table: where the full system stands, if elsewhere. scope: of SCOPES.
    """

    metric: str
    name: str
    table: str
    dataset: str
    full: str
    without: str
    full_table: str = ""
    scope: str = "missing"

    def effect(self, printed: Rows) -> float:
        """In the unit of our metric, positive where the full system is better."""
        column = "complete" if self.scope == "complete" else AVERAGE
        full, without = (
            grid(printed, table, self.dataset, self.name).loc[method, column]
            for table, method in ((self.full_table or self.table, self.full), (self.table, self.without))
        )
        gain = full - without if better(self.metric, 1.0, 0.0) else without - full
        return gain if self.metric in ("mae", "corr") else gain / 100


class Measured(NamedTuple):
    """What a data set says under a scope.

    gains: over each rival. published: the printed effect that belongs to it. check: our effect in the metric of the printed
    one, where that is not the metric of `gains`. aside: what else stands in the evidence.
    """

    gains: Mapping[str, Difference]
    published: float | None = None
    check: Difference | None = None
    aside: str = ""

    @property
    def weakest(self) -> Difference:
        return min(self.gains.values(), key=lambda d: d.mean)

    @property
    def side(self) -> int:
        """1: better than every rival, -1: some rival is better, 0: neither."""
        sides = {d.side for d in self.gains.values()}
        return -1 if -1 in sides else int(sides == {1})

    @property
    def margin(self) -> float:
        """The x of this data set."""
        printed = abs(self.published) if self.published and not self.check else 0.0
        return printed or MARGIN.get(self.weakest.metric, 0.01)

    @property
    def is_small(self) -> bool:
        return bool(self.side == 0 and self.weakest.largest <= self.margin)

    def __str__(self) -> str:
        gains = listed_gains(self.gains)
        notes = [note for note in (self._size(), self._published(), self.aside) if note]
        return gains + (f" [{'; '.join(notes)}]" if notes else "")

    def _size(self) -> str:
        d, x = self.weakest, self.margin
        if self.side:
            return ""
        if self.is_small:
            return f"none larger than {amount(d.metric, x)}"
        excluded = f"none larger than {amount(d.metric, d.largest)}"
        if d.ratio:
            return f"{excluded}; to decide {amount(d.metric, x)} takes more than folds"
        if (seeds := seeds_for(d, x / 2)) is not None:
            return f"{excluded}; {seeds} seeds would decide {amount(d.metric, x)}"
        rows = f"{rows_for(d, x / 2):.1f} times the test rows would"
        return f"{excluded}; {amount(d.metric, x)} is not decided by seeds alone, {rows}"

    def _published(self) -> str:
        if self.published is None:
            return ""
        ours = self.check or self.weakest
        excluded = abs(self.published - ours.mean) > ours.half
        beside = f" of {ours.metric}, ours {self.check}" if self.check else ""
        size = f"{amount(ours.metric, self.published, '+')}{beside}"
        return f"published effect {'excluded' if excluded else 'possible'}: {size}"


RATES = tuple(f"frames({p / 10:g})" for p in range(1, 10, 2))
SCOPES: Mapping[str, Callable[[Rows, str], Sequence[str]]] = {
    "missing": missing_conditions,
    "complete": lambda rows, dataset: [CORPORA[dataset].complete],
    "frames": lambda rows, dataset: RATES,
}
"""What is averaged: the sets with missing modalities, complete rows, the rates of lost frames."""

Measure = Callable[[str, str, Sequence[str]], Measured]
"""(data set, scope, conditions) -> what it says; may raise MissingRows and NoVote."""


def poll(
    case: Case,
    lead: str,
    datasets: Sequence[str],
    measure: Measure,
    scopes: Mapping[str, Callable[[Rows, str], Sequence[str]]],
) -> Judgement:
    """The verdict of several data sets, each under every scope; `lead` says what the numbers in the evidence are."""
    votes, others, missing = {}, {}, {}
    for dataset in datasets:
        for scope, conditions_of in scopes.items():
            label = f"{dataset}, {scope}" if len(scopes) > 1 else dataset
            conditions = conditions_of(case.ours, dataset)
            try:
                found = measure(dataset, scope, conditions)
                reason = next(filter(None, (need.lacks(case.ours, dataset, conditions) for need in case.needs)), "")
            except NoVote as error:
                others.setdefault(str(error), []).append(label)
                continue
            except MissingRows as error:
                flags = _flags(case, dataset, error.system)
                if (
                    reason := f"{_name(error.system)} is flagged: {flags}"
                    if flags
                    else _lacking(case, dataset, conditions)
                ):
                    others.setdefault(reason, []).append(label)
                else:
                    studies = missing.setdefault(_name(error.system) or "trivial rows", {})
                    notebook = "compared" if error.system[0] in PEER_CONTROLS else case.paper
                    studies[f"{notebook}_{CORPORA[dataset].study}"] = None
                continue
            if reason:
                others.setdefault(reason, []).append(f"{label} {', '.join(map(str, found.gains.values()))}")
            else:
                votes[label] = found
    verdict, why = _verdict(votes)
    seeds = sorted({d.seeds for found in votes.values() for d in found.gains.values()})
    parts = [f"{lead} (95 %, {' or '.join(map(str, seeds))} seeds): {listed(votes)}" if votes else lead]
    parts += [why] * bool(why)
    no_vote = [f"{', '.join(labels)} ({reason})" for reason, labels in others.items()]
    to_run = [f"{system} in {', '.join(studies)}" for system, studies in missing.items()]
    parts += [f"No vote: {'; '.join(no_vote)}"] * bool(no_vote) + [f"Missing: {'; '.join(to_run)}"] * bool(to_run)
    return Judgement(verdict, ". ".join(parts), tuple(d for found in votes.values() for d in found.gains.values()))


def _lacking(case: Case, dataset: str, conditions: Sequence[str]) -> str:
    """What a data set lacks whatever is measured on it: such rows need not be made."""
    for need in case.needs:
        try:
            if reason := need.lacks(case.ours, dataset, conditions):
                return reason
        except MissingRows:
            continue
    return ""


def _flags(case: Case, dataset: str, system: SystemName) -> str:
    rows = case.flagged
    own = (rows["dataset"] == dataset) & (rows["method"] == system[0]) & (rows["variant"] == system[1])
    return ", ".join(rows.loc[own, "flags"].unique())


def _verdict(votes: Mapping[str, Measured]) -> tuple[str, str]:
    """The verdict, and why it is one that the numbers do not show at once."""
    if not votes:
        return UNCHECKED, ""
    sides = {found.side for found in votes.values()}
    if {1, -1} <= sides:
        return UNDECIDABLE, "The data sets disagree"
    if sides == {0}:
        return (NO_LARGER if all(found.is_small for found in votes.values()) else UNDECIDABLE), ""
    carried = all("synthetic" in label for label, found in votes.items() if found.side)
    return (HOLDS_HERE if 1 in sides else FAILS_HERE), "On synthetic data alone" if carried else ""


def compare(
    rows: Rows, dataset: str, a: SystemName, rivals: Iterable[SystemName], conditions: Sequence[str], metric: str = ""
) -> dict[str, Difference]:
    """System a against each rival, mean over conditions, paired over the seeds that all have; may raise MissingRows.

    metric: by default the main one of the data set.
    """
    metric, paper = metric or main_metric(rows, dataset), "".join(rows["paper"].unique())
    first = sampled(rows, dataset, a, metric, conditions)
    others = {" ".join(rival).strip(): sampled(rows, dataset, rival, metric, conditions) for rival in rivals}
    shared = shared_seeds(rows, dataset, a, first, *others.values())
    differences = {name: other.loc[shared] for name, other in others.items()}
    return against(first.loc[shared], differences, metric, fold_ratio(paper, dataset))


def shared_seeds(rows: Rows, dataset: str, system: SystemName, *scores: pd.DataFrame) -> list[int]:
    """The seeds that all have; MissingRows where there are fewer than three, from which no interval says much."""
    seeds = sorted(set.intersection(*(set(frame.index) for frame in scores)))
    if len(seeds) < _FEWEST_SEEDS:
        raise absent(rows, dataset, system, f"{_FEWEST_SEEDS} seeds without a flag beside its rivals")
    return seeds


def best_trivial(rows: Rows, dataset: str, conditions: Sequence[str]) -> SystemName:
    """The system without a method that was best on validation; where none was validated, the best on the conditions.

    May raise MissingRows.
    """
    methods = rows.loc[rows["dataset"] == dataset, "method"].unique()
    trivial = [m for m in methods if m in BASELINES or m.endswith(" alone")]
    metric, found = main_metric(rows, dataset), {}
    for method in trivial:
        try:
            found[method] = score(rows, dataset, (method, ""), metric, conditions).mean()
        except MissingRows:
            continue
    if not found:
        raise absent(rows, dataset, ("zero fill", ""), f"{metric} under its conditions")
    on_validation = {method: validated(rows, dataset, (method, "")) for method in found}
    if on_validation := {method: value for method, value in on_validation.items() if pd.notna(value)}:
        return max(on_validation, key=on_validation.get), ""
    worst_first = sorted(found, key=found.get, reverse=metric == "mae")
    return worst_first[-1], ""


def reading(rows: Rows, dataset: str, system: SystemName) -> SystemName:
    """Of the readings of a method (`published.READINGS`) the one that is best on validation; the system without any.

    A reading that was not trained under every condition of the printed one is left out.
    """

    def trained(r: SystemName) -> set[str]:
        own = (rows["dataset"] == dataset) & (rows["method"] == r[0]) & (rows["variant"] == r[1])
        return set(rows.loc[own, "protocol"])

    read = {r: validated(rows, dataset, r) for r in READINGS.get(system, ()) if trained(r) == trained(system)}
    read = {r: value for r, value in read.items() if pd.notna(value)}
    return max(read, key=read.get) if system in read else system


def _alike(
    rows: Rows, dataset: str, a: SystemName, rivals: Sequence[SystemName]
) -> tuple[SystemName, Sequence[SystemName]]:
    """System a and its rivals in one reading: the best one on validation, if each rival is its control or has rows in it."""
    read, variants = reading(rows, dataset, a), set(rows.loc[rows["dataset"] == dataset, "variant"])
    if read == a:
        return a, rivals
    others = [rival if rival == CONTROLS.get(read) else (rival[0], f"{read[1]}, {rival[1]}") for rival in rivals]
    return (read, others) if all(variant in variants for _, variant in others) else (a, rivals)


def gains(
    case: Case,
    *,
    a: SystemName,
    rivals: Sequence[SystemName],
    datasets: Sequence[str],
    scopes: Sequence[str] = ("missing",),
    printed: Printed | None = None,
    trivial: bool = False,
    claimed: str = "",
    aside_in: str = "",
) -> Judgement:
    """System a against every rival under scopes of SCOPES, all of them in the reading of a that is best on validation.

    trivial: the best trivial row
    stands in the evidence, too. claimed: the metric of the claim where it is not the main one: a data set that has it is for
    or against the claim in both metrics or in none. aside_in: a metric in which the gain stands in the evidence.
    """

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        read, others = _alike(case.ours, dataset, a, rivals)
        names = set(case.ours.loc[case.ours["dataset"] == dataset, "metric"])
        found = compare(case.ours, dataset, read, others, conditions)
        if claimed in names:
            also = compare(case.ours, dataset, read, others, conditions, claimed)
            found = {
                f"{rival}{in_}": d for in_, part in (("", found), (", as claimed", also)) for rival, d in part.items()
            }
        published, check = None, None
        if printed and printed.scope == scope and CORPORA[dataset].is_published:
            if printed.metric == main_metric(case.ours, dataset):
                published = printed.effect(case.printed)
            elif printed.metric in names:
                published = printed.effect(case.printed)
                (check,) = compare(case.ours, dataset, read, others, conditions, printed.metric).values()
        asides = []
        if read != a:  # the paper's own words are judged by its equations, too
            asides.append(f"{_name(read)}, the reading that is best on validation")
            with suppress(MissingRows):
                own = compare(case.ours, dataset, a, rivals, conditions)
                asides.append(f"as printed {listed_gains(own)}")
        if aside_in in names:
            asides += [
                f"in {aside_in} {d}" for d in compare(case.ours, dataset, read, others, conditions, aside_in).values()
            ]
        if trivial:
            best = best_trivial(case.ours, dataset, conditions)
            ((name, difference),) = compare(case.ours, dataset, read, [best], conditions).items()
            asides.append(f"over {name}, the best trivial row, {difference}")
        return Measured(found, published, check, "; ".join(asides))

    return poll(
        case, f"Gain of {_name(a)} over {' and '.join(map(_name, rivals))}{_OVER[tuple(scopes)]}", datasets, measure,
        {scope: SCOPES[scope] for scope in scopes},
    )  # fmt: skip


_OVER = {
    ("missing",): ", mean over the sets with missing modalities",
    ("complete",): ", complete rows",
    ("missing", "complete"): ", mean over the sets with missing modalities and on complete rows",
    (
        "missing",
        "frames",
        "complete",
    ): ", mean over the sets, over lost frames p = .1, .3, .5, .7, .9, and on complete rows",
}


def _name(system: SystemName) -> str:
    return " ".join(system).strip()


def listed_gains(gains: Mapping[str, Difference]) -> str:
    """'+0.8 ± 0.5 points of ua over zeros, ...'; without the rival where there is one alone."""
    return ", ".join(f"{d} over {rival}" if len(gains) > 1 else str(d) for rival, d in gains.items())


def amount(metric: str, value: float, sign: str = "") -> str:
    """An effect with its unit."""
    return f"{value:{sign}.3f}" if metric == "mae" else f"{value * 100:{sign}.1f} points"


def listed(values: Mapping[str, object]) -> str:
    """'name value; name value'."""
    return "; ".join(f"{name} {value}" for name, value in values.items())


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def span(values: Iterable[float], digits: int) -> str:
    """'smallest to largest', or one number where both print the same."""
    low, high = (f"{v:.{digits}f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
