"""Noise belongs to a row: it does not know its batch, and it is normal."""

import pytest
import torch
from scipy.stats import kstest

from mmlib.models.admc.noise import row_normal


def test_a_row_has_its_noise_in_every_batch():
    key = torch.tensor([7, 3, 7, -1, 2**62])
    x = row_normal(key, (0, "reverse", 5), (2, 3))
    assert x.shape == (5, 2, 3) and torch.equal(x[0], x[2])
    for row in range(5):
        assert torch.equal(row_normal(key[row : row + 1], (0, "reverse", 5), (2, 3))[0], x[row])
    torch.testing.assert_close(x[0].flatten()[:2], torch.tensor([0.6548, 0.4009]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("purpose", [(1, "reverse", 5), (0, "known", 5), (0, "reverse", 6)])
def test_another_row_or_purpose_has_other_noise(purpose):
    key = torch.arange(4000)
    one, other = row_normal(key, (0, "reverse", 5), (16,)), row_normal(key, purpose, (16,))
    for a, b in ((one, other), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1])):
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.015  # 64,000 pairs


def test_numbers_are_standard_normal():
    x = row_normal(torch.arange(20_000), (0,), (8,)).double()
    assert kstest(x.flatten().numpy(), "norm").pvalue > 0.01
    torch.testing.assert_close(torch.cov(x.T), torch.eye(8, dtype=torch.float64), atol=0.03, rtol=0)
    # What a row adds up to over many steps has the variance of independent numbers.
    total = sum(row_normal(torch.arange(2000), (0, n), (8,)) for n in range(200))
    assert float(total.var()) / 200 == pytest.approx(1, abs=0.05)


@pytest.mark.gpu
def test_the_gpu_has_the_same_numbers():
    key = torch.arange(100)
    assert torch.equal(row_normal(key, (0,), (5,)), row_normal(key.cuda(), (0,), (5,)).cpu())
