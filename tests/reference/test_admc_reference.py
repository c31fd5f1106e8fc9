"""The slow ADMC reference against torch's own modules, closed forms of Gaussian data and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.nn import functional

from tests.reference import admc

DOUBLE = torch.float64
PAPER = admc.schedule(1000, 0.0003, 0.06)
SHORT = admc.schedule(4, 0.1, 0.4)
B, M, D, WIDTH, HEADS = 3, 3, 5, 12, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def column(*values):
    """One row, one modality: (1, 1, d)."""
    return np.array([[values]], dtype=float)


def never(*args):
    raise AssertionError(f"asked for {args}")


def never_read(n, u):
    return np.full((1, 1, 1), np.nan)


# -------------------------------------------------------------------------------------------------------------- schedule


def test_schedule_by_hand():
    beta, alpha, abar = SHORT
    np.testing.assert_allclose(beta, [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-14)
    np.testing.assert_allclose(alpha, [1, 0.9, 0.8, 0.7, 0.6], rtol=1e-14)
    np.testing.assert_allclose(abar, [1, 0.9, 0.72, 0.504, 0.3024], rtol=1e-14)
    assert [values[0] for values in SHORT] == [0, 1, 1]


def test_schedule_of_the_paper():
    beta, alpha, abar = PAPER
    assert len(beta) == len(alpha) == len(abar) == 1001
    assert (beta[1], beta[1000]) == (0.0003, pytest.approx(0.06, rel=1e-14))
    torch.testing.assert_close(torch.tensor(beta[1:]), torch.linspace(0.0003, 0.06, 1000, dtype=DOUBLE))
    # At n = 50 nearly all of the data is left, at the last step nothing.
    # -log(1 - x) is x + x^2 / 2 to within 2e-6 here: exp(-0.0882 - 0.0001).
    betas = [0.0003 + k * 0.0597 / 999 for k in range(50)]
    assert abar[50] == pytest.approx(math.exp(-sum(b + b * b / 2 for b in betas)), rel=2e-6)
    assert abar[50] == pytest.approx(0.916, abs=1e-3)
    assert abar[1000] == pytest.approx(4e-14, abs=5e-15)


def test_schedule_of_one_step():
    assert [values.tolist() for values in admc.schedule(1, 0.25, 0.5)] == [[0, 0.25], [1, 0.75], [1, 0.75]]


# --------------------------------------------------------------------------------------------------------------- forward


def test_q_sample_by_hand():
    F0, eps = np.array([[[2.0]], [[2.0]], [[2.0]]]), np.array([[[10.0]], [[10.0]], [[10.0]]])
    abar = np.array([1, 0.64, 0.36])
    np.testing.assert_allclose(admc.q_sample(F0, np.array([2, 0, 1]), eps, abar).ravel(), [9.2, 2, 7.6], rtol=1e-14)
    np.testing.assert_allclose(admc.q_sample(F0, 1, eps, abar).ravel(), [7.6] * 3, rtol=1e-14)


@pytest.mark.parametrize("n", [1, 50, 300])
def test_single_steps_compose_to_q_sample(n):
    """Everything is linear, so mean and variance after n steps are read off by one unit of data or noise at a time."""
    units = np.eye(n + 1)[None]  # row 0 the data, row k the noise of step k; the tokens are n + 1 separate worlds
    state = units[:, :, :1]
    for k in range(1, n + 1):
        state = admc.forward_step(state, k, units[:, :, k : k + 1], PAPER)
    unit, nothing = column(1), column(0)
    assert state[0, 0, 0] == pytest.approx(admc.q_sample(unit, n, nothing, PAPER[2]).item(), rel=1e-12)
    spread = math.sqrt((state[0, 1:, 0] ** 2).sum())
    assert spread == pytest.approx(admc.q_sample(nothing, n, unit, PAPER[2]).item(), rel=1e-10)


# --------------------------------------------------------------------------------------------------------------- reverse


def test_reverse_step_by_hand():
    schedule = [np.array(values) for values in ([0, 0.36, 0.75], [1, 0.64, 0.25], [1, 0.64, 0.16])]
    # n = 2: (2 - 0.75 / sqrt(0.84) * 1.4) / 0.5, and the variance of the noise is 0.75 * 0.36 / 0.84 or 0.75.
    mean = 4 - 2.1 / math.sqrt(0.84)
    step = [column(2), 2, column(1.4), column(1), schedule]
    assert admc.reverse_step(*step, "beta").item() == pytest.approx(mean + math.sqrt(0.75), rel=1e-14)
    assert admc.reverse_step(*step, "posterior").item() == pytest.approx(mean + math.sqrt(0.27 / 0.84), rel=1e-14)
    # n = 1: (2 - 0.36 / 0.6 * 1.4) / 0.8, and noise is not even read.
    step = [column(2), 1, column(1.4), column(np.nan), schedule]
    for variance in admc.VARIANCES:
        assert admc.reverse_step(*step, variance).item() == pytest.approx(1.45, rel=1e-14)
    with pytest.raises(ValueError, match="variance 'learned'"):
        admc.reverse_step(*step, "learned")


def brute_force_posterior(n, x0, x_n, schedule):
    """Mean and variance of F^{n-1} given F^n = x_n and F^0 = x0, by conditioning the joint Gaussian of the two."""
    beta, alpha, abar = schedule
    joint = np.array([[1 - abar[n - 1], math.sqrt(alpha[n]) * (1 - abar[n - 1])], [0, 0]])
    joint[1] = joint[0, 1], alpha[n] * (1 - abar[n - 1]) + beta[n]
    mean = np.array([math.sqrt(abar[n - 1]), math.sqrt(alpha[n] * abar[n - 1])]) * x0
    gain = joint[0, 1] / joint[1, 1]
    return mean[0] + gain * (x_n - mean[1]), joint[0, 0] - gain * joint[1, 0]


@pytest.mark.parametrize("n", [2, 3, 50, 400])
def test_reverse_step_with_the_true_noise_is_the_posterior(n):
    x0, eps = 0.7, -1.3
    x_n = math.sqrt(PAPER[2][n]) * x0 + math.sqrt(1 - PAPER[2][n]) * eps
    mean, variance = brute_force_posterior(n, x0, x_n, PAPER)
    for clip in (None, 5.0):
        args = column(x_n), n, column(eps)
        still, moved = (admc.reverse_step(*args, column(z), PAPER, "posterior", clip).item() for z in (0, 1))
        assert still == pytest.approx(mean, rel=1e-9)
        assert (moved - still) ** 2 == pytest.approx(variance, rel=1e-9)
        still, moved = (admc.reverse_step(*args, column(z), PAPER, "beta", clip).item() for z in (0, 1))
        assert still == pytest.approx(mean, rel=1e-9)
        assert (moved - still) ** 2 == pytest.approx(PAPER[0][n], rel=1e-9)


def test_clip_that_clips_nothing_changes_nothing(rng):
    state, eps_hat, noise = rng.standard_normal((3, 4, 2, 3))
    for n in (np.array([1, 2, 20, 300]), np.array([700, 1000, 1, 5])):
        for variance in admc.VARIANCES:
            plain = admc.reverse_step(state, n, eps_hat, noise, PAPER, variance)
            # At step 1000 the implied data is millions large, so only a bound beyond all that is one without effect.
            wide = admc.reverse_step(state, n, eps_hat, noise, PAPER, variance, clip=1e9)
            np.testing.assert_allclose(wide, plain, rtol=1e-9, atol=1e-12)


def test_clip_by_hand():
    # The implied data 10, 0.5 and -10 become 2, 0.5 and -2, each number on its own.
    n, data = 3, np.array([10, 0.5, -10])
    held = np.array([2, 0.5, -2])
    state = np.array([1.0, 2.0, 3.0])
    eps_hat = (state - math.sqrt(0.504) * data) / math.sqrt(1 - 0.504)
    got = admc.reverse_step(column(*state), n, column(*eps_hat), column(0, 0, 0), SHORT, "beta", clip=2)
    expected = [brute_force_posterior(n, x0, x, SHORT)[0] for x0, x in zip(held, state)]
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-12)
    # The last step ends on the clipped data itself.
    eps_hat = (state - math.sqrt(0.9) * data) / math.sqrt(0.1)
    got = admc.reverse_step(column(*state), 1, column(*eps_hat), column(np.nan, 0, 0), SHORT, "beta", clip=2)
    np.testing.assert_allclose(got.ravel(), held, rtol=1e-12)


def test_every_row_has_its_own_step(rng):
    state, eps_hat, noise = rng.standard_normal((3, 3, 2, 2))
    n, later = np.array([4, 1, 2]), np.array([1, 0, 1])
    rows = [slice(b, b + 1) for b in range(3)]
    for clip in (None, 0.5):
        together = admc.reverse_step(state, n, eps_hat, noise, SHORT, "posterior", clip)
        alone = [
            admc.reverse_step(state[b], int(n[b][0]), eps_hat[b], noise[b], SHORT, "posterior", clip) for b in rows
        ]
        np.testing.assert_array_equal(together, np.concatenate(alone))
    together = admc.ddim_step(state, n, later, eps_hat, SHORT[2])
    alone = [admc.ddim_step(state[b], int(n[b][0]), int(later[b][0]), eps_hat[b], SHORT[2]) for b in rows]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    together = admc.forward_step(state, n, noise, SHORT)
    np.testing.assert_array_equal(
        together, np.concatenate([admc.forward_step(state[b], n[b], noise[b], SHORT) for b in rows])
    )


def gaussian_denoiser(mean, deviation, abar):
    """E[eps | F^n] when every number of the data is N(mean, deviation^2)."""

    def denoise(state, n):
        total = abar[n] * deviation**2 + 1 - abar[n]
        return math.sqrt(1 - abar[n]) * (state - math.sqrt(abar[n]) * mean) / total

    return denoise


@pytest.mark.parametrize("variance, deviation", [("beta", 1.0), ("posterior", 0.0)])
def test_reverse_steps_keep_gaussian_marginals_exactly(variance, deviation):
    """One choice of sigma_n is exact for data of unit variance, the other for data that is one point (Ho et al. 2020)."""
    denoise, mean = gaussian_denoiser(1.5, deviation, PAPER[2]), 1.5
    center, spread = math.sqrt(PAPER[2][1000]) * mean, PAPER[2][1000] * deviation**2 + 1 - PAPER[2][1000]
    for n in range(1000, 1, -1):
        probes = column(center, center + 1, center)  # at the mean, off the mean, at the mean with noise
        out = admc.reverse_step(probes, n, denoise(probes, n), column(0, 0, 1), PAPER, variance).ravel()
        center, spread = out[0], (out[1] - out[0]) ** 2 * spread + (out[2] - out[0]) ** 2
        left = PAPER[2][n - 1]
        assert center == pytest.approx(math.sqrt(left) * mean, abs=1e-8)
        assert spread == pytest.approx(left * deviation**2 + 1 - left, rel=1e-8)


@pytest.mark.parametrize("variance", admc.VARIANCES)
def test_complete_generates_gaussian_data(variance, rng):
    """5000 one-dimensional worlds side by side, nothing available; both choices of sigma_n are close with 1000 steps."""
    shape = (1, 1, 5000)
    known = np.full(shape, np.nan), np.array([[False]])
    denoise = gaussian_denoiser(2.0, 0.5, PAPER[2])
    got = admc.complete(*known, denoise, 1000, lambda n, u: rng.standard_normal(shape), never_read, PAPER, variance)
    assert got.mean() == pytest.approx(2, abs=4 * 0.5 / math.sqrt(5000))
    assert got.std() == pytest.approx(0.5, rel=4 / math.sqrt(2 * 5000) + 0.01)


def correlated_denoiser(covariance, abar):
    """E[eps | F^n] of two modalities, one number each, N(0, covariance); worlds side by side as channels."""

    def denoise(state, n):
        total = abar[n] * covariance + (1 - abar[n]) * np.eye(2)
        return math.sqrt(1 - abar[n]) * np.einsum("ij,bjd->bid", np.linalg.inv(total), state)

    return denoise


def test_resampling_completes_from_what_is_known(rng):
    """Of x ~ N(0, [[1, .9], [.9, 1]]) the first is 1.5: the second should be N(1.35, .19); RePaint gets there with U."""
    shape = (1, 2, 2000)
    schedule = admc.schedule(60, 1e-3, 0.25)
    denoise = correlated_denoiser(np.array([[1, 0.9], [0.9, 1]]), schedule[2])
    F0, available = np.full(shape, 1.5), np.array([[True, False]])
    F0[:, 1] = np.nan

    def draw(n, u):
        return rng.standard_normal(shape)

    means, deviations = {}, {}
    for start, U in ((0, 1), (60, 1), (60, 20)):
        got = admc.complete(F0, available, denoise, start, draw, draw, schedule, "beta", U, draw)
        assert (got[0, 0] == 1.5).all()
        means[start, U], deviations[start, U] = got[0, 1].mean(), got[0, 1].std()
    assert means[0, 1] == pytest.approx(0, abs=0.1)  # never told
    assert abs(means[60, 20] - 1.35) < abs(means[60, 1] - 1.35) - 0.1
    assert means[60, 20] == pytest.approx(1.35, abs=0.08)
    assert deviations[60, 20] == pytest.approx(math.sqrt(0.19), abs=0.05)


# ------------------------------------------------------------------------------------------------------------------ DDIM


def test_ddim_with_the_true_noise_stays_on_the_forward_path(rng):
    F0, eps = rng.standard_normal((2, B, M, D))
    n, later = np.array([600, 50, 7]), np.array([50, 0, 6])
    state = admc.q_sample(F0, n, eps, PAPER[2])
    expected = admc.q_sample(F0, later, eps, PAPER[2])
    np.testing.assert_allclose(admc.ddim_step(state, n, later, eps, PAPER[2]), expected, rtol=1e-8, atol=1e-9)
    for step, to in ((5, 5), (5, 6)):
        with pytest.raises(ValueError, match=f"from level 5 to level {to}"):
            admc.ddim_step(state, step, to, eps, PAPER[2])


def test_ddim_by_hand():
    # Data (1 - 0.8 * 0.5) / 0.6 = 1; 0.8 * 1 + 0.6 * 0.5.
    abar = np.array([1, 0.64, 0.36])
    assert admc.ddim_step(column(1), 2, 1, column(0.5), abar).item() == pytest.approx(1.1, rel=1e-14)
    assert admc.ddim_step(column(1), 2, 0, column(0.5), abar).item() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("stride", [1, 10])
def test_ddim_carries_gaussian_noise_to_the_data(stride):
    """The flow takes the quantile z of F^N to the quantile z of the data, m + s z; its error is that of Euler's steps."""
    denoise, z = gaussian_denoiser(2.0, 0.5, PAPER[2]), np.array([-2, 0, 1.5])
    state = column(*z)
    for n in range(1000, 0, -stride):
        state = admc.ddim_step(state, n, n - stride, denoise(state, n), PAPER[2])
    np.testing.assert_allclose(state.ravel(), 2 + 0.5 * z, atol=0.006 * stride)


