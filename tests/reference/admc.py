"""ADMC one row at a time: diffuse, denoise, complete, fuse (evaluation mode, no dropout), in NumPy float64.

Written from the paper's equations with Python loops over rows, tokens, heads, steps and frames; it is slow on purpose.
Features F are (B, M, d), one token per modality. Steps count 1 .. N, level 0 is data; a step n may be one number for all
rows or (B,), one for each. `available` is (B, M) bool: the paper's m of Eq 4. All other arrays are float64, and what one
holds where it is not meant to be read (F0 of a missing modality, noise of the last step, an unobserved frame) may be
anything, NaN included.

Weights are a plain dict of arrays in torch's conventions, Linear (out, in) and Conv1d (out, in, h), each with a bias:

    inward, modality (M, width), time.0, time.2, encoder.*, outward, known (width,)        the denoiser, Eq 2
    project.{i}, encoder.*, head.0, head.2                                                 the fusion network, Eq 6
    layers.{l}.norm1, .attention.qkv, .attention.out, .norm2, .ffn.0, .ffn.2; norm         encoder.*
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0                                     the recurrent extractor
    convolutions.{0, 1, 2}, out                                                            the text extractor
"""

import math

import numpy as np

HEIGHTS = (3, 4, 5)  # of TextCNN's kernels (Kim 2014)
EPS = 1e-5  # LayerNorm's usual constant; the paper names none
VARIANCES = ("posterior", "beta")  # Eq 3 leaves sigma_n open; Ho et al. 2020 name these two


# ------------------------------------------------------------------------------------------------------------- diffusion


def schedule(N, beta_s, beta_e):
    """beta, alpha, abar, each (N + 1,): index n is step n, index 0 is data and adds nothing."""
    beta, alpha, abar = np.zeros(N + 1), np.ones(N + 1), np.ones(N + 1)
    for n in range(1, N + 1):
        beta[n] = beta_s + (beta_e - beta_s) * (n - 1) / (N - 1) if N > 1 else beta_s
        alpha[n] = 1 - beta[n]
        abar[n] = abar[n - 1] * alpha[n]
    return beta, alpha, abar


def steps(n, rows):
    """One number for all rows, or already one for each, as a list."""
    return [int(step) for step in np.broadcast_to(n, (rows,))]


def q_sample(F0, n, eps, abar):
    """Eq 1. The epsilon printed in the covariance is read as the identity: noise of variance 1 - abar_n."""
    out = np.zeros(np.shape(F0))
    for b, step in enumerate(steps(n, len(F0))):
        out[b] = math.sqrt(abar[step]) * F0[b] + math.sqrt(1 - abar[step]) * eps[b]
    return out


def forward_step(F, n, eps, schedule):
    """From level n - 1 to level n: the single step of which Eq 1 is the composition."""
    beta, alpha, _ = schedule
    out = np.zeros(np.shape(F))
    for b, step in enumerate(steps(n, len(F))):
        out[b] = math.sqrt(alpha[step]) * F[b] + math.sqrt(beta[step]) * eps[b]
    return out


def predicted_data(F, n, eps_hat, abar):
    """Eq 1 solved for F^0, one row."""
    return (F - math.sqrt(1 - abar[n]) * eps_hat) / math.sqrt(abar[n])


def reverse_step(F, n, eps_hat, noise, schedule, variance, clip=None):
    """Eq 3, from level n to level n - 1. The last step, n = 1, adds no noise.

    clip: the data that eps_hat implies is held within [-clip, clip], and the mean is that of q(F^{n-1} | F^n, F^0).
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance {variance!r} is none of {VARIANCES}")
    beta, alpha, abar = schedule
    out = np.zeros(np.shape(F))
    for b, step in enumerate(steps(n, len(F))):
        left = 1 - abar[step]  # the noise's share of the variance at level n
        before = 1 - abar[step - 1]  # and at level n - 1
        if clip is None:
            mean = (F[b] - beta[step] / math.sqrt(left) * eps_hat[b]) / math.sqrt(alpha[step])
        else:
            x0 = np.clip(predicted_data(F[b], step, eps_hat[b], abar), -clip, clip)
            mean = math.sqrt(abar[step - 1]) * beta[step] / left * x0
            mean = mean + math.sqrt(alpha[step]) * before / left * F[b]
        if step == 1:
            out[b] = mean
        elif variance == "posterior":
            out[b] = mean + math.sqrt(beta[step] * before / left) * noise[b]
        else:
            out[b] = mean + math.sqrt(beta[step]) * noise[b]
    return out


def ddim_step(F, n, n_next, eps_hat, abar):
    """From level n to any lower level n_next without noise (Song et al. 2021, eta = 0)."""
    out = np.zeros(np.shape(F))
    for b, (step, later) in enumerate(zip(steps(n, len(F)), steps(n_next, len(F)))):
        if not later < step:
            raise ValueError(f"a reverse step cannot go from level {step} to level {later}")
        x0 = predicted_data(F[b], step, eps_hat[b], abar)
        out[b] = math.sqrt(abar[later]) * x0 + math.sqrt(1 - abar[later]) * eps_hat[b]
    return out


def merge(F, F0, available, n, eps, abar):
    """Eq 4 at level n: available tokens become the data's own n-th forward diffusion, at level 0 the data itself."""
    out = np.array(F, dtype=float)
    for b, step in enumerate(steps(n, len(F))):
        for i in range(len(F[b])):
            if available[b][i] and step == 0:
                out[b, i] = F0[b][i]
            elif available[b][i]:
                out[b, i] = math.sqrt(abar[step]) * F0[b][i] + math.sqrt(1 - abar[step]) * eps[b][i]
    return out


