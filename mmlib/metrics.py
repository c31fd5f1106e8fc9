"""Scores of a set of predictions. The function of each task gives the formula and the source of its metrics.

Formulas: tp, fp and fn count the rows of one class or label; F1 = 2 tp / (2 tp + fp + fn), 0 where nothing is true or
predicted; recall = tp / (tp + fn). Weighted F1: the mean over classes, each with its share of the true rows as weight.
"""

import math
from collections.abc import Callable
from functools import cached_property, lru_cache, partial

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, mean_absolute_error, recall_score
from torch import Tensor

from mmlib.names import PRIMARY, TASKS

STOPPING = {"regression": "mae", "multiclass": "ua", "multilabel": "map", "multibinary": "loss"}
"""Per task the score that chooses among epochs and among settings on validation. It has no plateaus: where labels are rare,
an F1 at a threshold of 0.5 stays the same while a network learns."""
RESAMPLES = 200
Measures = dict[str, Callable[[], float]]


class Scores(dict[str, float]):
    """What `score` returns: metrics by name, and on demand how they vary with the rows."""

    def __init__(self, values: dict[str, float], task: str, logits: Float[Tensor, "N C"], target: Tensor):
        super().__init__(values)
        self._predictions = task, logits, target

    @cached_property
    def replicates(self) -> dict[str, Float[np.ndarray, " R"]]:
        """As the function `replicates`; computed on first access."""
        return replicates(*self._predictions)


def score(task: str, logits: Float[Tensor, "N C"], target: Tensor, neutral: float = 0.0) -> Scores:
    """All metrics of the task as fractions of 1 (mae: in units of the target).

    logits: on any device; C = 1 for regression, where the logit is the predicted value.
    target: as in `Dataset`: (N,) for regression and multiclass, (N, C) of 0 and 1 for multilabel and multibinary.
    neutral: the regression value between negative and positive; no other task reads it.

    Raises ValueError for an unknown task, an empty set, shapes that do not fit the task and logits that are not finite.
    """
    values = {name: float(value()) for name, value in measures(task, logits, target, neutral).items()}
    return Scores(values, task, logits.detach().cpu(), target.detach().cpu())


def measures(task: str, logits: Float[Tensor, "N C"], target: Tensor, neutral: float = 0.0) -> Measures:
    """The metrics of `score`, each a function, for one takes a fraction of the time of all. Arguments and errors: as there."""
    _check(task, logits, target)
    logits, target = logits.detach().cpu(), target.detach().cpu()
    if task == "regression":
        return _regression(logits.squeeze(1), target, neutral)
    if task == "multiclass":
        return _multiclass(logits.argmax(1).numpy(), target.numpy())
    if task == "multilabel":
        return _multilabel(logits.double().numpy(), target.bool().numpy())
    return _multibinary((logits > 0).numpy(), target.bool().numpy())


@lru_cache(maxsize=4)
def resamples(n: int) -> Int[np.ndarray, "R n"]:
    """How often each of n rows is drawn in R = RESAMPLES bootstrap samples of n rows.

    The draws depend on n alone: systems scored on the same rows are resampled alike, so their replicates are paired.
    """
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    counts.flags.writeable = False
    return counts


