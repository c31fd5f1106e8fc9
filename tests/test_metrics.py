"""Every metric against numbers worked out by hand, then against its definition in plain NumPy on random sets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from mmlib.corpora import MMIMDB_FILMS, MMIMDB_GENRES
from mmlib.metrics import PRIMARY, better, replicates, resamples, score
from mmlib.names import TASKS
from mmlib.report.intervals import corrected_interval
from mmlib.report.paper_metrics import flattened_f1_micro, least_f1_samples, relative_error

# Undefined scores are nan by contract; a warning on the way there would flood a notebook.
pytestmark = pytest.mark.filterwarnings("error")


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def class_logits(classes: list[int], width: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), width).float()


# Regression: seven clips. Has0 sees truth 1111001 and prediction 1110100; Non0 drops the last clip and sees 111100 and
# 111000 (a prediction of exactly 0 is non-negative but not positive).
REGRESSION_TRUTH = torch.tensor([3.0, 2, 2, 1, -1, -1, 0])
REGRESSION_LOGITS = column(1, 2, 5, -1, 0, -3, -1)


def test_regression_by_hand():
    values = score("regression", REGRESSION_LOGITS, REGRESSION_TRUTH)
    assert list(values) == ["mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc5", "acc7"]
    # |3-1| + |2-2| + |2-5| + |1+1| + |-1-0| + |-1+3| + |0+1| = 2 + 0 + 3 + 2 + 1 + 2 + 1 = 11
    assert values["mae"] == pytest.approx(11 / 7)
    # Clips 1, 2, 3 and 6 are right.
    assert values["acc2_has0"] == pytest.approx(4 / 7)
    # Non-negative (5 of 7): tp 3, fp 1, fn 2, F1 = 6/9. Negative (2 of 7): tp 1, fp 2, fn 1, F1 = 2/5.
    assert values["f1_has0"] == pytest.approx(5 / 7 * 2 / 3 + 2 / 7 * 2 / 5)  # 62/105
    # Clip 4 alone is wrong.
    assert values["acc2_non0"] == pytest.approx(5 / 6)
    # Positive (4 of 6): tp 3, fn 1, F1 = 6/7. Not positive (2 of 6): tp 2, fp 1, F1 = 4/5.
    assert values["f1_non0"] == pytest.approx(4 / 6 * 6 / 7 + 2 / 6 * 4 / 5)  # 88/105
    # Cut at ±2 the clips 2 and 3 agree, cut at ±3 clip 2 alone.
    assert values["acc5"] == pytest.approx(2 / 7) and values["acc7"] == pytest.approx(1 / 7)


def test_swapped_arguments_give_another_weighted_f1():
    truth, pred = (REGRESSION_TRUTH >= 0).numpy(), (REGRESSION_LOGITS.squeeze(1) >= 0).numpy()
    # The weights are now the prediction's 4 of 7 and 3 of 7: 4/7 * 2/3 + 3/7 * 2/5.
    swapped = 58 / 105
    assert f1_score(pred, truth, average="weighted") == pytest.approx(swapped)
    assert score("regression", REGRESSION_LOGITS, REGRESSION_TRUTH)["f1_has0"] == pytest.approx(62 / 105)
    assert abs(62 / 105 - swapped) > 0.03


def test_pearson_by_hand():
    # Deviations (-1, 0, 1) and (-1, 1, 0): covariance 1, squared norms 2 and 2, correlation 1/2.
    assert score("regression", column(1, 3, 2), torch.tensor([1.0, 2, 3]))["corr"] == pytest.approx(0.5)
    assert score("regression", column(9, 7, 5), torch.tensor([1.0, 2, 3]))["corr"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("logits", "truth"), [((0.7, 0.7, 0.7), (1, 2, 3)), ((1, 2, 3), (0.7, 0.7, 0.7)), ((1,), (2,))]
)
def test_correlation_with_a_constant_is_silently_nan(logits, truth):
    assert math.isnan(score("regression", column(*logits), torch.tensor(truth).float())["corr"])


def test_only_neutral_rows_leave_non0_undefined():
    values = score("regression", column(1, -1), torch.zeros(2))
    assert math.isnan(values["acc2_non0"]) and math.isnan(values["f1_non0"])
    # Truth is non-negative twice, the prediction once: F1 of the only true class = 2/3.
    assert values["acc2_has0"] == 0.5 and values["f1_has0"] == pytest.approx(2 / 3)


def test_neutral_moves_the_border():
    shifted = score("regression", REGRESSION_LOGITS + 4, REGRESSION_TRUTH + 4, neutral=4.0)
    assert shifted == pytest.approx(score("regression", REGRESSION_LOGITS, REGRESSION_TRUTH))
    # 0.1 has no exact float32: the label must still count as neutral.
    assert math.isnan(score("regression", column(1, 2), torch.full((2,), 0.1), neutral=0.1)["acc2_non0"])


def test_multiclass_by_hand():
    values = score("multiclass", class_logits([0, 0, 1, 1, 2, 2], 3), torch.tensor([0, 0, 0, 1, 1, 2]))
    assert list(values) == ["accuracy", "ua", "f1_macro", "f1_weighted"]
    assert values["accuracy"] == pytest.approx(4 / 6)
    # Recalls 2/3, 1/2, 1.
    assert values["ua"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)  # 13/18
    # tp, fp, fn: class 0 (2, 0, 1), class 1 (1, 1, 1), class 2 (1, 1, 0): F1 = 4/5, 1/2, 2/3; support 3, 2, 1.
    assert values["f1_macro"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)  # 59/90
    assert values["f1_weighted"] == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 2 / 3) / 6)  # 61/90


def test_ua_ignores_classes_that_never_occur():
    values = score("multiclass", class_logits([0, 3, 1, 1], 4), torch.tensor([0, 0, 1, 1]))
    # Classes 2 and 3 have no rows: recalls 1/2 and 1.
    assert values["ua"] == pytest.approx(3 / 4)
    # F1 = 2/3, 1, and 0 for the predicted class 3; class 2 occurs nowhere.
    assert values["f1_macro"] == pytest.approx(5 / 9)
    assert values["f1_weighted"] == pytest.approx(5 / 6)


# Multilabel: four films, three genres. Predictions are 100, 110, 100, 000.
MULTILABEL_TRUTH = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])
MULTILABEL_LOGITS = torch.tensor([[2.0, -1, -3], [1, 1, -2], [3, -2, -1], [-1, -3, -4]])


def test_multilabel_by_hand():
    values = score("multilabel", MULTILABEL_LOGITS, MULTILABEL_TRUTH)
    assert list(values) == ["f1_micro", "f1_macro", "f1_samples", "f1_weighted", "map", "cell_accuracy"]
    # tp, fp, fn: genre 0 (2, 1, 1), genre 1 (0, 1, 1), genre 2 (0, 0, 1); together (2, 2, 3).
    assert values["f1_micro"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 3))  # 4/9
    assert values["f1_macro"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert values["f1_weighted"] == pytest.approx(3 / 5 * 2 / 3)  # support 3, 1, 1
    # Films: (1, 0, 1) and (1, 1, 0) give 2/3 each, the other two 0.
    assert values["f1_samples"] == pytest.approx((2 / 3 + 2 / 3) / 4)
    # Genre 0 ranks its films 3, 1, 2, 4, positives at ranks 2, 3, 4: (1/2 + 2/3 + 3/4) / 3 = 23/36. Genre 1 finds its
    # film at rank 2: 1/2. Genre 2 at rank 1: 1.
    assert values["map"] == pytest.approx((23 / 36 + 1 / 2 + 1) / 3)  # 77/108
    # 2 + 3 of 12 cells are wrong.
    assert values["cell_accuracy"] == pytest.approx(7 / 12)


def test_map_leaves_out_labels_without_a_positive_row():
    never = torch.zeros(4, 1)
    values = score("multilabel", torch.cat([MULTILABEL_LOGITS, never + 5], 1), torch.cat([MULTILABEL_TRUTH, never], 1))
    assert values["map"] == pytest.approx(77 / 108)
    # The F1 of such a label counts as 0: the sum of 2/3 is now shared by four.
    assert values["f1_macro"] == pytest.approx(2 / 3 / 4)
    assert math.isnan(score("multilabel", MULTILABEL_LOGITS, torch.zeros(4, 3))["map"])


def test_probability_of_exactly_one_half_is_no_label():
    # Without that, every cell would be predicted and micro-F1 would be 2*5 / (12 + 5).
    assert score("multilabel", torch.zeros(4, 3), MULTILABEL_TRUTH)["f1_micro"] == 0


def test_multibinary_by_hand():
    logits = torch.tensor([[1.0, 2], [3, -1], [2, -2], [-1, -1]])
    target = torch.tensor([[1.0, 1], [1, 1], [0, 0], [1, 0]])
    values = score("multibinary", logits, target)
    assert list(values) == ["f1_0", "f1_1", "f1_mean", "cell_accuracy"]
    # Problem 0, truth 1101, prediction 1110. Yes (3 of 4): tp 2, fp 1, fn 1, F1 = 2/3. No: tp 0.
    assert values["f1_0"] == pytest.approx(3 / 4 * 2 / 3)
    # Problem 1, truth 1100, prediction 1000. Yes (2 of 4): tp 1, fn 1, F1 = 2/3. No: tp 2, fp 1, F1 = 4/5.
    assert values["f1_1"] == pytest.approx(1 / 2 * 2 / 3 + 1 / 2 * 4 / 5)  # 11/15
    assert values["f1_mean"] == pytest.approx((1 / 2 + 11 / 15) / 2)  # 37/60
    assert values["cell_accuracy"] == pytest.approx(5 / 8)


def mmimdb_truth() -> torch.Tensor:
    films = torch.arange(MMIMDB_FILMS)[:, None]
    return (films < torch.tensor(list(MMIMDB_GENRES.values()))).float()  # (25959, 27)


def test_predicting_nothing_on_mmimdb_looks_good_only_when_flattened():
    truth = mmimdb_truth()
    assert truth.shape == (25_959, 27) and int(truth.sum()) == 64_570
    nothing = score("multilabel", torch.full_like(truth, -1), truth)
    # 1 - 64570 / (25959 * 27) = 1 - 0.0921
    assert round(nothing["cell_accuracy"], 3) == 0.908
    assert nothing["f1_micro"] == nothing["f1_macro"] == nothing["f1_samples"] == nothing["f1_weighted"] == 0.0
    assert round(flattened_f1_micro(torch.full_like(truth, -1), truth), 3) == 0.908


def test_flattened_f1_micro_is_cell_accuracy_by_hand():
    assert flattened_f1_micro(MULTILABEL_LOGITS, MULTILABEL_TRUTH) == pytest.approx(7 / 12)


@pytest.mark.parametrize("task", TASKS)
def test_reads_half_precision_that_carries_gradients(task):
    target = {
        "regression": torch.tensor([1.0, -1]),
        "multiclass": torch.tensor([0, 1]),
        "multilabel": torch.eye(2),
        "multibinary": torch.eye(2),
    }[task]
    logits = torch.tensor([[1.0, -1], [-1, 1]])[:, : 1 if task == "regression" else 2]
    values = score(task, logits.bfloat16().requires_grad_(), target)
    assert all(type(value) is float for value in values.values())
    assert values.pop("mae", 0) == 0 and set(values.values()) == {1.0}
    assert PRIMARY[task] in score(task, logits, target)


@pytest.mark.parametrize(
    ("task", "logits", "target", "message"),
    [
        ("ranking", torch.zeros(2, 1), torch.zeros(2), "no task 'ranking'; the tasks are regression"),
        ("regression", torch.zeros(0, 1), torch.zeros(0), "no rows"),
        ("multilabel", torch.zeros(0, 3), torch.zeros(0, 3), "no rows"),
        ("regression", torch.zeros(2, 2), torch.zeros(2), "exactly 1 per row"),
        ("regression", torch.zeros(2, 1), torch.zeros(2, 1), r"target has shape \(2, 1\), expected \(2,\)"),
        ("multiclass", torch.zeros(2, 1), torch.zeros(2).long(), "at least 2 per row"),
        ("multiclass", torch.zeros(2, 3), torch.zeros(3).long(), r"expected \(2,\) for multiclass"),
        ("multilabel", torch.zeros(2, 1), torch.zeros(2, 1), "at least 2 per row"),
        ("multilabel", torch.zeros(2, 3), torch.zeros(2, 2), r"expected \(2, 3\)"),
        ("multibinary", torch.zeros(2, 0), torch.zeros(2, 0), "at least 1 per row"),
        ("multibinary", torch.zeros(2, 3), torch.zeros(2), r"expected \(2, 3\)"),
        ("regression", column(1, math.nan, 2), torch.zeros(3), "NaN or infinite in 1 of 3 rows"),
        ("multiclass", torch.full((2, 3), math.inf), torch.zeros(2).long(), "NaN or infinite in 2 of 2 rows"),
    ],
)
def test_unusable_input_is_refused(task, logits, target, message):
    with pytest.raises(ValueError, match=message):
        score(task, logits, target)


def test_logits_without_an_output_axis_are_refused():
    # With annotations enforced, jaxtyping refuses first, by a TypeError.
    with pytest.raises((ValueError, TypeError)):
        score("regression", torch.zeros(3), torch.zeros(3))


def test_flattened_f1_micro_refuses_what_score_refuses():
    with pytest.raises(ValueError, match="no rows"):
        flattened_f1_micro(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        flattened_f1_micro(torch.zeros(2, 3), torch.zeros(3, 2))


def test_a_micro_f1_bounds_the_f_samples_of_simc():
    """2.487 labels per film: a micro-F1 of .935 allows 2 * 2.487 * .065 / .935 = .346 wrong cells per film."""
    labels = sum(MMIMDB_GENRES.values()) / MMIMDB_FILMS
    assert least_f1_samples(0.935, labels) == pytest.approx(1 - 0.3458, abs=1e-4)
    # One film of two with its only label missed: micro-F1 is 2/3, F-samples 1/2, and the bound 0.
    truth = torch.tensor([[1.0, 0], [1, 0]])
    values = score("multilabel", torch.tensor([[1.0, -1], [-1, -1]]), truth)
    assert values["f1_micro"] == pytest.approx(2 / 3)
    assert values["f1_samples"] == pytest.approx(0.5) and least_f1_samples(2 / 3, 1.0) == pytest.approx(0.0)


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_no_prediction_has_less_than_the_least_f_samples(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 5)) < 0.3
    truth[~truth.any(1), 0] = True
    pred = truth ^ (rng.random((30, 5)) < rng.uniform(0, 0.1))
    values = score("multilabel", torch.from_numpy(np.where(pred, 1.0, -1.0)), torch.from_numpy(truth))
    assert values["f1_samples"] >= least_f1_samples(values["f1_micro"], truth.sum(1).mean()) - 1e-12


def test_relative_error_by_hand():
    # SIM-C Table 2, ShaSpec at 100_image_20_text: (0.49 - 0.39) / 0.39 = 25.64 %; the denominator is what is left.
    assert relative_error(0.49, 0.39) == pytest.approx(100 * 10 / 39)
    assert relative_error(0.5, 0.0) == math.inf
    for full, missing in [(0.5, 0.5), (0.5, 0.6), (math.nan, 0.5), (0.5, math.nan), (0.5, -0.1), (0.0, 0.0)]:
        assert math.isnan(relative_error(full, missing))


def test_better_knows_the_direction():
    assert set(PRIMARY) == set(TASKS)
    assert better("mae", 0.7, 0.8) and not better("mae", 0.8, 0.7)
    for metric in set(PRIMARY.values()) - {"mae"}:
        assert better(metric, 0.8, 0.7) and not better(metric, 0.7, 0.8)
    for metric in PRIMARY.values():
        assert not better(metric, 0.7, 0.7)
        assert not better(metric, math.nan, 0.7) and not better(metric, math.nan, math.nan)
        assert better(metric, 0.7, math.nan)


# Half-integers in a small range make ties, zeros and constant columns common.
ROWS, WIDTH = st.integers(1, 8), st.integers(2, 4)
HALVES = st.integers(-4, 4).map(lambda k: k / 2)


@st.composite
def regressions(draw) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(ROWS)
    return draw(arrays(np.float32, rows, elements=HALVES)), draw(arrays(np.float32, rows, elements=HALVES))


@st.composite
def classifications(draw) -> tuple[np.ndarray, np.ndarray]:
    rows, width = draw(ROWS), draw(WIDTH)
    target = draw(arrays(np.int64, rows, elements=st.integers(0, width - 1)))
    return draw(arrays(np.float32, (rows, width), elements=HALVES)), target


@st.composite
def label_matrices(draw) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(ROWS), draw(WIDTH)
    target = draw(arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
    return draw(arrays(np.float32, shape, elements=HALVES)), target


def counted_f1(truth: np.ndarray, pred: np.ndarray) -> float:
    """2 tp / (2 tp + fp + fn) of boolean arrays, 0 where nothing is true or predicted."""
    wrong, hit = (truth != pred).sum(), (truth & pred).sum()
    return 2 * hit / (2 * hit + wrong) if hit + wrong else 0.0


def counted_weighted_f1(truth: np.ndarray, pred: np.ndarray) -> float:
    return sum((truth == c).mean() * counted_f1(truth == c, pred == c) for c in np.unique(truth))


def counted_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the positive rows of the precision among the rows that score at least as high."""
    return np.mean([truth[scores >= s].mean() for s in scores[truth]])


