"""MFMB-Net one row at a time: encode, pass bottleneck tokens through two fusions, communicate, compare the two views.

Written from the description of the method with Python loops over rows, modalities, steps and heads; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included,
and count as zero vectors. One modality is "text". M modalities, C outputs, width d, n bottleneck tokens. Weights are a plain
dict of tensors in torch's Linear convention, weight (out, in), each with a bias:

    input.{m} (d, width)                  each frame of a modality
    trunk.{m}.{l}..., trunk.{m}.norm      its transformer encoder, under the names of tests.reference.umdf
    bottleneck (n, d)                     the tokens before both fusions
    fusion.others..., fusion.text...      transformer encoders of the others with the bottleneck, and of text with it
    communicator.{m}.0 (k, 2 d), .2 (d, k)       ReLU between
    head (C, (1 + M) d)                   output
    reconstruct.{m} (width, 2 d)          from a step of the trunk beside what the communicator says to a raw frame

Choices where the description is open: positions are added after the linear map, without a scale. Every step takes part in
attention, observed or not. L_m is the output of the trunk, and stays so: the fusions give only the bottleneck tokens on. The
others stand in the order of the row, before the tokens. A communicator reads the mean of the observed steps of L_m, zero
without any, beside the mean of the tokens after both fusions, whose mean the head reads as well. The task reads the
incomplete view; the whole one gives only what is compared. Hidden frames are rebuilt from L_m of the incomplete view and what
its communicator says, because L_m of a modality without any frame holds nothing: the smooth L1 error (beta 1) is the mean
over dimensions and over the hidden frames of a modality in the batch. The pooled representation of a modality in a view is
what its communicator reads. CMD compares the first five moments over the rows of the batch that show the modality in the
incomplete view, as its authors do for values in an interval of length 1, through a sigmoid; both views get gradients. Both
terms are summed over modalities.
"""

import torch

from tests.reference.emt import frame_errors, pooled, shown
from tests.reference.shaspec import net
from tests.reference.umdf import encoder, linear, positions, task_loss


def trunk(w, row, layers, heads):
    """modality -> L_m (T_m, d)."""
    L = {}
    for m, (x, observed) in row.items():
        z = linear(w, f"input.{m}", shown(x, observed))
        L[m] = encoder(w, f"trunk.{m}", z + positions(*z.shape).to(z.dtype), layers, heads)
    return L


def bottleneck(w, L, layers, heads):
    """(n, d): the tokens after the fusion with all modalities other than text, and then with text."""
    b = w["bottleneck"]
    others = [z for m, z in L.items() if m != "text"]
    b = encoder(w, "fusion.others", torch.cat([*others, b]), layers, heads)[-len(b) :]
    return encoder(w, "fusion.text", torch.cat([L["text"], b]), layers, heads)[-len(b) :]


def told(w, row, L, layers, heads):
    """(tokens (d,), read, said): per modality what its communicator reads (2 d) and says (d)."""
    b = bottleneck(w, L, layers, heads).mean(dim=0)
    read = {m: torch.cat([pooled(L[m], row[m][1]), b]) for m in row}
    return b, read, {m: net(w, f"communicator.{m}", v) for m, v in read.items()}


def decided(w, b, said):
    """Logits (C,)."""
    return linear(w, "head", torch.cat([b, *said.values()]))


def predict(w, rows, layers, heads):
    """Logits (N, C)."""
    views = [told(w, row, trunk(w, row, layers, heads), layers, heads) for row in rows]
    return torch.stack([decided(w, b, said) for b, _, said in views])


def moment(rows, k):
    """(d,): the mean of the rows (k = 1), or their k-th central moment."""
    mean = sum(rows) / len(rows)
    return mean if k == 1 else sum((row - mean) ** k for row in rows) / len(rows)


def length(v):
    squares = (v**2).sum()
    return torch.sqrt(squares) if squares > 0 else squares  # the root has no gradient at zero


def cmd(a, b):
    """The sum over the first five moments of the distance between those of two lists of vectors (d,)."""
    return sum(length(moment(a, k) - moment(b, k)) for k in range(1, 6))


def losses(w, whole, incomplete, targets, task, layers, heads, weights=None):
    """The weighted terms; `whole` and `incomplete` list the same rows, the second with more frames hidden.

    weights: modality -> factor of its reconstruction and its CMD, 1 for those that it does not name.
    """
    weights = {m: 1.0 for m in whole[0]} | (weights or {})
    L_whole, L = ([trunk(w, row, layers, heads) for row in rows] for rows in (whole, incomplete))
    views_whole = [told(w, row, z, layers, heads) for row, z in zip(whole, L_whole, strict=True)]
    views = [told(w, row, z, layers, heads) for row, z in zip(incomplete, L, strict=True)]
    out = torch.stack([decided(w, b, said) for b, _, said in views])
    beside = [
        {m: torch.stack([torch.cat([step, said[m]]) for step in z[m]]) for m in z} for z, (_, _, said) in zip(L, views)
    ]
    errors = frame_errors(w, beside, whole, incomplete)
    zero = 0 * out.sum()
    terms = {"task": task_loss(out, targets, task), "reconstruction": zero, "cmd": zero}
    for m, factor in weights.items():
        if errors[m]:
            terms["reconstruction"] = terms["reconstruction"] + factor * sum(errors[m]) / len(errors[m])
        shown_in = [i for i, row in enumerate(incomplete) if bool(row[m][1].any())]
        if shown_in:
            a, b = ([torch.sigmoid(made[i][1][m]) for i in shown_in] for made in (views_whole, views))
            terms["cmd"] = terms["cmd"] + factor * cmd(a, b)
    return terms
