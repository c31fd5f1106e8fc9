"""Arrays as people have them become a Dataset, or an error that names the argument, the row and the remedy."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mmlib.data import DataError, Dataset

N = 60
RNG = np.random.default_rng(0)
IMAGE, TEXT, SOUND = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 2)), RNG.normal(size=(N, 4, 5))
LABELS = np.array(["cat", "dog", "eel"])[np.arange(N) % 3]


def rows_equal(data, m, expected):
    torch.testing.assert_close(data[m].squeeze(1), torch.tensor(np.asarray(expected), dtype=torch.float32))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, pd.DataFrame, lambda x: x.tolist()])
def test_every_kind_of_array_gives_the_same_data(kind):
    data = Dataset.from_arrays({"image": kind(IMAGE), "text": kind(TEXT)}, list(LABELS))
    again = Dataset.from_arrays({"image": IMAGE, "text": TEXT}, LABELS)
    assert data.fingerprint == again.fingerprint and data.task == "multiclass"
    assert data.label_names == ("cat", "dog", "eel") and data.target[:4].tolist() == [0, 1, 2, 0]
    assert data.ids.tolist()[:3] == ["0", "1", "2"]


def test_columns_of_one_table():
    table = np.hstack([IMAGE, TEXT])
    frame = pd.DataFrame(table, columns=["r", "g", "b", "w1", "w2"], index=np.arange(N) + 100)
    levels = pd.DataFrame(
        table, columns=pd.MultiIndex.from_tuples([("image", c) for c in "rgb"] + [("text", c) for c in "vw"])
    )
    expected = Dataset.from_arrays({"image": IMAGE, "text": TEXT}, LABELS).fingerprint
    numbers = {"image": [0, 1, 2], "text": slice(3, 5)}
    assert Dataset.from_arrays(table, LABELS, modalities=numbers).fingerprint == expected
    assert Dataset.from_arrays(torch.tensor(table), LABELS, modalities=numbers).fingerprint == expected
    assert Dataset.from_arrays(levels, LABELS).fingerprint == expected
    names = {"image": ["r", "g", "b"], "text": ["w1", "w2"]}
    assert Dataset.from_arrays(frame, pd.Series(LABELS, index=frame.index), modalities=names).fingerprint == expected
    assert Dataset.from_arrays(frame, LABELS, modalities=numbers).fingerprint == expected
    assert Dataset.from_arrays(table, LABELS).modalities == ("x",)


def test_rows_of_nan_are_missing_and_zeros_are_real():
    image, text = IMAGE.copy(), TEXT.copy()
    image[3], text[5] = np.nan, 0
    with pytest.warns(
        UserWarning, match="text: 1 of 60 rows are zeros throughout and count as real; mark missing ones by NaN"
    ):
        data = Dataset.from_arrays({"image": image, "text": text}, LABELS)
    assert data.present["image"].nonzero().flatten().tolist() == [i for i in range(N) if i != 3]
    assert bool(data.present["text"].all()) and not data["image"][3].any()


def test_frames_of_sequences():
    sound = SOUND.copy()
    sound[0, 2:], sound[1, 1], sound[2, 0], sound[3], sound[4] = 0, np.nan, 0, np.nan, 0
    data = Dataset.from_arrays({"sound": sound, "text": TEXT}, LABELS)
    frames = data.observed["sound"]
    assert frames[0].tolist() == [True, True, False, False], "zeros at the end are padding"
    assert frames[1].tolist() == [True, False, True, True]
    assert frames[2].all(), "a zero before real frames is real"
    assert not frames[3].any() and not frames[4].any() and frames[5:].all()
    given = Dataset.from_arrays({"sound": SOUND, "text": TEXT}, LABELS, observed={"sound": np.arange(N) > 0})
    assert given.observed["sound"].sum() == 4 * (N - 1)


@pytest.mark.parametrize(
    "y, task, names",
    [
        (np.arange(N) % 2, "multiclass", ("0", "1")),
        (np.arange(N) % 2 == 0, "multiclass", ("False", "True")),
        (RNG.normal(size=N), "regression", ()),
        (pd.Series(LABELS, dtype="category"), "multiclass", ("cat", "dog", "eel")),
        (LABELS.astype(object), "multiclass", ("cat", "dog", "eel")),
        (pd.DataFrame({"drama": np.arange(N) % 2, "comedy": 1}), "multilabel", ("drama", "comedy")),
        ([["a", "b"] if i % 2 else [] for i in range(N)], "multilabel", ("a", "b")),
        (torch.arange(N)[:, None] % 3, "multiclass", ("0", "1", "2")),
    ],
)
def test_labels(y, task, names):
    data = Dataset.from_arrays({"text": TEXT}, y)
    assert (data.task, data.label_names) == (task, names)


def test_tasks_and_names_can_be_given():
    whole = np.arange(N) % 3 - 1.0
    assert Dataset.from_arrays({"text": TEXT}, whole, task="regression").target[:3].tolist() == [-1, 0, 1]
    assert Dataset.from_arrays({"text": TEXT}, whole, task="multiclass").label_names == ("-1.0", "0.0", "1.0")
    named = Dataset.from_arrays({"text": TEXT}, np.arange(N) % 2, label_names=["no", "yes", "perhaps"])
    assert named.label_names == ("no", "yes", "perhaps") and named.target[:2].tolist() == [0, 1]
    ordered = Dataset.from_arrays({"text": TEXT}, LABELS, label_names=["eel", "dog", "cat"])
    assert ordered.target[:3].tolist() == [2, 1, 0]


def test_the_split_is_drawn_by_class_or_group_and_by_seed():
    data = Dataset.from_arrays({"text": TEXT}, LABELS, valid=0.2, test=0.25)
    counts = {s: np.unique(LABELS[data.rows(s)], return_counts=True)[1].tolist() for s in ("train", "valid", "test")}
    assert counts == {"train": [11, 11, 11], "valid": [4, 4, 4], "test": [5, 5, 5]}
    assert data.fingerprint == Dataset.from_arrays({"text": TEXT}, LABELS, valid=0.2, test=0.25).fingerprint
    assert data.fingerprint != Dataset.from_arrays({"text": TEXT}, LABELS, valid=0.2, test=0.25, seed=1).fingerprint
    group = [i // 6 for i in range(N)]
    grouped = Dataset.from_arrays({"text": TEXT}, LABELS, group=group)
    assert all(len(set(grouped.split[np.array(group) == g])) == 1 for g in set(group)) and set(grouped.split) == set(
        data.split
    )
    given = Dataset.from_arrays({"text": TEXT}, LABELS, split=pd.Series(["train", "valid", "test"] * 20), ids=range(N))
    assert given.split[:3].tolist() == ["train", "valid", "test"]
    without = Dataset.from_arrays({"text": TEXT}, LABELS, test=0)
    assert without.partial and set(without.split) == {"train", "valid"}


def changed(i, value, array=TEXT):
    array = array.copy()
    array[i] = value
    return array


@pytest.mark.parametrize(
    "X, y, options, message",
    [
        ({}, LABELS, {}, "X: there is no modality"),
        ({"text": TEXT[:5]}, LABELS, {}, "y: has 60 rows, X has 5"),
        (
            {"text": TEXT, "image": IMAGE[:7]},
            LABELS,
            {},
            "X: the modalities have .* rows; give each the same, with NaN",
        ),
        ({"text": TEXT[:, 0]}, LABELS, {}, r"X\['text'\]: has shape \(60,\); expected \(n, d\)"),
        (
            {"text": changed((4, 1), np.nan)},
            LABELS,
            {},
            r"X\['text'\], row 4: a frame is NaN in part; impute it, or set all",
        ),
        ({"text": changed((4, 1), np.inf)}, LABELS, {}, r"X\['text'\], row 4: a value is infinite; repair"),
        ({"text": changed(4, np.nan)}, LABELS, {}, "row 4 .id '4'.: the row has no modality at all; drop it"),
        ({"text": [["a", "b"]] * N}, LABELS, {}, "holds .* that are no numbers .*; encode text and files first"),
        ({"text": [[1.0], [1.0, 2.0]]}, LABELS[:2], {}, r"X\['text'\]: is ragged"),
        (
            {"text": TEXT},
            changed(7, None, LABELS.astype(object)),
            {},
            r"y, row 7: there is no label \(NaN\); drop the row",
        ),
        (
            {"text": TEXT},
            np.arange(N) % 2.0,
            {},
            "floats that are all whole numbers can be classes or values; give task",
        ),
        ({"text": TEXT}, ["one"] * N, {}, "y: all rows have the class 'one'"),
        (
            {"text": TEXT},
            [*LABELS[:-1], "ox"],
            {},
            "class 'ox' has 1 row.*; a drawn split needs 3 of each class; give `split`",
        ),
        ({"text": TEXT}, np.full((N, 2), 0.5), {}, "y, row 0: a value is neither 0 nor 1"),
        ({"text": TEXT}, LABELS, {"task": "classification"}, "task: .* is not one of .*; did you mean 'multiclass'"),
        ({"text": TEXT}, LABELS, {"split": ["val"] * N}, "split, row 0: 'val' is not one of .*; did you mean 'valid'"),
        ({"text": TEXT}, LABELS, {"split": ["train"] * N}, "no row has the split 'valid'"),
        ({"text": TEXT}, LABELS, {"ids": ["a"] * N}, "ids.*must be unique|is also row 0"),
        ({"text": TEXT}, LABELS, {"ids": ["a"] * 3}, r"ids: has shape \(3,\), expected \(60,\)"),
        ({"text": TEXT}, LABELS, {"order": ["x"] * N}, "order: holds .* expected whole numbers"),
        ({"text": TEXT}, LABELS, {"group": [None] * N}, "group, row 0: the value is missing"),
        ({"text": TEXT}, LABELS, {"group": ["a"] * N}, "split: 1 groups are too few to draw"),
        ({"text": TEXT}, LABELS, {"valid": 0}, "valid, test: are 0 and 0.15"),
        (
            {"text": TEXT},
            LABELS,
            {"observed": {"txt": [True] * N}},
            "observed: no modality 'txt' in X; did you mean 'text'",
        ),
        (
            {"text": TEXT},
            LABELS,
            {"observed": {"text": [True] * 4}},
            r"observed\['text'\]: shape \(4,\), expected \(60, 1\)",
        ),
        ({"text": TEXT}, LABELS, {"modalities": {"text": [0]}}, "modalities: X names its modalities itself"),
        (
            TEXT,
            LABELS,
            {"modalities": {"text": [0, 7]}},
            r"modalities\['text'\]: \[0, 7\] are not all columns of X; it has 0 .. 1",
        ),
        (
            TEXT,
            LABELS,
            {"modalities": {"a": [0], "b": [0, 1]}},
            r"modalities\['b'\]: column 0 is also in 'a'; name it once",
        ),
        (pd.DataFrame(TEXT), LABELS, {"modalities": {"a": ["z"]}}, r"modalities\['a'\]: \['z'\] are not all columns"),
        (
            SOUND,
            LABELS,
            {"modalities": {"a": [0]}},
            r"X: has shape \(60, 4, 5\); `modalities` groups the columns of a table",
        ),
    ],
)
def test_errors_name_argument_row_and_remedy(X, y, options, message):
    with pytest.raises(DataError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        Dataset.from_arrays(X, y, **options)


def test_a_dataset_fits_a_screen():
    sound = SOUND.copy()
    sound[:30] = np.nan
    data = Dataset.from_arrays({"sound": sound, "text": TEXT}, LABELS, name="animals").standardised()
    lines = repr(data).splitlines()
    assert lines[0] == "animals: 60 rows (train 42, valid 9, test 9), multiclass"
    assert [line.split() for line in lines[3:5]] == [
        ["sound", "5", "4.0", "of", "4", "50.0%"],
        ["text", "2", "1", "0.0%"],
    ]
    assert lines[5] == "labels: cat 33.3%, dog 33.3%, eel 33.3%" and lines[6] == "features are standardised"
    assert "<table" in data._repr_html_() and "animals: 60 rows" in data._repr_html_()


def test_parts_of_a_dataset():
    data = Dataset.from_arrays({"image": IMAGE, "text": TEXT}, LABELS)
    rows_equal(data, "text", TEXT)
    assert len(data[:7]) == 7 and data[:7].partial and data[2:4].ids.tolist() == ["2", "3"]
    with pytest.raises(DataError, match="no modality 'txt'; there are image, text; did you mean 'text'"):
        data["txt"]
    with pytest.raises(TypeError, match="give the name of a modality, or a slice"):
        data[3]


STRANGE = [
    None, 3, "text", b"bytes", [], [[]], {}, set(), (1, 2), [None] * N, ["a"] * N, [["a", 1]] * N, [[1], [1, 2]], True,
    np.nan, np.array(3.0), np.zeros((0, 3)), np.zeros((N, 0)), np.full((N, 2), np.nan), np.full(N, np.inf),
    np.zeros((N, 2, 3, 4)),
    np.arange(N), np.arange(N) % 3, np.arange(N) / 7, np.array([object()] * N), np.ones((N, 2), complex), np.ones((N, 2), bool),
    np.arange(N).astype("datetime64[D]"), np.array([{}] * N), pd.Series(range(N)), pd.DataFrame({"a": ["x"] * N}),
    pd.DataFrame({"a": range(N), "b": 1.5}), pd.Series(pd.NA, index=range(N)), torch.ones(N, 2, requires_grad=True),
    torch.ones(N, dtype=torch.bfloat16), csr_array(np.eye(N)), range(N), iter(range(N)), LABELS, TEXT, SOUND,
]  # fmt: skip
OPTIONS = ("ids", "split", "group", "order", "fold", "modalities", "observed", "task", "label_names")
strange = st.sampled_from(range(len(STRANGE)))


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(st.just(TEXT), strange), st.booleans(), st.one_of(st.just(LABELS), strange),
    st.dictionaries(st.sampled_from(OPTIONS), strange, max_size=2),
)  # fmt: skip
def test_nothing_but_a_dataset_or_a_data_error_comes_out(X, by_name, y, options):
    X, y = (value if isinstance(value, np.ndarray) else STRANGE[value] for value in (X, y))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = Dataset.from_arrays({"m": X} if by_name else X, y, **{k: STRANGE[v] for k, v in options.items()})
    except DataError as error:
        assert len(str(error)) > 20
    else:
        assert len(data) == N and all(bool(data[m].isfinite().all()) for m in data.modalities)
