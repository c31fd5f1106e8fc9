"""What each paper claims first, and what we find: four rows for the README and for the results notebook.

The intervals of what the methods gain stand in a table of their own (`mmlib.report.gains`). Data sets without a vote
(`mmlib.report.needs`) and flagged rows are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import pandas as pd

from mmlib import corpora, missing
from mmlib.models.simc import SIMC_CONFIGURATIONS
from mmlib.report.claims import simc, umdf
from mmlib.report.claims.verdicts import reading
from mmlib.report.gains import READ, SHORT, gains, in_print, without_vote
from mmlib.report.needs import CLEAN, HEADROOM, JUDGED_FRAMES, Need
from mmlib.report.published import DATASETS, DROPOUT, OWN, TITLES, not_run
from mmlib.report.rows import (
    CORPORA,
    MissingRows,
    Rows,
    matched,
    missing_conditions,
    printed_cells,
    reported,
    results,
    score,
    trained_complete,
    unflagged,
)

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


def votes(paper: str) -> str:
    """Which data sets have rows but no vote on completion; empty without any."""
    names = [SHORT[dataset] for dataset in without_vote(paper)]
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
    lost, mean_loss = simc.losses(unflagged(results("simc"))), ""
    if lost:
        rivals = [lost[name] for name in simc.RIVALS]
        mean_loss = (
            f"With something missing, by the paper's formula, our SIM-C loses {lost['SIM-C']:.0f} % of micro-F1, its rivals "
            f"{min(rivals):.0f} to {max(rivals):.0f} %, zero fill {lost['zero fill']:.0f} %, with modality dropout "
            f"{lost[DROPOUT]:.0f} % ({SHORT[simc.GENRES]})."
        )
    others = [
        f"{means} points of {in_print(metric)} {why}"
        for metric, why in (("map", "(it chose the settings)"), ("f1_samples", "(the paper prints it)"))
        if (means := _means("simc", [HEADROOM], metric, (matched, trained_complete)))
    ]
    beside = f"Over the best trivial row SIM-C gains, in the mean, {listed(others)}." if others else ""
    return _joined(floor, mean_loss, beside, votes("simc"))


def _means(paper: str, needs: Sequence[Need], metric: str, scopes: Sequence[Callable[[Rows], Rows]]) -> str:
    """The smallest and the largest mean gain over the best trivial row in a metric, in points; empty without rows."""
    found = [gains(paper, None, needs, scope=scope, metric=metric).of for scope in scopes]
    means = [100 * gain.mean for of in found for gain in of.values()]
    return " to ".join(f"{end:+z.1f}".replace("-", "−") for end in (min(means), max(means))) if means else ""


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
            printed = reported("umdf")
            if umdf.can_be_as_robust(rows, printed, dataset, metric, sets):
                losses[dataset] = loss | {"in print": 100 * umdf.printed_fall(printed, dataset, sets)}
    return losses


def _umdf() -> str:
    of_all = umdf_losses()
    losses, rows = [], unflagged(results("umdf"))
    for d, loss in of_all.items():
        own = reading(rows, d, OWN["umdf"])
        place = SHORT[d] + (f", {READ[own[1]]}" if own != OWN["umdf"] else "")
        losses.append(f"{loss.pop('UMDF'):.1f} ({'; '.join([place, *(f'{k} {v:.1f}' for k, v in loss.items())])})")
    left_out = [SHORT[d] for d in (*umdf.MOSI, umdf.EMOTIONAL) if d not in of_all and not not_run("umdf", d)]
    lost = (
        f"Loss of F1 from complete clips to sets with something missing, in points: {listed(losses)}." if losses else ""
    )
    return _joined(
        lost,
        f"On {listed(left_out)} no system can lose as little as is printed: a modality alone is at chance."
        * bool(left_out),
        votes("umdf"),
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
    bars, of_text = generated(), ""
    if "as printed" in bars:
        of_text = (
            f"Text that is generated from audio is classified with a UA of {bars['as printed']:.1f} %, "
            f"a guess has {bars['guess']:.1f} % (IEMOCAP)."
        )
    means = _means("admc", [HEADROOM, CLEAN], "accuracy", [lambda rows: rows])
    beside = f"Over the best trivial row ADMC gains, in the mean, {means} points of accuracy (the paper's WA)."
    return _joined(of_text, beside * bool(means), votes("admc"))


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
        shares = [f"{share:.0f} % and {whole[d]:.0f} % ({SHORT[d]})" for d, share in fires.items()]
        found = _joined(
            found,
            "As printed it calls audio and vision missing, and completes them, in this share of the clips that have text "
            f"alone, and of complete clips: {listed(shares)}.",
        )
    return _joined(found, votes("smcir"))


SENTENCES: Mapping[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "simc": (_simc_claim, _simc),
    "umdf": (_umdf_claim, _umdf),
    "admc": (_admc_claim, _admc),
    "smcir": (_smcir_claim, _smcir),
}
"""Per paper: what it claims, and what we find."""
