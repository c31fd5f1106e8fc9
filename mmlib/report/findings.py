"""What each paper claims first, and what we find: four rows for the README and for the results notebook.

Every sentence that compares is made from the interval that it states: the side of 0 on which it lies, or the largest effect
that it contains. Data sets without a vote (`mmlib.report.needs`) and flagged rows are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import pandas as pd

from mmlib import corpora
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.claims.verdicts import MARGIN, SCOPES, best_trivial, compare, reading
from mmlib.report.intervals import Difference
from mmlib.report.needs import CLEAN, FRAMES, HEADROOM, JUDGED_FRAMES, STATIC, Need
from mmlib.report.published import CONTROLS, DATASETS, DROPOUT, OWN, PEER_CONTROLS, TITLES, not_run
from mmlib.report.rows import (
    CORPORA,
    FOLDS,
    MissingRows,
    Rows,
    SystemName,
    main_metric,
    matched,
    missing_conditions,
    printed_cells,
    results,
    score,
    trained_complete,
    unflagged,
)

SHORT = {
    "mmimdb_subset": "films, MovieLens genres", "mmimdb_genres": "films, IMDb genres", "sarcasm": "posts",
    "synthetic mmimdb": "synthetic films", "mosi_words": "MOSI, static words", "mosi_mpnet": "MOSI, contextual tokens",
    "mosi_bclstm": "MOSI, vectors", "iemocap, one vs rest": "IEMOCAP, vectors", "synthetic reviews": "synthetic clips",
    "iemocap": "IEMOCAP", FOLDS: "IEMOCAP, five folds", "iemocap, binary": "IEMOCAP, two classes", "avdigits": "digits",
    "mintrec_mpnet": "MIntRec, text alone", "mmmo": "film reviews", "iemocap_mpnet": "IEMOCAP",
    "synthetic iemocap": "synthetic clips",
}  # fmt: skip
"""Our data sets in a sentence."""
_METRICS = {"f1_micro": "micro-F1", "ua": "UA", "f1_mean": "mean F1", "accuracy": "accuracy"}
_IN_POINTS = {"up": "adds", "down": "costs", "small": "has no effect larger than", "open": "is undecided: at most"}
_OF_MAE = {
    "up": "lowers MAE by", "down": "raises MAE by", "small": "changes MAE by no more than",
    "open": "is undecided: MAE changes by at most",
}  # fmt: skip
_READ = {"any views": "views may be equal", "corrected": "detector corrected"}
_SEEDS = 5
_COMPLETE = ("MulT", "Self-MM", "Self-MM w/o ULGM", "CubeMLP", "EMT", "TETFN", "TETFN w/o ULGM", "DLF", "CLGSI")
_PEERS = (*PEER_CONTROLS, "MCTN", "TransM", *(f"{name} + dropout" for name in _COMPLETE))
MIXED = "patterns(keep=text)"
DETECTORS = {"as printed": "", "released code": "official", "corrected": "corrected"}
_UNTRAINED = "untrained detector"


def findings() -> pd.DataFrame:
    """One row per paper: paper, what it claims, what we find, features (those of the data sets that were run)."""
    lines = []
    for paper, (claim, finding) in SENTENCES.items():
        found, run = finding(), [dataset for dataset in DATASETS[paper] if not not_run(paper, dataset)]
        if not run:
            first = f"notebooks/studies/{paper}_{CORPORA[DATASETS[paper][0]].study}.yaml"
            found = _joined(found, f"Our networks are not run yet: python -m mmlib.runs {first} makes the first rows.")
        lines.append([TITLES[paper], claim(), found, _features(paper, run) or "none yet"])
    return pd.DataFrame(lines, columns=["paper", "what it claims", "what we find", "features"])


def _features(paper: str, datasets: Sequence[str]) -> str:
    rows = results(paper)
    names = {d: rows.loc[rows["dataset"] == d, "features"].iloc[0].removesuffix(", standardised") for d in datasets}
    return "; ".join(f"{SHORT[d]}: {name}" for d, name in names.items() if name != "synthetic") or "synthetic" * bool(
        names
    )


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
    too. needs: of a data set, to have a vote. datasets: by default
    all of the paper. scope: the rows that are compared. metric: by default the main one of each data set.
    """
    rows, found, without, read = unflagged(results(paper)), {}, [], {}
    part = scope(rows)
    for dataset in datasets or DATASETS[paper]:
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
                read[dataset] = _READ[own[1]]
    return Gains(found, without, read)


