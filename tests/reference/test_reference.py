"""The two slow references against cases worked out by hand, torch's own layers, and simulation of the model itself."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from tests.reference import gaussian, simc

# ---------------------------------------------------------------------------------------------------------------- SIM-C


def random_weights(d1, d2, width, classes, seed=0):
    """Weights of every name at small widths, float64, large enough that softmax and ReLU leave their linear range."""
    torch.manual_seed(seed)
    shapes = {
        "s12": [(width, d1), (width, width), (d2, width)],
        "s21": [(width, d2), (width, width), (d1, width)],
        "head": [(width, width), (width, width), (classes, width)],
    }
    layers = {f"{name}.{i}": shape for name, rows in shapes.items() for i, shape in enumerate(rows)}
    layers |= {"project1": (width, d1), "project2": (width, d2), "after": (width, width)}
    layers |= {f"attention{layer}.out_proj": (width, width) for layer in range(2)}
    weights = {}
    for name, (rows, columns) in layers.items():
        weights[f"{name}.weight"] = torch.randn(rows, columns, dtype=torch.float64)
        weights[f"{name}.bias"] = torch.randn(rows, dtype=torch.float64)
    for layer in range(2):
        weights[f"attention{layer}.in_proj_weight"] = torch.randn(3 * width, width, dtype=torch.float64)
        weights[f"attention{layer}.in_proj_bias"] = torch.randn(3 * width, dtype=torch.float64)
        weights[f"norm{layer}.weight"] = torch.randn(width, dtype=torch.float64)
        weights[f"norm{layer}.bias"] = torch.randn(width, dtype=torch.float64)
    return weights


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def identity_layer(weights, name, width):
    weights[f"{name}.weight"] = torch.eye(width, dtype=torch.float64)
    weights[f"{name}.bias"] = torch.zeros(width, dtype=torch.float64)


def identity_attention(width):
    weights = {
        "attention0.in_proj_weight": torch.eye(width, dtype=torch.float64).repeat(3, 1),
        "attention0.in_proj_bias": torch.zeros(3 * width, dtype=torch.float64),
    }
    identity_layer(weights, "attention0.out_proj", width)
    return weights


def test_attention_with_identity_weights_by_hand():
    # Width 16: four heads of size 4, scores divided by 2. Head 0 sees (2, 0, 0, 0) and 0; head 1 sees e_1 and 2 e_1;
    # heads 2 and 3 see nothing of the first token and (1, 1, 1, 1) of the second.
    a, b = torch.zeros(16, dtype=torch.float64), torch.zeros(16, dtype=torch.float64)
    a[0], a[5], b[5], b[8:] = 2, 1, 2, 1
    first, second = simc.attention(identity_attention(16), "attention0", [a, b])

    def share(x, y):  # softmax over two scores, the first one's share
        return math.exp(x) / (math.exp(x) + math.exp(y))

    expected = np.zeros(16)
    expected[0] = 2 * share(4 / 2, 0)  # q.k is 4 with itself, 0 with the other
    expected[5] = share(1 / 2, 2 / 2) * 1 + share(2 / 2, 1 / 2) * 2
    expected[8:] = 0.5  # a zero query looks at both tokens alike
    np.testing.assert_allclose(first, expected, atol=1e-12)
    expected[0] = 2 * 0.5
    expected[5] = share(2 / 2, 4 / 2) * 1 + share(4 / 2, 2 / 2) * 2
    expected[8:] = share(4 / 2, 0)
    np.testing.assert_allclose(second, expected, atol=1e-12)


def test_layer_norm_by_hand():
    weights = {"n.weight": vector(2, 10), "n.bias": vector(1, 0)}
    out = simc.layer_norm(weights, "n", vector(1, 5))  # mean 3, variance 4
    np.testing.assert_allclose(out, [1 - 2 * 2 / math.sqrt(4 + 1e-5), 10 * 2 / math.sqrt(4 + 1e-5)], rtol=1e-12)


def test_mlp_rectifies_between_its_layers_only():
    weights = {f"s12.{i}.bias": torch.zeros(2, dtype=torch.float64) for i in range(3)}
    weights["s12.0.weight"] = torch.tensor([[1.0, 0], [0, 1]], dtype=torch.float64)
    weights["s12.1.weight"] = torch.tensor([[1.0, -2], [1, 0]], dtype=torch.float64)
    weights["s12.2.weight"] = torch.tensor([[-1.0, -1], [0, 3]], dtype=torch.float64)
    # (2, -5) -> relu (2, 0) -> (2, 2) -> (-4, 6); (1, 3) -> (-5, 1) -> relu (0, 1) -> (-1, 3)
    assert simc.mlp(weights, "s12", vector(2, -5)).tolist() == [-4, 6]
    assert simc.mlp(weights, "s12", vector(1, 3)).tolist() == [-1, 3]


def test_fusion_and_head_by_hand():
    # Two equal tokens attend to themselves whatever the shares, so x + x = 2x; the norm makes (1, 1, 3, 3) -> -1, 1.
    weights = identity_attention(4)
    weights |= {name.replace("0", "1", 1): value for name, value in weights.items()}
    for name in ("project1", "project2", "after", "head.0", "head.1"):
        identity_layer(weights, name, 4)
    for layer in range(2):
        weights[f"norm{layer}.weight"] = torch.ones(4, dtype=torch.float64)
        weights[f"norm{layer}.bias"] = torch.zeros(4, dtype=torch.float64)
    weights["norm1.weight"], weights["norm1.bias"] = vector(5, 5, 5, 5), vector(2, 2, 2, 2)  # -> (-3, -3, 7, 7)
    weights["after.weight"] *= -1
    weights["after.bias"] = vector(0, 0, 0, 8)  # -> (3, 3, -7, 1), rectified to (3, 3, 0, 1)
    weights["head.2.weight"], weights["head.2.bias"] = vector(1, 2, 4, 8)[None], vector(100)
    sample = (vector(1, 1, 3, 3), vector(1, 1, 3, 3))
    # The head rectifies (-3, -3, 7, 7) to (0, 0, 7, 7).
    np.testing.assert_allclose(simc.predict(weights, [sample], "paper"), [[100 + 28 + 56]], rtol=1e-5)
    np.testing.assert_allclose(simc.predict(weights, [sample], "official"), [[100 + 3 + 6 + 8]], rtol=1e-5)


def torch_layers(weights, width):
    """torch's attention and norm with the same weights: two implementations that share nothing with the loops."""
    layers = []
    for layer in range(2):
        attention = nn.MultiheadAttention(width, 4, batch_first=True, dtype=torch.float64)
        norm = nn.LayerNorm(width, dtype=torch.float64)
        for module, name in ((attention, f"attention{layer}"), (norm, f"norm{layer}")):
            module.load_state_dict({key: weights[f"{name}.{key}"] for key in module.state_dict()})
        layers.append((attention, norm))
    return layers


