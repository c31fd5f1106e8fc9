"""TETFN one row at a time: a MulT whose audio and video see each other enriched by the text, with Self-MM's heads and labels.

Written from the description of the method with Python loops over modalities, steps, heads and layers; it is slow on purpose
(evaluation mode, no dropout). A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed
may hold anything, NaN included. One modality is "text", beside at least one other; modalities come in the order of the dict.
Weights are a plain dict of tensors:

    input.{m}, memory.{m}                 as in tests.reference.mult
    enhance.{y}                           text -> y for each y but the text, a crossmodal encoder under the names of
                                          tests.reference.mult; only where y is a source, i.e. with two or more of them
    cross.{s}.{m}                         the crossmodal encoder whose stream the memory of m reads
    fusion.{1,2,3}, unimodal.{m}.{1,2,3}  as in tests.reference.self_mm; fusion.1 reads M (M - 1) d numbers, unimodal.{m}.1 d

Choices beyond the description:

  streams       For m but the text: from the text its embedding, from each other y the sequence that `enhance.{y}` makes of it.
                For the text: the embeddings of all others. Side by side in the order of the modalities
  enhance       has weights of its own: text -> y inside a source is not the encoder whose stream the memory of y reads
  unimodal      A head of one modality reads that modality alone: the mean of its embedding over the observed frames, zeros
                without any. What its memory says has the other modalities in it
  fusion        Self-MM's head on the concatenation of what the memories say, without MulT's residual; h_F is its first layer
  labels        The label generation is `Table` of tests.reference.self_mm, fed with the features of `spaces`; with classes
                each unimodal head learns the true label
"""

import torch

from tests.reference import self_mm
from tests.reference.mult import cross, embeddings, last_observed
from tests.reference.umdf import encoder


def source(w, E, s, m, layers, heads):
    """What the target m sees of s."""
    if "text" in (s, m):
        return E[s]
    return cross(w, f"enhance.{s}", E["text"], E[s], layers, heads)


def streams(w, E, m, layers, heads):
    """(T_m, (M - 1) d)"""
    others = [s for s in E if s != m]
    return torch.cat(
        [cross(w, f"cross.{s}.{m}", source(w, E, s, m, layers, heads), E[m], layers, heads) for s in others], 1
    )


def vectors(w, row, layers, memory, heads):
    """(joint, {m: d}): what the memories say, side by side, and the vector of each modality alone."""
    E, parts, alone = embeddings(w, row), [], {}
    for m, (_, observed) in row.items():
        remembered = encoder(w, f"memory.{m}", streams(w, E, m, layers, heads), memory, heads)
        parts.append(remembered[last_observed(observed)])
        alone[m] = self_mm.mean_frame(E[m], observed)
    return torch.cat(parts), alone


def spaces(w, row, layers, memory, heads):
    """(features, outputs), {space: its h} and {space: its output}, as in self_mm."""
    return self_mm.heads(w, *vectors(w, row, layers, memory, heads))


def outputs(w, row, layers, memory, heads):
    return spaces(w, row, layers, memory, heads)[1]


def predict(w, row, layers, memory, heads):
    """Logits (C,)."""
    return outputs(w, row, layers, memory, heads)[self_mm.JOINT]


def losses(w, rows, targets, labels, layers, memory, heads):
    """{task, and one term per modality}; their sum is the loss. Regression. targets, labels: numbers, as in self_mm."""
    predicted = [outputs(w, row, layers, memory, heads) for row in rows]
    return self_mm.losses_of(predicted, self_mm.present_in(rows), targets, labels)


def losses_without_ulgm(w, rows, targets, task, layers, memory, heads):
    predicted = [outputs(w, row, layers, memory, heads) for row in rows]
    return self_mm.losses_without_ulgm_of(predicted, self_mm.present_in(rows), targets, task)
