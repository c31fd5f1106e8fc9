"""The oracle equals brute-force Gaussian conditioning, and nothing beats it on data of its own world."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmlib import corpora, synthetic
from mmlib.data import checks
from mmlib.models.catalogue import MODELS
from mmlib.models.yardsticks.oracle import Oracle
from mmlib.synthetic import Modality
from mmlib.training.evaluate import evaluate
from mmlib.training.fit import fit
from tests.reference import gaussian

SHAPES = {
    "vectors": {"image": Modality(4, blur=0.7), "text": Modality(3, blur=0.4, noise=0.5)},
    "sequences": {
        "text": Modality(3, 4, blur=0.8, persistence=0.6),
        "audio": Modality(2, 5, blur=1.5, persistence=0.95),
        "vision": Modality(4, 1, blur=1.0),
    },
    "reviews": synthetic.like("reviews", dim=3, length=3).modalities,
}
TASKS = {
    "multilabel": {"prevalence": {"a": 0.5, "b": 0.1, "c": 0.02}},
    "multibinary": {"prevalence": {"a": 0.3, "b": 0.4}},
    "multiclass": {"prevalence": {"a": 0.5, "b": 0.3, "c": 0.2}},
    "regression": {"scale": 1.5},
}


def setting(shape, task, seed=0):
    reviews = {"latent": 8, "even": True, "aligned": True} if shape == "reviews" else {}
    world = synthetic.draw(task, SHAPES[shape], **{"latent": 2, "seed": seed, **TASKS[task], **reviews})
    data = world.sample({"train": 4, "valid": 4, "test": 8}, seed)
    batch = data.view("test", labelled=False).batch(torch.arange(8))
    generator = torch.Generator().manual_seed(seed)
    observed = {m: f & (torch.rand(f.shape, generator=generator) < 0.6) for m, f in batch.observed.items()}
    x = {m: v.masked_fill(~observed[m][..., None], 0) for m, v in batch.x.items()}
    return world, replace(batch, x=x, observed=observed)


def brute_force(world, batch, row):
    loadings = {
        m: (world.A[m].numpy(), world.B[m].numpy(), v.persistence, v.noise, v.length)
        for m, v in world.modalities.items()
    }
    observed = {m: f[row].numpy() for m, f in batch.observed.items()}
    x = {m: v[row].double().numpy() for m, v in batch.x.items()}
    return gaussian.condition(loadings, observed, x, world.means.numpy(), world.priors.numpy())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_posterior_and_completion_equal_brute_force(shape, task):
    world, batch = setting(shape, task)
    oracle = Oracle(world)
    z, completion = oracle.latent(batch), oracle.complete(batch)
    for row in range(len(batch)):
        exact = brute_force(world, batch, row)
        np.testing.assert_allclose(z.mean[row], exact.z_mean, atol=1e-9)
        np.testing.assert_allclose(z.covariance[row], exact.z_cov, atol=1e-9)
        np.testing.assert_allclose(z.weight[row], exact.class_probability, atol=1e-9)
        mean = [float(completion[m].mean[row, t, j]) for m, t, j in exact.missing]
        variance = [float(completion[m].variance[row, t, j]) for m, t, j in exact.missing]
        np.testing.assert_allclose(mean, exact.missing_mean, atol=2e-6)
        np.testing.assert_allclose(variance, np.diag(exact.missing_cov), atol=2e-6)
        np.testing.assert_allclose(oracle.covariance(batch, row), exact.missing_cov, atol=1e-9)
        for m, f in batch.observed.items():
            assert torch.equal(completion[m].mean[row][f[row]], batch.x[m][row][f[row]])
            assert bool((completion[m].variance[row][f[row]] == 0).all())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("shape", ["sequences", "reviews"])
def test_prediction_is_the_posterior(shape, task):
    world, batch = setting(shape, task)
    logits = Oracle(world).predict(batch).logits.double()
    for row in range(len(batch)):
        exact = brute_force(world, batch, row)
        if task == "multiclass":
            np.testing.assert_allclose(logits[row].softmax(0), exact.class_probability, atol=1e-6)
        elif task == "regression":
            expected = world.scale * (exact.z_mean @ world.w.numpy().T + world.b.numpy())
            np.testing.assert_allclose(logits[row], expected, rtol=1e-5)
        else:
            expected = gaussian.probit(exact.z_mean, exact.z_cov, world.w.numpy(), world.b.numpy(), world.sigma)
            np.testing.assert_allclose(logits[row].sigmoid(), expected, atol=1e-5)


def test_poison_and_padding_do_not_reach_the_oracle():
    world, batch = setting("sequences", "regression")
    poisoned = replace(
        batch, x={m: x.masked_fill(~batch.observed[m][..., None], torch.nan) for m, x in batch.x.items()}
    )
    assert torch.equal(Oracle(world).predict(batch).logits, Oracle(world).predict(poisoned).logits)
    clean, dirty = Oracle(world).complete(batch), Oracle(world).complete(poisoned)
    assert all(torch.equal(clean[m].mean, dirty[m].mean) for m in clean)


def test_probabilities_are_calibrated_and_error_bars_cover():
    world = synthetic.like("mmimdb", dim=8, latent=4)
    data = world.sample({"train": 1, "valid": 1, "test": 4000}, 3)
    truth = data.view("test").batch(torch.arange(4000))
    batch = truth.without("text")
    p = Oracle(world).predict(batch).logits.sigmoid()
    assert float((p.mean(0) - truth.target.mean(0)).abs().max()) < 0.03
    assert abs(float(p[p > 0.5].mean()) - float(truth.target[p > 0.5].mean())) < 0.03
    text = Oracle(world).complete(batch)["text"]
    standard = (truth.x["text"] - text.mean) / text.variance.sqrt()
    assert abs(float(standard.std()) - 1) < 0.02 and abs(float(standard.mean())) < 0.02


def test_shapes_copy_prevalences_and_sizes():
    world = synthetic.like("mmimdb", dim=4)
    data = world.sample({"train": 20000, "valid": 10, "test": 10}, 0)
    assert data.outputs == 27 and data.dims == {"image": 4, "text": 4}
    share = data.target.mean(0)
    expected = torch.tensor([n / corpora.MMIMDB_FILMS for n in corpora.MMIMDB_GENRES.values()])
    assert float((share - expected).abs().max()) < 0.015
    assert sum(corpora.MMIMDB_GENRES.values()) == 64_570
    assert synthetic.rows_like("mmimdb") == {"train": 15_552, "valid": 2_608, "test": 7_799}
    for name in synthetic.SHAPES:
        rows = {"train": 8, "valid": 4, "test": 4}
        one, two = (synthetic.like(name, dim=4, length=3).sample(rows, 5) for _ in range(2))
        assert one.fingerprint == two.fingerprint
        assert one.fingerprint != synthetic.like(name, dim=4, length=3, seed=1).sample(rows, 5).fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_modality_of_reviews_matters_given_the_others(seed):
    world = synthetic.like("reviews", seed=seed)
    oracle, data = Oracle(world), world.sample({"train": 1, "valid": 1, "test": 2000}, seed)
    sets = ("text", "audio", "vision", "text,audio", "text,vision")
    scores = {names: evaluate(oracle, data, f"available({names})") for names in sets}
    complete = evaluate(oracle, data, "complete")
    for metric in ("acc2_non0", "f1_non0"):
        value = {names: 100 * score[metric] for names, score in scores.items()}
        assert max(sets[:3], key=value.get) == "text"
        assert 100 * complete[metric] > value["text"] + 10
        assert min(value["text,audio"], value["text,vision"]) > value["text"] + 5
    half = evaluate(oracle, data, "frames(0.5)")
    assert half["mae"] > complete["mae"] + 0.05, "what a clip says is spread over its frames"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "imdb"}, "no synthetic shape 'imdb'; there are mmimdb, mosi"),
        ({"name": "mosi", "colour": 1}, "unknown argument 'colour'"),
        ({"name": "mosi", "prevalence": {"a": 0.5}}, "prevalence must be given"),
        ({"name": "reviews", "latent": 7}, r"vision shows latents \(0, 6, 7\), there are 7"),
        ({"name": "iemocap", "aligned": True}, "modalities of different length cannot be aligned"),
    ],
)
def test_bad_shapes(arguments, message):
    with pytest.raises(checks.DataError, match=message):
        synthetic.like(arguments.pop("name"), **arguments)
    with pytest.raises(checks.DataError, match="rows must name exactly the splits"):
        synthetic.like("mosi", dim=2, length=2).sample({"train": 3})


@pytest.mark.slow
def test_no_system_beats_the_oracle():
    world = synthetic.like("mmimdb", dim=16, latent=4)
    data = world.sample({"train": 1500, "valid": 300, "test": 3000}, 0)
    protocols = ("complete", "complex_20_40_40", "available(image)")
    best = {protocol: evaluate(Oracle(world), data, protocol) for protocol in protocols}
    for name in ("simc", "fill"):
        system = MODELS[name].for_data(data)
        fit(system, data, "complete", epochs=8, progress=False)
        for protocol in protocols:
            ours = evaluate(system, data, protocol)
            assert ours["cell_accuracy"] < best[protocol]["cell_accuracy"] + 0.001
            assert ours["map"] < best[protocol]["map"] + 0.01
