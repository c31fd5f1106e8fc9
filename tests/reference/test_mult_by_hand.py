"""The slow MulT reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import mult as reference

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def norm(w, name, width):
    w[f"{name}.weight"], w[f"{name}.bias"] = torch.ones(width, dtype=DOUBLE), torch.zeros(width, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def test_embedding_by_hand():
    """One feature, d = 2: channel 0 adds the step before to twice the step, channel 1 is the step after."""
    w = {"input.text.weight": tensor([[1.0, 2.0, 0.0]], [[0.0, 0.0, 1.0]])}
    frames, observed = tensor([3.0], [math.nan], [5.0]), torch.tensor([True, False, True])
    got = reference.embed(w, "text", frames, observed)
    convolved = tensor([6, 0], [3, 5], [10, 0])
    place = tensor([0, 1], [math.sin(1), math.cos(1)], [math.sin(2), math.cos(2)])
    torch.testing.assert_close(got, math.sqrt(2) * convolved + place)
    vector = reference.embed(w, "text", tensor([3.0]), torch.tensor([True]))
    torch.testing.assert_close(vector, tensor([6 * math.sqrt(2), 1]))


def test_last_observed_step_by_hand():
    for observed, step in (([1, 0, 1, 0], 2), ([0, 0, 0], 0), ([0, 1], 1)):
        assert reference.last_observed(torch.tensor(observed).bool()) == step


def identity_cross(name):
    """One layer of width 2 that attends with identity matrices and doubles what the feed-forward part reads, if positive."""
    w, eye = {}, torch.eye(2, dtype=DOUBLE)
    for part in (f"{name}.0.norm", f"{name}.0.norm_ffn", f"{name}.norm"):
        norm(w, part, 2)
    for part, weight in (("q", eye), ("kv", torch.cat([eye, eye])), ("out", eye)):
        layer(w, f"{name}.0.attention.{part}", weight)
    layer(w, f"{name}.0.ffn.0", torch.cat([eye, eye, 0 * eye, 0 * eye]))
    layer(w, f"{name}.0.ffn.1", torch.cat([eye, eye, eye, eye], 1))
    return w


def test_crossmodal_attention_by_hand():
    """Query (1, -1) against keys (1, -1) and (-1, 1): scores +-2 / sqrt(2), so shares p and 1 - p.

    The sum of the values is (2p - 1) (1, -1). Two heads of size 1 each have the scores +-1 and the share 1 / (1 + e^-2).
    """
    w = identity_cross("cross.a.b")
    for heads, gap in ((1, 4 / math.sqrt(2)), (2, 2)):
        p = 1 / (1 + math.exp(-gap))
        got = reference.ca(w, "cross.a.b.0.attention", tensor([1, -1], [-1, 1]), tensor([1, -1]), heads)
        torch.testing.assert_close(got, tensor([2 * p - 1, 1 - 2 * p]))


def test_one_crossmodal_layer_by_hand():
    """In width 2 a norm makes (1, -1) or (-1, 1), up to the 1e-5 under the root.

    The target (3, 6) gets (1, -1) from the only source step: (4, 5), normed (-1, 1). The feed-forward part reads this and
    adds 2 to channel 1: (4, 7). If it adds 2 to channel 0 instead: (6, 5).
    """
    w = identity_cross("cross.a.b")
    w["cross.a.b.norm.weight"], w["cross.a.b.norm.bias"] = tensor(3.0, 2.0), tensor(0.5, 0.0)
    got = reference.cross(w, "cross.a.b", tensor([9, 1]), tensor([3, 6]), 1, 1)
    torch.testing.assert_close(got, tensor([-2.5, 2]), rtol=1e-4, atol=0)
    w["cross.a.b.0.ffn.1.weight"] = w["cross.a.b.0.ffn.1.weight"].flip(0)
    got = reference.cross(w, "cross.a.b", tensor([9, 1]), tensor([3, 6]), 1, 1)
    torch.testing.assert_close(got, tensor([3.5, -2]), rtol=1e-4, atol=0)


def test_the_source_stays_the_same_in_each_layer():
    """Layers without feed-forward part: both add the values of the only source step, normed to (1, -1)."""
    w = identity_cross("cross.a.b")
    w |= {name.replace("b.0", "b.1"): value for name, value in w.items() if ".b.0." in name}
    for i in range(2):
        w[f"cross.a.b.{i}.ffn.1.weight"] = torch.zeros(2, 8, dtype=DOUBLE)
    w["cross.a.b.0.attention.out.weight"] = 10 * torch.eye(2, dtype=DOUBLE)
    w["cross.a.b.1.attention.out.weight"] = -30 * torch.eye(2, dtype=DOUBLE)
    # (0, 1) + 10 (1, -1) - 30 (1, -1) = (-20, 21)
    got = reference.cross(w, "cross.a.b", tensor([7, 1]), tensor([0, 1]), 2, 1)
    torch.testing.assert_close(got, tensor([-1, 1]), rtol=1e-4, atol=0)


def one_modality():
    """d = 2, one feature, a memory whose parts add nothing: it only norms."""
    w, zero = {"input.text.weight": tensor([[0.0, 1.0, 0.0]], [[0.0, -1.0, 0.0]])}, torch.zeros(2, 2, dtype=DOUBLE)
    for part in ("memory.text.0.norm1", "memory.text.0.norm2", "memory.text.norm"):
        norm(w, part, 2)
    layer(w, "memory.text.0.attention.qkv", torch.cat([zero, zero, zero]))
    layer(w, "memory.text.0.attention.out", zero)
    layer(w, "memory.text.0.ffn.0", torch.zeros(8, 2, dtype=DOUBLE))
    layer(w, "memory.text.0.ffn.1", torch.zeros(2, 8, dtype=DOUBLE))
    layer(w, "residual.0", tensor([1, 0], [0, 1]))
    layer(w, "residual.1", tensor([10, 0], [0, 10]))
    layer(w, "head", tensor([1, 100], [0, 1]), tensor(0, 7))
    return w


@pytest.mark.parametrize(("observed", "sign"), [([True, True], -1), ([True, False], 1)])
def test_logits_of_one_modality_by_hand(observed, sign):
    """The memory's norm leaves (s, -s); the residual adds 10 where it is positive; the head reads it.

    The frames are 9 and -9: the sign is that of the last observed one.
    """
    row = {"text": (tensor([9], [-9]), torch.tensor(observed))}
    h = tensor(1 + 10, -1) if sign == 1 else tensor(-1, 1 + 10)
    logits = tensor(h[0] + 100 * h[1], h[1] + 7)
    torch.testing.assert_close(reference.predict(one_modality(), row, 1, 1, 1), logits, rtol=1e-4, atol=0)


def test_targets_and_sources_stand_in_order():
    """Crossmodal encoders without layers say the norm of their target; each has its own bias, so that the place tells."""
    w, names = {}, ("text", "audio", "vision")
    row = {m: (tensor([float(i)]), torch.tensor([True])) for i, m in enumerate(names)}
    E = {m: tensor([1, 2]) for m in row}
    for i, s in enumerate(names):
        for j, m in enumerate(names):
            w[f"cross.{s}.{m}.norm.weight"] = torch.zeros(2, dtype=DOUBLE)
            w[f"cross.{s}.{m}.norm.bias"] = torch.full((2,), 10.0 * i + j, dtype=DOUBLE)
    got = reference.streams(w, E, "audio", 0, 1)
    torch.testing.assert_close(got, tensor([1, 1, 21, 21]))
