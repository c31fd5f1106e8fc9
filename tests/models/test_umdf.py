"""UMDF against the slow per-sample reference, properties of its losses and views, and its error checks."""

import math
import re
from dataclasses import replace

import pytest
import torch

from mmlib import synthetic
from mmlib.data.dataset import Batch
from mmlib.models.base import task_loss
from mmlib.models.umdf import MCIM, UMDF, js, kl, mmd2
from mmlib.training.evaluate import evaluate, predict
from mmlib.training.fit import fit
from tests.bench.umdf import saved_bytes
from tests.reference import umdf as reference

DIMS = {"text": 5, "audio": 3, "vision": 4}
SMALL = {"d": 4, "layers": 2, "heads": 2, "depth": 1}
LENGTHS = {"aligned": (6, 6, 6), "unaligned": (4, 9, 7), "vector": (5, 1, 3), "vectors": (1, 1, 1)}


def system_of(dims=DIMS, task="regression", outputs=1, **arguments):
    torch.manual_seed(0)
    return UMDF(dims, task, outputs, **{**SMALL, **arguments}).double().eval()


def weights_of(system):
    """The system's parameters under the reference's names."""
    weights = {}
    for name, value in system.named_parameters():
        name = (
            name.replace("targets.", "")
            .replace(".layers.", ".")
            .replace("ffn.2.", "ffn.1.")
            .replace("embedding.", "embed.")
        )
        weights[name] = value
    # UMDF has no such bias: the softmax would cancel it.
    weights["dfim.score.bias"] = torch.zeros(1, dtype=torch.float64)
    return weights


def config_of(system, interaction="crossmodal", integration="dfim", scaling="length", **distillation):
    return reference.Config(
        layers=len(system.mcim), heads=SMALL["heads"], depth=SMALL["depth"],
        interaction="self" if interaction == "self" else "cross", integration=integration, scaling=scaling, **distillation,
    )  # fmt: skip


def clips(lengths=(6, 6, 6), n=5, seed=0, dims=DIMS, task="regression", outputs=1):
    """Rows with all modalities, all but the first, all but the second, only the first, only the last; lengths differ."""
    generator = torch.Generator().manual_seed(seed)
    x, frames = {}, {}
    for i, ((m, d), T) in enumerate(zip(dims.items(), lengths)):
        real = torch.arange(T) < torch.randint(max(1, T - 2), T + 1, (n, 1), generator=generator)
        missing = torch.tensor([False, i == 0, i == 1, i != 0, i != len(dims) - 1])[torch.arange(n) % 5]
        frames[m] = real & ~missing[:, None]
        x[m] = torch.randn(n, T, d, generator=generator, dtype=torch.float64) * frames[m][..., None]
    target = torch.randn(n, generator=generator, dtype=torch.float64)
    if task == "multiclass":
        target = torch.randint(outputs, (n,), generator=generator)
    elif task != "regression":
        target = torch.randint(2, (n, outputs), generator=generator).double()
    return Batch(x=x, observed=frames, target=target, index=torch.arange(n))


def sample(batch, frames, i):
    return [x[i] for x in batch.x.values()], [f[i] for f in frames.values()]


def at_last(H, last):
    return torch.stack([h[step] for h, step in zip(H, last)])


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"interaction": "self"}, {"integration": "concatenation"}, {"scaling": "none"}],
    ids=["paper", "w/o MCIM", "w/o DFIM", "unscaled"],
)
def test_logits_equal_the_reference(lengths, arguments):
    system, batch = system_of(**arguments), clips(lengths)
    weights, config = weights_of(system), config_of(system, **arguments)
    logits = system.predict(batch.unlabelled()).logits
    for i in range(len(batch)):
        slow = reference.predict(weights, *sample(batch, batch.observed, i), config)
        torch.testing.assert_close(logits[i], slow, rtol=1e-9, atol=1e-9)


