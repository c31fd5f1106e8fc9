"""PmcmFL with one client, one row at a time, in Python's floats (evaluation mode, no dropout).

Written from the description of the method with loops over rows, classes and dimensions; it is slow on purpose.
A vector is a list of floats. A row is a dict: modality -> representation (d,), without the modalities that it does not have.
`names` are all modalities in their order. Labels of a row: the list of its classes, one class for a multiclass task.
Weights are a plain dict of nested lists; a layer has {layer}.weight (out, in) and {layer}.bias (out,):

    norm.{m}             LayerNorm of one modality's representation
    fuse (d, M d)        the linear map of the fusion
    head.0, head.norm, head.1    d -> 2 d, LayerNorm, GELU, -> C

A library is a list with one entry for each class: None, or a dict of the class's prototypes: one for each modality, and one
for the fusion under the name FUSION.

The description sums the binary cross-entropy over the classes; this file takes their mean, as mmlib does for all systems.
"""

import math

from tests.reference.imputers import cross_entropy, linear, mean

FUSION = "fusion"
SCALE = 1 / 0.07


def layer_norm(w, name, x):
    centre = mean(x)
    variance = mean([(v - centre) ** 2 for v in x])
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    return [(v - centre) / math.sqrt(variance + 1e-5) * a + b for v, a, b in zip(x, weight, bias, strict=True)]


def gelu(x):
    return [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x]


def fused(w, names, full):
    """tanh(fuse([LN of each representation]) / 2); `full` has all modalities."""
    joint = [v for m in names for v in layer_norm(w, f"norm.{m}", full[m])]
    return [math.tanh(v / 2) for v in linear(w, "fuse", joint)]


def head(w, x):
    return linear(w, "head.1", gelu(layer_norm(w, "head.norm", linear(w, "head.0", x))))


def average(vectors):
    return [mean(column) for column in zip(*vectors, strict=True)]


def library(w, names, rows, labels, classes):
    """Per class the mean representation of each modality and of the fusion, over its rows that have all modalities."""
    out = []
    for c in range(classes):
        complete = [row for row, own in zip(rows, labels, strict=True) if c in own and all(m in row for m in names)]
        if not complete:
            out.append(None)
            continue
        entry = {m: average([row[m] for row in complete]) for m in names}
        out.append(entry | {FUSION: average([fused(w, names, row) for row in complete])})
    return out


def known(prototypes, labels):
    """The classes of a row that have prototypes."""
    return [c for c in labels if prototypes[c] is not None]


def filled(names, row, classes, prototypes, d):
    """The row with the mean of these classes' prototypes in place of what it does not have; zeros without any class."""
    full = dict(row)
    for m in names:
        if m not in row:
            full[m] = average([prototypes[c][m] for c in classes]) if classes else [0.0] * d
    return full


def masked(names, row, labels, prototypes, d):
    """A row in training: the prototypes of its own classes stand in."""
    return filled(names, row, known(prototypes, labels), prototypes, d)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def nearest(row, prototypes):
    """The class whose prototypes are nearest by the mean cosine over what the row has; None without a class or modality."""
    best, chosen = -math.inf, None
    for c, entry in enumerate(prototypes):
        if entry is not None and row:
            similarity = mean([cosine(x, entry[m]) for m, x in row.items()])
            if similarity > best:
                best, chosen = similarity, c
    return chosen


def predict(w, names, rows, prototypes, d):
    """The logits of each row; the prototypes of the nearest class stand in for what it does not have, without any zeros."""
    out = []
    for row in rows:
        c = nearest(row, prototypes)
        out.append(head(w, fused(w, names, filled(names, row, [] if c is None else [c], prototypes, d))))
    return out


def contrast(vectors, labels, prototypes, name):
    """The mean over rows of the mean over their classes of the cross-entropy of the cosines with all prototypes.

    A vector of None and a row whose classes have no prototypes do not count; without any row the contrast is 0.
    """
    candidates = [c for c, entry in enumerate(prototypes) if entry is not None]
    losses = []
    for x, own in zip(vectors, labels, strict=True):
        positives = known(prototypes, own)
        if x is not None and positives:
            z = [SCALE * cosine(x, prototypes[c][name]) for c in candidates]
            losses.append(mean([cross_entropy(z, candidates.index(c)) for c in positives]))
    return mean(losses) if losses else 0.0


def task_loss(logits, labels, task):
    """The mean over rows of the cross-entropy, or of the sum over classes of the binary cross-entropy."""
    if task == "multiclass":
        return mean([cross_entropy(z, own[0]) for z, own in zip(logits, labels, strict=True)])
    return mean([
        sum(cross_entropy([0.0, v], int(c in own)) for c, v in enumerate(z))
        for z, own in zip(logits, labels, strict=True)
    ])  # fmt: skip


def losses(w, names, shown, labels, task, prototypes, d, weights=(1e-8, 1e-2), zeros=False):
    """The weighted terms. shown: what training left of each row; weights: of each modality's contrast, of the fusion's.

    zeros: the control, in which zeros stand in for what is not shown.
    """
    stand_ins = [None] * len(prototypes) if zeros else prototypes
    fusions = [fused(w, names, masked(names, row, own, stand_ins, d)) for row, own in zip(shown, labels, strict=True)]
    total = weights[1] * contrast(fusions, labels, prototypes, FUSION)
    for m in names:
        total += weights[0] * contrast([row.get(m) for row in shown], labels, prototypes, m)
    return {"task": task_loss([head(w, f) for f in fusions], labels, task), "contrast": total}