def of_peers(dataset: str) -> dict[str, dict[str, Difference]]:
    """Compared system -> its gains with something missing, 'over its control' where it has one and 'over modality dropout'."""
    rows, found = unflagged(results("compared")), {}
    conditions, systems = missing_conditions(rows, dataset), set(rows.loc[rows["dataset"] == dataset, "method"])
    for own in [name for name in _PEERS if name in systems]:
        rivals = {"over its control": PEER_CONTROLS.get(own), "over modality dropout": DROPOUT}
        for kind, rival in rivals.items():
            if rival in systems:
                with suppress(MissingRows):
                    (gain,) = compare(rows, dataset, (own, ""), [(rival, "")], conditions).values()
                    found.setdefault(own, {})[kind] = gain
    return found


def peers() -> str:
    """What imputation gains the compared systems over their controls, a sentence for each data set that has a vote."""
    rows, sentences = unflagged(results("compared")), []
    for dataset in dict.fromkeys(rows["dataset"]):
        groups: dict[str, dict[str, Difference]] = {}
        for name, kinds in of_peers(dataset).items():
            if gain := kinds.get("over its control"):
                groups.setdefault(_kind(gain), {})[name] = gain
        if not groups or HEADROOM.lacks(rows, dataset, missing_conditions(rows, dataset)):
            continue
        parts = []
        for kind, verb in (("up", "adds"), ("down", "costs")):
            parts += [f"{n} {verb} {_size(gain)}{_few(gain, ' ({})')}" for n, gain in groups.get(kind, {}).items()]
        if small := groups.get("small"):
            most = max(gain.largest for gain in small.values())
            names = [n + _few(gain, " ({})") for n, gain in small.items()]
            parts.append(f"no effect larger than {100 * most:.1f} in {listed(names)}")
        if still_open := groups.get("open"):
            bounds = [f"{n} (at most {_size(gain)}{_few(gain, ', {}')})" for n, gain in still_open.items()]
            parts.append(f"undecided in {listed(bounds)}")
        metric, name = main_metric(rows, dataset), SHORT[dataset]
        sentences.append(
            f"{name[0].upper()}{name[1:]}, in points of {_METRICS.get(metric, metric)}: {'; '.join(parts)}."
        )
    return _joined(*sentences)


