"""ADN, the diffusion of ADMC over stacked tokens (section 3.2), and its two denoisers."""

import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.checks import DataError
from mmlib.missing.patterns import all_patterns
from mmlib.models.admc.noise import row_normal
from mmlib.models.base import check_options
from mmlib.models.layers import TransformerEncoder, sinusoid

Tokens = Float[Tensor, "B M d"]
_CHUNK = 1024


class Attention(nn.Module):
    """eps' of Eq 2: self-attention over the M tokens, which know their modality and the step n."""

    def __init__(self, modalities: int, d: int, width: int, heads: int, layers: int, conditional: bool = False):
        super().__init__()
        self.inward, self.outward = nn.Linear(d, width), nn.Linear(width, d)
        self.modality = nn.Parameter(torch.randn(modalities, width) / width**0.5)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.known = nn.Parameter(torch.randn(width) / width**0.5) if conditional else None
        self.encoder = TransformerEncoder(width, heads, layers)

    def forward(
        self, F: Tokens, n: Int[Tensor, "B"], known: tuple[Tokens, Bool[Tensor, "B M"]] | None = None
    ) -> Tokens:
        """known: clean tokens and which of them stand in place of the noisy ones (variant 'conditional')."""
        if known is not None:
            F = torch.where(known[1][..., None], known[0], F)
        h = self.inward(F) + self.modality + self.time(sinusoid(n, self.modality.shape[1], F.dtype))[:, None]
        if known is not None:
            h = h + known[1][..., None] * self.known
        return self.outward(self.encoder(h))


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

    def forward(self, F: Tokens, n: Int[Tensor, "B"], known: None = None) -> Tokens:
        scale, shift = self.time(sinusoid(n, self.width, F.dtype))[..., None].chunk(2, 1)  # (B, 2 width, 1)
        x = nn.functional.silu(self.inward(F))
        y = nn.functional.silu(self.down(x) * (1 + scale) + shift)
        y = y + nn.functional.silu(self.middle(y))
        return self.outward(torch.cat([x, self.up(y, output_size=x.shape[2:])], 1))


