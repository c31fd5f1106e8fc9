"""Self-MM: labels for each modality, generated from the label of the row and the features, train a head of each modality.

Yu, Xu, Yuan, Wu: Learning Modality-Specific Representations with Self-Supervised Multi-Task Learning for Multimodal
Sentiment Analysis (AAAI 2021).

Essential are the generated labels, which are state of each training row, and the loss of several tasks in which a modality
weighs more where its label is far from that of the row. The features of a modality and of the fusion are spaces; each has the
centre of the rows with a positive label and that of the rows with a negative one. What differs from the paper or is free:

  classes       Polarity has no meaning there, so labels cannot be generated. For every task but regression this system is
                "Self-MM without ULGM": the heads of the modalities are trained on the true label of the row
  text          the mean of the observed words stands in for BERT's [CLS] vector. All other modalities pass an LSTM over their
                observed frames, whose last state is read. Data without text have LSTMs alone
  missing       The paper is about complete data. A missing modality is zeros: its mean or last state is a zero vector.
                dropout_modalities=True, which is not in the paper: each training row shows a random set of its modalities,
                all non-empty sets equally likely
  absent        A modality that a row lacks, or that training has just hidden, has no loss, keeps its generated label, and its
                features count in no centre
  zero          of the target separates positive from negative labels. A label stays as it is where a space has no row of one
                of the two signs, or where the row is equally far from both centres of the fusion
  order         as in the released code: a step has the features of its loss, generates labels by the centres before it, and
                only then are its features stored. The largest absolute label of the training rows bounds the labels, 3 in
                the paper
  widths        d for the features of all modalities and of the fusion; the paper has one for each. One learning rate
  loss          the error of the fused prediction is that of `task_loss`. In the paper it is the absolute one, `absolute` of
                `fit`, which the error beside a generated label always is
  saved         the stored features and labels of the training rows are part of a saved model, though no prediction reads them
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View, frame_mean
from mmlib.missing.patterns import all_patterns, availability
from mmlib.models.base import Prediction, System
from mmlib.models.hiding import with_random_subset
from mmlib.models.layers import mlp
from mmlib.models.pooling import LSTMLast
from mmlib.names import DataError


class SelfMM(System):
    """d: width of all features. dropout: of what the spaces read. dropout_modalities: whether training hides modalities."""

    modalities = "two or more"

    def __init__(
        self, dims: dict[str, int], task: str, outputs: int, *,
        d: int = 64, dropout: float = 0.1, dropout_modalities: bool = False,
    ):  # fmt: skip
        super().__init__(dims, task, outputs)
        if len(dims) < 2:
            raise DataError(f"Self-MM is defined for two or more modalities, the data have {', '.join(dims)}")
        self.dropout_modalities, self.hides_nothing = dropout_modalities, not dropout_modalities
        self.lstm = nn.ModuleDict({m: LSTMLast(i, d) for m, i in dims.items() if m != "text"})
        self.project = nn.ModuleDict({m: nn.Linear(d, d) for m in self.lstm})
        widths = {m: dims[m] if m == "text" else d for m in dims}
        self.make_spaces(sum(widths.values()), widths, d, dropout)

    def make_spaces(self, joint: int, widths: Mapping[str, int], d: int, dropout: float) -> None:
        """The spaces of the fusion and of each modality, which read vectors of these widths, and their labels."""
        self.fusion = Space(joint, d, self.outputs, dropout)
        self.spaces = nn.ModuleDict({m: Space(width, d, self.outputs, dropout) for m, width in widths.items()})
        self.ulgm = LabelGeneration(dict.fromkeys(widths, d), d) if self.task == "regression" else None
        self.register_buffer("patterns", all_patterns(len(widths)), persistent=False)
        self._features: list[Tensor] = []  # of the last loss, which `after_step` stores
        self._present = torch.zeros(0, len(widths), dtype=torch.bool)

    def predict(self, batch: Batch) -> Prediction:
        h, logits = self.fusion(self.encode(batch)[0])
        return Prediction(logits, representation=h)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The task loss of the fusion, and of the modalities beside their generated labels or, for classes, the true one."""
        if self.dropout_modalities:
            batch = with_random_subset(self.patterns, batch)
        (joint, x), present = self.encode(batch), availability(batch.observed)
        spaces = [self.fusion(joint), *(self.spaces[m](v) for m, v in zip(self.dims, x))]
        (h_F, y_F), *modalities = spaces
        terms = {"task": self.task_loss(y_F, batch.target)}
        if self.ulgm is None:
            losses = [self.task_loss(y, batch.target, rows=has) for (_, y), has in zip(modalities, present.T)]
            return terms | {"unimodal": sum(losses)}
        self._features, self._present = [*(h.detach() for h, _ in modalities), h_F.detach()], present
        predicted = torch.cat([y for _, y in modalities], 1)
        return terms | {"generated": self.ulgm.loss(predicted, batch.index, present)}

    def encode(self, batch: Batch) -> tuple[Float[Tensor, "B _"], list[Float[Tensor, "B _"]]]:
        """Of each modality the mean word, or a linear map of the last state over the frames; all of them side by side first."""
        vectors = []
        for m in self.dims:
            x, observed = batch.x[m], batch.observed[m]
            read = m in self.lstm
            vectors.append(self.project[m](self.lstm[m](x, observed)) if read else frame_mean(x, observed))
        return torch.cat(vectors, 1), vectors

    def setup(self, train: View) -> None:
        if self.ulgm is not None:
            self.ulgm.start(train)

    def on_epoch(self, stage: str, epoch: int) -> None:
        if self.ulgm is not None:
            self.ulgm.epoch.fill_(epoch)

    def after_step(self, batch: Batch, stage: str) -> None:
        if self.ulgm is not None:
            self.ulgm.update(self._features, batch.index, self._present)