def from_numpy(case: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, target = case
    return torch.from_numpy(logits), torch.from_numpy(target)


@settings(max_examples=60, deadline=None)
@given(regressions())
def test_regression_equals_its_definition(case):
    pred, truth = case
    values = score("regression", torch.from_numpy(pred)[:, None], torch.from_numpy(truth))
    kept = truth != 0
    spread = pred.std() * truth.std()
    expected = {
        "mae": np.abs(pred - truth).mean(),
        "corr": ((pred - pred.mean()) * (truth - truth.mean())).mean() / spread if spread else math.nan,
        "acc2_has0": ((pred >= 0) == (truth >= 0)).mean(),
        "f1_has0": counted_weighted_f1(truth >= 0, pred >= 0),
        "acc2_non0": ((pred > 0) == (truth > 0))[kept].mean() if kept.any() else math.nan,
        "f1_non0": counted_weighted_f1(truth[kept] > 0, pred[kept] > 0) if kept.any() else math.nan,
        "acc5": np.mean([round(min(2, max(-2, p))) == round(min(2, max(-2, t))) for p, t in zip(pred, truth)]),
        "acc7": np.mean([round(min(3, max(-3, p))) == round(min(3, max(-3, t))) for p, t in zip(pred, truth)]),
    }
    assert values == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(classifications())
def test_multiclass_equals_its_definition(case):
    logits, truth = case
    pred = logits.argmax(1)
    expected = {
        "accuracy": (pred == truth).mean(),
        "ua": np.mean([(pred[truth == c] == c).mean() for c in np.unique(truth)]),
        "f1_macro": np.mean([counted_f1(truth == c, pred == c) for c in np.union1d(truth, pred)]),
        "f1_weighted": counted_weighted_f1(truth, pred),
    }
    assert score("multiclass", *from_numpy(case)) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(label_matrices())
def test_multilabel_equals_its_definition(case):
    logits, truth = case[0], case[1] == 1
    pred = logits > 0
    per_label = np.array([counted_f1(t, p) for t, p in zip(truth.T, pred.T)])
    support = truth.sum(0)
    expected = {
        "f1_micro": counted_f1(truth, pred),
        "f1_macro": per_label.mean(),
        "f1_samples": np.mean([counted_f1(t, p) for t, p in zip(truth, pred)]),
        "f1_weighted": per_label @ support / support.sum() if truth.any() else 0.0,
        "map": math.nan,
        "cell_accuracy": (truth == pred).mean(),
    }
    if truth.any():
        scored = np.flatnonzero(support)
        expected["map"] = np.mean([counted_average_precision(truth[:, c], logits[:, c]) for c in scored])
    assert score("multilabel", *from_numpy(case)) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(label_matrices())
def test_flattened_f1_micro_equals_cell_accuracy(case):
    flattened = flattened_f1_micro(*from_numpy(case))
    assert flattened == pytest.approx(score("multilabel", *from_numpy(case))["cell_accuracy"])
    assert flattened == pytest.approx(((case[0] > 0) == (case[1] == 1)).mean())


@settings(max_examples=60, deadline=None)
@given(label_matrices())
def test_multibinary_equals_its_definition(case):
    pred, truth = case[0] > 0, case[1] == 1
    problems = [counted_weighted_f1(t, p) for t, p in zip(truth.T, pred.T)]
    expected = {f"f1_{i}": f1 for i, f1 in enumerate(problems)}
    expected |= {"f1_mean": np.mean(problems), "cell_accuracy": (pred == truth).mean()}
    assert score("multibinary", *from_numpy(case)) == pytest.approx(expected)


def test_the_interval_of_overlapping_folds_is_wider_than_students():
    differences = np.array([0.01, 0.03, 0.02, 0.04, 0.0])
    low, high = corrected_interval(differences, 1 / 3)
    by_hand = 2.7764451 * math.sqrt(0.00025 * (1 / 5 + 1 / 3))
    assert (low, high) == (pytest.approx(0.02 - by_hand), pytest.approx(0.02 + by_hand))
    assert corrected_interval(differences, 0.0)[1] < high
    with pytest.raises(ValueError, match="needs two differences, got 1"):
        corrected_interval(differences[:1], 0.25)


# Resamples of the test rows


def predictions(task: str, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    width = {"regression": 1, "multiclass": 4, "multilabel": 5, "multibinary": 3}[task]
    logits = torch.randn(rows, width, generator=generator)
    if task == "regression":
        return logits, torch.randn(rows, generator=generator)
    if task == "multiclass":
        # Class 3 has one row, which many resamples lack.
        return logits, torch.cat([torch.tensor([3]), torch.randint(3, (rows - 1,), generator=generator)])
    return logits, (torch.rand(rows, width, generator=generator) < 0.3).float()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rows", [6, 25])
def test_replicates_are_the_scores_of_the_rows_repeated(task, rows):
    logits, target = predictions(task, rows)
    (values,) = replicates(task, logits, target).values()
    repeated = [torch.tensor(counts) for counts in resamples(rows)]
    expected = [
        score(task, logits.repeat_interleave(k, 0), target.repeat_interleave(k, 0))[PRIMARY[task]] for k in repeated
    ]
    assert values == pytest.approx(np.array(expected), abs=1e-12) and np.ptp(values) > 0


def test_resamples_have_the_moments_of_a_bootstrap():
    counts = resamples(500)
    assert counts.shape == (200, 500) and (counts.sum(1) == 500).all()
    # A count is binomial: mean 1, variance 1 - 1/n. 100,000 counts give the variance within about 1 %.
    assert counts.var() == pytest.approx(1 - 1 / 500, rel=0.02)
    resamples.cache_clear()
    assert (resamples(500) == counts).all()


def test_replicates_are_computed_on_demand_and_once(monkeypatch):
    calls = []
    monkeypatch.setattr("mmlib.metrics.resamples", lambda n: calls.append(n) or np.ones((3, n), dtype=int))
    values = score("regression", REGRESSION_LOGITS, REGRESSION_TRUTH)
    assert calls == [] and isinstance(values, dict)
    assert list(values.replicates) == ["mae"] and values.replicates["mae"] == pytest.approx([11 / 7] * 3)
    assert calls == [7]