# ----------------------------------------------------------------------------------------------------- merge and complete


def test_merge_by_hand():
    abar = np.array([1, 0.64])
    F0 = np.array([[[5, 5], [np.nan, np.nan]], [[np.nan, np.nan], [10, 20]]])
    state = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])
    eps = np.array([[[5, -5], [np.nan, np.nan]], [[np.nan, np.nan], [0, 1]]])
    available = np.array([[True, False], [False, True]])
    before = state.copy()
    got = admc.merge(state, F0, available, 1, eps, abar)
    np.testing.assert_allclose(got, [[[7, 1], [3, 4]], [[5, 6], [8, 16.6]]], rtol=1e-14)
    np.testing.assert_array_equal(state, before)
    got = admc.merge(state, F0, available, np.array([0, 1]), eps, abar)
    np.testing.assert_allclose(got, [[[5, 5], [3, 4]], [[5, 6], [8, 16.6]]], rtol=1e-14)
    # Level 0 is the data to the last bit and reads no noise.
    data = np.array([[[0.1, 1 / 3], [0, 0]]])
    got = admc.merge(state[:1], data, available[:1], 0, np.full((1, 2, 2), np.nan), abar)
    np.testing.assert_array_equal(got, [[[0.1, 1 / 3], [3, 4]]])


