"""Building blocks that several papers share. Attention runs on torch's scaled_dot_product_attention."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


def mlp(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of these widths, each but the last followed by ReLU and, if asked for, dropout."""
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(zip(widths, widths[1:])):
        if i:
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(d_in, d_out))
    return nn.Sequential(*layers)


def positions(T: int, d: int, like: Tensor) -> Float[Tensor, "T d"]:
    """Sinusoidal positions (Vaswani et al. 2017): sin and cos of t / 10000^(2i / d), interleaved; t counts from 0."""
    t = torch.arange(T, dtype=like.dtype, device=like.device)
    rate = 10_000 ** (-torch.arange(0, d, 2, dtype=like.dtype, device=like.device) / d)
    angle = t[:, None] * rate  # (T, ceil(d / 2))
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1)[:, :d]


class FrameDropout(nn.Dropout1d):
    """Dropout of whole channels of a sequence (B, T, d), the same ones in every frame (Gal, Ghahramani 2016)."""

    def forward(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens (B, T, d) -> (B, T, d); softmax(Q K^T / sqrt(d / heads)) V per head."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = _divided(d, heads)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        B, T, d = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, T, d / heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, d))


class CrossmodalAttention(nn.Module):
    """Multi-head attention of target tokens (B, T, d) over source tokens (B, S, d): X_{s->t} (B, T, d).

    softmax(X_t W_Q W_K^T X_s^T / sqrt(d / heads)) X_s W_V per head, then a linear map over the joined heads.
    observed: (B, S), the source tokens that may be looked at; a row that has none of them looks at all.
    """

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = _divided(d, heads)
        self.q = nn.Linear(d, d)
        self.kv = nn.Linear(d, 2 * d)
        self.out = nn.Linear(d, d)

    def forward(
        self,
        source: Float[Tensor, "B S d"],
        target: Float[Tensor, "B T d"],
        observed: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T d"]:
        B, T, d = target.shape
        # Keys and values by the two halves of one weight: slicing their product instead would copy it, and its gradient.
        (W_k, W_v), (b_k, b_v) = self.kv.weight.chunk(2), self.kv.bias.chunk(2)
        q, k, v = (
            x.view(B, -1, self.heads, d // self.heads).transpose(1, 2)  # (B, heads, T or S, d / heads)
            for x in (self.q(target), F.linear(source, W_k, b_k), F.linear(source, W_v, b_v))
        )
        mask = None if observed is None else (observed | ~observed.any(1, keepdim=True))[:, None, None]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(B, T, d))


class TransformerLayer(nn.Module):
    """One encoder layer (B, T, d) -> (B, T, d), LayerNorm behind each residual sum as in Vaswani et al.

    y = LN(x + SA(x)), z = LN(y + FFN(y)); the FFN is four times as wide as its input.
    """

    def __init__(self, d: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.attention, self.norm1 = SelfAttention(d, heads), nn.LayerNorm(d)
        self.ffn, self.norm2 = mlp(d, 4 * d, d), nn.LayerNorm(d)
        self.dropout = FrameDropout(dropout)

    def forward(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        x = self.norm1(x + self.dropout(self.attention(x)))
        return self.norm2(x + self.dropout(self.ffn(x)))


def _divided(d: int, heads: int) -> int:
    if d % heads:
        raise ValueError(f"width {d} cannot be divided among {heads} heads")
    return heads
