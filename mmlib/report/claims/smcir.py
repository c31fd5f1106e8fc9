"""The claims of SMCIR and their judges."""

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd
import torch

from mmlib import metrics, missing
from mmlib.models.smcir import detector
from mmlib.models.smcir import system as smcir
from mmlib.report.claims import verdicts
from mmlib.report.claims.verdicts import FAILS, HOLDS, UNCHECKED, Case, Claim, Judgement, Measured, Printed, gains
from mmlib.report.intervals import paired
from mmlib.report.needs import CLEAN, HEADROOM, JUDGED_FRAMES
from mmlib.report.rows import AVERAGE, fold_ratio, grid, reported, score

SMCIR = ("SMCIR", "")
SEQUENCES = ("synthetic reviews", "mmmo")
REVIEWS = (*SEQUENCES, "mosi_mpnet", "mosi_bclstm", "iemocap_mpnet")
METRICS = ("mae", "corr", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")  # the columns of the paper's tables
MIXED = "patterns(keep=text)"


def _diagnosis(case: Case, dataset: str, variant: str, quantity: str, condition: str) -> pd.Series:
    """A quantity of the detector per seed, mean over the modalities that it judges."""
    names = set(case.ours.loc[case.ours["dataset"] == dataset, "metric"])
    judged = [m for m in ("audio", "vision") if f"diagnosed_{m}" in names] or ["audio"]
    values = [score(case.ours, dataset, ("SMCIR", variant), f"{quantity}_{m}", [condition]) for m in judged]
    return sum(values) / len(values)


def _detects(case: Case) -> Judgement:
    """Better than a coin: one that flags as many as are missing has that share for precision, recall and F1."""
    patterns = missing.all_patterns(3)
    patterns = patterns[patterns[:, 0]]
    coin = float((~patterns[:, 1]).float().mean())

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        f1 = _diagnosis(case, dataset, "", "diagnosis_f1", *conditions)
        corrected = _diagnosis(case, dataset, "corrected", "diagnosis_f1", *conditions).mean()
        difference = paired(f1, coin, "diagnosis_f1", ratio=fold_ratio("smcir", dataset))
        return Measured({"a coin": difference}, aside=f"F1 {f1.mean():.2f}, with our corrections {corrected:.2f}")

    return verdicts.poll(
        case, f"F1 of the diagnosis under {MIXED}, equations as printed, over a coin, which has {coin:.2f}", REVIEWS, measure,
        {"mixed": lambda rows, dataset: [MIXED]},
    )  # fmt: skip


def _low_entropy(case: Case) -> Judgement:
    N = 50
    real = detector.norm_entropy(torch.randn(200, N, 16, generator=torch.Generator().manual_seed(0)))
    zero = float(detector.norm_entropy(torch.zeros(1, N, 16)))
    return Judgement(
        FAILS if zero > float(real.max()) else HOLDS,
        f"Eq 1, 2 on {N} frames: zeros have {zero:.3f}, the largest possible value (ln {N} = {math.log(N):.3f}); 200 random "
        f"sequences {verdicts.span(real.tolist(), 3)}. Eq 7 looks for low scores: by this term an empty modality is found last",
    )


def _three_indicators(case: Case) -> Judgement:
    behind = {}
    for metric in METRICS:
        values = grid(case.printed, "4", "MOSEI", metric)["complete"].rename(lambda name: name.removeprefix("SMCIR, "))
        for name in values.index.drop("HMS"):
            if metrics.better(metric, values[name], values["HMS"]):
                behind[metric] = f"{values['HMS']:g} ({name} {values[name]:g})"
    table = f"Table 4, MOSEI: HMS leads in {len(METRICS) - len(behind)} of {len(METRICS)} columns"
    if behind:
        return Judgement(FAILS, f"{table}, not in {', '.join(f'{m} {v}' for m, v in behind.items())}")
    others = [("SMCIR", v) for v in ("H", "M", "S", "HM", "HS", "MS")]

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        return Measured(verdicts.compare(case.ours, dataset, SMCIR, others, conditions))

    complete = {"complete": verdicts.SCOPES["complete"]}
    return verdicts.poll(case, f"{table}. Gain of HMS, complete clips", SEQUENCES, measure, complete)


def _shares(case: Case) -> Judgement:
    """Complete clips miss nothing, available(text) misses all: a share that rises by less than half of that misleads."""

    def measure(dataset: str, scope: str, conditions: Sequence[str]) -> Measured:
        text, complete = (_diagnosis(case, dataset, "", "diagnosed", c) for c in conditions)
        return Measured({"": paired(text - complete, 0.5, "share diagnosed", ratio=fold_ratio("smcir", dataset))})

    return verdicts.poll(
        case, "Audio and vision of all clips are taken away: the share diagnosed should rise by 100 points. By how much more "
        "than 50 it rises", REVIEWS, measure, {"gone": lambda rows, dataset: ["available(text)", "complete"]},
    )  # fmt: skip


def _reconstruction(case: Case) -> Judgement:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(64, 20, generator=generator)
    shuffled = real.flatten()[torch.randperm(real.numel(), generator=generator)].view_as(real)
    generated = torch.zeros_like(real, requires_grad=True)
    smcir.reconstruction_loss(real, generated, "simse").backward()
    alike = generated.grad.unique().numel() == 1
    loss, mse = (float(smcir.reconstruction_loss(real, shuffled, kind)) for kind in ("simse", "mse"))
    return Judgement(
        FAILS if alike and loss < 1e-6 < mse else HOLDS,
        f"Eq 28 is the square of the mean error. Real features in random order cost {loss:.3f} (their mean squared error is "
        f"{mse:.2f}), and the gradient is {'the same' if alike else 'not the same'} for every number",
    )


def _first_of_four(case: Case) -> Judgement:
    ahead = []
    for dataset in ("MOSI", "MOSEI"):
        table = grid(case.printed, "2", dataset, "f1")
        table = table[[c for c in table if c.startswith("available")]]
        ahead += list(table.loc["SMCIR"] > table.drop(index="SMCIR").max())
    smil = grid(case.printed, "2", "MOSI", "f1").drop(columns=AVERAGE, errors="ignore").loc["SMIL"]
    theirs = grid(reported("umdf"), "1", "MOSI", "f1").loc["SMIL"].reindex(smil.index)
    borrowed = int((smil == theirs).sum())
    return Judgement(
        FAILS if not all(ahead) else UNCHECKED if borrowed == len(smil) else HOLDS,
        f"Table 2, F1: SMCIR is first in {sum(ahead)} of {len(ahead)} cells with missing modalities. But {borrowed} of "
        f"{len(smil)} of SMIL's cells on MOSI equal those of UMDF's Table 1, measured on GloVe, COVAREP and Facet. "
        "Missing: SMIL, GCNet and MPLMM on SMCIR's features",
    )


def _full_modal(case: Case) -> Judgement:
    first, behind = {"MOSI": 0, "MOSEI": 0}, []
    for dataset in first:
        for metric in METRICS:
            values = grid(case.printed, "1", dataset, metric)["complete"].dropna()
            rank = 1 + sum(metrics.better(metric, v, values["SMCIR"]) for v in values.drop("SMCIR"))
            first[dataset] += rank == 1
            if rank > 1:
                behind.append(f"{dataset} {metric} {values['SMCIR']:.2f} (rank {rank} of {len(values)})")
    counts = " and ".join(f"{n} of {len(METRICS)} columns on {dataset}" for dataset, n in first.items())
    return Judgement(FAILS if behind else HOLDS, f"Table 1: first in {counts}; {', '.join(behind) or 'behind in none'}")


def _part(name: str, trivial: bool = False) -> partial:
    """SMCIR over itself without one of its parts, with holes and, as in Table 3, on complete clips."""
    effect = Printed("mae", "mae", "3", "MOSI", "SMCIR", f"SMCIR {name}", scope="complete")
    scopes, rivals = ("missing", "complete"), [("SMCIR", name)]
    return partial(gains, a=SMCIR, rivals=rivals, datasets=REVIEWS, scopes=scopes, printed=effect, trivial=trivial)


CLAIMS = (
    Claim("Abstract; Introduction; Equation 7", _detects,
          "DMFD detects missingness per sample, without labels or prior rules.", (JUDGED_FRAMES, CLEAN)),
    Claim("Dynamic Multi-feature Fusion Detector; Equation 1; Equation 2", _low_entropy,
          "Low entropy means a missing modality."),
    Claim("Table 4; Ablation Study", _three_indicators,
          "Each indicator contributes: entropy, mutual information and similarity together (HMS) perform best.",
          (JUDGED_FRAMES, HEADROOM)),
    Claim("Figure 3", _shares,
          "What the detector finds in a data set is the missing rate of its audio and video.", (JUDGED_FRAMES, CLEAN)),
    Claim("Equation 28; Loss Function", _reconstruction,
          "Generation recovers the missing modality: L_simse makes what is generated resemble the real features."),
    Claim("Table 3; Ablation Study", _part("w/o DMFD"),
          "DMFD helps the prediction.", (JUDGED_FRAMES, HEADROOM, CLEAN)),
    Claim("Table 3; Ablation Study", _part("w/o MSSE"),
          "MSSE helps the prediction.", (HEADROOM, CLEAN)),
    Claim("Table 3; Ablation Study", _part("w/o CMCG", trivial=True),
          "CMCG is essential: completing the missing modality helps the prediction.", (HEADROOM, CLEAN)),
    Claim("Table 2; Implementation Details; Comparison to State-of-the-art Methods", _first_of_four,
          "SMCIR has the best F1 under {L}, {L, A} and {L, V} of systems trained with the same setup."),
    Claim("Abstract; Table 1; Comparison to State-of-the-art Methods", _full_modal,
          "On complete clips SMCIR outperforms full-modal systems, on MOSI in particular."),
)  # fmt: skip