def test_two_modalities_in_single_precision_equal_the_reference_to_1e_5():
    dims = {"text": 6, "audio": 2}
    system = system_of(dims, "multiclass", 3, d=20, heads=10, layers=4, depth=2).float()
    batch = clips((7, 1), dims=dims)
    batch = replace(batch, x={m: x.float() for m, x in batch.x.items()})
    config = reference.Config(layers=4, heads=10, depth=2)
    slow = [reference.predict(weights_of(system), *sample(batch, batch.observed, i), config) for i in range(len(batch))]
    torch.testing.assert_close(system.predict(batch).logits, torch.stack(slow), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("task", "outputs"), [("regression", 1), ("multiclass", 3), ("multibinary", 4)])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"estimator": "unbiased"}, {"kernel": "linear"}, {"feature": "paired"}, {"integration": "concatenation"}],
    ids=["biased", "unbiased", "linear", "paired", "w/o DFIM"],
)
def test_losses_and_gradients_equal_the_reference(task, outputs, arguments, monkeypatch):
    system = system_of(task=task, outputs=outputs, lambda1=0.3, lambda2=0.7, **arguments)
    batch = clips((4, 7, 5), task=task, outputs=outputs)
    torch.manual_seed(3)
    S_a, S_b = system.views(batch)
    monkeypatch.setattr(system, "views", lambda _: (S_a, S_b))
    terms = system.loss(batch, "main")
    rows = range(len(batch))
    slow = reference.losses(
        weights_of(system), [sample(batch, S_a, i) for i in rows], [sample(batch, S_b, i) for i in rows],
        batch.target, task, config_of(system, **arguments), 0.3, 0.7,
    )  # fmt: skip
    assert set(terms) == set(slow)
    for name, term in terms.items():
        torch.testing.assert_close(term, slow[name], rtol=1e-8, atol=1e-9)
    ours = torch.autograd.grad(sum(terms.values()), list(system.parameters()))
    theirs = torch.autograd.grad(sum(slow.values()), list(system.parameters()))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_gradients_against_finite_differences():
    x = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for estimator in ("biased", "unbiased"):
        assert torch.autograd.gradcheck(lambda a, b, e=estimator: mmd2(a, b, "linear", e), x)
    assert torch.autograd.gradcheck(lambda a, b: js(a, b, "multiclass"), x)
    assert torch.autograd.gradcheck(lambda a, b: js(a, b, "multibinary"), x)
    layer = MCIM(2, 4, 2, 0.0, "crossmodal").double()
    Z = [torch.randn(2, T, 4, dtype=torch.float64, requires_grad=True) for T in (3, 2)]
    assert torch.autograd.gradcheck(lambda *Z: tuple(layer(list(Z))), Z)
    system = system_of()
    H = [torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *H: system.dfim(*H, torch.tensor([2, 1])), H)


def test_masked_attention_is_attention_over_the_observed_frames():
    system, batch = system_of(masked=True), clips((6, 6, 6))
    alone = batch.select(torch.tensor([0]))
    for T in (4, 5, 6):  # three frames of text and no others, whatever the padding behind them
        x = {m: torch.zeros(1, T if m == "text" else 1, d, dtype=torch.float64) for m, d in DIMS.items()}
        x["text"][:, :3] = alone.x["text"][:, :3]
        frames = {m: torch.zeros(v.shape[:2], dtype=torch.bool) for m, v in x.items()}
        frames["text"][:, :3] = True
        Z = [z[:, :3] if i == 0 else z for i, z in enumerate(system.embed(x, frames))]
        long = system.embed(x, frames)
        inner = system.mcim[0].coarse(long, 0, list(frames.values()))[:, :3]
        cut = system.mcim[0].coarse(Z[:1], 0, None)
        torch.testing.assert_close(inner, cut)
    assert bool(system.predict(clips((6, 6, 6))).logits.isfinite().all())
    CA, source, target = system.mcim[0].targets[0].coarse, *torch.randn(2, 3, 5, 4, dtype=torch.float64)
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    torch.testing.assert_close(CA(source, target, nothing), CA(source, target))
    some = nothing.index_fill(1, torch.tensor([1, 3]), True)
    torch.testing.assert_close(CA(source, target, some), CA(source[:, [1, 3]], target))


# Losses


