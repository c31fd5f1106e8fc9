"""What each paper claims first, and what we find: four rows for the README and for the results notebook.

Every sentence that compares is made from the interval that it states: the side of 0 on which it lies, or the largest effect
that it contains. Data sets without a vote (`mmlib.report.needs`) and flagged rows are left out.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import pandas as pd

from mmlib import corpora, missing
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.claims import umdf
from mmlib.report.claims.verdicts import MARGIN, SCOPES, best_trivial, compare, reading
from mmlib.report.intervals import Difference
from mmlib.report.needs import CLEAN, FRAMES, HEADROOM, JUDGED_FRAMES, STATIC, Need
from mmlib.report.published import CONTROLS, DATASETS, DROPOUT, FRAME_DROPOUT, OWN, PEER_CONTROLS, TITLES, not_run
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
    reported,
    results,
    score,
    trained_complete,
    unflagged,
)

SHORT = {
    "mmimdb_subset": "films, MovieLens genres", "mmimdb_genres": "films, IMDb genres", "sarcasm": "posts",
    "synthetic mmimdb": "synthetic films", "mosi_words": "MOSI, static words", "mosi_mpnet": "MOSI, contextual tokens",
    "mosi_bclstm": "MOSI, vectors", "iemocap, one vs rest": "IEMOCAP, vectors", "synthetic reviews": "synthetic reviews",
    "iemocap": "IEMOCAP", FOLDS: "IEMOCAP, five folds", "iemocap, binary": "IEMOCAP, two classes", "avdigits": "digits",
    "mintrec_mpnet": "MIntRec, text alone", "mmmo": "film reviews", "iemocap_mpnet": "IEMOCAP, MPNet",
    "synthetic iemocap": "synthetic emotions",
}  # fmt: skip
"""Our data sets in a sentence."""
_METRICS = {
    "f1_micro": "micro-F1", "f1_samples": "F-samples", "map": "mAP", "ua": "UA", "f1_mean": "mean F1", "accuracy": "accuracy",
}  # fmt: skip
_IN_POINTS = {"up": "adds", "down": "costs", "small": "has no effect larger than", "open": "is undecided, from"}
_OF_MAE = {
    "up": "lowers MAE by", "down": "raises MAE by", "small": "changes MAE by no more than",
    "open": "is undecided, with a change of MAE from",
}  # fmt: skip
_READ = {"any views": "views may be equal", "corrected": "with our corrections", "two_stage": "in two stages"}
_SEEDS = 5
_COMPLETE = ("MulT", "Self-MM", "Self-MM w/o ULGM", "CubeMLP", "EMT", "TETFN", "TETFN w/o ULGM", "DLF", "CLGSI")
_PEERS = (*PEER_CONTROLS, "MCTN", "TransM", *(f"{name} + dropout" for name in _COMPLETE))
MIXED = "patterns(keep=text)"
DETECTORS = {"as printed": "", "released code": "official", "corrected": "corrected"}
_UNTRAINED = "untrained detector"
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
                read[dataset] = _READ[own[1]]
    return Gains(found, without, read)


def comparisons() -> pd.DataFrame:
    """The gains behind `findings`, one per line, in every metric that the paper prints or that chose the settings.

    Columns, all text: paper, compared, trained on, data, reading (of the method), gain (with interval and metric), seeds,
    verdict.
    """
    lines = []
    for paper, rivals in _RIVALS.items():
        rows = results(paper)
        for (over, rival), (trained, scope) in itertools.product(rivals.items(), _TRAINED.get(paper, _AS_IS).items()):
            for dataset, metric in itertools.product(DATASETS[paper], _COMPARED_IN[paper]):
                if metric not in set(rows.loc[rows["dataset"] == dataset, "metric"]):
                    continue
                found = gains(paper, rival, [HEADROOM, CLEAN], [dataset], scope, metric)
                for name, gain in found.of.items():
                    reads = {1: "better", -1: "worse", 0: "no larger effect" if _kind(gain) == "small" else "undecided"}
                    lines.append(
                        (TITLES[paper], over, trained, SHORT[name], found.read.get(name, "as printed"), str(gain),
                         str(gain.seeds), reads[gain.side])
                    )  # fmt: skip
    columns = ["paper", "compared", "trained on", "data", "reading", "gain", "seeds", "verdict"]
    return pd.DataFrame(lines, columns=columns)


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
        beside = {
            name: g for name, kinds in of_peers(dataset).items() if (g := kinds.get("over modality dropout")) and g.side
        }
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
            bounds = [f"{n} ({_size(gain)}{_few(gain, ', {}')})" for n, gain in still_open.items()]
            parts.append(f"undecided in {listed(bounds)}")
        for side, place in ((1, "ahead of"), (-1, "behind")):
            names = [f"{n} ({_size(g)}{_few(g, ', {}')})" for n, g in beside.items() if g.side == side]
            parts += [f"{place} modality dropout: {listed(names)}"] * bool(names)
        metric, name = main_metric(rows, dataset), SHORT[dataset]
        sentences.append(
            f"{name[0].upper()}{name[1:]}, in points of {_METRICS.get(metric, metric)}: {'; '.join(parts)}."
        )
    return _joined(*sentences)


def effects(found: Mapping[str, Difference], read: Mapping[str, str] | None = None) -> str:
    """'adds 0.8 ± 0.5 (posts) and 1.1 ± 0.2 (digits) points of UA and changes MAE by no more than 0.020 (film reviews)'.

    An effect that is not told from 0, and may be larger than `verdicts.MARGIN`, is undecided:
    'is undecided, from −0.6 to +1.4 (digits) points of UA'. read: as in `Gains`.
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
    """Mean and half width of a gain whose sign is known; the largest effect of a small one; else both ends of the interval.

    Ends are those of the metric itself: a gain lowers mae.
    """
    unit, digits = (1, 3) if gain.metric == "mae" else (100, 1)
    if gain.side:
        return f"{abs(gain.mean) * unit:.{digits}f} ± {gain.half * unit:.{digits}f}"
    if _kind(gain) == "small":
        return f"{gain.largest * unit:.{digits}f}"
    change = -gain.mean if gain.metric == "mae" else gain.mean
    return " to ".join(f"{(change + end) * unit:+z.{digits}f}".replace("-", "−") for end in (-gain.half, gain.half))


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
    trained = {"trained under the condition of its test, it": matched, "trained on complete rows, it": trained_complete}
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
    others = []
    for metric, why in (("map", "by which settings were chosen"), ("f1_samples", "which the paper prints")):
        found = [gains("simc", None, [HEADROOM], scope=scope, metric=metric).of for scope in trained.values()]
        if means := [100 * gain.mean for of in found for gain in of.values()]:
            ends = " to ".join(f"{end:+.1f}".replace("-", "−") for end in (min(means), max(means)))
            others.append(f"{ends} points of {_METRICS[metric]}, {why}")
    if others:
        sentences.append(f"Over the same rows it gains {listed(others)} (means; intervals in results.ipynb).")
    return _joined(*sentences, _votes(*polls))


