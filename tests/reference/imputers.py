"""AE, CRA, MMIN and IF-MMIN one row at a time, in Python's floats (evaluation mode, no dropout).

Written from the descriptions of the methods with loops over rows, blocks and dimensions; it is slow on purpose.
A vector is a list of floats. A row is a dict: modality -> vector, without the modalities that it does not have. For AE and CRA
the vectors are features, for MMIN and IF-MMIN the embeddings of width d that the encoders give. `names` are all modalities in
the order of the joint vector. Weights are a plain dict of nested lists in torch's Linear convention: a layer has the weight
{layer}.weight (out, in) and the bias {layer}.bias (out,). A network is the layers {network}.0, {network}.1 and so on.

    encoder.{m}                             features to a code of width d (AE, CRA)
    {cascade}.{k}.down, {cascade}.{k}.up    the two halves of block k; the width between them is that of the block's code
    {cascade}.transition                    two layers on the last sum; without them the sum is the result
    output.{m}                              the reconstructed joint vector back to features of m
    classifier                              to the logits
    invariance                              the encoder of IF-MMIN that all modalities share

The cascades are "cascade", and in MMIN "back" for the way back. AE has the block cascade.0 alone, without a transition.

Where the description leaves a choice or says otherwise, this file follows mmlib: Leaky ReLU bends the code of AE and not that
of a cascade; each output reads the whole reconstructed vector; an absent modality is a zero embedding; rows of which nothing is
hidden do not count in the losses of the imagination.
"""

import math
import operator


def linear(w, layer, x):
    weight, bias = w[f"{layer}.weight"], w[f"{layer}.bias"]
    if len(weight) != len(bias) or len(weight[0]) != len(x):
        raise ValueError(
            f"{layer}: a weight of {len(weight)} x {len(weight[0])} and {len(bias)} biases for {len(x)} numbers"
        )
    return [sum(map(operator.mul, row, x)) + b for row, b in zip(weight, bias)]


def depth(w, network):
    """The number of layers."""
    n = 0
    while f"{network}.{n}.weight" in w:
        n += 1
    return n


def relu(x):
    return [max(v, 0.0) for v in x]


def leaky_relu(x):
    return [v if v > 0 else 0.01 * v for v in x]


def mlp(w, network, x, bend=relu):
    """An activation between the layers, none after the last one; the network without layers gives x."""
    for i in range(depth(w, network)):
        x = linear(w, f"{network}.{i}", bend(x) if i else x)
    return x


def joined(names, row, d):
    """The joint vector: a modality that the row does not have is d zeros."""
    return [v for m in names for v in row.get(m, [0.0] * d)]


def cascade(w, name, x, beside=()):
    """(output, codes): each block reads x plus the outputs of all blocks before it, and with it the vector `beside`."""
    total, codes, k = list(x), [], 0
    while depth(w, f"{name}.{k}.down"):
        codes.append(mlp(w, f"{name}.{k}.down", [*total, *beside], leaky_relu))
        total = [a + b for a, b in zip(total, mlp(w, f"{name}.{k}.up", codes[-1]), strict=True)]
        k += 1
    return mlp(w, f"{name}.transition", total), codes


def squared_error(a, b):
    """The mean over dimensions."""
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)


def mean(values):
    return sum(values) / len(values)


def cross_entropy(z, target):
    """-log softmax(z)[target]"""
    top = max(z)
    return top + math.log(sum(math.exp(v - top) for v in z)) - z[target]


def task_loss(logits, targets, task):
    """The mean over rows of the squared error, the cross-entropy, or the mean binary cross-entropy of the labels."""
    losses = []
    for z, y in zip(logits, targets, strict=True):
        if task == "regression":
            losses.append((z[0] - y) ** 2)
        elif task == "multiclass":
            losses.append(cross_entropy(z, y))
        else:
            losses.append(mean([cross_entropy([0.0, v], int(t)) for v, t in zip(z, y, strict=True)]))
    return mean(losses)


# AE and CRA. system: 'ae', 'cra', or 'zeros' for the control that classifies the zero-filled vector.


def zero_filled(w, names, row):
    """The joint vector of the codes; zeros for what the row does not have."""
    d = len(w[f"encoder.{names[0]}.{depth(w, f'encoder.{names[0]}') - 1}.bias"])
    return joined(names, {m: mlp(w, f"encoder.{m}", x) for m, x in row.items()}, d)


def reconstructed(w, names, row, system):
    """The reconstruction of the joint vector."""
    x = zero_filled(w, names, row)
    if system == "zeros":
        return x
    if system == "cra":
        return cascade(w, "cascade", x)[0]
    return mlp(w, "cascade.0.up", leaky_relu(mlp(w, "cascade.0.down", x, leaky_relu)))


def predict(w, names, rows, system):
    """The logits of each row."""
    return [mlp(w, "classifier", reconstructed(w, names, row, system)) for row in rows]


def features(w, names, joint):
    """The features of each modality that a reconstructed joint vector stands for."""
    return {m: mlp(w, f"output.{m}", joint) for m in names}


