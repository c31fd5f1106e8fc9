"""Is what is missing related to anything that is known? Tests of 'missing completely at random' on a data set as it is."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, false_discovery_control, mannwhitneyu
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmlib.data.dataset import Dataset

_FEWEST = 10  # rows that lack a modality, and rows that have it, below which nothing is tested


def dependence(data: Dataset, seed: int = 0) -> pd.DataFrame:
    """One row per question: does a row's lacking this modality go with that?

    Columns: modality, share (of rows that lack it), with (the target, one label of it, another modality's presence or its
    features), test, size (0: unrelated .. 1: one tells the other), p, p_adjusted (Benjamini-Hochberg over all questions).
    Target: rank sums (size |2 AUC - 1|), or chi squared of the table (size Cramer's V). Presence: chi squared. Features: a
    logistic regression on their means over time, five folds, judged by the rank sum of what it says of unseen rows.
    A modality that fewer than ten rows lack, or have, is left out. Small p: not completely at random; large p proves nothing.
    """
    found = [row for m in data.modalities for row in _questions(data, m, seed)]
    table = pd.DataFrame(found, columns=["modality", "share", "with", "test", "size", "p"])
    table["p_adjusted"] = false_discovery_control(table["p"]) if len(table) else []
    return table


def _questions(data: Dataset, m: str, seed: int) -> Iterator[tuple]:
    there = data.present[m].cpu().numpy()
    if min(there.sum(), (~there).sum()) < _FEWEST:
        return
    lacking = (m, 1 - there.mean())
    target = data.target.cpu().numpy()
    if data.task == "regression":
        yield *lacking, "target", *_ranks(target, there)
    elif data.task == "multiclass":
        yield *lacking, "target", *_table(target, there)
    else:
        for name, column in zip(data.label_names, target.T):
            if 0 < column.sum() < len(column):
                yield *lacking, f"target {name}", *_table(column, there)
    for other in data.modalities:
        has = data.present[other].cpu().numpy()
        if other == m:
            continue
        if min(has.sum(), (~has).sum()) >= _FEWEST:
            yield *lacking, f"presence of {other}", *_table(has, there)
        if min((there & has).sum(), (~there & has).sum()) >= _FEWEST:
            yield *lacking, f"features of {other}", *_features(data, other, has, there[has], seed)


def _ranks(values: np.ndarray, there: np.ndarray) -> tuple[str, float, float]:
    result = mannwhitneyu(values[there], values[~there])
    size = abs(2 * result.statistic / (there.sum() * (~there).sum()) - 1)
    return "rank sum", float(size), float(result.pvalue)


def _table(values: np.ndarray, there: np.ndarray) -> tuple[str, float, float]:
    counts = pd.crosstab(values, there).to_numpy()
    result = chi2_contingency(counts, correction=False)
    size = np.sqrt(result.statistic / counts.sum() / (min(counts.shape) - 1))
    return "chi squared", float(size), float(result.pvalue)


def _features(data: Dataset, other: str, has: np.ndarray, there: np.ndarray, seed: int) -> tuple[str, float, float]:
    rows = np.flatnonzero(has)
    x, observed = data.features[other][rows].float().cpu(), data.observed[other][rows].cpu()
    mean = ((x * observed[..., None]).sum(1) / observed.sum(1, keepdim=True)).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    said = cross_val_predict(model, mean, there, cv=folds, method="decision_function")
    _, size, _ = _ranks(said, there)
    p = mannwhitneyu(said[there], said[~there], alternative="greater").pvalue
    return "logistic regression, rank sum", size, float(p)
