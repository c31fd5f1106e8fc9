"""DMFD, the detector of missing modalities of SMCIR (Eq 1-7), then the indicators that its variants take instead."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Features = dict[str, Float[Tensor, "B _ _"]]
_EPS = 1e-8
_MOMENTUM = 0.1
_RIDGE = 1e-2


def norm_entropy(P: Float[Tensor, "B N d"], tau: float = 1.0) -> Float[Tensor, "B"]:
    """Eq 1, 2: entropy in nats of p_k = softmax_k(|P_k| / tau) over the N steps; 0 .. ln N, the latter for equal norms."""
    log_p = (P.norm(dim=2) / tau).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def mutual_information(a: Float[Tensor, "B n"], b: Float[Tensor, "B n"], bins: int = 30) -> Float[Tensor, "B"]:
    """Eq 3, in nats: sum p(i, j) log(p(i, j) / (p(i) p(j))) over the bins of n pairs; 0 where one of the two is constant."""
    joint = _counts(_bins(a, bins) * bins + _bins(b, bins), bins * bins).unflatten(1, (bins, bins)).double()
    independent = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True) / a.shape[1]
    ratio = torch.where(joint > 0, joint / independent, 1)
    return ((joint * ratio.log()).sum((1, 2)) / a.shape[1]).to(a.dtype)  # in doubles a constant has exactly 0


def similarity(P_m: Float[Tensor, "B N d"], P_L: Float[Tensor, "B N d"]) -> Float[Tensor, "B"]:
    """Eq 4, 5: cosine of each step's two vectors, averaged over steps; -1 .. 1, 0 where either is zero."""
    norms = P_m.norm(dim=2) * P_L.norm(dim=2)
    return ((P_m * P_L).sum(2) / norms.clamp(min=_EPS)).mean(1)


def below(
    W: Float[Tensor, "B"], mu: Float[Tensor, ""], sigma: Float[Tensor, ""], lam: float, rule: str
) -> Bool[Tensor, "B"]:
    """Eq 7's second condition: W < mu - lambda sigma / (1 + W); 'monotone' has max(W, 0) on the right, 'midway' mu / 2."""
    if rule == "midway":
        return W < mu / 2
    return W < mu - lam * sigma / (1 + (W.clamp(min=0) if rule == "monotone" else W))


class Diagnosis(NamedTuple):
    """Of one modality, (B,) each: entropy, mutual information with the text, similarity to it, Eq 6's score, the verdict."""

    H: Float[Tensor, "B"]
    MI: Float[Tensor, "B"]
    S: Float[Tensor, "B"]
    W: Float[Tensor, "B"]
    missing: Bool[Tensor, "B"]


