"""GCNet: two graphs over the utterances of a dialogue classify them and reconstruct what is missing.

Lian, Chen, Sun, Liu, Tao: GCNet: Graph Completion Network for Incomplete Multimodal Learning in Conversation (TPAMI 2023).

Essential are the graphs over the dialogue, whose edges tell before from after and one speaker from another, and that one
network classifies and reconstructs. What differs from the paper or is free:

  dialogues     A row is an utterance and is read beside its neighbours, so that a prediction sees more than that of other
                systems, and rows of one dialogue stay in one batch. Data without dialogues: not applicable
  utterances    the mean of the observed frames of each modality, zeros for a missing one, all side by side
  window        Edges lead to utterances whose positions differ by at most `window`, to both sides and to the utterance
                itself. A dialogue of which rows were left out has gaps in its positions
  convolutions  without biases, as their formulas are
  speakers      Two relations, of utterances by the same speaker and by different ones. The paper has a relation for each
                ordered pair of speakers, which cannot name the speakers of new dialogues
  hiding        In training each utterance shows a random set of the modalities that it has, all non-empty sets equally
                likely. The paper hides at the rate of the test
  error         The squared error of a hidden modality, the mean over its dimensions; their sum over modalities, the mean over
                utterances. What an utterance does not have costs nothing
  attention     the paper's optional attention before the last linear layer: none
  sizes         d = 64 in each direction, in the paper 200; dropout .5 as in the paper, between the layers of an LSTM and
                before the output
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmlib.data.dataset import Batch, frame_mean
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import random_subset
from mmlib.names import DataError

Padded = Float[Tensor, "D L _"]
Edges = Bool[Tensor, "R D L L"]


class GCNet(System):
    """d: width of a graph's states and of each direction of an LSTM. window: of the graphs, in utterances to each side.

    weight: of the reconstruction.
    """

    modalities = "two or more"
    needs_dialogues = True

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        d: int = 64,
        window: int = 2,
        weight: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"GCNet is defined for two or more modalities, the data have {', '.join(dims)}")
        self.window, self.weight = window, weight
        self.context = DialogueLSTM(sum(dims.values()), d, dropout)
        self.temporal, self.speaker = Graph(2 * d, d, 3, dropout), Graph(2 * d, d, 2, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head, self.decoder = nn.Linear(d, outputs), nn.Linear(d, sum(dims.values()))
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)

    def predict(self, batch: Batch) -> Prediction:
        """Raises DataError for a batch without dialogues."""
        h = self.represent(batch, self.utterances(batch), availability(batch.observed))
        return Prediction(self.head(h), representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss + weight times the error of what was hidden."""
        u, present = self.utterances(batch), availability(batch.observed)
        shown = random_subset(self.patterns, present)
        h = self.dropout(self.represent(batch, u, shown))
        errors = [(made - real).square().mean(1) for made, real in zip(self._split(self.decoder(h)), u)]
        hidden = present & ~shown
        return {
            "task": self.task_loss(self.head(h), batch.target),
            "reconstruction": self.weight * torch.stack(errors, 1).masked_fill(~hidden, 0).sum(1).mean(),
        }

    def utterances(self, batch: Batch) -> list[Float[Tensor, "B _"]]:
        return [frame_mean(batch.x[m], batch.observed[m]) for m in self.dims]

    def represent(
        self, batch: Batch, u: list[Float[Tensor, "B _"]], shown: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B d"]:
        """The sum of both graphs' outputs for each utterance."""
        if batch.place is None:
            raise DataError("GCNet reads dialogues: it needs a Dataset with the columns group and order")
        dialogue, step, lengths = layout(batch.place[:, 0], batch.place[:, 1])

        def padded(v: Tensor) -> Tensor:
            out = v.new_zeros(len(lengths), int(lengths.max()), *v.shape[1:])
            out[dialogue, step] = v
            return out

        x = torch.cat([v.masked_fill(~keep[:, None], 0) for v, keep in zip(u, shown.T)], 1)
        H, position, speaker = padded(x), padded(batch.place[:, 1]), padded(batch.place[:, 2])
        H, real = self.context(H, lengths), padded(torch.ones_like(dialogue, dtype=torch.bool))
        near = (position[:, :, None] - position[:, None]).abs() <= self.window  # (D, L, L), [., i, j]
        near &= real[:, :, None] & real[:, None]
        y = self.temporal(H, near & order_of(position), lengths) + self.speaker(H, near & same(speaker), lengths)
        return y[dialogue, step]

    def _split(self, x: Float[Tensor, "B _"]) -> tuple[Float[Tensor, "B _"], ...]:
        return x.split(list(self.dims.values()), 1)


class Graph(nn.Module):
    """A relational convolution, a graph convolution, and an LSTM over input and result: (D, L, i) -> (D, L, d)."""

    def __init__(self, d_in: int, d: int, relations: int, dropout: float):
        super().__init__()
        self.root, self.relation = nn.Linear(d_in, d, bias=False), nn.Linear(relations * d_in, d, bias=False)
        self.own, self.neighbours = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.lstm, self.out = DialogueLSTM(d_in + d, d, dropout), nn.Linear(2 * d, d)

    def forward(self, H: Padded, edges: Edges, lengths: Int[Tensor, "D"]) -> Padded:
        return self.out(self.lstm(torch.cat((H, self.convolve(H, edges)), 2), lengths))

    def convolve(self, H: Padded, edges: Edges) -> Padded:
        """h' = relu(W_0 h + sum over r of W_r times the mean of h over N_r); relu(W_a h' + W_b times the sum of h' over N)."""
        A = edges.to(H.dtype)
        mean = A / A.sum(3, keepdim=True).clamp(min=1) @ H  # (R, D, L, i)
        h = (self.root(H) + self.relation(torch.cat(tuple(mean), 2))).relu()
        return (self.own(h) + self.neighbours(edges.any(0).to(H.dtype) @ h)).relu()


class DialogueLSTM(nn.Module):
    """A Bi-LSTM of two layers over the real steps of each dialogue: (D, L, i) -> (D, L, 2 d), zeros at padding."""

    def __init__(self, d_in: int, d: int, dropout: float):
        super().__init__()
        self.lstm = nn.LSTM(d_in, d, num_layers=2, bidirectional=True, batch_first=True, dropout=dropout)

    def forward(self, x: Padded, lengths: Int[Tensor, "D"]) -> Padded:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def layout(
    group: Int[Tensor, "B"], position: Int[Tensor, "B"]
) -> tuple[Int[Tensor, "B"], Int[Tensor, "B"], Int[Tensor, "D"]]:
    """For each row its dialogue, numbered from 0, and its rank by position in it; for each dialogue its number of rows."""
    dialogue = group.unique(return_inverse=True)[1]
    order = position.argsort(stable=True)
    order = order[dialogue[order].argsort(stable=True)]
    lengths = dialogue.bincount()
    first = lengths.cumsum(0) - lengths
    step = torch.empty_like(order)
    step[order] = torch.arange(len(order), device=order.device) - first[dialogue[order]]
    return dialogue, step, lengths


def order_of(position: Int[Tensor, "D L"]) -> Edges:
    """Three relations, [., ., i, j]: j comes before i, is at the position of i, comes after i."""
    i, j = position[:, :, None], position[:, None]
    return torch.stack((j < i, j == i, j > i))


def same(speaker: Int[Tensor, "D L"]) -> Edges:
    """Two relations, [., ., i, j]: i and j have the same speaker, have different ones."""
    equal = speaker[:, :, None] == speaker[:, None]
    return torch.stack((equal, ~equal))
