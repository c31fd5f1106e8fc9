"""ADMC's completion of Gaussian tokens, exact: the best possible denoiser, and the moments of what ADN generates.

For tokens F ~ N(mu, S) the best eps' is affine in F^n. Each reverse step is then affine, too, and so is `ADN.complete`: mean
and covariance of the generated tokens follow without drawing a number. The remaining error is the procedure's, not that of
a network.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.models.admc.diffusion import ADN
from mmlib.names import DataError
from mmlib.synthetic import World


class Denoiser(nn.Module):
    """A network for `ADN.eps` with which eps' = E[eps | F^n] for F ~ N(mean, covariance).

    mean: (D,), covariance: (D, D) of the stacked tokens, D = M d. abar: (N + 1,) as `ADN.abar`.
    """

    def __init__(self, mean: Float[Tensor, "D"], covariance: Float[Tensor, "D D"], abar: Float[Tensor, "S"]):
        super().__init__()
        variances, basis = torch.linalg.eigh(covariance)
        for name, value in (("mean", mean), ("abar", abar), ("variances", variances), ("basis", basis)):
            self.register_buffer(name, value)

    def forward(self, F: Float[Tensor, "B M d"], n: Int[Tensor, "B"]) -> Float[Tensor, "B M d"]:
        abar = self.abar[n][:, None]
        scaled = (F.flatten(1).double() @ self.basis) * abar.sqrt() * (1 - self.variances) - self.mean @ self.basis
        v = (1 - abar).sqrt() * scaled / (abar * self.variances + 1 - abar)  # in the eigenbasis
        return (v @ self.basis.T).view_as(F).to(F.dtype)


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
    """Relative errors of the mean and of the standard deviations that `adn.complete` generates for missing tokens.

    Of the mean: its root mean square error over rows, divided by the root mean square distance of the true conditional mean
    from `mean`; of the deviations: the same over dimensions. adn: with a `Denoiser` of the same mean and covariance, of any
    start, sampler and resample. Raises DataError for a variant, a clamp, or merging once.
    """
    if type(adn) is not ADN or adn.clamp is not None or adn.merge != "each":
        raise DataError("completion_errors is for variant 'paper' without clamp, merging after each step")
    d = len(mean) // len(available)
    o = available.repeat_interleave(d)
    S_o, S_mo = covariance[o][:, o], covariance[~o][:, o]
    exact = S_mo @ torch.linalg.inv(S_o)
    sd = (covariance[~o][:, ~o] - exact @ S_mo.T).diagonal().sqrt()
    gain, spread = _generated(adn, len(available), d, o)
    offset = gain[:, -1] + gain[:, :-1] @ mean[o] - mean[~o]
    difference = gain[:, :-1] - exact
    error = ((difference @ S_o * difference).sum() + offset.square().sum()) / (exact @ S_o * exact).sum()
    return float(error.sqrt()), float((spread.diagonal().sqrt() - sd).norm() / sd.norm())


def _generated(adn: ADN, M: int, d: int, o: Bool[Tensor, "D"]) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m m"]]:
    """Mean of the missing tokens as a linear map of (available tokens, 1), and their covariance. o: available dimensions."""
    D, k = M * d, int(o.sum())
    gain, spread = torch.zeros(D, k + 1, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
    units = torch.cat([torch.zeros(1, D), torch.eye(D)]).double().view(-1, M, d)
    zeros, ones = torch.zeros_like(units), torch.ones_like(units)

    def step(n: int, to: int) -> None:
        nonlocal gain, spread
        with torch.no_grad():
            mean = adn.reverse(units, n, to, zeros).flatten(1)
            sigma = float((adn.reverse(units[:1], n, to, ones[:1]).flatten() - mean[0])[0])
        K = (mean[1:] - mean[0]).T
        gain, spread = K @ gain, K @ spread @ K.T + sigma**2 * torch.eye(D)
        gain[:, -1] += mean[0]

    def merge(n: int) -> None:
        abar = adn.abars[n]
        gain[o] = abar**0.5 * torch.eye(k, k + 1, dtype=torch.float64)
        spread[o], spread[:, o] = 0.0, 0.0
        spread[o, o] = 1 - abar

    start = min(adn.start, adn.top)
    for n, to in adn.path(start, adn.top):
        step(n, to)
    merge(start)
    for n, to in adn.path(0, start):
        for u in range(adn.resample if to > 0 else 1):
            if u > 0:
                share = adn.abars[n] / adn.abars[to]
                gain, spread = share**0.5 * gain, share * spread + (1 - share) * torch.eye(D)
            step(n, to)
            merge(to)
    return gain[~o], spread[~o][:, ~o]
