"""MCTN one sample at a time: encode the sources, translate, go back, translate once more, regress.

Written from the description of the method with Python loops over steps and units; it is slow on purpose. A sample is
(xs, frames): M sequences (T_m, d_m) and M bool vectors (T_m,), True where a frame is observed. A chain is (sources, targets),
lists of indices. Weights of one chain are a plain dict of tensors, an LSTM as torch stores it, gates i, f, g, o on top of
each other:

    first.encoder.{weight,bias}_{ih,hh}_l0, ..._l0_reverse     Bi-LSTM that reads sources, and what was decoded
    first.cell.{weight,bias}_{ih,hh}, first.out                LSTM decoder, and the map of its states to the common width
    second....                                                 the same for the second target; it reads the joint sequence
    regressor.{weight,bias}_{ih,hh}_l0, attention.weight (1, h), head
"""

import torch

from tests.reference.umdf import common_length, linear, resample


def cell(w, name, suffix, x, h, c):
    """One step of an LSTM."""
    gates = w[f"{name}weight_ih{suffix}"] @ x + w[f"{name}bias_ih{suffix}"]
    i, f, g, o = (gates + w[f"{name}weight_hh{suffix}"] @ h + w[f"{name}bias_hh{suffix}"]).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm(w, name, suffix, xs):
    """The states of an LSTM that starts at zero, one for each step of the list xs."""
    size = w[f"{name}weight_hh{suffix}"].shape[1]
    h, c, states = xs[0].new_zeros(size), xs[0].new_zeros(size), []
    for x in xs:
        h, c = cell(w, name, suffix, x, h, c)
        states.append(h)
    return states


def encode(w, name, xs):
    """The joint sequence: the sum of both directions of a Bi-LSTM."""
    forward = lstm(w, f"{name}.encoder.", "_l0", xs)
    backward = lstm(w, f"{name}.encoder.", "_l0_reverse", xs[::-1])[::-1]
    return [a + b for a, b in zip(forward, backward)]


def decode(w, name, joint, steps):
    """An LSTM whose input is the joint sequence, weighted by the softmax of its products with the state before."""
    size, out = len(joint[0]), []
    h, c = joint[0].new_zeros(size), joint[0].new_zeros(size)
    for _ in range(steps):
        share = torch.softmax(torch.stack([j @ h for j in joint]), dim=0)
        h, c = cell(w, f"{name}.cell.", "", sum(a * j for a, j in zip(share, joint)), h, c)
        out.append(linear(w, f"{name}.out", h))
    return out


def shown(x, observed):
    return torch.stack([v if bool(f) else torch.zeros_like(v) for v, f in zip(x, observed)])


def padded(v, width):
    return torch.cat([v, v.new_zeros(width - len(v))])


def common_width(widths, chain):
    sources, targets = chain
    return max(sum(widths[m] for m in sources), *(widths[m] for m in targets))


def source(xs, frames, chain):
    """The sources side by side, at the length of the first that is a sequence, zeros up to the common width.

    Beside it, for each step, whether all of it is observed.
    """
    sources, _ = chain
    T, width = common_length([len(xs[m]) for m in sources]), common_width([x.shape[1] for x in xs], chain)
    parts = [resample(shown(xs[m], frames[m]), T) for m in sources]
    seen = [resample(frames[m].to(xs[m].dtype)[:, None], T)[:, 0] for m in sources]
    steps = [padded(torch.cat([part[t] for part in parts]), width) for t in range(T)]
    return steps, [all(float(s[t]) > 0.999 for s in seen) for t in range(T)]


def regress(w, joint):
    states = lstm(w, "regressor.", "_l0", joint)
    share = torch.softmax(torch.stack([w["attention.weight"][0] @ h for h in states]), dim=0)
    return linear(w, "head", sum(a * h for a, h in zip(share, states)))


def predict(w, xs, frames, chain):
    """Logits of one sample, which reads its sources alone."""
    joint = encode(w, "first", source(xs, frames, chain)[0])
    if len(chain[1]) == 2:
        joint = encode(w, "second", joint)
    return regress(w, joint)


def errors(w, samples, chain):
    """{translation, cycle, second}: mean squared error over the observed steps of all samples, all of the common width."""
    collected = {"translation": [], "cycle": [], "second": []}
    for xs, frames in samples:
        X, known = source(xs, frames, chain)
        width = len(X[0])

        def add(name, made, real, seen):
            collected[name] += [((a - b) ** 2).mean() for a, b, f in zip(made, real, seen) if bool(f)]

        joint = encode(w, "first", X)
        for name, net, m, J in zip(("translation", "second"), ("first", "second"), chain[1], (joint, None)):
            J = encode(w, "second", joint) if J is None else J
            made = decode(w, net, J, len(xs[m]))
            add(name, made, [padded(v, width) for v in shown(xs[m], frames[m])], frames[m])
            if name == "translation":
                add("cycle", decode(w, "first", encode(w, "first", made), len(X)), X, known)
    return {name: sum(values) / len(values) for name, values in collected.items() if values}
