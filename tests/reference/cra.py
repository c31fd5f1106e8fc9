"""AE, CRA and MMIN by plain loops over rows, blocks and dimensions. Every argument is a nested list of numbers."""

import math


def linear(x, W, b):
    return [sum(w * v for w, v in zip(row, x)) + c for row, c in zip(W, b)]


def leaky(x):
    return [v if v > 0 else 0.01 * v for v in x]


def relu(x):
    return [max(v, 0.0) for v in x]


def through(x, layers, bend):
    """Linear layers [(W, b), ..] with an activation between them."""
    for i, (W, b) in enumerate(layers):
        x = linear(x if i == 0 else bend(x), W, b)
    return x


def cascade(h, blocks, prior=()):
    """One row: each block reads the input plus the sum of what the blocks before it gave. blocks: [(down, up), ..]."""
    given, codes = [], []
    for down, up in blocks:
        read = [v + sum(delta[i] for delta in given) for i, v in enumerate(h)]
        code = through([*read, *prior], down, leaky)
        codes += code
        given.append(through(code, up, relu))
    return [v + sum(delta[i] for delta in given) for i, v in enumerate(h)], codes


def reconstruction(decoded, true, hidden):
    """decoded, true: modality -> rows -> values. hidden: modality -> rows. The mean over rows of sums over modalities."""
    total, rows = 0.0, len(next(iter(hidden.values())))
    for i in range(rows):
        for m in hidden:
            if hidden[m][i]:
                errors = [(a - b) ** 2 for a, b in zip(decoded[m][i], true[m][i])]
                total += sum(errors) / len(errors)
    return total / rows


def moment(rows, k):
    """Per dimension the mean (k = 1), or the k-th central moment."""
    d, n = len(rows[0]), len(rows)
    means = [sum(row[j] for row in rows) / n for j in range(d)]
    if k == 1:
        return means
    return [sum((row[j] - means[j]) ** k for row in rows) / n for j in range(d)]


def cmd(x, y):
    """The sum over the first five moments of the distance between those of two samples."""
    return sum(math.dist(moment(x, k), moment(y, k)) for k in range(1, 6))


def squares(given, wanted, rows):
    """The mean over some rows of the mean squared error; 0 without any."""
    errors = [
        sum((a - b) ** 2 for a, b in zip(given[i], wanted[i])) / len(wanted[i]) for i in range(len(given)) if rows[i]
    ]
    return sum(errors) / len(errors) if errors else 0.0
