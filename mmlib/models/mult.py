"""MulT: every modality attends to every other one, transformers go over the results, and their last steps are classified.

Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov: Multimodal Transformer for Unaligned Multimodal Language Sequences (ACL 2019).

Essential are a temporal convolution for each modality; a crossmodal encoder for each ordered pair, whose layers all attend to
the same embedded source; a transformer over the encoders of each target side by side; and their last steps in a residual
head. With the same sizes it has as many parameters as the MulT of the package MMSA. What differs from the paper or is free:

  missing       The paper is about complete data. What is missing or lost is a zero vector, to which positions are added and
                which is attended to like others. dropout_modalities=True is the row '+ modality dropout': in each training
                step a row shows a random set of the modalities that it has, all non-empty sets equally likely
  modalities    any number in place of three. One alone has no encoder for pairs: the transformer goes over its embedding
  norm          One LayerNorm for target and source of a layer, as in the released code
  attention     No causal mask; the released code has one by default, the paper does not
  memory        The transformer over the results gets no positions of its own, and is read at the last observed step, at the
                first one where a modality is missing. The paper pads in front and reads the last step
  sizes         width 40, 4 crossmodal layers, 3 of the transformers, kernel 3: among those of the paper, for all modalities
  dropout       of whole channels on residuals, where the released code drops single numbers (`python -m tests.bench mmsa` lays
                both side by side), and in the head; none on attention weights, in the FFN or on embeddings
  cost          encoders for six pairs and three transformers, each twice as wide: on 20 frames about 35 times a step of CRA
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from mmlib.data.dataset import Batch
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import CrossmodalAttention, FrameDropout, TransformerEncoder, mlp, positions
from mmlib.names import DataError

Sequences = dict[str, Float[Tensor, "B _ _"]]


class TemporalConvolution(nn.Conv1d):
    """A convolution over time, zero outside the clip, without bias: (B, T, i) -> (B, T, d). kernel: an odd number."""

    def __init__(self, d_in: int, d: int, kernel: int = 3):
        super().__init__(d_in, d, kernel, bias=False)

    def forward(self, x: Float[Tensor, "B T i"]) -> Float[Tensor, "B T d"]:
        T, middle = x.shape[1], self.kernel_size[0] // 2
        reach = min(middle, T - 1)  # a short clip needs few taps: a single vector only the middle one
        taps = self.weight[:, :, middle - reach : middle + reach + 1]  # (d, i, k)
        parts = linear(x, taps.permute(2, 0, 1).flatten(0, 1)).chunk(2 * reach + 1, 2)
        z = parts[reach]
        for shift in range(1, reach + 1):
            z = z + pad(parts[reach - shift][:, :-shift], (0, 0, shift, 0))
            z = z + pad(parts[reach + shift][:, shift:], (0, 0, 0, shift))
        return z


class CrossmodalLayer(nn.Module):
    """z = z + CA(q = LN(z), kv = LN(source)), then z = z + FFN(LN(z)). FFN: one hidden layer of width 4 d."""

    def __init__(self, d: int, heads: int, dropout: float):
        super().__init__()
        self.attention, self.norm1 = CrossmodalAttention(d, heads), nn.LayerNorm(d)
        self.ffn, self.norm2 = mlp(d, 4 * d, d), nn.LayerNorm(d)
        self.dropout = FrameDropout(dropout)

    def forward(self, z: Float[Tensor, "B T d"], source: Float[Tensor, "B S d"]) -> Float[Tensor, "B T d"]:
        z = z + self.dropout(self.attention(self.norm1(source), self.norm1(z)))
        return z + self.dropout(self.ffn(self.norm2(z)))


class CrossmodalEncoder(nn.Module):
    """The paper's crossmodal transformer, target (B, T, d) and source (B, S, d) -> (B, T, d), with a LayerNorm at its end.

    Each of its `depth` layers attends to the source as it came.
    """

    def __init__(self, d: int, heads: int, depth: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList([CrossmodalLayer(d, heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(d)

    def forward(self, target: Float[Tensor, "B T d"], source: Float[Tensor, "B S d"]) -> Float[Tensor, "B T d"]:
        for layer in self.layers:
            target = layer(target, source)
        return self.norm(target)


class Trunk(nn.Module):
    """MulT without its head, a batch -> (B, width): what the systems that are built on it share."""

    def __init__(self, dims: dict[str, int], d: int, heads: int, layers: int, memory: int, kernel: int, dropout: float):
        super().__init__()
        if kernel % 2 == 0:
            raise DataError(
                f"kernel {kernel} is even; the temporal convolution keeps the length of a clip with an odd one"
            )
        pair = max(len(dims) - 1, 1) * d
        self.width = len(dims) * pair
        self.input = nn.ModuleDict({m: TemporalConvolution(i, d, kernel) for m, i in dims.items()})
        self.crossmodal = nn.ModuleDict(
            {m: nn.ModuleDict({s: CrossmodalEncoder(d, heads, layers, dropout) for s in dims if s != m}) for m in dims}
        )
        self.memory = nn.ModuleDict({m: TransformerEncoder(pair, heads, memory, dropout) for m in dims})

    def forward(self, batch: Batch) -> Float[Tensor, "B w"]:
        return self.remember(self.interact(embed(self.input, batch)), last_steps(batch))

    def interact(self, E: Sequences, sources: dict[str, Sequences] | None = None) -> Sequences:
        """Per target m (B, T_m, (M - 1) d): its crossmodal encoders side by side; with M = 1 the embedding itself.

        sources: per target the sequences to which it attends, by default the embeddings E for each.
        """
        if len(E) == 1:
            return E
        H = {}
        for m, encoders in self.crossmodal.items():
            S = E if sources is None else sources[m]
            H[m] = torch.cat([encoder(E[m], S[s]) for s, encoder in encoders.items()], 2)
        return H

    def remember(self, H: Sequences, steps: dict[str, Int[Tensor, "B"]]) -> Float[Tensor, "B w"]:
        """The transformer of each target, read at one step of each row, side by side."""
        return torch.cat([self.memory[m](h, steps[m]) for m, h in H.items()], 1)


class ResidualHead(nn.Module):
    """h = h + W_2 relu(W_1 h), then a linear map to the outputs: (B, w) -> (B, C)."""

    def __init__(self, width: int, outputs: int, dropout: float):
        super().__init__()
        self.hidden = mlp(width, width, width, dropout=dropout)
        self.out = nn.Linear(width, outputs)

    def forward(self, h: Float[Tensor, "B w"]) -> Prediction:
        h = h + self.hidden(h)
        return Prediction(self.out(h), representation=h)


class MulT(System):
    """d: width of a modality. layers: of a crossmodal encoder. memory: layers of a transformer over the results.

    kernel: of the temporal convolutions, an odd number. dropout_modalities: whether training hides modalities.
    """

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 40,
        heads: int = 8,
        layers: int = 4,
        memory: int = 3,
        kernel: int = 3,
        dropout: float = 0.1,
        dropout_modalities: bool = False,
    ):
        super().__init__(dims, task, outputs)
        self.dropout_modalities, self.hides_nothing = dropout_modalities, not dropout_modalities
        self.trunk = Trunk(dims, d, heads, layers, memory, kernel, dropout)
        self.head = ResidualHead(self.trunk.width, outputs, dropout)
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        return self.head(self.trunk(batch))

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        shown = with_random_subset(self.patterns, batch) if self.dropout_modalities else batch
        return {"task": self.task_loss(self.predict(shown).logits, batch.target)}


def embed(input: nn.ModuleDict, batch: Batch) -> Sequences:
    """Per modality (B, T_m, d): temporal convolution times sqrt(d), plus positions."""
    E = {}
    for m, convolution in input.items():
        z = convolution(batch.frames(m))
        E[m] = z * math.sqrt(z.shape[2]) + positions(z.shape[1], z.shape[2], z)
    return E


def last_steps(batch: Batch) -> dict[str, Int[Tensor, "B"]]:
    """Per modality the last observed step of each row, 0 without any."""
    return {m: (f * torch.arange(f.shape[1], device=f.device)).amax(1) for m, f in batch.observed.items()}
