"""Self-MM one row at a time: encode, predict from all and from each, make labels for each (evaluation mode, no dropout).

Written from the description of the method with Python loops over rows, modalities and steps; it is slow on purpose.
A row is a dict: modality -> (frames (T_m, i_m), observed (T_m,)); frames that are not observed may hold anything, NaN included.
Modalities come in the order of the dict. Weights are a plain dict of tensors in torch's conventions, Linear.weight (out, in),
each with a bias:

    lstm.{m}.{weight,bias}_{ih,hh}_l0     LSTM of every modality but text, width k_m, as torch stores it
    out.{m} (d_m, k_m)                    after its last state; the text has neither, so its d_m is i_m
    fusion.1 (p, sum of d_m), fusion.2 (p, p), fusion.3 (C, p)                   W1, W2, W3 of the joint prediction
    unimodal.{m}.1 (p_m, d_m), unimodal.{m}.2 (p_m, p_m), unimodal.{m}.3 (C, p_m)    the same of one modality; C = 1 for values

Choices beyond the description:

  text          the mean of the observed frames as it is, without a linear map: W1 follows at once
  absent        a modality without observed frames: the zero vector in place of the mean, and of the LSTM's last state, so that
                its linear map gives the bias
  head          h = relu(W1 x), output W3 relu(W2 h), without a residual
  unimodal loss the mean over the rows of the batch that have the modality, 0 without any
  n             the epoch counted from 1: the first epoch (0) makes no labels, the second one (1) has n = 2, as in the paper
  order         the rows of a batch get labels from their features in this step and from the centres before it; then the
                features enter the bank. All spaces see the labels of before the step
  no centre     a space without a row of positive, or of negative, label in its bank makes no labels; if it is the joint space,
                no space does. Nor does a row with a_F = 0, by which the formula divides
  bank          a row's features stay until it comes again with the modality; the joint space has every row that came
  classes       "Self-MM without ULGM": the unimodal heads learn the true label with the task's own loss
"""

import math

import torch

from tests.reference.mctn import lstm
from tests.reference.umdf import linear, task_loss

JOINT = "joint"  # the name of the space of h_F, beside those of the modalities


def seen_of(frames, observed):
    return [x for x, f in zip(frames, observed, strict=True) if bool(f)]


def mean_frame(frames, observed):
    seen = seen_of(frames, observed)
    return sum(seen) / len(seen) if seen else torch.zeros_like(frames[0])


def last_state(w, name, frames, observed):
    """The last state of an LSTM that reads the observed frames alone."""
    seen = seen_of(frames, observed)
    return (
        lstm(w, name, "_l0", seen)[-1]
        if seen
        else w[f"{name}weight_hh_l0"].new_zeros(w[f"{name}weight_hh_l0"].shape[1])
    )


def encode(w, row):
    """The vector of each modality."""
    out = {}
    for m, (frames, observed) in row.items():
        if m == "text":
            out[m] = mean_frame(frames, observed)
        else:
            out[m] = linear(w, f"out.{m}", last_state(w, f"lstm.{m}.", frames, observed))
    return out


def heads(w, joint, vectors):
    """(features, outputs), {space: its h} and {space: its output}, of a joint vector and of one for each modality."""
    features, outputs = {}, {}
    for space, name, x in [(JOINT, "fusion", joint), *((m, f"unimodal.{m}", x) for m, x in vectors.items())]:
        features[space] = torch.relu(linear(w, f"{name}.1", x))
        outputs[space] = linear(w, f"{name}.3", torch.relu(linear(w, f"{name}.2", features[space])))
    return features, outputs


def spaces(w, row):
    """`heads` of a row."""
    vectors = encode(w, row)
    return heads(w, torch.cat(list(vectors.values())), vectors)


def features(w, row):
    return spaces(w, row)[0]


def outputs(w, row):
    return spaces(w, row)[1]


def predict(w, row):
    """Logits (C,)."""
    return outputs(w, row)[JOINT]


