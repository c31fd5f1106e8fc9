"""Each kind of missingness is recognised: at random, related to the target, related to another modality."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmlib import missing, synthetic
from mmlib.report.mcar import dependence


def removed(task, protocol, rows=600, **options):
    data = synthetic.like(task, dim=6, length=3, **options).sample({"train": rows, "valid": 5, "test": 5}, 0)
    observed = missing.parse(protocol).observed(data, "train", 1)
    train = data.rows("train")
    frames = {m: f.clone() for m, f in data.observed.items()}
    for m, seen in observed.items():
        frames[m][train] = seen
    features = {m: x.masked_fill(~frames[m][..., None], 0) for m, x in data.features.items()}
    return replace(data, features=features, observed=frames)


def rows_of(table, modality, other):
    return table[(table["modality"] == modality) & table["with"].str.startswith(other)]


def test_loss_at_random_is_related_to_nothing():
    # A row loses at least one modality but not all: only the presences are related to each other.
    for seed in range(3):
        table = dependence(removed("mosi", "rate(0.4)"), seed)
        assert (rows_of(table, "text", "target")["p_adjusted"] > 0.01).all()
        assert (table[table["with"].str.startswith("features")]["p_adjusted"] > 0.01).all()


@pytest.mark.parametrize("task", ["mosi", "iemocap", "mmimdb"])
def test_loss_by_the_target_is_found(task):
    rows = rows_of(dependence(removed(task, "mnar(text, given=target, rate=0.4)")), "text", "target")
    assert rows["p_adjusted"].min() < 1e-4 and rows["size"].max() > 0.2


def test_loss_by_another_modality_is_found_there():
    table = dependence(removed("mosi", "mar(text, given=vision, rate=0.4)"))
    assert rows_of(table, "text", "features of vision")["p_adjusted"].item() < 1e-6
    assert set(table["modality"]) == {"text"}, "a modality that every row has is not tested"


def test_modalities_that_are_missing_together_are_found():
    data = removed("mosi", "complete")
    gone = (torch.arange(len(data)) % 3 == 0)[:, None]
    frames = data.observed | {m: data.observed[m] & ~gone for m in ("audio", "vision")}
    features = {m: x.masked_fill(~frames[m][..., None], 0) for m, x in data.features.items()}
    table = dependence(replace(data, features=features, observed=frames))
    row = rows_of(table, "audio", "presence of vision").iloc[0]
    assert row["size"] == pytest.approx(1) and row["p"] < 1e-100 and row["share"] == pytest.approx(204 / 610)


@pytest.mark.slow
def test_p_values_of_the_target_are_uniform_under_no_relation():
    data = removed("mosi", "complete", rows=100)
    generator = np.random.default_rng(0)
    values = []
    for _ in range(200):
        gone = torch.from_numpy(generator.random((len(data), 1)) < 0.4)
        frames = data.observed | {"text": data.observed["text"] & ~gone}
        features = data.features | {"text": data.features["text"].masked_fill(gone[..., None], 0)}
        table = dependence(replace(data, features={"text": features["text"], "audio": features["audio"][:, :1, :1]},
                                   observed={"text": frames["text"], "audio": frames["audio"][:, :1]}))  # fmt: skip
        values.append(table[table["with"] == "target"]["p"].item())
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09 and 0.4 < np.mean(values) < 0.6


def test_complete_data_have_no_tests():
    assert dependence(removed("mosi", "complete")).empty
