"""The slow GCNet reference against numbers worked out by hand, and its LSTM against torch's."""

import math

import pytest
import torch
from torch import nn

from tests.reference import gcnet as slow

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def flags(text):
    return torch.tensor([c == "1" for c in text])


def numbers(tensors):
    return [t.tolist() for t in tensors]


def test_the_lstm_has_two_layers_and_directions():
    torch.manual_seed(0)
    layer = nn.LSTM(3, 2, num_layers=2, bidirectional=True, dtype=DOUBLE)
    w = {f"context.{name}": p.detach() for name, p in layer.named_parameters()}
    x = torch.randn(4, 3, dtype=DOUBLE)
    torch.testing.assert_close(torch.stack(slow.bilstm(w, "context", list(x))), layer(x)[0].detach())


def test_utterances_by_hand():
    row = {"text": (tensor([1, 2], [3, 6], [9, 9]), flags("110")), "audio": (tensor([math.nan]), flags("0"))}
    assert slow.utterance(row).tolist() == [2, 4, 0]


# Positions 0, 1, 2 and 5; the speakers are 7, 8, 7, 8. Utterances are powers of ten, so that sums name their parts.
PLACES = [(3, 0, 7), (3, 1, 8), (3, 2, 7), (3, 5, 8)]
POWERS = [tensor(1), tensor(10), tensor(100), tensor(1000)]


def test_neighbours_by_hand():
    assert [slow.neighbours(PLACES, i, 2) for i in range(4)] == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [3]]
    assert [slow.neighbours(PLACES, i, 1) for i in range(4)] == [[0, 1], [0, 1, 2], [1, 2], [3]]


def graph_weights(graph, *relations):
    w = {f"{graph}.relation.{r}.weight": tensor([value]) for r, value in enumerate(relations)}
    return w | {f"{graph}.root.weight": tensor([1000])}


def test_temporal_relations_by_hand():
    w = graph_weights("temporal", 2, 3, 5)
    # root 1000 h, then 2 * mean of the past, 3 * own, 5 * mean of the future
    expected = [[1000 + 3 + 5 * 55], [10_000 + 2 + 30 + 500], [100_000 + 2 * 5.5 + 300], [1_000_000 + 3000]]
    assert numbers(slow.relational(w, "temporal", POWERS, PLACES, 2)) == expected


def test_speaker_relations_by_hand():
    w = graph_weights("speaker", 2, 3)
    # root 1000 h, then 2 * mean of the same speaker (own included), 3 * mean of the other
    expected = [[1000 + 101 + 30], [10_000 + 20 + 3 * 50.5], [100_000 + 101 + 30], [1_000_000 + 2000]]
    assert numbers(slow.relational(w, "speaker", POWERS, PLACES, 2)) == expected
    assert numbers(slow.relational(w, "speaker", [-p for p in POWERS], PLACES, 2)) == [[0]] * 4


def test_convolution_by_hand():
    w = {"speaker.self.weight": tensor([1000]), "speaker.neighbours.weight": tensor([2])}
    assert numbers(slow.convolved(w, "speaker", POWERS, PLACES, 1)) == [[1022], [10_222], [100_220], [1_002_000]]


def small_weights(seed=0):
    """Widths 1 and 2, one output, random."""
    torch.manual_seed(seed)
    w = {}
    for name, width in (("context", 3), ("temporal.lstm", 7), ("speaker.lstm", 7)):
        layer = nn.LSTM(width, 2, num_layers=2, bidirectional=True, dtype=DOUBLE)
        w |= {f"{name}.{key}": p.detach() for key, p in layer.named_parameters()}
    shapes = {f"{graph}.relation.{r}": (3, 4) for graph, n in slow.RELATIONS.items() for r in range(n)}
    for graph in slow.RELATIONS:
        shapes |= {
            f"{graph}.root": (3, 4),
            f"{graph}.self": (3, 3),
            f"{graph}.neighbours": (3, 3),
            f"{graph}.out": (5, 4),
        }
    shapes |= {"head": (1, 5), "reconstruct": (3, 5)}
    w |= {f"{name}.weight": torch.randn(shape, dtype=DOUBLE) for name, shape in shapes.items()}
    return w | {
        f"{name}.bias": torch.randn(shapes[name][0], dtype=DOUBLE) for name in shapes if f"{name}.bias" not in w
    }


def rows_of(values):
    return [{"text": (tensor([v]), flags("1")), "audio": (tensor([v, -v]), flags("1"))} for v in values]


def test_order_of_rows_and_other_dialogues_change_nothing():
    w, rows, places = small_weights(), rows_of([0.1, 0.7, -0.4, 0.9]), [*PLACES[:3], (1, 0, 8)]
    out = slow.predict(w, rows, places)
    alone = slow.predict(w, rows[:3], places[:3])
    torch.testing.assert_close(out[:3], alone)
    order = [2, 3, 0, 1]
    torch.testing.assert_close(slow.predict(w, [rows[i] for i in order], [places[i] for i in order]), out[order])
    assert (slow.predict(w, rows[:2], places[:2]) - out[:2]).abs().min() > 1e-6  # the dialogue's end matters


def test_the_sum_of_both_graphs_is_read():
    w, rows = small_weights(), rows_of([0.1, 0.7])
    for graph in slow.RELATIONS:
        w[f"{graph}.out.weight"] = torch.zeros(5, 4, dtype=DOUBLE)
    w |= {"temporal.out.bias": tensor(1, 0, 0, 0, 0), "speaker.out.bias": tensor(1, 3, 0, 0, 0)}
    w |= {"head.weight": tensor([10, 1, 0, 0, 0]), "head.bias": tensor(100)}
    assert slow.predict(w, rows, PLACES[:2]).tolist() == [[123], [123]]


def test_reconstruction_by_hand():
    rows = rows_of([1, 2]) + [{"text": (tensor([5]), flags("0")), "audio": (tensor([5, 5]), flags("1"))}]
    shown = [{m: (x, f) for m, (x, f) in row.items()} for row in rows]
    shown[0]["text"] = (shown[0]["text"][0], flags("0"))
    shown[1]["audio"] = (shown[1]["audio"][0], flags("0"))
    made = tensor([3, 0, 0], [0, 4, -5], [9, 9, 9])
    # Row 0: (3 - 1)^2; row 1: ((4 - 2)^2 + (-5 + 2)^2) / 2; row 2 never had its text.
    assert slow.reconstruction(made, rows, shown).item() == pytest.approx((4 + 6.5) / 3)


def test_terms_by_hand():
    w, rows = small_weights(), rows_of([1, 2])
    for name in ("temporal.out", "speaker.out", "reconstruct"):
        w[f"{name}.weight"] = torch.zeros_like(w[f"{name}.weight"])
    w |= {"temporal.out.bias": tensor(1, 0, 0, 0, 0), "speaker.out.bias": tensor(1, 3, 0, 0, 0)}
    w |= {"head.weight": tensor([10, 1, 0, 0, 0]), "head.bias": tensor(100), "reconstruct.bias": tensor(4, 0, 0)}
    shown = [rows[0], rows[1] | {"text": (tensor([2]), flags("0"))}]
    terms = slow.losses(w, rows, shown, PLACES[:2], tensor(120, 122), "regression", weight=10)
    assert terms["task"].item() == pytest.approx((9 + 1) / 2)
    assert terms["reconstruction"].item() == pytest.approx(10 * (4 - 2) ** 2 / 2)