def complete(F0, available, denoise, start, noise, known_noise, schedule, variance, resample=1, again=None, clip=None):
    """The whole reverse process, Eq 3 and Eq 4: (B, M, d), the available tokens equal to F0.

    start: Eq 4 is used from this level on (the paper's n), once at `start` before the first step from it and then after
    each step; N is from pure noise on, 0 leaves generation alone until the available tokens are put back at the end.
    resample: so many times each step n <= start but the last one is made (RePaint); in between everything, available
    tokens included, goes one forward step back to level n, without another merge there.
    denoise(F, n) gets all rows and one number n. noise(n, u), known_noise(level, u) and again(n, u) give (B, M, d); u
    counts the repetitions of a step, 0 if there are none. F^N is noise(N + 1, 0).
    """
    beta, _, abar = schedule
    N = len(beta) - 1
    if not 0 <= start <= N:
        raise ValueError(f"start {start} is outside 0 .. {N}")
    F = np.array(noise(N + 1, 0), dtype=float)
    for n in range(N, 0, -1):
        if n == start:
            F = merge(F, F0, available, n, known_noise(n, 0), abar)
        times = resample if 1 < n <= start else 1
        for u in range(times):
            F = reverse_step(F, n, denoise(F, n), noise(n, u), schedule, variance, clip)
            if n <= start:
                F = merge(F, F0, available, n - 1, known_noise(n - 1, u), abar)
            if u < times - 1:
                F = forward_step(F, n, again(n, u), schedule)
    return merge(F, F0, available, 0, None, abar)


# -------------------------------------------------------------------------------------------------------------- networks


def linear(weights, name, x):
    """One vector; a bias for each output."""
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # 1 / (1 + exp(-x)), but nothing overflows


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def layer_norm(weights, name, x):
    centred = x - x.mean()
    variance = (centred * centred).mean()  # biased: divided by the width, not by width - 1
    return centred / math.sqrt(variance + EPS) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights, name, tokens, heads):
    """Self-attention over a list of (width,) tokens, each head by hand: softmax(Q K^T / sqrt(width / heads)) V."""
    width = len(tokens[0])
    if width % heads:
        raise ValueError(f"width {width} cannot be divided among {heads} heads")
    size = width // heads
    queries, keys, values = [], [], []
    for token in tokens:
        qkv = linear(weights, f"{name}.qkv", token)  # the three maps on top of each other
        queries.append(qkv[:width])
        keys.append(qkv[width : 2 * width])
        values.append(qkv[2 * width :])
    out = []
    for query in queries:
        joined = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)  # a head owns one contiguous block of the width
            share = softmax(np.array([query[part] @ key[part] / math.sqrt(size) for key in keys]))
            joined.append(sum(share[j] * value[part] for j, value in enumerate(values)))
        out.append(linear(weights, f"{name}.out", np.concatenate(joined)))
    return out


def encoder(weights, name, tokens, heads):
    """Pre-norm transformer over a list of tokens, as many layers as there are weights, one norm at the end."""
    layer = 0
    while f"{name}.layers.{layer}.norm1.weight" in weights:
        prefix = f"{name}.layers.{layer}"
        normed = [layer_norm(weights, f"{prefix}.norm1", token) for token in tokens]
        attended = attention(weights, f"{prefix}.attention", normed, heads)
        tokens = [token + a for token, a in zip(tokens, attended)]
        forward = []
        for token in tokens:
            hidden = relu(linear(weights, f"{prefix}.ffn.0", layer_norm(weights, f"{prefix}.norm2", token)))
            forward.append(linear(weights, f"{prefix}.ffn.2", hidden))
        tokens = [token + f for token, f in zip(tokens, forward)]
        layer += 1
    return [layer_norm(weights, f"{name}.norm", token) for token in tokens]


