"""The slow SMCIR reference against numbers worked out by hand and against mmlib's model.

Features are continuous random numbers, so that no value lies within rounding of the edge of a bin, and no score within
rounding of a threshold, where two correct programs may disagree. Numbers of bins are odd, for pooling makes values half
way between the least and the greatest, which is an edge of 30. mmlib counts in float32: what is made of histograms
agrees to COARSE, all else to FINE.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch.nn import functional

from mmlib import synthetic
from mmlib.models import smcir as fast
from mmlib.models.smcir import SMCIR, detector
from tests.helpers.smcir_weights import affine, aligner, core, enhancer, weights
from tests.reference import smcir as slow

DOUBLE = torch.float64
FINE, COARSE = dict(rtol=1e-9, atol=1e-10), dict(rtol=3e-6, atol=3e-6)
WATCHED = ("audio", "vision")
SHAPES = {"longer": (9, 5), "much longer": (13, 3), "shorter": (3, 7), "equal": (6, 6), "one": (1, 5), "to one": (4, 1)}
SHAPES |= {"both one": (1, 1)}  # N_m, N_L
EVERY_SHAPE = pytest.mark.parametrize(("N_m", "N_L"), SHAPES.values(), ids=SHAPES)
VARIANTS = {
    "paper": slow.Config(),
    "corrected": slow.Config(entropy="histogram", indicators="HM", rule="midway", reconstruction="mse"),
    "official": slow.Config(official=True),
}
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def randn(*shape):
    return torch.randn(*shape, dtype=DOUBLE)


def same(ours, theirs, tolerance=FINE):
    """ours: a tensor of one number or sequence per row; theirs: the reference's list."""
    rows = [torch.as_tensor(row, dtype=DOUBLE) for row in theirs]
    torch.testing.assert_close(ours.double(), torch.stack(rows), **tolerance)


def spread(module, seed=0):
    """Float64, all parameters drawn anew, large enough that gates and softmax leave their linear range."""
    generator = torch.Generator().manual_seed(seed)
    module.double().eval()
    for p in module.parameters():
        draw = torch.randn(p.shape, generator=generator, dtype=DOUBLE)
        # A zero LayerNorm bias would leave the ReLU of Eq 13 nothing to do, a zero bias hides that it is forgotten.
        p.data = draw * (1.5 / math.sqrt(math.prod(p.shape[1:])) if p.dim() > 1 else 0.4)
    for m in module.modules():
        if isinstance(m, torch.nn.LayerNorm):
            m.weight.data += 1
    return module


# -------------------------------------------------------------------------------------------------------- whole systems

DIMS = {"text": (24, 7), "audio": (5, 10), "vision": (6, 4)}  # width, frames
ROWS = 12


def data(modalities):
    shapes = {m: synthetic.Modality(*DIMS[m]) for m in modalities}
    return synthetic.draw("regression", shapes).sample({"train": 30, "valid": 2, "test": ROWS})


def rows(dataset, split="test"):
    """A batch in float64: of six rows in turn one has no audio, one no vision, two have text alone."""
    view = dataset.view(split)
    batch, turn = view.batch(torch.arange(len(view))), torch.arange(len(view)) % 6
    gone = {"audio": (turn == 1) | (turn > 3), "vision": (turn == 2) | (turn > 3)}
    frames = {m: f & ~gone[m][:, None] if m in gone else f for m, f in batch.observed.items()}
    x = {m: v.double() * frames[m][..., None] for m, v in batch.x.items()}
    return replace(batch, x=x, observed=frames, target=batch.target.double())


def prepared(variant, modalities=("text", *WATCHED), seed=0, **options):
    """The fast system, a batch, and the reference's weights, configuration and statistics of the training rows."""
    dataset, options = data(modalities), dict(bins=29) | options
    shape = dict(width=6, d=8, lstm_layers=2, layers=2, heads=2, dropout=0.0, hide="none")
    system = spread(SMCIR.for_data(dataset, variant=variant, **shape, **options), seed)
    cfg = replace(
        VARIANTS[variant], layers=2, lstm_layers=2, heads=2, watched=tuple(options.get("diagnosed", system.others))
    )
    cfg = replace(cfg, **{k: v for k, v in options.items() if k in cfg.__dataclass_fields__})
    w, stats = weights(system), None
    if system.dmfd is not None and system.dmfd.statistics == "running":
        train = rows(dataset, "train")
        system.dmfd.fit(lambda: ({m: v[part] for m, v in train.x.items()} for part in (slice(0, 20), slice(20, None))))
        found = slow.diagnose(w, split_rows(train), cfg)
        stats = {m: slow.statistics([row[3] for row in found[m]]) for m in found}
    return system, rows(dataset), w, cfg, stats


