"""UMDF one sample at a time: interact, join, integrate the two views, predict (evaluation mode, no dropout).

Written from the paper's equations with Python loops over samples, modalities, time steps, heads and layers; it is slow
on purpose. A sequence is (T, d), time first, and lengths may differ between modalities. A sample is (xs, frames): M
sequences (T_m, d_m) and M bool vectors (T_m,), True where a frame is observed. M modalities give the joint width Md.
Weights are a plain dict of tensors in torch's conventions, Linear (out, in) and Conv1d (out, in, 3), each with a bias:

    embed.{m}                                               temporal convolution of modality m to the common width d
    mcim.{l}.{m}.coarse.q, .kv, .out, norm_coarse           layer l, target m, Eq 8; kv stacks keys on values
    mcim.{l}.{m}.fine.{k}.q, .kv, .out, norm_fine.{k}       Eq 9, k counts the other modalities in increasing order
    mcim.{l}.{m}.ffn.0, ffn.1, norm_ffn
    joint.{l}.attention.qkv, .out, norm1, ffn.0, ffn.1, norm2; joint.norm     transformer encoder; dfim.encoder likewise
    dfim.score, dfim.gate                                   frame scores, Eq 10; dfim.project for "concatenation" instead
    head                                                    f_y, shared by H-bar, h_a and h_b
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

FACTORS = (0.25, 0.5, 1, 2, 4)  # bandwidths of the RBF kernel, as multiples of the median


@dataclass(frozen=True)
class Config:
    layers: int  # of MCIM, the paper's D
    heads: int
    depth: int  # of both transformer encoders
    interaction: str = "cross"  # or "self": the ablation where every source is the target's own sequence
    integration: str = "dfim"  # or "concatenation"
    scaling: str = "length"  # or "none"
    kernel: str = "rbf"  # or "linear"
    estimator: str = "biased"  # or "unbiased"
    feature: str = "mmd"  # or "paired"


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w, name, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)  # biased: divided by the width, not by width - 1
    return centred / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def ffn(w, name, x):
    return linear(w, f"{name}.1", torch.relu(linear(w, f"{name}.0", x)))


def convolve(w, name, x):
    """Temporal convolution of kernel 3: step t sees t - 1, t and t + 1; steps outside the sequence are zero."""
    edge = x.new_zeros(1, x.shape[1])
    padded, weight = torch.cat([edge, x, edge]), w[f"{name}.weight"]
    steps = [sum(weight[:, :, k] @ padded[t + k] for k in range(3)) for t in range(len(x))]
    return torch.stack(steps) + w[f"{name}.bias"]


def attend(queries, keys, values, heads):
    """softmax(Q K^T / sqrt(d_k)) V, one query and one head at a time; a head owns one contiguous block of the width."""
    size, out = queries.shape[1] // heads, []
    blocks = [slice(h * size, (h + 1) * size) for h in range(heads)]
    for query in queries:
        shares = [torch.softmax(keys[:, block] @ query[block] / math.sqrt(size), dim=0) for block in blocks]
        out.append(torch.cat([share @ values[:, block] for share, block in zip(shares, blocks)]))
    return torch.stack(out)


def encoder(w, name, x, depth, heads):
    """Pre-norm transformer layers, as in MulT: each part reads the normed sequence, and one norm comes at the end."""
    for layer in range(depth):
        prefix = f"{name}.{layer}"
        normed = layer_norm(w, f"{prefix}.norm1", x)
        q, k, v = linear(w, f"{prefix}.attention.qkv", normed).split(x.shape[1], dim=1)
        x = x + linear(w, f"{prefix}.attention.out", attend(q, k, v, heads))
        x = x + ffn(w, f"{prefix}.ffn", layer_norm(w, f"{prefix}.norm2", x))
    return layer_norm(w, f"{name}.norm", x) if depth else x


def positions(T, d):
    """(T, d) float64: sines in the even columns, cosines in the odd ones."""
    angles = [[t / 10000 ** ((c - c % 2) / d) for c in range(d)] for t in range(T)]
    rows = [[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)


def embed(w, name, x):
    z = convolve(w, name, x)
    return z + positions(*z.shape).to(z.dtype)


def ca(w, name, source, target, heads):
    """Crossmodal attention, Eq 7: queries of the target, keys and values of the source; no residual, no norm."""
    keys, values = linear(w, f"{name}.kv", source).split(target.shape[1], dim=1)
    return linear(w, f"{name}.out", attend(linear(w, f"{name}.q", target), keys, values, heads))


def mcim_layer(w, name, Z, heads, interaction):
    """Eq 8, Eq 9 and the feed-forward step for each target; the sources are always the layer's inputs Z."""
    out = []
    for m, z in enumerate(Z):
        prefix, fine = f"{name}.{m}", 0
        source = {"cross": torch.cat(list(Z)), "self": z}[interaction]
        coarse = layer_norm(w, f"{prefix}.norm_coarse", ca(w, f"{prefix}.coarse", source, z, heads) + z)
        for k, j in enumerate(j for j in range(len(Z)) if j != m):
            source = {"cross": torch.cat([z, Z[j]]), "self": z}[interaction]
            attended = ca(w, f"{prefix}.fine.{k}", source, coarse, heads)
            fine = fine + layer_norm(w, f"{prefix}.norm_fine.{k}", attended + coarse)
        out.append(layer_norm(w, f"{prefix}.norm_ffn", ffn(w, f"{prefix}.ffn", fine) + fine))
    return out


