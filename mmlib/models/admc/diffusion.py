"""ADN, the diffusion of ADMC over stacked tokens (section 3.2): the paper's, the released code's and a conditional one."""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.missing.patterns import all_patterns
from mmlib.models.admc.noise import row_normal
from mmlib.models.base import check_options
from mmlib.models.layers import TransformerEncoder, sinusoid
from mmlib.names import DataError

Tokens = Float[Tensor, "B M d"]
Noise = Callable[..., Tokens]  # noise(key, purpose, n, u=0)
_CHUNK = 1024


class ADN(nn.Module):
    """The paper's diffusion over stacked tokens F (B, M, d), Eq 1-4. Steps count 1..N; step 0 is the clean feature.

    denoiser: 'attention', or 'unet', which has no heads and layers. width: of its tokens, d if None. variance: sigma_n^2,
    that of the 'posterior' or 'beta'. clamp: limit of the clean feature that eps' implies, None for no limit. start: the
    step n at which merging begins. merge: at n and after 'each' step below it, or 'once', at n. resample: how often each
    step below n is made. sampler: 'ddpm' makes all N steps, 'ddim' approximately `steps`, with `eta` times the noise.
    """

    standardised = True  # tokens have mean 0 and variance 1, as the linear path of `eps` assumes

    def __init__(
        self, modalities: int, d: int, *, N: int = 1000, betas: tuple[float, float] = (3e-4, 6e-2),  # Eq 1
        denoiser: str = "attention", width: int | None = None, heads: int = 8, layers: int = 4,  # Eq 2
        variance: str = "posterior", clamp: float | None = None,  # Eq 3
        start: int = 50, merge: str = "each", resample: int = 1,  # Eq 4
        sampler: str = "ddpm", steps: int = 25, eta: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        check_options("ADMC", denoiser=(denoiser, ("attention", "unet")), variance=(variance, ("posterior", "beta")))
        check_options("ADMC", merge=(merge, ("each", "once")), sampler=(sampler, ("ddpm", "ddim")))
        self.N, self.start, self.merge, self.variance, self.clamp = N, start, merge, variance, clamp
        self.resample, self.sampler, self.steps, self.eta, self.heads = resample, sampler, steps, eta, heads
        self._check()
        beta = torch.cat([torch.zeros(1), torch.linspace(*betas, N, dtype=torch.float64)])
        self.register_buffer("abar", (1 - beta).cumprod(0), persistent=False)  # (N + 1,) float64
        self.betas, self.abars = beta.tolist(), self.abar.tolist()  # for steps that a whole batch makes together
        self.denoiser = self._network(denoiser, modalities, d, width or d, heads, layers)

    def diffused(self, F0: Tokens, n: Int[Tensor, "B"], eps: Tokens) -> Tokens:
        """q(F^n | F^0), Eq 1: sqrt(abar_n) F^0 + sqrt(1 - abar_n) eps."""
        abar = self.abar[n][:, None, None]
        return (abar.sqrt() * F0 + (1 - abar).sqrt() * eps).to(F0.dtype)

    def eps(self, F: Tokens, n: Int[Tensor, "B"], *clean: Tensor) -> Tokens:
        """eps' of Eq 2 by v-prediction (Salimans & Ho 2022): sqrt(1 - abar_n) F^n + sqrt(abar_n) v'.

        The network predicts v = sqrt(abar_n) eps - sqrt(1 - abar_n) F^0. With v' = 0 eps' is the best linear prediction for
        tokens of unit variance. clean: what else the denoiser reads; for ADN nothing.
        """
        v = self.denoiser(F, n, *clean)
        abar = self.abar[n][:, None, None].to(F.dtype)
        return (1 - abar).sqrt() * F + abar.sqrt() * v

    def loss(self, F0: Tokens) -> Float[Tensor, "B"]:
        """The squared error of eps' at one random step per row, (B,)."""
        n = torch.randint(1, self.N + 1, (len(F0),), device=F0.device)
        eps = torch.randn_like(F0)
        return (self.eps(self.diffused(F0, n, eps), n) - eps).square().mean((1, 2))

    def reverse(self, F: Tokens, n: int, to: int, noise: Tokens, *clean: Tensor) -> Tokens:
        """p(F^{to} | F^n), Eq 3 with to = n - 1: (F^n - beta_n / sqrt(1 - abar_n) eps') / sqrt(alpha_n) + sigma_n noise."""
        eps = self.eps(F, torch.full((len(F),), n, device=F.device), *clean)
        if self.sampler == "ddim":
            return self._ddim(F, eps, n, to, noise)
        beta, abar, below = self.betas[n], self.abars[n], self.abars[to]
        mean = (F - beta / (1 - abar) ** 0.5 * eps) / (1 - beta) ** 0.5
        if self.clamp is not None:  # the same mean, computed from the clean feature
            F0 = self._clean(F, eps, n)
            mean = (below**0.5 * beta * F0 + (1 - beta) ** 0.5 * (1 - below) * F) / (1 - abar)
        variance = beta * (1 - below) / (1 - abar) if self.variance == "posterior" else beta
        return mean if to == 0 else mean + variance**0.5 * noise

    def merged(self, F: Tokens, F_o: Tokens, available: Bool[Tensor, "B M"], n: int, noise: Tokens) -> Tokens:
        """Eq 4: m F_o^n + (1 - m) F^n, where F_o^n are the available tokens diffused to step n."""
        F_o = self.diffused(F_o, torch.full((len(F),), n, device=F.device), noise)
        return torch.where(available[..., None], F_o, F)

    @torch.no_grad()
    def complete(self, F_o: Tokens, available: Bool[Tensor, "B M"], key: Int[Tensor, "B"], seed: int = 0) -> Tokens:
        """F_o (B, M, d) with its missing tokens generated; the values of F_o in their places have no influence.

        key: the noise of a row depends on its key and on the seed alone. Rows of one key share the steps above n.
        Raises DataError for a row without any available token and for a start outside 0..N.
        """
        self._check()
        if not bool(available.any(1).all()):
            raise DataError("a row has no modality available; there is nothing to complete it from")
        F_o = F_o.masked_fill(~available[..., None], 0)

        def noise(key: Tensor, purpose: str, n: int, u: int = 0) -> Tokens:
            return row_normal(key, (seed, purpose, n, u), F_o.shape[1:]).to(F_o.dtype)

        chunks = zip(*(x.split(4 * _CHUNK) for x in (F_o, available, key)))
        return torch.cat([self._complete(*rows, noise) for rows in chunks])

    def _complete(self, F_o: Tokens, available: Bool[Tensor, "B M"], key: Int[Tensor, "B"], noise: Noise) -> Tokens:
        """Steps N..n+1 without F_o; F_o is merged in at step n itself and after each step below n."""
        start, (unique, row) = min(self.start, self.top), key.unique(return_inverse=True)
        F = self.unconditional(unique, start, noise)[row]
        F = self.merged(F, F_o, available, start, noise(key, "known", start))
        for n, to in self.path(0, start):
            for u in range(self.resample if to > 0 else 1):
                if u > 0:  # RePaint: back to level n
                    share = self.abars[n] / self.abars[to]
                    F = share**0.5 * F + (1 - share) ** 0.5 * noise(key, "again", n, u)
                F = self.reverse(F, n, to, noise(key, "reverse", n, u))
                if self.merge == "each":
                    F = self.merged(F, F_o, available, to, noise(key, "known", to, u))
        return torch.where(available[..., None], F_o, F)

    def unconditional(self, key: Int[Tensor, "B"], start: int, noise: Noise) -> Tokens:
        """F^start, generated from pure noise with the steps top..start + 1."""
        F = noise(key, "start", self.top)
        for n, to in self.path(start, self.top):
            F = self.reverse(F, n, to, noise(key, "reverse", n))
        return F

    @property
    def top(self) -> int:
        """The first step of the reverse process: N for DDPM; for DDIM the highest n with abar_n of at least 1e-4.

        Above it the signal is negligible, and the long steps of DDIM would divide by almost zero.
        """
        if self.sampler == "ddpm":
            return self.N
        return max(n for n in range(1, self.N + 1) if n == 1 or self.abars[n] >= 1e-4)

    def path(self, low: int, high: int) -> list[tuple[int, int]]:
        """The steps (n, to) from `high` down to `low`: all, or DDIM's, evenly spaced in the log of signal over noise."""
        levels = torch.arange(self.N + 1)
        if self.sampler == "ddim":
            ratio = torch.logit(self.abar[1 : self.top + 1]).flip(0)  # rising
            grid = torch.linspace(float(ratio[0]), float(ratio[-1]), self.steps, dtype=torch.float64)
            levels = self.top - torch.searchsorted(ratio, grid.to(ratio.device)).clamp(max=self.top - 1)
        levels = sorted({low, high, *(n for n in levels.tolist() if low < n < high)}, reverse=True)
        return list(itertools.pairwise(levels))

    def _ddim(self, F: Tokens, eps: Tokens, n: int, to: int, noise: Tokens) -> Tokens:
        """Song et al. 2021, Eq 12; with eta = 1 and to = n - 1 it is Eq 3 with the posterior's variance."""
        abar, below, F0 = self.abars[n], self.abars[to], self._clean(F, eps, n)
        eps = (F - abar**0.5 * F0) / (1 - abar) ** 0.5
        variance = self.eta**2 * (1 - below) / (1 - abar) * (1 - abar / below)
        return below**0.5 * F0 + max(0.0, 1 - below - variance) ** 0.5 * eps + variance**0.5 * noise

    def _clean(self, F: Tokens, eps: Tokens, n: int) -> Tokens:
        """The F^0 that F^n and eps' imply, clamped."""
        F0 = (F - (1 - self.abars[n]) ** 0.5 * eps) / self.abars[n] ** 0.5
        return F0 if self.clamp is None else F0.clamp(-self.clamp, self.clamp)

    def _network(self, denoiser: str, *shape: int) -> nn.Module:
        return UNet(*shape[:3]) if denoiser == "unet" else Attention(*shape)

    def _check(self) -> None:
        if not 0 <= self.start <= self.N:
            raise DataError(f"start is {self.start}, it must be a step from 0 to N = {self.N}")
        if self.resample < 1 or self.steps < 1:
            raise DataError(f"resample is {self.resample} and steps {self.steps}; both must be at least 1")

    @property
    def settings(self) -> dict[str, object]:
        """Everything but the weights that a completion depends on."""
        names = "N start merge variance clamp resample sampler steps eta heads betas"
        kinds = {"variant": type(self).__name__, "denoiser": type(self.denoiser).__name__}
        return {name: getattr(self, name) for name in names.split()} | kinds


class OfficialADN(ADN):
    """The released code's diffusion: no linear path, tokens not standardised, F^0 clamped to -1..1, a U-Net, one merge."""

    standardised = False

    def __init__(
        self, modalities: int, d: int, *, betas=(2e-4, 4e-2), merge="once", clamp=1.0, denoiser="unet", **options
    ):
        super().__init__(modalities, d, betas=betas, merge=merge, clamp=clamp, denoiser=denoiser, **options)

    def eps(self, F: Tokens, n: Int[Tensor, "B"]) -> Tokens:
        return self.denoiser(F, n)

    def unconditional(self, key: Int[Tensor, "B"], start: int, noise: Noise) -> Tokens:
        """A miscount of the released code: N - start steps with the labels N - start..1, whose result counts as F^start."""
        F = noise(key, "start", self.top)
        for n, to in self.path(0, min(self.N - start, self.top)):
            F = self.reverse(F, n, to, noise(key, "reverse", n + start))
        return F


class ConditionalADN(ADN):
    """Not in the paper: a denoiser that reads the available tokens clean at every step, so that nothing is merged.

    start, merge and resample have no effect. Input and weights of the loss both differ from ADN's: a difference between the
    results of the two is not due to the input alone.
    """

    def loss(self, F0: Tokens) -> Float[Tensor, "B"]:
        """The squared error of v' over the missing tokens of a random pattern, (B,).

        It weights all steps alike. The error of eps' is abar_n times that of v': it would say little about steps with much
        noise, which decide the conditional mean.
        """
        n = torch.randint(1, self.N + 1, (len(F0),), device=F0.device)
        eps = torch.randn_like(F0)
        patterns = all_patterns(F0.shape[1])[:-1].to(F0.device)  # the last one is complete
        available = patterns[torch.randint(len(patterns), (len(F0),), device=F0.device)]
        v = self.denoiser(self.diffused(F0, n, eps), n, F0, available)
        abar = self.abar[n][:, None, None].to(F0.dtype)
        error = (v - (abar.sqrt() * eps - (1 - abar).sqrt() * F0)).square().mean(2)
        return (error * ~available).sum(1) / (~available).sum(1)

    def _complete(self, F_o: Tokens, available: Bool[Tensor, "B M"], key: Int[Tensor, "B"], noise: Noise) -> Tokens:
        F = noise(key, "start", self.top)
        for n, to in self.path(0, self.top):
            F = self.reverse(F, n, to, noise(key, "reverse", n), F_o, available)
        return torch.where(available[..., None], F_o, F)

    def _network(self, denoiser: str, *shape: int) -> nn.Module:
        if denoiser == "unet":
            raise DataError("variant 'conditional' marks available tokens, denoiser 'unet' cannot; take 'attention'")
        return ConditionalAttention(*shape)


VARIANTS = {"paper": ADN, "official": OfficialADN, "conditional": ConditionalADN}


class Attention(nn.Module):
    """The network of Eq 2: self-attention over the M tokens, to which vectors of modality and step n are added."""

    def __init__(self, modalities: int, d: int, width: int, heads: int, layers: int):
        super().__init__()
        self.inward, self.outward = nn.Linear(d, width), nn.Linear(width, d)
        self.modality = nn.Parameter(torch.randn(modalities, width) / width**0.5)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.encoder = TransformerEncoder(width, heads, layers)

    def forward(self, F: Tokens, n: Int[Tensor, "B"]) -> Tokens:
        time = self.time(sinusoid(n, self.modality.shape[1], F.dtype))[:, None]
        return self.outward(self.encoder(self.inward(F) + self.modality + time))


class ConditionalAttention(Attention):
    """Attention that reads available tokens clean and marks them with one more learned vector."""

    def __init__(self, modalities: int, d: int, width: int, heads: int, layers: int):
        super().__init__(modalities, d, width, heads, 0)  # the encoder's weights are drawn last
        self.known = nn.Parameter(torch.randn(width) / width**0.5)
        self.encoder = TransformerEncoder(width, heads, layers)

    def forward(self, F: Tokens, n: Int[Tensor, "B"], F_o: Tokens, available: Bool[Tensor, "B M"]) -> Tokens:
        F = torch.where(available[..., None], F_o, F)
        time = self.time(sinusoid(n, self.modality.shape[1], F.dtype))[:, None]
        tokens = self.inward(F) + self.modality + time + available[..., None] * self.known
        return self.outward(self.encoder(tokens))


class UNet(nn.Module):
    """The kind of denoiser that the released code runs: convolutions along the features, modalities as channels.

    The features of a token have no order that a convolution could use. Depth and width are ours.
    """

    def __init__(self, modalities: int, d: int, width: int):
        super().__init__()
        self.inward = nn.Conv1d(modalities, width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 4 * width))
        self.down = nn.Conv1d(width, 2 * width, 4, stride=2, padding=1)
        self.middle = nn.Conv1d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1)
        self.outward = nn.Conv1d(2 * width, modalities, 3, padding=1)
        self.width = width

    def forward(self, F: Tokens, n: Int[Tensor, "B"]) -> Tokens:
        scale, shift = self.time(sinusoid(n, self.width, F.dtype))[..., None].chunk(2, 1)  # (B, 2 width, 1)
        x = nn.functional.silu(self.inward(F))
        y = nn.functional.silu(self.down(x) * (1 + scale) + shift)
        y = y + nn.functional.silu(self.middle(y))
        return self.outward(torch.cat([x, self.up(y, output_size=x.shape[2:])], 1))
