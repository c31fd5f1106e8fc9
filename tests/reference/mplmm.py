"""MPLMM one row at a time: a MulT that is given prompts in place of, and beside, what is missing (evaluation mode, no dropout).

Written from the description of the method with Python loops over modalities and steps; it is slow on purpose. Stage `pretrain`
is MulT on complete rows: `tests.reference.mult.predict`. This file is stage `prompt`.
A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed may hold anything, NaN included.
M modalities in the order of the dict. A modality is missing if none of its frames is observed. Weights are those of
tests.reference.mult (cross and memory frozen, input, residual and head trained) and, Linear.weight (out, in) with bias:

    generate.{m}.prompt (n, d)            P_m, in front of what is made from the others
    generate.{m}.map.{s} (d, d)           W of an available s for a missing m
    generate.{m}.fold (d, d)              after the sequence was resized
    signal.{m} (2, d)                     S_m: row 0 for a missing modality, row 1 for an available one
    type (n, d)                           P_type

Choices beyond the description:

  generated     The embeddings e_s of the available modalities are MulT's, scaled and with positions, before any S. The sequence
                [P_m; GELU(W e_s) for each available s, in order] is resized to T_m steps, then each step goes through the
                linear map `fold`. It gets no positions of its own. The GELU is the exact one
  frames        Missing frames of an available modality stay zero vectors in front of the convolution
  signal        is added to generated and to real sequences, to all of their steps, after all are made
  type          One P_type for all patterns and all memories: the pattern comes in by the mean of S over all M modalities, by
                which each of the n prompts is multiplied. It is repeated M - 1 times (once for M = 1) to the memory's width
  readout       the last position of each memory's sequence, which is a prompt, whatever frames are observed
  nothing       A row without any modality: each sequence comes from its prompt alone
  training      As the description of the paper says: with probability .7 a row keeps one of the incomplete, non-empty sets of
                what it has, all equally likely; a row with one modality keeps it
"""

import itertools

import torch

from tests.reference.cubemlp import gelu
from tests.reference.mult import classify, embed, present, streams
from tests.reference.umdf import encoder, linear, resample

FROZEN = ("cross.", "memory.")  # how the names of the weights begin that stage `prompt` leaves as they are


def generated(w, m, steps, available):
    """(T_m, d) of a missing modality. available: the embeddings of the others that are there."""
    sequence = [*w[f"generate.{m}.prompt"]]
    for s, e in available.items():
        sequence += [gelu(linear(w, f"generate.{m}.map.{s}", step)) for step in e]
    return torch.stack([linear(w, f"generate.{m}.fold", z) for z in resample(torch.stack(sequence), steps)])


def signals(w, row):
    """{m: S_m (d,)}"""
    return {m: w[f"signal.{m}"][1 if present(observed) else 0] for m, (_, observed) in row.items()}


def sequences(w, row):
    """{m: (T_m, d)}, what the crossmodal encoders read."""
    available = {m: embed(w, m, *row[m]) for m in row if present(row[m][1])}
    S, out = signals(w, row), {}
    for m, (frames, _) in row.items():
        z = available[m] if m in available else generated(w, m, len(frames), available)
        out[m] = torch.stack([step + S[m] for step in z])
    return out


def type_prompts(w, row):
    """(n, (M - 1) d), appended to the sequence of each memory."""
    S = signals(w, row)
    mean = sum(S.values()) / len(S)
    return torch.stack([torch.cat([prompt * mean] * max(len(row) - 1, 1)) for prompt in w["type"]])


def joint(w, row, layers, memory, heads):
    E, prompts, parts = sequences(w, row), type_prompts(w, row), []
    for m in row:
        read = torch.cat([streams(w, E, m, layers, heads), prompts])
        parts.append(encoder(w, f"memory.{m}", read, memory, heads)[-1])
    return torch.cat(parts)


def predict(w, row, layers, memory, heads):
    """Logits (C,)."""
    return classify(w, joint(w, row, layers, memory, heads))


def kept_law(available, rate=0.7):
    """{subset: probability} of what a training row keeps."""
    whole = tuple(sorted(available))
    subsets = [s for k in range(1, len(whole)) for s in itertools.combinations(whole, k)]
    return {whole: 1 - rate} | {s: rate / len(subsets) for s in subsets} if subsets else {whole: 1.0}
