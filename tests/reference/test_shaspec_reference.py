"""The slow ShaSpec reference against numbers worked out by hand, and mmlib's ShaSpec against the reference."""

import math
from collections import Counter

import pytest
import torch

from mmlib.models import shaspec as fast
from mmlib.models.shaspec import ShaSpec
from tests.helpers.clips import PRESENT, SHAPES, WIDTHS, batch_of, flags
from tests.reference import shaspec as slow

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def prepared(task, seed=0, **options):
    """A system with random weights in float64, without dropout, and its weights by the reference's names."""
    batch, rows, data = batch_of(task)
    system = ShaSpec.for_data(data, seed, d=6, dropout=0.0, **options).double()
    generator = torch.Generator().manual_seed(seed)
    for p in system.parameters():
        scale = 1.5 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.4
        p.data = scale * torch.randn(p.shape, generator=generator, dtype=DOUBLE)
    return system, batch, rows, dict(system.named_parameters())


# ------------------------------------------------------------------------------------------------------------- by hand


def hand_weights():
    """Width 1, two modalities a and b: s = 2 x of a and x + 1 of b, e = 3 x of both, for x above 0."""
    one, zero = tensor([1]), tensor(0)
    w = {f"{name}.bias": zero for name in ("adapter.a", "adapter.b", "S.0", "S.2", "E.a.0", "E.a.2", "E.b.0", "E.b.2")}
    w |= {f"{name[:-5]}.weight": one for name in list(w)}
    w |= {"adapter.a.weight": tensor([2]), "adapter.b.bias": tensor(1), "E.a.0.weight": tensor([3])}
    w |= {"E.b.0.weight": tensor([3]), "compose.weight": tensor([10, 100]), "compose.bias": tensor(1000)}
    return w | {"domain.weight": tensor([0], [1]), "domain.bias": tensor(0, 0)}


def hand_row(a, b):
    """Each modality one frame that is seen, unless it is None, and one that is not."""
    return {m: (tensor([v or 0], [99]), torch.tensor([v is not None, False])) for m, v in (("a", a), ("b", b))}


def test_features_by_hand():
    w, row = hand_weights(), hand_row(1, 5)
    s, e = slow.encoded(w, row)
    assert {m: v.item() for m, v in s.items()} == {"a": 2, "b": 6}
    assert {m: v.item() for m, v in e.items()} == {"a": 3, "b": 15}
    assert slow.vector(tensor([1, 2], [3, 6], [9, 9]), flags("110")).tolist() == [2, 4]
    f = slow.fused(w, row, "shared")
    assert f["a"].item() == 2 + 10 * 2 + 100 * 3 + 1000 and f["b"].item() == 6 + 10 * 6 + 100 * 15 + 1000
    alone = slow.fused(w, hand_row(1, None), "shared")
    assert alone["a"].item() == f["a"].item() and alone["b"].item() == 2
    assert slow.fused(w, hand_row(1, None), "zeros")["b"].item() == 0
    with pytest.raises(ValueError, match="impute"):
        slow.fused(w, row, "first")


def test_losses_by_hand():
    w = hand_weights() | {"head.0.weight": tensor([0, 0]), "head.0.bias": tensor(0)}
    w |= {"head.2.weight": tensor([0]), "head.2.bias": tensor(3)}
    rows = [hand_row(1, 5), hand_row(2, 1), hand_row(7, None)]  # s 2 and 6, 4 and 2; e of a 3, 6, 21, of b 15, 3
    terms = slow.losses(w, rows, tensor(1, 3, 4), "regression", 0.5, 2.0, "shared")
    assert terms["task"].item() == pytest.approx((4 + 0 + 1) / 3)
    assert terms["shared"].item() == pytest.approx(0.5 * (4 + 2) / 2)
    costs = [math.log(1 + math.exp(z)) for z in (3, 6, 21, -15, -3)]  # the logit of b is e, that of a is 0
    assert terms["domain"].item() == pytest.approx(2 * sum(costs) / 5)
    nothing = slow.losses(w, rows[2:], tensor(4), "regression", 0.5, 2.0, "shared")
    assert nothing["shared"].item() == 0


