"""GCNet one dialogue at a time: a Bi-LSTM over utterances, two graphs over a window, their sum read twice.

Written from the description of the method with Python loops over utterances, neighbours and relations; it is slow on purpose.
A row (an utterance) is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything,
NaN included. The place of a row is (dialogue, position, speaker), integers. C outputs. Weights are a plain dict of tensors in
torch's conventions; LSTMs are bidirectional, of two layers, and h counts one direction; g is the width of a graph:

    context.{weight,bias}_{ih,hh}_l{0,1}[_reverse]        utterance vectors (sum of widths,) -> 2 h
    {graph}.root.weight, {graph}.relation.{r}.weight (g, 2 h)      W_0 and W_r of the relational graph convolution, no bias
    {graph}.self.weight, {graph}.neighbours.weight (g, g)          W_a and W_b of the graph convolution, no bias
    {graph}.lstm.{weight,bias}_{ih,hh}_l{0,1}[_reverse]            from (2 h + g) to 2 h'
    {graph}.out (d, 2 h')                                          linear map, with bias
    head (C, d), reconstruct (sum of widths, d)                    with bias

where {graph} is "temporal" (r: 0 past, 1 the same position, 2 future) or "speaker" (r: 0 the same speaker, 1 another).

Choices where the description is open: the formulas of both convolutions have no bias, so the layers have none; ReLU follows
both. A neighbour j of i stands at most `window` positions away in the same dialogue, by position and not by rank, and i is
its own neighbour in both graphs. A relation of i without neighbours adds nothing. No ReLU follows {graph}.out. The
reconstruction error of a row is the sum over its hidden modalities of the mean over dimensions; it is averaged over all rows
of the batch, those without a hidden modality included. Its target is the mean frame before training hid the modality.
"""

import torch

from tests.reference.mctn import lstm
from tests.reference.shaspec import vector
from tests.reference.umdf import linear, task_loss

RELATIONS = {"temporal": 3, "speaker": 2}


def bilstm(w, name, xs):
    """Two layers; each gives the forward state and the backward state of a step side by side."""
    for layer in range(2):
        forward = lstm(w, f"{name}.", f"_l{layer}", xs)
        backward = lstm(w, f"{name}.", f"_l{layer}_reverse", xs[::-1])[::-1]
        xs = [torch.cat([a, b]) for a, b in zip(forward, backward, strict=True)]
    return xs


def utterance(row):
    """[mean frame of each modality], zeros where the row lacks one."""
    means = {m: vector(x, observed) for m, (x, observed) in row.items()}
    return torch.cat([row[m][0].new_zeros(row[m][0].shape[1]) if x is None else x for m, x in means.items()])


def neighbours(places, i, window):
    return [j for j, place in enumerate(places) if abs(place[1] - places[i][1]) <= window]


def relation(graph, mine, other):
    """The type of the edge from the place `other` to the place `mine`."""
    if graph == "speaker":
        return 0 if other[2] == mine[2] else 1
    return 0 if other[1] < mine[1] else 1 if other[1] == mine[1] else 2


def relational(w, graph, hs, places, window):
    """relu(W_0 h_i + sum over r of the mean of W_r h_j over the neighbours j of relation r)."""
    out = []
    for i, h in enumerate(hs):
        total = w[f"{graph}.root.weight"] @ h
        for r in range(RELATIONS[graph]):
            related = [j for j in neighbours(places, i, window) if relation(graph, places[i], places[j]) == r]
            for j in related:
                total = total + w[f"{graph}.relation.{r}.weight"] @ hs[j] / len(related)
        out.append(torch.relu(total))
    return out


def convolved(w, graph, hs, places, window):
    """relu(W_a h_i + W_b times the sum of the neighbours)."""
    out = []
    for i, h in enumerate(hs):
        total = sum(hs[j] for j in neighbours(places, i, window))
        out.append(torch.relu(w[f"{graph}.self.weight"] @ h + w[f"{graph}.neighbours.weight"] @ total))
    return out


def dialogue(w, rows, places, window):
    """The sum of both graphs for each row of one dialogue, in the order of `rows`, which need not be that of positions."""
    order = sorted(range(len(rows)), key=lambda i: places[i][1])
    there = [places[i] for i in order]
    context = bilstm(w, "context", [utterance(rows[i]) for i in order])
    total = [0] * len(rows)
    for graph in RELATIONS:
        hs = convolved(w, graph, relational(w, graph, context, there, window), there, window)
        ends = bilstm(w, f"{graph}.lstm", [torch.cat([c, h]) for c, h in zip(context, hs, strict=True)])
        for i, end in zip(order, ends, strict=True):
            total[i] = total[i] + linear(w, f"{graph}.out", end)
    return total


def states(w, rows, places, window):
    """(N, d) of a batch of whole dialogues, in the order of `rows`."""
    out = [None] * len(rows)
    for name in {place[0] for place in places}:
        mine = [i for i, place in enumerate(places) if place[0] == name]
        made = dialogue(w, [rows[i] for i in mine], [places[i] for i in mine], window)
        for i, z in zip(mine, made, strict=True):
            out[i] = z
    return torch.stack(out)


def predict(w, rows, places, window=2):
    """Logits (N, C)."""
    return linear(w, "head", states(w, rows, places, window))


def reconstruction(made, rows, shown):
    """The mean over rows of sums over modalities that `rows` has and `shown` lacks; made: (N, sum of widths)."""
    total = 0 * made.sum()
    for vector_of_row, row, part in zip(made, rows, shown, strict=True):
        start = 0
        for m, (x, observed) in row.items():
            end = start + x.shape[1]
            if bool(observed.any()) and not bool(part[m][1].any()):
                total = total + ((vector_of_row[start:end] - vector(x, observed)) ** 2).mean()
            start = end
    return total / len(rows)


def losses(w, rows, shown, places, targets, task, window=2, weight=1.0):
    """The weighted terms; `shown` lists the same rows after training hid modalities of them."""
    z = states(w, shown, places, window)
    return {
        "task": task_loss(linear(w, "head", z), targets, task),
        "reconstruction": weight * reconstruction(linear(w, "reconstruct", z), rows, shown),
    }