def replicates(task: str, logits: Float[Tensor, "N C"], target: Tensor) -> dict[str, Float[np.ndarray, " R"]]:
    """The PRIMARY metric of the task on each of `resamples(N)`: what `score` gives for the rows so repeated.

    Arguments and errors as of `score`.
    """
    _check(task, logits, target)
    logits, target = logits.detach().cpu(), target.detach().cpu()
    counts = resamples(len(target)).astype(float)
    if task == "regression":
        values = counts @ (logits.squeeze(1).double() - target.double()).abs().numpy() / len(target)
    elif task == "multiclass":
        truth = target.numpy()[:, None] == np.unique(target.numpy())
        right = truth & (logits.argmax(1) == target).numpy()[:, None]
        occurring = counts @ truth
        # A class that a resample lacks has no recall there.
        recall = np.divide(counts @ right, occurring, out=np.full(occurring.shape, math.nan), where=occurring > 0)
        values = np.nanmean(recall, axis=1)
    else:
        pred, truth = (logits > 0).numpy(), target.bool().numpy()
        if task == "multilabel":
            values = _ratio(counts @ (2 * (pred & truth).sum(1)), counts @ (pred.sum(1) + truth.sum(1)))
        else:
            sides = ((pred, truth), (~pred, ~truth))
            f1 = [_ratio(counts @ (2 * (p & t)), counts @ (p.astype(int) + t)) * (counts @ t) for p, t in sides]
            values = sum(f1).mean(1) / len(target)
    return {PRIMARY[task]: values}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where both are 0, as an F1 of nothing true and nothing predicted."""
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def better(metric: str, new: float, old: float) -> bool:
    """Whether `new` is better than `old`: lower for mae, higher for all other metrics. Every number is better than nan."""
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
    # scikit-learn takes one multilabel column for a yes/no problem, whose micro-F1 is the accuracy.
    least = 2 if task in ("multiclass", "multilabel") else 1
    if outputs < least or (task == "regression" and outputs > 1):
        amount = "exactly" if task == "regression" else "at least"
        raise ValueError(f"logits have shape {tuple(logits.shape)}; {task} needs {amount} {least} per row")
    expected = (rows, outputs) if task in ("multilabel", "multibinary") else (rows,)
    if target.shape != expected:
        raise ValueError(f"target has shape {tuple(target.shape)}, expected {expected} for {task}")
    finite = logits.isfinite().all(1)
    if not finite.all():
        raise ValueError(f"logits are NaN or infinite in {int((~finite).sum())} of {rows} rows")


def _regression(pred: Float[Tensor, " N"], truth: Float[Tensor, " N"], neutral: float) -> Measures:
    """mae: mean |pred - truth|. corr: Pearson's correlation, nan where one of the two is constant.

    has0: all rows, negative against non-negative (value >= neutral). non0: the rows whose truth is not neutral, positive
    (value > neutral) against the rest; nan without such rows. acc2: the share of right rows; f1: weighted F1.
    acc5, acc7: distances from `neutral`, cut at ±2 and ±3 and rounded to whole numbers: the share of rows in which both agree.
    They mean something on scales from -3 to 3, such as those of MOSI and MOSEI.
    Source: MMSA (Yu et al.), whose code SMCIR uses. MulT passes prediction and truth in swapped order, which gives another f1.
    """
    # Compared as tensors: torch rounds `neutral` to the type of the labels, so a label of 0.1 equals neutral = 0.1.
    has0 = (truth >= neutral).numpy(), (pred >= neutral).numpy()
    rows = truth != neutral
    non0 = (truth > neutral)[rows].numpy(), (pred > neutral)[rows].numpy()
    pred, truth = pred.double().numpy(), truth.double().numpy()
    constant = np.ptp(truth) == 0 or np.ptp(pred) == 0
    distances = np.stack([pred, truth]) - neutral
    return {
        "mae": lambda: mean_absolute_error(truth, pred),
        "corr": lambda: math.nan if constant else pearsonr(truth, pred).statistic,
        "acc2_has0": lambda: accuracy_score(*has0),
        "f1_has0": lambda: _weighted_f1(*has0),
        "acc2_non0": lambda: accuracy_score(*non0) if rows.any() else math.nan,
        "f1_non0": lambda: _weighted_f1(*non0) if rows.any() else math.nan,
        **{f"acc{2 * k + 1}": lambda k=k: accuracy_score(*distances.clip(-k, k).round().astype(int)) for k in (2, 3)},
    }


def _multiclass(pred: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"]) -> Measures:
    """accuracy: the share of right rows, which the papers call WA. ADMC's code computes WA as the mean of the recalls weighted
    by class size, which is the same number; WA in ADMC's Eq 7 is another formula. ua: the mean recall of the classes that
    occur in the truth (ADMC, Eq 7). f1_macro: the mean F1 of the classes that occur in truth or prediction. f1_weighted.
    """
    return {
        "accuracy": lambda: accuracy_score(truth, pred),
        "ua": lambda: recall_score(truth, pred, labels=np.unique(truth), average="macro"),
        "f1_macro": lambda: f1_score(truth, pred, average="macro", zero_division=0),
        "f1_weighted": lambda: _weighted_f1(truth, pred),
    }


def _multilabel(logits: Float[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> Measures:
    """A label is predicted where its probability is above 0.5; F-micro and F-samples are the metrics of SIM-C, Tables 1 and 3.

    f1_micro: one F1 from the counts of all labels. f1_macro: the mean F1 of the labels. f1_weighted. f1_samples: the mean over
    rows of the F1 between true and predicted labels of the row. map: mean average precision of the labels that have a true
    row; nan without such labels. cell_accuracy: the share of right (row, label) cells, which SIM-C's code calls F-micro.
    """
    pred = logits > 0
    occurring = truth.any(0)

    def f1(average: str) -> float:
        return f1_score(truth, pred, average=average, zero_division=0)

    return {
        **{f"f1_{average}": partial(f1, average) for average in ("micro", "macro", "samples", "weighted")},
        "map": lambda: (
            average_precision_score(truth[:, occurring], logits[:, occurring]) if occurring.any() else math.nan
        ),
        "cell_accuracy": lambda: (truth == pred).mean(),
    }


def _multibinary(pred: Bool[np.ndarray, "N C"], truth: Bool[np.ndarray, "N C"]) -> Measures:
    """f1_0, f1_1, ...: weighted F1 of each yes/no problem, as MulT scores IEMOCAP; f1_mean: their mean. cell_accuracy."""
    problems = [partial(_weighted_f1, t, p) for t, p in zip(truth.T, pred.T)]
    return {
        **{f"f1_{index}": problem for index, problem in enumerate(problems)},
        "f1_mean": lambda: np.mean([problem() for problem in problems]),
        "cell_accuracy": lambda: (truth == pred).mean(),
    }


def _weighted_f1(truth: np.ndarray, pred: np.ndarray) -> float:
    # Not symmetric: the weight of a class is its share of `truth`.
    return f1_score(truth, pred, average="weighted", zero_division=0)