def test_fusion_agrees_with_torch_layers():
    width = 8
    weights = random_weights(5, 3, width, 2)
    m1, m2 = torch.randn(5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    linear = nn.functional.linear
    tokens = torch.stack([
        linear(m1, weights["project1.weight"], weights["project1.bias"]),
        linear(m2, weights["project2.weight"], weights["project2.bias"]),
    ])[None]  # fmt: skip
    for attention, layer_norm in torch_layers(weights, width):
        tokens = layer_norm(tokens + attention(tokens, tokens, tokens)[0])
    pooled = tokens.mean(1)[0]
    torch.testing.assert_close(simc.fuse(weights, m1, m2, "paper"), pooled, rtol=1e-10, atol=1e-10)
    after = linear(pooled, weights["after.weight"], weights["after.bias"]).relu()
    assert (after > 0).any() and (after == 0).any()
    torch.testing.assert_close(simc.fuse(weights, m1, m2, "official"), after, rtol=1e-10, atol=1e-10)


def test_only_the_missing_feature_is_simulated():
    weights = random_weights(5, 3, 8, 2)
    m1, m2 = torch.randn(5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    both = simc.completed(weights, (m1, m2))
    assert both[0] is m1 and both[1] is m2
    image = simc.completed(weights, (m1, None))
    assert image[0] is m1 and torch.equal(image[1], simc.mlp(weights, "s12", m1)) and image[1].shape == (3,)
    text = simc.completed(weights, (None, m2))
    assert text[1] is m2 and torch.equal(text[0], simc.mlp(weights, "s21", m2)) and text[0].shape == (5,)
    # A sample with one modality is treated exactly like the pair that it is completed to.
    logits = simc.predict(weights, [(m1, None), image, (None, m2), text], "official")
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[2], logits[3])
    assert logits.shape == (4, 2) and not torch.allclose(logits[0], logits[2])


def constant_weights():
    """Simulators that answer a constant, and logits (0, 2) whatever comes in: the losses are then simple arithmetic."""
    weights = {name: torch.zeros_like(value) for name, value in random_weights(2, 1, 4, 2).items()}
    weights["s12.2.bias"], weights["s21.2.bias"], weights["head.2.bias"] = vector(1), vector(1, 0), vector(0, 2)
    return weights


def test_losses_by_hand():
    samples = [
        (vector(2, 2), vector(3)),  # squared errors 1 + 4 and 4
        (vector(9, 9), None),  # no pair: not in L_sim
        (vector(1, 2), vector(1)),  # 4 and 0
        (None, vector(7)),
    ]
    targets = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])
    log2 = math.log(2)
    hit, miss = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))  # of the logit 2 against 1 and against 0
    cells = 4 * log2 + 2 * hit + 2 * miss
    call = (constant_weights(), samples, targets, "paper")
    simulation, task = simc.losses(*call, 0.5, 3.0, "sum")
    assert float(simulation) == pytest.approx(0.5 * ((5 + 4) + (4 + 0)) / 2)
    assert float(task) == pytest.approx(3 * cells / 4)
    simulation, task = simc.losses(*call, 0.5, 3.0, "mean")
    assert float(simulation) == pytest.approx(0.5 * ((5 / 2 + 4 / 1) / 2 + (4 / 2 + 0) / 2) / 2)
    assert float(task) == pytest.approx(3 * cells / 8)


