"""The slow TETFN reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import tetfn as reference

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def norm(w, name, width, bias=None):
    w[f"{name}.weight"] = torch.ones(width, dtype=DOUBLE)
    w[f"{name}.bias"] = torch.zeros(width, dtype=DOUBLE) if bias is None else bias


def value_of_the_source(w, name, scale):
    """One layer without feed-forward part: it adds scale (1, -1) if the only source step falls, else scale (-1, 1)."""
    eye = torch.eye(2, dtype=DOUBLE)
    for part in (f"{name}.0.norm", f"{name}.0.norm_ffn"):
        norm(w, part, 2)
    layer(w, f"{name}.0.attention.q", 0 * eye)
    layer(w, f"{name}.0.attention.kv", torch.cat([0 * eye, eye]))
    layer(w, f"{name}.0.attention.out", scale * eye)
    layer(w, f"{name}.0.ffn.0", torch.zeros(8, 2, dtype=DOUBLE))
    layer(w, f"{name}.0.ffn.1", torch.zeros(2, 8, dtype=DOUBLE))
    norm(w, f"{name}.norm", 2)


NAMES = ("text", "audio", "vision")


def encoders():
    w = {}
    for m in NAMES:
        for s in NAMES:
            if s != m:
                value_of_the_source(w, f"cross.{s}.{m}", 100.0)
    value_of_the_source(w, "enhance.audio", 10.0)
    value_of_the_source(w, "enhance.vision", -10.0)
    return w


def test_streams_by_hand():
    """All embeddings are one step: text and audio fall, vision rises, each by less than what an encoder adds.

    So a stream says (1, -1) for a source that falls and (-1, 1) for one that rises. The text turns vision's fall or rise
    around: enhanced, audio falls as the text does, and vision rises as its encoder has a negative scale.
    """
    E = {"text": tensor([4.0, 1.0]), "audio": tensor([2.0, 5.0]), "vision": tensor([7.0, 3.0])}
    down, up = [1.0, -1.0], [-1.0, 1.0]

    def check(m, *parts):
        got = reference.streams(encoders(), E, m, 1, 1)
        torch.testing.assert_close(got, tensor(sum(parts, [])), rtol=1e-4, atol=0)

    # Audio itself rises and vision falls; enhanced by the falling text, audio falls and vision rises.
    check("text", up, down)
    check("audio", down, up)
    check("vision", down, down)
    # A rising text turns both around, and what the text sees of them stays.
    E["text"] = tensor([1.0, 4.0])
    check("text", up, down)
    check("audio", up, down)
    check("vision", up, up)


def whole():
    """d = 2 and one feature x: the embedding is sqrt(2) (x, 0) and the position. Memories add nothing and say their bias."""
    w = encoders()
    for i, m in enumerate(NAMES):
        w[f"input.{m}.weight"] = tensor([[0, 1, 0]], [[0, 0, 0]]).to(DOUBLE)
        for part in ("0.norm1", "0.norm2"):
            norm(w, f"memory.{m}.{part}", 4)
        layer(w, f"memory.{m}.0.attention.qkv", torch.zeros(12, 4, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.attention.out", torch.zeros(4, 4, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.ffn.0", torch.zeros(16, 4, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.ffn.1", torch.zeros(4, 16, dtype=DOUBLE))
        norm(w, f"memory.{m}.norm", 4, torch.full((4,), float(i), dtype=DOUBLE))
        w[f"memory.{m}.norm.weight"] = torch.zeros(4, dtype=DOUBLE)
        layer(w, f"unimodal.{m}.1", tensor([1.0, 0.0], [0.0, 1.0]))
        layer(w, f"unimodal.{m}.2", tensor([1.0, 0.0], [0.0, 1.0]))
        layer(w, f"unimodal.{m}.3", tensor([1.0, 10.0]))
    layer(w, "fusion.1", torch.arange(12, dtype=DOUBLE)[None])
    layer(w, "fusion.2", tensor([2.0]), tensor(1.0))
    layer(w, "fusion.3", tensor([-1.0]))
    return w


def row(text):
    clip = {m: (tensor([3.0]), torch.tensor([True])) for m in NAMES}
    clip["text"] = (tensor([2.0], [math.nan], [4.0]), torch.tensor([text, False, text]))
    return clip


def test_heads_by_hand():
    """The joint vector is four times 0, 1 and 2: 4 + 5 + 6 + 7 and twice 8 + 9 + 10 + 11."""
    features, outputs = reference.spaces(whole(), row(True), 1, 1, 1)
    torch.testing.assert_close(features["joint"], tensor(98.0))
    torch.testing.assert_close(outputs["joint"], tensor(-197.0))
    # Text: the mean of steps 0 and 2, (3 sqrt(2) + sin(2) / 2, (1 + cos(2)) / 2).
    text = 3 * math.sqrt(2) + math.sin(2) / 2, (1 + math.cos(2)) / 2
    torch.testing.assert_close(features["text"], tensor(*text))
    torch.testing.assert_close(outputs["text"], tensor(text[0] + 10 * text[1]))
    torch.testing.assert_close(outputs["vision"], tensor(3 * math.sqrt(2) + 10))
    torch.testing.assert_close(reference.spaces(whole(), row(False), 1, 1, 1)[1]["text"], tensor(0.0))


def test_losses_by_hand():
    """The second row has no text, so the first one's error is the term."""
    labels = [{"text": 1.0, "audio": 3.0, "vision": 2.0}, {"text": 9.0, "audio": 3.0, "vision": 2.0}]
    got = reference.losses(whole(), [row(True), row(False)], [2.0, 2.0], labels, 1, 1, 1)
    said = 3 * math.sqrt(2) + math.sin(2) / 2 + 5 * (1 + math.cos(2))
    assert float(got["task"]) == pytest.approx(199)
    assert float(got["text"]) == pytest.approx(math.tanh(1) * (said - 1))
    assert float(got["audio"]) == pytest.approx(math.tanh(1) * (3 * math.sqrt(2) + 7))
    assert float(got["vision"]) == 0
    got = reference.losses_without_ulgm(whole(), [row(True), row(False)], tensor(2.0, 2.0), "regression", 1, 1, 1)
    assert float(got["text"]) == pytest.approx((said - 2) ** 2)
