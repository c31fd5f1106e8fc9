"""The slow MFMB-Net reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import mfmb as slow
from tests.reference.umdf import encoder

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def flags(text):
    return torch.tensor([c == "1" for c in text])


def plain(**weights):
    """Linear layers without a bias, by name; __ stands for a point."""
    w = {}
    for name, weight in weights.items():
        name = name.replace("__", ".")
        w |= {f"{name}.weight": weight, f"{name}.bias": torch.zeros(len(weight), dtype=DOUBLE)}
    return w


def hand_weights():
    """Width 1; tokens 5 and 7."""
    w = plain(
        input__text=tensor([2]),
        input__audio=tensor([1]),
        communicator__text__0=tensor([1, 10]),
        communicator__text__2=tensor([1]),
        communicator__audio__0=tensor([1, -1]),
        communicator__audio__2=tensor([1]),
        head=tensor([1, 100, 10_000]),
        reconstruct__text=tensor([1, 0.5]),
        reconstruct__audio=tensor([1, 2]),
    )
    return w | {"bottleneck": tensor([5], [7])}


SECOND = math.sin(1)  # the position of step 1 in a width of 1; that of step 0 is sin 0


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def row_of(text, audio, seen="10"):
    return {"text": (tensor([text], [text]), flags(seen)), "audio": (tensor([audio]), flags("1"))}


def test_trunk_and_readout_by_hand():
    w, row = hand_weights(), row_of(3, 8)
    row["text"][0][1] = math.nan
    L = slow.trunk(w, row, 0, 1)
    assert {m: z.flatten().tolist() for m, z in L.items()} == {"text": [6, SECOND], "audio": [8]}
    # Without layers both fusions change nothing: mean 6; text tells 6 + 60, audio 8 - 6.
    assert slow.predict(w, [row, row_of(3, 5)], 0, 1).tolist() == [[26_606], [6606]]
    both = slow.predict(w, [row_of(3, 5, "11")], 0, 1).item()
    assert both == pytest.approx(6606 + 100 * SECOND / 2)


def test_tokens_pass_the_others_and_then_text():
    torch.manual_seed(0)
    w = {"bottleneck": torch.randn(2, 4, dtype=DOUBLE)}
    for name in ("fusion.others", "fusion.text"):
        shapes = {"attention.qkv": (12, 4), "attention.out": (4, 4), "ffn.0": (16, 4), "ffn.1": (4, 16)}
        w |= {f"{name}.0.{key}.weight": torch.randn(shape, dtype=DOUBLE) for key, shape in shapes.items()}
        w |= {f"{name}.0.{key}.bias": torch.randn(shape[0], dtype=DOUBLE) for key, shape in shapes.items()}
        for norm in ("0.norm1", "0.norm2", "norm"):
            w |= {f"{name}.{norm}.{key}": torch.randn(4, dtype=DOUBLE) for key in ("weight", "bias")}
    L = {m: torch.randn(steps, 4, dtype=DOUBLE) for m, steps in (("audio", 3), ("text", 5), ("vision", 1))}
    first = encoder(w, "fusion.others", torch.cat([L["audio"], L["vision"], w["bottleneck"]]), 1, 2)[4:]
    second = encoder(w, "fusion.text", torch.cat([L["text"], first]), 1, 2)[5:]
    torch.testing.assert_close(slow.bottleneck(w, L, 1, 2), second)


def test_cmd_by_hand():
    # Means 0 and 3; then even central moments 1, 1 against 4, 16, and odd ones 0.
    assert slow.cmd([tensor(-1), tensor(1)], [tensor(1), tensor(5)]).item() == pytest.approx(3 + 3 + 0 + 15 + 0)
    # Single rows have no spread: only the distance of the means (3, 4).
    assert slow.cmd([tensor(0, 1)], [tensor(3, 5)]).item() == 5
    x = tensor(1, 2).requires_grad_()
    slow.cmd([x], [x]).backward()
    assert x.grad.tolist() == [0, 0]


def test_terms_by_hand():
    w = hand_weights()
    whole, part = [row_of(3, 8, "11")], [row_of(3, 8, "10")]
    terms = slow.losses(w, whole, part, tensor(26_600), "regression", 0, 1, weights={"text": 10})
    # Text step 1 is rebuilt from its position and half of what text tells, 66: too much by 30 + sin(1). Pooled: 6 + sin(1) / 2
    # in the whole view, 6 in the incomplete one, the tokens 6 in both.
    distance = sigmoid(6 + SECOND / 2) - sigmoid(6)
    hand = {"task": 36, "reconstruction": 10 * (30 + SECOND - 0.5), "cmd": 10 * distance}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(hand)
    part = [row_of(3, 8, "11")]
    part[0]["audio"] = (part[0]["audio"][0], flags("0"))
    terms = slow.losses(w, whole, part, tensor(0), "regression", 0, 1)
    # Audio, whose step is 0, tells nothing because 0 - 6 is below zero. No row shows it in both views.
    assert (terms["reconstruction"].item(), terms["cmd"].item()) == (7.5, 0)
