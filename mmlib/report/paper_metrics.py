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


def least_f1_samples(f1_micro: float, labels_per_row: float) -> float:
    """The smallest F-samples that predictions with this micro-F1 can have, where every row has a true label.

    labels_per_row: mean number L of true labels. f1_micro: above 0.
    With w wrong cells per row and TP <= L right labels, micro-F1 = 2 TP / (2 TP + w), so that w <= 2 L (1 - F1) / F1. A
    row without a wrong cell has an F1 of 1, and a wrong cell costs its row at most 1: the mean is at least 1 - w.
    """
    return max(0.0, 1 - 2 * labels_per_row * (1 - f1_micro) / f1_micro)


def equation_7(right: torch.Tensor, size: torch.Tensor, weights: torch.Tensor) -> float:
    """ADMC's WA as printed in Eq 7; it can exceed 1.

    right: (C,) TP_i + TN_i. size: (C,) samples of class i, the paper's N_i. weights: (C,) of the classes.
    """
    return float((weights * right).sum() / (weights * size).sum())
