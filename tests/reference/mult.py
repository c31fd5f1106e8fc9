"""MulT one row at a time: embed, cross, remember, classify (evaluation mode, no dropout).

Written from the description of the method with Python loops over modalities, steps, heads and layers; it is slow on purpose.
A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed may hold anything, NaN included.
M modalities in the order of the dict. Weights are a plain dict of tensors in torch's conventions, Linear.weight (out, in), each
with a bias unless it says otherwise; norms have weight and bias:

    input.{m} (d, i_m, 3)                 Conv1d over time with zeros around the clip, no bias
    cross.{s}.{m}.{l}.norm, .attention.q (d, d), .attention.kv (2d, d: keys on values), .attention.out (d, d),
    cross.{s}.{m}.{l}.norm_ffn, .ffn.0 (4d, d), .ffn.1 (d, 4d)        layer l of source s -> target m; norm serves both
    cross.{s}.{m}.norm                    after its last layer
    memory.{m}.{l}..., memory.{m}.norm    transformer encoder of width (M - 1) d under the names of tests.reference.umdf
    residual.0, residual.1                the two layers W1, W2 beside the joint vector, both square
    head (C, M (M - 1) d)

Choices beyond the description:

  attention     Crossmodal encoders and memories attend to all steps, also to those that are not observed, which hold the
                convolution of zero vectors and their position
  positions     are added once, in front of the crossmodal encoders, not again in front of the memories
  sources       stand side by side in the order of the modalities
  one modality  The memory has the width d and reads the embedding itself; residual and head have the width d
"""

import math

import torch

from tests.reference.umdf import ca, encoder, ffn, layer_norm, linear, positions


def present(observed):
    return any(bool(f) for f in observed)


def shown(frames, observed):
    """The frames as a list, zero vectors where they are not observed."""
    return [x if bool(f) else torch.zeros_like(x) for x, f in zip(frames, observed, strict=True)]


def last_observed(observed):
    """The last observed step; 0 where none is."""
    return max((t for t, f in enumerate(observed) if bool(f)), default=0)


def convolve(weight, steps):
    """Step t sees t - 1, t and t + 1, as far as they are in the clip."""
    out = []
    for t in range(len(steps)):
        z = weight.new_zeros(weight.shape[0])
        for k, neighbour in enumerate((t - 1, t, t + 1)):
            if 0 <= neighbour < len(steps):
                z = z + weight[:, :, k] @ steps[neighbour]
        out.append(z)
    return torch.stack(out)


def embed(w, m, frames, observed):
    """(T_m, d): the convolution times sqrt(d), and the position."""
    z = convolve(w[f"input.{m}.weight"], shown(frames, observed))
    return math.sqrt(z.shape[1]) * z + positions(*z.shape).to(z.dtype)


def embeddings(w, row):
    return {m: embed(w, m, frames, observed) for m, (frames, observed) in row.items()}


def cross(w, name, source, target, layers, heads):
    """(T, d): the target, enriched layer by layer by the same source."""
    z = target
    for layer in range(layers):
        p = f"{name}.{layer}"
        normed_source = layer_norm(w, f"{p}.norm", source)
        z = z + ca(w, f"{p}.attention", normed_source, layer_norm(w, f"{p}.norm", z), heads)
        z = z + ffn(w, f"{p}.ffn", layer_norm(w, f"{p}.norm_ffn", z))
    return layer_norm(w, f"{name}.norm", z)


def streams(w, E, m, layers, heads):
    """(T_m, (M - 1) d): all other modalities as m sees them, side by side."""
    others = [s for s in E if s != m]
    if not others:
        return E[m]
    return torch.cat([cross(w, f"cross.{s}.{m}", E[s], E[m], layers, heads) for s in others], dim=1)


def joint(w, row, layers, memory, heads):
    """(M (M - 1) d,): what each memory says at the last observed step of its modality."""
    E, parts = embeddings(w, row), []
    for m, (_, observed) in row.items():
        remembered = encoder(w, f"memory.{m}", streams(w, E, m, layers, heads), memory, heads)
        parts.append(remembered[last_observed(observed)])
    return torch.cat(parts)


def classify(w, h):
    return linear(w, "head", h + ffn(w, "residual", h))


def predict(w, row, layers, memory, heads):
    """Logits (C,)."""
    return classify(w, joint(w, row, layers, memory, heads))