def test_mmd_by_hand():
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    assert float(mmd2(a, b, "linear")) == pytest.approx((0.5 - 4.0) ** 2)
    # Within: the two products of different points, 0 * 1 and 3 * 5; between: (0 + 1)(3 + 5) / 4.
    assert float(mmd2(a, b, "linear", "unbiased")) == pytest.approx(0 + 15 - 2 * 2.0)
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    expected = (
        2 - 2 * sum(math.exp(-1 / c) for c in (0.25, 0.5, 1, 2, 4)) / 5
    )  # the median distance is the only one, 25
    assert float(mmd2(one, other)) == pytest.approx(expected, rel=1e-6)
    assert float(mmd2(one, other, estimator="unbiased")) == 0


def test_mmd_ignores_the_pairing_and_a_paired_distance_does_not():
    x = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    shuffled = x[torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    assert abs(float(mmd2(x, shuffled))) < 1e-6 and float(mmd2(x, 2 * x)) > 0.01
    system = UMDF({"a": 2, "b": 2}, "regression", 1, feature="paired", **SMALL)
    assert float(system.feature_distillation(x, x)) == 0 and float(system.feature_distillation(x, shuffled)) > 0.5


def test_equal_distributions_have_a_biased_mmd_above_zero():
    generator = torch.Generator().manual_seed(0)
    means = {}
    for estimator in ("biased", "unbiased"):
        draws = [mmd2(*torch.randn(2, 16, 120, generator=generator), estimator=estimator) for _ in range(200)]
        means[estimator] = torch.stack(draws)
    assert float(means["biased"].mean()) == pytest.approx(0.079, abs=0.01)  # the audit's number for n = 16
    assert abs(float(means["unbiased"].mean())) < 4 * float(means["unbiased"].std()) / 200**0.5


def test_identical_vectors_have_no_distance_and_no_wild_gradient():
    x = torch.ones(4, 3, requires_grad=True)
    for estimator in ("biased", "unbiased"):
        value = mmd2(x, x.detach(), estimator=estimator)
        value.backward()
        assert float(value.detach()) == pytest.approx(0, abs=1e-6) and bool(x.grad.isfinite().all())


def test_js_and_kl_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    assert float(kl(p.log(), q.log())) == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    half = [(0.5 + 0.9) / 2, (0.5 + 0.1) / 2]
    by_hand = sum(0.5 * math.log(0.5 / h) for h in half) + sum(x * math.log(x / h) for x, h in zip((0.9, 0.1), half))
    assert float(js(p.log(), q.log(), "multiclass")) == pytest.approx(by_hand / 2, rel=1e-6)
    yes, no = torch.tensor([[200.0, 0.0]]), torch.tensor([[-200.0, 0.0]])
    assert float(js(yes, no, "multibinary")) == pytest.approx(math.log(2) / 2)  # one label opposed, one equal
    assert float(js(yes, no, "multiclass")) == pytest.approx(math.log(2))
    assert float(js(yes, yes, "multilabel")) == 0


# Views


def test_views_differ_are_not_empty_and_contain_only_observed_frames():
    system, batch = system_of(), clips((6, 6, 6), n=400)
    several = torch.stack(list(batch.present.values())).sum(0) > 1
    torch.manual_seed(0)
    for _ in range(5):
        views = system.views(batch)
        for view in views:
            assert all(bool((view[m] <= batch.observed[m]).all()) for m in view)
            assert bool(torch.stack([f.any(1) for f in view.values()]).any(0).all())
        same = torch.stack([(a == b).all(1) for a, b in zip(views[0].values(), views[1].values())]).all(0)
        assert not bool((same & several).any())


def test_view_patterns_are_uniform_and_frames_are_lost_at_every_rate():
    system, n = system_of(p_max=0.5), 14_000
    frames = {m: torch.ones(n, 40, dtype=torch.bool) for m in DIMS}
    batch = Batch({m: torch.zeros(n, 40, d) for m, d in DIMS.items()}, frames, None, torch.arange(n))
    torch.manual_seed(0)
    for view in system.views(batch):
        present = torch.stack([f.any(1) for f in view.values()], 1)
        patterns, counts = present.unique(dim=0, return_counts=True)
        assert len(patterns) == 7 and bool(((counts - n / 7).abs() < 5 * (n / 7) ** 0.5).all())
        lost = 1 - view["text"][present[:, 0]].float().mean(1)
        assert (
            float(lost.mean()) == pytest.approx(0.25, abs=0.01) and bool((lost == 0).any()) and float(lost.max()) > 0.6
        )
    system = system_of(p_max=1.0)
    assert all(bool(torch.stack([f.any(1) for f in v.values()]).any(0).all()) for v in system.views(batch))


def test_views_of_vectors_are_two_different_sets_of_modalities():
    dims = {"a": 2, "b": 2}
    system = system_of(dims)
    both = {m: torch.ones(3000, 1, dtype=torch.bool) for m in dims}
    batch = Batch({m: torch.zeros(3000, 1, 2) for m in dims}, both, None, torch.arange(3000))
    torch.manual_seed(0)
    a, b = ((2 * v["a"] + v["b"]).squeeze(1) for v in system.views(batch))
    assert not bool((a == b).any())
    pairs = torch.stack((a, b), 1).unique(dim=0, return_counts=True)[1]
    assert len(pairs) == 6 and bool((pairs / 3000 - 1 / 6).abs().max() < 0.03)


@pytest.mark.parametrize(
    "views, alone, equal, complete", [("missing", 0, 0, 0), ("any", 1 / 49, 1 / 7, 1 / 49), ("one", 1 / 7, 1, 1 / 7)]
)
def test_what_a_training_pair_of_vectors_sees(views, alone, equal, complete):
    """Shares of pairs: nothing but the audio in either view, equal views, and all modalities in both."""
    system, n = system_of(views=views), 40_000
    observed = {m: torch.ones(n, 1, dtype=torch.bool) for m in DIMS}
    batch = Batch({m: torch.zeros(n, 1, d) for m, d in DIMS.items()}, observed, None, torch.arange(n))
    torch.manual_seed(0)
    a, b = (torch.cat([v[m] for m in DIMS], 1) for v in system.views(batch))  # (n, 3)
    only_audio = ((a | b) == torch.tensor([False, True, False])).all(1)
    shares = torch.stack([only_audio, (a == b).all(1), (a & b).all(1)]).double().mean(1)
    expected = torch.tensor([alone, equal, complete], dtype=torch.float64)
    assert bool(((shares - expected).abs() <= 5 * (expected * (1 - expected) / n) ** 0.5).all()), shares
    assert a.unique(dim=0, return_counts=True)[1].div(n).sub(1 / 7).abs().max() < 0.01


def test_one_view_is_modality_dropout_without_distillation():
    batch, system = clips(n=60), system_of(views="one", lambda1=5.0, lambda2=5.0, f_y="supervised", streams="cloned")
    torch.manual_seed(0)
    view, same = system.views(batch)
    assert same is view
    two = system_of(views="any")
    torch.manual_seed(0)
    assert all(torch.equal(view[m], f) for m, f in two.views(batch)[0].items())
    torch.manual_seed(0)
    terms = system.loss(batch, "main")
    logits = system.predict(replace(batch, observed=view)).logits.squeeze(1)
    assert set(terms) == {"task"}
    torch.testing.assert_close(terms["task"], (logits - batch.target).square().mean())


def test_complete_views_are_the_batch():
    system, batch = system_of(views="complete"), clips()
    assert system.views(batch) == (batch.observed, batch.observed)


# Behaviour


def test_the_last_step_is_real_with_padding_at_either_end():
    system = system_of()
    batch = clips((6, 6, 6), n=1)
    end = {m: torch.tensor([[1, 1, 1, 1, 0, 0]]).bool() for m in DIMS}
    front = {m: f.flip(1) for m, f in end.items()}
    assert int(system.represent(batch.x, end)[1]) == 3 and int(system.represent(batch.x, front)[1]) == 5
    nothing = {m: torch.zeros_like(f) for m, f in end.items()}
    assert int(system.represent(batch.x, {**nothing, "vision": end["vision"]})[1]) == 3
    unaligned = clips((4, 8, 1), n=1)
    observed = {m: torch.zeros(1, x.shape[1], dtype=torch.bool) for m, x in unaligned.x.items()}
    for frame, step in ((0, 0), (3, 1), (4, 2), (7, 3)):  # a frame of eight falls on half a step of four
        observed["audio"] = (torch.arange(8) == frame)[None]
        assert int(system.represent(unaligned.x, observed)[1]) == step
    observed["audio"] = torch.zeros(1, 8, dtype=torch.bool)
    observed["vision"] = torch.ones(1, 1, dtype=torch.bool)
    assert int(system.represent(unaligned.x, observed)[1]) == 3, "a vector fills all steps"
    observed["audio"][:, 2] = True
    assert int(system.represent(unaligned.x, observed)[1]) == 1, "beside a sequence it does not count"


@pytest.mark.parametrize("views", ["missing", "any", "one"])
def test_training_reads_the_step_that_test_reads_from_a_vector_alone(views, monkeypatch):
    """A vector beside sentences of 2 of 6 words: the encoder's last step of audio alone is one that training reads, too."""
    dims = {"text": 5, "audio": 3}
    system = system_of(dims, views=views)
    words = (torch.arange(6) < 2).expand(400, 6)
    observed = {"text": words, "audio": torch.ones(400, 1, dtype=torch.bool)}
    x = {m: torch.ones(400, f.shape[1], dims[m], dtype=torch.float64) * f[..., None] for m, f in observed.items()}
    batch = Batch(x, observed, torch.zeros(400, dtype=torch.float64), torch.arange(400))
    steps = []
    read = system.dfim.forward
    monkeypatch.setattr(system.dfim, "forward", lambda a, b, last: steps.append(last) or read(a, b, last))
    torch.manual_seed(0)
    system.loss(batch, "main")
    system.predict(batch.without("text"))
    trained, tested = steps
    assert tested.unique().tolist() == [5] and float((trained == 5).double().mean()) > 0.2
    system.predict(batch)
    assert steps[-1].unique().tolist() == [1], "padding is not read where text is observed"


def test_both_views_share_one_pass_and_weights(monkeypatch):
    system, batch = system_of(), clips()
    calls = []
    monkeypatch.setattr(
        system.mcim[0], "forward", lambda Z, observed, f=system.mcim[0].forward: calls.append(len(Z[0])) or f(Z)
    )
    system.loss(batch, "main")
    assert calls == [2 * len(batch)]


def test_equal_streams_make_the_gate_irrelevant():
    """Eq 11 with H_a = H_b is H whatever mu is: at test, selective filtering does nothing."""
    system, batch = system_of(), clips()
    before = system.predict(batch).logits
    with torch.no_grad():
        system.dfim.gate.weight.normal_()
        system.dfim.gate.bias.normal_()
    torch.testing.assert_close(system.predict(batch).logits, before)


def test_ablations_and_weights_of_the_terms():
    batch = clips()
    assert set(system_of(lambda1=0, lambda2=0).loss(batch, "main")) == {"task"}
    full, half = {}, {}
    for store, scale in ((full, 1.0), (half, 0.5)):
        torch.manual_seed(0)
        store |= system_of(lambda1=scale, lambda2=scale).loss(batch, "main")
    assert float((half["feature"] / full["feature"]).detach()) == pytest.approx(0.5)
    assert float((half["logits"] / full["logits"]).detach()) == pytest.approx(0.5)
    shared, separate = system_of(), system_of(f_y="separate")
    assert shared.f_y is shared.head and separate.f_y is not separate.head
    supervised = system_of(f_y="supervised")
    torch.manual_seed(0)
    S = [{m: f.clone() for m, f in view.items()} for view in supervised.views(batch)]
    torch.manual_seed(0)
    terms = supervised.loss(batch, "main")
    both = [supervised.head(at_last(*supervised.represent(batch.x, view))).squeeze(1) for view in S]
    torch.testing.assert_close(terms["views"], sum((y - batch.target).square().mean() for y in both) / 2)
    assert supervised.f_y is supervised.head
    widths = [sum(p.numel() for p in system_of(interaction=i).parameters()) for i in ("crossmodal", "self")]
    assert widths[0] == widths[1], "the ablation changes the sources of attention, not the size"


def test_cloned_streams_integrate_each_view_with_itself():
    batch, system = clips(), system_of(streams="cloned", lambda1=0, lambda2=0)
    torch.manual_seed(1)
    views = system.views(batch)
    torch.manual_seed(1)
    task = system.loss(batch, "main")["task"]
    each = [system.predict(replace(batch, observed=view)).logits.squeeze(1) for view in views]
    torch.testing.assert_close(task, sum((y - batch.target).square().mean() for y in each) / 2)
    torch.manual_seed(1)
    assert abs(float((system_of(lambda1=0, lambda2=0).loss(batch, "main")["task"] - task).detach())) > 1e-6


def test_memory_is_linear_in_the_batch():
    system = system_of().train()
    # Without MMD: its kernel matrix of all pairs grows with the square, though at B = 128 it is but 256 KiB.
    system.lambda1 = 0
    sizes = [saved_bytes(system, clips((6, 6, 6), n=n)) for n in (40, 80, 160)]
    assert (sizes[2] - sizes[1]) == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.02)


