"""SMIL one row at a time: mix centroids for what a row lacks, regularise the hidden layer, step the head, compare.

Written from the description of the method with Python loops over rows, modalities and centroids; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included.
`banks` has for each modality its centroids (k, width), k at most K. The noise of a row is a dict: "mixture" holds a vector
(K,) for each modality, "joint" a vector (d,); None stands for no noise. M modalities, C outputs. Weights are a plain dict of
tensors in torch's Linear convention, weight (out, in), each with a bias:

    encoder.{m}.0, encoder.{m}.2          mean frame of one modality (width,) -> d
    mixture.{m} (K, M d)                  scores of the centroids of modality m, from [h_1 .. h_M], zeros where a row lacks one
    head.0 (d, M d), head.2 (C, d)        the main net: hidden layer with ReLU, output
    regularise (d, d)                     from the hidden layer to what is added to it

Choices where the description is open: the regularised layer is the head's hidden layer after its ReLU. A bank of fewer than K
centroids uses the first scores. The noised path of a complete row is its reconstructed view (the modalities in `hidden` come
from the banks) with both kinds of noise. Its hidden layer is compared with that of the whole row before either is
regularised; both get gradients, and the mean runs over rows and dimensions. The inner step changes head.0 and head.2 alone.
The warm-up uses neither banks nor regularisation. A batch without incomplete rows makes no step, and a term without rows is
zero.
"""

import torch

from tests.reference.shaspec import net, vector
from tests.reference.umdf import linear, task_loss

HEAD = ("head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias")


def softplus(x):
    return torch.log(1 + torch.exp(x))


def mixed(w, bank, m, context, noise):
    """The mean frame that modality m could have: centroids times shares, the shares softplus scores over their sum."""
    scores = linear(w, f"mixture.{m}", context)
    if noise is not None:
        scores = scores + noise["mixture"][m]
    scores = [softplus(score) for score, _ in zip(scores, bank)]
    return sum(score / sum(scores) * centroid for score, centroid in zip(scores, bank))


def without(row, hidden):
    return {m: (x, observed & (m not in hidden)) for m, (x, observed) in row.items()}


def joint(w, banks, row, noise=None):
    """[h_1 .. h_M] (M d); what the row lacks is mixed from what it has."""
    frames = {m: vector(*row[m]) for m in row}
    own = {m: net(w, f"encoder.{m}", x) for m, x in frames.items() if x is not None}
    context = torch.cat([own[m] if m in own else torch.zeros_like(w[f"encoder.{m}.2.bias"]) for m in row])
    h = []
    for m in row:
        h.append(own[m] if m in own else net(w, f"encoder.{m}", mixed(w, banks[m], m, context, noise)))
    return torch.cat(h)


def hidden_layer(w, h):
    return torch.relu(linear(w, "head.0", h))


def added(w, a, noise=None):
    """What regularisation adds to the hidden layer a, before its softplus."""
    return linear(w, "regularise", a) + (0 if noise is None else noise["joint"])


def logits(w, h, noise=None):
    """The head with a regularised hidden layer."""
    a = hidden_layer(w, h)
    return linear(w, "head.2", a + softplus(added(w, a, noise)))


def predict(w, banks, rows):
    """Logits (N, C), without noise."""
    return torch.stack([logits(w, joint(w, banks, row)) for row in rows])


def warm(w, rows, targets, task):
    """The loss of the warm-up on complete rows."""
    out = [linear(w, "head.2", hidden_layer(w, joint(w, {}, row))) for row in rows]
    return task_loss(torch.stack(out), targets, task)


def slope(y, targets, task):
    """The gradient (N, C) of the task's loss with respect to the logits y (N, C)."""
    if task == "multiclass":
        hot = torch.stack([torch.eye(y.shape[1], dtype=y.dtype)[t] for t in targets])
        return (torch.softmax(y, dim=1) - hot) / len(y)
    t = targets.to(y.dtype).reshape(y.shape)
    return 2 * (y - t) / y.numel() if task == "regression" else (torch.sigmoid(y) - t) / y.numel()


def stepped(w, hs, noises, targets, task, inner):
    """The weights after one gradient step of size `inner` of the head on these rows, each gradient written out."""
    ys = torch.stack([logits(w, h, noise) for h, noise in zip(hs, noises, strict=True)])
    gradient = {name: torch.zeros_like(w[name]) for name in HEAD}
    for h, noise, g in zip(hs, noises, slope(ys, targets, task), strict=True):
        z = linear(w, "head.0", h)
        a = torch.relu(z)
        r = added(w, a, noise)
        gradient["head.2.weight"] = gradient["head.2.weight"] + torch.outer(g, a + softplus(r))
        gradient["head.2.bias"] = gradient["head.2.bias"] + g
        back = w["head.2.weight"].T @ g  # to a + softplus(r), where r depends on a as well
        back = back + w["regularise.weight"].T @ (torch.sigmoid(r) * back)
        back = back * (z > 0)
        gradient["head.0.weight"] = gradient["head.0.weight"] + torch.outer(back, h)
        gradient["head.0.bias"] = gradient["head.0.bias"] + back
    return w | {name: w[name] - inner * gradient[name] for name in HEAD}


def losses(w, banks, incomplete, complete, hidden, task, inner=1e-3, alignment=0.01):
    """The weighted terms of the main stage.

    incomplete, complete: (rows, noises, targets) each; hidden: for each complete row the modalities that its reconstructed
    view takes from the banks. inner: task's loss on incomplete rows. task: that of complete rows, reconstructed, with the
    stepped head. alignment: mean squared difference of the hidden layers of reconstructed and whole rows, stepped head.
    """
    zero = 0 * w["head.2.bias"].sum()
    terms = {"inner": zero, "task": zero, "alignment": zero}
    rows, noises, targets = incomplete
    after = w
    if rows:
        hs = [joint(w, banks, row, noise) for row, noise in zip(rows, noises, strict=True)]
        ys = [logits(w, h, noise) for h, noise in zip(hs, noises)]
        terms["inner"] = task_loss(torch.stack(ys), targets, task)
        after = stepped(w, hs, noises, targets, task, inner)
    rows, noises, targets = complete
    if rows:
        ys, differences = [], []
        for row, noise, gone in zip(rows, noises, hidden, strict=True):
            h = joint(w, banks, without(row, gone), noise)
            ys.append(logits(after, h, noise))
            differences.append(((hidden_layer(after, h) - hidden_layer(after, joint(w, banks, row))) ** 2).mean())
        terms["task"] = task_loss(torch.stack(ys), targets, task)
        terms["alignment"] = alignment * sum(differences) / len(differences)
    return terms


def means_of_nearest(centroids, points):
    """(k, width): for each centroid the mean of the points that are nearest to it; K-means ends where this changes nothing."""
    groups = [[] for _ in centroids]
    for point in points:
        distances = [float(((point - c) ** 2).sum()) for c in centroids]
        groups[distances.index(min(distances))].append(point)
    return torch.stack([sum(group) / len(group) for group in groups])