@pytest.mark.parametrize(
    "start, resample, expected",
    [
        (0, 1, "x4.0 d3 x3.0 d2 x2.0 d1 x1.0"),
        (1, 1, "x4.0 d3 x3.0 d2 x2.0 k1.0 d1 x1.0 k0.0"),
        (2, 1, "x4.0 d3 x3.0 k2.0 d2 x2.0 k1.0 d1 x1.0 k0.0"),
        (3, 1, "x4.0 k3.0 d3 x3.0 k2.0 d2 x2.0 k1.0 d1 x1.0 k0.0"),
        # Step 3 is above the start and step 1 is the last: only step 2 is made three times, level 2 merged once.
        (2, 3, "x4.0 d3 x3.0 k2.0 d2 x2.0 k1.0 a2.0 d2 x2.1 k1.1 a2.1 d2 x2.2 k1.2 d1 x1.0 k0.0"),
        (3, 2, "x4.0 k3.0 d3 x3.0 k2.0 a3.0 d3 x3.1 k2.1 d2 x2.0 k1.0 a2.0 d2 x2.1 k1.1 d1 x1.0 k0.0"),
        (0, 2, "x4.0 d3 x3.0 d2 x2.0 d1 x1.0"),
        (1, 2, "x4.0 d3 x3.0 d2 x2.0 k1.0 d1 x1.0 k0.0"),
    ],
)
def test_order_of_a_completion(start, resample, expected):
    calls = []

    def draws(letter):
        def draw(n, u):
            calls.append(f"{letter}{n}.{u}")
            return np.zeros((1, 2, 1))

        return draw

    def denoise(state, n):
        calls.append(f"d{n}")
        return state

    schedule = admc.schedule(3, 0.1, 0.2)
    args = np.ones((1, 2, 1)), np.array([[True, False]]), denoise, start, draws("x"), draws("k"), schedule, "beta"
    admc.complete(*args, resample, draws("a"))
    assert " ".join(calls) == expected