def mcim(w, Z, layers, heads, interaction):
    for layer in range(layers):
        Z = mcim_layer(w, f"mcim.{layer}", Z, heads, interaction)
    return Z


def resample(z, T):
    """(T_m, d) to (T, d), linear between the two nearest steps, constant beyond the first and the last."""
    out = []
    for j in range(T):
        where = min(max((j + 0.5) * len(z) / T - 0.5, 0), len(z) - 1)
        low = math.floor(where)
        high = min(low + 1, len(z) - 1)
        out.append((1 - (where - low)) * z[low] + (where - low) * z[high])
    return torch.stack(out)


def joint(w, Zh, T, depth, heads):
    return encoder(w, "joint", torch.cat([resample(z, T) for z in Zh], dim=1), depth, heads)


def common_length(lengths):
    return next((length for length in lengths if length > 1), 1)


def last_step(frames, T):
    """The latest of the T common steps that an observed frame falls on; modalities of one step do not count."""
    last = None
    for observed in frames:
        for t in range(len(observed)):
            if len(observed) > 1 and observed[t]:
                step = ((t + 1) * T - 1) // len(observed)  # frame t ends at (t + 1) T / T_m
                last = step if last is None else max(last, step)
    return T - 1 if last is None else last


def last_of(frames):
    return last_step(frames, common_length([len(observed) for observed in frames]))


def representation(w, xs, frames, cfg):
    """H (T, Md) of one view; an unobserved frame is a zero vector, whatever xs holds there."""
    shown = [torch.where(observed[:, None], x, torch.zeros_like(x)) for x, observed in zip(xs, frames, strict=True)]
    Z = [embed(w, f"embed.{m}", x) for m, x in enumerate(shown)]
    Zh = mcim(w, Z, cfg.layers, cfg.heads, cfg.interaction)
    return joint(w, Zh, common_length([len(x) for x in xs]), cfg.depth, cfg.heads)


def enhance(w, H, scaling):
    """Every frame times its share of attention; "length" multiplies by T as well, so that equal shares change nothing."""
    share = torch.softmax(linear(w, "dfim.score", H)[:, 0], dim=0)
    factor = {"length": len(H), "none": 1}[scaling]
    return torch.stack([factor * share[t] * H[t] for t in range(len(H))])


def dfim(w, Ha, Hb, depth, heads, scaling):
    Ha, Hb = enhance(w, Ha, scaling), enhance(w, Hb, scaling)
    mu = torch.sigmoid(convolve(w, "dfim.gate", torch.cat([Ha, Hb], dim=1)))
    return encoder(w, "dfim.encoder", mu * Ha + (1 - mu) * Hb, depth, heads)


def integrate(w, Ha, Hb, cfg):
    """H-bar (T, Md). "concatenation" replaces all of DFIM but its encoder: frames are not enhanced either."""
    if cfg.integration == "dfim":
        return dfim(w, Ha, Hb, cfg.depth, cfg.heads, cfg.scaling)
    return encoder(w, "dfim.encoder", linear(w, "dfim.project", torch.cat([Ha, Hb], dim=1)), cfg.depth, cfg.heads)


def predict(w, xs, frames, cfg):
    """Logits (C,) of one sample, which is cloned to be both streams."""
    H = representation(w, xs, frames, cfg)
    return linear(w, "head", integrate(w, H, H, cfg)[last_of(frames)])


