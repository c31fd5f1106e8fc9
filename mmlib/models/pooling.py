"""Encoders that read a sequence of any length into one vector; frames that are not observed have no influence."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Dataset, zero_hidden
from mmlib.models.layers import at_step


def steps_of(data: Dataset) -> int:
    """Steps that hold each sequence of the data whole, for systems that need sequences of one length."""
    return max(x.shape[1] for x in data.features.values())


class LSTMPool(nn.Module):
    """A one-layer LSTM over the observed frames, then the maximum over time: (B, T, i) -> (B, d); unobserved rows: 0."""

    def __init__(self, d_in: int, d: int):
        super().__init__()
        self.lstm = nn.LSTM(d_in, d, batch_first=True)

    def forward(self, x: Float[Tensor, "B T i"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B d"]:
        return _max_over(*_states(self.lstm, x, observed))


class LSTMLast(nn.Module):
    """A one-layer LSTM over the observed frames, its last state: (B, T, i) -> (B, d); unobserved rows: 0."""

    def __init__(self, d_in: int, d: int):
        super().__init__()
        self.lstm = nn.LSTM(d_in, d, batch_first=True)

    def forward(self, x: Float[Tensor, "B T i"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B d"]:
        h, observed = _states(self.lstm, x, observed)
        last = at_step(h, (observed.sum(1) - 1).clamp(min=0))
        return last.masked_fill(~observed.any(1, keepdim=True), 0)


class TextCNN(nn.Module):
    """Convolutions over 3, 4 and 5 words, ReLU, maximum over time, linear, ReLU (Kim 2014): (B, T, i) -> (B, d).

    An unobserved word is a zero vector, and the maximum skips its position.
    """

    def __init__(self, d_in: int, d: int, channels: int = 128, dropout: float = 0.5):
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv1d(d_in, channels, h) for h in (3, 4, 5)])
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(3 * channels, d)

    def forward(self, x: Float[Tensor, "B T i"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B d"]:
        words = zero_hidden(x, observed)
        pooled = [_max_over(_convolved(words, conv).relu(), observed) for conv in self.convolutions]
        return self.out(self.dropout(torch.cat(pooled, 1))).relu()


def _convolved(words: Float[Tensor, "B T i"], conv: nn.Conv1d) -> Float[Tensor, "B T c"]:
    """`conv` over time with one output per word; tap k of h reads the word at offset k - h // 2, zero outside the clip."""
    h, T = conv.kernel_size[0], words.shape[1]
    y = conv.bias.expand(len(words), T, -1)
    for k in range(h):  # tap by tap, because a short clip needs few taps: a single vector only the middle one
        shift = k - h // 2
        if abs(shift) < T:
            part = nn.functional.linear(words[:, max(shift, 0) : T + min(shift, 0)], conv.weight[:, :, k])
            y = y + nn.functional.pad(part, (0, 0, max(-shift, 0), max(shift, 0)))
    return y


def _states(
    lstm: nn.LSTM, x: Float[Tensor, "B T i"], observed: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T d"], Bool[Tensor, "B T"]]:
    """The states of an LSTM over the observed frames in their order, and which steps they are: the first ones of a row."""
    # Observed frames move to the front, so that no other frame influences them.
    order = (~observed).byte().argsort(dim=1, stable=True)
    first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]  # of the row, among the frames of all rows
    x = zero_hidden(x, observed).flatten(0, 1).index_select(0, (first + order).flatten()).view_as(x)
    return lstm(x)[0], observed.gather(1, order)


def _max_over(h: Float[Tensor, "B T d"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B d"]:
    """The maximum over observed frames; zero for a row without any."""
    return h.masked_fill(~observed[..., None], -torch.inf).amax(1).masked_fill(~observed.any(1, keepdim=True), 0)
