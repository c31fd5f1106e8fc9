"""MulT's release: what each column becomes, which files are its own, and what is refused."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmlib.data.archive import read, write
from mmlib.names import SPLITS, DataError
from mmlib.releases import misa, mmsa, mult, multibench
from tests.helpers.releases import MULT_SETS as SETS
from tests.helpers.releases import MULT_SIZES as SIZES
from tests.helpers.releases import joined, padded
from tests.helpers.releases import mult as release

PATH = Path("release/mosi_data.pkl")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_every_column_of_every_file(name, aligned):
    content = release(name, aligned)
    before = deepcopy(content)
    data = mult.dataset(content, PATH)
    assert data.name == data.provenance["name"] == name and data.provenance["release"] == "MulT"
    assert data.provenance["file"] == str(PATH)
    assert data.dims == dict(zip(("text", "audio", "vision"), SETS[name][1:]))
    assert data.split.tolist() == ["train"] * 4 + ["valid"] * 2 + ["test"] * 3
    for m in data.modalities:
        expected = joined(before, m)
        assert data.features[m].dtype == torch.float32 and data.provenance["features"][m]
        assert np.array_equal(data.features[m].numpy(), expected.astype(np.float32))
        assert data.observed[m].sum(1).tolist() == [1, 4, 7, 10, 1, 4, 1, 4, 7]
        assert data.observed[m][:, -1].all() and data.provenance["shapes"][m] == expected.shape
    assert data.provenance["repaired"] == {"text": 0, "audio": 0, "vision": 0}
    assert all(np.array_equal(content[s][f], before[s][f]) for s in SPLITS for f in before[s])


def test_scores_and_ids_of_mosi():
    data = mult.dataset(release(), PATH)
    assert data.task == "regression" and data.label_names == ()
    assert data.target.tolist() == [-1.5, -0.5, 0.5, 1.5, -1.5, -0.5, -1.5, -0.5, 0.5]
    assert data.ids[:2].tolist() == ["trainvideo0$_$0.5$_$1.25", "trainvideo0$_$1.5$_$2.25"]
    assert data.group[:5].tolist() == ["trainvideo0", "trainvideo0", "trainvideo1", "trainvideo1", "validvideo0"]


def test_emotions_are_four_questions_and_the_second_number_says_yes():
    content = release("IEMOCAP")
    content["train"]["labels"] = np.array(
        [
            [[1, 0], [0, 1], [1, 0], [1, 0]],
            [[0, 1], [1, 0], [1, 0], [1, 0]],
            [[1, 0], [1, 0], [1, 0], [0, 1]],
            [[1, 0], [1, 0], [0, 1], [0, 0]],
        ]
    )
    data = mult.dataset(content, PATH)
    assert data.task == "multibinary" and data.label_names == ("neutral", "happy", "sad", "angry")
    assert data.target[:4].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert any(note.startswith("labels: 1 pairs") for note in data.provenance["warnings"])
    assert not any("pairs" in note for note in mult.dataset(release("IEMOCAP"), PATH).provenance["warnings"])


def test_rows_are_numbered_where_there_are_no_ids():
    data = mult.dataset(release("IEMOCAP"), PATH)
    numbers = ["train_0", "train_1", "train_2", "train_3", "valid_0", "valid_1", "test_0", "test_1", "test_2"]
    assert data.ids.tolist() == numbers and data.group is None
    content = release()
    del content["valid"]["id"]
    content["test"]["id"] = None
    assert mult.dataset(content, PATH).ids[4:].tolist() == numbers[4:]


@pytest.mark.parametrize("kind", ["bytes", "texts", "list", "objects", "parts as objects"])
def test_ids_in_any_form(kind):
    content = release()
    for split, fields in content.items():
        names = [f"{split}é{i}" for i in range(SIZES[split])]
        fields["id"] = {
            "bytes": np.array([name.encode() for name in names]),
            "texts": np.array(names),
            "list": [name.encode() for name in names],
            "objects": np.array(names, dtype=object),
            "parts as objects": np.array([[name.encode(), "1", 2.5] for name in names], dtype=object),
        }[kind]
    data = mult.dataset(content, PATH)
    end = "$_$1$_$2.5" if kind == "parts as objects" else ""
    assert data.ids[:2].tolist() == [f"trainé0{end}", f"trainé1{end}"] and data.ids.dtype.kind == "U"
    assert (data.group is None) == (not end)


def test_broken_numbers_padding_and_empty_rows():
    content = release(lengths=None)
    train = content["train"]
    train["audio"][1, 48] = -np.inf  # inside the four frames of the row
    train["audio"][2, 0, 0] = np.nan  # in the padding
    train["audio"][0] = 0
    train["vision"][0, -1] = np.nan  # all that the row had
    for m in ("text", "audio", "vision"):
        train[m][3] = 0
    content["test"]["text"] = content["test"]["text"][:, ::-1].copy()  # padded at the end
    data = mult.dataset(content, PATH)
    assert data.provenance["repaired"] == {"text": 0, "audio": 6, "vision": 20}
    assert any(note.startswith("1 rows have no modality at all") for note in data.provenance["warnings"])
    assert len(data) == 8 and "trainvideo1$_$3.5$_$4.25" not in data.ids and data.target.tolist()[2:4] == [0.5, -1.5]
    assert (
        data.features["audio"][1, 48].abs().sum() == 0
        and data.observed["audio"][1].int().tolist() == [0] * 46 + [1] * 4
    )
    assert [bool(data.present[m][0]) for m in ("text", "audio", "vision")] == [True, False, False]
    assert data.observed["text"][5:].sum(1).tolist() == [1, 4, 7] and data.observed["text"][5:, 0].all()
    assert data.features["text"][7, 6, 0] == np.float32(203.043) and not data.observed["text"][7, 7]
    assert data.provenance["shapes"]["audio"] == (8, 50, 5)


def test_ids_that_occur_twice_get_a_suffix_within_a_split_and_are_a_leak_across():
    content = release()
    content["train"]["id"] = np.array(["a", "a", "a", "a#2"])
    content["valid"]["id"] = np.array(["b", "b"])
    content["test"]["id"] = np.array(["c", "b#2", "d"])
    data = mult.dataset(content, PATH)
    assert data.ids.tolist() == ["a", "a#3", "a#4", "a#2", "b", "b#3", "c", "b#2", "d"]
    assert any(note.startswith("3 rows have the id of another row") for note in data.provenance["warnings"])
    content["test"]["id"][0] = "a"
    with pytest.raises(DataError, match=r"mosi_data.pkl: field 'ids', row 6 \(id 'a'\).*leak"):
        mult.dataset(content, PATH)


def test_warnings():
    def notes(content):
        return mult.dataset(content, PATH).provenance["warnings"]

    first, rows = notes(release())
    assert "selection by hand" in first and rows == "rows 4/2/3 are not the published 1284/229/686"
    assert [note[:12] for note in notes(release("MOSEI"))] == ["these splits", "rows 4/2/3 a"]
    assert [note[:12] for note in notes(release("IEMOCAP"))] == ["each emotion", "rows 4/2/3 a"]
    content = release()
    content["train"]["labels"][[0, 1]] = [[[3.5]], [[-3]]]
    assert notes(content)[2:] == ["labels: 1 are outside -3..3"]


def test_published_sizes_are_no_surprise(monkeypatch):
    monkeypatch.setattr(mult, "_MOSI", mult._MOSI._replace(rows=(4, 2, 3)))
    assert len(mult.dataset(release(), PATH).provenance["warnings"]) == 1


def test_an_archive_holds_it(tmp_path):
    for name in SETS:
        data = mult.dataset(release(name), PATH)
        again = read(write(data, tmp_path / f"{name}.npz"))
        assert again.ids.tolist() == data.ids.tolist() and again.task == data.task
        assert again.observed["text"].sum(1).tolist() == data.observed["text"].sum(1).tolist()
        assert again.provenance["warnings"] == data.provenance["warnings"]


def drop(split, field=None):
    return lambda c: c[split].pop(field) if field else c.pop(split)


def put(split, field, value):
    return lambda c: c[split].__setitem__(field, value(c[split][field]) if callable(value) else value)


BAD = {
    "no split": ("MOSI", drop("valid"), "'valid': is missing"),
    "split of another kind": ("MOSI", lambda c: c.__setitem__("test", [1]), "'test': is no dict of fields"),
    "no text": ("MOSI", drop("valid", "text"), "'valid', field 'text': is missing; there are vision, audio, labels"),
    "no labels": (
        "MOSEI",
        drop("test", "labels"),
        "'test', field 'labels': is missing; there are vision, text, audio, id;",
    ),
    "field is None": (
        "MOSI",
        put("train", "vision", None),
        "'train', field 'vision': is missing; there are text, audio, labels, id;",
    ),
    "two axes": (
        "MOSI",
        put("train", "audio", lambda x: x[:, 0]),
        r"'audio': has shape \(4, 5\), expected \(4, frames of audio, width of audio\).*MOSI 300/5/20",
    ),
    "four axes": (
        "MOSI",
        put("test", "text", lambda x: x[None]),
        r"'text': has shape \(1, 3, 50, 300\), expected \(rows, 50, 300\)",
    ),
    "text width": (
        "MOSI",
        put("train", "text", lambda x: x[..., :299]),
        r"'valid', field 'text': has shape \(2, 50, 300\), expected \(rows, 50, 299\)",
    ),
    "vision width": ("MOSI", put("valid", "vision", lambda x: x[..., :19]), r"'valid', field 'vision'.*\(2, 50, 20\)"),
    "audio width": (
        "MOSEI",
        put("train", "audio", lambda x: x[..., :33]),
        r"'valid', field 'audio': has shape \(2, 50, 74\), expected \(2, 50, 33\)",
    ),
    "words": ("MOSI", put("test", "text", lambda x: x[:, 1:]), r"shape \(3, 49, 300\), expected \(rows, 50, 300\)"),
    "words of IEMOCAP": ("IEMOCAP", put("test", "text", lambda x: x[:, 1:]), r"expected \(rows, 20, 300\)"),
    "steps of a split": ("MOSI", put("test", "audio", lambda x: x[:, 1:]), r"\(3, 49, 5\), expected \(3, 50, 5\)"),
    "rows": (
        "MOSI",
        put("valid", "vision", lambda x: x[1:]),
        r"'vision': has shape \(1, 50, 20\), expected \(2, 50, 20\)",
    ),
    "rows of labels": (
        "MOSI",
        put("train", "labels", lambda y: y[1:]),
        r"'labels': has shape \(3, 1, 1\), expected \(4, 1, 1\)",
    ),
    "rows of ids": ("MOSI", put("train", "id", lambda y: y[1:]), r"'id': has shape \(3, 3\), expected \(4, 3\)"),
    "ids of another form": ("MOSI", put("test", "id", lambda y: y[:, 0]), r"'id': has shape \(3,\), expected \(3, 3\)"),
    "flat labels": (
        "MOSI",
        put("train", "labels", lambda y: y.ravel()),
        r"'labels': has shape \(4,\), expected \(4, 1, 1\)",
    ),
    "two labels": ("MOSI", put("test", "labels", np.zeros((3, 1, 2))), r"has shape \(3, 1, 2\), expected \(3, 1, 1\)"),
    "three answers": ("IEMOCAP", put("train", "labels", np.zeros((4, 4, 3))), r"\(4, 4, 3\), expected \(4, 4, 2\)"),
    "texts as features": (
        "MOSI",
        put("train", "text", lambda x: x.astype(str)),
        r"'text': holds <U\d+, expected numbers",
    ),
    "objects as features": ("MOSI", put("test", "audio", lambda x: x.astype(object)), "'audio': holds object"),
    "ragged": ("MOSI", put("train", "text", [[[1.0]], [[1.0], [2.0]]]), r"'text': has shape \(2,\)"),
    "one number": ("MOSI", put("train", "text", 3.0), r"'text': has shape \(\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_not_as_documented(case):
    name, change, message = BAD[case]
    content = release(name)
    change(content)
    with pytest.raises(DataError, match="release/mosi_data.pkl: split.*" + message) as caught:
        mult.dataset(content, PATH)
    assert "download it again" in str(caught.value) and "\n" not in str(caught.value)


OTHERS = {  # changes of the field vision or text
    "MOSI with Facet 47": ("MOSI", "vision", (50, 47)),
    "MOSEI with Facet 47": ("MOSEI", "vision", (50, 47)),
    "text of 768": ("MOSEI", "text", (50, 768)),
    "text of 40 words": ("MOSI", "text", (40, 300)),
    "IEMOCAP with Facet 47": ("IEMOCAP", "vision", (20, 47)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_lengths_and_widths_are_read_named_after_the_file_and_said(case):
    name, field, (steps, width) = OTHERS[case]
    content = release(name)
    for split, fields in content.items():
        fields[field] = padded(np.arange(SIZES[split]) + 1, steps, width, front=True)
    assert fitting(content) == ["MulT"]
    data = mult.dataset(content, Path("mosi_facet.pkl"))
    assert data.name == "mosi_facet" and data.provenance["published"] is False
    assert data.features[field].shape == (9, steps, width)
    assert data.observed[field].sum(1).tolist() == [1, 2, 3, 4, 1, 2, 1, 2, 3]
    assert data.provenance["warnings"] == ["no file as MulT published it: its maker alone knows what its features are"]
    assert data.task == ("multibinary" if name == "IEMOCAP" else "regression")
    assert f"{width} per frame" in data.provenance["features"][field]


def test_a_label_that_is_nan():
    content = release()
    content["valid"]["labels"][1] = np.nan
    with pytest.raises(DataError, match=r"mosi_data.pkl: field 'target', row 5 \(id 'validvideo0.*NaN"):
        mult.dataset(content, PATH)
    content = release("IEMOCAP")
    content["test"]["labels"] = content["test"]["labels"].astype(float)
    content["test"]["labels"][2, 3, 0] = np.nan
    with pytest.raises(DataError, match="mosi_data.pkl: split 'test', field 'labels', row 2: is NaN"):
        mult.dataset(content, PATH)


def test_no_rows_in_a_split():
    with pytest.raises(
        DataError, match=r"split 'valid', field 'text': has shape \(0, 50, 300\), expected \(rows, 50, 300\)"
    ):
        mult.dataset(release(sizes={"train": 2, "valid": 0, "test": 1}), PATH)


def as_multibench(content):
    """One id for each row, as CMU's SDK names segments."""
    for split, fields in content.items():
        fields["id"] = np.array([f"{split}[{i}]" for i in range(len(fields["text"]))])
    return content


