"""What each paper claims first, and what we find: four rows for the README and for the results notebook."""

from collections.abc import Iterable, Sequence

import pandas as pd

from mmlib.data import corpora
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.intervals import paired
from mmlib.report.published import TABLES, TITLES
from mmlib.report.rows import SystemName, measured, missing_conditions, printed_cells, score

ZERO, DROPOUT, ORACLE = ("zero fill", ""), ("zero fill + modality dropout", ""), ("oracle", "")
DETECTED_ON = {"mosi_bclstm": "MOSI vectors", "mosi": "MOSI tokens", "synthetic mosi": "synthetic clips"}

SENTENCES = {
    "simc": (
        "With a modality missing almost nothing is lost: F-micro is {full:.2f} on complete films and {missing:.2f} with a "
        "poster or a plot missing.",
        "The printed F-micro is cell accuracy, and predicting no genre at all has a cell accuracy of {floor:.3f}. On our "
        "features F-samples with a modality missing is {own:.3f}; zeros in place of the missing modality reach {zero:.3f}. "
        "For networks that are trained on complete films, the gain of simulation is being measured anew, because a control "
        "was missing: the same network with zeros.",
    ),
    "umdf": (
        "One network is robust under all six sets of available modalities: F1 is {printed:.1f} on average on MOSI.",
        "On our MOSI vectors F1 is {own:.1f}; zeros in place of missing modalities reach {zero:.1f}, with modality dropout "
        "{dropout:.1f}. On synthetic clips UMDF is {below:.1f} points below the oracle, modality dropout {dropout_below:.1f}. "
        "The gain of each part of UMDF is being measured anew on sequences, because the parts cannot act on clips of one "
        "frame.",
    ),
    "admc": (
        "Generated features stand in for missing ones: text that is generated from audio is classified with a UA of "
        "{generated_printed:.1f} %.",
        "Encoders that are trained alone (ITFN) help: with modalities missing UA on IEMOCAP is {own:.1f} %, without ITFN "
        "{joint:.1f} %. Generated features do not: text that is generated from audio as in the paper is classified with "
        "{generated:.1f} %, a guess with {guess:.1f} %. With zeros in place of generated features the same networks reach "
        "{without:.1f} %.",
    ),
    "smcir": (
        "A detector finds for each sample which modality is missing, without labels.",
        "As printed, the detector finds missing modalities with an F1 of {paper} ({places}). The detector of the released "
        "code reaches {official}, a corrected one {corrected}. The prediction cannot tell what detection is worth: on these "
        "data all modalities together gain {gain} in mean absolute error over text alone.",
    ),
}
"""Per paper: the claim, and the finding. No number is typed here; `NUMBERS` fills them in."""


def findings() -> pd.DataFrame:
    """One row per paper: paper, what it claims, what we find."""
    rows = []
    for paper, sentences in SENTENCES.items():
        numbers = NUMBERS[paper]()
        rows.append([TITLES[paper], *(sentence.format(**numbers) for sentence in sentences)])
    return pd.DataFrame(rows, columns=["paper", "what it claims", "what we find"])


def mean(paper: str, dataset: str, metric: str, system: SystemName, conditions: Sequence[str] = ()) -> float:
    """A system's mean over seeds and conditions, by default all conditions that lack a modality."""
    rows = measured(paper, dataset)
    return float(score(rows, dataset, system, metric, conditions or missing_conditions(rows, dataset)).mean())


def simc() -> dict[str, float]:
    """full, missing: the printed F-micro. floor: cell accuracy of predicting nothing. own, zero: our F-samples."""
    cells = corpora.MMIMDB_FILMS * len(corpora.MMIMDB_GENRES)
    place = ("simc", "1", "MM-IMDb", "SIM-C", ["f_micro_as_printed"])
    full, missing = (printed_cells(*place, c).item() for c in (SIMC_CONFIGURATIONS[:1], SIMC_CONFIGURATIONS[1:]))
    ((_, variants),) = TABLES["simc", "3"].lines.items()
    return {
        "full": full,
        "missing": missing,
        "floor": 1 - sum(corpora.MMIMDB_GENRES.values()) / cells,
        "own": max(mean("simc", "mmimdb_subset", "f1_samples", system) for system in variants),
        "zero": mean("simc", "mmimdb_subset", "f1_samples", ZERO),
    }


def umdf() -> dict[str, float]:
    """F1 in percent over the sets that lack a modality; below: distance to the oracle on synthetic clips, in points."""

    def f1(system: SystemName, dataset: str = "mosi_bclstm") -> float:
        return 100 * mean("umdf", dataset, "f1_non0", system)

    own, synthetic = ("UMDF", ""), "synthetic mosi"
    conditions = missing_conditions(measured("umdf", "mosi_bclstm"), "mosi_bclstm")
    return {
        "printed": printed_cells("umdf", "1", "MOSI", "UMDF", ["f1"], conditions).mean(),
        "own": f1(own),
        "zero": f1(ZERO),
        "dropout": f1(DROPOUT),
        "below": f1(ORACLE, synthetic) - f1(own, synthetic),
        "dropout_below": f1(ORACLE, synthetic) - f1(DROPOUT, synthetic),
    }


def admc() -> dict[str, float]:
    """UA in percent on IEMOCAP: over the sets that lack a modality, and of text that is generated from audio."""

    def ua(system: SystemName, *conditions: str) -> float:
        return 100 * mean("admc", "iemocap", "ua", system, conditions)

    head, direction = ("ADMC", "head"), "audio -> text"
    return {
        "own": ua(("ADMC", "")),
        "joint": ua(("ADMC", "w/o ITFN")),
        "without": ua(("ADMC", "w/o ADN")),
        "guess": ua(("prior", "")),
        "generated": ua(head, f"{direction}, n=50"),
        "generated_printed": printed_cells("admc", "4", "IEMOCAP", "ADMC", ["ua"], [f"{direction}, n=50"]).item(),
        "conditional": ua(head, f"{direction}, conditional"),
    }


def detection(variant: str) -> list[float]:
    """F1 of a variant's detector on each data set of DETECTED_ON, the mean over seeds and watched modalities."""
    values = []
    for dataset in DETECTED_ON:
        rows = measured("smcir", dataset)
        rows = rows[(rows["method"] == "SMCIR") & (rows["variant"] == variant)]
        rows = rows[rows["condition"].eq("patterns(keep=text)") & rows["metric"].str.startswith("diagnosis_f1_")]
        values.append(float(rows["value"].mean()))
    return values


def smcir() -> dict[str, str]:
    """F1 of the detectors, and the gain of all modalities over text alone with its interval over seeds."""

    def gain(dataset: str) -> str:
        rows = measured("smcir", dataset)
        own, text = (score(rows, dataset, s, "mae", ["complete"]) for s in (("SMCIR", ""), ("text alone", "")))
        difference = paired(own, text, "mae")
        return f"{difference.mean:+.3f} ± {difference.half:.3f}"

    names = {"paper": "", "official": "official", "corrected": "corrected"}
    f1 = {name: _listed(f"{value:.2f}" for value in detection(variant)) for name, variant in names.items()}
    return f1 | {"places": _listed(DETECTED_ON.values()), "gain": _listed(map(gain, DETECTED_ON))}


NUMBERS = {"simc": simc, "umdf": umdf, "admc": admc, "smcir": smcir}


def _listed(items: Iterable[str]) -> str:
    *most, last = items
    return f"{', '.join(most)} and {last}"
