"""The estimators behave as scikit-learn's, and on rows with missing modalities as the systems that they train."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from mmlib import models
from mmlib.data import DataError, Dataset
from mmlib.estimators import MissingModalityClassifier, MissingModalityRegressor
from mmlib.training import fit

QUICK = {"steps": 100, "patience": 5}


def exceptions(estimator):
    """The checks that cannot hold, each with its reason."""
    return {
        "check_methods_subset_invariance": "float32: a row's last digit depends on the size of its batch, 1e-7 is asked"
    }


@parametrize_with_checks(
    [MissingModalityClassifier(**QUICK), MissingModalityRegressor(**QUICK)], expected_failed_checks=exceptions
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def rows(n=240, seed=0):
    """Two modalities of one factor each; y is the sign of their sum. A third of the rows lacks one."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    image, text = z[:, :1] * [1, -1, 2] + rng.normal(0, 0.3, (n, 3)), z[:, 1:] * [2, 1] + rng.normal(0, 0.3, (n, 2))
    lost = rng.permutation(n)[: n // 3]
    image[lost[::2]], text[lost[1::2]] = np.nan, np.nan
    return pd.DataFrame(np.hstack([image, text]), columns=["r", "g", "b", "v", "w"]), z.sum(1)


GROUPS = {"image": ["r", "g", "b"], "text": ["v", "w"]}
NUMBERS = {"image": slice(0, 3), "text": [3, 4]}


def test_tables_frames_and_dicts_give_the_same_model():
    frame, value = rows()
    y = np.where(value > 0, "up", "down")
    model = MissingModalityClassifier(modalities=GROUPS, **QUICK).fit(frame, y)
    assert model.score(frame, y) > 0.8 and model.classes_.tolist() == ["down", "up"] and model.n_features_in_ == 5
    by_number = MissingModalityClassifier(modalities=NUMBERS, **QUICK).fit(frame.to_numpy(), y)
    arrays = {m: frame[columns].to_numpy() for m, columns in GROUPS.items()}
    by_name = MissingModalityClassifier(**QUICK).fit(arrays, y)
    expected = model.predict_proba(frame)
    np.testing.assert_allclose(by_number.predict_proba(frame.to_numpy()), expected)
    np.testing.assert_allclose(by_name.predict_proba(arrays), expected)
    np.testing.assert_allclose(expected.sum(1), 1, rtol=1e-6)
    only_text = by_name.predict_proba({"text": np.nan_to_num(arrays["text"][:9], nan=1)})
    assert only_text.shape == (9, 2)


def test_a_missing_modality_is_missing_and_not_a_number():
    frame, value = rows()
    model = MissingModalityRegressor(modalities=GROUPS, **QUICK).fit(frame, 100 * value + 7)
    assert model.score(frame, 100 * value + 7) > 0.6, "values of any size can be learned"
    other = frame.copy()
    other.loc[frame["r"].isna(), ["r", "g", "b"]] = 0.0  # an image of zeros, not a missing one
    with pytest.warns(UserWarning, match="zeros throughout and count as real"):
        differs = ~np.isclose(model.predict(other), model.predict(frame))
    assert (differs == frame["r"].isna()).all()


def test_the_estimator_is_the_system_and_nothing_else(tmp_path):
    frame, value = rows()
    y = np.where(value > 0, "up", "down")
    model = MissingModalityClassifier(
        "simc", options={"hidden": 8}, modalities=GROUPS, protocol="patterns", steps=60, random_state=3
    )
    model.fit(frame, y)
    data = Dataset.from_arrays(frame, y, modalities=GROUPS, test=0, seed=3).standardised()
    system = models.MODELS["simc"].for_data(data, seed=3, hidden=8)
    fit(system, data, "patterns", seed=3, steps=60, patience=20, lr=2e-3, progress=False)
    again = models.load(models.save(system, data, tmp_path / "by hand"))
    np.testing.assert_allclose(model.predict_proba(frame), again.predict(frame).numpy(), rtol=1e-5)
    loaded = models.load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(model.predict_proba(frame), loaded.predict(frame).numpy(), rtol=1e-5)
    assert loaded.labels(frame).tolist() == model.predict(frame).tolist()
    with pytest.raises(DataError, match="overwrite=True"):
        model.save(tmp_path / "model")


def test_a_saved_regressor_gives_values_of_the_size_of_y(tmp_path):
    frame, value = rows()
    model = MissingModalityRegressor(modalities=GROUPS, steps=60).fit(frame, 100 * value + 7)
    np.testing.assert_allclose(models.load(model.save(tmp_path)).labels(frame), model.predict(frame), rtol=1e-5)


def test_inside_a_search_a_pipeline_and_a_cross_validation():
    frame, value = rows(120)
    y = (value > 0).astype(int)
    model = MissingModalityClassifier(modalities=NUMBERS, steps=40)
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2], "options": [{}, {"dropout": True}]}, cv=2, error_score="raise")
    assert search.fit(frame, y).best_params_["lr"] == 1e-2
    assert len(cross_val_score(model, frame.to_numpy(), y, cv=3, error_score="raise")) == 3
    pipeline = make_pipeline(FunctionTransformer(lambda X: X * 2), model)
    assert pipeline.fit(frame, y).predict(frame).shape == (120,)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    "arguments, X, message",
    [
        ({"system": "sim-c"}, rows()[0], "system 'sim-c' is not one of .*; did you mean 'simc'"),
        (
            {"modalities": {"image": ["r", "x"]}},
            rows()[0],
            r"modalities\['image'\]: \['r', 'x'\] are not all columns of X",
        ),
        ({"modalities": {"text": ["w", "g"], "image": ["g"]}}, rows()[0].fillna(0), "column 3?1? ?.*is also in 'text'"),
        ({}, rows()[0], "NaN"),
        ({}, {"a": np.ones((240, 2)), "b": np.ones((3, 2))}, "the modalities have .* rows"),
    ],
)
def test_errors_name_the_argument(arguments, X, message):
    with pytest.raises(ValueError, match=message):
        MissingModalityClassifier(**arguments).fit(X, rows()[1] > 0)


def test_few_rows_choose_the_epoch_themselves():
    model = MissingModalityClassifier(steps=20).fit(torch.eye(4).numpy(), ["a", "a", "b", "c"])
    assert model.predict(np.eye(4)).shape == (4,)
    assert model.history_.steps <= 20, "an epoch of four rows is one step, whatever the batch size"
