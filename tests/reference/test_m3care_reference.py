"""The slow M3Care reference against numbers worked out by hand, and mmlib's M3Care against the reference."""

import math
from dataclasses import replace

import pytest
import torch

from mmlib.models import m3care as fast
from mmlib.models.m3care import M3Care
from tests.helpers.clips import PRESENT, SHAPES, WIDTHS, batch_of, flags
from tests.reference import m3care as slow

DOUBLE, HEADS = torch.float64, 2


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def prepared(task="multiclass", seed=0, **options):
    """A system with random weights in float64, without dropout, and its weights by the reference's names.

    Embeddings are near each other and far apart, so that some pairs are above theta and some are not.
    """
    batch, rows, data = batch_of(task)
    system = M3Care.for_data(data, seed, d=6, heads=HEADS, dropout=0.0, norm=0.3, bank=11, **options).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, p in system.named_parameters():
        scale = 1.5 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.4
        p.data = scale * torch.randn(p.shape, generator=generator, dtype=DOUBLE) + (".norm" in name)
    with torch.no_grad():
        system.threshold -= 0.6
    return system, batch, rows, data, weights(system)


def weights(system):
    named = {}
    for name, p in system.named_parameters():
        named[name.replace(".layers.", ".").replace("ffn.2", "ffn.1")] = p
    mix = named.pop("mix")
    return named | {f"mix.{m}": mix[i] for i, m in enumerate(system.dims)}


def bank_of(system):
    """The rows of a bank as the reference takes them; places without a row are left out."""
    rows = []
    for i in range(system.bank_present.shape[1]):
        vectors = {m: system.get_buffer(f"bank_{j}")[i] for j, m in enumerate(system.dims)}
        has = {m: system.bank_present[j, i] for j, m in enumerate(system.dims)}
        rows.append({m: (vectors[m][None], has[m][None]) for m in vectors})
    return [row for row in rows if any(bool(seen) for _, seen in row.values())]


# ------------------------------------------------------------------------------------------------------------- by hand


def test_kernel_by_hand():
    # Squared distance 4 and bandwidth 8: exponents 4 / (8 c) are 2, 1, 1/2, 1/4 and 1/8.
    expected = sum(math.exp(-e) for e in (2, 1, 0.5, 0.25, 0.125)) / 5
    assert slow.rbf(tensor(0, 1), tensor(2, 1), 8).item() == pytest.approx(expected, rel=1e-14)
    assert slow.rbf(tensor(1, 1), tensor(1, 1), 8).item() == 1
    assert slow.bandwidth([tensor(0, 0), tensor(1, 0), tensor(0, 3)]) == (1 + 9 + 10) / 3
    assert slow.bandwidth([tensor(5)]) == slow.bandwidth([]) == 1e-6
    # The paper's form of the gate; the released code would give ((1 - s) K1 + s) K2 = .34.
    assert slow.mixed(tensor(0.9), tensor(0.4), 0.5).item() == pytest.approx(0.65)


def test_kernel_matches_the_hand_and_the_reference():
    nodes = tensor([0, 0], [1, 0], [0, 3], [50, 50])
    K = fast.kernel(tensor([2, 0], [0, 0]), nodes, flags("1110"))
    width = 20 / 3  # of the three that have the modality
    assert K[0, 0].item() == pytest.approx(sum(math.exp(-4 / width / c) for c in slow.FACTORS) / 5, rel=1e-12)
    assert K[1, 0].item() == 1
    expected = [[slow.rbf(x, y, width) for y in nodes] for x in tensor([2, 0], [0, 0])]
    torch.testing.assert_close(K, torch.stack([torch.stack(row) for row in expected]))


