"""The table of systems says what is true: each takes the tasks, modalities and frames that it declares, and no others."""

import functools

import pytest

from mmlib import synthetic
from mmlib.models import MODELS, table
from mmlib.names import TASKS, DataError
from mmlib.training import fit
from tests.helpers.dialogues import fitting

SHAPE_OF = {"regression": "mosi", "multiclass": "iemocap", "multilabel": "mmimdb"}
MODALITIES = {
    "two": (2,), "two or more": (2, 3), "two or three": (2, 3), "any": (1, 2, 3), "one of them": (1, 2, 3),
    "text in every row, and one or two more": (2, 3), "text and one or more others": (2, 3),
}  # fmt: skip
NAMES = ("text", "audio", "vision")


@functools.cache
def data(task, count, length):
    modalities = {m: synthetic.Modality(6, length) for m in NAMES[:count]}
    shape = SHAPE_OF.get(task, "iemocap")
    rows = synthetic.like(shape, modalities=modalities).sample({"train": 60, "valid": 30, "test": 30}, 0)
    return rows.one_vs_rest() if task == "multibinary" else rows


@pytest.mark.parametrize("name", MODELS)
def test_a_system_takes_what_it_declares_and_nothing_else(name):
    kind = MODELS[name]
    for task in TASKS:
        for count in (1, 2, 3):
            for length in (1, 3):
                fits = task in kind.tasks and count in MODALITIES[kind.modalities] and (length == 1 or kind.sequences)
                arguments = {"modality": "text"} if name == "unimodal" else {}
                rows = fitting(name, data(task, count, length))
                if fits:
                    system = kind.for_data(rows, **arguments)
                    if system.stages and (task, length) == ("multiclass", 1):
                        fit(system, rows, "complete", epochs=1, progress=False)
                    continue
                with pytest.raises(DataError):
                    kind.for_data(rows, **arguments).setup(rows.view("train"))


def test_the_table_has_a_line_per_system():
    systems = table()
    assert list(systems.index) == list(MODELS)
    assert systems.loc["simc", ["modalities", "sequences"]].tolist() == ["two", "vectors only"]
    assert systems.loc["admc", "training needs"] == "some complete rows" and systems.loc["admc", "stages"] == 12
    assert (systems["parameters"] < 2_500_000).all(), "defaults for few rows can be trained on a laptop"


def test_an_argument_that_does_not_exist_is_named_with_the_one_that_was_meant():
    rows = data("multiclass", 2, 1)
    with pytest.raises(TypeError, match=r"SIMC\(\) has no argument 'hiden'; did you mean 'hidden'\?"):
        MODELS["simc"].for_data(rows, hiden=8)
    with pytest.raises(TypeError, match=r"fit\(\) has no argument 'learning_rate'; did you mean 'lr'\?"):
        fit(MODELS["simc"].for_data(rows, hidden=8), rows, "complete", learning_rate=1e-3)
    with pytest.raises(DataError, match="variant 'officail' is not one of paper, official; did you mean 'official'"):
        MODELS["simc"].for_data(rows, variant="officail")