def fitting(content):
    return [module.NAME for module in (mmsa, mult, multibench, misa) if module.fits(content)]


def test_one_reader_for_each_file():
    for name in SETS:
        for aligned in (True, False):
            assert fitting(release(name, aligned)) == ["MulT"]
    assert fitting(as_multibench(release("MOSEI"))) == ["MultiBench"]
    assert fitting(as_multibench(release("MOSI"))) == ["MulT"]  # the widths are MulT's
    assert fitting(as_multibench(release("IEMOCAP"))) == ["MulT"]  # the labels are
    content = release("MOSEI")
    for fields in content.values():
        fields["labels"] = fields["labels"].ravel()
    assert fitting(content) == ["MultiBench"]
    content = release("MOSEI")
    for fields in content.values():
        del fields["id"]
    assert fitting(content) == ["MulT"]
    for width, field in ((33, "audio"), (34, "vision")):
        content = as_multibench(release("MOSEI"))
        for fields in content.values():
            fields[field] = fields[field][..., :width]
        assert fitting(content) == ["MulT"]


def test_ids_beyond_reason_raise_nothing_while_readers_are_asked():
    content = release("MOSEI")
    for fields in content.values():
        fields["id"] = np.array([[1, [2, 3]], None], dtype=object)
    assert fitting(content) == ["MulT"]
    for fields in content.values():
        fields["id"] = np.array([[[1], [2, 3]], "x", None], dtype=object)
    assert fitting(content) == ["MulT"]


