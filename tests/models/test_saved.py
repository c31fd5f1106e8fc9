"""A saved model predicts like the trained one, and a folder without a valid model raises an error."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib import synthetic
from mmlib.data.dataset import Dataset, Scaling
from mmlib.models.catalogue import MODELS
from mmlib.models.saved import load, save
from mmlib.names import DataError
from mmlib.training.evaluate import predict
from mmlib.training.fit import fit
from tests.helpers.dialogues import fitting
from tests.helpers.systems import (
    TINY_ADMC,
    TINY_ADN,
    TINY_CLGSI,
    TINY_CUBEMLP,
    TINY_DLF,
    TINY_EMT,
    TINY_GCNET,
    TINY_M3CARE,
    TINY_MCTN,
    TINY_MFMB,
    TINY_MPLMM,
    TINY_MULT,
    TINY_SELF_MM,
    TINY_SHASPEC,
    TINY_SMCIR,
    TINY_SMIL,
    TINY_TATE,
    TINY_TRANSM,
    TINY_UMDF,
)

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
CASES = {
    "simc": {"schedule": "two_stage", "hidden": 16},
    "umdf": TINY_UMDF,
    "admc": TINY_ADMC | TINY_ADN,
    "smcir": TINY_SMCIR | {"variant": "corrected"},
    "ae": {"d": 8},
    "cra": {"d": 8},
    "mmin": {"d": 8, "blocks": 2},
    "if_mmin": {"d": 8, "blocks": 2},
    "shaspec": TINY_SHASPEC,
    "m3care": TINY_M3CARE,
    "tate": TINY_TATE,
    "transm": TINY_TRANSM,
    "mctn": TINY_MCTN,
    "self_mm": TINY_SELF_MM,
    "cubemlp": TINY_CUBEMLP | {"widths": [8, 4]},
    "clgsi": TINY_CLGSI,
    "pmcmfl": {"d": 8},
    "smil": TINY_SMIL,
    "gcnet": TINY_GCNET,
    "emt": TINY_EMT,
    "dlf": TINY_DLF,
    "mfmb": TINY_MFMB,
    "mult": TINY_MULT,
    "mplmm": TINY_MPLMM,
    "tetfn": TINY_MULT,
    "prior": {},
    "coin": {},
    "all_zeros": {},
    "unimodal": {"modality": "text"},
    "fill": {"fill": "mean"},
}


@pytest.fixture(scope="module")
def films():
    return synthetic.like("mmimdb", dim=6, latent=3).sample({"train": 40, "valid": 12, "test": 12}, 0)


def trained(name, data):
    system = MODELS[name].for_data(data, **CASES[name])
    fit(system, data, "complete", epochs=1, batch_size=20, progress=False)
    return system.eval()


def test_every_model_has_a_case():
    assert set(CASES) == set(MODELS)


@pytest.mark.parametrize("name", CASES)
def test_raw_rows_get_the_predictions_of_standardised_rows(name, films, tmp_path):
    films = fitting(name, films)
    data = films.standardised(2.0, per="modality" if name == "fill" else "dimension")
    system = trained(name, data)
    save(system, data, tmp_path / "model", {"map": 0.5})
    again = load(tmp_path / "model")
    test = films.rows("test")
    features = {m: x[test] for m, x in films.features.items()}
    if system.needs_dialogues:  # a Dataset alone says where a row stands in one
        with pytest.raises(DataError, match="it needs a Dataset with the columns group and order"):
            again.predict(features)
        features = replace(films, partial=True).subset(test, "test rows")
    expected = predict(system, data, "complete").logits.sigmoid()
    if system.stochastic:  # the noise of a row depends on its position in the data
        assert torch.equal(again.predict(features), load(tmp_path / "model").predict(features))
        return
    torch.testing.assert_close(again.predict(features), expected)
    assert again.card["metrics"] == {"map": 0.5} and again.card["label_names"] == list(films.label_names)
    alone = features.only("text") if system.needs_dialogues else {"text": features["text"][:, 0]}
    lacking = predict(system, data, "available(text)").logits.sigmoid()
    torch.testing.assert_close(again.predict(alone, batch_size=5), lacking)


def test_values_classes_and_sequences(tmp_path):
    for task in ("mosi", "iemocap"):
        data = synthetic.like(task, dim=5, length=4).sample({"train": 60, "valid": 20, "test": 9}, 0)
        system = MODELS["fill"].for_data(data)
        fit(system, data, "complete", epochs=1, progress=False)
        again = load(save(system, data, tmp_path / task))
        test = data.rows("test")
        features, frames = ({m: x[test] for m, x in part.items()} for part in (data.features, data.observed))
        logits = predict(system, data, "complete").logits
        expected = logits if task == "mosi" else logits.softmax(1)
        torch.testing.assert_close(again.predict(features, frames), expected)
        torch.testing.assert_close(again.predict(features), expected)  # no frame is zero throughout
        hidden = frames | {"audio": torch.zeros_like(frames["audio"])}
        poisoned = features | {"audio": torch.full_like(features["audio"], torch.nan)}
        lacking = predict(system, data, "available(text, vision)").logits
        torch.testing.assert_close(again.predict(poisoned, hidden), lacking if task == "mosi" else lacking.softmax(1))


@pytest.mark.parametrize(
    ("features", "frames", "message"),
    [
        ({"smell": torch.ones(2, 6)}, None, "no modality 'smell'; there are image, text"),
        ({}, None, "there is no modality"),
        ({"text": torch.ones(2, 6), "image": torch.ones(3, 6)}, None, "modalities have .* rows; give each the same"),
        ({"text": torch.ones(2, 5)}, None, r"features 'text': shape \(2, 1, 5\), expected \(2, frames, 6\)"),
        ({"text": torch.ones(2, 6)}, {"text": torch.ones(2, 3).bool()}, r"observed\['text'\]: shape \(2, 3\)"),
        ({"text": torch.ones(2, 6)}, {"image": torch.ones(2, 1).bool()}, "no modality 'image'"),
        ({"text": torch.tensor([[1.0] * 6, [torch.inf] * 6])}, None, r"X\['text'\], row 1: a value is infinite"),
        ({"text": torch.tensor([[1.0] * 6, [1.0] * 5 + [torch.nan]])}, None, r"X\['text'\], row 1: .* NaN in part"),
        ({"text": torch.tensor([[1.0] * 6, [torch.nan] * 6])}, None, "row 1 has no modality at all"),
        (torch.ones(2, 12), None, "X: is a table; this model was trained with modalities by name"),
    ],
)
def test_invalid_rows(features, frames, message, films, tmp_path):
    model = load(save(MODELS["fill"].for_data(films), films, tmp_path / "model"))
    with pytest.raises(DataError, match=message):
        model.predict(features, frames)


def test_an_unregistered_system_is_not_saved(films, tmp_path):
    with pytest.raises(DataError, match="Mine is not in mmlib.models.MODELS"):
        save(type("Mine", (MODELS["prior"],), {}).for_data(films), films, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "os.system"}, "system 'os.system' is not one of simc, umdf"),
        ({"format": 9}, "format 9 is not 1"),
        ({"arguments": {"depth": 3}}, "field 'arguments' does not fit fill"),
        ({"arguments": {"fill": "both"}}, "field 'arguments' does not fit fill: zero fill: fill 'both'"),
        ({"arguments": []}, "'arguments' or 'outputs' has the wrong type"),
        ({"dims": {"image": 6, "text": 7}}, "does not fit"),
        ({"dims": {"image": 2**40}}, "field 'dims'"),
        ({"outputs": 0}, "'outputs' has the wrong type"),
        ({"limit": "far"}, "field 'limit'"),
    ],
)
def test_invalid_cards(change, message, films, tmp_path):
    save(MODELS["fill"].for_data(films), films, tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | change))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_damaged_folders(films, tmp_path):
    save(MODELS["fill"].for_data(films), films, tmp_path)
    weights, card = (tmp_path / "model.safetensors").read_bytes(), (tmp_path / "model.json").read_text()
    for content, message in (
        (weights[:100], "is not a complete safetensors file"),
        (b"", "is not a complete safetensors file"),
    ):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    for text, message in (
        (card[:50], "is not JSON"),
        ("[1]", "field 'format' is missing"),
        ("[" * 10**5, "is not JSON"),
    ):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(DataError, match=message):
            load(tmp_path)
    with pytest.raises(DataError, match="cannot be opened.*a saved model is a folder with model.json"):
        load(tmp_path / "nowhere")


def test_save_carries_the_scaling_that_training_saw_whatever_it_is_given(films, tmp_path):
    """The README's way: standardise, fit, save, load, predict on rows as they are read."""
    raw = replace(films, features={m: 30 * x + 4 for m, x in films.features.items()})
    raw = replace(raw, features={m: x * raw.observed[m][..., None] for m, x in raw.features.items()})
    data, test = raw.standardised(), raw.rows("test")
    system = trained("fill", data)
    new = {m: x[test] for m, x in raw.features.items()}
    for given in (data, raw, data.only("text", "image")):
        again = load(save(system, given, tmp_path / given.fingerprint[:8]))
        torch.testing.assert_close(again.predict(new), predict(system, data, "complete").logits.sigmoid())
    unscaled = load(save(trained("fill", raw), data, tmp_path / "unscaled"))
    assert not unscaled.scaling.mean


