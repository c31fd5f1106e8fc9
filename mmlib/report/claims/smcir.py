"""The claims of SMCIR."""

import math
from functools import partial

import pandas as pd
import torch

from mmlib import metrics, missing
from mmlib.models.smcir import detector
from mmlib.models.smcir import system as smcir
from mmlib.report.claims.verdicts import (
    FAILS,
    HOLDS,
    UNCHECKED,
    Judge,
    Judgement,
    _listed,
    _span,
    _sure,
    ballot,
    gains,
)
from mmlib.report.intervals import FOLDED, best, paired
from mmlib.report.rows import COMPLETE, Rows, grid, main_metric, reported, score, without_average

SMCIR = ("SMCIR", "")
REVIEWS = ("mosi_bclstm", "mosi", "mmmo")
SEEN = ("mae", "corr", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")  # the columns of its tables


def _diagnosis(rows: Rows, dataset: str, variant: str, quantity: str, condition: str) -> pd.Series:
    """A number of the detector per seed, mean over the modalities that it judges."""
    known = set(rows.loc[rows["dataset"] == dataset, "metric"])
    judged = [m for m in ("audio", "vision") if f"diagnosed_{m}" in known] or ["audio"]
    of = [score(rows, dataset, ("SMCIR", variant), f"{quantity}_{m}", [condition]) for m in judged]
    return sum(of) / len(of)


def _detects(ours: Rows, printed: Rows) -> Judgement:
    """Better than a coin: one that flags as many as are gone has that share for precision, recall and F1."""
    kept = missing.all_patterns(3)
    kept = kept[kept[:, 0]]
    coin = float((~kept[:, 1]).float().mean())
    found, mended = {}, []
    for dataset in (*REVIEWS, "synthetic mosi"):
        printed_, ours_ = (
            _diagnosis(ours, dataset, v, "diagnosis_f1", "patterns(keep=text)") for v in ("", "corrected")
        )
        found[dataset] = paired(printed_, coin, "diagnosis_f1", ratio=FOLDED.get(dataset, 0.0))
        mended.append(ours_.mean())
    values = {dataset: f"{coin + d.mean:.2f} ± {d.half:.2f}" for dataset, d in found.items()}
    return ballot(
        [found[dataset].side for dataset in REVIEWS],
        f"F1 of the diagnosis under patterns(keep=text), where a coin has {coin:.2f}; equations as printed ({_sure(found)}): "
        f"{_listed(values)} (no vote). With our corrections {_span(mended, 2)}",
    )


def _low_entropy(ours: Rows, printed: Rows) -> Judgement:
    N = 50
    there = detector.norm_entropy(torch.randn(200, N, 16, generator=torch.Generator().manual_seed(0)))
    zero = float(detector.norm_entropy(torch.zeros(1, N, 16)))
    return Judgement(
        FAILS if zero > float(there.max()) else HOLDS,
        f"Eq 1, 2 on {N} frames: zeros have {zero:.3f}, the largest value there is (ln {N} = {math.log(N):.3f}); 200 random "
        f"sequences {_span(there.tolist(), 3)}. Eq 7 looks for low scores: by this term an empty modality is found last",
    )


def _three_indicators(ours: Rows, printed: Rows) -> Judgement:
    behind = {}
    for metric in SEEN:
        values = grid(printed, "4", "MOSEI", metric)["complete"].rename(lambda name: name.removeprefix("SMCIR, "))
        for name in values.index.drop("HMS"):
            if metrics.better(metric, values[name], values["HMS"]):
                behind[metric] = f"{values['HMS']:g} ({name} {values[name]:g})"
    sides, lines = {}, {}
    for dataset in ("mmmo", "synthetic mosi"):
        metric = main_metric(ours, dataset)
        rivals = {v: score(ours, dataset, ("SMCIR", v), metric, COMPLETE) for v in ("H", "M", "S", "HM", "HS", "MS")}
        own = score(ours, dataset, SMCIR, metric, COMPLETE)
        sides[dataset], found = best(own, rivals, metric, FOLDED.get(dataset, 0.0))
        wins, losses = (sum(d.side == side for d in found.values()) for side in (1, -1))
        lines[dataset] = f"ahead of {wins} and behind {losses} of {len(found)} other sets"
    table = f"Table 4, MOSEI: HMS leads in {len(SEEN) - len(behind)} of {len(SEEN)} columns"
    measured = f"Ours, complete clips, {metric} ({_sure(found)}): {_listed(lines)} (no vote)"
    if behind:
        return Judgement(FAILS, f"{table}, not in {_listed(behind)}. {measured}")
    return ballot([sides["mmmo"]], f"{table}. {measured}")


def _shares(ours: Rows, printed: Rows) -> Judgement:
    """Of complete clips nothing is gone, under available(text) all: shares that rise by less than half of that mislead."""
    found, values = {}, {}
    for dataset in (*REVIEWS, "synthetic mosi"):
        gone, there = (_diagnosis(ours, dataset, "", "diagnosed", c) for c in ("available(text)", "complete"))
        found[dataset] = d = paired(gone - there, 0.5, "diagnosed", ratio=FOLDED.get(dataset, 0.0))
        values[dataset] = f"{(d.mean + 0.5) * 100:+.0f} ± {d.half * 100:.0f}"
    return ballot(
        [found[dataset].side for dataset in REVIEWS],
        "Audio and vision of all clips are taken away: the share diagnosed should rise by 100 points, by over 50 to count as "
        f"following, and rises by ({_sure(found)}): {_listed(values)} (no vote). Figure 3 has no truth beside it",
    )


def _reconstruction(ours: Rows, printed: Rows) -> Judgement:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(64, 20, generator=generator)
    shuffled = real.flatten()[torch.randperm(real.numel(), generator=generator)].view_as(real)
    made = torch.zeros_like(real, requires_grad=True)
    smcir.reconstruction_loss(real, made, "simse").backward()
    alike = made.grad.unique().numel() == 1
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
    smil = without_average(grid(printed, "2", "MOSI", "f1")).loc["SMIL"]
    theirs = grid(reported("umdf"), "1", "MOSI", "f1").loc["SMIL"].reindex(smil.index)
    borrowed = int((smil == theirs).sum())
    return Judgement(
        FAILS if not all(ahead) else UNCHECKED if borrowed == len(smil) else HOLDS,
        f"Table 2, F1: SMCIR is first in {sum(ahead)} of {len(ahead)} cells with holes. But {borrowed} of {len(smil)} of "
        "SMIL's cells on MOSI are those of UMDF's Table 1, made on GloVe, COVAREP and Facet. Missing: SMIL, GCNet and MPLMM on "
        "SMCIR's features",
    )


def _full_modal(ours: Rows, printed: Rows) -> Judgement:
    first, behind = {"MOSI": 0, "MOSEI": 0}, []
    for dataset in first:
        for metric in SEEN:
            values = grid(printed, "1", dataset, metric)["complete"].dropna()
            rank = 1 + sum(metrics.better(metric, v, values["SMCIR"]) for v in values.drop("SMCIR"))
            first[dataset] += rank == 1
            if rank > 1:
                behind.append(f"{dataset} {metric} {values['SMCIR']:.2f} (rank {rank} of {len(values)})")
    counts = " and ".join(f"{n} of {len(SEEN)} columns on {dataset}" for dataset, n in first.items())
    return Judgement(FAILS if behind else HOLDS, f"Table 1: first in {counts}; {', '.join(behind) or 'behind in none'}")


def _smcir_without(part: str) -> Judge:
    """SMCIR against itself without one of its parts."""
    return partial(gains, a=SMCIR, b=("SMCIR", part), datasets=REVIEWS, shown=("synthetic mosi",))