def _umdf_claim() -> str:
    sets = [f"available({s})" for s in ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")]
    average = printed_cells("umdf", "1", "MOSI", "UMDF", ["f1"], sets).item()
    return f"One network is robust under all six sets of available modalities: F1 is {average:.1f} on average on MOSI."


def umdf_losses() -> dict[str, dict[str, float]]:
    """Data set -> loss of F1 from complete clips to the mean over the sets that lack something, in points: of UMDF, in print,
    of zeros in place of what is missing, and of the same with modality dropout.

    Without the data sets on which no system can lose as little as is printed: there a modality alone is at chance.
    """
    losses, rows = {}, unflagged(results("umdf"))
    for dataset in (*umdf.MOSI, umdf.EMOTIONAL):
        with suppress(MissingRows):
            sets, metric = missing_conditions(rows, dataset), "f1_mean" if dataset == umdf.EMOTIONAL else "f1_non0"
            own = reading(rows, dataset, OWN["umdf"])
            systems = {"UMDF": own, "zero fill": ("zero fill", ""), "dropout": (DROPOUT, "")}
            loss = {}
            for name, system in systems.items():
                whole, part = (score(rows, dataset, system, metric, c).mean() for c in (["complete"], sets))
                loss[name] = 100 * (whole - part)
            printed = umdf.printed_fall(reported("umdf"), dataset, sets)
            if umdf.least_fall(rows, dataset, metric, sets) <= printed + 0.01:
                losses[dataset] = loss | {"in print": 100 * printed}
    return losses


def _umdf() -> str:
    of_all = umdf_losses()
    losses = [
        f"{loss.pop('UMDF'):.1f} ({'; '.join([SHORT[d], *(f'{name} {value:.1f}' for name, value in loss.items())])})"
        for d, loss in of_all.items()
    ]
    left_out = [SHORT[d] for d in (*umdf.MOSI, umdf.EMOTIONAL) if d not in of_all and not not_run("umdf", d)]
    own = CONTROLS[OWN["umdf"]]
    control, dropout = (gains("umdf", rival, [HEADROOM, CLEAN]) for rival in (own, (DROPOUT, "")))
    needs = [FRAMES, STATIC, CLEAN]
    frames = [gains("umdf", r, needs, conditions_of=SCOPES["frames"]) for r in (own, (FRAME_DROPOUT, ""))]
    lost = (
        f"Loss of F1 from complete clips to sets with something missing, in points: {listed(losses)}." if losses else ""
    )
    return _joined(
        lost,
        f"On {listed(left_out)} no system can lose as little as is printed: a modality alone is at chance."
        * bool(left_out),
        compared("Over one view with modality dropout, distillation between two views", control),
        compared(f"Over {DROPOUT}, UMDF", dropout),
        compared("Where frames are lost and no modality is missing, over one view UMDF", frames[0]),
        compared(f"Over {FRAME_DROPOUT}, where frames are lost, UMDF", frames[1]),
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
    needs = [HEADROOM, CLEAN]
    control, trivial = (gains("admc", rival, needs) for rival in (CONTROLS[OWN["admc"]], None))
    itfn = gains("admc", ("ADMC", "w/o ITFN"), [CLEAN])
    in_wa = {
        "ADN": gains("admc", CONTROLS[OWN["admc"]], needs, metric="accuracy"),
        "ADMC over the best trivial row": gains("admc", None, needs, metric="accuracy"),
        "ITFN": gains("admc", ("ADMC", "w/o ITFN"), [CLEAN], metric="accuracy"),
    }
    wa = [f"{part} {effects(found.of, found.read)}" for part, found in in_wa.items() if found.of]
    bars, of_text = (
        generated(),
        "Text that is generated from audio is classified with a UA of {:.1f} %, a guess has {:.1f} %",
    )
    return _joined(
        compared("Over zeros in the same networks, what ADN generates", control),
        compared("Over the best trivial row, ADMC", trivial),
        compared("Over joint training, training each encoder alone (ITFN)", itfn),
        f"In accuracy, which the paper calls WA: {'; '.join(wa)}." * bool(wa),
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


def chance_of_detection() -> dict[str, float]:
    """F1 under MIXED of a coin that flags as many as are missing, and of an answer that flags all."""
    patterns = missing.all_patterns(3)
    share = float((~patterns[patterns[:, 0], 1]).float().mean())
    return {"coin": share, "detector that calls all missing": 2 * share / (1 + share)}


def generator_active(condition: str = "available(text)") -> dict[str, float]:
    """Data set -> percent of the clips under this condition whose audio and vision the printed detector calls missing."""
    rows, shares = unflagged(results("smcir")), {}
    own = rows[(rows["method"] == "SMCIR") & (rows["variant"] == "") & (rows["condition"] == condition)]
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
        f1 |= {f"a {guess}": [value] for guess, value in chance_of_detection().items()}
        f1 = [f"{name} {listed(f'{v:.2f}' for v in values)}" for name, values in f1.items() if pd.notna(values).all()]
        found = f"F1 with which the detector finds missing modalities ({listed(SHORT[d] for d in datasets)}): {', '.join(f1)}."
    if fires := generator_active():
        whole = generator_active("complete")
        shares = [f"{share:.0f} % ({SHORT[d]}; of complete clips {whole[d]:.0f} %)" for d, share in fires.items()]
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
