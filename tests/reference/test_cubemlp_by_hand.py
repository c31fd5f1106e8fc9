"""The slow CubeMLP reference against numbers worked out by hand."""

import math

import pytest
import torch

from tests.reference import cubemlp as reference

DOUBLE = torch.float64


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


def layer(w, name, weight, bias=None):
    w[f"{name}.weight"] = weight
    w[f"{name}.bias"] = torch.zeros(len(weight), dtype=DOUBLE) if bias is None else bias


def norm(w, name, width):
    w[f"{name}.weight"], w[f"{name}.bias"] = torch.ones(width, dtype=DOUBLE), torch.zeros(width, dtype=DOUBLE)


def silent(w, name, n, after):
    """An axis whose layers add nothing; where its size changes, entry k of the new one is (k + 1) times the sum."""
    norm(w, f"{name}.norm", n)
    layer(w, f"{name}.0", torch.zeros(n, n, dtype=DOUBLE))
    layer(w, f"{name}.1", torch.zeros(after, n, dtype=DOUBLE))
    if after != n:
        w[f"{name}.project.weight"] = torch.arange(1, after + 1, dtype=DOUBLE)[:, None].expand(after, n)


def row():
    return {
        "text": (tensor([1.0], [math.nan], [5.0]), torch.tensor([True, False, True])),
        "audio": (tensor([2.0, 3.0]), torch.tensor([True])),
    }


def inputs():
    w = {}
    layer(w, "input.text", tensor([1], [10]), tensor(0, 7))
    layer(w, "input.audio", tensor([1, 1], [1, -1]), tensor(0.5, 0))
    return {name: value.to(DOUBLE) for name, value in w.items()}


def test_cube_by_hand():
    """Three text steps (1, 17), (0, 7), (5, 57) stay; six steps lie at -1/4, 1/4, 3/4, 5/4, 7/4, 9/4 of them."""
    X = reference.cube(inputs(), row(), 3)
    torch.testing.assert_close(X[:, 0], tensor([1, 17], [0, 7], [5, 57]))
    torch.testing.assert_close(X[:, 1], tensor([5.5, -1], [5.5, -1], [5.5, -1]))
    X = reference.cube(inputs(), row(), 6)
    torch.testing.assert_close(X[:, 0, 0], tensor(1, 0.75, 0.25, 1.25, 3.75, 5))


def test_gelu_by_hand():
    torch.testing.assert_close(
        reference.gelu(tensor(0.0, 1.0, -2.0)), tensor(0, 0.8413447460685429, -0.04550026389635842)
    )


def test_one_line_by_hand():
    """(3, 1) is normed to (1, -1); the first layer makes (1, 2), the second adds gelu(1) + 10 gelu(2) to one entry of three."""
    w = {}
    norm(w, "axis.norm", 2)
    layer(w, "axis.0", tensor([1, 0], [0, -1]), tensor(0, 1))
    layer(w, "axis.1", tensor([0, 0], [1, 10], [0, 0]), tensor(0, 0, 0.5))
    w["axis.project.weight"] = tensor([1, 0], [0, 1], [2, 2])
    w = {name: value.to(DOUBLE) for name, value in w.items()}
    added = 0.8413447460685429 + 10 * 2 * 0.9772498680518208
    torch.testing.assert_close(reference.mix(w, "axis", tensor(3.0, 1.0)), tensor(3, 1 + added, 8.5), rtol=1e-4, atol=0)
    same = {name: value for name, value in w.items() if ".project" not in name}
    layer(same, "axis.1", tensor([0, 0], [1, 10]).to(DOUBLE))
    torch.testing.assert_close(reference.mix(same, "axis", tensor(3.0, 1.0)), tensor(3, 1 + added), rtol=1e-4, atol=0)


@pytest.mark.parametrize("axis", reference.AXES)
def test_each_axis_by_hand(axis):
    """A cube of 2 steps, 3 modalities and 4 channels; the axis becomes 5 long, entry k is (k + 1) times its sum."""
    X = torch.arange(24, dtype=DOUBLE).reshape(2, 3, 4)
    place, w = reference.AXES.index(axis), {}
    for i, name in enumerate(reference.AXES):
        silent(w, f"b.{name}", X.shape[i], 5 if name == axis else X.shape[i])
    got = reference.block(w, "b", X)
    assert got.shape[place] == 5
    for k in range(5):
        torch.testing.assert_close(got.select(place, k), (k + 1) * X.sum(place))


def test_logits_by_hand():
    """One block that keeps all but the steps, of which it leaves one: the sum over the steps."""
    w = inputs()
    for name, n, after in (("L", 3, 1), ("M", 2, 2), ("D", 2, 2)):
        silent(w, f"block.0.{name}", n, after)
    layer(w, "head", tensor([1.0, 0.0, 0.0, 100.0]), tensor(0.5))
    torch.testing.assert_close(reference.predict(w, row(), 3, 1), tensor(6 - 300 + 0.5))
    # Without a change of size the mean over the steps comes last, so all is divided by 3.
    del w["block.0.L.project.weight"]
    silent(w, "block.0.L", 3, 3)
    torch.testing.assert_close(reference.predict(w, row(), 3, 1), tensor(2 - 100 + 0.5))