@pytest.mark.parametrize("gone", ["text", "vision", "audio", "id"])
def test_a_missing_field_or_split_changes_no_reader(gone):
    content = release()
    for split in SPLITS:
        del content[split][gone]
        assert fitting(content) == ["MulT"]
    content = release()
    del content["train"]
    assert fitting(content) == ["MulT"]
    del content["valid"]["labels"], content["test"]["labels"]
    assert fitting(content) == []
    assert fitting({"train": {"labels": [1]}}) == []


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.sampled_from(["", "a", "é"]),
    st.lists(st.one_of(st.integers(), st.binary(max_size=2), st.lists(st.integers(), max_size=3)), max_size=4),
    arrays(np.float32, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    st.tuples(st.integers(0, 3), st.sampled_from([74, 35, 5])).map(lambda s: np.ones((s[0], 2, s[1]))),
    st.just(np.array([(1, [2, 3]), "x", None], dtype=object)),
    st.just([(("a", np.ones((1, 47)), np.ones((1, 74))), 1.0, None)]),
    st.just(np.array([[1, [2, [3, 4]]], None], dtype=object)),
)
FIELDS = ("text", "audio", "vision", "labels", "id", "regression_labels", "text_bert", "raw_text")


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(SPLITS), st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES))))
def test_any_content_fits_one_reader_at_most_and_is_read_or_refused(content):
    assert len(fitting(content)) <= 1
    for module in (mmsa, mult, multibench, misa):
        assert not module.fits([content])
        with pytest.raises(DataError, match="mosi_data.pkl: split"):
            module.dataset(content, PATH)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(list(SETS)), st.booleans())