class Space(nn.Module):
    """h = relu(W1 x) and the prediction W3 relu(W2 h): (B, i) -> (B, d), (B, C)."""

    def __init__(self, d_in: int, d: int, outputs: int, dropout: float):
        super().__init__()
        self.feature = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_in, d), nn.ReLU())
        self.head = mlp(d, d, outputs)

    def forward(self, x: Float[Tensor, "B i"]) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B C"]]:
        h = self.feature(x)
        return h, self.head(h)


class LabelGeneration(nn.Module):
    """ULGM, the unimodal label generation module, with its state of each training row, for regression.

    In an epoch: `start` once before training, `epoch` set to the number of the epoch, which counts from 0, then for each step
    `loss` and `update`. Labels are those of the rows until the second epoch, because the first one fills the store.

    widths: of the features of each modality, in the order of the data. fusion: width of the fusion's features. S = M + 1
    spaces, the last one that of the fusion, whose label is always the true one. All state is in buffers with a line for each
    training row; a state with another number of rows can be loaded.
    """

    def __init__(self, widths: Mapping[str, int], fusion: int):
        super().__init__()
        S = len(widths) + 1
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))
        self.register_buffer("rows", torch.zeros(0, dtype=torch.long))  # their numbers in the dataset, ascending
        self.register_buffer("labels", torch.zeros(0, S))
        self.register_buffer("stored", torch.zeros(0, S, dtype=torch.bool))
        for i, width in enumerate((*widths.values(), fusion)):
            self.register_buffer(f"features_{i}", torch.zeros(0, width))

    def start(self, train: View) -> None:
        """The labels are those of the training rows; no features are stored."""
        self._hold(len(train))
        self.rows.copy_(train.rows.sort().values)
        self.labels.copy_(train.data.target[self.rows][:, None])
        self.epoch.zero_()

    def loss(
        self, predicted: Float[Tensor, "B M"], index: Int[Tensor, "B"], present: Bool[Tensor, "B M"]
    ) -> Float[Tensor, ""]:
        """Sum over modalities of tanh |u - y| |predicted - u|, each a mean over the rows that have the modality.

        u: generated label, y: true label. index: row numbers in the dataset.
        """
        labels = self.labels[self._lines(index)]
        u, y = labels[:, :-1], labels[:, -1:]
        costs = ((u - y).abs().tanh() * (predicted - u).abs()).masked_fill(~present, 0)
        return (costs.sum(0) / present.sum(0).clamp(min=1)).sum()

    @torch.no_grad()
    def update(
        self, features: Sequence[Float[Tensor, "B _"]], index: Int[Tensor, "B"], present: Bool[Tensor, "B M"]
    ) -> None:
        """From the second epoch on generates labels for the rows of a step; stores their S features, without gradients."""
        lines = self._lines(index)
        if self.epoch > 0:
            self._generate(features, lines, present)
        has = torch.cat((present, torch.ones_like(present[:, :1])), 1)
        for i, h in enumerate(features):
            self.get_buffer(f"features_{i}")[lines[has[:, i]]] = h[has[:, i]]
        self.stored[lines] |= has

    def relative(self, h: Float[Tensor, "B d"], i: int) -> Float[Tensor, "B"]:
        """a = (D_n - D_p) / (D_p + 1e-8), D the distances to the centres of space i over sqrt(d); NaN without a centre."""
        u, stored = self.labels[:, i], self.get_buffer(f"features_{i}")
        signs = torch.stack((u > 0, u < 0)) & self.stored[:, i]  # (2, n)
        centres = signs.to(h.dtype) @ stored / signs.sum(1, keepdim=True)
        D_p, D_n = (h[:, None] - centres).norm(dim=2).div(h.shape[1] ** 0.5).unbind(1)
        return (D_n - D_p) / (D_p + 1e-8)

    def _generate(
        self, features: Sequence[Float[Tensor, "B _"]], lines: Int[Tensor, "B"], present: Bool[Tensor, "B M"]
    ) -> None:
        """u <- (n - 1) / (n + 1) u + 2 / (n + 1) u_new in the n-th epoch.

        u_new = (y a_m / a_F + y + a_m - a_F) / 2, at most as large as the largest label.
        """
        a = torch.stack([self.relative(h, i) for i, h in enumerate(features)], 1)
        a_m, a_F = a[:, :-1], a[:, -1:]
        u, y = self.labels[lines, :-1], self.labels[lines, -1:]
        new = (y * a_m / a_F + y + a_m - a_F) / 2
        bound, n = self.labels[:, -1].abs().max(), self.epoch + 1
        moved = (n - 1) / (n + 1) * u + 2 / (n + 1) * new.clamp(-bound, bound)
        self.labels[lines, :-1] = torch.where(present & new.isfinite(), moved, u)

    def _lines(self, index: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        return torch.searchsorted(self.rows, index)

    def _hold(self, n: int) -> None:
        """Empty buffers for n training rows."""
        for name, buffer in list(self.named_buffers()):
            if buffer.dim():
                setattr(self, name, buffer.new_zeros(n, *buffer.shape[1:]))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if (rows := state_dict.get(f"{prefix}rows")) is not None:
            self._hold(len(rows))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