def kernel(x, y, bandwidth):
    return sum(torch.exp(-((x - y) ** 2).sum() / (c * bandwidth)) for c in FACTORS) / len(FACTORS)


def median_bandwidth(A, B):
    """Median squared distance of all unordered pairs of the 2n rows (two equal rows are two points), a constant."""
    points = torch.cat([A, B]).detach()
    pairs = [((points[i] - points[j]) ** 2).sum() for i in range(len(points)) for j in range(i)]
    return torch.stack(pairs).median().clamp(min=1e-12)


def mean_similarity(A, B, kind, bandwidth, skip):
    """Mean over all pairs of a row of A and a row of B, without the pairs i = j if they are to be skipped."""
    pairs = [(A[i], B[j]) for i in range(len(A)) for j in range(len(B)) if not (skip and i == j)]
    return sum(kernel(x, y, bandwidth) if kind == "rbf" else x @ y for x, y in pairs) / len(pairs)


def mmd2(A, B, kernel="rbf", estimator="biased"):
    """Squared MMD of the rows of A and those of B. As printed, Eq 2 is the biased estimate: it counts pairs i = j."""
    skip = {"biased": False, "unbiased": True}[estimator]
    if skip and min(len(A), len(B)) == 1:
        return A.new_zeros(())  # a single row has no pair to compare with
    width = median_bandwidth(A, B)
    within = mean_similarity(A, A, kernel, width, skip) + mean_similarity(B, B, kernel, width, skip)
    return within - 2 * mean_similarity(A, B, kernel, width, False)


def paired(A, B):
    return sum(((a - b) ** 2).mean() for a, b in zip(A, B, strict=True)) / len(A)


mse_logits = paired  # Eq 6 is the same formula; where there are several outputs, their mean


def kl(p, q):
    """Eq 4 for one row, natural logarithm: sum of p log(p / q), where 0 log 0 is 0."""
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def js(logits_a, logits_b, task):
    """Eq 5, averaged over rows; in tasks with several labels over labels too, each one a Bernoulli."""
    if task != "multiclass":  # sigma(z) and its complement are the softmax of z and 0
        logits_a, logits_b = (torch.stack([z.flatten(), 0 * z.flatten()], dim=1) for z in (logits_a, logits_b))
    pairs = list(zip(torch.softmax(logits_a, dim=1), torch.softmax(logits_b, dim=1), strict=True))
    return sum(kl(p, (p + q) / 2) + kl(q, (p + q) / 2) for p, q in pairs) / (2 * len(pairs))


def task_loss(logits, targets, task):
    """Mean over rows of the squared error or the cross-entropy; over labels too where each one is a binary choice."""
    if task == "multiclass":
        return -sum(torch.log_softmax(z, dim=0)[t] for z, t in zip(logits, targets, strict=True)) / len(logits)
    t = targets.to(logits.dtype).reshape(logits.shape)
    if task == "regression":
        return ((logits - t) ** 2).mean()
    return -(t * logsigmoid(logits) + (1 - t) * logsigmoid(-logits)).mean()  # log sigma(-z) is log(1 - sigma(z))


def losses(w, views_a, views_b, targets, task, cfg, lambda1, lambda2):
    """The weighted terms of the objective; views_a and views_b list the same rows, (xs, frames) each."""
    h_a, h_b, logits = [], [], []
    for (xs_a, frames_a), (xs_b, frames_b) in zip(views_a, views_b, strict=True):
        H_a, H_b = representation(w, xs_a, frames_a, cfg), representation(w, xs_b, frames_b, cfg)
        last_a, last_b = last_of(frames_a), last_of(frames_b)
        h_a.append(H_a[last_a])
        h_b.append(H_b[last_b])
        logits.append(linear(w, "head", integrate(w, H_a, H_b, cfg)[max(last_a, last_b)]))
    h_a, h_b, logits = torch.stack(h_a), torch.stack(h_b), torch.stack(logits)
    # Eq 3 averages over n a discrepancy that is already one number for the whole batch: the average changes nothing.
    feature = paired(h_a, h_b) if cfg.feature == "paired" else mmd2(h_a, h_b, cfg.kernel, cfg.estimator)
    y_a, y_b = linear(w, "head", h_a), linear(w, "head", h_b)
    distilled = mse_logits(y_a, y_b) if task == "regression" else js(y_a, y_b, task)
    return {"task": task_loss(logits, targets, task), "feature": lambda1 * feature, "logits": lambda2 * distilled}
