"""The slow SMIL reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import smil as slow

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def before_softplus(value):
    return math.log(math.exp(value) - 1)


def hand_weights():
    """Width 1, two modalities: h = 2 x of a, x + 1 of b; shares 1 : 3 of b's centroids; the hidden layer gains 1."""
    one, zero = tensor([1]), tensor(0)
    w = {f"encoder.{m}.{i}.bias": zero for m in "ab" for i in (0, 2)} | {"encoder.b.2.bias": tensor(1)}
    w |= {f"encoder.{m}.{i}.weight": one for m in "ab" for i in (0, 2)} | {"encoder.a.2.weight": tensor([2])}
    w |= {"mixture.b.weight": tensor([0, 0], [0, 0]), "mixture.b.bias": tensor(before_softplus(1), before_softplus(3))}
    w |= {"head.0.weight": tensor([1, 2]), "head.0.bias": zero, "head.2.weight": tensor([3]), "head.2.bias": zero}
    return w | {"regularise.weight": tensor([0]), "regularise.bias": tensor(before_softplus(1))}


BANKS = {"b": tensor([2], [10])}


def row_of(a, b):
    """Each modality one frame that is seen, unless it is None, and one that is not."""
    rows = {"a": a, "b": b}
    return {m: (tensor([v or 0], [math.nan]), torch.tensor([v is not None, False])) for m, v in rows.items()}


def noise_of(mixture, joint):
    return {"mixture": {"b": tensor(*mixture)}, "joint": tensor(joint)}


def test_mixture_by_hand():
    w = hand_weights()
    # 2 / 4 + 3 * 10 / 4 = 8, so b's vector is 9; a's is 2 * 5.
    assert slow.joint(w, BANKS, row_of(5, None)).tolist() == pytest.approx([10, 9])
    assert slow.joint(w, BANKS, row_of(5, 4)).tolist() == [10, 5]
    noise = noise_of([before_softplus(2) - before_softplus(1), before_softplus(6) - before_softplus(3)], 0)
    assert slow.joint(w, BANKS, row_of(5, None), noise).tolist() == pytest.approx([10, 9])  # 2 : 6 is 1 : 3
    noise = noise_of([before_softplus(3) - before_softplus(1), 0], 0)
    assert slow.joint(w, BANKS, row_of(5, None), noise).tolist() == pytest.approx([10, 7])  # 3 : 3
    assert slow.joint(w, {"b": tensor([4])}, row_of(5, None)).tolist() == pytest.approx([10, 5])  # one share of one


def test_scores_read_what_the_row_has():
    w = hand_weights() | {"mixture.b.weight": tensor([0.1, 100], [0, 100])}
    # b is not there, so its 100 meets a zero; a's 10 adds 1 to the first score.
    first = math.log(1 + math.exp(before_softplus(1) + 1))
    share = first / (first + 3)
    assert slow.joint(w, BANKS, row_of(5, None)).tolist() == pytest.approx([10, 2 * share + 10 * (1 - share) + 1])


def test_predictions_by_hand():
    w = hand_weights()
    # hidden 10 + 2 * 9 = 28, regularised 29; whole 10 + 2 * 5 = 20, regularised 21.
    out = slow.predict(w, BANKS, [row_of(5, None), row_of(5, 4)])
    assert out.tolist() == [[pytest.approx(87)], [pytest.approx(63)]]
    noise = noise_of([0, 0], before_softplus(4) - before_softplus(1))
    assert slow.logits(w, tensor(10, 9), noise).item() == pytest.approx(96)
    assert slow.warm(w, [row_of(5, 4)], tensor(58), "regression").item() == pytest.approx(4)  # 3 * 20 - 58


def test_terms_by_hand():
    w, quiet = hand_weights(), noise_of([0, 0], 0)
    # Inner row: prediction 87, target 86.5, so dL/dy is 1. Gradients: head.2 29, bias 1; head.0 3 (10, 9), bias 3.
    incomplete = ([row_of(5, None)], [quiet], tensor(86.5))
    complete = ([row_of(1, 4)], [quiet], tensor(40))
    terms = slow.losses(w, BANKS, incomplete, complete, [{"b"}], "regression", inner=0.01, alignment=0.5)
    assert terms["inner"].item() == pytest.approx(0.25)
    # Stepped head: hidden weights (.7, 1.73), bias -.03; output weight 2.71, bias -.01.
    # Complete row: a's vector 2, b's 9 from the bank and 5 of its own.
    made, true = 0.7 * 2 + 1.73 * 9 - 0.03, 0.7 * 2 + 1.73 * 5 - 0.03
    assert terms["task"].item() == pytest.approx((2.71 * (made + 1) - 0.01 - 40) ** 2)
    assert terms["alignment"].item() == pytest.approx(0.5 * (made - true) ** 2)


def test_a_term_without_rows_is_zero_and_no_step_is_made():
    w, quiet, none = hand_weights(), noise_of([0, 0], 0), ([], [], tensor())
    terms = slow.losses(w, BANKS, none, ([row_of(5, 4)], [quiet], tensor(85)), [{"b"}], "regression")
    assert [terms["inner"].item(), terms["task"].item()] == pytest.approx([0, 4])
    terms = slow.losses(w, BANKS, ([row_of(5, None)], [quiet], tensor(85)), none, [], "regression")
    assert [terms["inner"].item(), terms["task"].item(), terms["alignment"].item()] == pytest.approx([4, 0, 0])


@pytest.mark.parametrize("task", ["regression", "multiclass", "multilabel"])
def test_the_written_gradient_is_the_gradient(task):
    torch.manual_seed(0)
    shapes = {"head.0": (4, 6), "head.2": (3, 4), "regularise": (4, 4)}
    w = {f"{name}.weight": torch.randn(shape, dtype=DOUBLE) for name, shape in shapes.items()}
    w |= {f"{name}.bias": torch.randn(shape[0], dtype=DOUBLE) for name, shape in shapes.items()}
    hs = torch.randn(5, 6, dtype=DOUBLE)
    noises = [{"joint": torch.randn(4, dtype=DOUBLE)} for _ in hs]
    targets = {
        "regression": torch.randn(5, 3, dtype=DOUBLE),
        "multiclass": torch.tensor([0, 2, 1, 1, 0]),
        "multilabel": torch.rand(5, 3) < 0.5,
    }[task]
    head = {name: w[name].requires_grad_() for name in slow.HEAD}
    out = torch.stack([slow.logits(w, h, noise) for h, noise in zip(hs, noises)])
    gradients = torch.autograd.grad(slow.task_loss(out, targets, task), list(head.values()))
    after = slow.stepped(w, hs, noises, targets, task, 0.5)
    for (name, before), gradient in zip(head.items(), gradients):
        torch.testing.assert_close(after[name], before - 0.5 * gradient)


def test_means_of_nearest_by_hand():
    points = tensor([0, 0], [0, 2], [9, 9])
    assert slow.means_of_nearest(tensor([0, 0], [8, 8]), points).tolist() == [[0, 1], [9, 9]]
