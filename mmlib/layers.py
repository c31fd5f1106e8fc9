"""Building blocks that several papers share."""

import torch.nn.functional as F
from jaxtyping import Float
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


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens (B, T, d) -> (B, T, d); softmax(Q K^T / sqrt(d / heads)) V per head."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        if d % heads:
            raise ValueError(f"width {d} cannot be divided among {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def forward(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        B, T, d = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, T, d / heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, d))
