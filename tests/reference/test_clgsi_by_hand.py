"""The slow CLGSI reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import clgsi as reference

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def convolutions():
    """M = 2, d = 3."""
    w, zero = {}, [0, 0, 0]
    layer(w, "glfk.global", tensor([[1, 0, 0], zero], [zero, [0, 0, -1]]), tensor(0, 2))
    layer(w, "glfk.local", tensor([[1], [1]], [[0], [-3]]), tensor(0, 0.5))
    layer(w, "glfk.out", torch.eye(6, dtype=DOUBLE), tensor(0, 0, 0, 0, 0, 10))
    return w


def test_fusion_by_hand():
    """Global: the first modality moves one entry up; the second is the entry above, negative, plus 2. Local: the sum of both;
    -3 times the second, plus a half. All but the stack itself loses what is below zero."""
    S = tensor([1, -2, 3], [4, 5, -6])
    moved = tensor([0, 1, 0], [0, 8, 2])  # relu of (0, 1, -2) and of (-5 + 2, 6 + 2, 0 + 2)
    mixed = tensor([5, 3, 0], [0, 0, 18.5])
    expected = torch.cat(list(S + moved + mixed))
    expected[5] += 10
    torch.testing.assert_close(reference.fuse(convolutions(), S), expected)


def test_excitement_by_hand():
    w = {}
    layer(w, "excite.text.0", tensor([1.0, -1.0]))
    layer(w, "excite.text.1", tensor([1], [0]).to(DOUBLE), tensor(0.0, -1.0))
    for h, squeezed in (((3.0, 1.0), 2), ((1.0, 3.0), 0)):
        share = [1 / (1 + math.exp(-squeezed)), 1 / (1 + math.e)]
        torch.testing.assert_close(reference.excited(w, "text", tensor(*h)), tensor(share[0] * h[0], share[1] * h[1]))


def small():
    """One feature and width 1 each; all gates of the LSTM are 1/2 and it sees the input in its candidate alone."""
    w = {
        "lstm.audio.weight_ih_l0": tensor([0], [0], [1], [0]), "lstm.audio.weight_hh_l0": tensor([0], [0], [0], [0]),
        "lstm.audio.bias_ih_l0": tensor(0, 0, 0, 0), "lstm.audio.bias_hh_l0": tensor(0, 0, 0, 0),
    }  # fmt: skip
    w = {name: value.to(DOUBLE) for name, value in w.items()}
    layer(w, "out.text", tensor([2.0]), tensor(1.0))
    layer(w, "out.audio", tensor([4.0]), tensor(-1.0))
    for name, taps in (("global", 3), ("local", 1)):
        layer(w, f"glfk.{name}", torch.zeros(2, 2, taps, dtype=DOUBLE))
    layer(w, "glfk.out", tensor([1.0, 10.0]))
    for m in ("text", "audio"):
        layer(w, f"excite.{m}.0", tensor([0.0]))
        layer(w, f"excite.{m}.1", tensor([0.0]))
    layer(w, "head", tensor([1.0, 100.0, 1000.0]), tensor(0.5))
    return w


def row(text, audio):
    return {
        "text": (tensor([1], [math.nan], [2]).to(DOUBLE), torch.tensor(text)),
        "audio": (tensor([0.6], [math.nan]), torch.tensor(audio)),
    }


def test_logits_by_hand():
    """Text 2 * 1.5 + 1; audio 4 * tanh(tanh(.6) / 2) / 2 - 1. Every modality's skip is half of it."""
    a = 2 * math.tanh(math.tanh(0.6) / 2) - 1
    got = reference.predict(small(), row([True, False, True], [True, False]))
    torch.testing.assert_close(got, tensor(4 + 10 * a + 50 * 4 + 500 * a + 0.5))
    got = reference.predict(small(), row([False] * 3, [False] * 2))
    torch.testing.assert_close(got, tensor(1 - 10 + 50 - 500 + 0.5))


def test_differences_by_hand():
    y = tensor(1.0, 3.0, -1.0)
    assert reference.difference(y, 0, 1, "regression") == 0.5 and reference.difference(y, 1, 2, "regression") == 1
    assert reference.difference(tensor(2.0, 2.0), 0, 1, "regression") == 0
    classes = torch.tensor([2, 2, 0])
    assert [reference.difference(classes, 0, j, "multiclass") for j in (1, 2)] == [0, 1]
    labels = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1]])
    assert reference.difference(labels, 0, 1, "multilabel") == 0.25


def test_contrast_by_hand():
    """Labels 0, 1, 4: rows 0 and 1 are positives (weight 3/4), row 2 is 1 and 3/4 away from them and has no positive."""
    H = [tensor(2.0, 0.0), tensor(0.0, 5.0), tensor(-1.0, 0.0)]
    near, far, same = 0.75 * math.exp(0), 1 * math.exp(-2), 0.75 * math.exp(0)
    first, second = -math.log(near / (near + far)), -math.log(near / (near + same))
    got = reference.contrast(H, tensor(0.0, 1.0, 4.0), "regression", temperature=0.5)
    assert float(got) == pytest.approx((first + second) / 2)


def test_contrast_without_positives_or_negatives_is_nothing():
    H = [tensor(2.0, 0.0), tensor(0.0, 5.0)]
    assert float(reference.contrast(H, tensor(0.0, 1.0), "regression")) == 0
    assert float(reference.contrast(H, tensor(1.0, 1.0), "regression")) == 0
    assert float(reference.contrast(H[:1], tensor(1.0), "regression")) == 0
