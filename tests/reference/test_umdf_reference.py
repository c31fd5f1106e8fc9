"""The slow UMDF reference against numbers worked out by hand, torch's and scipy's own functions, and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon, pdist
from torch import nn
from torch.nn import functional

from tests.reference import umdf

DOUBLE = torch.float64
CONFIG = umdf.Config(layers=2, heads=2, depth=2)
TASKS = {"regression": 1, "multiclass": 4, "multilabel": 3, "multibinary": 3}  # and a number of outputs


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def flags(text):
    return torch.tensor([c == "1" for c in text])


def random_weights(widths, d, classes, cfg, hidden=5, seed=4):
    """Weights of every name, float64, large enough that softmax, sigmoid and ReLU leave their linear range.

    Norms stay close to the identity, biases and what attention adds small: otherwise each layer brings steps and samples
    closer together, after a few of them all outputs are the same, and a test of which step is read passes for every step.
    """
    generator = torch.Generator().manual_seed(seed)
    M = len(widths)
    shapes = {"dfim.score": (1, M * d), "dfim.gate": (M * d, 2 * M * d, 3), "dfim.project": (M * d, 2 * M * d)}
    shapes |= {"head": (classes, M * d)} | {f"embed.{m}": (d, width, 3) for m, width in enumerate(widths)}
    for name in (f"mcim.{layer}.{m}" for layer in range(cfg.layers) for m in range(M)):
        for attention in ["coarse"] + [f"fine.{k}" for k in range(M - 1)]:
            shapes |= {f"{name}.{attention}.{part}": (d, d) for part in ("q", "out")}
            shapes |= {f"{name}.{attention}.kv": (2 * d, d), f"{name}.norm_{attention}": (d,)}
        shapes |= {f"{name}.ffn.0": (hidden, d), f"{name}.ffn.1": (d, hidden), f"{name}.norm_ffn": (d,)}
    for name in (f"{stack}.{layer}" for stack in ("joint", "dfim.encoder") for layer in range(cfg.depth)):
        shapes |= {f"{name}.attention.qkv": (3 * M * d, M * d), f"{name}.attention.out": (M * d, M * d)}
        shapes |= {f"{name}.ffn.0": (hidden, M * d), f"{name}.ffn.1": (M * d, hidden)}
        shapes |= {f"{name}.norm1": (M * d,), f"{name}.norm2": (M * d,)}
    shapes |= {"joint.norm": (M * d,), "dfim.encoder.norm": (M * d,)}
    w = {}
    for name, shape in shapes.items():
        draw = torch.randn(shape, generator=generator, dtype=DOUBLE)
        gain = (0.6 if name.endswith(".out") else 2) / math.sqrt(math.prod(shape[1:]))
        w[f"{name}.weight"] = 1 + 0.2 * draw if len(shape) == 1 else gain * draw
        w[f"{name}.bias"] = torch.randn(shape[0], generator=generator, dtype=DOUBLE) * 0.2
    return w


def identity(w, name, d, copies=1):
    w[f"{name}.weight"] = torch.eye(d, dtype=DOUBLE).repeat(copies, 1)
    w[f"{name}.bias"] = torch.zeros(copies * d, dtype=DOUBLE)


# ----------------------------------------------------------------------------------- the same functions built from torch


def torch_linear(w, name, x):
    return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def torch_norm(w, name, x):
    module = nn.LayerNorm(x.shape[-1], dtype=DOUBLE)
    module.load_state_dict({"weight": w[f"{name}.weight"], "bias": w[f"{name}.bias"]})
    return module(x)


def torch_convolution(w, name, x):
    return functional.conv1d(x.T[None], w[f"{name}.weight"], w[f"{name}.bias"], padding=1)[0].T


def torch_ca(w, name, source, target, heads):
    module = nn.MultiheadAttention(target.shape[1], heads, dtype=DOUBLE)
    state = {}
    for part in ("weight", "bias"):
        state[f"in_proj_{part}"] = torch.cat([w[f"{name}.q.{part}"], w[f"{name}.kv.{part}"]])
        state[f"out_proj.{part}"] = w[f"{name}.out.{part}"]
    module.load_state_dict(state)
    return module(target, source, source, need_weights=False)[0]


def torch_encoder(w, name, x, depth, heads):
    names = {"self_attn.out_proj": "attention.out", "linear1": "ffn.0", "linear2": "ffn.1"}
    names |= {"norm1": "norm1", "norm2": "norm2"}
    for layer in range(depth):
        prefix = f"{name}.{layer}"
        hidden = len(w[f"{prefix}.ffn.0.bias"])
        module = nn.TransformerEncoderLayer(x.shape[1], heads, hidden, dropout=0, norm_first=True, dtype=DOUBLE)
        state = {f"{a}.{part}": w[f"{prefix}.{b}.{part}"] for a, b in names.items() for part in ("weight", "bias")}
        state |= {f"self_attn.in_proj_{part}": w[f"{prefix}.attention.qkv.{part}"] for part in ("weight", "bias")}
        module.load_state_dict(state)
        x = module(x)
    last = {part: w[f"{name}.norm.{part}"] for part in ("weight", "bias")}
    return nn.functional.layer_norm(x, x.shape[1:], **last) if depth else x


def torch_mcim_layer(w, name, Z, heads):
    """Written out for three modalities, nothing shared with the reference's loop over the others."""
    out = []
    for m, others in enumerate(((1, 2), (0, 2), (0, 1))):
        p = f"{name}.{m}"
        coarse = torch_ca(w, f"{p}.coarse", torch.cat([Z[0], Z[1], Z[2]]), Z[m], heads)
        coarse = torch_norm(w, f"{p}.norm_coarse", coarse + Z[m])
        first = torch_ca(w, f"{p}.fine.0", torch.cat([Z[m], Z[others[0]]]), coarse, heads)
        second = torch_ca(w, f"{p}.fine.1", torch.cat([Z[m], Z[others[1]]]), coarse, heads)
        first = torch_norm(w, f"{p}.norm_fine.0", first + coarse)
        fine = first + torch_norm(w, f"{p}.norm_fine.1", second + coarse)
        forward = torch_linear(w, f"{p}.ffn.1", functional.relu(torch_linear(w, f"{p}.ffn.0", fine)))
        out.append(torch_norm(w, f"{p}.norm_ffn", forward + fine))
    return out


