"""The slow EMT-DLFR reference against numbers worked out by hand, and its LSTM and layer against torch's."""

import math

import pytest
import torch
from torch import nn

from tests.reference import emt as slow

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def flags(text):
    return torch.tensor([c == "1" for c in text])


def layer_of(weight, bias=None):
    return {"weight": weight, "bias": torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias}


def weights(**layers):
    return {f"{name.replace('__', '.')}.{key}": v for name, layer in layers.items() for key, v in layer.items()}


def test_pooled_and_shown_by_hand():
    x = tensor([1, 2], [math.nan, math.nan], [3, 6])
    assert slow.shown(x, flags("101")).tolist() == [[1, 2], [0, 0], [3, 6]]
    assert slow.pooled(x, flags("101")).tolist() == [2, 4]
    assert slow.pooled(x, flags("000")).tolist() == [0, 0]


def test_the_lstm_runs_over_all_steps():
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 3, batch_first=True, dtype=DOUBLE)
    w = {f"encoder.audio.{name}": p.detach() for name, p in lstm.named_parameters()}
    x = torch.randn(4, 2, dtype=DOUBLE)
    zeroed = x.clone()
    zeroed[1] = 0
    out = slow.encoded(w, "audio", x, flags("1011"))
    torch.testing.assert_close(out, lstm(zeroed[None])[0][0].detach())


def test_readout_by_hand():
    """Without units: one linear text encoder of width 1, a global token 10 * mean + 1, a head that adds and doubles."""
    w = weights(
        encoder__text=layer_of(tensor([2])),
        utterance__text=layer_of(tensor([10]), tensor(1)),
        head__0=layer_of(tensor([1, 1], [-1, -1])),
        head__2=layer_of(tensor([2, 1])),
    )
    row = {"text": (tensor([1], [3], [math.nan]), flags("110"))}
    # Encoded 2 and 6, mean 4; token 41; joint (41, 4).
    G, L = slow.tokens(w, row, 0, 1)
    assert (G.tolist(), L["text"].tolist()) == ([[41]], [[2], [6], [0]])
    assert slow.predict(w, [row], 0, 1).tolist() == [[90]]


def constant_layer():
    """A transformer layer that adds nothing."""
    zero = torch.zeros(2, 2, dtype=DOUBLE)
    norm = {"weight": tensor(1, 1), "bias": tensor(0, 0)}
    return {
        "norm1": norm,
        "attention__qkv": layer_of(torch.zeros(6, 2, dtype=DOUBLE)),
        "attention__out": layer_of(zero),
        "norm2": norm,
        "ffn__0": layer_of(zero),
        "ffn__1": layer_of(zero),
    }


def unit(local):
    """Width 2, equal shares for all sources: local tokens get `local`, global tokens the mean of the normed local ones."""
    one, zero = torch.eye(2, dtype=DOUBLE), torch.zeros(2, 2, dtype=DOUBLE)
    norm = {"weight": tensor(1, 1), "bias": tensor(0, 0)}
    layers = {}
    for side, out in (("local", layer_of(zero, local)), ("global", layer_of(one))):
        layers |= {f"mpu__0__{side}__layer__{name}": layer for name, layer in constant_layer().items()}
        layers |= {f"mpu__0__{side}__norm_{which}": norm for which in ("target", "source")}
        layers |= {f"mpu__0__{side}__cross__q": layer_of(zero), f"mpu__0__{side}__cross__out": out}
        layers[f"mpu__0__{side}__cross__kv"] = layer_of(torch.cat([zero, one]))
    return layers


def test_a_unit_by_hand():
    """Local tokens get (4, 0) from any source; then a global token gets the normed sign pattern of the updated ones."""
    one, zero = torch.eye(2, dtype=DOUBLE), torch.zeros(2, 2, dtype=DOUBLE)
    w = weights(
        encoder__text=layer_of(one), utterance__text=layer_of(zero, tensor(7, 7)), **unit(tensor(4, 0))
    )  # G = (7, 7)
    row = {"text": (tensor([0, 1], [-1, 9]), flags("11"))}
    G, L = slow.tokens(w, row, 1, 1)
    assert L["text"].tolist() == [[4, 1], [3, 9]]
    # Normed: (1, -1) and (-1, 1), each attended to by a half: they cancel.
    torch.testing.assert_close(G, tensor([7, 7]), atol=1e-4, rtol=0)
    row = {"text": (tensor([0, 1], [-1, 2]), flags("11"))}
    # Updated: (4, 1) and (3, 2), both (1, -1); before the update both were (-1, 1).
    torch.testing.assert_close(slow.tokens(w, row, 1, 1)[0], tensor([8, 6]), atol=1e-4, rtol=0)


