"""EMT and EMT-DLFR: tokens of the whole clip and the frames of each modality inform each other; two views restore features.

Sun, Lian, Liu, Tao: Efficient Multimodal Transformer With Dual-Level Feature Restoration for Robust Multimodal Sentiment
Analysis (TAFFC 2024).

Essential to EMT is the global multimodal context, one token for each modality, which exchanges with each sequence in place of
attention between pairs of sequences. Essential to DLFR are two views of a row, one with less than the other: their vectors
attract each other as in SimSiam (Chen, He 2021), and the hidden frames are reconstructed. dlfr=True is EMT-DLFR, dlfr=False
the system for complete data. Written from a short description of the method; what differs from the paper or is a reading:

  inputs        features as the data have them; the paper trains BERT with the rest. The text passes a linear map, every other
                modality an LSTM. Frames that are not observed are zero vectors for both and attended to like others
  context       token m is a linear map of the mean over the observed frames of sequence m, as it leaves its encoder
  unit          Both attentions have norms of their own before queries and sources, and a transformer layer follows each. The
                sequence goes first, the context then reads what it has become, and the new context is the mean of those that
                the modalities gave. In one layer all modalities have the same weights. No positions and no norm at the end
  readout       context and means of the observed frames of each sequence side by side; a missing modality has a mean of zero
  views         The complete view is the row as the protocol leaves it. The incomplete one shows a random set of its
                modalities, all non-empty sets equally likely, and loses frames at a rate from {0, .1, ..., rate}, but one
                frame of each modality stays. The paper hides frames alone, at the rate of the test, by masks that are drawn
                once. With one frame per modality only sets are hidden
  attraction    in M + 1 spaces, the context and the mean of each sequence, with a predictor of two layers each and without
                another projection. It is 1 - cosine, so that it is never negative; the constant has no gradient
  restoration   a linear map of each sequence after the last unit. Smooth L1, the mean over the hidden frames of a modality and
                their dimensions, summed over modalities
  loss          w1 and w2 are 1; the paper has the absolute error, which is `absolute` of `fit` for all systems of a study
  complete      dropout_modalities=True trains EMT (dlfr=False) with the sets of the incomplete view and all of their frames

The cost is linear in the number of frames but for the self-attention of each sequence.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, smooth_l1_loss

from mmlib.data.dataset import Batch, frame_mean, zero_hidden
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import incomplete_view, with_random_subset
from mmlib.models.layers import CrossmodalAttention, FrameDropout, TransformerLayer, mlp
from mmlib.names import DataError

Local = dict[str, Float[Tensor, "B _ d"]]
Context = Float[Tensor, "B M d"]


@dataclass(frozen=True)
class Reading:
    """What one view gives: the sequence of each modality, and the vectors of the spaces in which views attract each other.

    spaces: the context (B, M d), then the mean of each sequence (B, d).
    """

    local: Local
    spaces: list[Float[Tensor, "B _"]]

    @property
    def joint(self) -> Float[Tensor, "B h"]:
        return torch.cat(self.spaces, 1)


class EMT(System):
    """d: width of tokens. layers: of mutual promotion. w1: weight of attraction and of the complete view's task loss. w2: of
    the reconstruction. rate: the highest share of lost frames. dropout_modalities: only with dlfr=False.
    """

    grid = {"w1": (0.1, 1.0), "w2": (0.1, 1.0)}

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 64, heads: int = 4, layers: int = 2,
        dropout: float = 0.1, dlfr: bool = True, w1: float = 1.0, w2: float = 1.0, rate: float = 0.5,
        dropout_modalities: bool = False,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        if dlfr and dropout_modalities:
            raise DataError("EMT: dlfr=True hides modalities itself; dropout_modalities=True is for dlfr=False")
        self.dlfr, self.dropout_modalities = dlfr, dropout_modalities
        self.w1, self.w2, self.rate = w1, w2, rate
        self.hides_nothing = not (dlfr or dropout_modalities)
        self.grid = self.grid if dlfr else {}
        M = len(dims)
        self.input = nn.ModuleDict({m: nn.Linear(i, d) if m == "text" else _LSTM(i, d) for m, i in dims.items()})
        self.token = nn.ModuleDict({m: nn.Linear(d, d) for m in dims})
        self.units = nn.ModuleList([MutualPromotion(d, heads, dropout) for _ in range(layers)])
        self.head = mlp(2 * M * d, d, outputs, dropout=dropout)
        if dlfr:
            self.predictors = nn.ModuleList([mlp(n * d, n * d, n * d) for n in (M, *[1] * M)])
            self.decoders = nn.ModuleDict({m: nn.Linear(d, i) for m, i in dims.items()})
        self.register_buffer("patterns", all_patterns(M), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        h = self.read(batch).joint
        return Prediction(self.head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """L_task(incomplete) + w1 (L_attraction + L_task(complete)) + w2 L_reconstruction; without DLFR L_task alone."""
        if not self.dlfr:
            shown = with_random_subset(self.patterns, batch) if self.dropout_modalities else batch
            return {"task": self.task_loss(self.predict(shown).logits, batch.target)}
        view = incomplete_view(self.patterns, batch, self.rate)
        incomplete, complete = self.read(view), self.read(batch)
        errors = [hidden_error(decode(incomplete.local[m]), m, batch, view) for m, decode in self.decoders.items()]
        return {
            "task": self.task_loss(self.head(incomplete.joint), batch.target),
            "complete": self.w1 * self.task_loss(self.head(complete.joint), batch.target),
            "attraction": self.w1 * self.attraction(incomplete, complete),
            "reconstruction": self.w2 * sum(errors),
        }

    def read(self, batch: Batch) -> Reading:
        """Encoders, context and units."""
        L = {m: f(batch.frames(m)) for m, f in self.input.items()}
        G = torch.stack([self.token[m](z) for m, z in _means(L, batch).items()], 1)
        for unit in self.units:
            L, G = unit(L, G)
        return Reading(L, [G.flatten(1), *_means(L, batch).values()])

    def attraction(self, a: Reading, b: Reading) -> Float[Tensor, ""]:
        """The sum over spaces of 1 - (cos(P(a), b) + cos(P(b), a)) / 2, mean over rows; the second of each has no gradient."""
        return sum(
            1 - (cosine_similarity(P(u), v.detach()) + cosine_similarity(P(v), u.detach())).mean() / 2
            for P, u, v in zip(self.predictors, a.spaces, b.spaces)
        )


class MutualPromotion(nn.Module):
    """One layer: each sequence reads the context; the context reads each sequence, and the mean is the new context."""

    def __init__(self, d: int, heads: int, dropout: float):
        super().__init__()
        self.local, self.context = Promotion(d, heads, dropout), Promotion(d, heads, dropout)

    def forward(self, L: Local, G: Context) -> tuple[Local, Context]:
        L = {m: self.local(z, G) for m, z in L.items()}
        return L, torch.stack([self.context(G, z) for z in L.values()]).mean(0)


class Promotion(nn.Module):
    """y = z + CA(LN(z), LN(source)), then a transformer layer: (B, T, d), (B, S, d) -> (B, T, d)."""

    def __init__(self, d: int, heads: int, dropout: float):
        super().__init__()
        self.norm, self.norm_source = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention, self.layer = CrossmodalAttention(d, heads), TransformerLayer(d, heads, dropout)
        self.dropout = FrameDropout(dropout)

    def forward(self, z: Float[Tensor, "B T d"], source: Float[Tensor, "B S d"]) -> Float[Tensor, "B T d"]:
        return self.layer(z + self.dropout(self.attention(self.norm_source(source), self.norm(z))))


class _LSTM(nn.LSTM):
    """The states of all steps: (B, T, i) -> (B, T, d)."""

    def __init__(self, d_in: int, d: int):
        super().__init__(d_in, d, batch_first=True)

    def forward(self, x: Float[Tensor, "B T i"]) -> Float[Tensor, "B T d"]:
        return super().forward(x)[0]


def hidden_error(made: Float[Tensor, "B T i"], m: str, batch: Batch, view: Batch) -> Float[Tensor, ""]:
    """Smooth L1 error (beta 1) of the frames of a modality that the view hides; mean over them and their dimensions, or 0."""
    hidden = batch.observed[m] & ~view.observed[m]
    error = smooth_l1_loss(made, zero_hidden(batch.x[m], hidden), reduction="none").mean(2)
    return error.masked_fill(~hidden, 0).sum() / hidden.sum().clamp(min=1)


def _means(L: Local, batch: Batch) -> dict[str, Float[Tensor, "B d"]]:
    """The means over the observed frames."""
    return {m: frame_mean(z, batch.observed[m]) for m, z in L.items()}