def torch_positions(T, d):
    table = torch.zeros(T, d, dtype=DOUBLE)
    frequency = torch.exp(torch.arange(0, d, 2, dtype=DOUBLE) * (-math.log(10000) / d))
    angles = torch.arange(T, dtype=DOUBLE)[:, None] * frequency
    table[:, 0::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
    return table


def torch_representation(w, xs, frames, cfg):
    Z = []
    for m, (x, observed) in enumerate(zip(xs, frames)):
        z = torch_convolution(w, f"embed.{m}", x.masked_fill(~observed[:, None], 0))
        Z.append(z + torch_positions(*z.shape))
    for layer in range(cfg.layers):
        Z = torch_mcim_layer(w, f"mcim.{layer}", Z, cfg.heads)
    T = next((len(x) for x in xs if len(x) > 1), 1)
    even = [functional.interpolate(z.T[None], size=T, mode="linear", align_corners=False)[0].T for z in Z]
    return torch_encoder(w, "joint", torch.cat(even, dim=1), cfg.depth, cfg.heads)


def torch_dfim(w, Ha, Hb, cfg):
    def enhanced(H):
        return len(H) * functional.softmax(torch_linear(w, "dfim.score", H), dim=0) * H

    both = torch.cat([enhanced(Ha), enhanced(Hb)], dim=1)
    mixed = torch.lerp(enhanced(Hb), enhanced(Ha), torch_convolution(w, "dfim.gate", both).sigmoid())
    return torch_encoder(w, "dfim.encoder", mixed, cfg.depth, cfg.heads)


def numpy_mmd2(A, B, kernel, unbiased):
    """Gram matrices of the whole union at once."""
    X, n, m = np.concatenate([A, B]), len(A), len(B)
    if kernel == "linear":
        K = X @ X.T
    else:
        squared = ((X[:, None] - X[None]) ** 2).sum(axis=2)
        # torch.median's convention: the lower of the two middle values
        median = np.quantile(pdist(X, "sqeuclidean"), 0.5, method="lower")
        K = np.mean([np.exp(-squared / (c * median)) for c in (0.25, 0.5, 1, 2, 4)], axis=0)
    aa, bb, ab = K[:n, :n], K[n:, n:], K[:n, n:]
    if not unbiased:
        return aa.mean() + bb.mean() - 2 * ab.mean()
    return (aa.sum() - aa.trace()) / (n * n - n) + (bb.sum() - bb.trace()) / (m * m - m) - 2 * ab.mean()


def view(seed, frames=("111111", "1111", "1"), widths=(3, 2, 4)):
    """One sample: lengths 6, 4 and 1."""
    generator = torch.Generator().manual_seed(seed)
    frames = [flags(f) for f in frames]
    return [torch.randn(len(f), d, generator=generator, dtype=DOUBLE) for f, d in zip(frames, widths)], frames


WIDTHS, D = (3, 2, 4), 4
VIEWS_A = [view(1), view(2, ("101100", "0000", "1")), view(3, ("000000", "1100", "0"))]
VIEWS_B = [view(1, ("000000", "0110", "0")), view(2, ("011010", "1000", "0")), view(3)]
TARGETS = {
    "regression": tensor(0.5, -1.0, 2.0),
    "multiclass": torch.tensor([3, 0, 2]),
    "multilabel": torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 0]]),
    "multibinary": tensor([1, 0, 1], [0, 1, 1], [1, 1, 0]),
}