def test_completion_by_hand():
    """Two steps, one number in each of two modalities, everything written out; the denoiser swaps the two tokens."""
    beta, alpha, abar = schedule = admc.schedule(2, 0.2, 0.5)  # alpha 0.8, 0.5; abar 0.8, 0.4
    tables = {
        "noise": {(3, 0): (0.3, -0.6), (2, 0): (1.1, 0.4), (2, 1): (-0.2, 0.9), (1, 0): (np.nan, np.nan)},
        "known": {(2, 0): (0.5, 9), (1, 0): (-1.5, 9), (1, 1): (0.8, 9), (0, 0): (np.nan, 9)},
        "again": {(2, 0): (0.7, -1.2)},
    }
    noise, known, again = (lambda n, u, t=t: np.array(t[n, u])[None, :, None] for t in tables.values())
    F0, available = np.array([[[3.0], [np.nan]]]), np.array([[True, False]])

    def reverse2(a, b, n1, n2, sigma):
        scale = 0.5 / math.sqrt(0.6)
        return (a - scale * b) / math.sqrt(0.5) + sigma * n1, (b - scale * a) / math.sqrt(0.5) + sigma * n2

    def last(a, b):
        return (b - 0.2 / math.sqrt(0.2) * a) / math.sqrt(0.8)

    def level1(eps):
        return math.sqrt(0.8) * 3 + math.sqrt(0.2) * eps

    for variance, sigma in (("beta", math.sqrt(0.5)), ("posterior", math.sqrt(0.5 * 0.2 / 0.6))):
        expected = {}
        for start in (0, 1, 2):
            a, b = 0.3, -0.6
            if start == 2:
                a = math.sqrt(0.4) * 3 + math.sqrt(0.6) * 0.5
            a, b = reverse2(a, b, 1.1, 0.4, sigma)
            if start > 0:
                a = level1(-1.5)
            expected[start, 1] = last(a, b)
        a, b = reverse2(math.sqrt(0.4) * 3 + math.sqrt(0.6) * 0.5, -0.6, 1.1, 0.4, sigma)
        a, b = level1(-1.5), b
        a, b = math.sqrt(0.5) * (a + 0.7), math.sqrt(0.5) * (b - 1.2)
        a, b = reverse2(a, b, -0.2, 0.9, sigma)
        expected[2, 2] = last(level1(0.8), b)
        expected[1, 2], expected[0, 2] = expected[1, 1], expected[0, 1]
        for (start, U), b in expected.items():
            got = admc.complete(
                F0, available, lambda x, n: x[:, ::-1], start, noise, known, schedule, variance, U, again
            )
            np.testing.assert_allclose(got[0, :, 0], [3, b], rtol=1e-12)