def split_rows(batch):
    return [{m: v[i] for m, v in batch.x.items()} for i in range(len(batch))]


def compare_detector(system, batch, w, cfg, stats):
    """Every number of DMFD, then the states, which are returned."""
    x = system.read(batch)
    theirs, ours = slow.diagnose(w, split_rows(batch), cfg, stats), system.diagnose(x)
    assert set(ours) == set(theirs) == set(cfg.watched)
    for m in ours:
        H, MI, S, W, flags = zip(*theirs[m])
        for a, b in zip(ours[m][:4], (H, MI, S, W)):
            same(a, b, COARSE)
        same(ours[m].S, S)
        if cfg.entropy == "norm" and not cfg.official:
            same(ours[m].H, H)
        assert ours[m].missing.tolist() == list(flags)
    states = slow.states_of(w, split_rows(batch), cfg, stats)
    for m, state in system.states(x).items():
        assert state.tolist() == [row[m] for row in states]
    return states


def compare_outputs(system, batch, w, cfg, stats):
    """What was made, the logits, both terms of the loss and the gradient of their sum for all that was read."""
    batch = replace(batch, x={m: v.clone().requires_grad_() for m, v in batch.x.items()})
    samples, observed = split_rows(batch), batch.observed["text"].tolist()
    x = system.read(batch)
    made, theirs = system.complete(x, system.states(x)), slow.completed(w, samples, cfg, stats)[1]
    for m in x:
        same(made[m], [row[m] for row in theirs])
    same(system.predict(batch).logits, slow.predict(w, samples, observed, cfg, stats))
    ours, terms = system.loss(batch, "main"), slow.losses(w, samples, observed, batch.target.tolist(), cfg, stats)
    if system.reconstruction == "none":
        del terms["reconstruction"]
    assert set(ours) == set(terms)
    for name, term in terms.items():
        torch.testing.assert_close(ours[name], torch.as_tensor(term, dtype=DOUBLE), **FINE)
    gradients = [torch.autograd.grad(sum(t.values()), [*batch.x.values()]) for t in (ours, terms)]
    for m, mine, theirs in zip(batch.x, *gradients):
        same(mine, theirs * batch.observed[m][..., None])  # what was not observed is not read


# ------------------------------------------------------------------------------------------------- by hand and by torch


def test_entropies_by_hand():
    P = tensor([3, 4], [0, 0])  # lengths 5 and 0; with tau = 5 / ln 3 the shares are 3/4 and 1/4
    expected = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert slow.norm_entropy(P, 5 / math.log(3)) == pytest.approx(expected, rel=1e-14)
    assert slow.norm_entropy(0 * P, 1) == pytest.approx(math.log(2), rel=1e-14)
    # Bins of width 1 from 0 to 4: counts 2, 1, 0, 2, for the greatest value is in the last one.
    expected = -0.8 * math.log(0.4) - 0.2 * math.log(0.2)
    assert slow.histogram_entropy(tensor(0, 0.9, 1, 3.9, 4), 4) == pytest.approx(expected, rel=1e-14)
    assert slow.histogram_entropy(tensor(7, 7, 7), 4) == 0


def test_histograms_are_numpys():
    for values in (randn(50), tensor(2, 2, 2)):
        assert slow.counted(values, 7) == np.histogram(values.numpy(), 7)[0].tolist()


def test_information_is_sklearns():
    a, b = randn(40), randn(40)
    edges = [np.histogram_bin_edges(v.numpy(), 5)[1:-1] for v in (a, b)]
    labels = [np.digitize(v.numpy(), e) for v, e in zip((a, b), edges)]
    assert slow.mutual_information(a, b, 5) == pytest.approx(mutual_info_score(*labels), rel=1e-12)
    assert slow.mutual_information(tensor(0, 1, 0, 1), tensor(5, 9, 5, 9), 2) == pytest.approx(math.log(2), rel=1e-14)


def test_pooling_and_interpolation_are_torchs():
    for N_m, N_L in SHAPES.values():
        x = randn(N_m, 3)
        torch.testing.assert_close(slow.pool(x, N_L), functional.adaptive_avg_pool1d(x.T[None], N_L)[0].T)
        torch.testing.assert_close(slow.interpolate(x, N_L), functional.interpolate(x.T[None], N_L, mode="linear")[0].T)