# --------------------------------------------------------------------------------------------------------------- layers


def test_linear_and_norm_by_hand():
    w = {"f.weight": tensor([1, 2], [0, -1], [3, 0]), "f.bias": tensor(0, 10, 1)}
    assert umdf.linear(w, "f", tensor([1, 1], [2, 0])).tolist() == [[3, 9, 4], [2, 10, 7]]
    assert umdf.linear(w, "f", tensor(1, 1)).tolist() == [3, 9, 4]
    # The row (1, 3) has mean 2 and biased variance 1.
    w = {"n.weight": tensor(1, 2), "n.bias": tensor(0, 5)}
    normed = umdf.layer_norm(w, "n", tensor([1, 3], [4, 4])).numpy()
    np.testing.assert_allclose(normed, [[-1, 7], [0, 5]], atol=1e-4)
    assert normed[0, 0] == pytest.approx(-1 / math.sqrt(1 + 1e-5), rel=1e-12)


def test_layers_match_torch():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    x = torch.randn(5, 12, dtype=DOUBLE)
    torch.testing.assert_close(umdf.linear(w, "joint.0.ffn.0", x), torch_linear(w, "joint.0.ffn.0", x))
    torch.testing.assert_close(umdf.layer_norm(w, "joint.0.norm1", x), torch_norm(w, "joint.0.norm1", x))
    forward = torch_linear(w, "joint.0.ffn.1", functional.relu(torch_linear(w, "joint.0.ffn.0", x)))
    torch.testing.assert_close(umdf.ffn(w, "joint.0.ffn", x), forward)
    for T in (1, 2, 7):
        x = torch.randn(T, 3, dtype=DOUBLE)
        torch.testing.assert_close(umdf.convolve(w, "embed.0", x), torch_convolution(w, "embed.0", x))


def test_convolution_by_hand():
    w = {"c.weight": tensor([[1, 10, 100]]), "c.bias": tensor(0.5)}
    assert umdf.convolve(w, "c", tensor([1], [2], [3])).flatten().tolist() == [210.5, 321.5, 32.5]


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("heads", [1, 3])
def test_encoder_matches_torch(depth, heads):
    w = random_weights(WIDTHS, D, 1, CONFIG)
    x = torch.randn(5, 12, dtype=DOUBLE)
    ours, theirs = umdf.encoder(w, "joint", x, depth, heads), torch_encoder(w, "joint", x, depth, heads)
    torch.testing.assert_close(ours, theirs)
    assert depth > 0 or torch.equal(ours, x)


# ---------------------------------------------------------------------------------------------------------- interaction


def test_positions():
    table = umdf.positions(3, 4)
    expected = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    np.testing.assert_allclose(table[:2].numpy(), expected, rtol=1e-15)
    torch.testing.assert_close(umdf.positions(50, 40), torch_positions(50, 40))


def test_embed():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    x = torch.randn(6, 2, dtype=DOUBLE)
    torch.testing.assert_close(umdf.embed(w, "embed.1", x), torch_convolution(w, "embed.1", x) + torch_positions(6, D))
    single = {name: value.float() for name, value in w.items()}
    assert umdf.embed(single, "embed.1", x.float()).dtype == torch.float32