def test_no_pair_no_simulation_loss():
    samples = [(vector(9, 9), None), (None, vector(7))]
    for reduction in ("mean", "sum"):
        simulation, _ = simc.losses(constant_weights(), samples, torch.zeros(2, 2), "paper", 1.0, 1.0, reduction)
        assert float(simulation) == 0.0


def test_wrong_calls_are_refused():
    weights, sample = constant_weights(), (vector(1, 2), vector(1))
    with pytest.raises(ValueError, match="at least one modality"):
        simc.predict(weights, [sample, (None, None)], "paper")
    with pytest.raises(ValueError, match="variant"):
        simc.predict(weights, [sample], "unofficial")
    with pytest.raises(ValueError, match="reduction"):
        simc.losses(weights, [sample], torch.zeros(1, 2), "paper", 1.0, 1.0, "none")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_is_that_of_finite_differences(reduction):
    weights = {name: value.requires_grad_() for name, value in random_weights(3, 2, 4, 2, seed=6).items()}
    torch.manual_seed(1)
    samples = [(torch.randn(3).double(), torch.randn(2).double()) for _ in range(2)]
    samples += [(torch.randn(3).double(), None), (None, torch.randn(2).double())]
    targets = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])

    def total(at):
        simulation, task = simc.losses(at, samples, targets, "official", 0.5, 1.0, reduction)
        return simulation + task

    gradients = dict(zip(weights, torch.autograd.grad(total(weights), list(weights.values()))))
    for name, value in weights.items():
        step = torch.randn_like(value)
        h = 1e-6
        moved = [total({**weights, name: value.detach() + sign * h * step}).item() for sign in (1, -1)]
        assert float((gradients[name] * step).sum()) == pytest.approx((moved[0] - moved[1]) / (2 * h), 1e-5, 1e-6), name
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