def losses_of(predicted, present, targets, labels):
    """The terms for outputs that are there already.

    predicted: per row {space: (1,)}. present: per row the set of its modalities. labels: per row {m: its label now}.
    """
    terms = {"task": sum(abs(out[JOINT][0] - y) for out, y in zip(predicted, targets, strict=True)) / len(targets)}
    for m in [space for space in predicted[0] if space != JOINT]:
        errors = []
        for out, there, y, u in zip(predicted, present, targets, labels, strict=True):
            if m in there:
                errors.append(math.tanh(abs(u[m] - y)) * abs(out[m][0] - u[m]))
        terms[m] = sum(errors) / len(errors) if errors else 0 * terms["task"]
    return terms


def losses_without_ulgm_of(predicted, present, targets, task):
    """The same where each head, with C outputs, learns the true label; targets as `task_loss` takes them."""
    terms = {"task": task_loss(torch.stack([out[JOINT] for out in predicted]), targets, task)}
    for m in [space for space in predicted[0] if space != JOINT]:
        rows = [i for i, there in enumerate(present) if m in there]
        said = [predicted[i][m] for i in rows]
        terms[m] = task_loss(torch.stack(said), targets[rows], task) if rows else 0 * terms["task"]
    return terms


def present_in(rows):
    return [{m for m in row if seen_of(*row[m])} for row in rows]


def losses(w, rows, targets, labels):
    """{task, and one term per modality}; their sum is the loss. Regression. targets, labels: numbers, see `losses_of`."""
    return losses_of([outputs(w, row) for row in rows], present_in(rows), targets, labels)


def losses_without_ulgm(w, rows, targets, task):
    return losses_without_ulgm_of([outputs(w, row) for row in rows], present_in(rows), targets, task)


class Table:
    """What ULGM keeps: for each training row a label per modality, and its last features per space.

    targets: the true labels of all training rows, numbers. labels[i][m]: the label of row i in the space of m.
    """

    def __init__(self, targets, modalities):
        self.targets = targets
        self.limit = max(abs(y) for y in targets)
        self.labels = [{m: y for m in modalities} for y in targets]
        self.bank = {space: {} for space in (JOINT, *modalities)}

    def label(self, space, i):
        return self.targets[i] if space == JOINT else self.labels[i][space]

    def centre(self, space, sign):
        """The mean feature of the rows in the bank whose label in this space has the sign; None without any."""
        chosen = [h for i, h in self.bank[space].items() if sign * self.label(space, i) > 0]
        return sum(chosen) / len(chosen) if chosen else None

    def relative_distance(self, space, h):
        """a = (D_n - D_p) / (D_p + 1e-8), D the Euclidean distances to both centres over sqrt(width); None without a centre."""
        positive, negative = self.centre(space, 1), self.centre(space, -1)
        if positive is None or negative is None:
            return None
        D_p, D_n = (math.sqrt(sum((a - b) ** 2 for a, b in zip(h, c)) / len(h)) for c in (positive, negative))
        return (D_n - D_p) / (D_p + 1e-8)

    def made(self, y, a_m, a_F):
        """The label that this step alone would give."""
        u = 0.5 * (a_m / a_F) * y + 0.5 * (y + a_m - a_F)
        return min(max(u, -self.limit), self.limit)

    def step(self, epoch, batch):
        """After a step of an epoch (counted from 0). batch: {row number: {space: its features in this step}}.

        A modality that the row lacks, or that training hid from it, is not among its spaces.
        """
        if epoch > 0:
            n, new = epoch + 1, {}
            for i, spaces in batch.items():
                a_F = self.relative_distance(JOINT, spaces[JOINT])
                for m in [space for space in spaces if space != JOINT]:
                    a_m = self.relative_distance(m, spaces[m])
                    if a_m is not None and a_F is not None and a_F != 0:
                        u = self.made(self.targets[i], a_m, a_F)
                        new[i, m] = (n - 1) / (n + 1) * self.labels[i][m] + 2 / (n + 1) * u
            for (i, m), u in new.items():
                self.labels[i][m] = float(u)
        for i, spaces in batch.items():
            for space, h in spaces.items():
                self.bank[space][i] = h.detach()
