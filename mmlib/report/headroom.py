"""Headroom: what completing could gain on a data set, shown before methods are compared.

Complete rows bound what a completion can be worth, and the bound is loose: what the missing modality alone tells, nobody can
complete. Where complete rows are not clearly better than what is left under a condition, the data set has no vote on claims
about completion.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmlib import metrics
from mmlib.report.intervals import Difference, paired
from mmlib.report.published import DROPOUT
from mmlib.report.rows import (
    COMPLETE,
    CORPORA,
    Rows,
    absent,
    fold_ratio,
    main_metric,
    mean_text,
    replicates,
    unflagged,
)

CAPTION = (
    "Headroom: how much better complete rows are than the best trivial row under the condition; on complete rows, than the "
    "best single modality. *Best row on test*: chosen by its test scores, which bounds what is left; of the gains elsewhere "
    "validation chooses the best trivial row. Trivial rows: zero fill, with and without modality dropout, and single "
    "modalities. Flagged rows are left out. Intervals: 95 %, over seeds and test rows. Chance is not 0: with two classes, "
    "weighted F1 pays a coin about 50 and a constant about 25 (33 if it names half of the rows, 25 if it names 42 % of them). "
    "Where a modality is at chance, differences in F1 are noise."
)
GAIN, NO_GAIN = "complete is better than what is left", "complete is not better than what is left"
NO_SIGNAL = "what is left is no better than a constant"
NO_ROW, FEW_SEEDS = "there is no row without a flag to compare", "an interval needs three seeds"
_FEWEST_SEEDS = 3
_SINGLE = r"\w+ alone"
_TRIVIAL = f"zero fill|{re.escape(DROPOUT)}|{_SINGLE}"
_ANY = ("trivial rows", "")
_SYSTEM = ["method", "variant", "protocol"]


def headroom(rows: Rows, dataset: str, metric: str | None = None) -> pd.DataFrame:
    """What could be gained on a data set: a line per test condition of its trivial rows. CAPTION belongs above it.

    rows: of one paper, from `runs.Record.frame` or `rows.results`. metric: by default the main metric of the data set.
    Columns, all text: scores (mean ± standard deviation over seeds; mae as it is, all else in percent) of the constant
    (prior), the coin, the best single modality that is available, the best trivial row, complete rows (the best trivial row
    on them), and the oracle where there is one; from three seeds on `headroom`, complete minus what is left, with its interval,
    and `vote`. A cell without rows is –.

    The best row has the best mean over seeds on the test rows themselves, since the rows hold no scores on validation. That is
    optimistic, and the interval does not count it. The same rule picks the best row on complete rows and on what is left.
    Raises MissingRows where no trivial row was scored on complete rows.
    """
    table = _Table.of(rows, dataset, metric)
    lines = {condition: _line(table, condition) for condition in table.conditions}
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis(index="condition", columns=table.metric)
    silent = ["oracle"] if frame["oracle"].eq("–").all() else []
    if table.scores.index.get_level_values("seed").nunique() < _FEWEST_SEEDS:
        silent += ["headroom", "vote"]
    return frame.drop(columns=silent)


def has_vote(rows: Rows, dataset: str, conditions: Sequence[str], metric: str | None = None) -> tuple[bool, str]:
    """Whether a data set has a vote on claims about completion under these conditions, and why.

    It has one where complete rows are clearly better than what is left, averaged over the conditions (95 %). Conditions under
    which what is left is not clearly better than the constant do not count: nothing can be completed from nothing.
    Arguments and errors as of `headroom`; raises MissingRows for a condition under which no trivial row was scored, too.
    """
    table = _Table.of(rows, dataset, metric)
    if lacking := [c for c in conditions if c not in table.conditions]:
        raise absent(rows, dataset, _ANY, f"{table.metric} under {lacking[0]!r}")
    conditions = [c for c in conditions if table.has_signal(c)]
    if not conditions:
        return False, NO_SIGNAL
    left = sum(table.left(condition).scores for condition in conditions) / len(conditions)
    gain, reason = table.judge(left.dropna(subset=[0]))
    return reason == GAIN, reason if gain is None else f"{reason} ({gain}, {gain.seeds} seeds)"


class _Best(NamedTuple):
    """The best system: its method, and its scores as of `rows.sampled`, without a line where there is none."""

    method: str
    scores: pd.DataFrame


@dataclass(frozen=True)
class _Table:
    """The scores of one data set in one metric, without flagged rows.

    scores: a line per method, variant, protocol, seed and condition; column 0 the score, the others the replicates, if any.
    conditions: those of the trivial rows, flagged ones included. complete: the condition under which nothing is missing.
    ratio: as of `intervals.paired`.
    """

    scores: pd.DataFrame
    conditions: list[str]
    complete: str
    metric: str
    ratio: float

    @classmethod
    def of(cls, rows: Rows, dataset: str, metric: str | None) -> "_Table":
        metric = metric or main_metric(rows, dataset)
        own = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric) & (rows["role"] == "test")]
        conditions = list(dict.fromkeys(own.loc[own["method"].str.fullmatch(_TRIVIAL), "condition"]))
        complete = [c for c in conditions if c in COMPLETE]
        if not complete:
            raise absent(rows, dataset, _ANY, f"{metric} on complete rows")
        ratio = fold_ratio(own["paper"].iloc[0], dataset) if dataset in CORPORA else 0.0
        own = unflagged(own)
        values = own[["value"]].to_numpy(float)
        if "line" in own:  # committed rows; those of a record have no replicates yet
            values = np.column_stack([values, replicates(own)])
        index = pd.MultiIndex.from_frame(own[[*_SYSTEM, "seed", "condition"]])
        return cls(pd.DataFrame(values, index).sort_index(), conditions, complete[0], metric, ratio)

    def best(self, methods: str, condition: str) -> _Best:
        """The best of the systems whose method matches."""
        scores = self.scores[self.scores.index.get_level_values("condition") == condition].droplevel("condition")
        scores = scores[scores.index.get_level_values("method").str.fullmatch(methods)]
        if scores.empty:
            return _Best("", scores.droplevel(_SYSTEM))
        means = scores[0].groupby(level=_SYSTEM).mean()
        system = means.idxmax() if metrics.better(self.metric, 1.0, 0.0) else means.idxmin()
        return _Best(system[0], scores.loc[system])

    def single(self, condition: str) -> _Best:
        """The best single modality; under available(...), of those that are available."""
        available = re.match(r"available\(([^)]*)\)", condition)
        names = [f"{m.strip()} alone" for m in available[1].split(",")] if available else [_SINGLE]
        return self.best("|".join(names), condition)

    def left(self, condition: str) -> _Best:
        """What complete rows are compared with."""
        return self.single(condition) if condition == self.complete else self.best(_TRIVIAL, condition)

    def has_signal(self, condition: str) -> bool:
        """Whether what is left is clearly better than the constant; True where there is no row to say so."""
        left, constant = self.left(condition).scores, self.best("prior", condition).scores
        seeds = constant.index.intersection(left.index)
        if len(seeds) < _FEWEST_SEEDS:
            return True
        return paired(left.loc[seeds], constant.loc[seeds], self.metric, ratio=self.ratio).side == 1

    def judge(self, left: pd.DataFrame) -> tuple[Difference | None, str]:
        """The gain of complete rows over what is left, and in words whether there is one."""
        complete = self.best(_TRIVIAL, self.complete).scores
        seeds = complete.index.intersection(left.index)
        if complete.empty or left.empty:
            return None, NO_ROW
        if len(seeds) < _FEWEST_SEEDS:
            return None, FEW_SEEDS
        gain = paired(complete.loc[seeds], left.loc[seeds], self.metric, ratio=self.ratio)
        return gain, GAIN if gain.side == 1 else NO_GAIN


def _line(table: _Table, condition: str) -> dict[str, str]:
    def cell(best: _Best, named: bool = False) -> str:
        unit, digits = (1, 3) if table.metric == "mae" else (100, 1)
        return mean_text(best.scores[0] * unit, digits) + f" ({best.method})" * (named and best.method != "")

    gain, reason = table.judge(table.left(condition).scores)
    reason = reason if table.has_signal(condition) else NO_SIGNAL
    return {
        "constant": cell(table.best("prior", condition)),
        "coin": cell(table.best("coin", condition)),
        "best single modality": cell(table.single(condition), named=True),
        "best row on test": cell(table.best(_TRIVIAL, condition), named=True),
        "complete": cell(table.best(_TRIVIAL, table.complete)),
        "oracle": cell(table.best("oracle", condition)),
        "headroom": "–" if gain is None else str(gain),
        "vote": "yes" if reason == GAIN else f"no: {reason}",
    }