def test_the_task_alone_trains_a_simulator():
    weights = {name: value.requires_grad_() for name, value in random_weights(3, 2, 4, 2, seed=6).items()}
    samples = [(torch.ones(3).double(), None)]
    simulation, task = simc.losses(weights, samples, torch.zeros(1, 2), "paper", 0.5, 1.0, "mean")
    (simulation + task).backward()
    assert weights["s12.2.weight"].grad.abs().sum() > 0
    assert weights["s21.2.weight"].grad is None and weights["after.weight"].grad is None


# ------------------------------------------------------------------------------------------------------------- Gaussian

ONE = np.ones((1, 1))
ZERO = np.zeros((1, 1))


def test_one_dimension_by_hand():
    # x = 2 z + u + 2 eps: variance 4 + 1 + 4 = 9, covariance with z 2. Frames at lag 1 share 4.5, at lag 2 4.25.
    loadings = {"a": (2 * ONE, ONE, 0.5, 2.0, 3)}
    x = {"a": np.array([[3.0], [np.nan], [np.nan]])}  # what is not observed is not read
    got = gaussian.condition(loadings, {"a": np.array([True, False, False])}, x, ZERO, [1.0])
    np.testing.assert_allclose(got.z_mean, [2 / 9 * 3], rtol=1e-12)
    np.testing.assert_allclose(got.z_cov, [[1 - 4 / 9]], rtol=1e-12)
    assert got.missing == [("a", 1, 0), ("a", 2, 0)]
    np.testing.assert_allclose(got.missing_mean, [4.5 / 9 * 3, 4.25 / 9 * 3], rtol=1e-12)
    between = 4.5 - 4.5 * 4.25 / 9
    np.testing.assert_allclose(got.missing_cov, [[9 - 4.5**2 / 9, between], [between, 9 - 4.25**2 / 9]], rtol=1e-12)
    np.testing.assert_allclose(got.class_probability, [1.0])


def test_two_modalities_share_z_alone():
    # Cov(a, b) = 2 * 3 through z; the private processes do not meet, even at the same frame.
    loadings = {"a": (2 * ONE, ONE, 0.9, 1.0, 1), "b": (3 * ONE, 5 * ONE, 0.9, 1.0, 1)}
    observed = {"a": np.array([True]), "b": np.array([False])}
    got = gaussian.condition(loadings, observed, {"a": np.array([[4.0]])}, ZERO, [1.0])
    np.testing.assert_allclose(got.missing_mean, [6 / 6 * 4], rtol=1e-12)
    np.testing.assert_allclose(got.missing_cov, [[9 + 25 + 1 - 36 / 6]], rtol=1e-12)


def test_class_posterior_and_mixture_by_hand():
    # x | c ~ N(+-2, 9), priors 1/4 and 3/4, x = 3: log density ratio (25 - 1) / 18.
    loadings = {"a": (2 * ONE, ONE, 0.5, 2.0, 2)}
    observed, x = {"a": np.array([True, False])}, {"a": np.array([[3.0], [0.0]])}
    got = gaussian.condition(loadings, observed, x, np.array([[1.0], [-1.0]]), [0.25, 0.75])
    odds = 0.25 / 0.75 * math.exp(24 / 18)
    p = odds / (1 + odds)
    np.testing.assert_allclose(got.class_probability, [p, 1 - p], rtol=1e-12)
    high, low = 1 + 2 / 9 * (3 - 2), -1 + 2 / 9 * (3 + 2)
    np.testing.assert_allclose(got.z_mean, [p * high + (1 - p) * low], rtol=1e-12)
    np.testing.assert_allclose(got.z_cov, [[5 / 9 + p * (1 - p) * (high - low) ** 2]], rtol=1e-12)
    high, low = 2 + 0.5 * (3 - 2), -2 + 0.5 * (3 + 2)
    np.testing.assert_allclose(got.missing_mean, [p * high + (1 - p) * low], rtol=1e-12)
    np.testing.assert_allclose(got.missing_cov, [[6.75 + p * (1 - p) * (high - low) ** 2]], rtol=1e-12)


