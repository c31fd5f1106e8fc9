"""DLF one row at a time: embed, split into shared and private, let text attend to the others, five kinds of output.

Written from the description of the method with Python loops over rows, modalities, steps and heads; it is slow on purpose.
A row is a dict: modality -> (frames (T, width), observed (T,)); frames that are not observed may hold anything, NaN included,
and count as zero vectors. One modality is "text". M modalities, C outputs, width d. Weights are a plain dict of tensors in
torch's Linear convention, weight (out, in), each with a bias; layer norms have weight and bias (d,):

    input.{m} (d, width)                  each frame of a modality
    shared.{l}..., shared.norm            one transformer encoder for all modalities, under the names of tests.reference.umdf
    private.{m}.{l}..., private.{m}.norm  one for each modality
    decoder.{m} (d, 2 d)                  from [s_m ; p_m] of a step back to the embedded step
    attraction.{m}.{l}.norm1, .cross.q, .kv (2 d, d), .out, .norm2, .ffn.0, .ffn.1; attraction.{m}.norm
                                          m other than text: text attends to m; norm1 is for both queries and sources
    head (C, 2 M d), common (C, d), unimodal.{m} (C, d)

Choices where the description is open: the sequences get no positions, every one of the `length` steps counts, and modalities
that a row lacks take part as zero frames. The decoder is one linear map for each step. Reconstruction and cycle errors are
means over rows, steps and dimensions, summed over modalities, and both sides get gradients. The margin averages over all
triples of an anchor (row, m), a positive (the same row, any other modality) and its one negative; no triple gives zero. The
class of a row is the sign of its label in regression, and its whole set of labels where it has several. Vectors are means
over steps. y reads [the mean over modalities of s_m ; p_m of each modality ; A_m of each one other than text]; y_m reads p_m.
"""

import torch

from tests.reference.emt import cosine, shown
from tests.reference.umdf import ca, encoder, ffn, layer_norm, linear, resample, task_loss


def embedded(w, row, length):
    """modality -> e_m (length, d)."""
    return {m: resample(linear(w, f"input.{m}", shown(*row[m])), length) for m in row}


def attracted(w, name, text, source, layers, heads):
    """Crossmodal layers: queries of the text, keys and values of the source, which is the same in each layer."""
    z = text
    for layer in range(layers):
        p = f"{name}.{layer}"
        z = z + ca(w, f"{p}.cross", layer_norm(w, f"{p}.norm1", source), layer_norm(w, f"{p}.norm1", z), heads)
        z = z + ffn(w, f"{p}.ffn", layer_norm(w, f"{p}.norm2", z))
    return layer_norm(w, f"{name}.norm", z) if layers else z


def parts(w, row, length, layers, heads):
    """(e, s, p): modality -> (length, d), embedded, shared and private."""
    e = embedded(w, row, length)
    s = {m: encoder(w, "shared", e[m], layers, heads) for m in row}
    p = {m: encoder(w, f"private.{m}", e[m], layers, heads) for m in row}
    return e, s, p


def outputs(w, s, p, layers, heads):
    """The logits (C,) by name: "all", "common", and one for each modality."""
    common = sum(z.mean(dim=0) for z in s.values()) / len(s)
    own = {m: z.mean(dim=0) for m, z in p.items()}
    towards_text = [
        attracted(w, f"attraction.{m}", p["text"], z, layers, heads).mean(dim=0) for m, z in p.items() if m != "text"
    ]
    out = {
        "all": linear(w, "head", torch.cat([common, *own.values(), *towards_text])),
        "common": linear(w, "common", common),
    }
    return out | {m: linear(w, f"unimodal.{m}", z) for m, z in own.items()}


def predict(w, rows, length, layers, heads):
    """Logits (N, C)."""
    made = [parts(w, row, length, layers, heads) for row in rows]
    return torch.stack([outputs(w, s, p, layers, heads)["all"] for _, s, p in made])


def regularisers(w, e, s, p, layers, heads):
    """(reconstruction, cycle) of one row: decode [s_m ; p_m], compare with e_m; encode the result, compare with p_m."""
    reconstruction, cycle = 0, 0
    for m in e:
        decoded = linear(w, f"decoder.{m}", torch.cat([s[m], p[m]], dim=1))
        reconstruction = reconstruction + ((decoded - e[m]) ** 2).mean()
        cycle = cycle + ((encoder(w, f"private.{m}", decoded, layers, heads) - p[m]) ** 2).mean()
    return reconstruction, cycle


def classes(targets, task):
    """One label class for each row."""
    if task == "multiclass":
        return [int(t) for t in targets]
    rows = targets.reshape(len(targets), -1)
    return [tuple(int(v) for v in (row.sign() if task == "regression" else row)) for row in rows]


def margin(vectors, labels, alpha):
    """The mean over triples of max(0, cos(anchor, negative) - cos(anchor, positive) + alpha).

    vectors: for each row a dict modality -> (d,). The negative of (row, m) is m of the next row, cyclically, whose class
    differs.
    """
    terms, n = [], len(vectors)
    for i, row in enumerate(vectors):
        others = [(i + k) % n for k in range(1, n) if labels[(i + k) % n] != labels[i]]
        for m, anchor in row.items():
            for positive in row:
                if positive != m and others:
                    gap = cosine(anchor, vectors[others[0]][m]) - cosine(anchor, row[positive])
                    terms.append(torch.clamp(gap + alpha, min=0))
    return sum(terms) / len(terms) if terms else 0 * sum(v.sum() for row in vectors for v in row.values())


def orthogonality(s, p):
    """The sum over modalities of |cos(s_m, p_m)| of one row's mean vectors."""
    return sum(abs(cosine(s[m].mean(dim=0), p[m].mean(dim=0))) for m in s)


def losses(w, rows, targets, task, length, layers, heads, alpha=0.1):
    """The weighted terms, each of the five outputs' and each regulariser's."""
    made = [parts(w, row, length, layers, heads) for row in rows]
    logits = [outputs(w, s, p, layers, heads) for _, s, p in made]
    terms = {}
    for name in logits[0]:
        factor = 3 if name == "text" else 1
        terms[name] = factor * task_loss(torch.stack([y[name] for y in logits]), targets, task)
    errors = [regularisers(w, *row, layers, heads) for row in made]
    terms["reconstruction"] = 0.1 * sum(r for r, _ in errors) / len(rows)
    terms["cycle"] = 0.1 * sum(c for _, c in errors) / len(rows)
    vectors = [{m: z.mean(dim=0) for m, z in s.items()} for _, s, _ in made]
    terms["margin"] = 0.01 * margin(vectors, classes(targets, task), alpha)
    terms["orthogonality"] = 0.01 * sum(orthogonality(s, p) for _, s, p in made) / len(rows)
    return terms