def test_ca_by_hand():
    # Width 2, two heads of size 1, identity projections: scores are plain products, divided by 1.
    w = {}
    identity(w, "a.q", 2)
    identity(w, "a.kv", 2, copies=2)
    identity(w, "a.out", 2)
    w["a.out.bias"] = tensor(0, 100)
    out = umdf.ca(w, "a", source=tensor([1, 0], [3, 5]), target=tensor([math.log(2), 0]), heads=2)
    # Head 0: weights 2^1 and 2^3 on the values 1 and 3. Head 1: a zero query, equal weights on 0 and 5.
    np.testing.assert_allclose(out.numpy(), [[(2 * 1 + 8 * 3) / 10, 102.5]])
    # One head of size 2 takes both columns with the same weights; its scores are divided by sqrt(2).
    out = umdf.ca(w, "a", source=tensor([1, 0], [3, 5]), target=tensor([math.sqrt(2) * math.log(2), 0]), heads=1)
    np.testing.assert_allclose(out.numpy(), [[2.6, 104]])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_ca_matches_torch(heads):
    w = random_weights(WIDTHS, D, 1, CONFIG)
    source, target = torch.randn(7, D, dtype=DOUBLE), torch.randn(3, D, dtype=DOUBLE)
    for name in ("mcim.0.0.coarse", "mcim.1.2.fine.1"):
        torch.testing.assert_close(umdf.ca(w, name, source, target, heads), torch_ca(w, name, source, target, heads))


def test_mcim_matches_torch():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Z = [torch.randn(T, D, dtype=DOUBLE) for T in (5, 2, 1)]
    one = torch_mcim_layer(w, "mcim.0", Z, 2)
    two = torch_mcim_layer(w, "mcim.1", one, 2)
    for ours, theirs in ((umdf.mcim_layer(w, "mcim.0", Z, 2, "cross"), one), (umdf.mcim(w, Z, 2, 2, "cross"), two)):
        assert len(ours) == 3
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b)
    for a, b in zip(umdf.mcim(w, Z, 0, 2, "cross"), Z):
        assert torch.equal(a, b)


def test_mcim_with_self_interaction_never_looks_across():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Z = [torch.randn(T, D, dtype=DOUBLE) for T in (5, 2, 1)]
    out = umdf.mcim_layer(w, "mcim.0", Z, 2, "self")
    z, p = Z[1], "mcim.0.1"
    coarse = torch_norm(w, f"{p}.norm_coarse", torch_ca(w, f"{p}.coarse", z, z, 2) + z)
    fine = sum(torch_norm(w, f"{p}.norm_fine.{k}", torch_ca(w, f"{p}.fine.{k}", z, coarse, 2) + coarse) for k in (0, 1))
    torch.testing.assert_close(out[1], torch_norm(w, f"{p}.norm_ffn", umdf.ffn(w, f"{p}.ffn", fine) + fine))
    others = umdf.mcim(w, [Z[0], -Z[1], Z[2]], 2, 2, "self")
    for m, same in enumerate((True, False, True)):
        assert torch.equal(others[m], umdf.mcim(w, Z, 2, 2, "self")[m]) == same
    with pytest.raises(KeyError):
        umdf.mcim_layer(w, "mcim.0", Z, 2, "none")


def test_two_and_four_modalities():
    for widths in ((3, 2), (3, 2, 4, 1)):
        w = random_weights(widths, D, 2, CONFIG)
        xs, frames = view(0, ("111", "11111", "1", "11")[: len(widths)], widths)
        assert umdf.representation(w, xs, frames, CONFIG).shape == (3, D * len(widths))
        assert umdf.predict(w, xs, frames, CONFIG).shape == (2,)


def test_resampling():
    # 4 steps to 2: positions 0.5 and 2.5. 2 steps to 4: positions -0.25 (clamped), 0.25, 0.75, 1.25 (clamped).
    assert umdf.resample(tensor([0], [10], [20], [40]), 2).flatten().tolist() == [5, 30]
    assert umdf.resample(tensor([0], [8]), 4).flatten().tolist() == [0, 2, 6, 8]
    for length, T in ((1, 1), (1, 5), (5, 1), (7, 7), (3, 8), (8, 3), (50, 20), (20, 50)):
        z = torch.randn(length, 3, dtype=DOUBLE)
        expected = functional.interpolate(z.T[None], size=T, mode="linear", align_corners=False)[0].T
        torch.testing.assert_close(umdf.resample(z, T), expected)
        assert length != T or torch.equal(umdf.resample(z, T), z)


def test_joint():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Zh = [torch.randn(T, D, dtype=DOUBLE) for T in (5, 2, 1)]
    H = umdf.joint(w, Zh, 5, 0, 2)
    assert torch.equal(H[:, :D], Zh[0])
    torch.testing.assert_close(H[:, D : 2 * D], umdf.resample(Zh[1], 5))
    torch.testing.assert_close(H[:, 2 * D :], Zh[2].expand(5, -1))
    torch.testing.assert_close(umdf.joint(w, Zh, 5, 2, 2), torch_encoder(w, "joint", H, 2, 2))


def test_common_length():
    assert umdf.common_length([1, 4, 6]) == 4
    assert umdf.common_length([6, 4, 1]) == 6
    assert umdf.common_length([1, 1]) == 1


