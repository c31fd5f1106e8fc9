"""The Bayes-optimal system on synthetic data: exact inversion of the generative model of `mmlib.synthetic`.

For any observed set O of modalities and frames, x_O given z is Gaussian. The posterior of z is therefore Gaussian (a mixture
for multiclass), and so is everything that is missing:

    precision  P = I + sum_m A_m^T C_m^{-1} A_m,   C_m = covariance of the observed frames given z
    z | x_O, c ~ N(P^{-1} (mu_c + sum_m A_m^T C_m^{-1} x_m), P^{-1})
    p(c | x_O) ~ pi_c exp(h_c^T P^{-1} h_c / 2 - |mu_c|^2 / 2),   h_c = mu_c + sum_m A_m^T C_m^{-1} x_m

C_m = R_O (x) B B^T + s^2 I is inverted in the eigenbasis U of B B^T, where each direction j is a scalar AR(1) process in
white noise with covariance K_j = lambda_j R_O + s^2 I.

Optimal for error and accuracy; not necessarily for UA or F1. No method has a lower expected log loss or squared error, and
none has a higher expected cell accuracy at a decision threshold of 0.5. For F1 a lower threshold is better, for the oracle
as for every system; `threshold` can be chosen on validation.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mmlib.data.dataset import Batch
from mmlib.models.base import Prediction, System
from mmlib.synthetic import World

_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Completion:
    """Exact mean and variance of one modality given everything observed; on observed frames the observation and 0.

    Padding counts as unobserved.
    """

    mean: Float[Tensor, "B T d"]
    variance: Float[Tensor, "B T d"]


@dataclass(frozen=True)
class _Latent:
    """Posterior of z: mixture weights (B, C), component means (B, C, k), covariance of each component (B, k, k)."""

    weight: Tensor
    means: Tensor
    within: Tensor

    @cached_property
    def mean(self) -> Tensor:
        return torch.einsum("bc,bck->bk", self.weight, self.means)

    @cached_property
    def covariance(self) -> Tensor:
        delta = self.means - self.mean[:, None]
        return self.within + torch.einsum("bc,bci,bcj->bij", self.weight, delta, delta)


class Oracle(System):
    """Bayes-optimal prediction and imputation for one synthetic world; it is not trained.

    Logits: multiclass: log posterior; multilabel, multibinary: posterior log-odds, shifted so that `threshold` is at 0;
    regression: the posterior mean, which is also the median and therefore optimal for MAE.
    """

    stages = ()

    def __init__(self, world: World, threshold: float = 0.5):
        super().__init__({m: v.dim for m, v in world.modalities.items()}, world.task, max(1, len(world.label_names)))
        self.world, self.threshold = world, threshold
        self.views = {m: _ModalityView(world, m) for m in world.modalities}

    def predict(self, batch: Batch) -> Prediction:
        parts = [self._predict(batch.select(rows)) for rows in torch.arange(len(batch)).split(_CHUNK_ROWS)]
        logits, mean = (torch.cat(p).float().to(batch.index.device) for p in zip(*parts))
        return Prediction(logits, representation=mean)

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        world, z = self.world, self.latent(batch)
        if world.task == "multiclass":
            return z.weight.clamp(min=1e-300).log(), z.mean
        score = z.mean @ world.w.T + world.b  # (B, C)
        if world.task == "regression":
            return world.scale * score, z.mean
        variance = world.sigma**2 + torch.einsum("ck,bkl,cl->bc", world.w, z.covariance, world.w)
        standard = score / variance.sqrt()
        log_odds = torch.special.log_ndtr(standard) - torch.special.log_ndtr(-standard)
        return log_odds - math.log(self.threshold / (1 - self.threshold)), z.mean

    def latent(self, batch: Batch) -> _Latent:
        """The posterior of z for each row."""
        world, k = self.world, self.world.latent
        precision = torch.eye(k, dtype=torch.float64).expand(len(batch), k, k)
        information = torch.zeros(len(batch), k, dtype=torch.float64)
        for m, view in self.views.items():
            p, h = view.evidence(*_double(batch, m))
            precision, information = precision + p, information + h
        within = torch.linalg.inv(precision)
        h = information[:, None] + world.means  # (B, C, k)
        means = torch.einsum("bij,bcj->bci", within, h)
        log_weight = world.priors.log() + (h * means).sum(2) / 2 - world.means.square().sum(1) / 2
        return _Latent(log_weight.softmax(1), means, within)

    def complete(self, batch: Batch) -> dict[str, Completion]:
        """Exact conditional mean and variance of all frames of every modality, given what the batch observes."""
        z = self.latent(batch)
        result = {}
        for m, view in self.views.items():
            x, observed = _double(batch, m)
            mean, gain, within = view.conditional(x, observed)
            mean = mean + torch.einsum("btdk,bk->btd", gain, z.mean)
            variance = within + torch.einsum("btdk,bkl,btdl->btd", gain, z.covariance, gain)
            mask = observed[..., None]
            result[m] = Completion(torch.where(mask, x, mean).float(), variance.masked_fill(mask, 0).float())
        return result

    def covariance(self, batch: Batch, row: int) -> Float[Tensor, "n n"]:
        """Exact joint covariance (n, n) of all n missing values of one row, ordered by modality, frame, dimension."""
        one = batch.select(torch.tensor([row]))
        z = self.latent(one)
        gains, blocks = [], []
        for m, view in self.views.items():
            x, observed = _double(one, m)
            missing = ~observed[0]
            _, gain, _ = view.conditional(x, observed)
            gains.append(gain[0, missing].flatten(0, 1))
            blocks.append(view.joint_within(observed[0]))
        gain = torch.cat(gains)
        return torch.block_diag(*blocks) + gain @ z.covariance[0] @ gain.T


class _ModalityView:
    """Linear algebra of one modality in the eigenbasis of its nuisance covariance."""

    def __init__(self, world: World, m: str):
        shape, A, B = world.modalities[m], world.A[m], world.B[m]
        self.A, self.noise2 = A, shape.noise**2
        basis, singular, _ = torch.linalg.svd(B, full_matrices=False)
        self.basis, self.power = basis, singular.square()  # U (d, r), lambda (r,)
        self.a = basis.T @ A  # (r, k)
        self.A_rest = A - basis @ self.a  # the part of A outside the span of the nuisance
        time = torch.arange(shape.length)
        self.R = float(shape.persistence) ** (time[:, None] - time).abs().double()  # (T, T)

    def evidence(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """(A^T C^{-1} A, A^T C^{-1} x) for x (B, T, d) with observed frames (B, T): (B, k, k), (B, k)."""
        inverse = self._inverse(observed)  # (B, r, T, T)
        along = x @ self.basis  # (B, T, r)
        row_sums = inverse.sum(3)  # (B, r, T) = K_j^{-1} 1
        total = row_sums.sum(2)  # (B, r)
        frames = observed.sum(1).double()[:, None, None]
        precision = torch.einsum("br,ri,rj->bij", total, self.a, self.a)
        precision = precision + frames / self.noise2 * (self.A_rest.T @ self.A_rest)
        information = torch.einsum("brt,btr,rk->bk", row_sums, along, self.a)
        return precision, information + x.sum(1) @ self.A_rest / self.noise2

    def conditional(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every frame given z and the observed frames has mean offset + gain z: offset, gain (B, T, d, k), variance."""
        inverse = self._inverse(observed)
        # W_j = lambda_j R_{t,O} K_j^{-1}: regression of the nuisance at t on its values at the observed frames.
        weight = torch.einsum("r,ts,brsu->brtu", self.power, self.R, inverse)
        offset = torch.einsum("brtu,bur,dr->btd", weight, x @ self.basis, self.basis)
        gain = self.A - torch.einsum("brt,dr,rk->btdk", weight.sum(3), self.basis, self.a)
        variance = self.power[:, None] * (1 - torch.einsum("brtu,tu->brt", weight, self.R))  # (B, r, T)
        return offset, gain, torch.einsum("brt,dr->btd", variance, self.basis.square()) + self.noise2

    def joint_within(self, observed: Tensor) -> Tensor:
        """Covariance (n d, n d) of the n missing frames of one row, given z and the observed frames; observed (T,)."""
        inverse = self._inverse(observed[None])[0]  # (r, T, T)
        prior = self.power[:, None, None] * self.R
        nuisance = (prior - prior @ inverse @ prior)[:, ~observed][:, :, ~observed]  # (r, n, n)
        n, d = nuisance.shape[1], len(self.basis)
        joint = torch.einsum("rtu,dr,er->tdue", nuisance, self.basis, self.basis).reshape(n * d, n * d)
        return joint + self.noise2 * torch.eye(n * d, dtype=torch.float64)

    def _inverse(self, observed: Tensor) -> Tensor:
        """K_j^{-1} on the observed frames, zero elsewhere: (B, r, T, T). Each distinct mask is inverted once."""
        masks, which = torch.unique(observed, dim=0, return_inverse=True)
        pair = (masks[:, :, None] & masks[:, None, :])[:, None]  # (M, 1, T, T)
        eye = torch.eye(len(self.R), dtype=torch.float64)
        K = self.power[:, None, None] * self.R + self.noise2 * eye
        inverse = torch.linalg.inv(torch.where(pair, K, eye))
        return torch.where(pair, inverse, 0)[which]


def _double(batch: Batch, m: str) -> tuple[Tensor, Tensor]:
    observed = batch.observed[m].cpu()
    x = batch.x[m].cpu().double()
    return torch.where(observed[..., None], x, 0), observed