def world(k=2, classes=1):
    """Two modalities of different width, length, private rank and noise."""
    rng = np.random.default_rng(5)
    loadings = {
        "a": (rng.normal(size=(2, k)), rng.normal(size=(2, 1)), 0.8, 0.7, 2),
        "b": (rng.normal(size=(1, k)), rng.normal(size=(1, 2)), -0.5, 1.1, 3),
    }
    means = rng.normal(size=(classes, k)) if classes > 1 else np.zeros((1, k))
    priors = rng.dirichlet(np.full(classes, 5.0))
    return loadings, means, priors


def simulate(loadings, means, priors, n, rng):
    """Draws from the model by running it forward; signal[m] (n, T, d) is x before its noise is added."""
    label = rng.choice(len(priors), size=n, p=priors)
    z = means[label] + rng.normal(size=(n, means.shape[1]))
    signal, x = {}, {}
    for m, (a, b, rho, s, frames) in loadings.items():
        u = rng.normal(size=(n, b.shape[1]))
        steps = []
        for t in range(frames):
            if t:
                u = rho * u + math.sqrt(1 - rho**2) * rng.normal(size=u.shape)
            steps.append(z @ a.T + u @ b.T)
        signal[m] = np.stack(steps, 1)
        x[m] = signal[m] + s * rng.normal(size=signal[m].shape)
    return label, z, signal, x


def test_nothing_observed_is_the_prior():
    loadings, means, priors = world(classes=3)
    observed = {"a": np.zeros(2, bool), "b": np.zeros(3, bool)}
    got = gaussian.condition(loadings, observed, {}, means, priors)
    np.testing.assert_allclose(got.class_probability, priors)
    np.testing.assert_allclose(got.z_mean, priors @ means)
    np.testing.assert_allclose(got.z_cov, np.eye(2) + np.cov(means.T, aweights=priors, bias=True))
    assert got.missing == [("a", t, j) for t in range(2) for j in range(2)] + [("b", t, 0) for t in range(3)]
    _, _, _, x = simulate(loadings, means, priors, 200_000, np.random.default_rng(0))
    flat = np.concatenate([x["a"].reshape(-1, 4), x["b"].reshape(-1, 3)], 1)
    scale = np.sqrt(np.diag(got.missing_cov))
    np.testing.assert_allclose((flat.mean(0) - got.missing_mean) / scale, 0, atol=0.012)  # standard error 0.0022
    np.testing.assert_allclose((np.cov(flat.T) - got.missing_cov) / np.outer(scale, scale), 0, atol=0.016)


def test_joint_covariance_is_symmetric():
    # Conditioning reads the blocks of z from one side only; the other side has to agree all the same.
    _, cov, _ = gaussian.joint(*world()[:2])
    np.testing.assert_array_equal(cov, cov.T)


def test_everything_observed_leaves_nothing_missing():
    loadings, means, priors = world(classes=2)
    _, _, _, x = simulate(loadings, means, priors, 1, np.random.default_rng(0))
    one = {m: values[0] for m, values in x.items()}
    got = gaussian.condition(loadings, {"a": np.ones(2, bool), "b": np.ones(3, bool)}, one, means, priors)
    assert got.missing == [] and got.missing_mean.shape == (0,) and got.missing_cov.shape == (0, 0)
    assert got.class_probability.sum() == pytest.approx(1)