def test_size_at_the_papers_settings():
    system = UMDF({"text": 300, "audio": 74, "vision": 35}, "regression", 1)
    assert 1.1e6 < sum(p.numel() for p in system.parameters()) < 1.3e6
    assert len(system.mcim) == 4 and system.embedding[0].weight.shape == (40, 300, 3)
    assert system.head.in_features == 120


@pytest.mark.parametrize(
    ("dims", "arguments", "message"),
    [
        ({"text": 3}, {}, "two or more modalities, the data have text"),
        (DIMS, {"feature": "mse"}, "feature 'mse' is not one of mmd, paired"),
        (DIMS, {"kernel": "rfb"}, "kernel 'rfb' is not one of rbf, linear"),
        (DIMS, {"estimator": "u"}, "estimator 'u' is not one of biased, unbiased"),
        (DIMS, {"interaction": "none"}, "interaction 'none' is not one of crossmodal, self"),
        (DIMS, {"integration": "sum"}, "integration 'sum' is not one of dfim, concatenation"),
        (DIMS, {"views": "two"}, "views 'two' is not one of missing, any, one, complete"),
        (DIMS, {"p_max": 1.5}, re.escape("p_max 1.5 is outside 0..1")),
        (DIMS, {"d": 10, "heads": 4}, "width 10 cannot be divided among 4 heads"),
    ],
)
def test_bad_arguments(dims, arguments, message):
    with pytest.raises(ValueError, match=message):
        UMDF(dims, "regression", 1, **{**SMALL, **arguments})


