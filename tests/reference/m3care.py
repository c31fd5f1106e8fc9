"""M3Care one pair of rows at a time: similarity, neighbours, two graph layers, tokens (evaluation mode, no dropout).

Written from the paper's description with Python loops over rows, modalities and pairs; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included.
Weights are a plain dict of tensors in torch's Linear convention, weight (out, in), each with a bias unless a shape is named:

    encode.{m}.0, .2                       one modality's vector to its embedding h (d)
    phi.{m}.0, .2, .4                      the network of the learned kernel
    mix.{m} (), threshold ()               raw numbers; their sigmoids are s and theta
    graph.{m}.0, .1                        the two graph layers
    score_graph.{m}, score_own.{m}         of the gate between g and h, d -> 1
    kind (M, d); tokens.*; head.0, .2      type embeddings, transformer encoder (see umdf.encoder), classifier
"""

import torch

from tests.reference.umdf import encoder, linear, task_loss

FACTORS = (0.25, 0.5, 1, 2, 4)  # bandwidths of the kernel, as multiples of the mean squared distance


def net(w, name, x, layers):
    """`layers` linear maps with ReLU between them."""
    for i in range(layers):
        x = linear(w, f"{name}.{2 * i}", torch.relu(x) if i else x)
    return x


def embedded(w, row):
    """{m: h} of the modalities that the row has; its vector is the mean of the observed frames."""
    h = {}
    for m, (frames, observed) in row.items():
        seen = [frame for frame, is_seen in zip(frames, observed, strict=True) if is_seen]
        if seen:
            h[m] = net(w, f"encode.{m}", sum(seen) / len(seen), 2)
    return h


def bandwidth(points):
    """Mean squared distance of all pairs of different points, a constant for gradients; next to nothing without a pair."""
    pairs = [((a - b) ** 2).sum().item() for i, a in enumerate(points) for b in points[:i]]
    return max(sum(pairs) / len(pairs), 1e-6) if pairs else 1e-6


def rbf(x, y, width):
    return sum(torch.exp(-((x - y) ** 2).sum() / (c * width)) for c in FACTORS) / len(FACTORS)


def mixed(K_phi, K_h, s):
    return (1 - s) * K_phi + s * K_h


def cut(a, raw):
    """a - theta + theta where a is above theta = sigmoid(raw), else 0. What is added back is a constant for gradients."""
    theta = torch.sigmoid(raw)
    return a - theta + theta.detach() if a > theta else 0 * a


class Graph:
    """Rows, embedded, among which others look for similar ones. The kernels' bandwidths are those of these rows."""

    def __init__(self, w, rows):
        self.w, self.rows, self.widths = w, rows, {}
        for m in {m for row in rows for m in row}:
            h = [row[m] for row in rows if m in row]
            self.widths[m] = bandwidth([self.phi(m, x) for x in h]), bandwidth(h)

    def phi(self, m, h):
        return net(self.w, f"phi.{m}", h, 3)

    def similarity(self, a, b):
        """The mean of the kernels of the modalities that both rows have; 0 if they have none in common."""
        kernels = []
        for m in a:
            if m in b:
                # A modality that no row of the graph has cannot be in common with one of them; a row has 1 with itself.
                of_phi, of_h = self.widths.get(m, (1.0, 1.0))
                K_phi, K_h = rbf(self.phi(m, a[m]), self.phi(m, b[m]), of_phi), rbf(a[m], b[m], of_h)
                kernels.append(mixed(K_phi, K_h, torch.sigmoid(self.w[f"mix.{m}"])))
        return sum(kernels) / len(kernels) if kernels else torch.zeros_like(self.w["threshold"])

    def weights(self, row, neighbours):
        """One number per neighbour."""
        return [cut(self.similarity(row, other), self.w["threshold"]) for other in neighbours]

    def mean(self, m, weights, neighbours, states):
        """The mean state of those neighbours that have m, each weighed by its similarity; zeros where none is similar."""
        pairs = [(a, state) for a, other, state in zip(weights, neighbours, states, strict=True) if m in other]
        total = sum(a for a, _ in pairs)
        if total == 0:
            return torch.zeros_like(self.w["kind"][0])
        return sum(a * state for a, state in pairs) / total

    def first(self, m, weights, neighbours):
        """The state of a row after the first graph layer."""
        states = [other.get(m) for other in neighbours]
        return torch.relu(linear(self.w, f"graph.{m}.0", self.mean(m, weights, neighbours, states)))

    def second(self, m, weights, neighbours, states):
        return linear(self.w, f"graph.{m}.1", self.mean(m, weights, neighbours, states))


def aggregated(w, rows, bank=None):
    """{m: g} of every row and modality, whether the row has it or not.

    In a batch every row is a neighbour of every row, itself included. With a bank a row's neighbours are the rows of the
    bank and itself; those of a row of the bank are the rows of the bank alone.
    """
    nodes, out = rows if bank is None else bank, []
    graph = Graph(w, nodes)
    of_nodes = [graph.weights(node, nodes) for node in nodes]
    states = {m: [graph.first(m, weights, nodes) for weights in of_nodes] for m in modalities(w)}
    for i, row in enumerate(rows):
        if bank is None:
            out.append({m: graph.second(m, of_nodes[i], nodes, states[m]) for m in modalities(w)})
            continue
        neighbours, g = [*nodes, row], {}
        weights = graph.weights(row, neighbours)
        for m in modalities(w):
            g[m] = graph.second(m, weights, neighbours, [*states[m], graph.first(m, weights, neighbours)])
        out.append(g)
    return out


def modalities(w):
    return [name.split(".")[1] for name in w if name.startswith("mix.")]


def tokens(w, h, g):
    """One token per modality: between g and h where the row has it, else g."""
    out = []
    for m in modalities(w):
        token = g[m]
        if m in h:
            a = torch.sigmoid(linear(w, f"score_graph.{m}", g[m]))
            b = torch.sigmoid(linear(w, f"score_own.{m}", h[m]))
            token = a / (a + b) * g[m] + b / (a + b) * h[m]
        out.append(token)
    return torch.stack(out)


def predict(w, rows, heads, bank=None, impute="graph"):
    """Logits (N, C). impute 'zeros': no graph, h as it is and zeros for what is missing."""
    rows = [embedded(w, row) for row in rows]
    if impute == "graph":
        found = aggregated(w, rows, None if bank is None else [embedded(w, row) for row in bank])
        all_tokens = [tokens(w, h, g) for h, g in zip(rows, found, strict=True)]
    else:
        zero = torch.zeros_like(w["kind"][0])
        all_tokens = [torch.stack([h.get(m, zero) for m in modalities(w)]) for h in rows]
    logits = [net(w, "head", encoder(w, "tokens", x + w["kind"], 2, heads).flatten(), 2) for x in all_tokens]
    return torch.stack(logits)


def losses(w, rows, targets, task, heads, lam):
    """Task and norm term; training takes the graph of the batch."""
    norms = 0
    for m in modalities(w):
        h = [embedded(w, row)[m] for row in rows if m in embedded(w, row)]
        gaps = [(net(w, f"phi.{m}", x, 3).norm() - x.norm()).abs() for x in h]
        norms = norms + (sum(gaps) / len(gaps) if gaps else 0)
    return {"task": task_loss(predict(w, rows, heads), targets, task), "norm": lam * norms}