def test_predict_takes_what_fit_took(tmp_path):
    """A table with groups of columns, as numpy, pandas or torch, with NaN; arrays by name; a Dataset, scaled or not."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 5))
    table[::7, :2], table[3::7, 2:] = np.nan, np.nan
    frame = pd.DataFrame(table, columns=list("abcde"))
    labels = np.where(np.nan_to_num(table).sum(1) > 0, "up", "down")
    raw = Dataset.from_arrays(frame, labels, modalities={"one": ["a", "b"], "two": ["c", "d", "e"]})
    data = raw.standardised(limit=3, per="modality")
    system = trained("fill", data)
    again = load(save(system, raw, tmp_path / "model"))
    expected = torch.empty(60, 2)
    for split in ("train", "valid", "test"):
        expected[data.rows(split)] = predict(system, data, split=split).logits.softmax(1)
    parts = {"one": table[:, :2], "two": torch.tensor(table[:, 2:])}
    for X in (frame, frame[list("edcba")], parts, raw, data):
        torch.testing.assert_close(again.predict(X), expected)
    named = np.array(["down", "up"])[expected.argmax(1)]
    assert (again.labels(frame) == named).all()
    with pytest.raises(DataError, match=r"\['a', 'b'\] are not all columns of X; it has 0, 1, 2, 3, 4"):
        again.predict(pd.DataFrame(table))
    with pytest.raises(DataError, match="is scaled otherwise than the training data"):
        again.predict(raw.standardised())
    numbers = Dataset.from_arrays(table, labels, modalities={"one": [0, 1], "two": slice(2, 5)})
    system = trained("fill", numbers)
    by_number = load(save(system, numbers, tmp_path / "numbers"))
    torch.testing.assert_close(by_number.predict(table), by_number.predict(torch.tensor(table)))


def test_labels_of_several_and_values(films, tmp_path):
    several = load(save(trained("fill", films), films, tmp_path / "several"))
    X = {"text": films["text"][:9]}
    names = np.array(films.label_names)
    assert several.labels(X).tolist() == [names[row > 0.5].tolist() for row in several.predict(X).numpy()]
    clips = synthetic.like("mosi", dim=5, length=4).sample({"train": 60, "valid": 20, "test": 9}, 0)
    system = MODELS["fill"].for_data(clips)
    values = load(save(system, clips, tmp_path / "values"))
    assert values.labels(clips[:5]).tolist() == values.predict(clips[:5])[:, 0].tolist()


def test_a_model_is_replaced_on_request_alone(films, tmp_path):
    first, second = (MODELS["fill"].for_data(films, seed=seed) for seed in (0, 1))
    save(first, films, tmp_path)
    with pytest.raises(DataError, match="exists; choose another folder, or overwrite=True"):
        save(second, films, tmp_path)
    again = load(save(second, films, tmp_path, overwrite=True)).system
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), second.state_dict().values()))


def test_the_scaling_of_a_modality_that_was_left_out_is_not_saved(films, tmp_path):
    text = films.standardised().only("text")
    assert set(load(save(trained("fill", text), text, tmp_path / "text")).scaling.mean) == {"text"}


def test_a_scaling_of_another_width_is_an_error(films, tmp_path):
    wrong = Scaling({"text": torch.zeros(3)}, {"text": torch.ones(3)})
    save(MODELS["fill"].for_data(films), replace(films, scaling=wrong), tmp_path)
    with pytest.raises(DataError, match=r"scaling of 'text' has shape \(3,\), not its width"):
        load(tmp_path)


@pytest.mark.parametrize("folder", sorted(CHECKPOINTS.glob("*/*")), ids=lambda f: "/".join(f.parts[-2:]))
def test_models_of_this_and_earlier_versions_predict_as_before(folder):
    record = json.loads((folder / "said.json").read_text())
    features = {m: torch.tensor(x) for m, x in record["features"].items()}
    torch.testing.assert_close(load(folder).predict(features), torch.tensor(record["said"]), rtol=1e-4, atol=1e-5)


def test_a_model_with_class_weights_of_its_own_loads(tmp_path):
    """ADMC of version 0.1.0 had the argument `balanced` and the buffer `weight`."""
    old = CHECKPOINTS / "0.1.0" / "admc"
    card = json.loads((old / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | {"arguments": card["arguments"] | {"balanced": False}}))
    shutil.copy(old / "model.safetensors", tmp_path)
    features = {m: torch.ones(2, 6) for m in ("image", "text")}
    assert torch.equal(load(tmp_path).predict(features), load(old).predict(features))


def test_every_model_of_version_0_1_has_a_checkpoint():
    names = {"simc", "umdf", "admc", "smcir", "prior", "all_zeros", "unimodal", "fill"}
    assert {f.name for f in (CHECKPOINTS / "0.1.0").iterdir()} == names
