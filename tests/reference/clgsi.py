"""CLGSI one row at a time: encode, fuse the stacked vectors, scale each one, predict; then contrast the rows in pairs.

Written from the description of the method with Python loops over rows, pairs, modalities and channels; it is slow on purpose
(evaluation mode, no dropout). A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed
may hold anything, NaN included. M modalities in the order of the dict. Weights are a plain dict of tensors in torch's
conventions, Linear.weight (out, in), each with a bias:

    lstm.{m}.{weight,bias}_{ih,hh}_l0     LSTM of every modality but text, as torch stores it
    out.{m} (d, its width)                linear map after its last state, and after the text's mean
    glfk.global (M, M, 3), glfk.local (M, M, 1)    Conv1d along the d axis, channels are the modalities
    glfk.out (d, M d)                     after them
    excite.{m}.0 (r, d), excite.{m}.1 (d, r)       the two layers of squeeze-excite, r = max(1, d // 4)
    head (C, (M + 1) d)                   of h_F, then of the g_m

Choices beyond the description:

  text          its mean frame gets a linear map as well, since all vectors have the width d
  absent        zero vector in place of the text's mean and of an LSTM's last state, as in tests.reference.self_mm
  GLFK          relu(global) + relu(local) + the stack itself, flattened modality by modality; no activation after glfk.out
  contrast      h_F over its length, which is at least 1e-12. Targets of several yes/no labels differ by the mean absolute
                difference, over the largest one of the batch: with many labels, few of them true, every pair would be a
                positive one. The mean is over the rows that have a positive; 0 without any
"""

import torch

from tests.reference.self_mm import last_state, mean_frame
from tests.reference.umdf import linear, task_loss


def encode(w, row):
    """(M, d): the vectors of the modalities."""
    vectors = []
    for m, (frames, observed) in row.items():
        x = mean_frame(frames, observed) if m == "text" else last_state(w, f"lstm.{m}.", frames, observed)
        vectors.append(linear(w, f"out.{m}", x))
    return torch.stack(vectors)


def convolve(w, name, S):
    """Entry c of output k: taps around c on all modalities; zeros beyond both ends of the d axis."""
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    M, d = S.shape
    taps, out = weight.shape[2], []
    for k in range(M):
        entries = []
        for c in range(d):
            value = bias[k]
            for m in range(M):
                for tap in range(taps):
                    at = c + tap - taps // 2
                    if 0 <= at < d:
                        value = value + weight[k, m, tap] * S[m, at]
            entries.append(value)
        out.append(torch.stack(entries))
    return torch.stack(out)


def fuse(w, S):
    """h_F (d,) of the stack (M, d)."""
    fused = torch.relu(convolve(w, "glfk.global", S)) + torch.relu(convolve(w, "glfk.local", S)) + S
    return linear(w, "glfk.out", torch.cat(list(fused)))


def excited(w, m, h):
    return torch.sigmoid(linear(w, f"excite.{m}.1", torch.relu(linear(w, f"excite.{m}.0", h)))) * h


def joint(w, row):
    """h_F of a row, which the contrast compares."""
    return fuse(w, encode(w, row))


def predict(w, row):
    """Logits (C,)."""
    S = encode(w, row)
    skips = [excited(w, m, h) for m, h in zip(row, S)]
    return linear(w, "head", torch.cat([fuse(w, S), *skips]))


def difference(targets, i, j, task):
    """w_ij in [0, 1]: how far the targets of two rows are apart."""
    a, b = targets[i], targets[j]
    if task == "multiclass":
        return 0.0 if int(a) == int(b) else 1.0
    if task == "regression":
        spread = float(max(targets) - min(targets))
        return abs(float(a) - float(b)) / max(spread, 1e-8)
    return sum(abs(float(x) - float(y)) for x, y in zip(a, b)) / len(a)


def contrast(H, targets, task, temperature=0.1):
    """The mean of L_i over the rows that have a positive. H: h_F of each row."""
    units = [h / torch.clamp(torch.sqrt((h * h).sum()), min=1e-12) for h in H]
    losses = []
    largest = max(difference(targets, i, j, task) for i in range(len(H)) for j in range(len(H)))
    for i in range(len(H)):
        positive = negative = 0.0
        for j in range(len(H)):
            if i == j:
                continue
            apart = difference(targets, i, j, task) / max(largest, 1e-8)
            close = torch.exp((units[i] * units[j]).sum() / temperature)
            if apart < 0.5:
                positive = positive + (1 - apart) * close
            else:
                negative = negative + apart * close
        if positive != 0:
            losses.append(-torch.log(positive / (positive + negative)))
    return sum(losses) / len(losses) if losses else 0 * sum(h.sum() for h in H)


def losses(w, rows, targets, task, weight=0.1, temperature=0.1):
    """The weighted terms of a batch."""
    H = [joint(w, row) for row in rows]
    logits = torch.stack([predict(w, row) for row in rows])
    return {"task": task_loss(logits, targets, task), "contrast": weight * contrast(H, targets, task, temperature)}