def test_completion_clips_and_passes_the_step(rng):
    draws = rng.standard_normal((6, 2, 2, 3))
    seen = []

    def denoise(state, n):
        seen.append(n)
        return np.full_like(state, -50.0)

    F0, available = np.full((2, 2, 3), 0.25), np.array([[True, False], [False, False]])
    got = admc.complete(F0, available, denoise, 2, lambda n, u: draws[n], lambda n, u: draws[n], SHORT, "beta", clip=2)
    assert seen == [4, 3, 2, 1]
    expected = np.full((2, 2, 3), 2.0)  # the implied data is far above the bound
    expected[0, 0] = 0.25
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_completion_starts_inside_the_steps():
    for start in (-1, 5):
        with pytest.raises(ValueError, match=f"start {start} is outside 0 .. 4"):
            admc.complete(column(0), np.array([[True]]), never, start, never, never, SHORT, "beta")


# -------------------------------------------------------------------------------------------------------------- networks


def encoder_shapes(width, depth):
    shapes = {"encoder.norm": (width,)}
    for name in (f"encoder.layers.{layer}" for layer in range(depth)):
        shapes |= {f"{name}.attention.qkv": (3 * width, width), f"{name}.attention.out": (width, width)}
        shapes |= {f"{name}.ffn.0": (4 * width, width), f"{name}.ffn.2": (width, 4 * width)}
        shapes |= {f"{name}.norm1": (width,), f"{name}.norm2": (width,)}
    return shapes


