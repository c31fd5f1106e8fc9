"""TransM (TransModality) one sample at a time: translate from the source and back, pool, classify (evaluation mode).

Written from the description of the method with Python loops over modalities and steps; it is slow on purpose. A sample is
(xs, frames): M sequences (T_m, d_m) and M bool vectors (T_m,), True where a frame is observed. `source` is the index of the
modality from which the others are translated. Weights are a plain dict of tensors in torch's Linear convention:

    input.{m}, query.{m} (d,)             features of modality m, and the vector in place of a frame that is not observed
    forth.{m}.encoder..., .decoder..., .norm, .out    source -> m; norm after the decoder, out to the raw features of m
    back.{m}.encoder..., .decoder..., .norm, .out     m -> source
    head                                  classifier

An encoder has the names of tests.reference.umdf. Layer l of a decoder: {l}.norm1, {l}.attention.qkv, {l}.attention.out;
{l}.norm2, {l}.cross.q, .kv (keys on values), .out; {l}.norm3, {l}.ffn.0, {l}.ffn.1.
"""

import torch

from tests.reference.umdf import attend, ca, encoder, ffn, layer_norm, linear, positions


def features(w, m, x, observed):
    """(T, d): tanh of a linear map at observed frames, the learned vector at all others, whatever xs holds there."""
    steps = [torch.tanh(linear(w, f"input.{m}", v)) if bool(f) else w[f"query.{m}"] for v, f in zip(x, observed)]
    return torch.stack(steps)


def placed(z):
    return z + positions(*z.shape).to(z.dtype)


def visible(observed):
    """The steps that count: the observed ones, all where none is observed."""
    return [t for t in range(len(observed)) if bool(observed[t]) or not bool(observed.any())]


def mean_of(z, steps):
    return sum(z[t] for t in steps) / len(steps)


def decoder(w, name, queries, memory, steps, depth, heads):
    """Pre-norm decoder layers: attention among the queries, attention over the memory at `steps`, feed-forward."""
    memory = torch.stack([memory[t] for t in steps])
    y = queries
    for layer in range(depth):
        p = f"{name}.decoder.{layer}"
        q, k, v = linear(w, f"{p}.attention.qkv", layer_norm(w, f"{p}.norm1", y)).split(y.shape[1], dim=1)
        y = y + linear(w, f"{p}.attention.out", attend(q, k, v, heads))
        y = y + ca(w, f"{p}.cross", memory, layer_norm(w, f"{p}.norm2", y), heads)
        y = y + ffn(w, f"{p}.ffn", layer_norm(w, f"{p}.norm3", y))
    return layer_norm(w, f"{name}.norm", y)


def translate(w, xs, frames, source, depth, heads):
    """For each m but the source: encoding of the source, raw m; encoding of the fake m, raw source."""
    F = [features(w, m, x, f) for m, (x, f) in enumerate(zip(xs, frames))]
    out = {}
    for m in range(len(xs)):
        if m == source:
            continue
        E = encoder(w, f"forth.{m}.encoder", placed(F[source]), depth, heads)
        fake = decoder(w, f"forth.{m}", placed(F[m]), E, visible(frames[source]), depth, heads)
        E_fake = encoder(w, f"back.{m}.encoder", fake, depth, heads)
        again = decoder(w, f"back.{m}", placed(F[source]), E_fake, visible(frames[m]), depth, heads)
        out[m] = (E, linear(w, f"forth.{m}.out", fake), E_fake, linear(w, f"back.{m}.out", again))
    return F, out


def predict(w, xs, frames, source, depth, heads):
    """The classifier on the mean over visible steps of the features, then of both encodings of each translation."""
    F, out = translate(w, xs, frames, source, depth, heads)
    parts = [mean_of(f, visible(observed)) for f, observed in zip(F, frames)]
    for m, (E, _, E_fake, _) in out.items():
        parts += [mean_of(E, visible(frames[source])), mean_of(E_fake, visible(frames[m]))]
    return linear(w, "head", torch.cat(parts))


def errors(w, samples, source, depth, heads):
    """(forth, back): mean absolute error over all observed frames of the batch, per translation, summed over modalities."""
    forth, back = {}, {}
    for xs, frames in samples:
        for m, (_, fake, _, again) in translate(w, xs, frames, source, depth, heads)[1].items():
            for errors, made, to in ((forth, fake, m), (back, again, source)):
                for t in range(len(made)):
                    if bool(frames[to][t]):
                        errors.setdefault(m, []).append((made[t] - xs[to][t]).abs().mean())
    return tuple(sum(sum(values) / len(values) for values in errors.values()) for errors in (forth, back))