def losses(w, names, rows, shown, targets, task, system, weight):
    """The weighted terms. rows: what each row has; shown: what training left of it.

    reconstruction: the mean over rows of the sum over hidden modalities of the squared error per dimension.
    """
    logits, errors = [], []
    for row, kept in zip(rows, shown, strict=True):
        joint = reconstructed(w, names, kept, system)
        logits.append(mlp(w, "classifier", joint))
        if system != "zeros":
            guess = features(w, names, joint)
            errors.append(sum(squared_error(guess[m], x) for m, x in row.items() if m not in kept))
    terms = {"task": task_loss(logits, targets, task)}
    return terms | ({"reconstruction": weight * mean(errors)} if errors else {})


# MMIN and IF-MMIN. Their rows hold embeddings.


def hidden_target(names, row, kept, d):
    """The teacher's embeddings of the hidden modalities, zeros elsewhere."""
    return joined(names, {m: x for m, x in row.items() if m not in kept}, d)


def mmin_teacher(w, names, row, d):
    """The logits of the first stage."""
    return mlp(w, "classifier", joined(names, row, d))


def mmin(w, names, row, d):
    """(logits, imagined joint embedding, the joint embedding that the way back gives)"""
    imagined, codes = cascade(w, "cascade", joined(names, row, d))
    back, _ = cascade(w, "back", imagined)
    return mlp(w, "classifier", sum(codes, [])), imagined, back


def mmin_losses(w, names, teacher, shown, targets, task, d, weights=(4.0, 2.0)):
    """The weighted terms of the second stage.

    teacher: the teacher's embeddings of what each row has; shown: the own embeddings of what training left of it.
    imagination, cycle: the mean over dimensions and over the rows of which something is hidden.
    """
    logits, forward, backward = [], [], []
    for row, kept in zip(teacher, shown, strict=True):
        z, imagined, back = mmin(w, names, kept, d)
        logits.append(z)
        if len(kept) < len(row):
            forward.append(squared_error(imagined, hidden_target(names, row, kept, d)))
            backward.append(squared_error(back, joined(names, kept, d)))
    terms = {"imagination": weights[0] * mean(forward), "cycle": weights[1] * mean(backward)}
    return {"task": task_loss(logits, targets, task)} | terms


def shared(w, x):
    """The invariant feature of one embedding: Leaky ReLU after each layer."""
    return leaky_relu(mlp(w, "invariance", x, leaky_relu))


def invariant(w, names, row, d):
    """The invariant features of all modalities side by side; those of zeros for what the row does not have."""
    return [v for m in names for v in shared(w, row.get(m, [0.0] * d))]


def if_mmin_teacher(w, names, row, d):
    """The logits of the first stage, from the specific and the invariant features."""
    return mlp(w, "classifier", [*joined(names, row, d), *invariant(w, names, row, d)])


def if_mmin(w, names, row, d):
    """(logits, imagined joint embedding); the invariant features stand beside the input of each block."""
    imagined, codes = cascade(w, "cascade", joined(names, row, d), invariant(w, names, row, d))
    return mlp(w, "classifier", sum(codes, [])), imagined


def if_mmin_losses(w, frozen, names, teacher, shown, targets, task, d, weights=(1.0, 1.0)):
    """The weighted terms of the second stage; frozen: the weights of the teacher's invariance encoder.

    invariance: the squared error between the invariant features of what is shown and the teacher's of what there is. Both
    losses are the mean over dimensions and over the rows of which something is hidden.
    """
    logits, forward, gaps = [], [], []
    for row, kept in zip(teacher, shown, strict=True):
        z, imagined = if_mmin(w, names, kept, d)
        logits.append(z)
        if len(kept) < len(row):
            forward.append(squared_error(imagined, hidden_target(names, row, kept, d)))
            gaps.append(squared_error(invariant(w, names, kept, d), invariant(frozen, names, row, d)))
    terms = {"imagination": weights[0] * mean(forward), "invariance": weights[1] * mean(gaps)}
    return {"task": task_loss(logits, targets, task)} | terms


def cmd(xs, ys, moments=5):
    """The central moment discrepancy of two samples of vectors in (0, 1): the distances of means and of central moments."""

    def distance(a, b):
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))

    def central(sample, k):
        centre = [mean(column) for column in zip(*sample)]
        if k == 1:
            return centre
        return [mean([(v - c) ** k for v in column]) for column, c in zip(zip(*sample), centre, strict=True)]

    return sum(distance(central(xs, k), central(ys, k)) for k in range(1, moments + 1))


def sigmoid(x):
    return [1 / (1 + math.exp(-v)) for v in x]


def cmd_loss(w, names, rows):
    """The mean over pairs of modalities, those that some row has, of the CMD between their invariant features in these rows."""
    distances = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            both = [row for row in rows if a in row and b in row]
            if both:
                distances.append(cmd(*([sigmoid(shared(w, row[m])) for row in both] for m in (a, b))))
    return mean(distances) if distances else 0.0
