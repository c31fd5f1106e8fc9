"""Formulas as the papers and their released code compute them, where the result is not what its name says."""

import math

import torch
from jaxtyping import Float
from sklearn.metrics import f1_score
from torch import Tensor

from mmlib.metrics import _check


def flattened_f1_micro(logits: Float[Tensor, "N C"], target: Tensor) -> float:
    """The "F-micro" of SIM-C's released code: micro-F1 of the flattened 0/1 vectors as a problem with two classes.

    logits and target: (N, C), as for multilabel in `score`.
    Both classes count, so each wrong cell is one false positive and one false negative: it equals `cell_accuracy`, and
    predicting nothing scores 1 - label density. Raises ValueError as `score` does for multilabel.
    """
    _check("multilabel", logits, target)
    truth, pred = target.detach().cpu().bool(), logits.detach().cpu() > 0
    return float(f1_score(truth.flatten().numpy(), pred.flatten().numpy(), average="micro"))


def relative_error(full: float, missing: float) -> float:
    """SIM-C's degradation in percent (Table 2): the loss of score by missing modalities, relative to the remaining score.

    full, missing: non-negative scores, higher is better. nan unless missing < full; inf where missing is 0.
    """
    if not 0 <= missing < full:
        return math.nan
    return (full - missing) / missing * 100 if missing else math.inf


def equation_7(right: torch.Tensor, size: torch.Tensor, weights: torch.Tensor) -> float:
    """ADMC's WA as printed in Eq 7; it can exceed 1.

    right: (C,) TP_i + TN_i. size: (C,) samples of class i, the paper's N_i. weights: (C,) of the classes.
    """
    return float((weights * right).sum() / (weights * size).sum())
