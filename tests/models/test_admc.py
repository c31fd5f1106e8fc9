"""ADMC against its slow reference, its invariants, and the exact conditional distribution of Gaussian tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmlib import metrics, synthetic
from mmlib.models.admc import gaussian
from mmlib.models.admc.diffusion import ADN, VARIANTS, Attention, ConditionalADN, ConditionalAttention, OfficialADN
from mmlib.models.admc.noise import row_normal
from mmlib.models.admc.row_cache import RowCache
from mmlib.models.admc.system import ADMC, MF
from mmlib.models.pooling import LSTMPool, TextCNN
from mmlib.names import DataError
from mmlib.synthetic import Modality
from mmlib.training.evaluate import evaluate
from mmlib.training.fit import TrainingError, fit
from tests.helpers.conditional import BLURS, conditional_errors
from tests.reference import admc as reference

TINY = {
    "d": 8, "heads": 2, "layers": 1, "N": 12, "start": 4, "steps": 4, "sampler": "ddpm", "fusion_heads": 2,
    "fusion_layers": 1,
}  # fmt: skip
EPOCHS = {"itfn": 2, "adn": 2, "mf": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def numbers(module):
    return {k: v.detach().double().numpy() for k, v in module.state_dict().items()}


def close(ours, theirs, **tolerance):
    np.testing.assert_allclose(ours.detach().numpy(), theirs, **({"rtol": 1e-9, "atol": 1e-9} | tolerance))


@pytest.fixture
def adn():
    torch.manual_seed(0)
    return ADN(3, 6, width=8, heads=2, layers=2, N=12, start=4).double()


@pytest.fixture(scope="module")
def clips():
    return synthetic.like("iemocap", dim=5, length=4).sample({"train": 60, "valid": 40, "test": 40})


@pytest.fixture(scope="module")
def trained(clips):
    system = ADMC.for_data(clips, **TINY)
    fit(system, clips, "complete", epochs=EPOCHS, progress=False)
    return system


# ------------------------------------------------------------------------------------------------- against the reference


def masked(rows, T, d):
    frames = torch.rand(rows, T, generator=generator()) < 0.5
    frames[0], frames[1] = False, True
    return normal(rows, T, d), frames


def test_lstm_pool_equals_the_reference():
    torch.manual_seed(0)
    encoder, (x, frames) = LSTMPool(3, 5).double(), masked(6, 7, 3)
    weights = {k.removeprefix("lstm."): v for k, v in numbers(encoder).items()}
    close(encoder(x, frames), reference.lstm_pool(x.numpy(), frames.numpy(), weights))


@pytest.mark.parametrize("T", [1, 2, 7])
def test_textcnn_equals_the_reference(T):
    torch.manual_seed(0)
    encoder, (x, frames) = TextCNN(3, 5, channels=4).double().eval(), masked(6, T, 3)
    close(encoder(x, frames), reference.textcnn(x.numpy(), frames.numpy(), numbers(encoder)))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_denoiser_equals_the_reference(conditional):
    torch.manual_seed(0)
    net = (ConditionalAttention if conditional else Attention)(3, 6, 8, 2, 2).double()
    F, F0 = normal(4, 3, 6), normal(4, 3, 6, seed=1)
    available = torch.rand(4, 3, generator=generator()) < 0.5
    clean = (F0, available) if conditional else ()
    theirs = (F0.numpy(), available.numpy()) if conditional else None
    close(net(F, torch.full((4,), 7), *clean), reference.denoiser(F.numpy(), 7, numbers(net), 2, known=theirs))


@pytest.mark.parametrize("c", [6, 12])
def test_fusion_equals_the_reference(c):
    torch.manual_seed(0)
    mf = MF(3, c, 8, 4, heads=2, layers=2, dropout=0.3).double().eval()
    F = normal(5, 3, 6)
    F_M = F if c == 6 else torch.cat([F, 2 * F], 2)
    theirs = F.numpy() if c == 6 else reference.enhance(F.numpy(), 2 * F.numpy())
    close(mf(F_M), reference.fusion(theirs, numbers(mf), 2))


def test_diffused_equals_the_reference(adn):
    F0, eps, n = normal(4, 3, 6), normal(4, 3, 6, seed=1), torch.tensor([0, 1, 7, 12])
    beta, alpha, abar = reference.schedule(12, 3e-4, 6e-2)
    close(adn.diffused(F0, n, eps), reference.q_sample(F0.numpy(), n.numpy(), eps.numpy(), abar))
    torch.testing.assert_close(adn.diffused(F0, n, eps)[0], F0[0])


def eps_of(adn):
    return lambda F, n: adn.eps(torch.from_numpy(F), torch.full((len(F),), n)).detach().numpy()


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_a_reverse_step_equals_the_reference(adn, n, variance, clip):
    adn.variance, adn.clamp = variance, clip
    F, noise = normal(4, 3, 6), normal(4, 3, 6, seed=1)
    eps = eps_of(adn)(F.numpy(), n)
    theirs = reference.reverse_step(
        F.numpy(), n, eps, noise.numpy(), reference.schedule(12, 3e-4, 6e-2), variance, clip=clip
    )
    close(adn.reverse(F, n, n - 1, noise), theirs)


def test_a_ddim_step_equals_the_reference(adn):
    adn.sampler, adn.eta = "ddim", 0.0
    F = normal(4, 3, 6)
    theirs = reference.ddim_step(F.numpy(), 9, 4, eps_of(adn)(F.numpy(), 9), reference.schedule(12, 3e-4, 6e-2)[2])
    close(adn.reverse(F, 9, 4, F), theirs)


def test_ddim_with_noise_in_short_steps_is_ddpm(adn):
    F, noise = normal(4, 3, 6), normal(4, 3, 6, seed=1)
    ddpm = adn.reverse(F, 9, 8, noise)
    adn.sampler = "ddim"
    close(adn.reverse(F, 9, 8, noise), ddpm.detach().numpy())


def test_the_released_sampler_step_by_step():
    """Labels N-n..1 from noise, one injection at n, steps n..1 without merging, the available part put back; clamped."""
    torch.manual_seed(0)
    adn = OfficialADN(3, 6, width=4, N=12, start=4).double()
    schedule = reference.schedule(12, 2e-4, 4e-2)
    F0, key = 2 * normal(5, 3, 6), torch.arange(5)
    available = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]).bool()

    def noise(purpose, n):
        return row_normal(key, (0, purpose, n, 0), (3, 6)).double().numpy()

    def step(F, n, label):
        eps = adn.denoiser(torch.from_numpy(F), torch.full((5,), n)).detach().numpy()
        return reference.reverse_step(F, n, eps, noise("reverse", label), schedule, "posterior", clip=1.0)

    F = noise("start", 12)
    for n in range(8, 0, -1):
        F = step(F, n, n + 4)
    F = reference.merge(F, F0.numpy(), available.numpy(), 4, noise("known", 4), schedule[2])
    for n in range(4, 0, -1):
        F = step(F, n, n)
    F = np.where(available.numpy()[..., None], F0.numpy(), F)
    close(adn.complete(F0, available, key), F)
    assert np.abs(F[~available.numpy()]).max() <= 1 + 1e-9


@pytest.mark.parametrize(("start", "resample"), [(0, 1), (1, 1), (4, 1), (12, 1), (4, 3), (12, 2)])
def test_completion_equals_the_reference(adn, start, resample):
    adn.start, adn.resample = start, resample
    F0, key = normal(6, 3, 6), torch.tensor([5, 5, 2, 9, 5, 0])
    available = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]).bool()

    def noise(purpose, shift=0):
        return lambda n, u=0: row_normal(key, (0, purpose, n, u + shift), (3, 6)).double().numpy()

    def reverse(n, u=0):
        return noise("start")(12) if n == 13 else noise("reverse")(n, u)

    theirs = reference.complete(
        F0.numpy(), available.numpy(), eps_of(adn), start, reverse, noise("known"),
        reference.schedule(12, 3e-4, 6e-2), "posterior", resample, noise("again", 1),
    )  # fmt: skip
    close(adn.complete(F0, available, key), theirs)


# --------------------------------------------------------------------------------------------------------- the diffusion


def test_the_schedule_is_the_papers():
    adn = ADN(2, 4, heads=2)
    assert [adn.abars[n] for n in (0, 30, 50, 80, 200)] == pytest.approx([1, 0.966, 0.916, 0.808, 0.285], abs=1e-3)
    assert adn.abars[1000] == pytest.approx(4e-14, rel=0.05)
    assert (adn.N, adn.start, adn.betas[1], adn.betas[1000]) == (1000, 50, 3e-4, 6e-2)
    official = OfficialADN(2, 4)
    assert (official.betas[1], official.betas[1000], official.clamp) == (2e-4, 4e-2, 1.0)


CASES = [
    ("paper", {}), ("paper", {"start": 12}), ("paper", {"sampler": "ddim", "steps": 4}), ("paper", {"resample": 2}),
    ("paper", {"variance": "beta"}), ("official", {}), ("conditional", {}), ("paper", {"denoiser": "unet"}),
    ("paper", {"merge": "once"}),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "arguments"), CASES)
def test_batch_order_and_hidden_features_do_not_change_a_completion(variant, arguments):
    torch.manual_seed(0)
    adn = VARIANTS[variant](3, 6, **{"width": 8, "heads": 2, "layers": 1, "N": 12, "start": 4} | arguments)
    F_o, key = normal(20, 3, 6).float(), torch.arange(20) * 3
    available = torch.rand(20, 3, generator=generator()) < 0.5
    available[:, 1] |= ~available.any(1)
    whole = adn.complete(F_o, available, key)
    assert torch.equal(whole[available], F_o[available]) and not torch.equal(whole[~available], F_o[~available])
    order = torch.randperm(20, generator=generator())
    parts = [adn.complete(F_o[r], available[r], key[r]) for r in order.split(7)]
    torch.testing.assert_close(torch.cat(parts), whole[order], rtol=1e-4, atol=1e-5)
    poisoned = F_o.masked_fill(~available[..., None], torch.nan)
    assert torch.equal(adn.complete(poisoned, available, key), whole)
    assert not torch.equal(adn.complete(F_o, available, key + 1), whole)
    assert not torch.equal(adn.complete(F_o, available, key, seed=1), whole)


def test_rows_share_what_is_unconditional(adn):
    """N - n steps for each row and n steps for each row and pattern, whatever the number of patterns."""
    rows = []
    adn.denoiser.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    patterns = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]).bool()
    F = normal(5, 3, 6)
    together = adn.complete(F.repeat_interleave(6, 0), patterns.repeat(5, 1), torch.arange(5).repeat_interleave(6))
    assert sum(rows) == 8 * 5 + 4 * 30
    alone = adn.complete(F, patterns[3].expand(5, -1), torch.arange(5))
    close(together[3::6], alone.numpy())


def test_ddim_keeps_few_steps_and_merges_where_asked():
    adn = ADN(3, 6, heads=2, sampler="ddim", steps=25)
    path = adn.path(50, adn.top) + adn.path(0, 50)
    assert len(path) <= 25 and path[0][0] == adn.top == 547 and path[-1][1] == 0
    assert 50 in {n for n, _ in path} and adn.abars[547] >= 1e-4 > adn.abars[548]
    assert all(a[1] == b[0] for a, b in zip(path, path[1:]))
    assert len(ADN(3, 6, heads=2).path(0, 1000)) == 1000


def test_without_modality_vectors_attention_cannot_tell_tokens_apart(adn):
    F, n, order = normal(4, 3, 6), torch.full((4,), 9), [2, 0, 1]
    assert not torch.allclose(adn.eps(F, n)[:, order], adn.eps(F[:, order], n))
    torch.nn.init.zeros_(adn.denoiser.modality)
    torch.testing.assert_close(adn.eps(F, n)[:, order], adn.eps(F[:, order], n))


def test_the_linear_part_is_exact_where_noise_is_all_there_is():
    """At N the tokens are noise: eps' = F whatever the untrained network says."""
    torch.manual_seed(0)
    adn = ADN(2, 4, heads=2)
    F = normal(3, 2, 4).float()
    torch.testing.assert_close(adn.eps(F, torch.full((3,), 1000)), F, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 13}, "start is 13, it must be a step from 0 to N = 12"),
        ({"start": -1}, "start is -1"),
        ({"resample": 0}, "resample is 0"),
        ({"sampler": "euler"}, "sampler 'euler'"),
        ({"variance": "learned"}, "variance 'learned'"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        ADN(3, 6, **{"heads": 2, "N": 12, "start": 4} | arguments)


def test_a_variant_that_does_not_exist_and_one_that_a_unet_cannot_serve_are_refused():
    with pytest.raises(DataError, match="variant 'papers' is not one of paper, official, conditional"):
        ADMC({"text": 4, "audio": 4}, "regression", 1, variant="papers")
    with pytest.raises(DataError, match="take 'attention'"):
        ConditionalADN(3, 6, denoiser="unet")


def test_a_start_set_later_is_checked_and_a_row_without_anything_refused(adn):
    F, available, key = normal(2, 3, 6), torch.ones(2, 3).bool(), torch.arange(2)
    with pytest.raises(DataError, match="no modality available"):
        adn.complete(F, available & torch.tensor([[1], [0]]).bool(), key)
    adn.start = 13
    with pytest.raises(DataError, match="from 0 to N = 12"):
        adn.complete(F, available, key)


@pytest.mark.slow
def test_a_denoiser_that_sees_the_clean_tokens_finds_the_conditional_distribution():
    """After a short training; `make bench` trains longer and holds it to 10 and 15 percent."""
    errors = conditional_errors(4, 2, train=10_000, epochs=12, rows=20, draws=200, width=32, heads=4, layers=1)
    world = synthetic.draw("regression", {m: Modality(4, blur=b) for m, b in BLURS.items()}, latent=2)
    mean, S = gaussian.moments(world)
    replacing = ADN(3, 4, heads=2, start=50)
    replacing.denoiser = gaussian.Denoiser(mean, S, replacing.abar)
    best = [gaussian.completion_errors(replacing, mean, S, torch.tensor(p))[0] for p in errors]
    of_mean, of_sd = np.mean(list(errors.values()), 0)
    assert np.mean(best) > 0.9 and of_mean < 0.5 and of_sd < 0.15


# ------------------------------------------------------------------------------------------------------------ the system


def test_stages_train_their_own_part_and_keep_their_best_epoch(clips):
    system = ADMC.for_data(clips, **TINY)
    seen = {}
    on_stage = system.on_stage

    def noted(stage, train):
        seen[stage] = {k: v.clone() for k, v in system.state_dict().items()}
        on_stage(stage, train)

    system.on_stage = noted
    history = fit(system, clips, "complete", epochs={"itfn": 6, "adn": 1, "mf": 1}, lr=1e-2, progress=False)
    seen["end"] = system.state_dict()
    scenarios = [
        "vision",
        "audio",
        "audio+vision",
        "text",
        "text+vision",
        "text+audio",
        "text+audio+vision",
        "enhanced",
    ]
    assert list(seen) == [*(f"itfn {m}" for m in clips.modalities), "adn", *(f"mf {s}" for s in scenarios), "end"]
    changed = {}
    for (stage, before), after in zip(seen.items(), list(seen.values())[1:]):
        changed[stage] = {".".join(k.split(".")[:2]) for k in before if not torch.equal(before[k], after[k])}
    for m in clips.modalities:
        assert changed[f"itfn {m}"] == {f"encoders.{m}", f"heads.{m}"}
    assert changed["adn"] == {"adn.denoiser", "mean", "scale"}
    for i, scenario in enumerate(scenarios[:-1]):
        assert changed[f"mf {scenario}"] == {f"mf.{i}"}
    assert changed["mf enhanced"] == {"mmer.project", "mmer.encoder", "mmer.head"}
    scores = history.frame.query("split == 'valid'").groupby("stage")["value"]
    assert set(scores.groups) == set(system.stages) - {"adn"}
    batch = clips.view("valid").batch(torch.arange(40))
    for stage in scores.groups:
        with torch.no_grad():
            logits = system.predict_in(stage, batch).logits
        assert metrics.score("multiclass", logits, batch.target)["ua"] == pytest.approx(scores.max()[stage])


def test_a_scenario_is_validated_as_it_is_tested(trained, clips):
    """predict_in hides by itself what the scenario lacks; predict meets it hidden."""
    view = clips.view("valid").batch(torch.arange(40))
    for stage, p in trained.scenarios.items():
        missing = [m for m, present in zip(trained.dims, trained.patterns[p]) if not present]
        expected = trained.mf[p](trained.generate(view, torch.eye(7)[p].bool().expand(40, -1))[:, p])
        torch.testing.assert_close(trained.predict_in(stage, view).logits, expected)
        if missing:
            torch.testing.assert_close(trained.predict(view.without(*missing)).logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained.predict_in("mf enhanced", view).logits, trained.predict(view).logits)


def test_completions_are_generated_once_however_long_the_fusion_trains(clips):
    calls = []
    for epochs in (1, 4):
        system, count = ADMC.for_data(clips, **TINY), []
        system.adn.denoiser.register_forward_hook(lambda *a, count=count: count.append(1))
        fit(system, clips, "complete", epochs={"itfn": 1, "adn": 1, "mf": epochs}, progress=False)
        calls.append(len(count))
    assert calls[0] == calls[1]


def test_each_loss_counts_only_the_rows_that_have_what_it_needs(trained, clips):
    """With absent modalities, poisoned, every term is that of the rows that can tell."""
    whole = clips.view("train").batch(torch.arange(30))
    keep = torch.arange(30) % 3
    frames = {m: f & (keep != i)[:, None] for i, (m, f) in enumerate(whole.observed.items()) if i < 2}
    batch = replace(whole, observed=whole.observed | frames)
    batch = replace(batch, x={m: x.masked_fill(~batch.observed[m][..., None], torch.nan) for m, x in batch.x.items()})
    has = torch.stack(list(batch.present.values()), 1)
    for stage in trained.stages:
        kind, _, m = stage.partition(" ")
        if kind == "itfn":
            rows = has[:, list(trained.dims).index(m)]
        elif stage in trained.scenarios:
            rows = (has | ~trained.patterns[trained.scenarios[stage]]).all(1)
        else:
            rows = has.all(1)
        sub = batch.select(rows.nonzero().flatten())
        if kind == "adn":  # which rows get which noise depends on the batch
            torch.manual_seed(0)
            ours = float(trained.loss(batch, stage)["ADN"].detach())
            torch.manual_seed(0)
            each = trained.adn.loss((trained.tokens(batch) - trained.mean) / trained.scale)
            assert ours == pytest.approx(float(each[rows].mean().detach()))
            continue
        ours, theirs = (next(iter(trained.eval().loss(b, stage).values())) for b in (batch, sub))
        assert 0 < len(sub) and (len(sub) < 30) == ("vision" != m)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["paper", "conditional"])