def test_last_step_by_hand():
    assert umdf.last_step([flags("1101")], 4) == 3
    assert umdf.last_step([flags("0100"), flags("1000")], 4) == 1
    # Frame 0 of 2 covers steps 0 and 1 of 4; frame 2 of 6 ends with step 1 of 4, frame 3 of 6 reaches into step 2.
    assert umdf.last_step([flags("0000"), flags("10")], 4) == 1
    assert umdf.last_step([flags("1000"), flags("001000")], 4) == 1
    assert umdf.last_step([flags("1000"), flags("000100")], 4) == 2
    assert umdf.last_step([flags("0010"), flags("100000")], 4) == 2  # the maximum, not the last modality's
    assert umdf.last_step([flags("0000"), flags("1")], 4) == 3  # one frame fills all steps
    assert umdf.last_step([flags("1000"), flags("1")], 4) == 0
    assert umdf.last_step([flags("0000"), flags("00")], 4) == 3
    assert umdf.last_of([flags("1"), flags("00"), flags("000100")]) == 1
    assert umdf.last_of([flags("1"), flags("1")]) == 0
    for T in range(1, 8):
        for length in range(2, 8):  # the last frame always falls on the last step
            assert umdf.last_step([torch.ones(length, dtype=torch.bool)], T) == T - 1


def test_representation_matches_torch():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    for xs, frames in VIEWS_A + VIEWS_B:
        ours = umdf.representation(w, xs, frames, CONFIG)
        assert ours.shape == (6, 3 * D)
        torch.testing.assert_close(ours, torch_representation(w, xs, frames, CONFIG))


def test_random_weights_tell_steps_and_samples_apart():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Hs = [umdf.representation(w, xs, frames, CONFIG) for xs, frames in VIEWS_A + VIEWS_B]
    for steps in (Hs, [umdf.integrate(w, H, H, CONFIG) for H in Hs]):
        assert pdist(torch.cat(steps).numpy(), "chebyshev").min() > 1e-3  # far above what assert_close lets through


def test_unobserved_frames_are_zero_whatever_they_hold():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    xs, frames = view(2, ("101100", "0000", "1"))
    expected = umdf.representation(w, xs, frames, CONFIG)
    dirty = [x.clone() for x in xs]
    dirty[0][1], dirty[1][:] = math.nan, math.inf
    assert torch.equal(umdf.representation(w, dirty, frames, CONFIG), expected)
    zeros = [x * observed[:, None] for x, observed in zip(xs, frames)]
    everything = [torch.ones_like(observed) for observed in frames]
    assert torch.equal(umdf.representation(w, zeros, everything, CONFIG), expected)


# ---------------------------------------------------------------------------------------------------------- integration


def test_enhance_by_hand():
    w = {"dfim.score.weight": tensor([math.log(3), 0]), "dfim.score.bias": tensor(7)}
    H = tensor([1, 4], [0, 8])  # scores log 3 and 0 (the bias drops out): shares 3/4 and 1/4
    np.testing.assert_allclose(umdf.enhance(w, H, "none").numpy(), [[0.75, 3], [0, 2]])
    np.testing.assert_allclose(umdf.enhance(w, H, "length").numpy(), [[1.5, 6], [0, 4]])
    with pytest.raises(KeyError):
        umdf.enhance(w, H, "mean")


def test_gate_by_hand():
    # Width 1, equal shares; the gate reads only the middle tap of the second view: mu = sigmoid(H_b).
    w = {"dfim.score.weight": tensor([0]), "dfim.score.bias": tensor(0), "dfim.gate.bias": tensor(0)}
    w["dfim.gate.weight"] = tensor([[0, 0, 0], [0, 1, 0]])
    Ha, Hb = tensor([10], [20]), tensor([0], [math.log(3)])
    out = umdf.dfim(w, Ha, Hb, depth=0, heads=1, scaling="length")
    np.testing.assert_allclose(out.flatten().numpy(), [5, 0.75 * 20 + 0.25 * math.log(3)])


def test_dfim_matches_torch():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Ha, Hb = torch.randn(5, 12, dtype=DOUBLE), torch.randn(5, 12, dtype=DOUBLE)
    expected = torch_dfim(w, Ha, Hb, CONFIG)
    torch.testing.assert_close(umdf.dfim(w, Ha, Hb, 2, 2, "length"), expected)
    torch.testing.assert_close(umdf.integrate(w, Ha, Hb, CONFIG), expected)
    unscaled = replace(CONFIG, scaling="none")
    torch.testing.assert_close(umdf.integrate(w, Ha, Hb, unscaled), umdf.dfim(w, Ha, Hb, 2, 2, "none"))
    # With both streams the same, the gate has nothing to choose.
    torch.testing.assert_close(umdf.dfim(w, Ha, Ha, 0, 2, "length"), umdf.enhance(w, Ha, "length"))


