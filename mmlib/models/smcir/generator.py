"""CMCG, the generator of missing modalities of SMCIR (Eq 9-20), and its parts in the order in which they run."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.models.layers import SelfAttention, TransformerEncoder, mlp, positions, resized


class CMCG(nn.Module):
    """Context-aware completion generator of one modality (Eq 9-15).

    d_L, d_m, d_other: widths of the text, of this modality, and of the third one; None where there is no third one.
    """

    def __init__(
        self, d_L: int, d_m: int, d_other: int | None, *, width: int, lstm_layers: int, heads: int, layers: int,
        eta: float, dropout: float, msse: bool, official: bool,
    ):  # fmt: skip
        super().__init__()
        self.eta = eta
        shape = dict(heads=heads, layers=layers, dropout=dropout, official=official)
        self.align = None if d_other is None else Align(d_L, d_other, width, **shape)
        self.msse = MSSE(d_L, official) if msse else nn.Identity()
        self.gamma = Gamma(d_L, d_m, width, lstm_layers, **shape)

    def forward(
        self, X_L: Float[Tensor, "B N d_L"], X_miss: Float[Tensor, "B T d_m"], X_other: Float[Tensor, "B _ _"] | None,
        present: Bool[Tensor, "B"],
    ) -> Float[Tensor, "B T d_m"]:  # fmt: skip
        """G = eta Gamma(MS) + X_miss (Eq 15). present: rows that have the other modality; for the rest C is the text."""
        C = X_L
        rows = () if self.align is None else present.nonzero().flatten()
        if len(rows):
            C = C.index_copy(0, rows, self.align(X_L[rows], X_other[rows]))  # Eq 9
        MS = self.msse(C.transpose(1, 2)).transpose(1, 2)  # Eq 10-14
        return self.eta * resized(self.gamma(MS), X_miss.shape[1]) + X_miss


class Align(nn.Module):
    """Eq 9: E = W_o TransE([W_L X_L || I(W_m X_m, N_L)]), the condition from the text and the modality that is present."""

    def __init__(self, d_L: int, d_m: int, width: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.W_L, self.W_m = nn.Linear(d_L, width), nn.Linear(d_m, width)
        self.transe = TransE(2 * width, heads, layers, dropout, official)
        self.W_o = nn.Linear(2 * width, d_L)

    def forward(self, X_L: Float[Tensor, "B N d_L"], X_m: Float[Tensor, "B _ d_m"]) -> Float[Tensor, "B N d_L"]:
        joined = torch.cat((self.W_L(X_L), self.W_m(resized(X_m, X_L.shape[1]))), 2)
        return self.W_o(self.transe(joined))


class MSSE(nn.Module):
    """Multi-scale attention enhancement (Eq 10-14) of a condition C (B, d_L, N_L)."""

    def __init__(self, d: int, official: bool = False):
        super().__init__()
        self.official = official
        self.convolutions = nn.ModuleList([nn.Conv1d(d, d, k, padding=k // 2) for k in (1, 3, 5)])
        self.fc = nn.Conv1d(3 * d, d, 1)
        hidden = max(d // 8, 8)  # the LayerNorm of one number is a constant, that of a few hardly more
        self.W_1, self.norm, self.W_2 = nn.Linear(2 * d, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, d)

    def forward(self, C: Float[Tensor, "B d N"]) -> Float[Tensor, "B d N"]:
        """MS = Z * A + Z; in the released code C * A + C."""
        Z = self.fc(torch.cat([conv(C) for conv in self.convolutions], 1))  # Eq 10, 11
        Q = torch.cat((Z.amax(2), Z.mean(2)), 1)  # Eq 12
        A = self.W_2(self.norm(self.W_1(Q)).relu()).sigmoid()[..., None]  # Eq 13
        return C * A + C if self.official else Z * A + Z  # Eq 14


class Gamma(nn.Module):
    """The core transformation (Eq 16-20): MS (B, N_L, d_L) -> a modality of width d_m, still in N_L steps."""

    def __init__(self, d_L: int, d_m: int, width: int, n: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.norm = nn.LayerNorm(d_L)
        self.bilstm = nn.LSTM(d_L, width, n, batch_first=True, bidirectional=True)
        self.transe = TransE(2 * width, heads, layers, dropout, official)
        self.W = mlp(2 * width, width, d_m)
        self.mha = SelfAttention(d_m, 1 if official else max(h for h in range(1, 5) if d_m % h == 0))
        self.norm_out = nn.LayerNorm(d_m)

    def forward(self, MS: Float[Tensor, "B N d_L"]) -> Float[Tensor, "B N d_m"]:
        K_lstm = self.bilstm(self.norm(MS))[0]  # Eq 16
        K = K_lstm + self.transe(K_lstm)  # Eq 17, 18
        P = self.W(K)  # Eq 19
        return self.norm_out(self.mha(P) + P)  # Eq 20 before the interpolation


class TransE(nn.Module):
    """A transformer encoder over time with sinusoidal positions; official: it reads one time step at a time, without."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float, official: bool):
        super().__init__()
        self.encoder, self.official = TransformerEncoder(width, heads, layers, dropout), official

    def forward(self, x: Float[Tensor, "B T h"]) -> Float[Tensor, "B T h"]:
        if self.official:
            return self.encoder(x.flatten(0, 1)[:, None]).view_as(x)
        return self.encoder(x + positions(x.shape[1], x.shape[2], x))