def test_similarities_by_hand():
    P_m, P_L = tensor([1, 0], [3, 0], [0, 5], [0, 0]), tensor([1, 1], [0, -2])  # pooled to (2, 0) and (0, 2.5)
    assert slow.similarity(P_m, P_L) == pytest.approx((math.sqrt(0.5) - 1) / 2, rel=1e-14)
    assert slow.matrix_similarity(P_m, P_L) == pytest.approx((2 * math.sqrt(0.5) - 1) / 4, rel=1e-14)
    assert slow.similarity(tensor([1e-5]), tensor([1e-4])) == pytest.approx(0.1, rel=1e-12)  # 1e-9 is under eps


def test_rules_by_hand():
    # mu = 1.5, sigma = .5, lambda = .8: below -1 and between about -0.83 and 1.33, but not in the dead zone of the two.
    paper = [W for W in (-3, -1.01, -1, -0.9, -0.84, -0.82, 0, 1.32, 1.34) if slow.below(W, 1.5, 0.5, 0.8, "paper")]
    assert paper == [-3, -1.01, -0.82, 0, 1.32]
    monotone = [W for W in (-3, -1, -0.9, 1.09, 1.32, 1.34) if slow.below(W, 1.5, 0.5, 0.8, "monotone")]
    assert monotone == [-3, -1, -0.9, 1.09, 1.32]
    assert [W for W in (-1, 0.74, 0.75, 1) if slow.below(W, 1.5, 0.5, 0.8, "midway")] == [-1, 0.74]
    assert slow.statistics([1, 3]) == (2, 1)
    assert not slow.flag(0.1, 0, 1.5, 0.5, slow.Config()) and slow.flag(0, 0, 1.5, 0.5, slow.Config())
    assert slow.flag(0.1, 0, 1.5, 0.5, slow.Config(indicators="HM"))


def test_states_by_hand():
    assert slow.joint_states({"audio": True, "vision": True}) == {"audio": 2, "vision": 2}
    assert slow.joint_states({"audio": True, "vision": False}) == {"audio": 1, "vision": 0}
    assert slow.joint_states({"audio": True}) == {"audio": 1}


def test_losses_by_hand():
    assert slow.task_loss([1, 2], [0, 4]) == 1.5
    real, made = tensor([1, 2], [3, 4]), tensor([1, 1], [3, 1])  # errors 0, 1, 0, 3
    losses = [slow.reconstruction_loss(real, made, kind).item() for kind in ("simse", "mse", "si_mse")]
    assert losses == [1, 2.5, 2]


# ------------------------------------------------------------------------------------------------------- the indicators


@EVERY_SHAPE
@pytest.mark.parametrize("B", [1, 4])
def test_indicators(N_m, N_L, B):
    P, L = 2 * randn(B, N_m, 3), randn(B, N_L, 3)
    P[-1] *= 1e3  # long vectors: an exponential on its own would overflow
    pooled = functional.adaptive_avg_pool1d(P.transpose(1, 2), N_L).transpose(1, 2)
    for tau in (0.3, 1.0):
        same(detector.norm_entropy(P, tau), [slow.norm_entropy(p, tau) for p in P])
    same(detector.similarity(pooled, L), [slow.similarity(p, q) for p, q in zip(P, L)])
    same(detector.matrix_similarity(pooled, L), [slow.matrix_similarity(p, q) for p, q in zip(P, L)])
    for K in (3, 7, 29):
        same(detector.histogram_entropy(P.flatten(1), K), [slow.histogram_entropy(p, K) for p in P], COARSE)
        ours = detector.mutual_information(pooled.flatten(1), L.flatten(1), K)
        same(ours, [slow.mutual_information(slow.pool(p, N_L), q, K) for p, q in zip(P, L)], COARSE)
        ours = detector.count_information(P.flatten(1), L.flatten(1), K)
        same(ours, [slow.count_information(p, q, K) for p, q in zip(P, L)], COARSE)


