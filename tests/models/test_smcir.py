"""SMCIR: its indicators by hand, the gaps of its rules, the corrected detector, the inputs that it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import f1_score, mutual_info_score

from mmlib import synthetic
from mmlib.models.smcir import MSSE, SMCIR, detector, system
from mmlib.names import DataError
from mmlib.training.evaluate import evaluate, predict
from mmlib.training.fit import fit

TINY = {"d": 16, "width": 6, "lstm_layers": 1, "layers": 1, "heads": 2, "dropout": 0.0}
ROWS = {"train": 120, "valid": 30, "test": 150}


@pytest.fixture(scope="module")
def clips():
    return synthetic.like("mosi", dim=12, length=9).sample(ROWS, 0)


def rows(data, split="test"):
    view = data.view(split)
    return view.batch(torch.arange(len(view)))


def ready(data, **arguments):
    system = SMCIR.for_data(data, **TINY | arguments)
    system.setup(data.view("train"))
    return system.eval()


def spoilt(batch, zeroed, noisy=None, strength=2.0):
    """The same rows with vision and audio zero where `zeroed`, and noise on the observed frames of others."""
    x, generator = dict(batch.x), torch.Generator().manual_seed(0)
    for m in ("audio", "vision"):
        if noisy is not None:
            noise = torch.randn(x[m].shape, generator=generator) * x[m].std() * strength * batch.observed[m][..., None]
            x[m] = x[m] + noise * noisy[:, None, None]
        x[m] = x[m].masked_fill(zeroed[:, None, None], 0)
    return replace(batch, x=x)


def test_entropy_of_norms_by_hand():
    P = torch.tensor([[[3.0, 4.0], [0.0, 5.0]], [[0.0, 0.0], [0.0, math.log(3.0)]]])
    by_hand = [math.log(2), -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))]
    torch.testing.assert_close(detector.norm_entropy(P), torch.tensor(by_hand))
    halved = detector.norm_entropy(P * 2, tau=2.0)
    torch.testing.assert_close(halved, torch.tensor(by_hand))


def test_histogram_entropy_by_hand():
    values = torch.tensor([[0.0, 0.5, 0.5, 1.0], [-3.0, -3.0, -3.0, -3.0], [0.0, 1.0, 2.0, 3.0]])
    # Of two bins the second begins at .5; the greatest value belongs to the last.
    by_hand = [-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), 0.0, math.log(2)]
    torch.testing.assert_close(detector.histogram_entropy(values, 2), torch.tensor(by_hand))


def test_mutual_information_of_a_copy_is_its_entropy_and_of_a_constant_zero():
    a = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(detector.mutual_information(a, 2 * a - 1, 7), detector.histogram_entropy(a, 7))
    assert detector.mutual_information(a, torch.zeros_like(a), 7).tolist() == [0.0, 0.0, 0.0]


def test_released_information_is_that_of_two_lists_of_counts():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 60, generator=generator), torch.randn(2, 90, generator=generator)
    for i in range(2):
        counts = [torch.histc(v[i], 10).tolist() for v in (a, b)]
        expected = mutual_info_score(*counts)
        assert detector.count_information(a, b, 10)[i].item() == pytest.approx(expected, abs=1e-5)


def test_similarity_by_hand():
    P_m = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, -2.0]]])
    P_L = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]])
    torch.testing.assert_close(detector.similarity(P_m, P_L), torch.tensor([(0.5**0.5 + 0 - 1) / 3]))
    units = [[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]], [[0.5**0.5] * 2, [0.5**0.5] * 2, [0.0, 1.0]]
    all_nine = sum(u[0] * v[0] + u[1] * v[1] for u in units[0] for v in units[1]) / 9
    torch.testing.assert_close(detector.matrix_similarity(P_m, P_L), torch.tensor([all_nine]))


def test_the_printed_rule_has_a_gap_and_the_others_one_threshold():
    W, mu, sigma = torch.linspace(-4, 3, 1401), torch.tensor(1.5), torch.tensor(0.5)
    flags = {rule: detector.below(W, mu, sigma, 0.8, rule) for rule in ("paper", "monotone", "midway")}
    changes = {rule: int((f[1:] != f[:-1]).sum()) for rule, f in flags.items()}
    assert changes == {"paper": 3, "monotone": 1, "midway": 1}
    # (mu - 1 - sqrt((1 + mu)^2 - 4 lambda sigma)) / 2 and its other root
    low, high = (0.25 + sign * math.sqrt(2.5**2 - 1.6) / 2 for sign in (-1, 1))
    inside = (W > low + 0.01) & (W < high - 0.01)
    assert bool(flags["paper"][inside].all()) and not bool(flags["paper"][(W > -0.99) & (W < low - 0.01)].any())
    assert bool(flags["paper"][W < -1.01].all()) and not bool(flags["paper"][W > high + 0.01].any())
    assert torch.equal(flags["monotone"], W < high) and torch.equal(flags["midway"], W < 0.75)


def test_a_zero_modality_has_the_largest_entropy_as_printed_and_none_corrected(clips):
    x = spoilt(rows(clips), torch.ones(150, dtype=torch.bool)).x
    printed = ready(clips).dmfd(x, "vision")
    torch.testing.assert_close(printed.H, torch.full((150,), math.log(9)))
    assert float(printed.S.abs().min()) > 0, "the projection's bias has a cosine"
    H, MI, S, W, missing = ready(clips, variant="corrected", indicators="HMS").dmfd(x, "vision")
    assert all(bool((v == 0).all()) for v in (H, MI, S, W)) and bool(missing.all())


@pytest.mark.parametrize("arguments", [{}, {"rule": "monotone", "lam": 5.0}])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_corrected_rule_finds_what_is_zero_whatever_the_batch(clips, arguments, seed):
    system = ready(clips, seed=seed, variant="corrected", **arguments)
    kind = torch.arange(150) % 3
    batch = spoilt(rows(clips), kind == 0, kind == 1)
    verdicts = {m: v.missing for m, v in system.diagnose(system.read(batch)).items()}
    for missing in verdicts.values():
        assert f1_score(kind == 0, missing) >= 0.95
    lone = batch.select(kind == 0)
    for m, v in system.diagnose(system.read(lone)).items():
        assert bool(v.missing.all()), "the whole batch lacks it"
        assert torch.equal(v.missing, verdicts[m][kind == 0])
    for cut in (1, 7, 64):
        parts = [system.diagnose(system.read(batch.select(r))) for r in torch.arange(150).split(cut)]
        for m in verdicts:
            assert torch.equal(torch.cat([p[m].missing for p in parts]), verdicts[m])


def test_the_printed_rule_misses_zeros_and_depends_on_the_batch(clips):
    system, kind = ready(clips), torch.arange(150) % 3
    assert system.batch_dependent and not ready(clips, variant="corrected").batch_dependent
    assert not ready(clips, cmcg=False).batch_dependent
    batch = spoilt(rows(clips), kind == 0, kind == 1)
    whole = system.diagnose(system.read(batch))["vision"].missing
    assert f1_score(kind == 0, whole) < 0.5
    parts = [system.diagnose(system.read(batch.select(r)))["vision"].missing for r in torch.arange(150).split(10)]
    assert not torch.equal(torch.cat(parts), whole)
    assert not bool(system.diagnose(system.read(batch.select(torch.arange(1))))["vision"].missing.any())


def test_with_its_zeros_kept_a_batch_that_lacks_a_modality_has_no_outlier(clips):
    system = ready(clips, entropy="histogram", projection="unbiased")
    none = torch.zeros(64, dtype=torch.bool)
    batch = rows(clips).select(torch.arange(64))
    some = torch.arange(64) % 4 == 0
    assert bool(system.dmfd(spoilt(batch, some).x, "vision").missing[some].all())
    assert not bool(system.dmfd(spoilt(batch, ~none).x, "vision").missing.any())


def test_it_is_not_told_what_is_missing(clips):
    hidden_rows = torch.arange(150) % 2 == 0
    batch = rows(clips)
    frames = {m: f if m == "text" else f & ~hidden_rows[:, None] for m, f in batch.observed.items()}
    batch = replace(spoilt(batch, hidden_rows), observed=frames)
    silent = replace(batch, observed=rows(clips).observed)
    system = ready(clips, variant="corrected")
    assert torch.equal(system.predict(batch).logits, system.predict(silent).logits)


def test_states_and_who_is_rebuilt(clips):
    system, batch = ready(clips, variant="corrected"), rows(clips)
    x = dict(batch.x)
    kind = torch.arange(150) % 4  # nothing, audio, vision, both
    x["audio"] = x["audio"].masked_fill((kind % 2 == 1)[:, None, None], 0)
    x["vision"] = x["vision"].masked_fill((kind >= 2)[:, None, None], 0)
    states = system.states(x)
    assert torch.equal(states["audio"], torch.tensor([0, 1, 0, 2])[kind])
    assert torch.equal(states["vision"], torch.tensor([0, 0, 1, 2])[kind])
    calls = []
    for m, generator in system.cmcg.items():
        generator.register_forward_hook(lambda _, args, out, m=m: calls.append((m, len(out))))
    out = system.complete(x, states)
    assert sorted(calls) == [("audio", int((states["audio"] > 0).sum())), ("vision", int((states["vision"] > 0).sum()))]
    for m in ("audio", "vision"):
        there = states[m] == 0
        assert torch.equal(out[m][there], x[m][there])
        assert bool((out[m][~there] != x[m][~there]).flatten(1).any(1).all())
    # Where both are missing the text alone is the condition; where one is, the other one counts, too.
    other = dict(x, audio=x["audio"] + 1)
    moved = system.complete(other, states)["vision"] != out["vision"]
    assert torch.equal(moved.flatten(1).any(1), states["vision"] == 1)


def test_watching_one_modality_leaves_the_other_alone(clips):
    system = ready(clips, variant="corrected", diagnosed=["vision"])
    batch = spoilt(rows(clips), torch.ones(150, dtype=torch.bool))
    states = system.states(system.read(batch))
    assert list(states) == ["vision"] == list(system.cmcg) and states["vision"].unique().tolist() == [1]


def test_without_its_parts(clips):
    x = ready(clips).read(rows(clips))
    assert all(h.unique().tolist() == [1] for h in ready(clips, dmfd=False).states(x).values())
    nothing = ready(clips, cmcg=False)
    assert nothing.complete(x, nothing.states(x))["vision"] is x["vision"]
    assert not any(isinstance(layer, MSSE) for layer in ready(clips, msse=False).modules())


def test_hiding_is_uniform_and_never_takes_the_text(clips):
    system = SMCIR.for_data(clips, **TINY)
    view = clips.view("train")
    x = system.read(view.batch(torch.arange(120).repeat(20)))
    torch.manual_seed(0)
    hidden = system._hidden(x)
    assert torch.equal(hidden["text"], x["text"])
    missing = torch.stack([(hidden[m] == 0).flatten(1).all(1) for m in ("audio", "vision")], 1)
    shares = [(missing == torch.tensor(p)).all(1).float().mean().item() for p in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert shares == [pytest.approx(0.25, abs=0.03)] * 4
    assert SMCIR.for_data(clips, **TINY, hide="none")._hidden(x) is x


def test_eq_28_is_blind_and_the_others_are_not():
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(32, 6, generator=generator)
    shuffled = r.flatten()[torch.randperm(192, generator=generator)].view(32, 6)
    assert float(system.reconstruction_loss(r, shuffled, "simse")) < 1e-12
    assert float(system.reconstruction_loss(r, shuffled, "mse")) > 1
    generated = torch.zeros(32, 6, requires_grad=True)
    system.reconstruction_loss(r + 1, generated, "simse").backward()
    assert generated.grad.unique().numel() == 1
    by_hand = system.reconstruction_loss(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]), "si_mse")
    assert float(by_hand) == pytest.approx((4 + 0) / 2 - (2 / 2) ** 2 / 2)


def test_what_a_row_never_had_is_no_target(clips):
    batch = rows(clips, "train")
    hidden_rows = torch.arange(120) % 2 == 0
    frames = {m: f & ~hidden_rows[:, None] if m == "vision" else f for m, f in batch.observed.items()}
    lacking = replace(batch, observed=frames)
    system = ready(clips, variant="corrected", hide="none", diagnosed=["vision"]).train()
    terms = system.loss(lacking, "main")
    assert float(terms["reconstruction"].detach()) == 0 and bool(
        system.states(system.read(lacking))["vision"][hidden_rows].all()
    )


def test_running_statistics_are_those_of_the_training_rows(clips):
    system = ready(clips, statistics="running")
    W = system.dmfd(rows(clips, "train").x, "vision").W
    i = system.dmfd.others.index("vision")
    torch.testing.assert_close(system.dmfd.mu[i], W.mean())
    torch.testing.assert_close(system.dmfd.sigma[i], ((W - W.mean()) ** 2).mean().sqrt())


def test_the_aligned_projection_is_a_regression_on_the_text(clips):
    system = ready(clips, projection="aligned")
    batch = rows(clips, "train")
    X, P_L = batch.x["vision"].flatten(0, 1), system.dmfd.project["text"](batch.x["text"]).flatten(0, 1)
    ridge = 0.01 * (X**2).sum(0).mean() * torch.eye(12)
    expected = torch.linalg.lstsq(X.T @ X + ridge, X.T @ P_L).solution.T
    torch.testing.assert_close(system.dmfd.project["vision"].weight, expected, rtol=1e-3, atol=1e-5)
    S = ready(clips, projection="aligned").dmfd(rows(clips).x, "vision").S
    assert S.mean() > ready(clips, projection="unbiased").dmfd(rows(clips).x, "vision").S.mean() + 0.1


@pytest.mark.parametrize("variant", ["paper", "corrected", "official"])
def test_short_batches_vectors_and_constants(variant):
    shapes = {"text": synthetic.Modality(9), "audio": synthetic.Modality(4), "vision": synthetic.Modality(5, 6)}
    data = synthetic.like("mosi", modalities=shapes).sample({"train": 9, "valid": 3, "test": 5}, 0)
    data = replace(data, features={**data.features, "audio": torch.ones_like(data.features["audio"])})
    system = SMCIR.for_data(data, variant=variant, **TINY)
    fit(system, data, "complete", epochs=2, batch_size=4, progress=False)  # the last batch has one row
    for size in (1, 2, 5):
        assert bool(predict(system, data, "available(text)", batch_size=size).logits.isfinite().all())
    for m in ("audio", "vision"):
        assert all(bool(v.isfinite().all()) for v in system.dmfd(rows(data).x, m)[:4])


@pytest.mark.parametrize(
    ("dims", "arguments", "message"),
    [
        ({"audio": 4, "vision": 5}, {}, "defined for 'text'"),
        ({"text": 4}, {}, "one or two more modalities"),
        ({"text": 4, "a": 4, "b": 4, "c": 4}, {}, "one or two more modalities"),
        ({"text": 4, "audio": 4}, {"variant": "mine"}, "variant 'mine' is not one of paper, corrected, official"),
        ({"text": 4, "audio": 4}, {"rule": "mean"}, "rule 'mean' is not one of paper, monotone, midway"),
        ({"text": 4, "audio": 4}, {"indicators": "SMH"}, "indicators 'SMH' is not one of"),
        ({"text": 4, "audio": 4}, {"diagnosed": ["vision"]}, "diagnosed vision must be among audio"),
        ({"text": 4, "audio": 4}, {"text_encoder": "/no/such/folder"}, "neither a folder with a model nor a name"),
    ],
)
def test_refused_at_construction(dims, arguments, message):
    with pytest.raises(DataError, match=message):
        SMCIR(dims, "regression", 1, **arguments)


def test_a_row_without_text_is_refused(clips):
    system = ready(clips)
    batch = rows(clips)
    frames = batch.observed | {"text": batch.observed["text"] & (batch.index != 222)[:, None]}
    with pytest.raises(DataError, match="row 222 has no 'text'.*assumes to be always present"):
        system.predict(replace(batch, observed=frames))
    with pytest.raises(DataError, match="has no 'text'"):
        evaluate(system, clips, "available(vision)")


@pytest.fixture(scope="module")
def spoken(clips, tmp_path_factory):
    """The clips with token ids for a text, and a language model of 40 words."""
    from mmlib.hub import mend_torchvision

    mend_torchvision()
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=40, max_position_embeddings=12, **shape)).save_pretrained(folder)
    ids = torch.randint(1, 40, (len(clips), 9, 1), generator=torch.Generator().manual_seed(0)).float()
    ids = ids.masked_fill(~clips.observed["text"][..., None], 0)
    return replace(clips, features={**clips.features, "text": ids}), str(folder)


def test_a_language_model_is_trained_along(spoken):
    data, folder = spoken
    system = SMCIR.for_data(data, variant="corrected", text_encoder=folder, **TINY)
    assert system.pool == "first" and system.encoder.width == 8
    before = {k: v.clone() for k, v in system.state_dict().items()}
    fit(system, data, "complete", epochs=1, batch_size=40, lr=1e-2, progress=False)
    after = system.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert any("encoder.layer.1" in k for k in moved) and not any("embeddings" in k for k in moved)
    assert {"dmfd.mu", "dmfd.sigma"} <= moved and not any("dmfd.project" in k for k in moved)
    ids = rows(data)
    longer = replace(
        ids,
        x={**ids.x, "text": torch.nn.functional.pad(ids.x["text"], (0, 0, 0, 2))},
        observed={**ids.observed, "text": torch.nn.functional.pad(ids.observed["text"], (0, 2))},
    )
    words = system.eval().read(ids)["text"]
    torch.testing.assert_close(system.read(longer)["text"][:, :9], words, rtol=1e-4, atol=1e-5)  # padding is not read


def test_text_that_is_no_token_ids_is_refused(spoken, clips):
    data, folder = spoken
    with pytest.raises(DataError, match="token ids, one number per step from 0 to 39"):
        ready(clips, text_encoder=folder)
    for wrong in (40.0, -1.0, 0.5):
        bad = replace(
            data,
            features={
                **data.features,
                "text": data.features["text"].masked_fill(data.observed["text"][..., None], wrong),
            },
        )
        with pytest.raises(DataError, match="token ids"):
            ready(bad, text_encoder=folder)
    shapes = {"text": synthetic.Modality(1, 30), "audio": synthetic.Modality(4)}
    long = synthetic.like("mosi", modalities=shapes).sample({"train": 4, "valid": 2, "test": 2}, 0)
    long = replace(long, features={**long.features, "text": long.observed["text"][..., None].float()})
    with pytest.raises(DataError, match="reads 12 tokens at most, the text has 30"):
        ready(long, text_encoder=folder)