def effects(found: Mapping[str, Difference], read: Mapping[str, str] | None = None) -> str:
    """'adds 0.8 ± 0.5 (posts) and 1.1 ± 0.2 (digits) points of UA and changes MAE by no more than 0.020 (film reviews)'.

    An effect that is not told from 0, and may be larger than `verdicts.MARGIN`, is undecided. read: as in `Gains`.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for dataset, gain in found.items():
        kind, size = _kind(gain), _size(gain)
        notes = filter(None, (SHORT[dataset], (read or {}).get(dataset, ""), _few(gain, "{}")))
        groups.setdefault((gain.metric, kind), []).append(f"{size} ({', '.join(notes)})")
    clauses = [
        f"{_OF_MAE[kind]} {listed(sizes)}"
        if metric == "mae"
        else f"{_IN_POINTS[kind]} {listed(sizes)} points of {_METRICS.get(metric, metric)}"
        for (metric, kind), sizes in sorted(
            groups.items(), key=lambda group: (list(_IN_POINTS).index(group[0][1]), group[0][0])
        )
    ]
    return listed(clauses)


def _kind(gain: Difference) -> str:
    small = gain.largest <= MARGIN.get(gain.metric, 0.01)
    return {1: "up", -1: "down", 0: "small" if small else "open"}[gain.side]


def _size(gain: Difference) -> str:
    """Mean and half width of a gain whose sign is known, else the largest effect that its interval contains."""
    unit, digits = (1, 3) if gain.metric == "mae" else (100, 1)
    if gain.side:
        return f"{abs(gain.mean) * unit:.{digits}f} ± {gain.half * unit:.{digits}f}"
    return f"{gain.largest * unit:.{digits}f}"


def _few(gain: Difference, form: str) -> str:
    """The number of seeds in this form where it is below the usual one, else nothing."""
    return form.format(f"{gain.seeds} seeds") if gain.seeds < _SEEDS else ""


def compared(subject: str, found: Gains) -> str:
    """A sentence, empty without numbers."""
    return f"{subject} {effects(found.of, found.read)}." if found.of else ""


def _votes(*gains: Gains) -> str:
    names = dict.fromkeys(SHORT[dataset] for found in gains for dataset in found.without)
    return f"No vote on completion: {'; '.join(names)}." if names else ""


def listed(items: Iterable[str]) -> str:
    """'a, b and c'; empty for none."""
    *most, last = list(items) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def simc_cells() -> dict[str, float]:
    """Cell accuracy: as printed on complete films and with something missing, and of predicting no genre."""
    place = ("simc", "1", "MM-IMDb", "SIM-C", ["f_micro_as_printed"])
    full, missing = (printed_cells(*place, c).item() for c in (SIMC_CONFIGURATIONS[:1], SIMC_CONFIGURATIONS[1:]))
    floor = 1 - sum(corpora.MMIMDB_GENRES.values()) / (corpora.MMIMDB_FILMS * len(corpora.MMIMDB_GENRES))
    return {"complete films": full, "modality missing": missing, "predict no genre": floor}


def _simc_claim() -> str:
    cells = simc_cells()
    return (
        f"With a modality missing almost nothing is lost: F-micro is {cells['complete films']:.2f} on complete films and "
        f"{cells['modality missing']:.2f} with a poster or a plot missing."
    )


def _simc() -> str:
    floor = f"The printed F-micro is cell accuracy: predicting no genre at all scores {simc_cells()['predict no genre']:.3f}."
    trained = {"trained under the same holes, it": matched, "trained on complete rows, it": trained_complete}
    rivals = {
        "Simulation over zeros in the same network": CONTROLS[OWN["simc"]],
        "SIM-C over the best trivial row": None,
    }
    sentences, polls = [floor], []
    for subject, rival in rivals.items():
        found = {how: gains("simc", rival, [HEADROOM], scope=scope) for how, scope in trained.items()}
        polls += found.values()
        if clauses := [f"{how} {effects(gain.of, gain.read)}" for how, gain in found.items() if gain.of]:
            sentences.append(f"{subject}: {'; '.join(clauses)}.")
    return _joined(*sentences, _votes(*polls))


def _umdf_claim() -> str:
    sets = [f"available({s})" for s in ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")]
    average = printed_cells("umdf", "1", "MOSI", "UMDF", ["f1"], sets).item()
    return f"One network is robust under all six sets of available modalities: F1 is {average:.1f} on average on MOSI."


def umdf_losses() -> dict[str, dict[str, float]]:
    """Data set -> loss of F1 from complete clips to the mean over the sets that lack something, in points: of UMDF, in print,
    of zeros in place of what is missing, and of the same with modality dropout."""
    losses, rows = {}, unflagged(results("umdf"))
    for dataset in ("mosi_words", "mosi_mpnet", "mosi_bclstm"):
        with suppress(MissingRows):
            sets = missing_conditions(rows, dataset)
            systems = {
                "UMDF": reading(rows, dataset, OWN["umdf"]),
                "zero fill": ("zero fill", ""),
                "dropout": (DROPOUT, ""),
            }
            loss = {}
            for name, system in systems.items():
                ours = [score(rows, dataset, system, "f1_non0", c).mean() * 100 for c in (["complete"], sets)]
                loss[name] = ours[0] - ours[1]
            printed = [printed_cells("umdf", "1", "MOSI", "UMDF", ["f1"], c).mean() for c in (["complete"], sets)]
            losses[dataset] = loss | {"in print": printed[0] - printed[1]}
    return losses


def _umdf() -> str:
    losses = [
        f"{loss.pop('UMDF'):.1f} ({'; '.join([SHORT[d], *(f'{name} {value:.1f}' for name, value in loss.items())])})"
        for d, loss in umdf_losses().items()
    ]
    rivals = (CONTROLS[OWN["umdf"]], (DROPOUT, ""))
    control, dropout = (gains("umdf", rival, [HEADROOM, CLEAN]) for rival in rivals)
    frames = [gains("umdf", rival, [FRAMES, STATIC, CLEAN], conditions_of=SCOPES["frames"]) for rival in rivals]
    lost = (
        f"Loss of F1 from complete clips to sets with something missing, in points: {listed(losses)}." if losses else ""
    )
    return _joined(
        lost,
        compared("Over one view with modality dropout, distillation between two views", control),
        compared(f"Over {DROPOUT}, UMDF", dropout),
        compared("With frames lost in place of modalities, over one view it", frames[0]),
        compared(f"Over {DROPOUT} it then", frames[1]),
        _votes(control, dropout),
    )


def generated() -> dict[str, float]:
    """UA in percent on IEMOCAP of text that is generated from audio, by how, and of a guess; empty without rows."""
    rows, bars = unflagged(results("admc")), {}
    for name, how in (("as printed", "n=50"), ("audio seen clean", "conditional")):
        with suppress(MissingRows):
            bars[name] = 100 * score(rows, "iemocap", ("ADMC", "head"), "ua", [f"audio -> text, {how}"]).mean()
    if bars:
        bars["guess"] = 100 * score(rows, "iemocap", ("prior", ""), "ua", ["complete"]).mean()
    return bars


def _admc_claim() -> str:
    place = ("admc", "4", "IEMOCAP", "ADMC", ["ua"], ["audio -> text, n=50"])
    return (
        "Generated features stand in for missing ones: text that is generated from audio is classified with a UA of "
        f"{printed_cells(*place).item():.1f} %."
    )


def _admc() -> str:
    datasets, needs = ("iemocap", FOLDS, "avdigits", "mosi_bclstm", "synthetic iemocap"), [HEADROOM, CLEAN]
    control, trivial = (gains("admc", rival, needs, datasets) for rival in (CONTROLS[OWN["admc"]], None))
    itfn, in_wa = (gains("admc", ("ADMC", "w/o ITFN"), [CLEAN], datasets, metric=m) for m in ("", "accuracy"))
    bars, of_text = (
        generated(),
        "Text that is generated from audio is classified with a UA of {:.1f} %, a guess has {:.1f} %",
    )
    return _joined(
        compared("Over zeros in the same networks, what ADN generates", control),
        compared("Over the best trivial row, ADMC", trivial),
        compared("Over joint training, training each encoder alone (ITFN)", itfn),
        compared("In accuracy, which the paper claims, it", in_wa),
        f"{of_text.format(bars['as printed'], bars['guess'])} (IEMOCAP)." if "as printed" in bars else "",
        _votes(control, trivial),
    )


def detection(dataset: str, variant: str, method: str = "SMCIR") -> float:
    """F1 of a variant's detector, the mean over seeds and the modalities that it watches; nan without rows."""
    rows = unflagged(results("smcir"))
    rows = rows[(rows["dataset"] == dataset) & (rows["method"] == method) & (rows["variant"] == variant)]
    rows = rows[(rows["condition"] == MIXED) & rows["metric"].str.startswith("diagnosis_f1")]
    return float(rows["value"].mean())


