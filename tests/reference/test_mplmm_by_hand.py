"""The slow MPLMM reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import mplmm as reference

DOUBLE = torch.float64
GELU_1, GELU_2 = 0.8413447460685429, 1.9544997361036416


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def weights():
    """d = 2, n = 1; text has one feature, audio one. The text's embedding is sqrt(2) (x, 0) and the position."""
    w = {"input.text.weight": tensor([[0, 1, 0]], [[0, 0, 0]]), "input.audio.weight": tensor([[0, 0, 0]], [[0, 1, 0]])}
    for m, s in (("text", "audio"), ("audio", "text")):
        w[f"generate.{m}.prompt"] = tensor([7, 8])
        layer(w, f"generate.{m}.map.{s}", tensor([0, 1], [0, 0]), tensor(0, 1))
        layer(w, f"generate.{m}.fold", tensor([1, 0], [0, 10]), tensor(0.5, 0))
    w["signal.text"], w["signal.audio"] = tensor([100, 200], [300, 400]), tensor([1000, 2000], [3000, 6000])
    w["type"] = tensor([2, 3])
    return {name: value.to(DOUBLE) for name, value in w.items()}


def row(text, audio):
    return {
        "text": (tensor([math.nan] if not text else [2.0], [9.0]), torch.tensor([text, text])),
        "audio": (tensor([5.0]), torch.tensor([audio])),
    }


def test_sequences_by_hand():
    """Audio is missing: its prompt (7, 8), then one step for each step of the text, whose second channel is cos(t).

    The map gives (cos t, 1) and the GELU follows. Three steps become one: the middle one.
    """
    got = reference.sequences(weights(), row(True, False))
    text = tensor([2 * math.sqrt(2), 1], [9 * math.sqrt(2) + math.sin(1), math.cos(1)])
    torch.testing.assert_close(got["text"], text + tensor(300, 400))
    torch.testing.assert_close(got["audio"], tensor([GELU_1 + 0.5 + 1000, 10 * GELU_1 + 2000]))
    # Text is missing: the prompt and one step of the audio, (0, 5 sqrt(2) + 1); two steps stay two.
    w = weights()
    w["generate.text.map.audio.weight"] = tensor([0, 0], [0, 0]).to(DOUBLE)
    w["generate.text.map.audio.bias"] = tensor(2.0, 1.0)
    got = reference.sequences(w, row(False, True))
    torch.testing.assert_close(got["text"], tensor([7.5 + 100, 80 + 200], [GELU_2 + 0.5 + 100, 10 * GELU_1 + 200]))
    torch.testing.assert_close(got["audio"], tensor([3000, 5 * math.sqrt(2) + 1 + 6000]))


def test_a_row_without_anything_by_hand():
    got = reference.sequences(weights(), row(False, False))
    torch.testing.assert_close(got["text"], tensor([107.5, 280], [107.5, 280]))


def test_type_prompts_by_hand():
    for there, mean in (((True, False), (650, 1200)), ((False, True), (1550, 3100))):
        prompts = reference.type_prompts(weights(), row(*there))
        torch.testing.assert_close(prompts, tensor([2 * mean[0], 3 * mean[1]]).to(DOUBLE))
    three = weights() | {"signal.vision": tensor([1.0, 1.0], [0.0, 0.0])}
    clip = row(True, True) | {"vision": (tensor([0.0]), torch.tensor([True]))}
    torch.testing.assert_close(reference.type_prompts(three, clip), tensor([2 * 1100, 6400, 2200, 6400]).to(DOUBLE))


def test_the_last_prompt_is_read():
    """Crossmodal encoders without layers and memories that add nothing: the norm of the last prompt, for both memories."""
    w = weights()
    w["type"] = tensor([0.0, 0.0], [2.0, -1.0])
    norms = [f"memory.{m}.0.{norm}" for m in ("text", "audio") for norm in ("norm1", "norm2")]
    for name in ("cross.text.audio.norm", "cross.audio.text.norm", *norms):
        w[f"{name}.weight"], w[f"{name}.bias"] = torch.ones(2, dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE)
    for i, m in enumerate(("text", "audio")):
        w[f"memory.{m}.norm.weight"], w[f"memory.{m}.norm.bias"] = torch.ones(2, dtype=DOUBLE), tensor(10.0 * i, 0.0)
        layer(w, f"memory.{m}.0.attention.qkv", torch.zeros(6, 2, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.attention.out", torch.zeros(2, 2, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.ffn.0", torch.zeros(8, 2, dtype=DOUBLE))
        layer(w, f"memory.{m}.0.ffn.1", torch.zeros(2, 8, dtype=DOUBLE))
    got = reference.joint(w, row(True, False), 0, 1, 1)
    torch.testing.assert_close(got, tensor(1.0, -1.0, 11.0, -1.0), rtol=1e-4, atol=0)
    for name in ("residual.0", "residual.1"):
        layer(w, name, torch.zeros(4, 4, dtype=DOUBLE))
    layer(w, "head", tensor([1.0, 10.0, 100.0, 1000.0]), tensor(0.5))
    torch.testing.assert_close(reference.predict(w, row(True, False), 0, 1, 1), tensor(91.5), rtol=1e-4, atol=0)


def test_law_by_hand():
    law = reference.kept_law({"a", "b", "c"})
    assert law.pop(("a", "b", "c")) == pytest.approx(0.3)
    assert len(law) == 6 and all(p == pytest.approx(0.7 / 6) for p in law.values())
    assert reference.kept_law({"a"}) == {("a",): 1.0}
