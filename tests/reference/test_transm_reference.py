"""TransM against its slow reference, and the reference against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from mmlib.data.dataset import Batch
from mmlib.models.transm import TransM
from mmlib.names import DataError
from tests.helpers.weights import renamed
from tests.reference import transm as reference

DOUBLE = torch.float64
DIMS = {"audio": 2, "text": 3, "vision": 4}
LENGTHS = {"audio": 2, "text": 4, "vision": 1}
HEADS, DEPTH = 2, 2


def system_of(dims=DIMS, **arguments):
    torch.manual_seed(0)
    system = TransM(dims, "multiclass", 3, d=8, heads=HEADS, layers=DEPTH, **arguments).double().eval()
    for p in system.parameters():  # biases of zero and norms of one would hide mistakes
        p.data += 0.2 * torch.randn(p.shape, dtype=DOUBLE)
    return system


def clips(dims=DIMS):
    """A row of each set of modalities; frames are lost, too. What is not observed is NaN."""
    generator, n = torch.Generator().manual_seed(1), 2 ** len(dims) - 1
    x, observed = {}, {}
    for k, (m, d) in enumerate(dims.items()):
        frames = torch.rand(n, LENGTHS[m], generator=generator) < 0.7
        frames[:, -1] = True
        observed[m] = frames & torch.tensor([[(i >> k) & 1] for i in range(1, n + 1)]).bool()
        x[m] = torch.randn(n, LENGTHS[m], d, generator=generator, dtype=DOUBLE)
        x[m] = x[m].masked_fill(~observed[m][..., None], torch.nan)
    return Batch(x=x, observed=observed, target=torch.arange(n) % 3, index=torch.arange(n))


def weights_of(system):
    return renamed(system, *((f".{m}", f".{i}") for i, m in enumerate(system.dims)))


def samples(batch):
    return [([x[i] for x in batch.x.values()], [f[i] for f in batch.observed.values()]) for i in range(len(batch))]


@pytest.mark.parametrize(
    ("dims", "source"), [(DIMS, 1), ({"text": 3, "audio": 2}, 0), ({"vision": 4, "audio": 2}, 0)], ids=str
)
def test_logits_equal_the_reference(dims, source):
    system, batch = system_of(dims), clips(dims)
    w = weights_of(system)
    slow = [reference.predict(w, xs, frames, source, DEPTH, HEADS) for xs, frames in samples(batch)]
    torch.testing.assert_close(system.predict(batch.unlabelled()).logits, torch.stack(slow), rtol=1e-9, atol=1e-9)


def test_losses_equal_the_reference():
    system, batch = system_of(weight=0.3), clips()
    terms = system.loss(batch, "main")
    forth, back = reference.errors(weights_of(system), samples(batch), 1, DEPTH, HEADS)
    assert list(terms) == ["task", "translation", "back"]
    torch.testing.assert_close(terms["translation"], 0.3 * forth, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(terms["back"], 0.3 * back, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(terms["task"], nn.functional.cross_entropy(system.predict(batch).logits, batch.target))


def test_means_and_errors_by_hand():
    """A step counts if it is observed, or if none is."""
    z = torch.tensor([[1.0], [4.0], [10.0]], dtype=DOUBLE)
    some, none = torch.tensor([True, False, True]), torch.zeros(3, dtype=torch.bool)
    assert float(reference.mean_of(z, reference.visible(some))) == 5.5
    assert float(reference.mean_of(z, reference.visible(none))) == 5
    # Translations that always say 1 and 2: errors |1 - 3| and, back, |2 - 1.5|; the mean of (2, 4) over observed frames.
    system = system_of({"text": 1, "audio": 1}, weight=1.0)
    for net, said in ((system.forth["audio"], 1.0), (system.back["audio"], 2.0)):
        net.out.weight.data.zero_()
        net.out.bias.data.fill_(said)
    batch = Batch(
        x={"text": torch.tensor([[[1.5]], [[9.0]]], dtype=DOUBLE), "audio": torch.tensor([[[3.0]], [[5.0]]], dtype=DOUBLE)},
        observed={"text": torch.tensor([[True], [False]]), "audio": torch.tensor([[True], [True]])},
        target=torch.tensor([0, 1]), index=torch.arange(2),
    )  # fmt: skip
    terms = {name: value.detach() for name, value in system.loss(batch, "main").items()}
    assert float(terms["translation"]) == pytest.approx(3) and float(terms["back"]) == pytest.approx(0.5)


def test_a_missing_modality_is_queried_by_position_alone():
    """Two rows without it are queried alike; at each step otherwise."""
    system, batch = system_of(), clips()
    rows = batch.select(torch.tensor([1, 5]))  # text; text and vision
    F = system.features(rows)["audio"]
    assert torch.equal(F[0], F[1]) and torch.equal(F[0, 0], F[0, 1])
    assert torch.equal(F[0, 0], system.query["audio"])
    made = system._translate(rows)[1]["audio"]
    assert not torch.allclose(made[0, 0], made[0, 1], atol=1e-3)
    sum(system.loss(batch, "main").values()).backward()
    assert all(float(q.grad.abs().sum()) > 0 for q in system.query.values())


def test_without_any_known_feature_a_reconstruction_costs_nothing():
    system, batch = system_of(), clips()
    terms = system.loss(batch.select(torch.tensor([1])), "main")  # text alone
    assert float(terms["translation"].detach()) == 0 and float(terms["back"].detach()) > 0
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        TransM({"text": 3}, "multiclass", 3)
