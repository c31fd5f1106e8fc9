"""SIM-C one sample at a time: simulate what is missing, attend over two tokens, classify (evaluation mode, no dropout).

Written from the paper's equations with Python loops over samples, tokens, heads and layers; it is slow on purpose.
Weights are a plain dict of tensors in torch's Linear convention, weight (out, in):

    s12.0, s12.1, s12.2     simulator from modality 1 to modality 2 (s21.* is the other direction)
    project1, project2      each modality's feature to the common width
    attention{l}.in_proj_weight (3 width, width), attention{l}.in_proj_bias, attention{l}.out_proj, norm{l}    l = 0, 1
    after                   the Linear + ReLU after the mean over tokens, only used by the "official" variant
    head.0, head.1, head.2  classifier
"""

import math

import torch
from torch.nn.functional import logsigmoid

HEADS = 4
LAYERS = 2
EPS = 1e-5  # LayerNorm's usual constant; the paper names none
VARIANTS = ("paper", "official")  # the official code has one more Linear + ReLU than the paper


def linear(weights, name, x):
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def mlp(weights, name, x):
    """Three linear maps, ReLU between them; the output itself is not rectified."""
    x = torch.relu(linear(weights, f"{name}.0", x))
    x = torch.relu(linear(weights, f"{name}.1", x))
    return linear(weights, f"{name}.2", x)


def layer_norm(weights, name, x):
    centred = x - x.mean()
    variance = (centred * centred).mean()  # biased: divided by the width, not by width - 1
    return centred / torch.sqrt(variance + EPS) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights, name, tokens):
    """Multi-head self-attention over a list of (width,) tokens, each head by hand; no residual, no norm."""
    width = len(tokens[0])
    size = width // HEADS
    queries, keys, values = [], [], []
    for token in tokens:
        # The input projection stacks the three matrices on top of each other: queries, then keys, then values.
        qkv = weights[f"{name}.in_proj_weight"] @ token + weights[f"{name}.in_proj_bias"]
        queries.append(qkv[:width])
        keys.append(qkv[width : 2 * width])
        values.append(qkv[2 * width :])
    out = []
    for query in queries:
        heads = []
        for h in range(HEADS):
            part = slice(h * size, (h + 1) * size)  # a head owns one contiguous block of the width
            scores = torch.stack([query[part] @ key[part] / math.sqrt(size) for key in keys])
            share = torch.softmax(scores, dim=0)
            heads.append(sum(share[j] * value[part] for j, value in enumerate(values)))
        out.append(linear(weights, f"{name}.out_proj", torch.cat(heads)))
    return out


def fuse(weights, m1, m2, variant):
    """Two complete features to one (width,) vector."""
    tokens = [linear(weights, "project1", m1), linear(weights, "project2", m2)]
    for layer in range(LAYERS):
        attended = attention(weights, f"attention{layer}", tokens)
        # The residual comes first and the norm after it (post-norm); there is no feed-forward block.
        tokens = [layer_norm(weights, f"norm{layer}", x + a) for x, a in zip(tokens, attended)]
    pooled = (tokens[0] + tokens[1]) / 2
    if variant == "official":
        pooled = torch.relu(linear(weights, "after", pooled))
    return pooled


def completed(weights, sample):
    """Both features of one sample: the real one where there is one, otherwise simulated from the other."""
    m1, m2 = sample
    if m1 is None and m2 is None:
        raise ValueError("a sample needs at least one modality")
    if m1 is None:
        return mlp(weights, "s21", m2), m2
    if m2 is None:
        return m1, mlp(weights, "s12", m1)
    return m1, m2


def predict(weights, samples, variant):
    """Logits (N, C) of a list of (m1 or None, m2 or None)."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is none of {VARIANTS}")
    logits = []
    for sample in samples:
        m1, m2 = completed(weights, sample)
        logits.append(mlp(weights, "head", fuse(weights, m1, m2, variant)))
    return torch.stack(logits)


def losses(weights, samples, targets, variant, alpha, beta, reduction):
    """(alpha L_sim, beta L_task).

    "sum" is the printed form: squared L2 norms of both directions added; cross-entropy summed over classes.
    "mean" divides each by its number of terms: the feature dimensions, the two directions, the classes.
    Both average L_sim over the samples that have both modalities, and L_task over all samples.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction {reduction!r} is neither 'mean' nor 'sum'")
    logits = predict(weights, samples, variant)

    pairs = []
    for m1, m2 in samples:
        if m1 is None or m2 is None:
            continue  # no truth to compare the simulation with
        error1 = ((m1 - mlp(weights, "s21", m2)) ** 2).sum()
        error2 = ((m2 - mlp(weights, "s12", m1)) ** 2).sum()
        if reduction == "mean":
            pairs.append((error1 / len(m1) + error2 / len(m2)) / 2)
        else:
            pairs.append(error1 + error2)
    simulation = sum(pairs) / len(pairs) if pairs else logits.new_zeros(())

    rows = []
    for z, t in zip(logits, targets, strict=True):
        t = t.to(z.dtype)
        # log sigma(-z) is log(1 - sigma(z)) without the cancellation.
        cross_entropy = -(t * logsigmoid(z) + (1 - t) * logsigmoid(-z))
        rows.append(cross_entropy.mean() if reduction == "mean" else cross_entropy.sum())
    task = sum(rows) / len(rows)
    return alpha * simulation, beta * task
