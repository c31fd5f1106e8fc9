"""EMT-DLFR one row at a time: encode, exchange local and global tokens, read out; compare the two views of a row.

Written from the description of the method with Python loops over rows, modalities, steps and heads; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included,
and count as zero vectors. M modalities, C outputs, width d. Weights are a plain dict of tensors in torch's Linear convention,
weight (out, in), each with a bias; layer norms have weight and bias (d,):

    encoder.text (d, width)               linear map of each text frame
    encoder.{m}.{weight,bias}_{ih,hh}_l0  LSTM of any other modality, gates i, f, g, o on top of each other
    utterance.{m} (d, d)                  from the mean of the encoded frames to the modality's global token
    mpu.{l}.local.norm_target, .norm_source, .cross.q, .kv, .out     layer l: local tokens attend to global ones; kv (2d, d)
    mpu.{l}.global.norm_target, ....      the same for global tokens that attend to local ones
    mpu.{l}.local.layer..., mpu.{l}.global.layer...      .norm1, .attention.qkv (3d, d), .attention.out, .norm2, .ffn.0, .ffn.1
    head.0 (n, 2 M d), head.2 (C, n)      from the joint vector, ReLU between
    predictor.context.0, .2; predictor.{m}.0, .2         ReLU between, back to the width of the input
    reconstruct.{m} (width, d)            from a local token to a raw frame

Choices where the description is open: every step takes part in the LSTM and in attention, observed or not. The LSTM runs
forward over all steps in order. Tokens get no positions. Both means over observed frames are zero vectors where there is
none. An MPU first updates the local tokens of each modality with the global tokens before the layer, and the global ones then
attend to the updated local tokens. Each direction has norms of its own for target and source, and a transformer layer of its
own; no norm follows the last layer. The joint vector is [G_1 .. G_M, pooled L_1 .. pooled L_M]. The views are compared in the
spaces of the context [G_1 .. G_M] and of each pooled L_m, as in the paper, so that no vector counts twice. Cosines keep all
rows of the batch, and the cosine with a zero vector is zero. Reconstruction averages over dimensions and over the hidden
frames of a modality in the batch, and sums over modalities; a modality without hidden frames adds nothing.
"""

import torch

from tests.reference.mctn import lstm
from tests.reference.shaspec import net
from tests.reference.umdf import attend, ca, ffn, layer_norm, linear, task_loss


def shown(x, observed):
    return torch.stack([v if bool(f) else torch.zeros_like(v) for v, f in zip(x, observed, strict=True)])


def pooled(z, observed):
    """The mean of the observed steps, zero without any."""
    steps = [v for v, f in zip(z, observed, strict=True) if bool(f)]
    return sum(steps) / len(steps) if steps else torch.zeros_like(z[0])


def encoded(w, m, x, observed):
    """(T, d) of one modality."""
    frames = shown(x, observed)
    if m == "text":
        return linear(w, "encoder.text", frames)
    return torch.stack(lstm(w, f"encoder.{m}.", "_l0", list(frames)))


def transformer_layer(w, name, x, heads):
    """One pre-norm layer of a transformer encoder, without a norm at the end."""
    q, k, v = linear(w, f"{name}.attention.qkv", layer_norm(w, f"{name}.norm1", x)).split(x.shape[1], dim=1)
    x = x + linear(w, f"{name}.attention.out", attend(q, k, v, heads))
    return x + ffn(w, f"{name}.ffn", layer_norm(w, f"{name}.norm2", x))


def promoted(w, name, target, source, heads):
    """Half a mutual promotion unit: the target tokens attend to the source tokens, then to each other."""
    normed = layer_norm(w, f"{name}.norm_source", source), layer_norm(w, f"{name}.norm_target", target)
    return transformer_layer(w, f"{name}.layer", target + ca(w, f"{name}.cross", *normed, heads), heads)