def position(n, width):
    """(width,): sines in the even places, cosines in the odd ones."""
    angles = [n / 10000 ** ((c - c % 2) / width) for c in range(width)]
    return np.array([math.cos(angle) if c % 2 else math.sin(angle) for c, angle in enumerate(angles)])


def time_vector(weights, n):
    """t(n) = W2 silu(W1 s(n) + b1) + b2."""
    hidden = linear(weights, "time.0", position(n, len(weights["inward.bias"])))
    return linear(weights, "time.2", hidden * sigmoid(hidden))


def denoiser(F, n, weights, heads, known=None):
    """eps_hat (B, M, d), Eq 2: self-attention over the modalities' tokens.

    known: (F0, available) for the conditional form, where an available modality is read clean and marked as such.
    """
    out = np.zeros(np.shape(F))
    for b, step in enumerate(steps(n, len(F))):
        tokens = []
        for i in range(len(F[b])):
            if known is not None and known[1][b][i]:
                token = linear(weights, "inward", known[0][b][i]) + weights["known"]
            else:
                token = linear(weights, "inward", F[b][i])
            tokens.append(token + weights["modality"][i] + time_vector(weights, step))
        for i, token in enumerate(encoder(weights, "encoder", tokens, heads)):
            out[b, i] = linear(weights, "outward", token)
    return out


def enhance(F, F_generated):
    """Eq 5, (B, M, 2d): each token beside the one that was generated from the other modalities."""
    return np.array(
        [[np.concatenate(pair) for pair in zip(f, g, strict=True)] for f, g in zip(F, F_generated, strict=True)]
    )


def fusion(F, weights, heads):
    """Logits (B, C), Eq 6. Every modality has its own map to the common width."""
    logits = []
    for row in F:
        tokens = [linear(weights, f"project.{i}", token) for i, token in enumerate(row)]
        tokens = encoder(weights, "encoder", tokens, heads)
        mean = sum(tokens) / len(tokens)
        logits.append(linear(weights, "head.2", relu(linear(weights, "head.0", mean))))
    return np.array(logits)


# ---------------------------------------------------------------------------------------------------- feature extractors


def lstm_pool(x, frames, weights):
    """(B, T, d) and (B, T) -> (B, hidden): an LSTM that steps over unobserved frames, and the maximum of its states."""
    size = weights["weight_hh_l0"].shape[1]
    out = np.zeros((len(x), size))
    for b in range(len(x)):
        h, c, states = np.zeros(size), np.zeros(size), []
        for t in range(len(x[b])):
            if not frames[b][t]:
                continue  # the state stays what it was
            gates = weights["weight_ih_l0"] @ x[b][t] + weights["bias_ih_l0"]
            gates = gates + weights["weight_hh_l0"] @ h + weights["bias_hh_l0"]
            i, f, g, o = (gates[k * size : (k + 1) * size] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states.append(h)
        if states:
            out[b] = np.max(states, axis=0)
    return out


def textcnn(x, frames, weights):
    """(B, T, d) and (B, T) -> (B, out): one output of each kernel for each frame, the maximum over observed frames.

    The output for frame t sees the frames t - h // 2 .. t - h // 2 + h - 1; outside the sequence they are zeros.
    """
    out = []
    for b in range(len(x)):
        T = len(x[b])
        shown = [x[b][t] if frames[b][t] else np.zeros(len(x[b][t])) for t in range(T)]
        joined = []
        for k, height in enumerate(HEIGHTS):
            weight, bias = weights[f"convolutions.{k}.weight"], weights[f"convolutions.{k}.bias"]
            peak = np.zeros(len(bias))  # what a row without frames is left with; no ReLU is below it
            for t in range(T):
                if not frames[b][t]:
                    continue
                total = np.array(bias, dtype=float)
                for j in range(height):
                    s = t - height // 2 + j
                    if 0 <= s < T:
                        total = total + weight[:, :, j] @ shown[s]
                peak = np.maximum(peak, relu(total))
            joined.append(peak)
        out.append(relu(linear(weights, "out", np.concatenate(joined))))
    return np.array(out)


# --------------------------------------------------------------------------------------------------------------- metrics


def wa_as_printed(truth, prediction, weights_per_class):
    """Eq 7 to the letter. True negatives are counted above the line but not below, so it can be larger than 1."""
    above = below = 0.0
    for i, weight in enumerate(weights_per_class):
        for t, p in zip(truth, prediction, strict=True):
            above += weight * ((t == i and p == i) + (t != i and p != i))
            below += weight * (t == i)
    return above / below


def ua(truth, prediction):
    """Eq 7: the mean recall of the classes that the truth holds; one that it does not hold has no recall."""
    recalls = []
    for i in sorted(set(np.asarray(truth).tolist())):
        hits = [p == i for t, p in zip(truth, prediction, strict=True) if t == i]
        recalls.append(sum(hits) / len(hits))
    return sum(recalls) / len(recalls)