def random_weights(rng, shapes):
    """A weight and a bias for each name, large enough that softmax, silu and ReLU leave their linear range."""
    weights = {}
    for name, shape in shapes.items():
        draw = rng.standard_normal(shape)
        weights[f"{name}.weight"] = 1 + 0.3 * draw if len(shape) == 1 else 2 * draw / math.sqrt(math.prod(shape[1:]))
        weights[f"{name}.bias"] = 0.3 * rng.standard_normal(shape[0])
    return weights


def denoiser_weights(rng, depth=2):
    shapes = encoder_shapes(WIDTH, depth) | {"inward": (WIDTH, D), "outward": (D, WIDTH)}
    weights = random_weights(rng, shapes | {"time.0": (WIDTH, WIDTH), "time.2": (WIDTH, WIDTH)})
    return weights | {"modality": rng.standard_normal((M, WIDTH)), "known": rng.standard_normal(WIDTH)}


def torch_linear(weights, name, x):
    return functional.linear(x, *(torch.tensor(weights[f"{name}.{part}"]) for part in ("weight", "bias")))


def torch_encoder(weights, x, depth, heads):
    """torch's own pre-norm layers and a last LayerNorm, x (B, tokens, width)."""
    names = {"self_attn.out_proj": "attention.out", "linear1": "ffn.0", "linear2": "ffn.2"}
    names |= {"norm1": "norm1", "norm2": "norm2"}
    width = x.shape[2]
    for prefix in (f"encoder.layers.{layer}" for layer in range(depth)):
        module = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0, batch_first=True, norm_first=True, dtype=DOUBLE
        )
        state = {
            f"{a}.{part}": weights[f"{prefix}.{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")
        }
        state |= {f"self_attn.in_proj_{part}": weights[f"{prefix}.attention.qkv.{part}"] for part in ("weight", "bias")}
        module.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        x = module(x)
    last = [torch.tensor(weights[f"encoder.norm.{part}"]) for part in ("weight", "bias")]
    return functional.layer_norm(x, (width,), *last)


def torch_time(weights, n):
    """Sines and cosines from one complex exponential, so that their order is not copied from the reference."""
    rate = torch.exp(-math.log(10000) * torch.arange(0, WIDTH, 2, dtype=DOUBLE) / WIDTH)
    turn = torch.exp(1j * n * rate)
    table = torch.zeros(WIDTH, dtype=DOUBLE)
    table[0::2], table[1::2] = turn.imag, turn.real
    return torch_linear(weights, "time.2", functional.silu(torch_linear(weights, "time.0", table)))


def torch_denoiser(weights, x, n, depth, known=None):
    tokens = torch_linear(weights, "inward", torch.tensor(x))
    if known is not None:
        clean = torch_linear(weights, "inward", torch.tensor(known[0])) + torch.tensor(weights["known"])
        tokens = torch.where(torch.tensor(known[1])[:, :, None], clean, tokens)
    tokens = tokens + torch.tensor(weights["modality"])
    tokens = tokens + torch.stack([torch_time(weights, int(k)) for k in n])[:, None]
    return torch_linear(weights, "outward", torch_encoder(weights, tokens, depth, HEADS)).detach().numpy()


