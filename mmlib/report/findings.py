"""What each paper claims first, and what we find: four rows for the README and for the results notebook.

Every sentence that compares is made from the interval that it states: a side of 0 that the whole interval is on, or the
largest effect that it contains. Data sets without a vote (`mmlib.report.needs`) and flagged rows are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from mmlib.data import corpora
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.claims.verdicts import best_trivial, compare
from mmlib.report.intervals import Difference
from mmlib.report.needs import CLEAN, HEADROOM, JUDGED_FRAMES, Need
from mmlib.report.published import CONTROLS, DATASETS, DROPOUT, OWN, TITLES, not_run
from mmlib.report.rows import (
    CORPORA,
    FOLDS,
    MissingRows,
    Rows,
    SystemName,
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
    "mosi_bclstm": "MOSI, vectors", "iemocap, one vs rest": "IEMOCAP", "synthetic reviews": "synthetic clips",
    "iemocap": "IEMOCAP", FOLDS: "IEMOCAP, five folds", "iemocap, binary": "IEMOCAP, two classes", "avdigits": "digits",
    "mintrec_mpnet": "MIntRec, text alone", "mmmo": "film reviews", "iemocap_mpnet": "IEMOCAP",
    "synthetic iemocap": "synthetic clips",
}  # fmt: skip
"""Our data sets in a sentence."""
_METRICS = {"f1_micro": "micro-F1", "ua": "UA", "f1_mean": "mean F1", "f1_non0": "F1"}
_VERBS = {1: "adds", -1: "costs", 0: "has no effect larger than"}
MIXED = "patterns(keep=text)"
DETECTORS = {"as printed": "", "released code": "official", "corrected": "corrected"}

Scope = Callable[[Rows], Rows]


def findings() -> pd.DataFrame:
    """One row per paper: paper, what it claims, what we find, features (those that the finding rests on)."""
    lines = []
    for paper, (claim, finding) in SENTENCES.items():
        run = [dataset for dataset in DATASETS[paper] if not not_run(paper, dataset)]
        found = finding()
        if not run:
            commands = f"python -m mmlib.runs notebooks/studies/{paper}_{CORPORA[DATASETS[paper][0]].study}.yaml"
            found = f"{found} Our networks are not run yet: {commands} makes the first rows.".strip()
        lines.append([TITLES[paper], claim(), found, _features(paper, run) or "none yet"])
    return pd.DataFrame(lines, columns=["paper", "what it claims", "what we find", "features"])


def gains(
    paper: str,
    rival: SystemName | None,
    datasets: Sequence[str] = (),
    needs: Sequence[Need] = (),
    scope: Scope | None = None,
) -> tuple[dict[str, Difference], list[str]]:
    """Gains of a paper's method by data set, mean over the sets with something missing; and the data sets without a vote.

    rival: a system; None: the best trivial row of each data set. datasets: by default all of the paper.
    scope: the rows that count; by default all. Data sets without rows are in neither.
    """
    rows = unflagged(results(paper))
    rows = scope(rows) if scope else rows
    found, without = {}, []
    for dataset in datasets or DATASETS[paper]:
        try:
            conditions = missing_conditions(rows, dataset)
            other = rival or best_trivial(rows, dataset, conditions)
            (gain,) = compare(rows, dataset, OWN[paper], [other], conditions).values()
            has_vote = not any(need.lacks(rows, dataset, conditions) for need in needs)
        except MissingRows:
            continue
        if has_vote:
            found[dataset] = gain
        else:
            without.append(dataset)
    return found, without


def compared(subject: str, found: Mapping[str, Difference], without: Sequence[str] = ()) -> str:
    """'Over zeros, simulation adds 0.8 ± 0.5 points of UA (posts) and has no effect larger than ... .'; empty without rows."""
    clauses = []
    for side, verb in _VERBS.items():
        of_side = {dataset: gain for dataset, gain in found.items() if gain.side == side}
        if of_side:
            clauses.append(f"{verb} {listed(f'{_size(gain)} ({SHORT[dataset]})' for dataset, gain in of_side.items())}")
    sentence = f"{subject} {listed(clauses)}." if clauses else ""
    if without:
        names = listed(SHORT[dataset] for dataset in without)
        sentence += f" {'Without a vote on it' if clauses else f'{subject}: no vote'}: {names}."
    return sentence.strip()


def _size(gain: Difference) -> str:
    """'0.8 ± 0.5 points of UA', or the largest effect where the interval contains 0."""
    is_error = gain.metric == "mae"
    unit, digits = (1, 3) if is_error else (100, 1)
    unit_name = "of MAE" if is_error else f"points of {_METRICS.get(gain.metric, gain.metric)}"
    if gain.side == 0:
        return f"{gain.largest * unit:.{digits}f} {unit_name}"
    return f"{abs(gain.mean) * unit:.{digits}f} ± {gain.half * unit:.{digits}f} {unit_name}"


def listed(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def _features(paper: str, datasets: Sequence[str]) -> str:
    rows = results(paper)
    names = {d: rows.loc[rows["dataset"] == d, "features"].iloc[0].removesuffix(", standardised") for d in datasets}
    return "; ".join(f"{SHORT[d]}: {name}" for d, name in names.items() if name != "synthetic")


def simc_cells() -> dict[str, float]:
    """Cell accuracy: as printed on complete films and with something missing, and of predicting no genre."""
    cells = corpora.MMIMDB_FILMS * len(corpora.MMIMDB_GENRES)
    place = ("simc", "1", "MM-IMDb", "SIM-C", ["f_micro_as_printed"])
    full, missing = (printed_cells(*place, c).item() for c in (SIMC_CONFIGURATIONS[:1], SIMC_CONFIGURATIONS[1:]))
    floor = 1 - sum(corpora.MMIMDB_GENRES.values()) / cells
    return {"complete films": full, "modality missing": missing, "predict no genre": floor}


def _simc_claim() -> str:
    cells = simc_cells()
    return (
        f"With a modality missing almost nothing is lost: F-micro is {cells['complete films']:.2f} on complete films and "
        f"{cells['modality missing']:.2f} with a poster or a plot missing."
    )


def _simc() -> str:
    floor = f"The printed F-micro is cell accuracy: predicting no genre at all scores {simc_cells()['predict no genre']:.3f}."
    trained = {"trained under the same holes": matched, "trained on complete rows": trained_complete}
    rivals = {
        "Over zeros in the same network, {}, simulation": CONTROLS[OWN["simc"]],
        "Over the best trivial row, {}, SIM-C": None,
    }
    return _joined(
        floor,
        *(
            compared(subject.format(how), *gains("simc", rival, (), [HEADROOM], scope))
            for subject, rival in rivals.items()
            for how, scope in trained.items()
        ),
    )


def _umdf_claim() -> str:
    place = ("umdf", "1", "MOSI", "UMDF", ["f1"])
    sets = [f"available({s})" for s in ("text", "audio", "vision", "text, audio", "text, vision", "audio, vision")]
    return (
        "One network is robust under all six sets of available modalities: F1 is "
        f"{printed_cells(*place, sets).mean():.1f} on average on MOSI."
    )


def umdf_falls() -> dict[str, tuple[float, float]]:
    """Data set -> fall of F1 from complete clips to the mean over the sets that lack something, in points: ours, printed."""
    falls = {}
    rows = unflagged(results("umdf"))
    for dataset in ("mosi_words", "mosi_mpnet"):
        try:
            sets = missing_conditions(rows, dataset)
            ours = [score(rows, dataset, OWN["umdf"], "f1_non0", c).mean() * 100 for c in (["complete"], sets)]
        except MissingRows:
            continue
        printed = [printed_cells("umdf", "1", "MOSI", "UMDF", ["f1"], c).mean() for c in (["complete"], sets)]
        falls[dataset] = (ours[0] - ours[1], printed[0] - printed[1])
    return falls


def _umdf() -> str:
    falls = [f"{ours:.1f} points ({SHORT[d]}; in print {printed:.1f})" for d, (ours, printed) in umdf_falls().items()]
    fall = f"From complete clips to sets with something missing F1 falls by {listed(falls)}." if falls else ""
    over = {"one view with modality dropout and no distillation": CONTROLS[OWN["umdf"]], DROPOUT: (DROPOUT, "")}
    subjects = {
        f"Over {rival}, {'distillation between two views' if i == 0 else 'UMDF'}": system
        for i, (rival, system) in enumerate(over.items())
    }
    return _joined(fall, *(compared(s, *gains("umdf", rival, (), [HEADROOM, CLEAN])) for s, rival in subjects.items()))


def generated() -> dict[str, float]:
    """UA in percent on IEMOCAP of text that is generated from audio, by how; and of a guess. Empty without rows."""
    rows = unflagged(results("admc"))
    bars = {}
    for name, how in (("as printed", "n=50"), ("audio seen clean", "conditional")):
        try:
            bars[name] = 100 * score(rows, "iemocap", ("ADMC", "head"), "ua", [f"audio -> text, {how}"]).mean()
        except MissingRows:
            continue
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
    datasets = ("iemocap", FOLDS, "avdigits", "mosi_bclstm", "synthetic iemocap")
    adn = gains("admc", CONTROLS[OWN["admc"]], datasets, [HEADROOM, CLEAN])
    trivial, itfn = (
        gains("admc", rival, datasets, needs)
        for rival, needs in ((None, [HEADROOM, CLEAN]), (("ADMC", "w/o ITFN"), [CLEAN]))
    )
    text = ""
    if bars := generated():
        text = f"Text that is generated from audio is classified with a UA of {bars['as printed']:.1f} %, a guess has "
        text += f"{bars['guess']:.1f} % (IEMOCAP)."
    return _joined(
        compared("Over zeros in the same networks, the features that ADN generates (ADN)", *adn).replace(
            " (ADN)", "", 1
        ),
        compared("Over the best trivial row, ADMC", *trivial),
        compared("Over encoders that are trained jointly, training each alone (ITFN)", *itfn),
        text,
    )


def detection(dataset: str, variant: str) -> float:
    """F1 of a variant's detector, the mean over seeds and the modalities that it watches; nan without rows."""
    rows = unflagged(results("smcir"))
    rows = rows[(rows["dataset"] == dataset) & (rows["method"] == "SMCIR") & (rows["variant"] == variant)]
    rows = rows[(rows["condition"] == MIXED) & rows["metric"].str.startswith("diagnosis_f1_")]
    return float(rows["value"].mean())