def test_the_law_of_subsets_by_hand():
    law = slow.subset_law({"a", "b", "c"})
    assert law[("a",)] == law[("a", "b")] == pytest.approx(1 / 9) and law[("a", "b", "c")] == pytest.approx(1 / 3)
    assert slow.subset_law({"b"}) == {("b",): 1} and len(law) == 7 and sum(law.values()) == pytest.approx(1)


# ------------------------------------------------------------------------------------------------- mmlib's own ShaSpec


@pytest.mark.parametrize("impute", ["shared", "zeros"])
@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task, impute):
    system, batch, rows, w = prepared(task, impute=impute, alpha=0.7, beta=0.3)
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, slow.predict(w, rows, impute))
    ours, theirs = system.loss(batch, "warm"), slow.losses(w, rows, batch.target, task, 0.7, 0.3, impute)
    assert set(ours) == set(theirs)
    for name, term in theirs.items():
        torch.testing.assert_close(ours[name], term)
    gradients = [torch.autograd.grad(sum(terms.values()), list(w.values())) for terms in (ours, theirs)]
    for name, a, b in zip(w, *gradients):
        torch.testing.assert_close(a, b, msg=name)


def test_main_keeps_a_subset_and_nothing_of_the_rest(monkeypatch):
    system, batch, rows, w = prepared("multiclass", alpha=0.7, beta=0.3)
    kept = torch.stack([flags(PRESENT[m]) for m in WIDTHS], 1) & (torch.rand(9, 3) < 0.6)
    monkeypatch.setattr(fast, "subset_of_random_size", lambda present: kept)
    hidden = [
        {m: (frames, seen & kept[i, j]) for j, (m, (frames, seen)) in enumerate(row.items())}
        for i, row in enumerate(rows)
    ]
    for name, term in slow.losses(w, hidden, batch.target, "multiclass", 0.7, 0.3, "shared").items():
        torch.testing.assert_close(system.loss(batch, "main")[name], term)


def test_without_pairs_and_without_any_modality():
    system, batch, _, _ = prepared("multiclass")
    alone = batch.select(torch.tensor([1, 2, 4, 6]))  # none has two modalities
    terms = system.loss(alone, "warm")
    assert terms["shared"].item() == 0 and terms["domain"].item() > 0
    sum(terms.values()).backward()
    assert all(p.grad.isfinite().all() for p in system.parameters())
    empty = batch.select(torch.tensor([7, 7])).without("text", "vision")
    assert all(term.isfinite() for term in system.loss(empty, "main").values())
    assert system.predict(empty).logits.isfinite().all()


def test_subsets_are_as_often_as_the_law_says():
    n, names = 30_000, ("a", "b", "c", "d")
    for available in ("abcd", "acd", "bd", "c"):
        present = torch.tensor([m in available for m in names]).expand(n, 4)
        kept = fast.subset_of_random_size(present)
        count = Counter(tuple(m for m, k in zip(names, row) if k) for row in kept.tolist())
        law = slow.subset_law(set(available))
        assert set(count) == set(law)
        for subset, p in law.items():
            assert count[subset] / n == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n) + 1e-12), subset
    assert not fast.subset_of_random_size(torch.zeros(3, 2, dtype=torch.bool)).any()


def test_the_control_starts_from_the_same_weights():
    system, control = (prepared("multiclass", impute=impute)[0] for impute in ("shared", "zeros"))
    assert all(torch.equal(p, q) for p, q in zip(system.parameters(), control.parameters(), strict=True))
    batch, _, data = batch_of("multiclass")
    fresh = [ShaSpec.for_data(data, 1, d=6, impute=impute).state_dict() for impute in ("shared", "zeros")]
    assert all(torch.equal(fresh[0][k], v) for k, v in fresh[1].items())
    complete = flags(PRESENT["text"]) & flags(PRESENT["audio"]) & flags(PRESENT["vision"])
    ours, theirs = (s.predict(batch).logits for s in (system, control))
    torch.testing.assert_close(ours[complete], theirs[complete])
    assert (ours[~complete] - theirs[~complete]).abs().amax(1).min() > 1e-6
