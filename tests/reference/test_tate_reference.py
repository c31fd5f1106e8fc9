"""TATE against its slow reference, and the reference against numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmlib.data.dataset import Batch
from mmlib.models.tate import TATE, symmetric_kl
from mmlib.names import DataError
from tests.helpers.weights import renamed
from tests.reference import tate as reference

DOUBLE = torch.float64
DIMS = {"text": 3, "audio": 2, "vision": 4}
LENGTHS = {"text": 4, "audio": 2, "vision": 1}
HEADS, DEPTH = 2, 2


def system_of(dims=DIMS, **arguments):
    torch.manual_seed(0)
    system = TATE(dims, "multiclass", 3, d=8, heads=HEADS, layers=DEPTH, **arguments).double().eval()
    for p in system.parameters():  # biases of zero and norms of one would hide mistakes
        p.data += 0.2 * torch.randn(p.shape, dtype=DOUBLE)
    return system


def clips(dims=DIMS, n=7):
    """A row of each set of three modalities; frames are lost, too. What is not observed is NaN."""
    generator = torch.Generator().manual_seed(1)
    sets = torch.tensor([[(i >> k) & 1 for k in range(len(dims))] for i in range(1, n + 1)]).bool()
    x, observed = {}, {}
    for k, (m, d) in enumerate(dims.items()):
        frames = torch.rand(n, LENGTHS[m], generator=generator) < 0.7
        frames[:, -1] = True
        observed[m] = frames & sets[:, [k]]
        x[m] = torch.randn(n, LENGTHS[m], d, generator=generator, dtype=DOUBLE)
        x[m] = x[m].masked_fill(~observed[m][..., None], torch.nan)
    return Batch(x=x, observed=observed, target=torch.arange(n) % 3, index=torch.arange(n))


def weights_of(network, decoder=None):
    modalities = [(f".{m}.", f".{i}.") for i, m in enumerate(network.input)]
    attention = [(part, f"pool.{part}") for part in ("content", "gate", "score")]
    w = renamed(network, *modalities, *attention, (" ", "."))
    return w if decoder is None else w | renamed(nn.ModuleDict({"decoder": decoder[0], "out": decoder[1]}))


def samples(batch):
    return [([x[i] for x in batch.x.values()], [f[i] for f in batch.observed.values()]) for i in range(len(batch))]


@pytest.mark.parametrize("dims", [DIMS, {"text": 3, "audio": 2}], ids=["three", "two"])
def test_logits_equal_the_reference(dims):
    system, batch = system_of(dims), clips(dims, n=2 ** len(dims) - 1)
    w = weights_of(system.student)
    slow = [reference.predict(w, xs, frames, DEPTH, HEADS) for xs, frames in samples(batch)]
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, torch.stack(slow), rtol=1e-9, atol=1e-9)


def test_losses_equal_the_reference(monkeypatch):
    system, batch = system_of(weight=0.3), clips()
    torch.manual_seed(5)
    shown = system.show(batch)
    assert any(bool((shown.present[m] != batch.present[m]).any()) for m in DIMS)
    monkeypatch.setattr(system, "show", lambda _: shown)
    terms = system.loss(batch, "main")
    w, teacher = weights_of(system.student, system.decoder), weights_of(system.teacher)
    slow = reference.auxiliary(w, teacher, samples(batch), samples(shown), DEPTH, HEADS)
    assert list(terms) == ["task", "guidance", "reconstruction", "tag"]
    for name, theirs in zip(("guidance", "reconstruction", "tag"), slow):
        torch.testing.assert_close(terms[name], 0.3 * theirs, rtol=1e-9, atol=1e-9)
    logits = system.predict(shown).logits
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(logits, batch.target))


def test_symmetric_kl_by_hand():
    """p = (1/4, 3/4), q = (1/2, 1/2): KL(p || q) + KL(q || p) = 1/4 (ln 2 + ln 3/2) = ln(3) / 4."""
    a = torch.tensor([0.0, math.log(3)], dtype=DOUBLE)
    b = torch.zeros(2, dtype=DOUBLE)
    assert float(reference.symmetric_kl(a, b)) == pytest.approx(math.log(3) / 4, rel=1e-12)
    sequence = torch.stack([a, b, 9 * a])[None]
    other = torch.stack([b, b, b])[None]
    known = torch.tensor([[True, True, False]])
    assert float(symmetric_kl(sequence, other, known)) == pytest.approx(math.log(3) / 8, rel=1e-12)
    assert float(symmetric_kl(sequence, other, torch.zeros(1, 3, dtype=torch.bool))) == 0


def test_common_space_and_tag_by_hand():
    """Each matrix of a pair is read by both of its modalities, and the bits of the tag end every step."""
    w = {f"pair.{pair}.weight": torch.tensor([row], dtype=DOUBLE) for pair, row in
         (("0.1", [1.0, 0.0]), ("0.2", [0.0, 1.0]), ("1.2", [1.0, 1.0]))}  # fmt: skip
    H = [torch.tensor([h], dtype=DOUBLE) for h in ([3.0, 5.0], [7.0, 11.0], [13.0, 17.0])]
    expected = [[3, 5], [7, 18], [17, 30]]
    assert reference.common(w, H).tolist() == expected
    system = system_of()
    for name, value in w.items():
        i, j = name.split(".")[1:3]
        system.student.pair[f"{i} {j}"].weight.data = value
    ours = [system.student.common(h[None], i)[0, 0].tolist() for i, h in enumerate(H)]
    assert ours == expected
    tags = system_of().student.read(clips())[:, :, -3:]
    assert tags[4].tolist() == [[1, 0, 1]] * 7 and tags[1].tolist() == [[0, 1, 0]] * 7


def test_rows_show_all_sets_of_what_they_have():
    system, batch = system_of(), clips()
    rows = batch.select(torch.tensor([6, 5]).repeat_interleave(2000))
    shown = torch.stack([f.any(1) for f in system.show(rows).observed.values()], 1)
    whole, pair = shown.split(2000)
    for chosen, sets in ((whole, 7), (pair, 3)):
        count = chosen.unique(dim=0, return_counts=True)[1]
        assert len(count) == sets and bool(((count / 2000 - 1 / sets).abs() < 0.05).all())
    assert not bool(pair[:, 0].any()), "a row shows nothing that it does not have"


def test_the_teacher_is_frozen_and_sees_what_the_student_does_not():
    system, batch = system_of(dropout=0.5).train(), clips()
    sum(system.loss(batch, "main").values()).backward()
    assert all(p.grad is None for p in system.teacher.parameters())
    guide = system._guide(batch)
    assert torch.equal(guide, system._guide(batch)), "dropout is off"
    assert not torch.equal(guide, system._guide(batch.without("text")))
    trained = {id(p) for stage in system.stages for p in system.parameters_of(stage)}
    assert trained == {id(p) for p in system.parameters()}


def test_the_control_has_no_teacher():
    system = system_of(guidance=False)
    assert system.stages == ("main",) and system.teacher is None
    assert list(system.loss(clips(), "main")) == ["task", "reconstruction", "tag"]
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        TATE({"text": 3}, "multiclass", 3)


def test_the_reconstruction_reads_no_hidden_feature(monkeypatch):
    """Targets of the reconstruction and the tag come from what the row shows."""
    system, batch = system_of(guidance=False), clips()
    other = replace(batch, x=batch.x | {"text": batch.x["text"] + 1})
    monkeypatch.setattr(system, "show", lambda batch: batch.without("text"))
    ours, theirs = (system.loss(b.select(torch.tensor([1, 3, 5, 6])), "main") for b in (batch, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
