"""DLF: what modalities share is separated from what each has alone, and the text draws the rest to itself.

Wang, Zhou, Wu, Chen, Hu: DLF: Disentangled-Language-Focused Multimodal Sentiment Analysis (AAAI 2025).

Essential are a shared and one specific encoder for each modality, four regularisers that keep the two apart, attention from
the specific features of the text over those of every other modality, and predictions from each part beside that from all.
The paper is about complete data. Written from a short description of the method; what differs or is a reading:

  missing       A missing modality is a sequence of zero vectors, in the regularisers, too. dropout_modalities=True hides a
                random set in training: each row shows a random set of its modalities, all non-empty sets equally likely
  inputs        features as the data have them; the paper trains BERT with the rest. A linear map for each modality, then
                linear interpolation over time to the longest sequence, where the paper's data have 50 words. No positions
  encoders      pre-norm transformer encoders as in MulT. The vector of a sequence is its mean over the steps
  attraction    a crossmodal encoder of MulT, without the transformer after it; its query is the specific text
  decoder       a linear map of shared and specific features of a step side by side
  margin        A row's shared vector of one modality is nearer to each other modality of the row (positive) than to the same
                modality of the next row of the batch with another class (negative), by 0.1 of cosine. Classes of a regression
                are signs; rows with several labels have the same class if all labels are equal. Mean over all triplets
  orthogonality the mean over rows of the sum over modalities of |cosine| of shared and specific vectors
  outputs       linear maps: of all vectors side by side (the mean of the shared ones, the specific ones, those that the text
                attracted), of the mean of the shared ones, and of each specific one
  loss          weights as in the paper. Its absolute error is `absolute` of `fit`, for all systems of a study
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss

from mmlib.data.dataset import Batch, Dataset
from mmlib.missing.patterns import all_patterns
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import TransformerEncoder, resized
from mmlib.models.mult import CrossmodalEncoder
from mmlib.models.pooling import steps_of
from mmlib.names import DataError

Sequences = dict[str, Float[Tensor, "B T d"]]
Vectors = Float[Tensor, "B M d"]
_ALPHA = 0.1


class DLF(System):
    """d: width of all features. layers: of each encoder. length: steps of each sequence; `for_data` takes the longest one.
    weight: of the regularisers.
    """

    modalities = "text and one or more others"

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *, d: int = 64, heads: int = 4, layers: int = 2,
        length: int = 10, dropout: float = 0.1, weight: float = 0.1, dropout_modalities: bool = False,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        if "text" not in dims or len(dims) < 2:
            raise DataError(
                f"DLF is defined for 'text', which draws the others to itself, and one or more other modalities; "
                f"the data have {', '.join(dims)}"
            )
        self.length, self.weight, self.dropout_modalities = length, weight, dropout_modalities
        self.hides_nothing = not dropout_modalities
        shape, M = (d, heads, layers, dropout), len(dims)
        self.input = nn.ModuleDict({m: nn.Linear(i, d) for m, i in dims.items()})
        self.shared = TransformerEncoder(*shape)
        self.private = nn.ModuleDict({m: TransformerEncoder(*shape) for m in dims})
        self.decoder = nn.ModuleDict({m: nn.Linear(2 * d, d) for m in dims})
        self.attract = nn.ModuleDict({m: CrossmodalEncoder(*shape) for m in dims if m != "text"})
        self.head = nn.Linear(2 * M * d, outputs)
        self.common_head = nn.Linear(d, outputs)
        self.private_head = nn.ModuleDict({m: nn.Linear(d, outputs) for m in dims})
        self.register_buffer("patterns", all_patterns(M), persistent=False)  # (2^M - 1, M)

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "DLF":
        return super().for_data(data, seed, **{"length": steps_of(data), **arguments})

    def predict(self, batch: Batch) -> Prediction:
        _, s, p = self.disentangle(batch)
        h = self.fuse(s, p)
        return Prediction(self.head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """L(y) + L(y_common) + 3 L(y_text) + L(y_other) for each other modality
        + weight (L_reconstruction + L_cycle + 0.1 (L_margin + L_orthogonality)).
        """
        if self.dropout_modalities:
            batch = with_random_subset(self.patterns, batch)
        e, s, p = self.disentangle(batch)
        S, P = _means(s), _means(p)

        def task(head: nn.Linear, h: Tensor) -> Tensor:
            return self.task_loss(head(h), batch.target)

        decoded = {m: decode(torch.cat((s[m], p[m]), 2)) for m, decode in self.decoder.items()}
        private = [
            task(head, v) * (3 if m == "text" else 1) for (m, head), v in zip(self.private_head.items(), P.unbind(1))
        ]
        return {
            "task": task(self.head, self.fuse(s, p)),
            "common": task(self.common_head, S.mean(1)),
            "private": sum(private),
            "reconstruction": self.weight * sum(mse_loss(decoded[m], e[m]) for m in e),
            "cycle": self.weight * sum(mse_loss(self.private[m](decoded[m]), p[m]) for m in e),
            "margin": 0.1 * self.weight * margin(S, other_class(batch.target, self.task)),
            "orthogonality": 0.1 * self.weight * cosine_similarity(S, P, 2).abs().sum(1).mean(),
        }  # fmt: skip

    def disentangle(self, batch: Batch) -> tuple[Sequences, Sequences, Sequences]:
        """e_m, the embedded sequences; s_m, their shared features; p_m, their specific features."""
        e = {}
        for m, project in self.input.items():
            e[m] = resized(project(batch.frames(m)), self.length)
        return e, {m: self.shared(z) for m, z in e.items()}, {m: self.private[m](z) for m, z in e.items()}

    def fuse(self, s: Sequences, p: Sequences) -> Float[Tensor, "B h"]:
        """All vectors side by side: the mean shared one, each specific one, each that the text attracted."""
        A = {m: attract(p["text"], p[m]) for m, attract in self.attract.items()}
        return torch.cat((_means(s).mean(1), _means(p).flatten(1), _means(A).flatten(1)), 1)


def other_class(target: Tensor, task: str) -> Bool[Tensor, "B B"]:
    """True for each two rows with different classes: signs of values, classes, sets of labels."""
    labels = target.sign() if task == "regression" else target
    labels = labels.reshape(len(labels), -1)
    return (labels[:, None] != labels).any(2)


def margin(s: Vectors, different: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
    """max(0, cos(a, n) - cos(a, p) + 0.1), mean over rows with a negative, modalities and positives; 0 without any.

    a: s_m of a row. p: that of another modality of the row. n: s_m of the next row, cyclically, of another class.
    """
    B, M, _ = s.shape
    row = torch.arange(B, device=s.device)
    steps = (row - row[:, None]) % B
    negative = steps.masked_fill(~different, B).argmin(1)
    cos_p = cosine_similarity(s[:, :, None], s[:, None], 3)  # (B, M, M)
    cos_n = cosine_similarity(s, s[negative], 2)[:, :, None]
    exists = different.any(1)[:, None, None] & ~torch.eye(M, dtype=torch.bool, device=s.device)
    loss = (cos_n - cos_p + _ALPHA).relu().masked_fill(~exists, 0)
    return loss.sum() / exists.sum().clamp(min=1)


def _means(sequences: Sequences) -> Vectors:
    return torch.stack([z.mean(1) for z in sequences.values()], 1)
