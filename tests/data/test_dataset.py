"""A dataset is refused for anything that would make a later number meaningless; a batch shows only what is observed."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib import synthetic
from mmlib.data import archive, read
from mmlib.data.dataset import Dataset, frame_mean, zero_hidden
from mmlib.names import DataError


def small(**changes):
    features = {"text": torch.arange(24.0).reshape(4, 3, 2) + 1, "image": torch.ones(4, 1, 5)}
    frames = {
        "text": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool(),
        "image": torch.tensor([[1], [1], [0], [1]]).bool(),
    }
    arguments = {
        "name": "small",
        "task": "multiclass",
        "features": {m: x * frames[m][..., None] for m, x in features.items()},
        "observed": frames,
        "target": torch.tensor([0, 1, 1, 0]),
        "split": np.array(["train", "train", "valid", "test"]),
        "ids": np.array(["a", "b", "c", "d"]),
        "label_names": ("no", "yes"),
        **changes,
    }
    return Dataset(**arguments)


def changed(modality, row, frame, value):
    x = small().features[modality].clone()
    x[row, frame] = value
    return {"features": {**small().features, modality: x}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "ranking"}, "field 'task': 'ranking' is not one of regression"),
        ({"ids": np.array(["a", "b", "c", "b"])}, "'ids', row 3 .id 'b'.*row 1.*'train' and 'test' is a leak"),
        ({"ids": np.array(["a", "a", "c", "d"])}, "'ids', row 1 .id 'a'.*row 0; ids must be unique"),
        ({"split": np.array(["train", "dev", "valid", "test"])}, "'split', row 1 .id 'b'.: 'dev' is not one of"),
        ({"split": np.array(["train", "train", "test", "test"])}, "no row has the split 'valid'"),
        ({"split": np.array(["train", "valid", "test"])}, "'split': has shape"),
        ({"target": torch.tensor([0, 1, 2, 0])}, "'target', row 2 .id 'c'.: the class is outside 0..1"),
        ({"target": torch.tensor([0.0, 1, 1, 0])}, "'target': is torch.float32"),
        ({"target": torch.tensor([0, 1, 1])}, "'target': has 3 rows but there are 4 ids"),
        ({"task": "multilabel", "target": torch.ones(4, 3)}, "'target': has 3 columns but label_names has 2"),
        ({"task": "multilabel", "target": torch.full((4, 2), 0.5)}, "'target', row 0.*neither 0 nor 1"),
        ({"task": "regression", "target": torch.tensor([0, 1, torch.nan, 0])}, "'target', row 2.*NaN"),
        (changed("text", 1, 1, torch.nan), "'text', row 1 .id 'b'.: a value is NaN or infinite; repair"),
        (changed("text", 0, 2, -torch.inf), "'text', row 0 .id 'a'.: a value is NaN or infinite"),
        (changed("text", 1, 2, 3.0), "'text', row 1.*not zero where it is absent or padding"),
        (changed("image", 2, 0, 3.0), "'image', row 2.*not zero where it is absent"),
        ({"features": {}, "observed": {}}, "there is no modality"),
        ({"group": np.array(["x", 3, "x", "x"], dtype=object)}, r"'group': is object; convert it with .astype.str."),
    ],
)
def test_bad_data_name_field_row_and_remedy(changes, message):
    with pytest.raises(
        DataError, match="small: field " + message.removeprefix("field ") if "field" in message else message
    ):
        small(**changes)


def test_a_row_with_nothing_is_refused():
    frames = {"text": small().observed["text"], "image": torch.tensor([[1], [1], [0], [0]]).bool()}
    features = {m: x * frames[m][..., None] for m, x in small().features.items()}
    with pytest.raises(DataError, match="row 3 .id 'd'.: the row has no modality at all; drop it"):
        small(observed=frames, features=features)


def test_the_file_is_named_where_there_is_one():
    with pytest.raises(DataError, match="films.npz: field 'task'"):
        small(task="x", provenance={"file": "films.npz"})


def test_batches_are_zero_where_nothing_is_observed_and_know_their_rows():
    data = small()
    observed = {"text": torch.tensor([[1, 0, 1], [0, 0, 0]]).bool(), "image": torch.tensor([[1], [1]]).bool()}
    batch = data.view("train", observed).batch(torch.tensor([1, 0]))
    assert batch.index.tolist() == [1, 0] and batch.target.tolist() == [1, 0]
    assert batch.x["text"][0].abs().sum() == 0
    assert batch.x["text"][1].tolist() == [[1, 2], [0, 0], [5, 6]]
    assert batch.present["text"].tolist() == [False, True] and batch.complete is None
    full = data.view("train", observed, complete=True).batch(torch.tensor([1]))
    assert full.complete["text"][0].tolist() == [[7, 8], [9, 10], [0, 0]]
    assert data.view("train", labelled=False).batch(torch.tensor([0])).target is None
    assert batch.without("image").present["image"].tolist() == [False, False]
    with pytest.raises(DataError, match="no modality 'sound'; there are text, image"):
        batch.without("sound")


def test_view_covers_every_row_once():
    data = small()
    seen = [i for batch in data.view("train").batches(1) for i in batch.index.tolist()]
    assert seen == [0, 1]


def test_standardised_uses_observed_train_frames_and_keeps_zeros():
    data = small().standardised()
    seen = data.features["text"][:2][data.observed["text"][:2]]
    torch.testing.assert_close(seen.mean(0), torch.zeros(2))
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(2))
    assert data.features["text"][3].abs().sum() == 0 and data.features["text"][1, 2].abs().sum() == 0
    assert data.features["image"].abs().sum() == 0, "a constant feature becomes 0"
    # row c (valid) had the values 13, 14 at its only frame; train frames are 1, 3, 5, 7, 9 in the first column
    expected = (13 - 5) / np.sqrt(8)
    assert abs(float(data.features["text"][2, 0, 0]) - expected) < 1e-5


def test_columns_may_be_lists_series_and_objects():
    ids, split = ["a", "b", "c", "d"], ["train", "train", "valid", "test"]
    expected = small().fingerprint
    assert small(ids=ids, split=split).fingerprint == expected
    assert small(ids=pd.Series(ids).astype(str).to_numpy(dtype=object), split=pd.Series(split)).fingerprint == expected
    assert small(fold=[0, 1, 2, 3]).fold.dtype.kind == "i"
    with pytest.raises(DataError, match="field 'ids': are object; convert them with .astype"):
        small(ids=np.array(["a", "b", "c", 3], dtype=object))
    with pytest.raises(DataError, match="field 'order'"):
        small(order=[0, 1, 2, "x"])


def test_what_is_scaled_says_so_and_is_not_scaled_again():
    raw = small()
    data = raw.standardised()
    assert raw.scaling is None and set(data.scaling.mean) == {"image", "text"}
    again = raw.scaled(data.scaling)
    assert again.fingerprint == data.fingerprint and again.provenance == data.provenance
    for change in (data.standardised, lambda: data.scaled(data.scaling)):
        with pytest.raises(DataError, match="the features are scaled already"):
            change()


def test_standardised_values_are_cut_at_the_limit():
    data = synthetic.like("mosi", dim=4, length=3).sample({"train": 50, "valid": 2, "test": 2})
    free, cut = data.standardised(), data.standardised(limit=1.5)
    for m in data.modalities:
        assert torch.equal(cut.features[m], free.features[m].clamp(-1.5, 1.5)) and bool(
            (free.features[m].abs() > 1.5).any()
        )
    assert cut.provenance["derived"] == ["standardised on train, cut at 1.5 deviations"]


def test_one_scale_per_modality_keeps_the_relations_of_its_dimensions():
    data = synthetic.like("mosi", dim=5, length=3).sample({"train": 60, "valid": 5, "test": 5})
    data = replace(
        data, features={m: x * torch.tensor([0.0, 1, 2, 30, 4])[: x.shape[2]] for m, x in data.features.items()}
    )
    common = data.standardised(per="modality")
    for m in data.modalities:
        before, after = (d.features[m][:60][data.observed[m][:60]].double() for d in (data, common))
        torch.testing.assert_close(after.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0)
        torch.testing.assert_close(after.square().mean().sqrt(), torch.ones((), dtype=torch.float64), rtol=1e-5, atol=0)
        ratios = [x.std(0, correction=0)[1:] / x[:, 1].std(correction=0) for x in (before, after)]
        torch.testing.assert_close(*ratios, rtol=1e-5, atol=0)
        assert after[:, 0].abs().max() == 0 and not common.features[m][~data.observed[m]].any()
        cut = data.standardised(limit=2, per="modality").features[m][:60][data.observed[m][:60]]
        bound = 2 * after.std(0, correction=0)[1:]
        torch.testing.assert_close(cut[:, 1:].double(), after[:, 1:].clamp(-bound, bound), rtol=1e-5, atol=1e-6)
        assert (cut[:, 3].abs() > 2).any(), "a large dimension keeps what lies within its own deviations"
    assert common.provenance["derived"] == ["standardised on train, one scale per modality"]
    assert data.standardised().provenance["derived"] == ["standardised on train"]
    with pytest.raises(DataError, match="per 'frame'; choose 'dimension' or 'modality'"):
        data.standardised(per="frame")


def test_having_picks_rows_with_all_of_these():
    many = small(ids=np.array(["a", "b", "c", "d"]), split=np.array(["train", "valid", "test", "test"]))
    frames = {**many.observed, "image": torch.ones(4, 1, dtype=torch.bool)}
    data = replace(many, observed=frames, features={**many.features, "image": torch.ones(4, 1, 5)})
    assert data.having("text").ids.tolist() == ["a", "b", "c"]
    assert data.having("text").provenance["derived"] == ["rows that have text"]
    with pytest.raises(DataError, match="no row has the split"):
        small().having("text", "image")


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({}, ()),
        ({"contextual": ["text", "image"]}, ("text",)),  # one vector has no other frames to tell of
        ({"features": {"text": "last-layer hidden states of the word pieces"}}, ("text",)),
        ({"features": {"text": "input word-piece embeddings"}}, ()),
        ({"warnings": ["noisy", "tokens are contextual: a frame that is hidden is still told"]}, ("text",)),
    ],
)
def test_contextual_sequences_are_known_by_the_provenance(provenance, expected):
    assert small(provenance=provenance).contextual == expected
    assert small(provenance=provenance).pooled().contextual == ()


ARCHIVES = Path(os.environ.get("MMLIB_DATA", "nowhere"))


@pytest.mark.skipif(not ARCHIVES.is_dir(), reason="MMLIB_DATA names no folder with archives")
@pytest.mark.parametrize(("name", "expected"), [("mosi_mpnet", ("text",)), ("mosi", ("text",)), ("mosi_words", ())])
def test_contextual_archives(name, expected):
    assert read(ARCHIVES / f"{name}.npz").contextual == expected


def test_fingerprint_sees_content_not_names():
    one, two = small(), small(name="other")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != small(target=torch.tensor([1, 1, 1, 0])).fingerprint
    assert one.fingerprint != small(**changed("text", 0, 0, 9.0)).fingerprint
    assert one.fingerprint != small(fold=np.array([1, 1, 2, 2])).fingerprint


def test_one_vs_rest_makes_each_class_a_problem():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 30, "valid": 5, "test": 5})
    problems = data.one_vs_rest()
    assert problems.task == "multibinary" and problems.outputs == 4 and problems.label_names == data.label_names
    assert torch.equal(problems.target.argmax(1), data.target) and bool((problems.target.sum(1) == 1).all())
    assert problems.provenance["derived"] == ["one yes/no problem per class"]
    with pytest.raises(DataError, match="is for multiclass data, the task is multibinary"):
        problems.one_vs_rest()


def test_shifted_targets_keep_their_distances():
    data = synthetic.like("mosi", dim=4, length=3).sample({"train": 8, "valid": 2, "test": 2})
    assert torch.equal(data.shifted(3.0).target, data.target - 3.0)
    with pytest.raises(DataError, match="the task is multiclass"):
        synthetic.like("iemocap", dim=4, length=3).sample({"train": 8, "valid": 2, "test": 2}).shifted(1.0)


def test_classes_are_grouped_by_name():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 30, "valid": 5, "test": 5})
    two = data.grouped({"negative": ["angry", "sad"], "positive": ["happy", "neutral"]})
    assert two.label_names == ("negative", "positive") and two.outputs == 2
    by_hand = [0 if data.label_names[y] in ("angry", "sad") else 1 for y in data.target.tolist()]
    assert two.target.tolist() == by_hand and 0 < sum(by_hand) < 40
    for groups in ({"all": ["angry", "sad", "happy"]}, {"a": ["angry", "sad"], "b": ["sad", "happy", "neutral"]}):
        with pytest.raises(
            DataError, match="groups name the classes .*; name each class once: angry, happy, neutral, sad"
        ):
            data.grouped(groups)
    with pytest.raises(DataError, match="the task is multibinary"):
        data.one_vs_rest().grouped({"a": ["angry"]})


def test_new_folds_depend_on_ids_alone_and_keep_groups_together():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 300, "valid": 100, "test": 100})
    divided = data.with_folds(5)
    counts = np.bincount(divided.fold)
    assert len(counts) == 5 and counts.min() > 70
    again = data.subset(torch.randperm(500, generator=torch.Generator().manual_seed(0)), "shuffled").with_folds(5)
    assert dict(zip(again.ids, again.fold)) == dict(zip(divided.ids, divided.fold))
    spoken = replace(data, group=np.array([f"talk {i % 20}" for i in range(500)])).with_folds(3)
    assert all(len(set(spoken.fold[spoken.group == g])) == 1 for g in set(spoken.group)) and len(set(spoken.fold)) == 3
    with pytest.raises(DataError, match="folds is 2; three are needed"):
        data.with_folds(2)


def test_folds_become_splits():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 30, "valid": 10, "test": 10})
    data = replace(data, fold=(np.arange(50) % 5 + 1).astype(np.int32))
    for test, valid in ((2, 3), (5, 1)):
        again = data.split_by_fold(test)
        assert set(data.fold[again.split == "test"]) == {test} and set(data.fold[again.split == "valid"]) == {valid}
        assert (again.split == "train").sum() == 30 and again.provenance["derived"] == [
            f"test is fold {test}, valid fold {valid}"
        ]
    with pytest.raises(DataError, match="fold 6 cannot be the test split; the folds are 1, 2, 3, 4, 5"):
        data.split_by_fold(6)
    with pytest.raises(DataError, match="the folds are none"):
        replace(data, fold=None).split_by_fold(1)


def test_valid_rows_come_from_whole_groups_of_test():
    data = synthetic.like("mosi", dim=3, length=2).sample({"train": 30, "valid": 10, "test": 60})
    video = np.array([f"train {i % 3}" for i in range(30)] + ["valid"] * 10 + [f"test {i % 9}" for i in range(60)])
    data = replace(data, group=video)
    clean = data.with_valid_from_test()
    assert (clean.split[:40] == "train").all() and set(clean.split[40:]) == {"valid", "test"}
    split = dict(zip(clean.group, clean.split))
    assert all(clean.split[clean.group == g].tolist() == [s] * int((video == g).sum()) for g, s in split.items())
    assert sum(s == "valid" for s in split.values()) == 3 and sum(s == "test" for s in split.values()) == 6
    assert clean.provenance["derived"] == ["3 of the 9 groups of test as valid (seed 0), valid joined to train"]
    shuffled = data.subset(torch.randperm(100, generator=torch.Generator().manual_seed(0)), "shuffled")
    again = shuffled.with_valid_from_test()
    assert dict(zip(again.ids, again.split)) == dict(zip(clean.ids, clean.split))
    chosen = {tuple(np.unique(video[data.with_valid_from_test(seed=s).split == "valid"])) for s in range(20)}
    assert len(chosen) > 10 and len({g for groups in chosen for g in groups}) == 9
    assert len(np.unique(video[data.with_valid_from_test(2 / 3).split == "valid"])) == 6
    for share in (0.01, 0.99, -1.0):
        with pytest.raises(DataError, match="of 9 groups of test is .*; choose another"):
            data.with_valid_from_test(share)
    with pytest.raises(DataError, match="no column 'group'"):
        replace(data, group=None).with_valid_from_test()
    with pytest.raises(DataError, match="group 'test 4' has rows in test and in another split"):
        replace(data, group=np.where(video == "valid", "test 4", video)).with_valid_from_test()


BCLSTM = Path(os.environ.get("MMLIB_DATA", "")) / "mosi_bclstm.npz"


@pytest.mark.skipif(not BCLSTM.exists(), reason="MMLIB_DATA names no folder with mosi_bclstm.npz")
def test_validation_of_bclstm_without_the_videos_that_trained_its_features():
    data = archive.read(BCLSTM)
    clean = data.with_valid_from_test()
    seen = set(data.ids[data.split != "test"])
    assert set(clean.ids[clean.split == "train"]) == seen and len(seen) == 1447
    videos = {s: set(clean.group[clean.split == s]) for s in ("train", "valid", "test")}
    assert {s: len(v) for s, v in videos.items()} == {"train": 62, "valid": 10, "test": 21}
    assert len(set.union(*videos.values())) == 93


def lacking(data, m, rows):
    frames, x = data.observed[m].clone(), data.features[m].clone()
    frames[rows], x[rows] = False, 0
    return replace(data, observed={**data.observed, m: frames}, features={**data.features, m: x})


def test_only_keeps_modalities_in_the_order_asked_and_rows_that_have_one():
    data = synthetic.like("mosi", dim=3, length=4).sample({"train": 6, "valid": 3, "test": 3})
    data = lacking(data, "text", [0, 7])
    pair = data.only("vision", "text")
    assert pair.modalities == ("vision", "text") and len(pair) == 12
    torch.testing.assert_close(pair.features["vision"], data.features["vision"])
    alone = data.only("text")
    assert len(alone) == 10 and set(data.ids) - set(alone.ids) == {data.ids[0], data.ids[7]}
    assert alone.fingerprint != pair.fingerprint
    with pytest.raises(DataError, match="no modality 'smell'; there are text"):
        data.only("smell")
    with pytest.raises(DataError, match="needs a modality"):
        data.only()


def test_pooled_is_the_mean_of_real_frames():
    data = synthetic.like("mosi", dim=3, length=4).sample({"train": 6, "valid": 3, "test": 3})
    data = lacking(data, "audio", [2])
    pooled = data.pooled()
    assert all(x.shape[1] == 1 for x in pooled.features.values())
    for row in range(12):
        for m in data.modalities:
            real = data.features[m][row][data.observed[m][row]]
            expected = real.mean(0) if len(real) else torch.zeros(real.shape[1])
            torch.testing.assert_close(pooled.features[m][row, 0], expected)
    assert not pooled.present["audio"][2] and pooled.present["audio"].sum() == 11


@pytest.mark.parametrize("length", [1, 3])
def test_frame_mean_by_hand(length):
    x = torch.tensor([[[1.0, -2.0], [3.0, 4.0], [9.0, 9.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, 9.0]]])[:, :length]
    observed = torch.tensor([[True, True, False], [False] * 3])[:, :length]
    expected = torch.tensor([[1.0, -2.0] if length == 1 else [2.0, 1.0], [0.0, 0.0]])
    x.masked_fill_(~observed[..., None], float("nan"))  # hidden frames have no influence
    assert torch.equal(frame_mean(x, observed), expected)
    assert frame_mean(x.double(), observed).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_hidden_frames_become_zero_and_no_other_bit_changes(dtype):
    seen = [-3.5, 0.0, float("inf"), 1e-7]
    x = torch.tensor([[seen, [float("nan"), -1.0, float("inf"), 2.0]]] * 2, dtype=dtype)
    observed = torch.tensor([[True, False], [False, False]])
    zeroed = zero_hidden(x, observed)
    assert torch.equal(zeroed[0, 0], x[0, 0]) and not zeroed[0, 1].any() and not zeroed[1].any()
    assert not zeroed.signbit()[0, 1].any() and x[0, 1, 0].isnan()  # no -0.0, and the argument is as it was
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(zero_hidden(transposed, observed), zeroed)


def test_gradients_reach_the_frames_that_are_shown_and_no_others():
    x, observed = torch.randn(2, 3, 4, requires_grad=True), torch.tensor([[True, False, True], [False] * 3])
    zero_hidden(x, observed).sum().backward()
    assert torch.equal(x.grad, observed[..., None].expand(2, 3, 4).float())


def in_dialogues(**columns):
    """Seven rows of three dialogues, which are not neighbours in the file."""
    group, order = ["b", "a", "b", "c", "a", "b", "c"], [0, 1, 2, 0, 0, 1, 5]
    columns = {"group": group, "order": order, "speaker": ["x", "y", "x", "x", "x", "y", "y"]} | columns
    x = {"text": torch.arange(7.0)[:, None, None]}
    observed = {"text": torch.ones(7, 1, dtype=torch.bool)}
    return Dataset(
        "talk", "regression", x, observed, torch.zeros(7), ["train"] * 7, list("1234567"), partial=True, **columns
    )


def test_batches_of_whole_dialogues():
    data = in_dialogues()
    assert data.places.tolist() == [[1, 0, 0], [0, 1, 1], [1, 2, 0], [2, 0, 0], [0, 0, 0], [1, 1, 1], [2, 5, 1]]
    view = data.view("train")
    cut = [index.tolist() for index in view.cut(torch.tensor([3, 0, 1, 2, 4, 5, 6]), 5, dialogues=True)]
    assert cut == [[3, 6, 0, 2, 5], [1, 4]]  # c and b fill the first batch, a does not fit
    assert [len(index) for index in view.cut(torch.arange(7), 2, dialogues=True)] == [3, 2, 2]  # no dialogue is cut
    assert view.batch(torch.tensor([6, 1])).select(torch.tensor([1])).place.tolist() == [[0, 1, 1]]
    assert in_dialogues(speaker=None).places[:, 2].tolist() == [0] * 7  # a monologue
    for column in ("group", "order"):
        other = in_dialogues(**{column: None})
        assert other.places is None and other.view("train").batch(torch.arange(2)).place is None
        with pytest.raises(DataError, match="dialogues need the columns group and order"):
            other.view("train").cut(torch.arange(7), 4, dialogues=True)
