"""GCNet against its slow reference, and how it lays rows out as dialogues."""

import math
from dataclasses import replace

import pytest
import torch

from mmlib.models import gcnet as fast
from mmlib.models.gcnet import GCNet
from mmlib.names import DataError
from tests.helpers.clips import PRESENT, SHAPES, WIDTHS, batch_of, flags
from tests.reference import gcnet as reference

DOUBLE = torch.float64
# Dialogue, position, speaker: dialogues of four, four and one row, not in the order of the file, with gaps in the positions.
PLACES = [(7, 3, 0), (2, 0, 1), (7, 0, 0), (7, 1, 2), (2, 2, 0), (5, 4, 1), (2, 5, 1), (7, 2, 1), (2, 1, 0)]


def prepared(task, **options):
    """A system with random weights in float64, without dropout, a batch with places, and the rows for the reference."""
    torch.manual_seed(0)
    batch, rows, data = batch_of(task)
    system = GCNet.for_data(data, d=5, dropout=0.0, **options).double()
    for p in system.parameters():
        p.data = (1.5 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.4) * torch.randn(p.shape, dtype=DOUBLE)
    return system, replace(batch, place=torch.tensor(PLACES)), rows


def in_reference(system):
    w = {}
    for name, p in system.named_parameters():
        graph, _, rest = name.partition(".")
        if rest == "relation.weight":
            parts = p.chunk(reference.RELATIONS[graph], 1)
            w |= {f"{graph}.relation.{r}.weight": part for r, part in enumerate(parts)}
        else:
            name = name.replace("own", "self").replace("decoder", "reconstruct").replace("lstm.lstm", "lstm")
            w[name.replace("context.lstm", "context")] = p
    return w


@pytest.mark.parametrize("window", [1, 2, 9])
@pytest.mark.parametrize("task", SHAPES)
def test_logits_losses_and_gradients(task, window, monkeypatch):
    system, batch, rows = prepared(task, window=window, weight=0.7)
    w = in_reference(system)
    slow = reference.predict(w, rows, PLACES, window)
    prediction = system.predict(batch.unlabelled())
    torch.testing.assert_close(prediction.logits, slow, rtol=1e-9, atol=1e-9)
    kept = torch.stack([flags(PRESENT[m]) for m in WIDTHS], 1) & (torch.rand(9, 3) < 0.6)
    monkeypatch.setattr(fast, "random_subset", lambda patterns, present: kept)
    shown = [
        {m: (frames, seen & kept[i, j]) for j, (m, (frames, seen)) in enumerate(row.items())}
        for i, row in enumerate(rows)
    ]
    ours = system.loss(batch, "main")
    theirs = reference.losses(w, rows, shown, PLACES, batch.target, task, window, 0.7)
    assert list(ours) == list(theirs) and theirs["reconstruction"] > 0
    for name, term in theirs.items():
        torch.testing.assert_close(ours[name], term, rtol=1e-9, atol=1e-9)
    parameters = list(system.parameters())
    gradients = [torch.autograd.grad(sum(terms.values()), parameters) for terms in (ours, theirs)]
    for (name, _), a, b in zip(system.named_parameters(), *gradients):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, msg=name)


def test_rows_of_other_dialogues_and_their_order_do_not_matter():
    system, batch, _ = prepared("multiclass")
    whole = system.predict(batch).logits
    for dialogue in (2, 5, 7):
        rows = batch.place[:, 0] == dialogue
        torch.testing.assert_close(system.predict(batch.select(rows)).logits, whole[rows], rtol=1e-9, atol=1e-9)
    order = torch.tensor([4, 2, 8, 0, 6, 1, 7, 5, 3])
    torch.testing.assert_close(system.predict(batch.select(order)).logits, whole[order], rtol=1e-9, atol=1e-9)


def test_a_neighbour_tells_of_a_row():
    """Whether its own features, its position or its speaker change: the prediction of the row before changes."""
    system, batch, _ = prepared("multiclass")
    before = system.predict(batch).logits[8]  # dialogue 2, position 1; row 4 is at position 2
    for column in (1, 2):
        place = batch.place.clone()
        place[4, column] += 1
        assert not torch.equal(system.predict(replace(batch, place=place)).logits[8], before)
    hidden = {m: f & (torch.arange(9) != 4)[:, None] for m, f in batch.observed.items()}
    assert not torch.equal(system.predict(replace(batch, observed=hidden)).logits[8], before)


def test_the_names_of_dialogues_and_speakers_do_not_matter():
    system, batch, _ = prepared("multiclass")
    other = torch.stack((90 - 10 * batch.place[:, 0], batch.place[:, 1] + 3, 9 - batch.place[:, 2]), 1)
    ours, theirs = (system.predict(replace(batch, place=place)).logits for place in (batch.place, other))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_layout_by_hand():
    group, position, _ = torch.tensor(PLACES).T
    dialogue, step, lengths = fast.layout(group, position)
    assert dialogue.tolist() == [2, 0, 2, 2, 0, 1, 0, 2, 0]
    assert step.tolist() == [3, 0, 0, 1, 2, 0, 3, 2, 1]
    assert lengths.tolist() == [4, 1, 4]


def test_relations_by_hand():
    before, at, after = fast.order_of(torch.tensor([[0, 1, 4]]))
    assert before[0].tolist() == [[False] * 3, [True, False, False], [True, True, False]]
    assert torch.equal(at[0], torch.eye(3, dtype=torch.bool)) and torch.equal(after, before.mT)
    own, other = fast.same(torch.tensor([[3, 8, 3]]))
    assert own[0].tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert torch.equal(other, ~own)


def test_the_reconstruction_reads_no_hidden_feature(monkeypatch):
    system, batch, _ = prepared("multiclass")
    kept = torch.stack([batch.present[m] & (m != "text") for m in WIDTHS], 1)
    monkeypatch.setattr(fast, "random_subset", lambda patterns, present: kept)
    other = replace(batch, x=batch.x | {"text": batch.x["text"] + 1})
    ours, theirs = (system.loss(b, "main") for b in (batch, other))
    assert torch.equal(ours["task"], theirs["task"]) and ours["reconstruction"] != theirs["reconstruction"]


def test_what_it_does_not_take():
    system, batch, _ = prepared("multiclass")
    with pytest.raises(DataError, match="GCNet reads dialogues: it needs a Dataset with the columns group and order"):
        system.predict(replace(batch, place=None))
    with pytest.raises(DataError, match="two or more modalities, the data have text"):
        GCNet({"text": 3}, "multiclass", 3)