def test_threshold_by_hand():
    raw = torch.tensor(math.log(3), dtype=DOUBLE, requires_grad=True)  # theta = 3/4
    assert [slow.cut(tensor(a), raw).item() for a in (0.2, 0.75, 0.76, 1)] == pytest.approx([0, 0, 0.76, 1], rel=1e-14)
    (slope,) = torch.autograd.grad(slow.cut(tensor(0.8), raw), raw)
    assert slope.item() == pytest.approx(-0.75 * 0.25)


def hand_weights():
    """Width 1, modalities a and b; encoders and phi are the identity on numbers above 0, s = 1, theta = 1/2."""
    names = [f"{net}.{i}" for m in "ab" for net, n in ((f"encode.{m}", 2), (f"phi.{m}", 3)) for i in range(0, 2 * n, 2)]
    names += [f"graph.{m}.{i}" for m in "ab" for i in (0, 1)]
    w = {f"{name}.weight": tensor([1]) for name in names} | {f"{name}.bias": tensor(0) for name in names}
    return w | {"mix.a": tensor(50)[0], "mix.b": tensor(50)[0], "threshold": tensor(0)[0], "kind": tensor([0], [0])}


def test_similarity_and_aggregation_by_hand():
    w = hand_weights()
    rows = [{"a": tensor(0), "b": tensor(4)}, {"a": tensor(1)}, {"b": tensor(3)}]
    graph = slow.Graph(w, rows)
    assert graph.widths == {"a": (1, 1), "b": (1, 1)}
    k = sum(math.exp(-1 / c) for c in slow.FACTORS) / 5  # .38: distance 1, bandwidth 1
    near = [graph.similarity(rows[0], row).item() for row in rows]
    assert near == pytest.approx([1, k, k]) and graph.similarity(rows[1], rows[2]).item() == 0
    # theta = 1/2: each is alone with itself, who lacks a modality has nobody.
    g = slow.aggregated(w, rows)
    assert [r["a"].item() for r in g] == [0, 1, 0] and [r["b"].item() for r in g] == [4, 0, 3]
    # theta = 1/4: row 1 takes b from row 0, which is at (4 + 3 k) / (1 + k) after the first layer.
    w["threshold"] = tensor(-math.log(3))[0]
    g = slow.aggregated(w, rows)
    assert g[1]["b"].item() == pytest.approx((4 + 3 * k) / (1 + k))
    assert g[2]["a"].item() == pytest.approx((0 + 1 * k) / (1 + k))
    # With a bank row 0 has no influence on row 1: both are completed alone.
    g = slow.aggregated(w, rows[1:], bank=[{"a": tensor(0), "b": tensor(4)}, {"a": tensor(1)}])
    assert g[0]["b"].item() == 4 and g[1]["b"].item() == 3


# ---------------------------------------------------------------------------------------------------- mmlib's own M3Care


@pytest.mark.parametrize("impute", ["graph", "zeros"])
@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task, impute):
    system, batch, rows, _, w = prepared(task, impute=impute)
    ours, theirs = system.predict(batch.unlabelled()).logits, slow.predict(w, rows, HEADS, impute=impute)
    torch.testing.assert_close(ours, theirs)
    ours = system.loss(batch, "main")
    if impute == "zeros":
        assert set(ours) == {"task"}
        torch.testing.assert_close(ours["task"], slow.task_loss(theirs, batch.target, task))
        return
    theirs = slow.losses(w, rows, batch.target, task, HEADS, 0.3)
    assert set(ours) == set(theirs)
    for name, term in theirs.items():
        torch.testing.assert_close(ours[name], term)
    parameters = dict(system.named_parameters())
    gradients = [torch.autograd.grad(sum(terms.values()), list(parameters.values())) for terms in (ours, theirs)]
    for name, a, b in zip(parameters, *gradients):
        torch.testing.assert_close(a, b, msg=name)
        assert a.abs().sum() > 0, name


