"""CubeMLP one row at a time: a cube of steps, modalities and channels, mixed along each axis (evaluation mode, no dropout).

Written from the description of the method with Python loops over steps, modalities, channels and axes; it is slow on purpose.
A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed may hold anything, NaN included.
M modalities in the order of the dict. Weights are a plain dict of tensors in torch's convention, Linear.weight (out, in), with
a bias unless it says otherwise; norms have weight and bias:

    input.{m} (d, i_m)                    each frame to the width d
    block.{b}.{axis}.norm (n,)            axis: L (steps), M (modalities), D (channels), which has n entries before and n' after
    block.{b}.{axis}.0 (n, n), block.{b}.{axis}.1 (n', n)        the two layers along the axis
    block.{b}.{axis}.project (n', n)      no bias; only where n' is not n
    head (C, M'd')                        M' and d' of the last block

Choices beyond the description:

  length        a number that the system is given: each modality is resized to it after the linear map, which gives its bias
                at a frame that is not observed
  norm          along the axis that is mixed, with a weight and a bias for each entry of the axis
  residual      the input before the norm, itself or projected
  GELU          the exact one, x times the normal distribution function
  readout       the mean over the steps, then the modalities side by side
"""

import math

import torch

from tests.reference.mult import shown
from tests.reference.umdf import layer_norm, linear, resample

AXES = ("L", "M", "D")


def gelu(x):
    return torch.stack([v * 0.5 * (1 + torch.erf(v / math.sqrt(2))) for v in x])


def cube(w, row, length):
    """(length, M, d)."""
    sequences = []
    for m, (frames, observed) in row.items():
        steps = [linear(w, f"input.{m}", x) for x in shown(frames, observed)]
        sequences.append(resample(torch.stack(steps), length))
    return torch.stack([torch.stack([z[t] for z in sequences]) for t in range(length)])


def mix(w, name, x):
    """(n') of one line (n) of the cube along the axis."""
    y = linear(w, f"{name}.1", gelu(linear(w, f"{name}.0", layer_norm(w, f"{name}.norm", x))))
    kept = w[f"{name}.project.weight"] @ x if f"{name}.project.weight" in w else x
    return kept + y


def along_steps(w, name, X):
    _, M, d = X.shape
    lines = torch.stack([torch.stack([mix(w, name, X[:, m, c]) for c in range(d)]) for m in range(M)])
    return lines.permute(2, 0, 1)  # (M, d, n') to (n', M, d)


def along_modalities(w, name, X):
    return torch.stack([torch.stack([mix(w, name, step[:, c]) for c in range(X.shape[2])]).T for step in X])


def along_channels(w, name, X):
    return torch.stack([torch.stack([mix(w, name, line) for line in step]) for step in X])


def block(w, name, X):
    for axis, along in zip(AXES, (along_steps, along_modalities, along_channels), strict=True):
        X = along(w, f"{name}.{axis}", X)
    return X


def predict(w, row, length, blocks=2):
    """Logits (C,)."""
    X = cube(w, row, length)
    for b in range(blocks):
        X = block(w, f"block.{b}", X)
    return linear(w, "head", torch.cat(list(sum(X) / len(X))))
