"""The claims of ADMC."""

from collections.abc import Sequence

import pandas as pd
import torch

from mmlib import metrics
from mmlib.data import synthetic
from mmlib.models.admc import exact as gaussian
from mmlib.models.admc.diffusion import ADN
from mmlib.report.as_printed import equation_7
from mmlib.report.claims.verdicts import FAILS, HOLDS, SIMPLE, Judgement, _listed, _percent, _sure, ballot
from mmlib.report.intervals import best, paired
from mmlib.report.rows import Rows, grid, main_metric, score

ADMC = ("ADMC", "")


def _ahead_everywhere(ours: Rows, printed: Rows) -> Judgement:
    behind, cells, averages = [], 0, {}
    for number, dataset in (("1", "IEMOCAP"), ("2", "MIntRec")):
        for metric in ("wa", "ua"):
            table = grid(printed, number, dataset, metric)
            own, rivals = table.loc["MMCR"], table.loc[["AE", "CRA", "MCTN", "MMIN", "IF-MMIN"]]
            for c in [c for c in table if c.startswith("available")]:
                cells += 1
                if own[c] <= rivals[c].max():
                    behind.append(f"{dataset} {metric} {c[9:]} {own[c]:g} ({rivals[c].idxmax()} {rivals[c].max():g})")
            ratio = own["average over missing"] / rivals["average over missing"].max()
            averages[f"{dataset} {metric}"] = f"{(ratio - 1) * 100:+.1f} %"
    return Judgement(
        FAILS if behind else HOLDS,
        f"Tables 1 and 2: ahead of all five in {cells - len(behind)} of {cells} cells"
        + (f", not in {', '.join(behind)}" if behind else "")
        + f"; averages {_listed(averages)} over the best of them. They are not built here",
    )


def _start_50(ours: Rows, printed: Rows) -> Judgement:
    sides, lines = [], []
    for dataset, metric, starts in (("iemocap", "ua", (30, 80, 1000)), ("mosi_bclstm", "f1_non0", (1000,))):
        known = ours.loc[(ours["dataset"] == dataset) & ours["condition"].str.endswith(", n=50"), "condition"].unique()

        def probed(n: int, dataset: str = dataset, metric: str = metric, known: Sequence[str] = known) -> pd.Series:
            directions = [c.replace(", n=50", f", n={n}") for c in known]
            return score(ours, dataset, ("ADMC", "probe"), metric, directions or [f"... -> ..., n={n}"])

        side, found = best(probed(50), {str(n): probed(n) for n in starts}, metric)
        sides.append(side)
        # The unit once: metric and points are the same for every start.
        numbers = ", ".join(f"{d.mean * 100:+.1f} ± {d.half * 100:.1f} over {n}" for n, d in found.items())
        lines.append(f"{dataset} {metric} {numbers}")
    by_direction: dict[str, dict[str, float]] = {}
    for condition, value in grid(printed, "4", "IEMOCAP", "wa").loc["ADMC"].items():
        direction, n = condition.split(", n=")
        by_direction.setdefault(direction, {})[n] = value
    lead = sum(max(v, key=v.get) == "50" for v in by_direction.values())
    return ballot(
        sides,
        f"Table 4: n = 50 leads in {lead} of {len(by_direction)} (wa). Ours, linear probes, gain of n = 50 in points "
        f"({_sure(found)}): {'; '.join(lines)}. With an exact Gaussian denoiser 50 misses the conditional mean by "
        f"{_percent(_mean_missed(50))}, 1000 by {_percent(_mean_missed(1000))}",
    )


def _mean_missed(start: int) -> float:
    """Relative error of what merging from this step makes of audio and vision given text, with an exact denoiser."""
    blurs = {"text": 0.5, "audio": 1.0, "vision": 1.5}
    world = synthetic.draw("regression", {m: synthetic.Modality(8, blur=b) for m, b in blurs.items()}, latent=4)
    mean, covariance = gaussian.moments(world)
    unit = covariance.diagonal().sqrt()
    mean, covariance = mean / unit, covariance / unit / unit[:, None]
    adn = ADN(len(blurs), 8, heads=2, start=start)
    adn.denoiser = gaussian.Denoiser(mean, covariance, adn.abar)
    return gaussian.completion_errors(adn, mean, covariance, torch.tensor([True, False, False]))[0]


def _comparable(ours: Rows, printed: Rows) -> Judgement:
    """Comparable: within five points of what the modality itself reaches alone in Table 1."""
    made = grid(printed, "4", "IEMOCAP", "wa").loc["ADMC"]
    real = grid(printed, "1", "IEMOCAP", "wa").loc["MMCR w/o ADN"]  # nothing generated beside it
    made = {c.removesuffix(", n=50"): value for c, value in made.items() if c.endswith(", n=50")}
    behind = {c: real[f"available({c.split(' -> ')[1]})"] - value for c, value in made.items()}
    close = sum(v <= 5 for v in behind.values())
    worst = max(behind, key=behind.get)
    return Judgement(
        HOLDS if close == len(behind) else FAILS,
        f"IEMOCAP wa, n = 50 of Table 4 against that modality alone in Table 1 (w/o ADN): {close} of {len(behind)} directions "
        f"come within 5 points, the mean distance is {sum(behind.values()) / len(behind):.1f}; {worst} has {made[worst]:.1f}, "
        f"{worst.split(' -> ')[1]} itself {made[worst] + behind[worst]:.1f}",
    )


def _two_missing(ours: Rows, printed: Rows) -> Judgement:
    alone = [f"available({m})" for m in ("text", "audio", "vision")]
    found = {}
    for dataset in ("mosi_bclstm", "synthetic iemocap"):
        metric = main_metric(ours, dataset)
        found[dataset] = paired(*(score(ours, dataset, system, metric, alone) for system in (ADMC, SIMPLE)), metric)
    return ballot(
        [found["mosi_bclstm"].side],
        f"Gain of ADMC over a network trained jointly ({SIMPLE[0]}), mean over text, audio, vision alone "
        f"({_sure(found)}): {_listed(found)} (no vote)",
    )


def _weighted_accuracy(ours: Rows, printed: Rows) -> Judgement:
    truth, said = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3])
    C, N = 4, len(truth)
    right = torch.stack([((truth == c) == (said == c)).sum() for c in range(C)]).double()  # TP_i + TN_i
    size = torch.bincount(truth, minlength=C).double()
    weights = {"equal weights": torch.ones(C), "1 / N_i": 1 / size}
    of_eq_7 = {name: equation_7(right, size, w) for name, w in weights.items()}
    read = ", ".join(f"{value:.2f} ({name})" for name, value in of_eq_7.items())
    values = metrics.score("multiclass", torch.nn.functional.one_hot(said, C).float(), truth)
    return Judgement(
        FAILS if max(of_eq_7.values()) > 1 else HOLDS,
        f"{N} clips, {C} classes, two mistakes: Eq 7's WA is {read}, not a share; with N_i = all clips it is "
        f"{float(right.sum() / (C * N)):.3f}. Accuracy, which the code and MMIN call WA, is {values['accuracy']:.3f} and "
        f"favours frequent classes. UA, {values['ua']:.3f}, is macro recall as printed",
    )