def test_global_tokens_are_averaged_over_modalities():
    one, zero = torch.eye(2, dtype=DOUBLE), torch.zeros(2, 2, dtype=DOUBLE)
    lstm = {
        f"encoder.audio.{kind}_{side}_l0": torch.zeros(8, dtype=DOUBLE) for kind in ["bias"] for side in ["ih", "hh"]
    }
    lstm |= {"encoder.audio.weight_ih_l0": torch.zeros(8, 1, dtype=DOUBLE)}
    lstm |= {"encoder.audio.weight_hh_l0": torch.zeros(8, 2, dtype=DOUBLE)}
    w = lstm | weights(
        encoder__text=layer_of(one),
        utterance__text=layer_of(zero, tensor(7, 7)),
        utterance__audio=layer_of(one),
        **unit(tensor(0, 0)),
    )
    row = {"text": (tensor([3, 1]), flags("1")), "audio": (tensor([5]), flags("1"))}
    # Text adds (1, -1) to each global token, audio, whose states are zero, adds nothing: half of it stays.
    torch.testing.assert_close(slow.tokens(w, row, 1, 1)[0], tensor([7.5, 6.5], [0.5, -0.5]), atol=1e-4, rtol=0)


def test_a_layer_is_the_encoders_layer():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 16, 0.0, batch_first=True, norm_first=True, dtype=DOUBLE)
    names = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj": "attention.out"}
    names |= {"linear1": "ffn.0", "linear2": "ffn.1"}
    w = {}
    for name, p in layer.named_parameters():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        w[f"l.{name}"] = p.detach()
    x = torch.randn(5, 4, dtype=DOUBLE)
    torch.testing.assert_close(slow.transformer_layer(w, "l", x, 2), layer(x[None])[0].detach())


def test_cosine_by_hand():
    assert slow.cosine(tensor(3, 4), tensor(4, 3)).item() == pytest.approx(24 / 25)
    assert slow.cosine(tensor(3, 4), tensor(0, 0)).item() == 0


def test_attraction_by_hand():
    one = torch.eye(2, dtype=DOUBLE)
    w = weights(**{f"predictor__{s}__{i}": layer_of(one) for s in ("context", "text") for i in (0, 2)})
    w["predictor.text.2.weight"] = tensor([0, 1], [1, 0])
    inc = {"context": tensor(3, 4), "text": tensor(1, 0)}
    com = {"context": tensor(4, 3), "text": tensor(0, 2)}
    # context: both cosines 24 / 25; text: the predictor swaps, so both are 1.
    assert slow.attraction(w, [(inc, com)]).item() == pytest.approx(-24 / 25 - 1)
    # A second row of zeros halves the mean.
    nothing = {"context": tensor(0, 0), "text": tensor(0, 0)}
    assert slow.attraction(w, [(inc, com), (nothing, nothing)]).item() == pytest.approx((-24 / 25 - 1) / 2)


def test_reconstruction_counts_hidden_frames_only():
    w = weights(reconstruct__text=layer_of(tensor([1], [2])), reconstruct__audio=layer_of(tensor([1])))
    x, audio = tensor([1, 5], [1, 1], [math.nan] * 2), tensor([4])
    whole = {"text": (x, flags("110")), "audio": (audio, flags("1"))}
    part = {"text": (x, flags("010")), "audio": (audio, flags("0"))}
    # text: (1.5, 3) for (1, 5): errors .5 and 2 give .125 and 1.5; audio: 4.25 for 4 gives .03125.
    L = {"text": tensor([1.5], [9], [9]), "audio": tensor([4.25])}
    errors = slow.frame_errors(w, [L], [whole], [part])
    assert {m: [e.item() for e in es] for m, es in errors.items()} == {"text": [0.8125], "audio": [0.03125]}


def test_terms_by_hand():
    w = weights(
        encoder__text=layer_of(tensor([1])),
        utterance__text=layer_of(tensor([1])),
        head__0=layer_of(tensor([1, 1])),
        head__2=layer_of(tensor([1])),
        predictor__context__0=layer_of(tensor([1])),
        predictor__context__2=layer_of(tensor([1])),
        predictor__text__0=layer_of(tensor([1])),
        predictor__text__2=layer_of(tensor([1])),
        reconstruct__text=layer_of(tensor([1])),
    )
    x = tensor([1], [3])
    whole, part = [{"text": (x, flags("11"))}], [{"text": (x, flags("10"))}]
    terms = slow.losses(w, whole, part, tensor(5), "regression", 0, 1, w1=2, w2=10)
    # Means 2 and 1: logits 4 and 2. All vectors point the same way. The hidden 3 is rebuilt from 0: 2.5.
    expected = {"task": 9, "complete": 2, "attraction": -4, "reconstruction": 25}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected)