def test_conditional_mean_is_the_best_guess_in_simulation():
    # For one class E[. | observed] is linear in the observed; the residual is uncorrelated with what was observed
    # exactly if that map is right, and its covariance is the posterior one.
    loadings, means, priors = world()
    observed = {"a": np.array([False, True]), "b": np.array([True, False, True])}
    seen = [("a", 1, 0), ("a", 1, 1), ("b", 0, 0), ("b", 2, 0)]
    slopes = []
    for m, t, j in seen:
        unit = {"a": np.zeros((2, 2)), "b": np.zeros((3, 1))}
        unit[m][t, j] = 1.0
        got = gaussian.condition(loadings, observed, unit, means, priors)
        slopes.append(np.concatenate([got.z_mean, got.missing_mean]))
    _, z, _, x = simulate(loadings, means, priors, 200_000, np.random.default_rng(1))
    given = np.stack([x[m][:, t, j] for m, t, j in seen], 1)
    truth = np.concatenate([z, np.stack([x[m][:, t, j] for m, t, j in got.missing], 1)], 1)
    residual = truth - given @ np.stack(slopes)
    correlation = np.corrcoef(residual.T, given.T)[: truth.shape[1], truth.shape[1] :]
    np.testing.assert_allclose(correlation, 0, atol=0.012)  # standard error 0.0022
    np.testing.assert_allclose(np.cov(residual[:, :2].T), got.z_cov, atol=0.02)
    np.testing.assert_allclose(np.cov(residual[:, 2:].T), got.missing_cov, atol=0.04)


def test_posterior_over_classes_by_weighted_simulation():
    # Draw everything blindly, weigh each draw by the density of the observed noise it would take: no conditioning.
    loadings, means, priors = world(classes=3)
    observed = {"a": np.array([False, True]), "b": np.array([True, False, False])}
    x = {"a": np.array([[np.nan, np.nan], [0.6, -0.9]]), "b": np.array([[1.2], [np.nan], [np.nan]])}
    got = gaussian.condition(loadings, observed, x, means, priors)
    label, z, signal, draws = simulate(loadings, means, priors, 300_000, np.random.default_rng(2))
    log_weight = np.zeros(len(z))
    for m, t in (("a", 1), ("b", 0)):
        s = loadings[m][3]
        log_weight -= ((x[m][t] - signal[m][:, t]) ** 2).sum(1) / (2 * s**2)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 20_000  # effective draws: a standard error below 0.0071 deviations

    share = np.bincount(label, weight, minlength=3)
    assert np.abs(share - priors).max() > 0.05  # what was observed tells something about the class
    np.testing.assert_allclose(got.class_probability, share, atol=0.015)
    missing = np.stack([draws[m][:, t, j] for m, t, j in got.missing], 1)
    for values, mean, cov in ((z, got.z_mean, got.z_cov), (missing, got.missing_mean, got.missing_cov)):
        scale = np.sqrt(np.diag(cov))
        np.testing.assert_allclose((weight @ values - mean) / scale, 0, atol=0.03)
        simulated = np.cov(values.T, aweights=weight)
        np.testing.assert_allclose((simulated - cov) / np.outer(scale, scale), 0, atol=0.04)


@pytest.mark.parametrize("sigma", [2.0, 0.1, 1e-6, 0.0])
def test_probit_integral_is_the_closed_form(sigma):
    rng = np.random.default_rng(3)
    root, mean = rng.normal(size=(3, 3)), rng.normal(size=3)
    cov = root @ root.T
    # Scores from far narrower to far wider than the noise, offsets from the middle to far into the tails.
    scale = 10 ** rng.uniform(-3, 2, size=100)
    w, b = rng.normal(size=(100, 3)) * scale[:, None], 3 * rng.normal(size=100) * scale
    expected = norm.cdf((w @ mean + b) / np.sqrt(np.einsum("ci,ij,cj->c", w, cov, w) + sigma**2))
    assert ((0.1 < expected) & (expected < 0.9)).sum() > 20
    np.testing.assert_allclose(gaussian.probit(mean, cov, w, b, sigma), expected, atol=1e-10)


def test_probit_of_a_known_score_by_hand():
    # No spread in w.z = 1: P(e > -1) with deviation 2, then without noise; an even score is a coin toss.
    mean, none = np.array([1.0]), np.zeros((1, 1))
    np.testing.assert_allclose(gaussian.probit(mean, none, [[1.0]], [0.0], 2.0), norm.cdf(0.5))
    np.testing.assert_array_equal(gaussian.probit(mean, none, [[1.0], [1.0]], [0.0, -2.0], 0.0), [1.0, 0.0])
    np.testing.assert_allclose(gaussian.probit(mean, np.eye(1), [[3.0]], [-3.0], 0.5), 0.5, atol=1e-12)
