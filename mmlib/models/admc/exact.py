"""ADMC's completion where everything is known: Gaussian tokens, the denoiser that no network can beat, exact moments.

For tokens F ~ N(mu, S) the best eps' is affine in F^n, so a reverse step is affine too, and so is the whole of
`ADN.complete`: mean and covariance of what it generates follow without drawing a number. What is left of an error then is
the procedure's own, not the network's.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.checks import DataError
from mmlib.data.synthetic import World
from mmlib.models.admc.diffusion import ADN


class Denoiser(nn.Module):
    """The network's share of eps' (see `ADN.eps`) that makes eps' = E[eps | F^n] for F ~ N(mean, covariance).

    mean: (D,), covariance: (D, D) of the stacked tokens, D = M d. abar: (N + 1,) as `ADN.abar`.
    """

    def __init__(self, mean: Float[Tensor, "D"], covariance: Float[Tensor, "D D"], abar: Float[Tensor, "S"]):
        super().__init__()
        power, basis = torch.linalg.eigh(covariance)
        for name, value in (("mean", mean), ("abar", abar), ("power", power), ("basis", basis)):
            self.register_buffer(name, value)

    def forward(self, F: Float[Tensor, "B M d"], n: Int[Tensor, "B"], known: None = None) -> Float[Tensor, "B M d"]:
        abar = self.abar[n][:, None]
        left = abar * self.power + 1 - abar  # variances of F^n in the eigenbasis
        along = (F.flatten(1).double() @ self.basis) * abar.sqrt() * (1 - self.power) - self.mean @ self.basis
        out = (1 - abar).sqrt() * along / left
        return (out @ self.basis.T).view_as(F).to(F.dtype)


def moments(world: World) -> tuple[Float[Tensor, "D"], Float[Tensor, "D D"]]:
    """Mean and covariance (float64) of one row's stacked vectors. Raises DataError for sequences and for mixtures."""
    if len(world.means) > 1 or any(m.length > 1 for m in world.modalities.values()):
        raise DataError(f"{world.name}: moments are for vectors and one Gaussian latent, not for sequences or classes")
    A = torch.cat([world.A[m] for m in world.modalities])
    own = [B @ B.T + world.modalities[m].noise ** 2 * torch.eye(len(B)) for m, B in world.B.items()]
    return A @ world.means[0], A @ A.T + torch.block_diag(*own)


def completion_errors(
    adn: ADN, mean: Float[Tensor, "D"], covariance: Float[Tensor, "D D"], available: Bool[Tensor, "M"]
) -> tuple[float, float]:
    """How far from the truth `adn.complete` lands: relative errors of the conditional mean and of its deviations.

    Of the mean the root mean square over rows, relative to that of the true conditional mean's distance from `mean`; of
    the deviations the same over dimensions. adn: with a `Denoiser` of the same mean and covariance, of any start, sampler
    and resample. Raises DataError for one that clips or does not merge after each step.
    """
    if adn.clamp is not None or adn.merge != "each" or adn.miscounted or adn.variant == "conditional":
        raise DataError("completion_errors is for variant 'paper' without clamp, merging after each step")
    d = len(mean) // len(available)
    known = available.repeat_interleave(d)
    S_k, S_mk = covariance[known][:, known], covariance[~known][:, known]
    exact = S_mk @ torch.linalg.inv(S_k)
    sd = (covariance[~known][:, ~known] - exact @ S_mk.T).diagonal().sqrt()
    gain, spread = _generated(adn, len(available), d, known)
    # The gain's last column is what is generated for known tokens that are zero.
    offset = gain[:, -1] + gain[:, :-1] @ mean[known] - mean[~known]
    off = gain[:, :-1] - exact
    error = ((off @ S_k * off).sum() + offset.square().sum()) / (exact @ S_k * exact).sum()
    return float(error.sqrt()), float((spread.diagonal().sqrt() - sd).norm() / sd.norm())


def _generated(adn: ADN, M: int, d: int, known: Bool[Tensor, "D"]) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m m"]]:
    """Of the missing tokens: their mean as a map of (known tokens, 1), and their covariance."""
    D, k = M * d, int(known.sum())
    gain, spread = torch.zeros(D, k + 1, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
    identity = torch.cat([torch.zeros(1, D), torch.eye(D)]).double().view(-1, M, d)
    nothing, one = torch.zeros_like(identity), torch.ones_like(identity)

    def step(n: int, to: int) -> None:
        nonlocal gain, spread
        with torch.no_grad():
            still = adn.reverse(identity, n, to, nothing).flatten(1)
            sigma = float((adn.reverse(identity[:1], n, to, one[:1]).flatten() - still[0])[0])
        K = (still[1:] - still[0]).T
        gain, spread = K @ gain, K @ spread @ K.T + sigma**2 * torch.eye(D)
        gain[:, -1] += still[0]

    def merge(n: int) -> None:
        abar = adn.abars[n]
        gain[known] = abar**0.5 * torch.eye(k, k + 1, dtype=torch.float64)
        spread[known], spread[:, known] = 0.0, 0.0
        spread[known, known] = 1 - abar

    start = min(adn.start, adn.top)
    for n, to in adn.path(start, adn.top):
        step(n, to)
    merge(start)
    for n, to in adn.path(0, start):
        for u in range(adn.resample if to > 0 else 1):
            if u > 0:
                keep = adn.abars[n] / adn.abars[to]
                gain, spread = keep**0.5 * gain, keep * spread + (1 - keep) * torch.eye(D)
            step(n, to)
            merge(to)
    return gain[~known], spread[~known][:, ~known]
