"""Scores of a set of predictions, by the conventions of the literature that the papers compare with.

Regression follows MMSA: "Has0" is negative against non-negative over all rows, "Non0" negative against positive
without the neutral rows. MulT passes prediction and truth in swapped order, which gives another weighted F1; here the
truth comes first. Multilabel F1 is taken on the (N, C) matrix; SIM-C's released code takes it on the flattened one,
which makes it the accuracy over all cells.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, mean_absolute_error, recall_score
from torch import Tensor

from mmlib.data.checks import TASKS

PRIMARY = {"regression": "mae", "multiclass": "ua", "multilabel": "f1_micro", "multibinary": "f1_mean"}
"""Per task the metric by which a model is chosen; `better` knows its direction."""


def score(task: str, logits: Float[Tensor, "N C"], target: Tensor, neutral: float = 0.0) -> dict[str, float]:
    """Every metric of the task, as fractions of 1 (mae: in units of the target).

    logits: (N, C) on any device; C = 1 for regression, whose logit is the predicted value.
    target: as in `Dataset`: (N,) for regression and multiclass, (N, C) of 0 and 1 for multilabel and multibinary.
    neutral: the regression value between negative and positive; no other task reads it.

    regression: mae, corr (Pearson; nan where truth or prediction is constant), acc2_has0, f1_has0, acc2_non0, f1_non0
        (weighted F1; nan where every row is neutral).
    multiclass: accuracy (the literature's WA), ua (mean recall of the classes that occur in the truth), f1_macro
        (classes that occur in truth or prediction), f1_weighted.
    multilabel: f1_micro, f1_macro, f1_samples, f1_weighted, cell_accuracy at probability 0.5; map (mean average
        precision of the labels with a positive row; nan without any).
    multibinary: f1_0, f1_1, ... (weighted F1 of each problem), f1_mean, cell_accuracy.

    Raises ValueError for an unknown task, an empty set, shapes that do not fit the task and logits that are not finite.
    """
    _check(task, logits, target)
    logits, target = logits.detach().cpu(), target.detach().cpu()
    if task == "regression":
        values = _regression(logits.squeeze(1), target, neutral)
    elif task == "multiclass":
        values = _multiclass(logits.argmax(1).numpy(), target.numpy())
    elif task == "multilabel":
        values = _multilabel(logits.double().numpy(), target.bool().numpy())
    else:
        values = _multibinary((logits > 0).numpy(), target.bool().numpy())
    return {name: float(value) for name, value in values.items()}


def better(metric: str, new: float, old: float) -> bool:
    """Whether `new` beats `old`: lower for mae, higher for every other metric. nan never beats, any number beats it."""
    if math.isnan(new) or math.isnan(old):
        return math.isnan(old) and not math.isnan(new)
    return bool(new < old if metric == "mae" else new > old)


def _check(task: str, logits: Tensor, target: Tensor) -> None:
    if task not in TASKS:
        raise ValueError(f"no task {task!r}; the tasks are {', '.join(TASKS)}")
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}, expected (rows, outputs)")
    rows, outputs = logits.shape
    if rows == 0:
        raise ValueError("there are no rows to score")
    # One column would make scikit-learn score a multilabel set as one yes/no problem, whose micro-F1 is the accuracy.
    least = {"regression": 1, "multiclass": 2, "multilabel": 2, "multibinary": 1}[task]
    if outputs < least or (task == "regression" and outputs > 1):
        amount = "exactly" if task == "regression" else "at least"
        raise ValueError(f"logits have shape {tuple(logits.shape)}; {task} needs {amount} {least} per row")
    expected = (rows, outputs) if task in ("multilabel", "multibinary") else (rows,)
    if target.shape != expected:
        raise ValueError(f"target has shape {tuple(target.shape)}, expected {expected} for {task}")
    finite = logits.isfinite().all(1)
    if not finite.all():
        raise ValueError(f"logits are NaN or infinite in {int((~finite).sum())} of {rows} rows")


def _regression(pred: Float[Tensor, " N"], truth: Float[Tensor, " N"], neutral: float) -> dict[str, float]:
    # Compared as tensors: torch rounds `neutral` to the type of the labels, so a label of 0.1 equals neutral = 0.1.
    has0 = (truth >= neutral).numpy(), (pred >= neutral).numpy()
    kept = truth != neutral
    non0 = (truth > neutral)[kept].numpy(), (pred > neutral)[kept].numpy()
    pred, truth = pred.double().numpy(), truth.double().numpy()
    constant = np.ptp(truth) == 0 or np.ptp(pred) == 0
    return {
        "mae": mean_absolute_error(truth, pred),
        "corr": math.nan if constant else pearsonr(truth, pred).statistic,
        "acc2_has0": accuracy_score(*has0),
        "f1_has0": _weighted_f1(*has0),
        "acc2_non0": accuracy_score(*non0) if kept.any() else math.nan,
        "f1_non0": _weighted_f1(*non0) if kept.any() else math.nan,
    }


def _multiclass(pred: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"]) -> dict[str, float]:
    return {
        "accuracy": accuracy_score(truth, pred),
        "ua": recall_score(truth, pred, labels=np.unique(truth), average="macro"),
        "f1_macro": f1_score(truth, pred, average="macro", zero_division=0),
        "f1_weighted": _weighted_f1(truth, pred),
    }


def _multilabel(logits: Float[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> dict[str, float]:
    pred = logits > 0
    averages = ("micro", "macro", "samples", "weighted")
    scored = truth.any(0)
    return {
        **{f"f1_{average}": f1_score(truth, pred, average=average, zero_division=0) for average in averages},
        "map": average_precision_score(truth[:, scored], logits[:, scored]) if scored.any() else math.nan,
        "cell_accuracy": _cell_accuracy(truth, pred),
    }


def _multibinary(pred: Bool[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> dict[str, float]:
    problems = [_weighted_f1(t, p) for t, p in zip(truth.T, pred.T)]
    return {
        **{f"f1_{index}": value for index, value in enumerate(problems)},
        "f1_mean": np.mean(problems),
        "cell_accuracy": _cell_accuracy(truth, pred),
    }


def _weighted_f1(truth: np.ndarray, pred: np.ndarray) -> float:
    # Not symmetric: each class counts as often as it occurs in the first argument.
    return f1_score(truth, pred, average="weighted", zero_division=0)


def _cell_accuracy(truth: Bool[np.ndarray, "N C"], pred: Bool[np.ndarray, "N C"]) -> float:
    return accuracy_score(truth.ravel(), pred.ravel())