def test_similarities_are_cut_and_survive():
    system, batch, rows, _, w = prepared()
    A = system.similarity(system.rows(batch), system.rows(batch))
    h = [slow.embedded(w, row) for row in rows]
    graph = slow.Graph(w, h)
    expected = [[slow.cut(graph.similarity(a, b), w["threshold"]) for b in h] for a in h]
    torch.testing.assert_close(A, torch.stack([torch.stack(row) for row in expected]))
    off = ~torch.eye(9, dtype=torch.bool)
    assert (A[off] == 0).any() and (A[off] > 0).any() and torch.equal(A.diagonal(), torch.ones(9, dtype=DOUBLE))


@pytest.mark.parametrize("rows_of_train", [60, 7])
def test_a_bank_completes_each_row_alone(rows_of_train):
    system, batch, rows, data, w = prepared(reference="bank")
    data = data.subset(torch.cat([data.rows("train")[:rows_of_train], data.rows("valid"), data.rows("test")]), "fewer")
    system.setup(data.view("train", {m: flags(PRESENT[m]).repeat(7)[:rows_of_train, None] for m in WIDTHS}))
    assert len(bank_of(system)) == min(rows_of_train, 11) and not system.batch_dependent
    expected = slow.predict(w, rows, HEADS, bank=bank_of(system))
    torch.testing.assert_close(system.predict(batch).logits, expected)
    alone = [slow.predict(w, [row], HEADS, bank=bank_of(system))[0] for row in rows[:2]]
    torch.testing.assert_close(expected[:2], torch.stack(alone))
    # Training takes the graph of the batch.
    terms = slow.losses(w, rows, batch.target, "multiclass", HEADS, 0.3)
    torch.testing.assert_close(system.loss(batch, "main")["task"], terms["task"])


def test_the_bank_is_drawn_by_the_seed_of_the_system():
    banks = []
    for seed in (0, 0, 1):
        system, _, _, data, _ = prepared(seed=seed, reference="bank")
        torch.manual_seed(seed + 5)
        system.setup(data.view("train"))
        banks.append(system.bank_0.clone())
        vectors = data.features["text"][data.rows("train")].double().mean(1)
        near = torch.cdist(system.bank_0, vectors).argmin(1)
        assert len(set(near.tolist())) == 11
    assert torch.equal(banks[0], banks[1]) and not torch.equal(banks[0], banks[2])


def test_a_prediction_depends_on_its_batch_where_declared():
    system, batch, _, _, _ = prepared()
    assert system.batch_dependent and "batch_dependent" in system.traits
    half = system.predict(batch.select(torch.arange(4))).logits
    assert (system.predict(batch).logits[:4] - half).abs().max() > 1e-3
    assert not prepared(impute="zeros")[0].batch_dependent


@pytest.mark.parametrize("reference", ["batch", "bank"])
def test_rows_without_neighbours_stay_finite(reference):
    system, batch, _, data, _ = prepared(reference=reference)
    if reference == "bank":
        system.setup(data.view("train", {m: torch.full((60, 1), m == "audio") for m in WIDTHS}))
    for rows in ([0], [1, 2], [1, 4, 6, 7], [8, 2]):
        part = batch.select(torch.tensor(rows))
        part = replace(part, x={m: v.clone().requires_grad_() for m, v in part.x.items()})
        terms = system.loss(part, "main")
        gradients = torch.autograd.grad(sum(terms.values()), [*system.parameters(), *part.x.values()])
        assert all(g.isfinite().all() for g in gradients) and system.predict(part).logits.isfinite().all()
    nothing = batch.without("text", "audio", "vision")
    assert system.predict(nothing).logits.isfinite().all() and system.loss(nothing, "main")["task"].isfinite()


def test_variants_start_from_the_same_weights():
    _, _, data = batch_of("multiclass")
    options = ({}, {"reference": "bank"}, {"impute": "zeros"})
    first, *others = (dict(M3Care.for_data(data, 3, d=6, heads=2, **o).named_parameters()) for o in options)
    for other in others:
        assert set(other) == set(first) and all(torch.equal(first[k], p) for k, p in other.items())
