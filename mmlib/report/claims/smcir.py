"""The claims of SMCIR and their judges."""

import math
from functools import partial

import pandas as pd
import torch

from mmlib import metrics, missing
from mmlib.models.smcir import detector
from mmlib.models.smcir import system as smcir
from mmlib.report.claims import verdicts
from mmlib.report.claims.verdicts import FAILS, HOLDS, UNCHECKED, Claim, Judgement, ballot, gains
from mmlib.report.intervals import best, paired
from mmlib.report.rows import AVERAGE, Rows, fold_ratio, grid, main_metric, reported, score

SMCIR = ("SMCIR", "")
REVIEWS, SYNTHETIC = ("mosi_bclstm", "mosi", "mmmo"), ("synthetic mosi",)
METRICS = ("mae", "corr", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")  # the columns of the paper's tables


def _diagnosis(rows: Rows, dataset: str, variant: str, quantity: str, condition: str) -> pd.Series:
    """A quantity of the detector per seed, mean over the modalities that it judges."""
    names = set(rows.loc[rows["dataset"] == dataset, "metric"])
    judged = [m for m in ("audio", "vision") if f"diagnosed_{m}" in names] or ["audio"]
    values = [score(rows, dataset, ("SMCIR", variant), f"{quantity}_{m}", [condition]) for m in judged]
    return sum(values) / len(values)


def _detects(ours: Rows, printed: Rows) -> Judgement:
    """Better than a coin: one that flags as many as are missing has that share for precision, recall and F1."""
    patterns = missing.all_patterns(3)
    patterns = patterns[patterns[:, 0]]
    coin = float((~patterns[:, 1]).float().mean())
    differences, corrected = {}, []
    for dataset in (*REVIEWS, *SYNTHETIC):
        f1 = {v: _diagnosis(ours, dataset, v, "diagnosis_f1", "patterns(keep=text)") for v in ("", "corrected")}
        differences[dataset] = paired(f1[""], coin, "diagnosis_f1", ratio=fold_ratio("smcir", dataset))
        corrected.append(f1["corrected"].mean())
    values = {dataset: f"{coin + d.mean:.2f} ± {d.half:.2f}" for dataset, d in differences.items()}
    return ballot(
        [differences[dataset].side for dataset in REVIEWS],
        f"F1 of the diagnosis under patterns(keep=text), where a coin has {coin:.2f}; equations as printed "
        f"({verdicts.certainty(differences)}): {verdicts.listed(values)} (no vote). With our corrections "
        f"{verdicts.span(corrected, 2)}",
    )


def _low_entropy(ours: Rows, printed: Rows) -> Judgement:
    N = 50
    real = detector.norm_entropy(torch.randn(200, N, 16, generator=torch.Generator().manual_seed(0)))
    zero = float(detector.norm_entropy(torch.zeros(1, N, 16)))
    return Judgement(
        FAILS if zero > float(real.max()) else HOLDS,
        f"Eq 1, 2 on {N} frames: zeros have {zero:.3f}, the largest possible value (ln {N} = {math.log(N):.3f}); 200 random "
        f"sequences {verdicts.span(real.tolist(), 3)}. Eq 7 looks for low scores: by this term an empty modality is found last",
    )


def _three_indicators(ours: Rows, printed: Rows) -> Judgement:
    behind = {}
    for metric in METRICS:
        values = grid(printed, "4", "MOSEI", metric)["complete"].rename(lambda name: name.removeprefix("SMCIR, "))
        for name in values.index.drop("HMS"):
            if metrics.better(metric, values[name], values["HMS"]):
                behind[metric] = f"{values['HMS']:g} ({name} {values[name]:g})"
    sides, lines = {}, {}
    for dataset in ("mmmo", *SYNTHETIC):
        metric = main_metric(ours, dataset)
        variants = ("", "H", "M", "S", "HM", "HS", "MS")
        values = {v: score(ours, dataset, ("SMCIR", v), metric, ["complete"]) for v in variants}
        sides[dataset], differences = best(values.pop(""), values, metric, fold_ratio("smcir", dataset))
        wins, losses = (sum(d.side == side for d in differences.values()) for side in (1, -1))
        lines[dataset] = f"ahead of {wins} and behind {losses} of {len(differences)} other sets"
    table = f"Table 4, MOSEI: HMS leads in {len(METRICS) - len(behind)} of {len(METRICS)} columns"
    measured = f"Ours, complete clips, {metric} ({verdicts.certainty(differences)}): {verdicts.listed(lines)} (no vote)"
    if behind:
        return Judgement(FAILS, f"{table}, not in {verdicts.listed(behind)}. {measured}")
    return ballot([sides["mmmo"]], f"{table}. {measured}")


def _shares(ours: Rows, printed: Rows) -> Judgement:
    """Complete clips miss nothing, available(text) misses all: a share that rises by less than half of that misleads."""
    differences, values = {}, {}
    for dataset in (*REVIEWS, *SYNTHETIC):
        text, complete = (_diagnosis(ours, dataset, "", "diagnosed", c) for c in ("available(text)", "complete"))
        differences[dataset] = d = paired(text - complete, 0.5, "diagnosed", ratio=fold_ratio("smcir", dataset))
        values[dataset] = f"{(d.mean + 0.5) * 100:+.0f} ± {d.half * 100:.0f}"
    return ballot(
        [differences[dataset].side for dataset in REVIEWS],
        "Audio and vision of all clips are taken away: the share diagnosed should rise by 100 points, by over 50 to count as "
        f"following. It rises by ({verdicts.certainty(differences)}): {verdicts.listed(values)} (no vote). Figure 3 does not "
        "show the true share",
    )


def _reconstruction(ours: Rows, printed: Rows) -> Judgement:
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


def _first_of_four(ours: Rows, printed: Rows) -> Judgement:
    ahead = []
    for dataset in ("MOSI", "MOSEI"):
        table = grid(printed, "2", dataset, "f1")
        table = table[[c for c in table if c.startswith("available")]]
        ahead += list(table.loc["SMCIR"] > table.drop(index="SMCIR").max())
    smil = grid(printed, "2", "MOSI", "f1").drop(columns=AVERAGE, errors="ignore").loc["SMIL"]
    theirs = grid(reported("umdf"), "1", "MOSI", "f1").loc["SMIL"].reindex(smil.index)
    borrowed = int((smil == theirs).sum())
    return Judgement(
        FAILS if not all(ahead) else UNCHECKED if borrowed == len(smil) else HOLDS,
        f"Table 2, F1: SMCIR is first in {sum(ahead)} of {len(ahead)} cells with missing modalities. But {borrowed} of "
        f"{len(smil)} of SMIL's cells on MOSI equal those of UMDF's Table 1, measured on GloVe, COVAREP and Facet. "
        "Missing: SMIL, GCNet and MPLMM on SMCIR's features",
    )


def _full_modal(ours: Rows, printed: Rows) -> Judgement:
    first, behind = {"MOSI": 0, "MOSEI": 0}, []
    for dataset in first:
        for metric in METRICS:
            values = grid(printed, "1", dataset, metric)["complete"].dropna()
            rank = 1 + sum(metrics.better(metric, v, values["SMCIR"]) for v in values.drop("SMCIR"))
            first[dataset] += rank == 1
            if rank > 1:
                behind.append(f"{dataset} {metric} {values['SMCIR']:.2f} (rank {rank} of {len(values)})")
    counts = " and ".join(f"{n} of {len(METRICS)} columns on {dataset}" for dataset, n in first.items())
    return Judgement(FAILS if behind else HOLDS, f"Table 1: first in {counts}; {', '.join(behind) or 'behind in none'}")


_without = partial(gains, a=SMCIR, datasets=REVIEWS, without_vote=SYNTHETIC)
CLAIMS = (
    Claim("Abstract; Introduction; Equation 7", _detects,
          "DMFD detects missingness per sample, without labels or prior rules."),
    Claim("Dynamic Multi-feature Fusion Detector; Equation 1; Equation 2", _low_entropy,
          "Low entropy means a missing modality."),
    Claim("Table 4; Ablation Study", _three_indicators,
          "Each indicator contributes: entropy, mutual information and similarity together (HMS) perform best."),
    Claim("Figure 3", _shares,
          "What the detector finds in a data set is the missing rate of its audio and video."),
    Claim("Equation 28; Loss Function", _reconstruction,
          "Generation recovers the missing modality: L_simse makes what is generated resemble the real features."),
    Claim("Table 3; Ablation Study", partial(_without, b=("SMCIR", "w/o DMFD")),
          "DMFD helps the prediction with modalities missing."),
    Claim("Table 3; Ablation Study", partial(_without, b=("SMCIR", "w/o MSSE")),
          "MSSE helps the prediction with modalities missing."),
    Claim("Table 3; Ablation Study", partial(_without, b=("SMCIR", "w/o CMCG")),
          "CMCG is essential: completing the missing modality helps the prediction."),
    Claim("Table 2; Implementation Details; Comparison to State-of-the-art Methods", _first_of_four,
          "SMCIR has the best F1 under {L}, {L, A} and {L, V} of systems trained with the same setup."),
    Claim("Abstract; Table 1; Comparison to State-of-the-art Methods", _full_modal,
          "On complete clips SMCIR outperforms full-modal systems, on MOSI in particular."),
)  # fmt: skip
