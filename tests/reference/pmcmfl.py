"""PmcmFL by plain loops. Every argument is a nested list of numbers; a class without rows has the number 0 in `counts`."""

import math


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (math.hypot(*a) * math.hypot(*b))


def library(codes, classes):
    """codes: rows of one representation. classes: rows of 0 and 1. Per class the mean of its rows, and their number."""
    C, d = len(classes[0]), len(codes[0])
    counts = [sum(row[c] for row in classes) for c in range(C)]
    sums = [[sum(z[j] for z, row in zip(codes, classes) if row[c]) for j in range(d)] for c in range(C)]
    return [[v / n for v in row] if n else [0.0] * d for row, n in zip(sums, counts)], counts


def stand_in(classes, prototypes, counts):
    """One row: the mean prototype of its classes that have one, else zeros."""
    of_row = [p for p, y, n in zip(prototypes, classes, counts) if y and n]
    return [sum(column) / len(of_row) for column in zip(*of_row)] if of_row else [0.0] * len(prototypes[0])


def nearest(codes, present, prototypes, counts):
    """One row, codes and prototypes by modality: the class with the largest mean cosine over the modalities it has."""
    best, place = -math.inf, 0
    for c, n in enumerate(counts):
        if n:
            cosines = [cosine(z, p[c]) for z, p, has in zip(codes, prototypes, present) if has]
            mean = sum(cosines) / len(cosines)
            if mean > best:
                best, place = mean, c
    return place


def contrast(codes, prototypes, classes, counts, rows):
    """The mean over rows of the mean over their classes of -log softmax of the cosines / .07, over classes with rows."""
    costs = []
    for z, row, counted in zip(codes, classes, rows):
        known = [c for c, n in enumerate(counts) if n]
        positives = [c for c in known if row[c]]
        if counted and positives:
            e = {c: math.exp(cosine(z, prototypes[c]) / 0.07) for c in known}
            costs.append(sum(-math.log(e[c] / sum(e.values())) for c in positives) / len(positives))
    return sum(costs) / len(costs) if costs else 0.0
