"""SMCIR one sample at a time: diagnose, complete, fuse, predict (evaluation mode, no dropout), in torch float64.

Written from the paper's equations with Python loops over samples, time steps, bins, heads and layers; it is slow on
purpose. A sequence is (N, d), time first, and lengths may differ between modalities. A sample is a dict of sequences
by modality, "text" among them, in the order in which Eq 26 joins them. Weights are a plain dict of tensors in torch's
conventions, Linear (out, in) and Conv1d (out, in, k), each with a bias; `m` is the modality that is diagnosed or made:

    detect.{m}                                               projections of the detector, of text too
    {m}.align.text, .other, .encoder.*, .out                 Eq 9, with the only other modality that is not text
    {m}.msse.conv.{1, 3, 5}, .fc, .w1, .norm, .w2            Eq 10-14
    {m}.gamma.norm, .lstm.*, .encoder.*, .w1, .w2, .attention.qkv, .attention.out, .last        Eq 16-20
    fuse.{m}, fuse.out, head.residual, head.out              Eq 26 and the head
    layers.{l}.norm1, .attention.qkv, .attention.out, .norm2, .ffn.0, .ffn.1; norm              encoder.*
    {l}.{forward, backward}.input, .hidden                   lstm.*, Linear with gates i, f, g, o stacked
"""

import math
from dataclasses import dataclass

import torch
from sklearn.metrics import mutual_info_score

EPS = 1e-8


@dataclass(frozen=True)
class Config:
    entropy: str = "norm"  # Eq 1-2, or "histogram" of the pooled values
    indicators: str = "HMS"
    rule: str = "paper"  # Eq 7, "monotone" or "midway"
    alpha: float = 0.5
    beta: float = 0.3
    gamma: float = 10.0
    lam: float = 0.8
    tau: float = 1.0
    bins: int = 30
    eta: float = 0.6
    xi: float = 0.2
    reconstruction: str = "simse"  # Eq 28, "mse" or "si_mse"
    layers: int = 2  # l, of TransE
    lstm_layers: int = 4  # n
    heads: int = 2  # of TransE
    watched: tuple = ("audio", "vision")  # what is diagnosed and, if missing, made
    dmfd: bool = True  # False: all that is watched is missing, each for itself
    msse: bool = True  # False: the condition goes to Gamma as it is
    official: bool = False  # the indicators, TransE, MSSE and MHA of the released code


# ------------------------------------------------------------------------------------------------------------- detector


def norm_entropy(P, tau):
    """Eq 1-2: entropy in nats of the softmax of the steps' lengths over tau."""
    sizes = [math.sqrt(sum(v * v for v in step)) / tau for step in P.tolist()]
    exps = [math.exp(size - max(sizes)) for size in sizes]
    shares = [e / sum(exps) for e in exps]
    return -sum(p * math.log(p) for p in shares if p > 0)


