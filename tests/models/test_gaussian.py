"""The exact diffusion of Gaussian tokens: a denoiser equal to brute force, moments equal to those of many draws."""

import pytest
import torch

from mmlib import synthetic
from mmlib.models.admc import gaussian
from mmlib.models.admc.diffusion import ADN
from mmlib.models.yardsticks.oracle import Oracle
from mmlib.names import DataError
from mmlib.synthetic import Modality

WORLD = synthetic.draw("regression", {m: Modality(3, blur=b) for m, b in (("text", 0.5), ("audio", 1.5))}, latent=2)
TEXT = torch.tensor([True, False])


def standard():
    mean, S = gaussian.moments(WORLD)
    unit = S.diagonal().sqrt()
    return 0.3 + mean / unit, S / unit / unit[:, None]


def exact_adn(mean, S, **options):
    adn = ADN(2, 3, **{"heads": 1, "N": 40, "betas": (5e-3, 0.3), "start": 15} | options)
    adn.denoiser = gaussian.Denoiser(mean, S, adn.abar)
    return adn


def test_moments_are_those_of_many_rows():
    data = WORLD.sample({"train": 40_000, "valid": 1, "test": 1})
    rows = torch.cat([data.features[m][data.rows("train"), 0] for m in data.modalities], 1).double()
    mean, S = gaussian.moments(WORLD)
    torch.testing.assert_close(rows.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(rows.T), S, atol=0.05, rtol=0)
    with pytest.raises(DataError, match="not for sequences or classes"):
        gaussian.moments(synthetic.like("mosi", dim=3, length=2))
    with pytest.raises(DataError, match="not for sequences or classes"):
        gaussian.moments(synthetic.like("iemocap", dim=3, length=1))


@pytest.mark.parametrize("n", [1, 15, 40])
def test_the_denoiser_is_the_conditional_mean_of_the_noise(n):
    """E[eps | F^n] by conditioning the joint Gaussian of (eps, F^n)."""
    mean, S = standard()
    adn, F = exact_adn(mean, S), torch.randn(5, 2, 3, dtype=torch.float64)
    abar = adn.abars[n]
    of_F = abar * S + (1 - abar) * torch.eye(6)
    expected = (F.flatten(1) - abar**0.5 * mean) @ torch.linalg.inv(of_F).T * (1 - abar) ** 0.5
    torch.testing.assert_close(adn.eps(F, torch.full((5,), n)).flatten(1), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": 40},
        {"resample": 3},
        {"start": 0},
        {"sampler": "ddim", "steps": 8, "start": 40},
        {"sampler": "ddim", "eta": 0.0},
    ],
)
def test_moments_of_a_completion_are_those_of_its_draws(options):
    mean, S = standard()
    adn, F = exact_adn(mean, S, **options), mean + torch.randn(4, 6, dtype=torch.float64) @ torch.linalg.cholesky(S).T
    gain, spread = gaussian._generated(adn, 2, 3, TEXT.repeat_interleave(3))
    draws = 4000
    rows = F.view(4, 2, 3).repeat_interleave(draws, 0)
    completed = adn.complete(rows, TEXT.expand(len(rows), -1), torch.arange(len(rows)))[:, 1].view(4, draws, 3)
    torch.testing.assert_close(completed.mean(1), F[:, :3] @ gain[:, :-1].T + gain[:, -1], atol=0.07, rtol=0)
    pooled = torch.cov((completed - completed.mean(1, keepdim=True)).flatten(0, 1).T)
    torch.testing.assert_close(pooled, spread, atol=0.04, rtol=0)


def test_merging_transfers_more_from_higher_up_and_repeated_steps_almost_all():
    mean, S = standard()
    by = {
        (start, resample): gaussian.completion_errors(exact_adn(mean, S, start=start, resample=resample), mean, S, TEXT)
        for start, resample in ((0, 1), (15, 1), (40, 1), (40, 4), (40, 60))
    }
    assert by[0, 1][0] == pytest.approx(1, abs=1e-6), "nothing of the text reaches what is generated"
    errors = [error for error, _ in by.values()]
    assert errors == sorted(errors, reverse=True) and errors[2] > 0.3 and errors[-1] < 0.05


def test_the_exact_moments_agree_with_the_oracle():
    """Two roads to the conditional mean and deviation: this file's covariance and the oracle's posterior."""
    data = WORLD.sample({"train": 5, "valid": 1, "test": 1})
    batch = data.view("train").batch(torch.arange(5)).without("audio")
    truth = Oracle(WORLD).complete(batch)["audio"]
    mean, S = gaussian.moments(WORLD)
    gain = S[3:, :3] @ torch.linalg.inv(S[:3, :3])
    torch.testing.assert_close(
        truth.mean[:, 0], (batch.x["text"][:, 0].double() @ gain.T).float(), rtol=1e-4, atol=1e-5
    )
    variance = (S[3:, 3:] - gain @ S[:3, 3:]).diagonal()
    torch.testing.assert_close(truth.variance[0, 0], variance.float(), rtol=1e-4, atol=1e-5)
