"""What a claim needs of data, so that data which could not show the effect have no vote on it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmlib.report.headroom import has_vote
from mmlib.report.rows import Rows, corpus, matched, missing_conditions, trained_complete


class Need(NamedTuple):
    """text: what a claim needs. lacks: (rows of a paper, data set, conditions) -> why it is not there, "" where it is."""

    text: str
    lacks: Callable[[Rows, str, Sequence[str]], str]


def _headroom(rows: Rows, dataset: str, conditions: Sequence[str]) -> str:
    # Complete rows lack nothing: what their other modalities add shows where those are missing.
    left = [c for c in conditions if c != corpus(dataset).complete] or missing_conditions(rows, dataset)
    if (rows["paper"] == "simc").all():
        rows = _trained_once(rows, dataset, left)
    can_gain, reason = has_vote(rows, dataset, left)
    return "" if can_gain else reason


def _trained_once(rows: Rows, dataset: str, conditions: Sequence[str]) -> Rows:
    """SIM-C's systems are trained under several conditions: the rows of those trained under that of the test, as in its
    paper, or on complete rows, where not every condition was trained under."""
    own = matched(rows)
    trained = own.loc[own["dataset"] == dataset, "condition"]
    return own if set(conditions) <= set(trained) else trained_complete(rows)


def _static(rows: Rows, dataset: str, conditions: Sequence[str]) -> str:
    hides = any(c.startswith("frames(") for c in conditions)
    return "its tokens are hidden after encoding" if hides and corpus(dataset).contextual else ""


FRAMES = Need(
    "more than one frame", lambda rows, dataset, _: "one frame per modality" if corpus(dataset).one_frame else ""
)
JUDGED_FRAMES = Need(
    "audio or vision with more than one frame",
    lambda rows, dataset, _: "" if {"audio", "vision"} & {*corpus(dataset).sequences} else "its audio is one frame",
)
STATIC = Need("frames that do not tell of hidden ones", _static)
CLEAN = Need(
    "validation labels that trained no feature",
    lambda rows, dataset, _: "its validation labels trained the features" if corpus(dataset).contaminated else "",
)
HEADROOM = Need("complete rows that are better than what is left", _headroom)