def test_frames_of_any_lengths_in_either_padding(draws, name, aligned):
    steps = SETS[name][0]
    sizes = {"train": 2, "valid": 1, "test": 2}
    content = release(name, aligned, sizes=sizes)
    wanted = {m: [] for m in ("text", "audio", "vision")}
    for fields in content.values():
        for m, expected in wanted.items():
            total = fields[m].shape[1]
            for i in range(len(fields[m])):
                length = draws.draw(st.integers(1 if m == "text" else 0, min(steps, total)))
                start = draws.draw(st.sampled_from([0, total - length]))
                fields[m][i] = 0
                fields[m][i, start : start + length] = -1.5
                expected.append([start <= t < start + length for t in range(total)])
    data = mult.dataset(content, PATH)
    for m, expected in wanted.items():
        assert data.observed[m].tolist() == expected
        assert np.array_equal(data.features[m].numpy(), joined(content, m).astype(np.float32))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(SETS)), st.sampled_from(SPLITS), st.sampled_from(["text", "audio", "vision", "labels"]))
def test_any_missing_field_is_named(name, split, field):
    content = release(name, sizes={"train": 1, "valid": 1, "test": 1})
    del content[split][field]
    with pytest.raises(DataError, match=f"split '{split}', field '{field}': is missing"):
        mult.dataset(content, PATH)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(list(SETS)),
    st.sampled_from(SPLITS),
    st.sampled_from(["text", "audio", "vision"]),
    st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(1, 80)),
)
def test_any_other_shape_is_refused(name, split, field, other):
    content = release(name, sizes={"train": 2, "valid": 2, "test": 2})
    if other == content[split][field].shape:
        return
    content[split][field] = np.ones(other)
    with pytest.raises(DataError, match="expected"):
        mult.dataset(content, PATH)


def test_nothing_is_lost_of_text_when_another_modality_is_absent_everywhere():
    content = release()
    for fields in content.values():
        fields["audio"][:] = 0
    data = mult.dataset(content, PATH)
    assert not data.present["audio"].any() and data.present["text"].all()