def detected_on() -> list[str]:
    """The data sets that may judge the detector and have rows of it as printed."""
    rows = results("smcir")
    can_judge = [d for d in DATASETS["smcir"] if not any(n.lacks(rows, d, [MIXED]) for n in (JUDGED_FRAMES, CLEAN))]
    return [dataset for dataset in can_judge if pd.notna(detection(dataset, ""))]


def generator_active() -> dict[str, float]:
    """Data set -> percent of the clips with text alone whose other modalities the printed detector calls missing."""
    rows, shares = unflagged(results("smcir")), {}
    own = rows[(rows["method"] == "SMCIR") & (rows["variant"] == "") & (rows["condition"] == "available(text)")]
    for dataset, part in own[own["metric"].str.startswith("diagnosed_")].groupby("dataset", sort=False):
        if dataset in SHORT:
            shares[dataset] = 100 * float(part["value"].mean())
    return shares


def _smcir_claim() -> str:
    return "A detector finds for each sample which modality is missing, without labels."


def _smcir() -> str:
    found = ""
    if datasets := detected_on():
        f1 = {name: [detection(d, variant) for d in datasets] for name, variant in DETECTORS.items()}
        rows = results("smcir")
        for best in rows.loc[rows["method"] == _UNTRAINED, "variant"].unique():
            f1[f"{best} that the paper leaves open"] = [detection(d, best, _UNTRAINED) for d in datasets]
        f1 = [f"{name} {listed(f'{v:.2f}' for v in values)}" for name, values in f1.items() if pd.notna(values).all()]
        found = f"F1 with which the detector finds missing modalities ({listed(SHORT[d] for d in datasets)}): {', '.join(f1)}."
    if fires := generator_active():
        shares = [f"{share:.0f} % ({SHORT[d]})" for d, share in fires.items()]
        found = _joined(
            found, f"As printed it fires, and so completes, in {listed(shares)} of the clips that have text alone."
        )
    control, trivial = (gains("smcir", rival, [HEADROOM, CLEAN]) for rival in (CONTROLS[OWN["smcir"]], None))
    return _joined(
        found,
        compared("Over zeros in the same network, completion (CMCG)", control),
        compared("Over the best trivial row, SMCIR", trivial),
        _votes(control, trivial),
    )


SENTENCES: Mapping[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "simc": (_simc_claim, _simc),
    "umdf": (_umdf_claim, _umdf),
    "admc": (_admc_claim, _admc),
    "smcir": (_smcir_claim, _smcir),
}
"""Per paper: what it claims, and what we find."""
