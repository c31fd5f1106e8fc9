"""The slow DLF reference against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from tests.reference import dlf as slow

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
    """Width 1, without layers: s = p = e = 2 x of text, x of audio."""
    return plain(
        input__text=tensor([2]),
        input__audio=tensor([1]),
        decoder__text=tensor([1, 0.5]),
        decoder__audio=tensor([1, 1]),
        head=tensor([1, 10, 100, 1000]),
        common=tensor([1]),
        unimodal__text=tensor([1]),
        unimodal__audio=tensor([1]),
    )


def row_of(text, audio):
    return {"text": (tensor([text], [math.nan]), flags("10")), "audio": (tensor([audio]), flags("1"))}


def test_outputs_by_hand():
    w, row = hand_weights(), row_of(3, 4)
    e = slow.embedded(w, row, 2)
    assert {m: z.tolist() for m, z in e.items()} == {"text": [[6], [0]], "audio": [[4], [4]]}
    assert slow.embedded(w, row, 1)["text"].tolist() == [[3]]
    # Means 3 and 4, shared 3.5; the text that attended to audio is, without layers, the text itself.
    out = slow.outputs(w, e, e, 0, 1)
    assert {name: y.tolist() for name, y in out.items()} == {
        "all": [3.5 + 30 + 400 + 3000], "common": [3.5], "text": [3], "audio": [4]
    }  # fmt: skip
    assert slow.predict(w, [row], 2, 0, 1).tolist() == [[3433.5]]


def test_regularisers_by_hand():
    w = hand_weights()
    e = slow.embedded(w, row_of(3, 4), 2)
    # text: 1.5 e for e: errors 3 and 0; audio: 8 for 4. Without layers the private encoder changes nothing.
    assert [v.item() for v in slow.regularisers(w, e, e, e, 0, 1)] == [4.5 + 16, 4.5 + 16]


def test_attraction_is_crossmodal_attention_from_the_text():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=True, dtype=DOUBLE)
    first, second = nn.LayerNorm(4, dtype=DOUBLE), nn.LayerNorm(4, dtype=DOUBLE)
    nn.init.normal_(first.weight)
    W, b = attention.in_proj_weight.detach(), torch.randn(12, dtype=DOUBLE)
    attention.in_proj_bias.data = b
    norms = {"0.norm1": first, "0.norm2": second, "norm": second}
    w = {f"a.{n}.{key}": p.detach() for n, norm in norms.items() for key, p in norm.named_parameters()}
    w |= {
        "a.0.cross.q.weight": W[:4],
        "a.0.cross.q.bias": b[:4],
        "a.0.cross.kv.weight": W[4:],
        "a.0.cross.kv.bias": b[4:],
    }
    w |= {f"a.0.cross.out.{key}": p.detach() for key, p in attention.out_proj.named_parameters()}
    w |= plain(a__0__ffn__0=torch.randn(16, 4, dtype=DOUBLE), a__0__ffn__1=torch.randn(4, 16, dtype=DOUBLE))
    text, source = torch.randn(3, 4, dtype=DOUBLE), torch.randn(5, 4, dtype=DOUBLE)
    z = text + attention(first(text)[None], first(source)[None], first(source)[None])[0][0]
    z = z + torch.relu(second(z) @ w["a.0.ffn.0.weight"].T) @ w["a.0.ffn.1.weight"].T
    torch.testing.assert_close(slow.attracted(w, "a", text, source, 1, 2), second(z).detach())


def test_classes_by_hand():
    assert slow.classes(tensor(-0.5, 0, 2), "regression") == [(-1,), (0,), (1,)]
    assert slow.classes(torch.tensor([2, 0]), "multiclass") == [2, 0]
    assert slow.classes(tensor([1, 0], [1, 1]), "multilabel") == [(1, 0), (1, 1)]


def test_margin_by_hand():
    right, up = tensor(1, 0), tensor(0, 1)
    rows = [{"text": right, "audio": right}, {"text": right, "audio": up}, {"text": up, "audio": up}]
    # Row 0 (class 0): the next of another class is row 1: text cos 1 against 1, audio 0 against 1.
    # Row 1 (class 1): row 2 is of class 1 too, so row 0: text 1 against 0, audio 0 against 0.
    # Row 2 (class 1): row 0: text 0 against 1, audio 0 against 1.
    expected = (0.25 + 0 + 1.25 + 0.25 + 0 + 0) / 6
    assert slow.margin(rows, [0, 1, 1], 0.25).item() == pytest.approx(expected)
    assert slow.margin(rows, [1, 1, 1], 0.25).item() == 0
    assert slow.margin([{"text": v["text"]} for v in rows], [0, 1, 1], 0.25).item() == 0


def test_three_modalities_give_two_positives_for_each_anchor():
    v = {"text": tensor(1, 0), "audio": tensor(1, 0), "vision": tensor(0, 1)}
    # Negatives are equal to the anchors (cos 1). Positives of text: 1, 0; of audio: 1, 0; of vision: 0, 0.
    assert slow.margin([v, v], [0, 1], 0).item() == pytest.approx(4 / 6)


def test_orthogonality_by_hand():
    s = {"text": tensor([6, 0], [0, 8]), "audio": tensor([1, 0])}
    p = {"text": tensor([-4, -3]), "audio": tensor([0, 5])}
    assert slow.orthogonality(s, p).item() == pytest.approx(24 / 25)


def test_terms_by_hand():
    w = hand_weights()
    terms = slow.losses(w, [row_of(3, 4), row_of(-1, -1)], tensor(3, -1), "regression", 2, 0, 1, alpha=0.5)
    # Row 1: text mean -1, audio -1. All vectors of a row point the same way, those of the two rows opposite ways.
    reconstruction = 0.1 * (20.5 + (0.5 + 1)) / 2
    expected = {
        "all": ((3433.5 - 3) ** 2 + (-1111 + 1) ** 2) / 2,
        "common": 0.125,
        "text": 0,
        "audio": 0.5,
        "reconstruction": reconstruction,
        "cycle": reconstruction,
        "margin": 0,
        "orthogonality": 0.02,
    }
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected)
    terms = slow.losses(w, [row_of(3, 4), row_of(-1, -1)], tensor(4, -1), "regression", 2, 0, 1, alpha=2.5)
    assert terms["text"].item() == pytest.approx(3 / 2)
    assert terms["margin"].item() == pytest.approx(0.01 * (-1 - 1 + 2.5))