def tokens(w, row, layers, heads):
    """G (M, d) and the dict of L_m (T_m, d) after all layers."""
    L = {m: encoded(w, m, *row[m]) for m in row}
    G = torch.stack([linear(w, f"utterance.{m}", pooled(L[m], row[m][1])) for m in row])
    for layer in range(layers):
        L = {m: promoted(w, f"mpu.{layer}.local", L[m], G, heads) for m in row}
        G = sum(promoted(w, f"mpu.{layer}.global", G, L[m], heads) for m in row) / len(row)
    return G, L


def spaces(row, G, L):
    """The vectors that DLFR compares: "context" (M d), and the pooled local tokens (d) of each modality."""
    return {"context": torch.cat([*G])} | {m: pooled(L[m], row[m][1]) for m in row}


def joint(vectors):
    """(2 M d) from the vectors of all spaces."""
    return torch.cat([*vectors.values()])


def predict(w, rows, layers, heads):
    """Logits (N, C)."""
    return torch.stack([net(w, "head", joint(spaces(row, *tokens(w, row, layers, heads)))) for row in rows])


def cosine(a, b):
    norms = torch.sqrt((a**2).sum()) * torch.sqrt((b**2).sum())
    return (a * b).sum() / norms if norms > 0 else 0 * (a * b).sum()


def attraction(w, pairs):
    """The sum over spaces of -(cos(p_inc, z_com) + cos(p_com, z_inc)) / 2, averaged over rows; z gets no gradient.

    pairs: for each row the vectors of its incomplete and of its complete view, as `spaces` gives them. p is the predictor's
    output for z.
    """
    total = 0
    for space in pairs[0][0]:
        terms = []
        for inc, com in pairs:
            z_inc, z_com = inc[space], com[space]
            p_inc, p_com = net(w, f"predictor.{space}", z_inc), net(w, f"predictor.{space}", z_com)
            terms.append(-(cosine(p_inc, z_com.detach()) + cosine(p_com, z_inc.detach())) / 2)
        total = total + sum(terms) / len(terms)
    return total


def smooth_l1(a, b):
    """The mean over dimensions of e^2 / 2 where the error e is below 1, else |e| - 1/2."""
    errors = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return sum(e**2 / 2 if e < 1 else e - 0.5 for e in errors) / len(errors)


def frame_errors(w, local, whole, incomplete):
    """modality -> the smooth L1 error of each frame that `whole` observes and `incomplete` does not, over all rows.

    local: for each row the tokens L_m of its incomplete view.
    """
    errors = {m: [] for m in whole[0]}
    for L, row, part in zip(local, whole, incomplete, strict=True):
        for m, (x, observed) in row.items():
            for t, (was, still) in enumerate(zip(observed, part[m][1])):
                if bool(was) and not bool(still):
                    errors[m].append(smooth_l1(linear(w, f"reconstruct.{m}", L[m][t]), x[t]))
    return errors


def losses(w, whole, incomplete, targets, task, layers, heads, w1=1.0, w2=1.0):
    """The weighted terms; `whole` and `incomplete` list the same rows, the second with more frames hidden."""
    made_whole = [tokens(w, row, layers, heads) for row in whole]
    made = [tokens(w, row, layers, heads) for row in incomplete]
    com = [spaces(row, G, L) for row, (G, L) in zip(whole, made_whole)]
    inc = [spaces(row, G, L) for row, (G, L) in zip(incomplete, made)]
    logits, logits_whole = (torch.stack([net(w, "head", joint(view)) for view in views]) for views in (inc, com))
    errors = frame_errors(w, [L for _, L in made], whole, incomplete)
    reconstruction = 0 * logits.sum() + sum(sum(e) / len(e) for e in errors.values() if e)
    return {
        "task": task_loss(logits, targets, task),
        "complete": w1 * task_loss(logits_whole, targets, task),
        "attraction": w1 * attraction(w, list(zip(inc, com))),
        "reconstruction": w2 * reconstruction,
    }
