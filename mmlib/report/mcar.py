"""Tests of 'missing completely at random': is a missing modality related to the target or to the other modalities?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, false_discovery_control, mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmlib.data.dataset import Dataset, frame_mean

_FEWEST = 10  # a test needs as many rows that lack the modality, and as many that have it


def dependence(data: Dataset, seed: int = 0) -> pd.DataFrame:
    """One row per test: is it related to `with` that a row lacks `modality`?

    Columns: modality; share of the rows that lack it; with: the target, one label of the target, the presence or the features
    of another modality; test; size, from 0 (unrelated) to 1 (one determines the other); p; p_adjusted (Benjamini-Hochberg over
    all tests). Regression target: rank sums, size |2 AUC - 1|. Classes, labels and presence: chi squared of the table, size
    Cramer's V. Features: five-fold logistic regression on their means over time, then rank sums of its held-out scores.
    A modality that fewer than ten rows lack, or have, is left out. Small p: not completely at random; large p: no proof.
    """
    rows = [row for m in data.modalities for row in _tests(data, m, seed)]
    table = pd.DataFrame(rows, columns=["modality", "share", "with", "test", "size", "p"])
    table["p_adjusted"] = false_discovery_control(table["p"]) if len(table) else []
    return table


def _tests(data: Dataset, m: str, seed: int) -> Iterator[tuple]:
    present = data.present[m].cpu().numpy()
    if min(present.sum(), (~present).sum()) < _FEWEST:
        return
    lacking = (m, 1 - present.mean())
    target = data.target.cpu().numpy()
    if data.task == "regression":
        yield *lacking, "target", *_ranks(target, present)
    elif data.task == "multiclass":
        yield *lacking, "target", *_table(target, present)
    else:
        for name, column in zip(data.label_names, target.T):
            if 0 < column.sum() < len(column):
                yield *lacking, f"target {name}", *_table(column, present)
    for other in data.modalities:
        has = data.present[other].cpu().numpy()
        if other == m:
            continue
        if min(has.sum(), (~has).sum()) >= _FEWEST:
            yield *lacking, f"presence of {other}", *_table(has, present)
        if min((present & has).sum(), (~present & has).sum()) >= _FEWEST:
            yield *lacking, f"features of {other}", *_features(data, other, has, present[has], seed)


def _ranks(values: np.ndarray, present: np.ndarray) -> tuple[str, float, float]:
    result = mannwhitneyu(values[present], values[~present])
    size = abs(2 * result.statistic / (present.sum() * (~present).sum()) - 1)
    return "rank sum", float(size), float(result.pvalue)


def _table(values: np.ndarray, present: np.ndarray) -> tuple[str, float, float]:
    counts = pd.crosstab(values, present).to_numpy()
    result = chi2_contingency(counts, correction=False)
    size = np.sqrt(result.statistic / counts.sum() / (min(counts.shape) - 1))
    return "chi squared", float(size), float(result.pvalue)


def _features(data: Dataset, other: str, has: np.ndarray, present: np.ndarray, seed: int) -> tuple[str, float, float]:
    rows = np.flatnonzero(has)
    x, observed = data.features[other][rows].float().cpu(), data.observed[other][rows].cpu()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, frame_mean(x, observed).numpy(), present, cv=folds, method="decision_function")
    _, size, _ = _ranks(scores, present)
    p = mannwhitneyu(scores[present], scores[~present], alternative="greater").pvalue
    return "logistic regression, rank sum", size, float(p)