def test_the_diffusion_loss_by_hand(variant):
    torch.manual_seed(0)
    adn, F0 = VARIANTS[variant](3, 6, heads=2, layers=1, N=12, start=4), normal(5, 3, 6).float()
    torch.manual_seed(1)
    ours = adn.loss(F0)
    torch.manual_seed(1)
    n, eps = torch.randint(1, 13, (5,)), torch.randn(5, 3, 6)
    for row in range(5):
        one, abar = slice(row, row + 1), adn.abars[int(n[row])]
        F = abar**0.5 * F0[one] + (1 - abar) ** 0.5 * eps[one]
        if variant == "paper":
            predicted = (1 - abar) ** 0.5 * F + abar**0.5 * adn.denoiser(F, n[one])
            expected = (predicted - eps[one]).square().mean()
        else:
            if row == 0:
                which = torch.randint(6, (5,))
            available = adn_patterns()[which[one]]
            predicted = adn.denoiser(F, n[one], F0[one], available)
            v = abar**0.5 * eps[one] - (1 - abar) ** 0.5 * F0[one]
            expected = (predicted - v)[~available].square().mean()
        torch.testing.assert_close(ours[row], expected, rtol=1e-4, atol=1e-5)


def adn_patterns():
    return torch.tensor([[0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [1, 1, 0]]).bool()


def test_patience_ends_each_encoder_by_itself(clips):
    system = ADMC.for_data(clips, **TINY)
    history = fit(
        system, clips, "complete", epochs={"itfn": 30, "adn": 1, "mf": 1}, lr=3e-2, patience=2, progress=False
    )
    for m in clips.modalities:
        values = history.frame.query("stage == @stage and split == 'valid'", local_dict={"stage": f"itfn {m}"})["value"]
        assert len(values) < 30 and len(values) - 1 - int(values.to_numpy().argmax()) == 2


def test_tokens_are_standardised_for_the_diffusion_alone(trained, clips):
    batch = clips.view("train").batch(torch.arange(60))
    F = trained.tokens(batch)
    torch.testing.assert_close(trained.mean, F.mean(0))
    deviation = F.std(0, correction=0)
    alive = deviation > 1e-3 * deviation.max()  # a dead ReLU unit has no scale
    assert bool(alive.any())
    torch.testing.assert_close(trained.scale, torch.where(alive, deviation, 1))
    completed = trained.generate(batch, torch.ones(60, 7).bool())
    for p, pattern in enumerate(trained.patterns):
        torch.testing.assert_close(completed[:, p, pattern], F[:, pattern])


def test_mmer_reads_what_the_other_modalities_generate(trained, clips):
    """F' of each modality, one call of ADN each, beside the shared computation."""
    batch = clips.view("test").batch(torch.arange(5))
    F = trained.tokens(batch)
    F_prime = torch.empty_like(F)
    for i in range(3):
        others = torch.ones(5, 3).bool()
        others[:, i] = False
        whole = trained.adn.complete((F - trained.mean) / trained.scale, others, batch.index, int(trained.noise_seed))
        F_prime[:, i] = whole[:, i] * trained.scale[i] + trained.mean[i]
    expected = trained.mmer(torch.cat([F, F_prime], 2))
    torch.testing.assert_close(trained.predict(batch).logits, expected, rtol=1e-4, atol=1e-5)
    trained.enhance = False
    plain = trained.predict(batch).logits
    trained.enhance = True
    torch.testing.assert_close(plain, trained.mf[6](F))


def test_a_scenario_has_its_own_network(trained, clips):
    batch = clips.view("test").batch(torch.arange(5)).without("audio", "vision")
    F = trained.tokens(batch)
    only_text = [p.tolist() for p in trained.patterns].index([True, False, False])
    completed = trained.generate(batch, torch.eye(7)[only_text].bool().expand(5, -1))[:, only_text]
    torch.testing.assert_close(trained.predict(batch).logits, trained.mf[only_text](completed))
    assert torch.equal(completed[:, 0], F[:, 0]) and not bool((completed[:, 1:] == 0).any())


def test_without_adn_missing_features_are_zeros(clips):
    options = {k: v for k, v in TINY.items() if k in ("d", "fusion_heads", "fusion_layers")}
    system = ADMC.for_data(clips, adn=False, **options).eval()
    assert system.stages[:4] == ("itfn text", "itfn audio", "itfn vision", "mf vision") and not system.stochastic
    batch = clips.view("test").batch(torch.arange(5)).without("text")
    F = system.tokens(batch)
    pattern = [p.tolist() for p in system.patterns].index([False, True, True])
    assert bool((F[:, 0] == 0).all())
    torch.testing.assert_close(system.predict(batch).logits, system.mf[pattern](F))
    with pytest.raises(DataError, match="without ADN there is no 'start'"):
        ADMC.for_data(clips, adn=False, start=3)


def test_completions_are_made_once_and_never_by_other_weights(trained, clips, tmp_path):
    calls = []
    hook = trained.adn.denoiser.register_forward_hook(lambda *a: calls.append(1))
    batch = clips.view("test").batch(torch.arange(5)).without("text")
    trained.completions = RowCache(tmp_path)
    before = trained.predict(batch).logits
    first = len(calls)
    assert first == 12 and torch.equal(trained.predict(batch).logits, before) and len(calls) == first
    trained.completions = RowCache(tmp_path)  # another process
    assert torch.equal(trained.predict(batch).logits, before) and len(calls) == first
    with torch.no_grad():
        weight = trained.adn.denoiser.outward.weight
        original = weight.clone()
        weight.add_(0.1)
        changed = trained.predict(batch).logits
        assert len(calls) == 2 * first and not torch.equal(changed, before)
        weight.copy_(original)
    trained.adn.start = 12
    assert not torch.equal(trained.predict(batch).logits, before) and len(calls) == 3 * first
    trained.adn.start = 4
    assert torch.equal(trained.predict(batch).logits, before) and len(calls) == 3 * first
    hook.remove()


def test_batch_cutting_changes_no_prediction(trained, clips):
    scores = []
    for size in (7, 40):
        trained.completions = RowCache()
        scores.append(evaluate(trained, clips, "available(audio)", batch_size=size))
    assert scores[0] == scores[1]


def test_the_official_variant_takes_features_as_they_are(clips):
    system = ADMC.for_data(clips, variant="official", **TINY)
    fit(system, clips, "complete", epochs={"itfn": 1, "adn": 1, "mf": 1}, progress=False)
    assert bool((system.mean == 0).all()) and bool((system.scale == 1).all())
    assert type(system.adn) is OfficialADN


def test_one_modality_has_nothing_to_generate(clips):
    alone = replace(clips, features={"text": clips.features["text"]}, observed={"text": clips.observed["text"]})
    system = ADMC.for_data(alone, d=8, fusion_heads=2)
    assert system.stages == ("itfn text", "mf text") and system.adn is None and not system.enhance
    fit(system, alone, "complete", epochs={"itfn": 1, "mf": 1}, progress=False)
    assert 0 <= evaluate(system, alone)["ua"] <= 1


def test_vectors_of_one_width_can_be_the_tokens():
    world = synthetic.draw("regression", {m: Modality(4) for m in ("text", "audio")}, latent=2)
    data = world.sample({"train": 40, "valid": 20, "test": 20})
    options = {k: v for k, v in TINY.items() if k != "d"}
    system = ADMC.for_data(data, encoders="none", **options)
    assert system.stages == ("adn", "mf audio", "mf text", "mf text+audio", "mf enhanced")
    fit(system, data, "complete", epochs={"adn": 1, "mf": 1}, progress=False)
    batch = data.view("test").batch(torch.arange(4)).without("audio")
    guess = system.predict(batch).completed
    assert torch.equal(guess["text"], batch.x["text"]) and bool((guess["audio"] != 0).all())
    uneven = synthetic.draw("regression", {"text": Modality(4), "audio": Modality(3)}, latent=2)
    with pytest.raises(DataError, match="features of one width"):
        ADMC.for_data(uneven.sample({"train": 4, "valid": 2, "test": 2}), encoders="none")


def test_training_without_any_complete_row_is_refused_before_it_starts(clips):
    with pytest.raises(DataError, match="no training row has every modality"):
        fit(ADMC.for_data(clips, **TINY), clips, "available(text, audio)", epochs=EPOCHS, progress=False)


def test_a_class_that_training_lacks_is_named_before_work_starts(clips):
    target = clips.target.clone()
    target[clips.rows("train")] = target[clips.rows("train")].clamp(max=2)
    target[clips.rows("test")[0]] = 3
    odd = replace(clips, target=target)
    with pytest.raises(TrainingError, match="class 'sad' occurs in (valid|test) but in no training row"):
        fit(ADMC.for_data(odd, **TINY), odd, "complete", epochs=EPOCHS, progress=False)


def test_a_row_without_anything_is_refused_at_prediction(trained, clips):
    batch = clips.view("test").batch(torch.arange(3)).without("text", "audio", "vision")
    with pytest.raises(DataError, match="row 100 has no modality available"):
        trained.predict(batch)


class Stop(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("after", [9, 30])
def test_a_run_that_was_killed_in_any_stage_ends_with_the_same_weights(clips, tmp_path, after, monkeypatch):
    monkeypatch.setattr("mmlib.training.checkpoint.SECONDS", 0.0)

    def run(folder, system):
        fit(system, clips, "complete", epochs=EPOCHS, folder=folder, progress=False)

    whole, killed = ADMC.for_data(clips, **TINY), ADMC.for_data(clips, **TINY)
    run(None, whole)
    loss, count = killed.loss, []

    def until(batch, stage):
        count.append(stage)
        if len(count) > after:
            raise Stop
        return loss(batch, stage)

    killed.loss = until
    with pytest.raises(Stop):
        run(tmp_path, killed)
    again = ADMC.for_data(clips, **TINY)
    run(tmp_path, again)
    ends = whole.state_dict(), again.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(*(e.values() for e in ends), strict=True))


def test_joint_encoders_are_trained_together_then_frozen(clips):
    system = ADMC.for_data(clips, encoders="joint", **TINY)
    assert system.stages[:3] == ("joint", "adn", "mf vision")
    history = fit(system, clips, "complete", epochs={"joint": 3, "adn": 1, "mf": 1}, progress=False)
    values = history.frame.query("stage == 'joint' and split == 'valid'")["value"]
    batch = clips.view("valid").batch(torch.arange(40))
    with torch.no_grad():
        logits = system.predict_in("joint", batch).logits
    assert metrics.score("multiclass", logits, batch.target)["ua"] == pytest.approx(values.max())


def test_sizes_that_are_not_given_follow_the_data():
    many = {m: Modality(4) for m in "abcdef"}
    few = synthetic.draw("multiclass", many, latent=2, prevalence={"no": 0.5, "yes": 0.5}).sample(
        {"train": 40, "valid": 20, "test": 20}
    )
    system = ADMC.for_data(few)
    assert system.stages == (*(f"itfn {m}" for m in many), "adn", "mf shared", "mf enhanced")
    assert sum(p.numel() for p in system.parameters()) < 10**6 and system.adn.sampler == "ddim"
    assert system.arguments["d"] == 64, "a saved model knows its sizes"
    assert ADMC.for_data(few, fusion="scenario").arguments["fusion"] == "scenario"
    official = ADMC.for_data(few, variant="official", d=8, fusion_heads=2)
    assert official.adn.sampler == "ddpm" and official.arguments["d"] == 8
