"""MCTN against its slow reference, the reference against numbers worked out by hand, and the model of each set."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmlib import synthetic
from mmlib.data.dataset import Batch
from mmlib.models.mctn import MCTN
from mmlib.names import DataError
from mmlib.training.fit import fit
from tests.helpers.weights import renamed
from tests.reference import mctn as reference

DOUBLE = torch.float64
DIMS = {"audio": 2, "text": 3, "vision": 4}
LENGTHS = {"audio": 2, "text": 4, "vision": 1}
CHAINS = {
    "vision": (["vision"], ["text", "audio"]),
    "text": (["text"], ["audio", "vision"]),
    "text+vision": (["text", "vision"], ["audio"]),
    "audio": (["audio"], ["text", "vision"]),
    "audio+vision": (["audio", "vision"], ["text"]),
    "audio+text": (["text", "audio"], ["vision"]),
    "audio+text+vision": (["text", "audio"], ["vision"]),
}


def system_of(dims=DIMS, **arguments):
    torch.manual_seed(0)
    system = MCTN(dims, "multiclass", 3, hidden=5, **arguments).double().eval()
    for p in system.parameters():
        p.data *= 2  # so that the gates leave their linear range
    return system


def clips(dims=DIMS):
    """A row of each set of modalities, and complete ones; frames are lost, too. What is not observed is NaN."""
    generator, n = torch.Generator().manual_seed(1), 2 ** len(dims) + 2
    x, observed = {}, {}
    for k, (m, d) in enumerate(dims.items()):
        frames = torch.rand(n, LENGTHS[m], generator=generator) < 0.7
        frames[:, -1] = True
        observed[m] = frames & torch.tensor([[i >= n - 2 or (i >> k) & 1] for i in range(1, n + 1)]).bool()
        x[m] = torch.randn(n, LENGTHS[m], d, generator=generator, dtype=DOUBLE)
        x[m] = x[m].masked_fill(~observed[m][..., None], torch.nan)
    return Batch(x=x, observed=observed, target=torch.arange(n) % 3, index=torch.arange(n))


def samples(batch):
    return [([x[i] for x in batch.x.values()], [f[i] for f in batch.observed.values()]) for i in range(len(batch))]


def chain_of(system, name):
    return tuple([list(system.dims).index(m) for m in part] for part in CHAINS[name])


def test_each_set_has_its_chain():
    system = system_of()
    assert system.stages == tuple(f"main {name}" for name in CHAINS)
    assert {"+".join(names): (s.sources, s.targets) for names, s in zip(system.sets, system.systems)} == CHAINS
    two = system_of({"image": 3, "text": 2})
    chains = [(s.sources, s.targets) for s in two.systems]
    assert chains == [(["text"], ["image"]), (["image"], ["text"]), (["text"], ["image"])]
    for dims in ({"a": 1}, dict.fromkeys("abcd", 1)):
        with pytest.raises(DataError, match="two or three modalities, with at most two translations; the data have a"):
            MCTN(dims, "multiclass", 3)


def test_logits_equal_the_reference():
    system, batch = system_of(), clips()
    slow = []
    for xs, frames in samples(batch):
        name = "+".join(m for m, f in zip(DIMS, frames) if bool(f.any()))
        chain = list(CHAINS).index(name)
        slow.append(reference.predict(renamed(system.systems[chain]), xs, frames, chain_of(system, name)))
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, torch.stack(slow), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CHAINS)
def test_losses_equal_the_reference(name):
    system, batch = system_of(weight=0.3), clips()
    i = list(CHAINS).index(name)
    rows = torch.stack([batch.present[m] for m in name.split("+")]).all(0)
    terms = system.loss(batch, f"main {name}")
    having, w, chain = batch.select(rows), renamed(system.systems[i]), chain_of(system, name)
    slow = reference.errors(w, samples(having), chain)
    assert list(terms) == ["task", *slow] and len(slow) == (2 if len(CHAINS[name][1]) == 1 else 3)
    for term, value in slow.items():
        torch.testing.assert_close(terms[term], 0.3 * value, rtol=1e-9, atol=1e-9)
    logits = torch.stack([reference.predict(w, *sample, chain) for sample in samples(having)])
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(logits, having.target))


def test_an_encoder_and_a_decoder_by_hand():
    """Gates without weights are 1/2: c = tanh(x) / 2 at the first step, then half of that and as much again."""
    names = [f"weight_{kind}_l0{way}" for kind in ("ih", "hh") for way in ("", "_reverse")]
    zeros = {name: torch.zeros(4, 1, dtype=DOUBLE) for name in names}
    zeros |= {name.replace("weight", "bias"): torch.zeros(4, dtype=DOUBLE) for name in zeros}
    w = {f"n.encoder.{name}": value for name, value in zeros.items()}
    for way in ("", "_reverse"):
        w[f"n.encoder.weight_ih_l0{way}"] = torch.tensor([[0.0], [0.0], [1.0], [0.0]], dtype=DOUBLE)  # g alone
    u = math.tanh(1.0)
    one = math.tanh(u / 2) / 2  # state after one step of input 1
    two = math.tanh(u / 2 + u / 4) / 2  # after two of them
    states = reference.encode(w, "n", [torch.ones(1, dtype=DOUBLE)] * 2)
    assert [float(s) for s in states] == pytest.approx([one + two, two + one], rel=1e-12)
    # The decoder weighs the joint sequence (1, 3) equally at first: the state is zero. Its own map: 2 s + 1.
    w |= {"n.cell." + name.removesuffix("_l0"): value for name, value in zeros.items() if name.endswith("_l0")}
    w["n.cell.weight_ih"] = w["n.encoder.weight_ih_l0"]
    w |= {"n.out.weight": torch.tensor([[2.0]], dtype=DOUBLE), "n.out.bias": torch.ones(1, dtype=DOUBLE)}
    joint = [torch.tensor([v], dtype=DOUBLE) for v in (1.0, 3.0)]
    first = math.tanh(math.tanh(2.0) / 2) / 2
    share = 1 / (1 + math.exp(-2 * first))  # of 3, whose product with the state is larger by 2 s
    second = math.tanh(math.tanh(2.0) / 4 + math.tanh(3 * share + 1 - share) / 2) / 2
    assert [float(y) for y in reference.decode(w, "n", joint, 2)] == pytest.approx([1 + 2 * first, 1 + 2 * second])


def test_a_prediction_reads_the_sources_alone():
    """Complete rows do not read the target of their chain, and no row reads a target."""
    system, batch = system_of(), clips()
    complete = batch.select(torch.stack([*batch.present.values()]).all(0))
    logits = system.predict(complete).logits
    for m, changes in (("vision", False), ("audio", True), ("text", True)):
        other = replace(complete, x=complete.x | {m: complete.x[m] + 1})
        assert torch.equal(system.predict(other).logits, logits) != changes
    chain = system.systems[1]  # the text
    assert torch.equal(chain.predict(complete).logits, chain.predict(complete.without("audio", "vision")).logits)


def test_a_stage_trains_its_own_model_on_rows_that_have_the_set():
    system, batch = system_of(), clips()
    terms = system.loss(batch, "main text+vision")
    lacking = batch.select(~(batch.present["text"] & batch.present["vision"]))
    assert all(float(v.detach()) == 0 for v in system.loss(lacking, "main text+vision").values())
    assert list(system.loss(lacking, "main text+vision")) == list(terms)
    sum(terms.values()).backward()
    trained = {id(p) for p in system.parameters_of("main text+vision")}
    assert {id(p) for p in system.parameters() if p.grad is not None} == trained
    stages = [id(p) for stage in system.stages for p in system.parameters_of(stage)]
    assert sorted(stages) == sorted(id(p) for p in system.parameters())


def test_validation_hides_what_a_stage_does_not_have():
    system, batch = system_of(), clips()
    rows = batch.select(batch.present["text"])
    for stage, hidden in (("main text", ("audio", "vision")), ("main audio+text", ("vision",))):
        scored = system.predict_in(stage, rows).logits
        assert torch.equal(scored, system.predict(rows.without(*hidden)).logits)
    without = batch.select(~batch.present["text"])
    assert torch.equal(system.predict_in("main text", without).logits, system.predict(without).logits)
    with pytest.raises(DataError, match="row 0 has no modality available"):
        system.predict(batch.select(torch.tensor([0])).without(*DIMS))


def test_training_without_complete_rows_is_refused():
    data = synthetic.like("iemocap", dim=4, length=3).sample({"train": 40, "valid": 10, "test": 10}, 0)
    system = MCTN.for_data(data, hidden=4)
    assert system.traits == ("needs_complete_rows", "trained_per_pattern")
    with pytest.raises(DataError, match="no training row has every modality; MCTN trains a model for each set"):
        fit(system, data, "available(text, audio)", epochs=1, progress=False)