def binned(values, K):
    """The bin of each number, equal widths between the extremes; a constant is in the middle of numpy's K bins."""
    values = values.flatten().tolist()
    low, high = min(values), max(values)
    if low == high:
        return [K // 2] * len(values)
    return [min(math.floor((v - low) / (high - low) * K), K - 1) for v in values]


def counted(values, K):
    places = binned(values, K)
    return [sum(place == k for place in places) for k in range(K)]


def histogram_entropy(values, K):
    counts = counted(values, K)
    return -sum(c / sum(counts) * math.log(c / sum(counts)) for c in counts if c > 0)


def mutual_information(a, b, K):
    """Eq 3 of the pairs (a_j, b_j), nats."""
    pairs, total = list(zip(binned(a, K), binned(b, K), strict=True)), 0.0
    for i, j in set(pairs):
        joint = sum(pair == (i, j) for pair in pairs) / len(pairs)
        first, second = sum(p == i for p, _ in pairs) / len(pairs), sum(q == j for _, q in pairs) / len(pairs)
        total += joint * math.log(joint / (first * second))
    return total


def count_information(a, b, K):
    """The released code: how often each bin is hit, read as K labels of each array; their sizes may differ."""
    return float(mutual_info_score(counted(a, K), counted(b, K)))


def pool(x, N):
    """Adaptive average pooling over time: (T, d) to (N, d)."""
    T, out = len(x), []
    for i in range(N):
        window = range(i * T // N, math.ceil((i + 1) * T / N))
        out.append(sum(x[t] for t in window) / len(window))
    return torch.stack(out)


def cosine(u, v):
    """Eq 4."""
    return float(u @ v) / max(math.sqrt(float(u @ u)) * math.sqrt(float(v @ v)), EPS)


def similarity(P_m, P_L):
    """Eq 4-5, P_m pooled to the steps of P_L."""
    return sum(cosine(u, v) for u, v in zip(pool(P_m, len(P_L)), P_L, strict=True)) / len(P_L)


def matrix_similarity(P_m, P_L):
    """The released code: each step of one with each step of the other."""
    return sum(cosine(u, v) for u in pool(P_m, len(P_L)) for v in P_L) / len(P_L) ** 2


def scores(P_m, P_L, cfg):
    """H, MI, S and W (Eq 6) of one sample's projections."""
    if cfg.official:
        H, MI, S = histogram_entropy(P_m, cfg.bins), count_information(P_m, P_L, cfg.bins), matrix_similarity(P_m, P_L)
    else:
        pooled = pool(P_m, len(P_L))
        H = norm_entropy(P_m, cfg.tau) if cfg.entropy == "norm" else histogram_entropy(pooled, cfg.bins)
        MI, S = mutual_information(pooled, P_L, cfg.bins), similarity(P_m, P_L)
    terms = {"H": cfg.alpha * H, "M": cfg.beta * MI, "S": cfg.gamma * S}
    return H, MI, S, sum(terms[name] for name in cfg.indicators)


def below(W, mu, sigma, lam, rule):
    """The second half of Eq 7, for one score. As printed it divides by 1 + W: at W = -1 the threshold is -infinity."""
    if rule == "midway":
        return W < mu / 2
    if rule == "monotone":
        return W < mu - lam * sigma / (1 + max(W, 0))
    return W != -1 and W < mu - lam * sigma / (1 + W)


def flag(S, W, mu, sigma, cfg):
    """Eq 7; the sign of S counts only where S is an indicator."""
    return ("S" not in cfg.indicators or S <= 0) and below(W, mu, sigma, cfg.lam, cfg.rule)


def statistics(Ws):
    mu = sum(Ws) / len(Ws)
    return mu, math.sqrt(sum((W - mu) ** 2 for W in Ws) / len(Ws))


def joint_states(flags):
    """Eq 8 for one sample: {m: bool} to {m: 0, 1 or 2}."""
    if len(flags) > 1 and all(flags.values()):
        return dict.fromkeys(flags, 2)
    return {m: int(missing) for m, missing in flags.items()}


def projected(w, m, x):
    """P_m; the detector may do without a bias, and no gradient passes it."""
    return x.detach() @ w[f"detect.{m}.weight"].T + w.get(f"detect.{m}.bias", 0)


def diagnose(w, samples, cfg, stats=None):
    """{m: rows of (H, MI, S, W, flag)}; stats {m: (mu, sigma)} of other data, or the batch's own."""
    found = {}
    for m in cfg.watched:
        rows = [scores(projected(w, m, x[m]), projected(w, "text", x["text"]), cfg) for x in samples]
        mu, sigma = stats[m] if stats else statistics([W for _, _, _, W in rows])
        found[m] = [(*row, flag(row[2], row[3], mu, sigma, cfg)) for row in rows]
    return found


def states_of(w, samples, cfg, stats=None):
    """{m: state} of each row."""
    if not cfg.dmfd:
        return [dict.fromkeys(cfg.watched, 1) for _ in samples]
    found = diagnose(w, samples, cfg, stats)
    return [joint_states({m: found[m][i][-1] for m in found}) for i in range(len(samples))]


# ------------------------------------------------------------------------------------------------------------- networks


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w, name, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def convolve(w, name, x):
    """Over time, (N, d_in) to (N, d_out), an odd kernel; steps outside the sequence are zero."""
    weight, out = w[f"{name}.weight"], []
    size = weight.shape[2]
    for n in range(len(x)):
        seen = [(k, n + k - size // 2) for k in range(size) if 0 <= n + k - size // 2 < len(x)]
        out.append(sum(weight[:, :, k] @ x[t] for k, t in seen) + w[f"{name}.bias"])
    return torch.stack(out)


def interpolate(x, T):
    """(N, d) to (T, d): linear between the centres of steps, constant beyond the first and the last centre."""
    out = []
    for t in range(T):
        place = min(max((t + 0.5) * len(x) / T - 0.5, 0), len(x) - 1)
        low = math.floor(place)
        high = min(low + 1, len(x) - 1)
        out.append((1 - (place - low)) * x[low] + (place - low) * x[high])
    return torch.stack(out)


def places(T, d):
    angles = [[t / 10000 ** ((c - c % 2) / d) for c in range(d)] for t in range(T)]
    rows = [[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)


def self_attention(w, name, x, heads):
    """One query and one head at a time; a head owns one contiguous block of the channels."""
    q, k, v = linear(w, f"{name}.qkv", x).split(x.shape[1], dim=1)
    size, out = x.shape[1] // heads, []
    for query in q:
        joined = []
        for block in (slice(h * size, (h + 1) * size) for h in range(heads)):
            joined.append(torch.softmax(k[:, block] @ query[block] / math.sqrt(size), dim=0) @ v[:, block])
        out.append(torch.cat(joined))
    return linear(w, f"{name}.out", torch.stack(out))


def encoder(w, name, x, layers, heads):
    """Pre-norm transformer layers and a last norm."""
    for layer in range(layers):
        prefix = f"{name}.layers.{layer}"
        x = x + self_attention(w, f"{prefix}.attention", layer_norm(w, f"{prefix}.norm1", x), heads)
        hidden = torch.relu(linear(w, f"{prefix}.ffn.0", layer_norm(w, f"{prefix}.norm2", x)))
        x = x + linear(w, f"{prefix}.ffn.1", hidden)
    return layer_norm(w, f"{name}.norm", x)


def transe(w, name, x, cfg):
    """TransE. In the released code every step is a sequence of its own, and nothing tells its place."""
    if cfg.official:
        return torch.cat([encoder(w, name, step[None], cfg.layers, cfg.heads) for step in x])
    return encoder(w, name, x + places(*x.shape), cfg.layers, cfg.heads)


def lstm(w, name, x):
    """One layer, one direction, forward in time."""
    size = w[f"{name}.hidden.weight"].shape[1]
    h, c, out = x.new_zeros(size), x.new_zeros(size), []
    for step in x:
        i, f, g, o = (linear(w, f"{name}.input", step) + linear(w, f"{name}.hidden", h)).split(size)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out)


def bilstm(w, name, x, layers):
    for layer in range(layers):
        back = lstm(w, f"{name}.{layer}.backward", x.flip(0)).flip(0)
        x = torch.cat([lstm(w, f"{name}.{layer}.forward", x), back], dim=1)
    return x


# ------------------------------------------------------------------------------------------------------------ generator


def align(w, name, X_L, X_m, cfg):
    """Eq 9: (N_L, d_L)."""
    other = interpolate(linear(w, f"{name}.other", X_m), len(X_L))
    both = torch.cat([linear(w, f"{name}.text", X_L), other], dim=1)
    return linear(w, f"{name}.out", transe(w, f"{name}.encoder", both, cfg))


def mssec(w, name, C, cfg):
    """Eq 10-14, (N_L, d_L) to (N_L, d_L); the released code gates the condition C, not Z."""
    Z = linear(w, f"{name}.fc", torch.cat([convolve(w, f"{name}.conv.{k}", C) for k in (1, 3, 5)], dim=1))
    largest = torch.stack([max(Z[:, c]) for c in range(Z.shape[1])])
    Q = torch.cat([largest, sum(Z) / len(Z)])
    hidden = torch.relu(layer_norm(w, f"{name}.norm", linear(w, f"{name}.w1", Q)))
    A = torch.sigmoid(linear(w, f"{name}.w2", hidden))
    return torch.stack([step * A + step for step in (C if cfg.official else Z)])


def gamma(w, name, MS, cfg):
    """Eq 16-20 but for the interpolation: (N_L, d_m)."""
    K = bilstm(w, f"{name}.lstm", layer_norm(w, f"{name}.norm", MS), cfg.lstm_layers)
    K = K + transe(w, f"{name}.encoder", K, cfg)
    P = linear(w, f"{name}.w2", torch.relu(linear(w, f"{name}.w1", K)))
    heads = 1 if cfg.official else max(h for h in (1, 2, 3, 4) if P.shape[1] % h == 0)
    return layer_norm(w, f"{name}.last", self_attention(w, f"{name}.attention", P, heads) + P)


def generate(w, m, x, state, cfg):
    """G of Eq 15 for the missing modality m of one sample; X_miss is added once, though Eq 21 adds it again."""
    others = [e for e in x if e not in ("text", m)]
    C = x["text"] if state == 2 or not others else align(w, f"{m}.align", x["text"], x[others[0]], cfg)
    MS = mssec(w, f"{m}.msse", C, cfg) if cfg.msse else C
    return cfg.eta * interpolate(gamma(w, f"{m}.gamma", MS, cfg), len(x[m])) + x[m]


def complete(w, x, states, cfg):
    """Eq 21-22 for one sample; every modality is made from what was read, not from another one that was made."""
    return {m: generate(w, m, x, states[m], cfg) if states.get(m) else x[m] for m in x}


def fuse(w, x):
    """Eq 26: (N_L, d)."""
    N = len(x["text"])
    return linear(w, "fuse.out", torch.cat([interpolate(linear(w, f"fuse.{m}", x[m]), N) for m in x], dim=1))


def head(w, fused, observed):
    """The paper has none: mean over the steps where text is observed, one residual layer, one linear layer."""
    o = sum(step for step, seen in zip(fused, observed, strict=True) if seen) / sum(bool(seen) for seen in observed)
    return linear(w, "head.out", o + torch.tanh(linear(w, "head.residual", o)))


def completed(w, samples, cfg, stats=None):
    """The rows' states, and the rows with what was missing made."""
    states = states_of(w, samples, cfg, stats)
    return states, [complete(w, x, state, cfg) for x, state in zip(samples, states)]


def predict(w, samples, observed, cfg, stats=None):
    """Logits of each row; observed: of each row a bool for each text step."""
    rows = completed(w, samples, cfg, stats)[1]
    return torch.stack([head(w, fuse(w, x), seen) for x, seen in zip(rows, observed, strict=True)])


# --------------------------------------------------------------------------------------------------------------- losses


def task_loss(targets, predictions):
    """Eq 27."""
    return sum(abs(y - z) for y, z in zip(targets, predictions, strict=True)) / len(targets)


def reconstruction_loss(real, made, kind):
    """Eq 28 over all q numbers; as printed it is the squared mean error."""
    errors = (real - made).flatten()
    simse = sum(errors) ** 2 / len(errors) ** 2
    mse = sum(e * e for e in errors) / len(errors)
    return {"simse": simse, "mse": mse, "si_mse": mse - simse / 2}[kind]


def losses(w, samples, observed, targets, cfg, stats=None):
    """The two terms of Eq 29, nothing hidden: what a row had is the target of what is made of it, per modality.

    A modality of which a row has nothing at all (zeros alone) is no target.
    """
    states, rows = completed(w, samples, cfg, stats)
    predictions = [head(w, fuse(w, x), seen)[0] for x, seen in zip(rows, observed, strict=True)]
    total = 0.0
    for m in cfg.watched:
        known = [i for i, x in enumerate(samples) if states[i][m] and bool((x[m] != 0).any())]
        if known:
            real, made = (torch.stack([row[i][m] for i in known]) for row in (samples, rows))
            total += reconstruction_loss(real, made, cfg.reconstruction)
    return {"task": task_loss(targets, predictions), "reconstruction": cfg.xi * total}
