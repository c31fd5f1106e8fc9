"""scikit-learn estimators: a system of MODELS with `fit(X, y)` and `predict(X)`, for GridSearchCV, Pipeline and the like.

    model = MissingModalityClassifier(modalities={"image": slice(0, 3), "text": slice(3, 51)})
    model.fit(X, y).predict(X_new)  # NaN rows of a modality are missing
    model.save("my_model")

A part of the training rows is held out to choose the epoch. Beyond that the estimators choose nothing: tune with GridSearchCV.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from mmlib import arrays, training
from mmlib.data.dataset import Dataset
from mmlib.models import saved
from mmlib.models.catalogue import MODELS
from mmlib.names import DataError, suggest

_LEAST_ROWS = 10  # below, the training rows choose the epoch as well


class _Estimator(BaseEstimator):
    """What the two estimators share.

    system: a name of MODELS. options: arguments of its constructor (None: modality dropout for 'fill', else none).
    modalities: name -> columns of X, as numbers, a slice, or names of a DataFrame; None: X is one modality, or a dict of
        name -> (n, d) or (n, T, d).
    protocol: what training hides beyond what X lacks, such as 'patterns' (`mmlib.missing`).
    steps: limit of each training stage. patience: epochs without a better validation score. lr, batch_size: as in
        `training.fit`. balanced: each class has the same weight.
    standardise: 'dimension', 'modality' or None. limit: features are cut at this many deviations (None: not).
    valid: share of the rows that chooses the epoch. random_state: of weights, order, masks and that share; an int or None,
        which is 0. device: 'cpu', 'cuda' or 'auto'.

    After `fit`: model_ (what `models.load` gives), history_, n_features_in_ where X is a table.
    """

    def __init__(
        self, system="fill", *, options=None, modalities=None, protocol="complete", steps=1000, patience=20, lr=2e-3,
        batch_size=32, balanced=False, standardise="dimension", limit=None, valid=0.15, random_state=None, device="cpu",
    ):  # fmt: skip
        self.system, self.options, self.modalities, self.protocol = system, options, modalities, protocol
        self.steps, self.patience, self.lr, self.batch_size, self.balanced = steps, patience, lr, batch_size, balanced
        self.standardise, self.limit, self.valid = standardise, limit, valid
        self.random_state, self.device = random_state, device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.modalities is not None  # of one modality alone nothing can be missing
        tags.target_tags.required = True
        return tags

    def save(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Writes the model for `mmlib.models.load`, whose `predict` takes the same X."""
        check_is_fitted(self)
        return saved.write(self.model_, folder, overwrite)

    def _fit(self, X: Any, y: Any, task: str) -> "_Estimator":
        if self.system not in MODELS:
            raise DataError(f"system {self.system!r} is not one of {', '.join(MODELS)}{suggest(self.system, MODELS)}")
        if y is None:
            raise DataError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        seed, given = self._seed(), X
        X, groups, y = self._checked(X, y, task)
        columns = arrays.columns_of(given if hasattr(given, "columns") else X, self.modalities)
        target, names, scale = self._targets(y, task)
        features, observed = arrays.parts_of(X, groups)
        arrays.warn_of_zeros(features, observed)
        data = self._dataset(features, observed, target, task, names, seed)
        data = replace(data, provenance={"name": "arrays", "source": "arrays", "columns": columns})
        if self.standardise is not None:
            data = data.standardised(float("inf") if self.limit is None else self.limit, per=self.standardise)
        data = data.to(training.pick_device(self.device))
        options = ({"dropout": True} if self.system == "fill" else {}) if self.options is None else dict(self.options)
        system = MODELS[self.system].for_data(data, seed=seed, **options)
        self.history_ = training.fit(
            system, data, self.protocol, seed=seed, steps=self.steps, patience=self.patience, lr=self.lr,
            batch_size=self.batch_size, balanced=self.balanced, progress=False,
        )  # fmt: skip
        self.model_ = saved.trained(system.cpu(), data.to("cpu"), target=scale)
        return self

    def _targets(self, y: np.ndarray, task: str) -> tuple[np.ndarray, tuple[str, ...], tuple[float, float]]:
        """The target for training, label names, and the mean and deviation that a regression's values get back."""
        if task == "regression":
            mean, deviation = float(y.mean()), float(y.std()) or 1.0
            return (y - mean) / deviation, (), (mean, deviation)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y: all rows have one class, {self.classes_[0]!r}; a classifier needs at least two classes"
            )
        return numbers, tuple(map(str, self.classes_)), (0.0, 1.0)

    def _seed(self) -> int:
        if self.random_state is None:
            return 0
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return int(self.random_state)

    def _dataset(
        self, features: dict[str, Tensor], observed: dict[str, Tensor], y: np.ndarray, task: str, names: tuple[str, ...],
        seed: int,
    ) -> Dataset:  # fmt: skip
        """The rows with a drawn validation split; where they are few, all of them are in both splits."""
        n, rows = len(y), np.arange(len(y))
        target = torch.as_tensor(y, dtype=torch.float32 if task == "regression" else torch.int64)
        # A class with a single row is in training, whatever the share.
        alone = np.bincount(y)[y] < 2 if task == "multiclass" else np.zeros(n, bool)
        split, usable = np.full(n, "train"), rows[~alone]
        if len(usable) >= max(_LEAST_ROWS, 3 * len(names)):
            strata = target[usable]
            if task == "multiclass":
                strata = torch.from_numpy(np.unique(y[usable], return_inverse=True)[1])
            split[usable] = arrays.drawn_split(task, strata, names, None, self.valid, 0, seed)
        else:
            rows, split = np.concatenate([rows, rows]), np.repeat(["train", "valid"], n)
        ids = np.arange(len(rows)).astype(str)
        features, observed = ({m: x[rows] for m, x in part.items()} for part in (features, observed))
        return Dataset("arrays", task, features, observed, target[rows], split, ids, names, partial=True)

    def _checked(self, X: Any, y: Any = None, task: str = "") -> tuple[Any, Mapping[str, Any] | None, Any]:
        """X and y checked as scikit-learn does, and the columns of the modalities as numbers. Without y: for `predict`."""
        if arrays.by_name(X):
            return X, None, y if y is None else column_or_1d(y, warn=True)
        names = list(X.columns) if hasattr(X, "columns") else None
        # Of one modality alone nothing can be missing.
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan" if self.modalities is not None else True}
        if y is None:
            table = validate_data(self, X, reset=False, **options)
        else:
            table, y = validate_data(self, X, y, y_numeric=task == "regression", **options)
        return table, self._groups(names), y

    def _groups(self, names: list[Any] | None) -> Mapping[str, Any] | None:
        if self.modalities is None or names is None:
            return self.modalities
        return {m: arrays.positions(m, columns, names) for m, columns in self.modalities.items()}

    def _values(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X, groups, _ = self._checked(X)
        return self.model_.predict(*arrays.parts_of(X, groups)).double().numpy()


_PARAMETERS = _Estimator.__doc__.split("\n\n", 1)[1]


class MissingModalityClassifier(ClassifierMixin, _Estimator):
    __doc__ = f"""A classifier for rows whose modalities may be missing.

{_PARAMETERS}
    classes_: the classes, in the order of `predict_proba`.
    """

    def fit(self, X: Any, y: Any) -> "MissingModalityClassifier":
        """X: (n, columns), or name -> (n, d) or (n, T, d). y: (n,), one class for each row."""
        return self._fit(X, y, "multiclass")

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes)."""
        return self._values(X)

    def predict(self, X: Any) -> np.ndarray:
        """The class of the highest probability, (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]


class MissingModalityRegressor(RegressorMixin, _Estimator):
    __doc__ = f"""A regressor for rows whose modalities may be missing. It trains on y with mean 0 and deviation 1.

{_PARAMETERS}"""

    def fit(self, X: Any, y: Any) -> "MissingModalityRegressor":
        """X: (n, columns), or name -> (n, d) or (n, T, d). y: (n,), one value for each row."""
        return self._fit(X, y, "regression")

    def predict(self, X: Any) -> np.ndarray:
        """Values (n,)."""
        return self._values(X)[:, 0]