class ADN(nn.Module):
    """The diffusion over stacked tokens F (B, M, d), section 3.2. Steps count 1..N; step 0 is the clean feature.

    width: of the denoiser's tokens (default: d). start: the step n at which the available part is merged in; merge: after
    'each' step from there, or 'once'. steps: of DDIM, about so many; DDPM makes all N. Variant 'conditional' needs no start,
    merge or resample, sampler 'ddim' no variance, denoiser 'unet' no heads and layers.
    """

    def __init__(
        self,
        modalities: int,
        d: int,
        *,
        variant: str = "paper",
        width: int | None = None,
        heads: int = 8,
        layers: int = 4,
        N: int = 1000,
        betas: tuple[float, float] | None = None,
        start: int = 50,
        merge: str | None = None,
        variance: str = "posterior",
        clamp: float | None = None,
        resample: int = 1,
        sampler: str = "ddpm",
        steps: int = 25,
        eta: float = 1.0,
        denoiser: str | None = None,
    ):
        super().__init__()
        official, width = variant == "official", width or d
        denoiser = denoiser or ("unet" if official else "attention")
        self.N, self.start, self.variance, self.resample = N, start, variance, resample
        self.sampler, self.steps, self.eta, self.variant, self.heads = sampler, steps, eta, variant, heads
        self.merge = merge or ("once" if official else "each")
        self.linear, self.miscounted = not official, official
        self.clamp = 1.0 if official and clamp is None else clamp
        check_options(
            "ADMC",
            variant=(variant, ("paper", "official", "conditional")),
            merge=(self.merge, ("each", "once")),
            variance=(variance, ("posterior", "beta")),
            sampler=(sampler, ("ddpm", "ddim")),
            denoiser=(denoiser, ("attention", "unet")),
        )
        if variant == "conditional" and denoiser == "unet":
            raise DataError("variant 'conditional' marks known tokens, which denoiser 'unet' has not; take 'attention'")
        self._check()
        first, last = betas or ((2e-4, 4e-2) if official else (3e-4, 6e-2))
        beta = torch.cat([torch.zeros(1), torch.linspace(first, last, N, dtype=torch.float64)])
        self.register_buffer("abar", (1 - beta).cumprod(0), persistent=False)  # (N + 1,) float64
        self.betas, self.abars = beta.tolist(), self.abar.tolist()  # for steps that a whole batch makes together
        if denoiser == "unet":
            self.denoiser = UNet(modalities, d, width)
        else:
            self.denoiser = Attention(modalities, d, width, heads, layers, variant == "conditional")

    @property
    def settings(self) -> dict[str, object]:
        """All but the weights that a completion depends on."""
        names = "N start merge variance clamp resample sampler steps eta variant linear miscounted heads betas"
        return {name: getattr(self, name) for name in names.split()} | {"denoiser": type(self.denoiser).__name__}

    def _check(self) -> None:
        if not 0 <= self.start <= self.N:
            raise DataError(f"start is {self.start}, it must be a step from 0 to N = {self.N}")
        if self.resample < 1 or self.steps < 1:
            raise DataError(f"resample is {self.resample} and steps {self.steps}; both must be at least 1")

    def diffused(self, F0: Tokens, n: Int[Tensor, "B"], eps: Tokens) -> Tokens:
        """q(F^n | F^0), Eq 1: sqrt(abar_n) F^0 + sqrt(1 - abar_n) eps."""
        abar = self.abar[n][:, None, None]
        return (abar.sqrt() * F0 + (1 - abar).sqrt() * eps).to(F0.dtype)

    def eps(self, F: Tokens, n: Int[Tensor, "B"], known=None) -> Tokens:
        """eps'(F^n, n): the best linear guess for tokens of unit variance, sqrt(1 - abar_n) F^n, and what the network adds."""
        out = self.denoiser(F, n, known)
        if not self.linear:
            return out
        abar = self.abar[n][:, None, None].to(F.dtype)
        return (1 - abar).sqrt() * F + abar.sqrt() * out

    def loss(self, F0: Tokens) -> Float[Tensor, "B"]:
        """The squared error of eps' (Eq 2) at a random step, per row.

        For 'conditional' over the tokens held back, and of the network's own share of eps': where noise is strong eps' is
        nearly all linear, and its error would say little about the conditional mean, which is decided there.
        """
        n = torch.randint(1, self.N + 1, (len(F0),), device=F0.device)
        eps = torch.randn_like(F0)
        if self.variant != "conditional":
            return (self.eps(self.diffused(F0, n, eps), n) - eps).square().mean((1, 2))
        patterns = all_patterns(F0.shape[1])[:-1].to(F0.device)  # the last one is complete
        known = patterns[torch.randint(len(patterns), (len(F0),), device=F0.device)]
        out = self.denoiser(self.diffused(F0, n, eps), n, (F0, known))
        abar = self.abar[n][:, None, None].to(F0.dtype)
        error = (out - (abar.sqrt() * eps - (1 - abar).sqrt() * F0)).square().mean(2)
        return (error * ~known).sum(1) / (~known).sum(1)

    def reverse(self, F: Tokens, n: int, to: int, noise: Tokens, known=None) -> Tokens:
        """p(F^{to} | F^n), Eq 3: one step of DDPM (to = n - 1), or of DDIM."""
        eps = self.eps(F, torch.full((len(F),), n, device=F.device), known)
        beta, abar, below = self.betas[n], self.abars[n], self.abars[to]
        if self.sampler == "ddim":
            F0 = self._clamped((F - (1 - abar) ** 0.5 * eps) / abar**0.5)
            eps = (F - abar**0.5 * F0) / (1 - abar) ** 0.5
            variance = self.eta**2 * (1 - below) / (1 - abar) * (1 - abar / below)
            return below**0.5 * F0 + max(0.0, 1 - below - variance) ** 0.5 * eps + variance**0.5 * noise
        if self.clamp is None:
            mean = (F - beta / (1 - abar) ** 0.5 * eps) / (1 - beta) ** 0.5
        else:  # the same mean by way of the clean feature, which can be clamped
            F0 = self._clamped((F - (1 - abar) ** 0.5 * eps) / abar**0.5)
            mean = (below**0.5 * beta * F0 + (1 - beta) ** 0.5 * (1 - below) * F) / (1 - abar)
        variance = beta * (1 - below) / (1 - abar) if self.variance == "posterior" else beta
        return mean if to == 0 else mean + variance**0.5 * noise

    def _clamped(self, F0: Tokens) -> Tokens:
        return F0 if self.clamp is None else F0.clamp(-self.clamp, self.clamp)

    @torch.no_grad()
    def complete(self, F_o: Tokens, available: Bool[Tensor, "B M"], key: Int[Tensor, "B"], seed: int = 0) -> Tokens:
        """F_o (B, M, d) with its missing tokens generated; what F_o holds in their place has no influence.

        key: whose noise a row takes. Rows of one key share their unconditional steps N..n+1, whatever they have available.
        Raises DataError for a row without any available token and for a start outside 0..N.
        """
        self._check()
        if not bool(available.any(1).all()):
            raise DataError("a row has no modality available; there is nothing to complete it from")
        F_o = F_o.masked_fill(~available[..., None], 0)
        parts = [self._complete(*rows, seed) for rows in zip(*(x.split(4 * _CHUNK) for x in (F_o, available, key)))]
        return torch.cat(parts)

    def _complete(self, F_o: Tokens, available: Bool[Tensor, "B M"], key: Int[Tensor, "B"], seed: int) -> Tokens:
        shape, mask, top = F_o.shape[1:], available[..., None], self.top
        start = min(self.start, top)

        def noise(keys: Tensor, purpose: str, n: int, u: int = 0) -> Tokens:
            return row_normal(keys, (seed, purpose, n, u), shape).to(F_o.dtype)

        def merged(F: Tokens, n: int, u: int = 0) -> Tokens:
            """Eq 4: the available part, diffused to step n, in place of the generated one."""
            level = torch.full((len(F),), n, device=F.device)
            return torch.where(mask, self.diffused(F_o, level, noise(key, "known", n, u)), F)

        if self.variant == "conditional":
            F = noise(key, "start", top)
            for n, to in self.path(0, top):
                F = self.reverse(F, n, to, noise(key, "reverse", n), (F_o, available))
            return torch.where(mask, F_o, F)
        rows, mates = key.unique(return_inverse=True)
        F = noise(rows, "start", top)
        if self.miscounted:  # as released: N - n steps with the labels N - n..1, as if they led to level n
            for n, to in self.path(0, min(self.N - start, top)):
                F = self.reverse(F, n, to, noise(rows, "reverse", n + start))
        else:
            for n, to in self.path(start, top):
                F = self.reverse(F, n, to, noise(rows, "reverse", n))
        F = merged(F[mates], start)
        for n, to in self.path(0, start):
            for u in range(self.resample if to > 0 else 1):
                if u > 0:  # back to level n, to be denoised again under the merged part
                    keep = self.abars[n] / self.abars[to]
                    F = keep**0.5 * F + (1 - keep) ** 0.5 * noise(key, "again", n, u)
                F = self.reverse(F, n, to, noise(key, "reverse", n, u))
                if self.merge == "each":
                    F = merged(F, to, u)
        return torch.where(mask, F_o, F)

    @property
    def top(self) -> int:
        """Where the reverse process begins. For DDIM the level that keeps a ten-thousandth of the signal's variance: above
        it there is nothing but noise, and its long steps would divide by almost zero."""
        if self.sampler == "ddpm":
            return self.N
        return max(n for n in range(1, self.N + 1) if n == 1 or self.abars[n] >= 1e-4)

    def path(self, low: int, high: int) -> list[tuple[int, int]]:
        """The steps (n, next) from `high` down to `low`: all of them, or DDIM's, evenly spread over log signal to noise."""
        levels = torch.arange(self.N + 1)
        if self.sampler == "ddim":
            ratio = torch.logit(self.abar[1 : self.top + 1]).flip(0)  # rising
            wanted = torch.linspace(float(ratio[0]), float(ratio[-1]), self.steps, dtype=torch.float64)
            levels = self.top - torch.searchsorted(ratio, wanted.to(ratio.device)).clamp(max=self.top - 1)
        levels = sorted({low, high, *(n for n in levels.tolist() if low < n < high)}, reverse=True)
        return list(itertools.pairwise(levels))
