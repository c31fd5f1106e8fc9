"""Layers that several systems share. B rows, T frames or tokens of width d; attention uses torch's fused kernel."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def mlp(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths, (*, widths[0]) -> (*, widths[-1]), with ReLU and dropout between them."""
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for d_in, d_out in zip(widths[1:], widths[2:]):
        layers += [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(d_in, d_out)]
    return nn.Sequential(*layers)


def sinusoid(t: Int[Tensor, "n"], d: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n d"]:
    """Sinusoidal position embedding (Vaswani et al. 2017): sin and cos of t / 10000^(2i / d), interleaved."""
    rate = 10_000 ** (-torch.arange(0, d, 2, dtype=dtype, device=t.device) / d)
    angle = t.to(dtype)[:, None] * rate  # (n, ceil(d / 2))
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1)[:, :d]


def positions(T: int, d: int, like: Tensor) -> Float[Tensor, "T d"]:
    """Position embeddings of the steps 0..T-1, with the dtype and device of `like`."""
    return sinusoid(torch.arange(T, device=like.device), d, like.dtype)


class FrameDropout(nn.Dropout1d):
    """Dropout of whole channels: a dropped channel is zero in every frame of its row (Gal, Ghahramani 2016)."""

    def forward(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention (B, T, d) -> (B, T, d): softmax(Q K^T / sqrt(d / heads)) V per head, then a linear map.

    target: the query tokens (B, t, d), if they are not all of x; then the result is (B, t, d).
    """

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = _divisible(d, heads)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(
        self, x: Float[Tensor, "B T d"], target: Float[Tensor, "B t d"] | None = None
    ) -> Float[Tensor, "B _ d"]:
        # The weight is split, not the product: splitting the product would copy it and its gradient.
        W, b = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q, k, v = (nn.functional.linear(*args) for args in zip((x if target is None else target, x, x), W, b))
        return self.out(_attend(q, k, v, self.heads))


class CrossmodalAttention(nn.Module):
    """Multi-head attention of target tokens X_t (B, T, d) over source tokens X_s (B, S, d) -> X_{s->t} (B, T, d).

    softmax(X_t W_Q W_K^T X_s^T / sqrt(d / heads)) X_s W_V per head, then a linear map over the concatenated heads.
    observed: the source tokens that are attended to; a row without any attends to all.
    """

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = _divisible(d, heads)
        self.q = nn.Linear(d, d)
        self.kv = nn.Linear(d, 2 * d)
        self.out = nn.Linear(d, d)

    def forward(
        self,
        source: Float[Tensor, "B S d"],
        target: Float[Tensor, "B T d"],
        observed: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T d"]:
        W, b = self.kv.weight.chunk(2), self.kv.bias.chunk(2)
        k, v = nn.functional.linear(source, W[0], b[0]), nn.functional.linear(source, W[1], b[1])
        mask = None if observed is None else (observed | ~observed.any(1, keepdim=True))[:, None, None]
        return self.out(_attend(self.q(target), k, v, self.heads, mask))


class TransformerLayer(nn.Module):
    """One pre-norm encoder layer (B, T, d) -> (B, T, d), as in MulT: y = x + SA(LN(x)), z = y + FFN(LN(y)).

    SA: self-attention. FFN: one hidden layer of width 4 d.
    """

    def __init__(self, d: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.attention, self.norm1 = SelfAttention(d, heads), nn.LayerNorm(d)
        self.ffn, self.norm2 = mlp(d, 4 * d, d), nn.LayerNorm(d)
        self.dropout = FrameDropout(dropout)

    def forward(self, x: Float[Tensor, "B T d"], step: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B _ d"]:
        """The outputs for all tokens, or (B, 1, d) for the token at `step` of each row, which attends to all of x."""
        normed = self.norm1(x)
        if step is None:
            y = x + self.dropout(self.attention(normed))
        else:
            y = at_step(x, step)[:, None] + self.dropout(self.attention(normed, at_step(normed, step)[:, None]))
        return y + self.dropout(self.ffn(self.norm2(y)))


class TransformerEncoder(nn.Module):
    """`depth` transformer layers and a LayerNorm: (B, T, d) -> (B, T, d), or (B, d) for one step of each row."""

    def __init__(self, d: int, heads: int, depth: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList([TransformerLayer(d, heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Float[Tensor, "B T d"], step: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B *T d"]:
        for layer in self.layers[:-1]:
            x = layer(x)
        x = self.norm(self.layers[-1](x, step))
        return x if step is None else x.squeeze(1)


def resized(x: Float[Tensor, "B T d"], N: int) -> Float[Tensor, "B N d"]:
    """I(x, N): x linearly interpolated over time to N steps."""
    if x.shape[1] == N:
        return x
    return nn.functional.interpolate(x.transpose(1, 2), N, mode="linear", align_corners=False).transpose(1, 2)


def at_step(x: Float[Tensor, "B T d"], step: Int[Tensor, "B"]) -> Float[Tensor, "B d"]:
    """The vector of each row at its own step."""
    return x[torch.arange(len(x), device=x.device), step]


def _attend(q: Float[Tensor, "B T d"], k: Float[Tensor, "B S d"], v: Float[Tensor, "B S d"], heads: int, mask=None):
    """softmax(q k^T / sqrt(d / heads)) v per head, heads concatenated: (B, T, d)."""
    split = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, heads, T or S, d / heads)
    return nn.functional.scaled_dot_product_attention(*split, attn_mask=mask).transpose(1, 2).flatten(2)


def _divisible(d: int, heads: int) -> int:
    if d % heads:
        raise ValueError(f"width {d} cannot be divided among {heads} heads")
    return heads