def test_position_by_hand():
    np.testing.assert_allclose(admc.position(0, 4), [0, 1, 0, 1], atol=0)
    expected = [math.sin(7), math.cos(7), math.sin(0.07), math.cos(0.07)]
    np.testing.assert_allclose(admc.position(7, 4), expected, rtol=1e-14)
    np.testing.assert_allclose(admc.position(7, 3)[:2], expected[:2], rtol=1e-14)
    assert admc.position(7, 3)[2] == pytest.approx(math.sin(7 / 10000 ** (2 / 3)), rel=1e-14)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_denoiser_is_torchs_transformer(rng, depth):
    weights, x, n = denoiser_weights(rng, depth), rng.standard_normal((B, M, D)), np.array([1, 50, 1000])
    got = admc.denoiser(x, n, weights, HEADS)
    np.testing.assert_allclose(got, torch_denoiser(weights, x, n, depth), rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(admc.denoiser(x, 50, weights, HEADS)[1], got[1])
    with pytest.raises(ValueError, match="width 12 cannot be divided among 5 heads"):
        admc.denoiser(x, n, denoiser_weights(rng), 5)


def test_attention_is_torchs(rng):
    tokens = 2 * rng.standard_normal((4, WIDTH))
    weights = random_weights(rng, {"a.qkv": (3 * WIDTH, WIDTH), "a.out": (WIDTH, WIDTH)})
    split = torch_linear(weights, "a.qkv", torch.tensor(tokens)).reshape(4, 3, HEADS, -1)  # token, part, head
    q, k, v = split.permute(1, 2, 0, 3)
    joined = functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
    got = np.array(admc.attention(weights, "a", list(tokens), HEADS))
    np.testing.assert_allclose(got, torch_linear(weights, "a.out", joined).numpy(), rtol=1e-10, atol=1e-12)


def test_conditional_denoiser(rng):
    weights, n = denoiser_weights(rng), np.array([1, 50, 1000])
    F0, x = rng.standard_normal((2, B, M, D))
    available = np.array([[True, False, False], [False, True, True], [False, False, False]])
    expected = torch_denoiser(weights, x, n, 2, (F0, available))
    # Each token is read from one of the two, whatever the other holds.
    x[available], F0[~available] = np.nan, np.nan
    got = admc.denoiser(x, n, weights, HEADS, (F0, available))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(got[2], admc.denoiser(x[2:], 1000, weights, HEADS)[0])


def test_tokens_differ_by_their_modality_alone(rng):
    weights, x = denoiser_weights(rng), rng.standard_normal((1, M, D))
    order = [2, 0, 1]
    moved = admc.denoiser(x[:, order], 9, weights | {"modality": weights["modality"][order]}, HEADS)
    np.testing.assert_allclose(moved, admc.denoiser(x, 9, weights, HEADS)[:, order], rtol=1e-10)
    assert np.abs(admc.denoiser(x[:, order], 9, weights, HEADS) - moved).max() > 0.01


def fusion_weights(rng, d, classes, depth=2):
    shapes = encoder_shapes(WIDTH, depth) | {f"project.{i}": (WIDTH, d) for i in range(M)}
    return random_weights(rng, shapes | {"head.0": (7, WIDTH), "head.2": (classes, 7)})


@pytest.mark.parametrize("d", [D, 2 * D])
def test_fusion_is_torchs_transformer(rng, d):
    weights, x = fusion_weights(rng, d, 4), rng.standard_normal((B, M, d))
    tokens = torch.stack([torch_linear(weights, f"project.{i}", torch.tensor(x[:, i])) for i in range(M)], 1)
    head = nn.Sequential(nn.Linear(WIDTH, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    head.load_state_dict({k[5:]: torch.tensor(v) for k, v in weights.items() if k.startswith("head.")})
    expected = head(torch_encoder(weights, tokens, 2, HEADS).mean(1)).detach().numpy()
    got = admc.fusion(x, weights, HEADS)
    assert got.shape == (B, 4)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


def test_enhance_by_hand():
    a, b = np.array([[[1, 2], [3, 4]]]), np.array([[[5, 6], [7, 8]]])
    np.testing.assert_array_equal(admc.enhance(a, b), [[[1, 2, 5, 6], [3, 4, 7, 8]]])


# ---------------------------------------------------------------------------------------------------- feature extractors


FRAMES = np.array([[c == "1" for c in row] for row in ("11111111", "01101001", "10000000", "00000000", "00000001")])


@pytest.fixture
def sequences(rng):
    x = rng.standard_normal((*FRAMES.shape, D))
    x[~FRAMES] = np.nan
    return x


def test_lstm_pool_is_torchs(rng, sequences):
    module = nn.LSTM(D, 6, batch_first=True, dtype=DOUBLE)
    weights = {name: rng.standard_normal(value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    got = admc.lstm_pool(sequences, FRAMES, weights)
    for row, x, frames in zip(got, sequences, FRAMES):
        if frames.any():
            states = module(torch.tensor(x[frames])[None])[0][0].detach().numpy()
            np.testing.assert_allclose(row, states.max(0), rtol=1e-10)
        else:
            np.testing.assert_array_equal(row, np.zeros(6))


def test_lstm_pool_by_hand():
    """One unit whose gates are all open but the candidate's: c counts up by tanh(x), h = tanh(c); the last is not max."""
    weights = {"weight_ih_l0": np.array([[0.0], [0], [1], [0]]), "weight_hh_l0": np.zeros((4, 1))}
    weights |= {"bias_ih_l0": np.array([2000.0, 2000, 0, 1000]), "bias_hh_l0": np.array([-1000.0, -1000, 0, 0])}
    x = np.array([[[0.5], [np.nan], [1.0], [-3.0]]])
    got = admc.lstm_pool(x, np.array([[True, False, True, True]]), weights)
    assert got.item() == pytest.approx(math.tanh(math.tanh(0.5) + math.tanh(1)), rel=1e-14)
    # States below zero stay what they are; the zeros of rows without frames are no state.
    got = admc.lstm_pool(-np.abs(x), np.array([[True, False, True, True]]), weights)
    assert got.item() == pytest.approx(math.tanh(math.tanh(-0.5)), rel=1e-14)


def test_textcnn_is_torchs(rng, sequences):
    shapes = {f"convolutions.{k}": (4, D, h) for k, h in enumerate((3, 4, 5))} | {"out": (6, 12)}
    weights = random_weights(rng, shapes)
    x = torch.tensor(np.where(FRAMES[:, :, None], sequences, 0)).transpose(1, 2)
    pooled = []
    for k, h in enumerate((3, 4, 5)):
        module = nn.Conv1d(D, 4, h, dtype=DOUBLE)
        module.load_state_dict({p: torch.tensor(weights[f"convolutions.{k}.{p}"]) for p in ("weight", "bias")})
        maps = module(functional.pad(x, {3: (1, 1), 4: (2, 1), 5: (2, 2)}[h])).relu().detach().numpy()
        assert maps.shape == (len(FRAMES), 4, FRAMES.shape[1])
        pooled.append([m[:, f].max(1) if f.any() else np.zeros(4) for m, f in zip(maps, FRAMES)])
    expected = torch_linear(weights, "out", torch.tensor(np.concatenate(pooled, 1))).relu().numpy()
    got = admc.textcnn(sequences, FRAMES, weights)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got[3], np.maximum(weights["out.bias"], 0), rtol=1e-14)


def test_textcnn_by_hand():
    """Kernels that read the first frame of their window or its last one, on 1 2 3 4 where all or one frame counts."""
    weights = {"out.weight": np.eye(6), "out.bias": np.zeros(6)}
    for k, h in enumerate((3, 4, 5)):
        weights[f"convolutions.{k}.weight"] = np.zeros((2, 1, h))
        weights[f"convolutions.{k}.weight"][0, 0, 0] = weights[f"convolutions.{k}.weight"][1, 0, -1] = 1
        weights[f"convolutions.{k}.bias"] = np.array([-0.5, 0.5])
    x = np.arange(1.0, 5)[None, :, None]
    got = admc.textcnn(x, np.array([[True] * 4]), weights)
    # Windows t - 1 .. t + 1, t - 2 .. t + 1 and t - 2 .. t + 2: the last frame of all is reached by their ends.
    np.testing.assert_allclose(got, [[2.5, 4.5, 1.5, 4.5, 1.5, 4.5]], rtol=1e-14)
    got = admc.textcnn(x, np.array([[False, False, True, False]]), weights)
    # Only the window around frame 2 counts, whose ends see unobserved frames, zeros; relu of -0.5 is 0.
    np.testing.assert_allclose(got, [[0, 0.5, 0, 0.5, 0, 0.5]], rtol=1e-14)


# --------------------------------------------------------------------------------------------------------------- metrics


def test_ua_by_hand_and_as_sklearn(rng):
    truth, prediction = [0, 0, 0, 0, 2, 2], [0, 0, 1, 0, 0, 2]
    assert admc.ua(truth, prediction) == (3 / 4 + 1 / 2) / 2
    truth, prediction = rng.integers(0, 4, (2, 50))
    assert admc.ua(truth, prediction) == pytest.approx(balanced_accuracy_score(truth, prediction), rel=1e-14)
    assert admc.ua(truth, truth) == 1


def test_wa_as_printed_by_hand():
    # Class 0: TP 2, TN 1, N 3; class 1: TP 1, TN 3, N 1; class 2: TP 0, TN 4, N 1.
    truth, prediction = [0, 0, 0, 1, 2], [0, 0, 1, 1, 0]
    expected = (0.5 * 3 + 1 * 4 + 2 * 4) / (0.5 * 3 + 1 * 1 + 2 * 1)
    assert admc.wa_as_printed(truth, prediction, [0.5, 1, 2]) == pytest.approx(expected, rel=1e-14)
    # Perfect predictions of C classes score C with equal weights: what is printed is no accuracy.
    assert admc.wa_as_printed([0, 1, 2, 3], [0, 1, 2, 3], [1, 1, 1, 1]) == 4
