"""ShaSpec one row at a time: encode what is there, stand in for what is not, classify (evaluation mode, no dropout).

Written from the paper's description with Python loops over rows, modalities and pairs; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included.
Weights are a plain dict of tensors in torch's Linear convention, weight (out, in), each with a bias:

    adapter.{m}                           one modality's vector to the common width d
    S.0, S.2                              the shared encoder, the same for every modality
    E.{m}.0, E.{m}.2                      the specific encoder of one modality
    compose (d, 2d), domain (M, d)        one layer each for all modalities
    head.0, head.2                        classifier of the concatenation (M d)
"""

import itertools
import math

import torch

from tests.reference.umdf import linear, task_loss

IMPUTE = ("shared", "zeros")


def net(w, name, x):
    return linear(w, f"{name}.2", torch.relu(linear(w, f"{name}.0", x)))


def vector(frames, observed):
    """The mean of the observed frames; None without any."""
    seen = [frame for frame, is_seen in zip(frames, observed, strict=True) if is_seen]
    return sum(seen) / len(seen) if seen else None


def encoded(w, row):
    """(s, e): the shared and the specific features of the modalities that the row has."""
    s, e = {}, {}
    for m, (frames, observed) in row.items():
        x = vector(frames, observed)
        if x is not None:
            s[m], e[m] = net(w, "S", linear(w, f"adapter.{m}", x)), net(w, f"E.{m}", x)
    return s, e


def fused(w, row, impute):
    """f_m of every modality: composed where the row has it, else the mean of the row's shared features, or zeros."""
    if impute not in IMPUTE:
        raise ValueError(f"impute {impute!r} is none of {IMPUTE}")
    s, e = encoded(w, row)
    stand_in = torch.zeros_like(w["compose.bias"])
    if s and impute == "shared":
        stand_in = sum(s.values()) / len(s)
    f = {}
    for m in row:
        f[m] = s[m] + linear(w, "compose", torch.cat([s[m], e[m]])) if m in s else stand_in
    return f


def predict(w, rows, impute):
    """Logits (N, C)."""
    return torch.stack([net(w, "head", torch.cat([*fused(w, row, impute).values()])) for row in rows])


def losses(w, rows, targets, task, alpha, beta, impute):
    """The weighted terms.

    shared: for each pair of modalities the mean absolute difference of their shared features, averaged over the rows that
    have both, summed over the pairs. domain: cross-entropy of naming the modality of a specific feature, averaged over all
    specific features. A modality that a row lacks is in neither.
    """
    names, features = list(rows[0]), [encoded(w, row) for row in rows]
    zero = 0 * w["compose.bias"].sum()
    shared = zero
    for a, b in itertools.combinations(names, 2):
        distances = [(s[a] - s[b]).abs().mean() for s, _ in features if a in s and b in s]
        shared = shared + (sum(distances) / len(distances) if distances else 0)
    told = [-torch.log_softmax(linear(w, "domain", e[m]), 0)[names.index(m)] for _, e in features for m in e]
    domain = sum(told) / len(told) if told else zero
    task = task_loss(predict(w, rows, impute), targets, task)
    return {"task": task, "shared": alpha * shared, "domain": beta * domain}


def subset_law(available):
    """{subset: probability} of what a training row keeps: a uniform number of modalities, then a uniform subset of it."""
    n = len(available)
    sizes = {k: list(itertools.combinations(sorted(available), k)) for k in range(1, n + 1)}
    return {subset: 1 / n / math.comb(n, k) for k, subsets in sizes.items() for subset in subsets}
