"""Scores of a regression are those of the package MMSA, whose figures this field prints. Runs where `.[bench]` is installed."""

import pytest
import torch

from mmlib import metrics
from mmlib.hub import mend_torchvision

NAMES = {
    "mae": "MAE", "corr": "Corr", "acc5": "Mult_acc_5", "acc7": "Mult_acc_7", "acc2_has0": "Has0_acc_2",
    "f1_has0": "Has0_F1_score", "acc2_non0": "Non0_acc_2", "f1_non0": "Non0_F1_score",
}  # fmt: skip


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_scores_equal_those_of_mmsa(spread):
    mend_torchvision()  # MMSA imports transformers, which imports torchvision
    package = pytest.importorskip("MMSA.utils.metricsTop", exc_type=ImportError)
    generator = torch.Generator().manual_seed(0)
    truth = (torch.randn(500, generator=generator) * 5).round().clamp(
        -9, 9
    ) / 3  # labels of MOSI: thirds, some of them 0
    logits = (truth + spread * torch.randn(500, generator=generator))[:, None]
    logits[:40] *= 2  # beyond the scale, where classes are cut
    theirs = package.MetricsTop("regression").getMetics("MOSI")(logits.clone(), truth.clone()[:, None])
    ours = metrics.score("regression", logits, truth)
    assert {name: round(float(ours[name]), 4) for name in NAMES} == pytest.approx(
        {name: float(theirs[other]) for name, other in NAMES.items()}, abs=1e-9
    )