def test_indicators_of_constant_and_related_signals():
    """The released code's count of a constant is left out: numpy puts it into the middle bin, mmlib into the first."""
    zero, constant, a = torch.zeros(2, 60, dtype=DOUBLE), torch.full((2, 60), 2.5, dtype=DOUBLE), randn(2, 60)
    skewed = torch.cat([a[:, :59], torch.full((2, 1), 40, dtype=DOUBLE)], 1)  # nearly all of it in one bin
    for x in (zero, constant, a, skewed):
        P = x.view(2, 12, 5)
        same(detector.norm_entropy(P), [slow.norm_entropy(p, 1.0) for p in P])
        same(detector.histogram_entropy(x), [slow.histogram_entropy(row, 30) for row in x], COARSE)
        for y in (zero, constant, a, 3 - a, a**2, skewed, a.roll(1, 1)):
            Q = y.view(2, 12, 5)
            same(detector.mutual_information(x, y), [slow.mutual_information(*rows, 30) for rows in zip(x, y)], COARSE)
            same(detector.similarity(P, Q), [slow.similarity(*rows) for rows in zip(P, Q)])
            same(detector.matrix_similarity(P, Q), [slow.matrix_similarity(*rows) for rows in zip(P, Q)])
    assert (detector.mutual_information(zero, a) == 0).all() and (detector.histogram_entropy(constant) == 0).all()
    same(detector.similarity(1e-5 * a.view(2, 12, 5), 1e-4 * a.view(2, 12, 5)), [
        slow.similarity(1e-5 * p, 1e-4 * p) for p in a.view(2, 12, 5)
    ])  # fmt: skip


@pytest.mark.parametrize("rule", ["paper", "monotone", "midway"])
def test_rules(rule):
    W = torch.cat([tensor(-1, 0, 0.3, 0.75, 1.5), 3 * randn(200)])
    for mu, sigma in ((1.5, 0.5), (-0.7, 2.0), (0.3, 0.0), (4.0, 3.0)):
        for lam in (0.0, 0.8, 2.0):
            ours = detector.below(W, tensor(mu)[0], tensor(sigma)[0], lam, rule)
            assert ours.tolist() == [slow.below(v, mu, sigma, lam, rule) for v in W.tolist()]


@EVERY_SHAPE
@EVERY_VARIANT
def test_detector_scores_of_every_length(variant, N_m, N_L):
    options = dict(projection="linear", rule="paper", statistics="batch", indicators="HMS", entropy="norm")
    options |= dict(alpha=0.7, beta=0.2, gamma=3.0, lam=0.4, tau=0.6, bins=7)
    cfg = replace(VARIANTS[variant], alpha=0.7, beta=0.2, gamma=3.0, tau=0.6, bins=7, indicators="HMS")
    options["entropy"] = cfg.entropy
    dmfd = detector.DMFD({"text": 4, "audio": 3}, "text", 5, official=cfg.official, **options)
    w = affine("detect.text", spread(dmfd).project["text"]) | affine("detect.audio", dmfd.project["audio"])
    for B in (1, 3):
        x = {"text": randn(B, N_L, 4), "audio": randn(B, N_m, 3)}
        ours = dmfd.scores(x, "audio")
        P = [[slow.projected(w, m, row) for row in x[m]] for m in ("audio", "text")]
        for a, b in zip(ours, zip(*(slow.scores(*pair, cfg) for pair in zip(*P)))):
            same(a, b, COARSE)


DETECTORS = {
    "paper": ("paper", {}),
    "paper, monotone": ("paper", dict(rule="monotone", lam=0.1, gamma=1.0)),
    "paper, other constants": ("paper", dict(alpha=0.9, beta=2.0, gamma=4.0, lam=0.2, tau=0.4, bins=7)),
    "paper, unbiased": ("paper", dict(projection="unbiased")),
    "paper, audio alone": ("paper", dict(diagnosed=["audio"])),
    "paper, running": ("paper", dict(statistics="running", rule="midway")),
    "corrected": ("corrected", {}),
    "corrected, all three": ("corrected", dict(indicators="HMS", lam=0.3)),
    "corrected, monotone of the batch": ("corrected", dict(statistics="batch", rule="monotone", lam=0.5)),
    "official": ("official", {}),
    "official, monotone": ("official", dict(rule="monotone", gamma=2.0, lam=0.1)),
} | {f"paper, {i}": ("paper", dict(indicators=i)) for i in ("H", "M", "S", "HM", "HS", "MS")}


@pytest.mark.parametrize(("variant", "options"), DETECTORS.values(), ids=DETECTORS)
def test_detector(variant, options):
    verdicts = set()
    for seed in range(3):
        case = prepared(variant, seed=seed, **options)
        verdicts |= {state for row in compare_detector(*case) for state in row.values()}
        if case[4] is not None:
            for i, m in enumerate(case[0].others):
                same(torch.stack([case[0].dmfd.mu[i], case[0].dmfd.sigma[i]]), case[4][m], COARSE)
    assert {0, 1} <= verdicts


# -------------------------------------------------------------------------------------------------------- the generator