class DMFD(nn.Module):
    """Dynamic multi-feature fusion detector (Eq 1-7). Never trained by gradient; `fit` measures what it needs."""

    def __init__(
        self, dims: dict[str, int], text: str, d: int, *,
        alpha: float, beta: float, gamma: float, lam: float, tau: float, bins: int,
        projection: str, entropy: str, indicators: str, rule: str, statistics: str, official: bool,
    ):  # fmt: skip
        super().__init__()
        self.text, self.others = text, [m for m in dims if m != text]
        self.alpha, self.beta, self.gamma, self.lam, self.tau, self.bins = alpha, beta, gamma, lam, tau, bins
        self.indicators, self.projection, self.entropy = indicators, projection, entropy
        self.rule, self.statistics, self.official = rule, statistics, official
        self.project = nn.ModuleDict({m: nn.Linear(d_m, d, bias=projection == "linear") for m, d_m in dims.items()})
        self.requires_grad_(False)
        self.register_buffer("mu", torch.zeros(len(self.others)))
        self.register_buffer("sigma", torch.zeros(len(self.others)))

    def scores(self, x: Features, m: str, P_L: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """H, MI, S and W (Eq 6) of modality m, (B,) each; sequences of any lengths, pooled to the text's.

        P_L (B, N_L, d): the projected text, if it is computed already.
        """
        P_L = self.project[self.text](x[self.text]) if P_L is None else P_L
        P_m = self.project[m](_pooled(x[m], P_L.shape[1]))  # a linear map commutes with pooling
        if self.official:
            full = self.project[m](x[m]).flatten(1)
            H = histogram_entropy(full, self.bins)
            MI, S = count_information(full, P_L.flatten(1), self.bins), matrix_similarity(P_m, P_L)
        else:
            norm = self.entropy == "norm"
            H = norm_entropy(self.project[m](x[m]), self.tau) if norm else histogram_entropy(P_m.flatten(1), self.bins)
            MI, S = mutual_information(P_m.flatten(1), P_L.flatten(1), self.bins), similarity(P_m, P_L)
        terms = {"H": self.alpha * H, "M": self.beta * MI, "S": self.gamma * S}
        return H, MI, S, sum(terms[i] for i in self.indicators)

    @torch.no_grad()
    def forward(self, x: Features, m: str, P_L: Tensor | None = None) -> Diagnosis:
        """Eq 7 for modality m; mu and sigma of the batch are population statistics, as printed."""
        H, MI, S, W = self.scores(x, m, P_L)
        if self.statistics == "batch":
            mu, sigma = W.mean(), W.std(correction=0)
        else:
            i = self.others.index(m)
            mu, sigma = self.mu[i], self.sigma[i]
        missing = below(W, mu, sigma, self.lam, self.rule)
        return Diagnosis(H, MI, S, W, missing & (S <= 0) if "S" in self.indicators else missing)

    @torch.no_grad()
    def fit(self, rows: Callable[[], Iterable[Features]]) -> None:
        """Fits the aligned projection, then mu and sigma of the scores. rows(): all training rows, in batches."""
        for m in self.others if self.projection == "aligned" else ():
            self._align(rows(), m)
        for i, m in enumerate(self.others):
            W = torch.cat([self.scores(x, m)[3] for x in rows()])
            self.mu[i], self.sigma[i] = W.mean(), W.std(correction=0)

    @torch.no_grad()
    def follow(self, x: Features) -> None:
        """Moves mu and sigma a tenth of the way to those of this batch, since a trained text encoder changes the scores."""
        for i, m in enumerate(self.others):
            W = self.scores(x, m)[3]
            mu = torch.lerp(self.mu[i], W.mean(), _MOMENTUM)
            variance = torch.lerp(self.sigma[i] ** 2, ((W - mu) ** 2).mean(), _MOMENTUM)
            self.mu[i], self.sigma[i] = mu, variance.sqrt()

    def _align(self, batches: Iterable[Features], m: str) -> None:
        """P_m = the ridge regression, without a constant, of P_L on X_m pooled to the text's steps."""
        XX, XP = 0, 0
        for x in batches:
            P_L = self.project[self.text](x[self.text]).flatten(0, 1).double()
            X = _pooled(x[m], x[self.text].shape[1]).flatten(0, 1).double()
            XX, XP = XX + X.T @ X, XP + X.T @ P_L
        ridge = _RIDGE * XX.diagonal().mean().clamp(min=_EPS)
        solution = torch.linalg.solve(XX + ridge * torch.eye(len(XX), dtype=XX.dtype, device=XX.device), XP)
        self.project[m].weight.copy_(solution.T)


def histogram_entropy(values: Float[Tensor, "B n"], bins: int = 30) -> Float[Tensor, "B"]:
    """Entropy in nats of a row's histogram: 0 (constant) .. ln bins."""
    counts = _counts(_bins(values, bins), bins)
    p = counts / counts.sum(1, keepdim=True)
    return -torch.xlogy(p, p).sum(1)


def count_information(a: Float[Tensor, "B n"], b: Float[Tensor, "B k"], bins: int = 30) -> Float[Tensor, "B"]:
    """The released code's mutual information, in nats: of the two lists of bin counts, taken as labels of `bins` items."""
    x, y = (_counts(_bins(v, bins), bins) for v in (a, b))
    same_x, same_y = x[:, :, None] == x[:, None], y[:, :, None] == y[:, None]  # (B, bins, bins)
    ratio = bins * (same_x & same_y).sum(2) / (same_x.sum(2) * same_y.sum(2))
    return ratio.log().mean(1)


def matrix_similarity(P_m: Float[Tensor, "B N d"], P_L: Float[Tensor, "B N d"]) -> Float[Tensor, "B"]:
    """The released code's similarity: the mean of all N x N cosines, which is a product of two mean directions."""
    u, v = (P / P.norm(dim=2, keepdim=True).clamp(min=_EPS) for P in (P_m, P_L))
    return (u.mean(1) * v.mean(1)).sum(1)


def _bins(values: Float[Tensor, "B n"], bins: int) -> Int[Tensor, "B n"]:
    """Bins of equal width from each row's least value to its greatest, which belongs to the last; a constant row's is 0."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    width = torch.where(high > low, high - low, 1)
    return ((values - low) / width * bins).long().clamp(max=bins - 1)


def _counts(values: Int[Tensor, "B n"], cells: int) -> Float[Tensor, "B _"]:
    """How often each row has each value of 0 .. cells - 1."""
    cell = values + cells * torch.arange(len(values), device=values.device)[:, None]
    return torch.bincount(cell.flatten(), minlength=len(values) * cells).view(len(values), cells).float()


def _pooled(x: Float[Tensor, "B T d"], N: int) -> Float[Tensor, "B N d"]:
    """Adaptive average pooling of the steps to N."""
    return nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), N).transpose(1, 2)
