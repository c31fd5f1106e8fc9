"""TATE one sample at a time: project in pairs, append the tag, encode, pool, decode (evaluation mode, no dropout).

Written from the description of the method with Python loops over modalities, steps and channels; it is slow on purpose.
A sample is (xs, frames): M sequences (T_m, d_m) and M bool vectors (T_m,), True where a frame is observed. Weights are a plain
dict of tensors in torch's Linear convention, weight (out, in):

    input.{m}                     modality m to the width d
    block.{m}.{l}..., block.{m}.norm      its attention block, a transformer encoder under the names of tests.reference.umdf
    pair.{i}.{j}                  i < j, the matrix (d // (M - 1), d) that both modalities of the pair share, no bias
    encoder.{l}..., decoder.{l}..., out   attention encoder; attention decoder and the linear map after it
    pool.content, pool.gate, pool.score   gated additive attention
    head
"""

import math

import torch

from tests.reference.umdf import encoder, linear, positions


def presence(frames):
    """The tag: one bit per modality, 1 where the sample has it."""
    return [1.0 if any(bool(f) for f in observed) else 0.0 for observed in frames]


def sequences(w, xs, frames, depth, heads):
    """The M attention blocks; an unobserved frame is a zero vector, whatever xs holds there."""
    out = []
    for m, (x, observed) in enumerate(zip(xs, frames)):
        steps = [v if bool(f) else torch.zeros_like(v) for v, f in zip(x, observed)]
        z = linear(w, f"input.{m}", torch.stack(steps))
        z = z + positions(*z.shape).to(z.dtype)
        out.append(encoder(w, f"block.{m}", z, depth, heads))
    return out


def common(w, sequences):
    """Each step of modality i: its projections by the matrices of all pairs that contain i. One modality after the other."""
    steps = []
    for i, sequence in enumerate(sequences):
        others = [j for j in range(len(sequences)) if j != i]
        for h in sequence:
            parts = [w[f"pair.{min(i, j)}.{max(i, j)}.weight"] @ h for j in others]
            steps.append(torch.cat(parts))
    return torch.stack(steps)


def encoder_input(w, xs, frames, depth, heads):
    """(sum T_m, c): the common space, zeros up to a multiple of the heads, and the tag at the end of each step."""
    C = common(w, sequences(w, xs, frames, depth, heads))
    tag = presence(frames)
    width = C.shape[1] + len(tag)
    filler = math.ceil(width / heads) * heads - width
    end = C.new_tensor([0.0] * filler + tag)
    return torch.stack([torch.cat([c, end]) for c in C])


def pool(w, E):
    """sum_t a_t E_t, a = softmax_t of score(tanh(content E_t) * sigmoid(gate E_t))."""
    scores = []
    for e in E:
        gated = torch.tanh(linear(w, "pool.content", e)) * torch.sigmoid(linear(w, "pool.gate", e))
        scores.append((w["pool.score.weight"][0] * gated).sum())
    share = torch.softmax(torch.stack(scores), dim=0)
    return sum(a * e for a, e in zip(share, E))


def predict(w, xs, frames, depth, heads):
    E = encoder(w, "encoder", encoder_input(w, xs, frames, depth, heads), depth, heads)
    return linear(w, "head", pool(w, E))


def symmetric_kl(a, b):
    """KL(p || q) + KL(q || p) of one step, p and q the softmax over the channels of a and of b."""
    p, q = torch.softmax(a, dim=0), torch.softmax(b, dim=0)
    return sum(x * torch.log(x / y) + y * torch.log(y / x) for x, y in zip(p, q))


def auxiliary(w, teacher, whole, shown, depth, heads):
    """(guidance, reconstruction, tag), each a mean over the steps of all samples, without their weight of .1.

    whole: the samples as they are; shown: the same ones after training hid modalities. Guidance at every step that `whole`
    observes, reconstruction at every step that `shown` observes, the tag at all steps.
    """
    guidance, reconstruction, tag = [], [], []
    for (xs, all_frames), (_, frames) in zip(whole, shown):
        X = encoder_input(w, xs, frames, depth, heads)
        E = encoder(w, "encoder", X, depth, heads)
        D = linear(w, "out", encoder(w, "decoder", E, depth, heads))
        E_teacher = encoder(teacher, "encoder", encoder_input(teacher, xs, all_frames, depth, heads), depth, heads)
        bits = presence(frames)
        for t, (known, seen) in enumerate(zip(torch.cat(all_frames), torch.cat(frames))):
            if bool(known):
                guidance.append(symmetric_kl(E[t], E_teacher[t]))
            if bool(seen):
                reconstruction.append(symmetric_kl(D[t], X[t].detach()))
            tag += [abs(D[t][i - len(bits)] - bit) for i, bit in enumerate(bits)]
    return tuple(sum(terms) / len(terms) for terms in (guidance, reconstruction, tag))