def test_concatenation():
    w = random_weights(WIDTHS, D, 1, CONFIG)
    Ha, Hb = torch.randn(5, 12, dtype=DOUBLE), torch.randn(5, 12, dtype=DOUBLE)
    mixed = torch_linear(w, "dfim.project", torch.cat([Ha, Hb], dim=1))
    cfg = replace(CONFIG, integration="concatenation")
    torch.testing.assert_close(umdf.integrate(w, Ha, Hb, cfg), torch_encoder(w, "dfim.encoder", mixed, 2, 2))


def test_predict_reads_the_last_observed_step_of_two_equal_streams():
    w = random_weights(WIDTHS, D, 4, CONFIG)
    for (xs, frames), last in zip(VIEWS_A, (5, 3, 2)):  # frame 1 of 4 ends with step 2 of 6
        H = torch_representation(w, xs, frames, CONFIG)
        expected = torch_linear(w, "head", torch_dfim(w, H, H, CONFIG)[last])
        torch.testing.assert_close(umdf.predict(w, xs, frames, CONFIG), expected)


# ---------------------------------------------------------------------------------------------------- self-distillation


def test_kernel_by_hand():
    # Squared distance 4 and bandwidth 8: exponents 4 / (8 c) are 2, 1, 1/2, 1/4 and 1/8.
    expected = sum(math.exp(-e) for e in (2, 1, 0.5, 0.25, 0.125)) / 5
    assert umdf.kernel(tensor(0, 1), tensor(2, 1), 8).item() == pytest.approx(expected, rel=1e-14)
    assert umdf.kernel(tensor(1, 1), tensor(1, 1), 8).item() == 1


def test_median_bandwidth():
    # Points 0, 1, 3, 7: squared distances 1, 4, 9, 16, 36, 49, the lower middle one is 9.
    assert umdf.median_bandwidth(tensor([0], [1]), tensor([3], [7])).item() == 9
    assert umdf.median_bandwidth(tensor([0], [1]), tensor([3])).item() == 4
    assert umdf.median_bandwidth(tensor([2], [2]), tensor([2], [2])).item() == 1e-12
    A = torch.randn(4, 3, dtype=DOUBLE, requires_grad=True)
    assert not umdf.median_bandwidth(A, A.detach() + 1).requires_grad


def test_mmd_by_hand():
    # One row each: the single distance is the bandwidth, 2 - 2 k.
    k = sum(math.exp(-e) for e in (4, 2, 1, 0.5, 0.25)) / 5
    assert umdf.mmd2(tensor([0, 0]), tensor([3, 4])).item() == pytest.approx(2 - 2 * k, rel=1e-14)
    assert umdf.mmd2(tensor([0, 0]), tensor([3, 4]), estimator="unbiased").item() == 0
    # The biased linear one is the squared distance of the means, (2, 0) and (0, 1).
    A, B = tensor([1, 0], [3, 0]), tensor([0, 2], [0, 0])
    assert umdf.mmd2(A, B, kernel="linear").item() == pytest.approx(5, rel=1e-14)
    assert umdf.mmd2(A, B, kernel="linear", estimator="unbiased").item() == pytest.approx(3 + 0 - 2 * 0, rel=1e-14)
    with pytest.raises(KeyError):
        umdf.mmd2(A, B, estimator="fair")


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_mmd_matches_gram_matrices(kernel, estimator):
    for n, m in ((2, 2), (5, 5), (3, 6)):
        A, B = torch.randn(n, 4, dtype=DOUBLE), 0.5 + torch.randn(m, 4, dtype=DOUBLE)
        expected = numpy_mmd2(A.numpy(), B.numpy(), kernel, estimator == "unbiased")
        assert umdf.mmd2(A, B, kernel, estimator).item() == pytest.approx(expected, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_mmd_does_not_know_which_rows_belong_together(kernel):
    A = torch.randn(6, 3, dtype=DOUBLE)
    assert umdf.mmd2(A, A[[3, 1, 5, 0, 2, 4]], kernel).item() == pytest.approx(0, abs=1e-14)
    assert umdf.paired(A, A[[3, 1, 5, 0, 2, 4]]).item() > 0.1


@pytest.mark.slow
def test_biased_mmd_of_equal_distributions_is_not_zero():
    """n = 16 draws each in 120 dimensions: the diagonal pairs add 2 (1 - mean k) / n; the unbiased estimate has mean 0."""
    biased, unbiased = [], []
    for _ in range(30):
        A, B = torch.randn(16, 120, dtype=DOUBLE), torch.randn(16, 120, dtype=DOUBLE)
        biased.append(umdf.mmd2(A, B).item())
        unbiased.append(umdf.mmd2(A, B, estimator="unbiased").item())
    assert np.mean(biased) == pytest.approx(0.079, abs=0.003)
    assert min(biased) > 0.06
    assert abs(np.mean(unbiased)) < 4 * np.std(unbiased, ddof=1) / math.sqrt(30)
    assert abs(np.mean(unbiased)) < 0.003


def test_paired_and_mse_by_hand():
    A, B = tensor([1, 2], [3, 4]), tensor([0, 2], [3, 7])
    assert umdf.paired(A, B).item() == (1 + 0 + 0 + 9) / 4
    assert umdf.mse_logits(tensor([1], [4]), tensor([0], [2])).item() == 2.5


def test_kl_by_hand():
    assert umdf.kl(tensor(0.5, 0.5), tensor(0.25, 0.75)).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-14)
    assert umdf.kl(tensor(0, 1), tensor(0.5, 0.5)).item() == pytest.approx(math.log(2), rel=1e-14)
    assert umdf.kl(tensor(0.3, 0.7), tensor(0.3, 0.7)).item() == 0


