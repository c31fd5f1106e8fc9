"""MCTN: the encoder of a translation into other modalities and back gives a representation that needs the sources alone.

Pham, Liang, Manzini, Morency, Poczos: Found in Translation: Learning Robust Joint Representations by Cyclic Translations
Between Modalities (AAAI 2019).

Essential are the joint representation, which is the states of the encoder of a translation that also goes back, the test
from the sources alone, and targets that only training sees. What differs from the paper or is free:

  patterns      The paper has one model, whose source is the text. Here each set of modalities has its own, and a row is
                predicted by the model of what it has (`PerPattern`). Its sources are the set, its targets all other
                modalities; both in the order of the data, but the text first. It trains on the rows that have at least the
                set. The cost is that of 2^M - 1 models. With more than three modalities a chain would have more than two
                translations, which the paper does not describe: not supported
  complete      The complete set lacks nothing that it could translate into. Its last modality becomes the target, and
                complete rows are predicted from the others. The paper's own model is that of the set 'text'
  sources       Several sources lie side by side, interpolated to the length of the first that is a sequence. The paper
                translates from one
  width         Zeros fill up sources and first targets to one width, because the encoder and decoder serve both directions.
                They are part of the errors
  decoder       An LSTM that reads the joint sequence, weighted by its products with the state before. It is given no true
                or decoded target, so nothing is teacher-forced
  steps         A vector is a sequence of one step; then the attention has no choice, and little is left of the sequence model
  known         A translation costs nothing where its target is not observed, the way back nothing where a source is not.
                Missing and padded frames are zero vectors for the encoder
  loss          0.1 for each squared error, as in the paper. Its absolute error of a regression is `absolute` of `fit`, its
                penalty on the last layer `weight_decay`; both are for all systems of a study
  cost          decoders go step by step through the target and back: on 20 frames about nine times a step of CRA, for each of
                the models
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch
from mmlib.models.base import Prediction, System
from mmlib.models.layers import resized
from mmlib.models.per_pattern import PerPattern
from mmlib.names import DataError


class MCTN(PerPattern):
    """hidden: width of all LSTMs. weight: of the translation, of the way back and of the second translation."""

    modalities = "two or three"

    def __init__(self, dims: dict[str, int], task: str, outputs: int, *, hidden: int = 32, weight: float = 0.1):
        if len(dims) not in (2, 3):
            raise DataError(
                f"MCTN is defined for two or three modalities, with at most two translations; the data have {', '.join(dims)}"
            )
        order = sorted(dims, key=lambda m: m != "text")

        def chain(names: tuple[str, ...]) -> Chain:
            sources = [m for m in order if m in names]
            if len(sources) == len(order):
                sources = order[:-1]
            targets = [m for m in order if m not in sources]
            return Chain(dims, task, outputs, sources, targets, hidden, weight)

        super().__init__(dims, task, outputs, chain)


class Chain(System):
    """From the sources to the first target and back, from their joint sequence to the second target, if there is one."""

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        sources: list[str],
        targets: list[str],
        h: int,
        weight: float,
    ):
        super().__init__(dims, task, outputs)
        self.sources, self.targets, self.weight = sources, targets, weight
        self.width = max(sum(dims[m] for m in sources), *(dims[m] for m in targets))
        self.first = Seq2Seq(self.width, self.width, h)
        self.second = Seq2Seq(h, self.width, h) if len(targets) == 2 else None
        self.regressor = nn.LSTM(h, h, batch_first=True)
        self.attention = nn.Linear(h, 1, bias=False)  # the softmax would cancel a bias
        self.head = nn.Linear(h, outputs)

    def predict(self, batch: Batch) -> Prediction:
        return self._regress(self._joint(self.read(batch)[0])[-1])

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss + weight (translation + cycle + second translation)."""
        X, known = self.read(batch)
        J = self._joint(X)
        terms = {"task": self.task_loss(self._regress(J[-1]).logits, batch.target)}
        Y, observed = self._target(batch, 0)
        made = self.first.decode(J[0], Y.shape[1])
        terms["translation"] = self.weight * _error(made, Y, observed)
        again = self.first.decode(self.first.encode(made), X.shape[1])
        terms["cycle"] = self.weight * _error(again, X, known)
        if self.second is not None:
            Y, observed = self._target(batch, 1)
            terms["second"] = self.weight * _error(self.second.decode(J[1], Y.shape[1]), Y, observed)
        return terms

    def read(self, batch: Batch) -> tuple[Float[Tensor, "B T W"], Bool[Tensor, "B T"]]:
        """The sources side by side, and the steps at which all of them are observed."""
        x = [batch.frames(m) for m in self.sources]
        T = next((v.shape[1] for v in x if v.shape[1] > 1), 1)
        seen = [resized(batch.observed[m][..., None].to(v.dtype), T) for m, v in zip(self.sources, x)]
        known = torch.cat(seen, 2).amin(2) > 0.999
        return self._padded(torch.cat([resized(v, T) for v in x], 2)), known

    def _joint(self, X: Float[Tensor, "B T W"]) -> list[Float[Tensor, "B T h"]]:
        """The joint sequence of each translation; the last one is regressed."""
        J = [self.first.encode(X)]
        return J if self.second is None else [*J, self.second.encode(J[0])]

    def _regress(self, J: Float[Tensor, "B T h"]) -> Prediction:
        R = self.regressor(J)[0]
        pooled = (self.attention(R).softmax(1) * R).sum(1)
        return Prediction(self.head(pooled), representation=pooled)

    def _target(self, batch: Batch, i: int) -> tuple[Float[Tensor, "B T W"], Bool[Tensor, "B T"]]:
        return self._padded(batch.frames(self.targets[i])), batch.observed[self.targets[i]]

    def _padded(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T W"]:
        return nn.functional.pad(x, (0, self.width - x.shape[2]))


class Seq2Seq(nn.Module):
    """A Bi-LSTM whose directions are summed, and an LSTM decoder with attention over the joint sequence."""

    def __init__(self, d_in: int, d_out: int, h: int):
        super().__init__()
        self.encoder = nn.LSTM(d_in, h, batch_first=True, bidirectional=True)
        self.cell = nn.LSTMCell(h, h)
        self.out = nn.Linear(h, d_out)

    def encode(self, x: Float[Tensor, "B T i"]) -> Float[Tensor, "B T h"]:
        """The joint sequence."""
        forward, backward = self.encoder(x)[0].chunk(2, 2)
        return forward + backward

    def decode(self, J: Float[Tensor, "B S h"], steps: int) -> Float[Tensor, "B T o"]:
        """s_t = LSTM(sum_j a_j J_j, s_{t-1}), a = softmax over j of J_j s_{t-1}; a linear map of each s_t."""
        s = c = J.new_zeros(len(J), J.shape[2])
        states = []
        for _ in range(steps):
            a = (J @ s[..., None]).softmax(1)  # (B, S, 1)
            s, c = self.cell((a * J).sum(1), (s, c))
            states.append(s)
        return self.out(torch.stack(states, 1))


def _error(made: Float[Tensor, "B T W"], real: Float[Tensor, "B T W"], known: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Mean squared error over the known steps; 0 without any."""
    error = (made - real).square().mean(2)
    return error.masked_fill(~known, 0).sum() / known.sum().clamp(min=1)