@EVERY_SHAPE
@pytest.mark.parametrize("official", [False, True])
def test_align(N_m, N_L, official):
    module = spread(fast.Align(6, 4, 3, 2, 2, 0.0, official))
    w, cfg = aligner("align", module), slow.Config(layers=2, heads=2, official=official)
    for B in (1, 3):
        X_L, X_m = randn(B, N_L, 6), randn(B, N_m, 4)
        same(module(X_L, X_m), [slow.align(w, "align", *rows, cfg) for rows in zip(X_L, X_m)])


@pytest.mark.parametrize("N", [1, 2, 4, 7])
@pytest.mark.parametrize("official", [False, True])
def test_msse(N, official):
    for d in (3, 25):  # the gate is d // 8 numbers wide, at least one
        module, C = spread(fast.MSSE(d, official)), randn(3, N, d)
        w, cfg = enhancer("msse", module), slow.Config(official=official)
        same(module(C.transpose(1, 2)).transpose(1, 2), [slow.mssec(w, "msse", row, cfg) for row in C])


@pytest.mark.parametrize("d_m", [1, 5, 6, 8])  # 1, 1, 3 and 4 heads
@pytest.mark.parametrize("official", [False, True])
def test_gamma(d_m, official):
    module = spread(fast.Gamma(7, d_m, 4, 3, 2, 2, 0.0, official))
    w, cfg = core("gamma", module), slow.Config(layers=2, lstm_layers=3, heads=2, official=official)
    for N in (1, 2, 5):
        MS = randn(2, N, 7)
        same(module(MS), [slow.gamma(w, "gamma", row, cfg) for row in MS])


@EVERY_VARIANT
@pytest.mark.parametrize("lengths", [(7, 10, 4), (3, 3, 3), (1, 4, 2), (6, 1, 9)])
def test_complete_and_fuse(variant, lengths):
    system, batch, w, cfg, _ = prepared(variant, eta=0.4)
    x = {m: randn(5, N, DIMS[m][0]) for m, N in zip(("text", *WATCHED), lengths)}
    x["vision"][2:4] = 0
    states = {"audio": torch.tensor([0, 1, 0, 2, 0]), "vision": torch.tensor([0, 0, 1, 2, 1])}
    samples = [{m: v[i] for m, v in x.items()} for i in range(5)]
    ours = system.complete(x, states)
    theirs = [slow.complete(w, s, {m: int(v[i]) for m, v in states.items()}, cfg) for i, s in enumerate(samples)]
    for m in x:
        same(ours[m], [row[m] for row in theirs])
    same(system.fuse(ours), [slow.fuse(w, row) for row in theirs])


@pytest.mark.parametrize("kind", ["simse", "mse", "si_mse"])
def test_reconstruction_loss(kind):
    for shape in ((1, 1, 1), (1, 4, 3), (5, 2, 3)):
        real, made = randn(*shape), 0.5 + randn(*shape)
        expected = slow.reconstruction_loss(real, made, kind)
        torch.testing.assert_close(fast.reconstruction_loss(real, made, kind), expected, **FINE)


# -------------------------------------------------------------------------------------------------------- whole systems

SYSTEMS = {
    "paper": ("paper", {}),
    "paper, other constants": ("paper", dict(eta=0.4, xi=1.5, reconstruction="si_mse", lam=0.3)),
    "paper, no DMFD": ("paper", dict(dmfd=False)),
    "paper, no MSSE": ("paper", dict(msse=False)),
    "corrected": ("corrected", {}),
    "corrected, vision alone": ("corrected", dict(diagnosed=["vision"])),
    "corrected, monotone": ("corrected", dict(rule="monotone", lam=0.1)),  # also makes what is there
    "official": ("official", {}),
    "official, with a reconstruction loss": ("official", dict(reconstruction="mse")),
}


@pytest.mark.parametrize(("variant", "options"), SYSTEMS.values(), ids=SYSTEMS)
def test_system(variant, options):
    case = prepared(variant, **options)
    if "dmfd" not in options:
        states = {state for row in compare_detector(*case) for state in row.values()}
        assert states == ({0, 1} if "diagnosed" in options else {0, 1, 2})
    compare_outputs(*case)


@EVERY_VARIANT
@pytest.mark.parametrize("other", WATCHED)
def test_system_of_two_modalities(variant, other):
    case = prepared(variant, ("text", other))
    assert {state for row in compare_detector(*case) for state in row.values()} == {0, 1}
    compare_outputs(*case)


@EVERY_VARIANT
def test_single_rows(variant):
    """A batch of one is its own mean: where mu is the batch's, W < mu - 0 never holds, and nothing is made."""
    system, batch, *rest = prepared(variant)
    for row in (0, 1, 5):
        case = system, batch.select(torch.tensor([row])), *rest
        compare_detector(*case)
        compare_outputs(*case)