def test_js_matches_scipy():
    a, b = 2 * torch.randn(5, 4, dtype=DOUBLE), 2 * torch.randn(5, 4, dtype=DOUBLE)
    p, q = functional.softmax(a, dim=1).numpy(), functional.softmax(b, dim=1).numpy()
    expected = np.mean([jensenshannon(x, y) ** 2 for x, y in zip(p, q)])
    assert umdf.js(a, b, "multiclass").item() == pytest.approx(expected, rel=1e-10)
    p, q = torch.sigmoid(a).numpy().ravel(), torch.sigmoid(b).numpy().ravel()
    expected = np.mean([jensenshannon([x, 1 - x], [y, 1 - y]) ** 2 for x, y in zip(p, q)])
    for task in ("multilabel", "multibinary"):
        assert umdf.js(a, b, task).item() == pytest.approx(expected, rel=1e-10)
    # Distributions without overlap are log 2 apart, also where a probability underflows to zero.
    far = tensor([1000, 0])
    assert umdf.js(far, far.flip(1), "multiclass").item() == pytest.approx(math.log(2), rel=1e-14)
    assert umdf.js(far, -far, "multilabel").item() == pytest.approx(math.log(2) / 2, rel=1e-14)


def test_task_loss_matches_torch():
    z = 2 * torch.randn(3, 4, dtype=DOUBLE)
    classes = TARGETS["multiclass"]
    torch.testing.assert_close(umdf.task_loss(z, classes, "multiclass"), functional.cross_entropy(z, classes))
    z = z[:, :3]
    for task in ("multilabel", "multibinary"):
        expected = functional.binary_cross_entropy_with_logits(z, TARGETS[task].double())
        torch.testing.assert_close(umdf.task_loss(z, TARGETS[task], task), expected)
    z, t = z[:, :1], TARGETS["regression"]
    for targets in (t, t[:, None]):
        torch.testing.assert_close(umdf.task_loss(z, targets, "regression"), functional.mse_loss(z, t[:, None]))


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_put_together_from_torch(task):
    w = random_weights(WIDTHS, D, TASKS[task], CONFIG)
    terms = umdf.losses(w, VIEWS_A, VIEWS_B, TARGETS[task], task, CONFIG, 0.5, 3.0)
    lasts_a, lasts_b = (5, 3, 2), (4, 4, 5)  # of VIEWS_A and VIEWS_B, 6 steps; frame 2 of 4 ends inside step 4
    h_a, h_b, logits = [], [], []
    for (xs_a, frames_a), (xs_b, frames_b), a, b in zip(VIEWS_A, VIEWS_B, lasts_a, lasts_b):
        Ha, Hb = torch_representation(w, xs_a, frames_a, CONFIG), torch_representation(w, xs_b, frames_b, CONFIG)
        h_a.append(Ha[a])
        h_b.append(Hb[b])
        logits.append(torch_linear(w, "head", torch_dfim(w, Ha, Hb, CONFIG)[max(a, b)]))
    h_a, h_b = torch.stack(h_a), torch.stack(h_b)
    y_a, y_b = torch_linear(w, "head", h_a), torch_linear(w, "head", h_b)
    assert set(terms) == {"task", "feature", "logits"}
    torch.testing.assert_close(terms["task"], umdf.task_loss(torch.stack(logits), TARGETS[task], task))
    feature = numpy_mmd2(h_a.detach().numpy(), h_b.detach().numpy(), "rbf", False)
    assert terms["feature"].item() == pytest.approx(0.5 * feature, rel=1e-9)
    distilled = functional.mse_loss(y_a, y_b) if task == "regression" else umdf.js(y_a, y_b, task)
    torch.testing.assert_close(terms["logits"], 3 * distilled)

    def feature_of(**changes):
        cfg = replace(CONFIG, **changes)
        return umdf.losses(w, VIEWS_A, VIEWS_B, TARGETS[task], task, cfg, 1, 1)["feature"].item()

    arrays = h_a.detach().numpy(), h_b.detach().numpy()
    assert feature_of(feature="paired") == pytest.approx(functional.mse_loss(h_a, h_b).item(), rel=1e-9)
    expected = numpy_mmd2(*arrays, "linear", True)
    assert feature_of(kernel="linear", estimator="unbiased") == pytest.approx(expected, rel=1e-9)


