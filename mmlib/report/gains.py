"""What the methods gain over their controls and over rows without a method: tables for the README and the results notebook.

A gain is an interval over seeds and test rows. Data sets without a vote (`mmlib.report.needs`) and flagged rows are left out.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import pandas as pd

from mmlib.report.claims.verdicts import MARGIN, SCOPES, best_trivial, compare, reading
from mmlib.report.intervals import Difference
from mmlib.report.needs import CLEAN, FRAMES, HEADROOM, STATIC, Need
from mmlib.report.published import CONTROLS, DATASETS, DROPOUT, FRAME_DROPOUT, OWN, PEER_CONTROLS, TITLES
from mmlib.report.rows import (
    FOLDS,
    MissingRows,
    Rows,
    SystemName,
    main_metric,
    matched,
    missing_conditions,
    results,
    trained_complete,
    unflagged,
)

SHORT = {
    "mmimdb_subset": "films, MovieLens genres", "mmimdb_genres": "films, IMDb genres", "sarcasm": "posts",
    "synthetic mmimdb": "synthetic films", "mosi_words": "MOSI, static words", "mosi_mpnet": "MOSI, contextual tokens",
    "mosi_bclstm": "MOSI, vectors", "iemocap_mpnet, one vs rest": "IEMOCAP, vectors", "synthetic reviews": "synthetic reviews",
    "iemocap": "IEMOCAP", FOLDS: "IEMOCAP, five folds", "iemocap, binary": "IEMOCAP, two classes", "avdigits": "digits",
    "mintrec_mpnet": "MIntRec, text alone", "mmmo": "film reviews", "iemocap_mpnet": "IEMOCAP, MPNet",
    "synthetic iemocap": "synthetic emotions",
}  # fmt: skip
"""Our data sets in print."""
_METRICS = {
    "f1_micro": "micro-F1", "f1_samples": "F-samples", "map": "mAP", "ua": "UA", "f1_mean": "mean F1", "accuracy": "accuracy",
}  # fmt: skip
READ = {"any views": "views may be equal", "corrected": "with our corrections", "two_stage": "in two stages"}
_SEEDS = 5
_COMPLETE = ("MulT", "Self-MM", "Self-MM w/o ULGM", "CubeMLP", "EMT", "TETFN", "TETFN w/o ULGM", "DLF", "CLGSI")
_PEERS = (*PEER_CONTROLS, "MCTN", "TransM", *(f"{name} + dropout" for name in _COMPLETE))
_KINDS = ("over its control", "over modality dropout")
_AS_IS = {"complete rows": lambda rows: rows}
_TRAINED = {"simc": {"the condition of the test": matched, "complete rows": trained_complete}}
_COMPARED_IN = {
    "simc": ("f1_micro", "f1_samples", "map"), "umdf": ("mae", "f1_non0", "f1_mean"), "admc": ("ua", "accuracy", "mae"),
    "smcir": ("mae", "corr", "f1_non0", "ua"),
}  # fmt: skip
_RIVALS: Mapping[str, Mapping[str, SystemName | None]] = {
    "simc": {"SIM-C over zeros in the same network": CONTROLS[OWN["simc"]], "SIM-C over the best trivial row": None},
    "umdf": {"UMDF over one view": CONTROLS[OWN["umdf"]], f"UMDF over {DROPOUT}": (DROPOUT, "")},
    "admc": {"ADMC over zeros for what ADN generates": CONTROLS[OWN["admc"]], "ADMC over joint training": ("ADMC", "w/o ITFN"),
             "ADMC over the best trivial row": None},
    "smcir": {"SMCIR over zeros for what CMCG generates": CONTROLS[OWN["smcir"]], "SMCIR over the best trivial row": None},
}  # fmt: skip


class Gains(NamedTuple):
    """of: by data set. without: the data sets that have rows but no vote. read: the reading of the method by data set, where it
    is not the printed one."""

    of: Mapping[str, Difference]
    without: Sequence[str]
    read: Mapping[str, str] = {}


def gains(
    paper: str,
    rival: SystemName | None,
    needs: Sequence[Need],
    datasets: Sequence[str] = (),
    scope: Callable[[Rows], Rows] = lambda rows: rows,
    metric: str = "",
    conditions_of: Callable[[Rows, str], Sequence[str]] = missing_conditions,
) -> Gains:
    """Gains of a paper's method, by default the mean over the sets with something missing; data sets without rows are left out.

    The method is read as is best on validation. rival: a system; None: the best trivial row of each data set, on validation,
    too. needs: of a data set, to have a vote. datasets: by default all of the paper. scope: the rows that are compared.
    metric: by default the main one of each data set.
    """
    every, found, without, read = unflagged(results(paper)), {}, [], {}
    for dataset in datasets or DATASETS[paper]:
        rows = every[every["dataset"] == dataset]
        part = scope(rows)
        with suppress(MissingRows):
            conditions = conditions_of(part, dataset)
            other = rival or best_trivial(part, dataset, conditions)
            own = reading(part, dataset, OWN[paper])
            (gain,) = compare(part, dataset, own, [other], conditions, metric).values()
            if any(need.lacks(rows, dataset, conditions) for need in needs):
                without.append(dataset)
                continue
            found[dataset] = gain
            if own != OWN[paper]:
                read[dataset] = READ[own[1]]
    return Gains(found, without, read)


def _asked_once(needs: Sequence[Need]) -> list[Need]:
    """The needs, each asked once about a data set and conditions: of one paper, whose rows are the same for every rival."""

    def once(need: Need) -> Need:
        known: dict[tuple[str, ...], str] = {}

        def lacks(rows: Rows, dataset: str, conditions: Sequence[str]) -> str:
            key = (dataset, *conditions)
            if key not in known:
                known[key] = need.lacks(rows, dataset, conditions)
            return known[key]

        return need._replace(lacks=lacks)

    return [once(need) for need in needs]


class _Contest(NamedTuple):
    """A line per data set of `gained`. rivals: those of its two columns; None: the best trivial row on validation."""

    name: str
    rivals: Sequence[SystemName | None]
    needs: Sequence[Need] = (HEADROOM, CLEAN)
    scope: Callable[[Rows], Rows] = lambda rows: rows
    conditions_of: Callable[[Rows, str], Sequence[str]] = missing_conditions


_CONTESTS = {
    "simc": (
        _Contest("SIM-C, trained as tested", (CONTROLS[OWN["simc"]], None), (HEADROOM,), matched),
        _Contest("SIM-C, trained on complete rows", (CONTROLS[OWN["simc"]], None), (HEADROOM,), trained_complete),
    ),
    "umdf": (
        _Contest("UMDF", (CONTROLS[OWN["umdf"]], None)),
        _Contest("UMDF where frames are lost", (CONTROLS[OWN["umdf"]], (FRAME_DROPOUT, "")), (FRAMES, STATIC, CLEAN),
                 conditions_of=SCOPES["frames"]),
    ),
    "admc": (
        _Contest("ADMC", (CONTROLS[OWN["admc"]], None)),
        _Contest("ITFN of ADMC, over joint training", (("ADMC", "w/o ITFN"),), (CLEAN,)),
    ),
    "smcir": (_Contest("SMCIR", (CONTROLS[OWN["smcir"]], None)),),
}  # fmt: skip
COLUMNS = ("over its control", "over the best trivial row")


def gained() -> pd.DataFrame:
    """What each method gains over its control and over the best trivial row, in the main metric: a line per data set.

    Columns, all text: method (with its condition), data, metric, reading, over its control, over the best trivial row.
    A cell is 'mean ± half width' at 95 %, in points (mae as it is), positive where the method is better, bold where the
    interval excludes 0, – without rows.
    """
    lines = []
    for paper, contests in _CONTESTS.items():
        for name, rivals, needs, scope, conditions_of in contests:
            needs = _asked_once(needs)
            found = [gains(paper, rival, needs, scope=scope, conditions_of=conditions_of) for rival in rivals]
            read = {dataset: text for part in found for dataset, text in part.read.items()}
            for dataset in DATASETS[paper]:
                cells = dict(zip(COLUMNS, (part.of.get(dataset) for part in found)))
                if names := {gain.metric for gain in cells.values() if gain}:
                    (metric,) = names
                    place = (name, SHORT[dataset], in_print(metric), read.get(dataset, "as printed"))
                    lines.append((*place, *(size(cells.get(column)) for column in COLUMNS)))
    return pd.DataFrame(lines, columns=["method", "data", "metric", "reading", *COLUMNS])


def without_vote(paper: str) -> list[str]:
    """The data sets that have rows to compare, but no vote on completion."""
    names: dict[str, None] = {}
    for _, rivals, needs, scope, conditions_of in _CONTESTS[paper]:
        once = _asked_once(needs)
        for rival in rivals if HEADROOM in needs else ():
            found = gains(paper, rival, once, scope=scope, conditions_of=conditions_of)
            names |= dict.fromkeys(found.without)
    return list(names)


def in_print(metric: str) -> str:
    """A metric as papers write it."""
    return _METRICS.get(metric, metric.upper())


def size(gain: Difference | None) -> str:
    """A cell of `gained`; with the number of seeds where it is below five."""
    if gain is None:
        return "–"
    unit, digits = (1, 3) if gain.metric == "mae" else (100, 1)
    text = f"{gain.mean * unit:+z.{digits}f} ± {gain.half * unit:.{digits}f}".replace("-", "−")
    return (f"**{text}**" if gain.side else text) + f" ({gain.seeds} seeds)" * (gain.seeds < _SEEDS)


def comparisons() -> pd.DataFrame:
    """The gains behind `findings`, one per line, in every metric that the paper prints or that chose the settings.

    Columns, all text: paper, compared, trained on, data, reading (of the method), gain (with interval and metric), seeds,
    verdict.
    """
    lines = []
    for paper, rivals in _RIVALS.items():
        rows, needs = results(paper), _asked_once([HEADROOM, CLEAN])
        for (over, rival), (trained, scope) in itertools.product(rivals.items(), _TRAINED.get(paper, _AS_IS).items()):
            for dataset, metric in itertools.product(DATASETS[paper], _COMPARED_IN[paper]):
                if metric not in set(rows.loc[rows["dataset"] == dataset, "metric"]):
                    continue
                found = gains(paper, rival, needs, [dataset], scope, metric)
                for name, gain in found.of.items():
                    is_small = gain.largest <= MARGIN.get(gain.metric, 0.01)
                    reads = {1: "better", -1: "worse", 0: "no larger effect" if is_small else "undecided"}
                    lines.append(
                        (TITLES[paper], over, trained, SHORT[name], found.read.get(name, "as printed"), str(gain),
                         str(gain.seeds), reads[gain.side])
                    )  # fmt: skip
    columns = ["paper", "compared", "trained on", "data", "reading", "gain", "seeds", "verdict"]
    return pd.DataFrame(lines, columns=columns)


def of_peers(dataset: str) -> dict[str, dict[str, Difference]]:
    """Compared system -> its gains with something missing, by `_KINDS`: over its control where it has one, over dropout."""
    rows, found = unflagged(results("compared")), {}
    conditions, systems = missing_conditions(rows, dataset), set(rows.loc[rows["dataset"] == dataset, "method"])
    for own in [name for name in _PEERS if name in systems]:
        rivals = dict(zip(_KINDS, (PEER_CONTROLS.get(own), DROPOUT)))
        for kind, rival in rivals.items():
            if rival in systems:
                with suppress(MissingRows):
                    (gain,) = compare(rows, dataset, (own, ""), [(rival, "")], conditions).values()
                    found.setdefault(own, {})[kind] = gain
    return found


def peers() -> pd.DataFrame:
    """What imputation gains the compared systems: a line per system, a column per data set that has a vote.

    A cell: the gain over the system's control / over zero fill with modality dropout, as in `gained`; – without rows.
    """
    rows, columns = unflagged(results("compared")), {}
    for dataset in dict.fromkeys(rows["dataset"]):
        found = of_peers(dataset)
        if not found or HEADROOM.lacks(rows, dataset, missing_conditions(rows, dataset)):
            continue
        title = f"{SHORT[dataset]}: {in_print(main_metric(rows, dataset))}"
        columns[title] = {
            system: " / ".join(size(kinds.get(kind)) for kind in _KINDS) for system, kinds in found.items()
        }
    table = pd.DataFrame(columns).rename_axis("system")
    return table.reindex([name for name in _PEERS if name in table.index]).fillna("–")