def detected_on() -> list[str]:
    """The data sets that may judge the detector and have rows of it as printed."""
    rows = results("smcir")
    can_judge = [d for d in DATASETS["smcir"] if not any(n.lacks(rows, d, [MIXED]) for n in (JUDGED_FRAMES, CLEAN))]
    return [dataset for dataset in can_judge if pd.notna(detection(dataset, ""))]


def _smcir_claim() -> str:
    return "A detector finds for each sample which modality is missing, without labels."


def _smcir() -> str:
    found = ""
    if datasets := detected_on():
        names = listed(SHORT[d] for d in datasets)
        f1 = [f"{name} {' and '.join(f'{detection(d, v):.2f}' for d in datasets)}" for name, v in DETECTORS.items()]
        found = f"F1 with which the detector finds missing modalities ({names}): {', '.join(f1)}."
    control, trivial = (gains("smcir", rival, (), [HEADROOM, CLEAN]) for rival in (CONTROLS[OWN["smcir"]], None))
    return _joined(
        found,
        compared("Over zeros in the same network, completion (CMCG)", *control),
        compared("Over the best trivial row, SMCIR", *trivial),
    )


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


SENTENCES: Mapping[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "simc": (_simc_claim, _simc),
    "umdf": (_umdf_claim, _umdf),
    "admc": (_admc_claim, _admc),
    "smcir": (_smcir_claim, _smcir),
}
"""Per paper: what it claims, and what we find."""
