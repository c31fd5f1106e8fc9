"""SIM-C against the independent per-sample reference, its variants, and its error checks."""

import pytest
import torch

from mmlib import synthetic
from mmlib.data.dataset import Batch
from mmlib.models.simc import SIMC
from mmlib.names import DataError
from mmlib.training.fit import fit
from tests.helpers.weights import simc_weights
from tests.reference import simc as reference

D1, D2, LABELS = 5, 7, 6


def system_of(variant="paper", **arguments):
    torch.manual_seed(0)
    return SIMC({"image": D1, "text": D2}, "multilabel", LABELS, variant=variant, hidden=16, **arguments).eval()


def films(n=9, seed=0):
    """A batch with all three patterns and the same films as the reference takes them."""
    generator = torch.Generator().manual_seed(seed)
    m1, m2 = torch.randn(n, D1, generator=generator), torch.randn(n, D2, generator=generator)
    has1, has2 = torch.arange(n) % 3 != 1, torch.arange(n) % 3 != 2
    target = (torch.rand(n, LABELS, generator=generator) < 0.3).float()
    batch = Batch(
        x={"image": (m1 * has1[:, None])[:, None], "text": (m2 * has2[:, None])[:, None]},
        observed={"image": has1[:, None], "text": has2[:, None]},
        target=target,
        index=torch.arange(n),
    )
    samples = [(m1[i] if has1[i] else None, m2[i] if has2[i] else None) for i in range(n)]
    return batch, samples


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_logits_and_completions_equal_the_reference(variant):
    system, (batch, samples) = system_of(variant), films()
    weights = simc_weights(system)
    prediction = system.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, reference.predict(weights, samples, variant), rtol=1e-5, atol=1e-5)
    for i, sample in enumerate(samples):
        for m, expected in zip(("image", "text"), reference.completed(weights, sample)):
            torch.testing.assert_close(prediction.completed[m][i, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_and_gradients_equal_the_reference(variant, reduction):
    system, (batch, samples) = system_of(variant, reduction=reduction, alpha=0.7, beta=1.3), films()
    terms = system.loss(batch, "joint")
    simulation, task = reference.losses(simc_weights(system), samples, batch.target, variant, 0.7, 1.3, reduction)
    torch.testing.assert_close(terms["simulation"], simulation, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(terms["task"], task, rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad(sum(terms.values()), list(system.parameters()))
    slow = torch.autograd.grad(simulation + task, list(system.parameters()))
    for a, b in zip(ours, slow):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    system = SIMC({"image": 2, "text": 3}, "multilabel", 2, hidden=4, heads=2).double().eval()
    batch, _ = films()
    batch = Batch(
        x={"image": batch.x["image"][..., :2].double(), "text": batch.x["text"][..., :3].double()},
        observed=batch.observed, target=batch.target[:, :2].double(), index=batch.index,
    )  # fmt: skip
    weight = system.S12[0].weight
    gradient = torch.autograd.grad(sum(system.loss(batch, "joint").values()), weight)[0]
    step = 1e-6
    with torch.no_grad():
        for i, j in ((0, 0), (1, 1), (3, 0)):
            values = []
            for sign in (1, -1):
                weight[i, j] += sign * step
                values.append(float(sum(system.loss(batch, "joint").values())))
                weight[i, j] -= sign * step
            assert abs((values[0] - values[1]) / (2 * step) - float(gradient[i, j])) < 1e-7


def test_a_batch_without_pairs_has_no_simulation_loss():
    system, (batch, _) = system_of(), films()
    alone = batch.select(torch.tensor([1, 2, 4]))
    assert float(system.loss(alone, "joint")["simulation"].detach()) == 0
    both = batch.select(torch.tensor([0, 1, 2]))
    only = batch.select(torch.tensor([0]))
    torch.testing.assert_close(system.loss(both, "joint")["simulation"], system.loss(only, "joint")["simulation"])


def test_task_gradient_reaches_the_simulators_in_joint_but_not_in_task_stage():
    system, (batch, _) = system_of(schedule="two_stage"), films()
    task = system.loss(batch, "task")["task"]
    gradients = torch.autograd.grad(task, list(system.S12.parameters()), allow_unused=True, retain_graph=True)
    assert all(g is None for g in gradients)
    joint = system_of().loss(batch, "joint")
    assert set(joint) == {"simulation", "task"}
    system = system_of()
    gradients = torch.autograd.grad(system.loss(batch, "joint")["task"], list(system.S12.parameters()))
    assert all(float(g.abs().sum()) > 0 for g in gradients)


def test_control_fuses_zeros_and_trains_no_simulator():
    system, control, (batch, samples) = system_of(), system_of(impute="zeros"), films()
    assert all(torch.equal(p, q) for p, q in zip(system.parameters(), control.parameters(), strict=True))
    M1 = torch.stack([torch.zeros(D1) if m1 is None else m1 for m1, _ in samples])
    M2 = torch.stack([torch.zeros(D2) if m2 is None else m2 for _, m2 in samples])
    prediction = control.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, control.g(control.fuse(M1, M2)))
    assert torch.equal(prediction.completed["image"][:, 0], M1)
    both = torch.arange(9) % 3 == 0
    theirs = system.predict(batch.unlabelled()).logits
    torch.testing.assert_close(prediction.logits[both], theirs[both])
    assert bool(((prediction.logits[~both] - theirs[~both]).abs().amax(1) > 1e-6).all())
    terms = control.loss(batch, "joint")
    assert set(terms) == {"task"}
    sum(terms.values()).backward()
    trained = control.parameters_of("joint")
    simulators = [*control.S12.parameters(), *control.S21.parameters()]
    assert all(p.grad is None and not any(p is q for q in trained) for p in simulators)
    assert len(trained) + len(simulators) == len(list(control.parameters()))
    assert all(float(p.grad.abs().sum()) > 0 for p in trained)


def test_alpha_is_tuned_only_where_two_losses_are_weighed():
    assert system_of().grid == SIMC.grid and list(SIMC.grid) == ["alpha"]
    assert system_of(impute="zeros").grid == system_of(schedule="two_stage").grid == {}


def test_paper_widths_and_parameter_count():
    system = SIMC({"image": 512, "text": 512}, "multilabel", 27)
    simulators = sum(p.numel() for p in [*system.S12.parameters(), *system.S21.parameters()])
    assert simulators == 2 * (512 * 256 + 256 + 256 * 256 + 256 + 256 * 512 + 512)
    assert [tuple(layer.weight.shape) for layer in system.g if hasattr(layer, "weight")] == [
        (128, 256),
        (64, 128),
        (27, 64),
    ]
    official = SIMC({"image": 512, "text": 512}, "multilabel", 27, variant="official")
    extra = sum(p.numel() for p in official.parameters()) - sum(p.numel() for p in system.parameters())
    assert extra == 256 * 256 + 256
    kinds = [type(layer).__name__ for layer in official.g]
    assert kinds == ["Linear", "Dropout", "ReLU", "Linear", "ReLU", "Dropout", "Linear"]


def test_l2norm_puts_features_on_the_sphere():
    system, (batch, _) = system_of(l2norm=True), films()
    scaled = Batch({m: 7 * x for m, x in batch.x.items()}, batch.observed, None, batch.index)
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, system.predict(scaled).logits)


@pytest.mark.parametrize(
    ("dims", "arguments", "message"),
    [
        ({"text": 3}, {}, "two modalities, the data have text"),
        ({"a": 3, "b": 3, "c": 3}, {}, "two modalities"),
        ({"a": 3, "b": 3}, {"variant": "offical"}, "variant 'offical' is not one of paper, official"),
        ({"a": 3, "b": 3}, {"impute": "mean"}, "impute 'mean' is not one of simulated, zeros"),
        ({"a": 3, "b": 3}, {"impute": "zeros", "schedule": "two_stage"}, "no simulators to train first"),
        ({"a": 3, "b": 3}, {"schedule": "both"}, "schedule 'both' is not one of joint, two_stage"),
        ({"a": 3, "b": 3}, {"reduction": "max"}, "reduction 'max'"),
    ],
)
def test_bad_arguments(dims, arguments, message):
    with pytest.raises(DataError, match=message):
        SIMC(dims, "multilabel", 3, **arguments)


def test_sequences_are_refused_before_training():
    world = synthetic.draw(
        "regression", {"text": synthetic.Modality(3, 4), "audio": synthetic.Modality(3, 1)}, latent=2
    )
    data = world.sample({"train": 8, "valid": 4, "test": 4})
    with pytest.raises(DataError, match=r"'text' is a sequence; take data.pooled\(\)"):
        fit(SIMC.for_data(data), data, "complete", epochs=1, progress=False)


@pytest.mark.slow
def test_simulators_explain_most_of_the_explainable_variance():
    """Paired training on a small data set; the error is compared with that of the exact conditional mean."""
    from mmlib.models.yardsticks.oracle import Oracle
    from mmlib.training.evaluate import predict

    world = synthetic.like("mmimdb", dim=32, latent=4)
    data = world.sample({"train": 4000, "valid": 400, "test": 1000}, 0)
    system = SIMC.for_data(data)
    fit(system, data, "complete", epochs=8, lr=5e-4, progress=False)
    test = data.view("test", labelled=False)
    truth = test.batch(torch.arange(len(test)))
    for target, source in (("text", "image"), ("image", "text")):
        exact = Oracle(world).complete(truth.without(target))[target].mean
        ours = predict(system, data, f"available({source})").completed[target]
        x = truth.x[target]
        errors = [float(((x - y) ** 2).sum()) for y in (ours, exact, x.mean(0))]
        assert (errors[2] - errors[0]) / (errors[2] - errors[1]) > 0.9, (target, errors)