# Extreme inputs


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_trains_on_any_length_and_on_single_samples(frames, batch_size):
    data = synthetic.like("mosi", dim=4, length=frames).sample({"train": 6, "valid": 3, "test": 3})
    system = UMDF.for_data(data, **SMALL)
    fit(
        system,
        data,
        "complete",
        valid_protocol="patterns",
        epochs=2,
        batch_size=batch_size,
        max_grad_norm=0.8,
        progress=False,
    )
    assert all(bool(p.isfinite().all()) for p in system.parameters())
    for condition in ("complete", "frames(0)", "frames(1)", "available(vision)", "available(text) then frames(1)"):
        assert math.isfinite(evaluate(system, data, condition)["mae"])
    torch.testing.assert_close(predict(system, data, "frames(0)").logits, predict(system, data, "complete").logits)


def test_a_modality_that_a_whole_batch_lacks():
    data = synthetic.like("iemocap", dim=4, length=5).sample({"train": 12, "valid": 8, "test": 8})
    system = UMDF.for_data(data, **SMALL)
    fit(system, data, "available(audio, vision)", epochs=2, batch_size=4, progress=False)
    for condition in ("available(text)", "available(audio, vision)", "complete"):
        assert bool(predict(system, data, condition).logits.isfinite().all())


def test_padding_one_row_does_not_move_another():
    system, batch = system_of(), clips((6, 6, 6))
    before = system.predict(batch).logits
    shorter = {m: f.clone() for m, f in batch.observed.items()}
    shorter["text"][0, 2:] = False
    after = system.predict(replace(batch, observed=shorter)).logits
    torch.testing.assert_close(after[1:], before[1:])
    assert abs(float((after[0] - before[0]).detach())) > 1e-9


def test_task_loss_is_the_shared_one():
    system, batch = system_of(task="multibinary", outputs=4), clips(task="multibinary", outputs=4)
    system.random_views = False
    logits = system.predict(batch).logits
    torch.testing.assert_close(system.loss(batch, "main")["task"], task_loss(logits, batch.target, "multibinary"))