def test_equal_views_have_nothing_to_distil():
    w = random_weights(WIDTHS, D, 4, CONFIG)
    terms = umdf.losses(w, VIEWS_A, VIEWS_A, TARGETS["multiclass"], "multiclass", CONFIG, 1, 1)
    assert terms["feature"].item() == pytest.approx(0, abs=1e-14)
    assert terms["logits"].item() == 0
    logits = torch.stack([umdf.predict(w, xs, frames, CONFIG) for xs, frames in VIEWS_A])
    torch.testing.assert_close(terms["task"], functional.cross_entropy(logits, TARGETS["multiclass"]))


# ------------------------------------------------------------------------------------------------------------ gradients


def test_the_bandwidth_is_a_constant_for_gradients():
    A, B = torch.randn(3, 2, dtype=DOUBLE, requires_grad=True), torch.randn(3, 2, dtype=DOUBLE)
    umdf.mmd2(A, B).backward()
    width, step = umdf.median_bandwidth(A, B), 1e-6

    def fixed(X):
        def mean(P, Q):
            return np.mean([[umdf.kernel(p, q, width).item() for q in Q] for p in P])

        return mean(X, X) - 2 * mean(X, B)

    for i, j in ((0, 0), (2, 1)):
        shift = torch.zeros(3, 2, dtype=DOUBLE)
        shift[i, j] = step
        slope = (fixed(A.detach() + shift) - fixed(A.detach() - shift)) / (2 * step)
        assert A.grad[i, j].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_gradcheck_of_the_whole_objective(task):
    """Linear kernel: finite differences would move the bandwidth, which the gradient takes as a constant."""
    cfg = umdf.Config(layers=1, heads=1, depth=1, kernel="linear")
    w = random_weights((1, 2), 2, TASKS[task], cfg, hidden=2)
    names = sorted(set(w) - {"dfim.project.weight", "dfim.project.bias"})
    views_a = [view(i, ("111", "01"), (1, 2)) for i in range(2)]
    views_b = [view(i, ("101", "10"), (1, 2)) for i in range(2)]
    targets = TARGETS[task][:2] if task != "multiclass" else torch.tensor([1, 0])

    def objective(x, *values):
        rows = [([x, xs[1]], frames) for xs, frames in views_a]
        terms = umdf.losses(dict(zip(names, values)), rows, views_b, targets, task, cfg, 0.5, 2)
        return terms["task"], terms["feature"], terms["logits"]

    inputs = [torch.randn(3, 1, dtype=DOUBLE), *(w[name] for name in names)]
    assert torch.autograd.gradcheck(objective, [x.clone().requires_grad_() for x in inputs], fast_mode=True)


def test_gradcheck_of_kernel_and_divergences():
    x, y = (torch.randn(3, dtype=DOUBLE, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: umdf.kernel(x, y, 1.5), (x, y))
    a, b = (torch.randn(2, 3, dtype=DOUBLE, requires_grad=True) for _ in range(2))
    for task in ("multiclass", "multilabel"):
        assert torch.autograd.gradcheck(lambda a, b, task=task: umdf.js(a, b, task), (a, b))
    assert torch.autograd.gradcheck(umdf.paired, (a, b))
    assert torch.autograd.gradcheck(lambda a, b: umdf.mmd2(a, b, "linear", "unbiased"), (a, b))
