"""Baselines that do not model missingness. Every results table contains them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmlib.data.checks import check_modalities
from mmlib.data.dataset import Batch, Dataset, View, frame_mean
from mmlib.models.base import Prediction, System, check_options
from mmlib.models.hiding import lose_frames
from mmlib.models.layers import mlp
from mmlib.names import DataError

_HIDDEN = 256
_DROPOUT = 0.1
_LEVELS = 1001


class Prior(System):
    """Ignores the input and predicts label frequencies, class frequencies or the median of the training rows."""

    stages = ()

    def __init__(self, dims: dict[str, int], task: str, outputs: int):
        super().__init__(dims, task, outputs)
        self.register_buffer("logits", torch.zeros(outputs))

    def setup(self, train: View) -> None:
        self.logits.copy_(prior_logits(train))

    def predict(self, batch: Batch) -> Prediction:
        return Prediction(self.logits.expand(len(batch), -1).clone())


class Coin(System):
    """Ignores the input and answers by chance, as often as in the training rows: with a class, with each label, with a value.

    Values are those of _LEVELS evenly spaced quantiles of the training rows. The answer to a row depends on its number and
    on the seed alone, so it is the same in every batch and under every condition.
    """

    stages = ()
    stochastic = True

    def __init__(self, dims: dict[str, int], task: str, outputs: int):
        super().__init__(dims, task, outputs)
        self.register_buffer("key", torch.randint(2**62, ()))
        self.register_buffer("answers", torch.zeros(_LEVELS if task == "regression" else outputs))

    def setup(self, train: View) -> None:
        if self.task == "regression":
            target = train.data.target[train.rows].cpu().numpy()
            levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
            self.answers.copy_(torch.from_numpy(np.quantile(target, levels, method="nearest")))
        else:
            self.answers.copy_(prior_logits(train))

    def predict(self, batch: Batch) -> Prediction:
        rows = [np.random.default_rng((int(self.key), row)) for row in batch.index.tolist()]
        if self.task == "regression":
            drawn = torch.tensor([row.integers(_LEVELS) for row in rows], device=self.answers.device)
            return Prediction(self.answers[drawn][:, None])
        # A class is the largest of log p + Gumbel noise with probability p; so is logit p + logistic noise above 0.
        law = "gumbel" if self.task == "multiclass" else "logistic"
        noise = np.stack([getattr(row, law)(size=self.outputs) for row in rows])
        return Prediction(self.answers + torch.from_numpy(noise).to(self.answers))


class AllZeros(System):
    """Predicts no for every label. Its cell accuracy is the score of an untrained system in SIM-C's flattened F-micro."""

    tasks = ("multilabel", "multibinary")
    stages = ()

    def __init__(self, dims: dict[str, int], task: str, outputs: int):
        super().__init__(dims, task, outputs)
        if task not in self.tasks:
            raise DataError(f"all zeros is defined for multilabel and multibinary, not {task}")

    def predict(self, batch: Batch) -> Prediction:
        return Prediction(torch.full((len(batch), self.outputs), -10.0, device=batch.index.device))


class Unimodal(System):
    """One modality: mean over its observed frames, then an MLP. Rows without this modality get the prior."""

    modalities = "one of them"

    def __init__(self, dims: dict[str, int], task: str, outputs: int, *, modality: str):
        super().__init__(dims, task, outputs)
        check_modalities(tuple(dims), (modality,), "unimodal")
        self.modality = modality
        self.net = mlp(dims[modality], _HIDDEN, 128, outputs, dropout=_DROPOUT)
        self.register_buffer("prior", torch.zeros(outputs))

    def setup(self, train: View) -> None:
        self.prior.copy_(prior_logits(train))

    def predict(self, batch: Batch) -> Prediction:
        logits = self.net(frame_mean(batch.x[self.modality], batch.observed[self.modality]))
        return Prediction(torch.where(batch.present[self.modality][:, None], logits, self.prior))

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        logits = self.predict(batch).logits
        return {"task": self.task_loss(logits, batch.target, rows=batch.present[self.modality])}


class Fill(System):
    """Late fusion by concatenation, in which a missing modality is a constant vector.

    fill: 'zero', or 'mean', the mean of the observed training frames. dropout=True, modality dropout: each training row keeps
    a random set of its modalities, each non-empty set with equal probability, its full set with twice that probability.
    complete_only=True trains on complete rows only, as is usual for a system built for complete data. p_max: each training row
    also loses frames, with a probability up to this (`hiding.lose_frames`, as UMDF's views).
    """

    def __init__(
        self,
        dims: dict[str, int],
        task: str,
        outputs: int,
        *,
        fill: str = "zero",
        dropout: bool = False,
        complete_only: bool = False,
        p_max: float = 0.0,
    ):
        super().__init__(dims, task, outputs)
        check_options("zero fill", fill=(fill, ("zero", "mean")))
        self.fill, self.dropout, self.complete_only, self.hides_nothing = fill, dropout, complete_only, not dropout
        self.p_max = p_max
        self.project = nn.ModuleDict({m: nn.Linear(d, _HIDDEN) for m, d in dims.items()})
        self.head = mlp(_HIDDEN * len(dims), 128, outputs, dropout=_DROPOUT)
        for m, d in dims.items():
            self.register_buffer(f"mean_{m}", torch.zeros(d))

    def setup(self, train: View) -> None:
        if self.fill == "mean":
            for m in self.dims:
                self.get_buffer(f"mean_{m}").copy_(_mean_frame(train, m))

    def predict(self, batch: Batch) -> Prediction:
        return self._fuse(batch, batch.present)

    def _fuse(self, batch: Batch, present: dict[str, Tensor]) -> Prediction:
        hidden = []
        for m in self.dims:
            pooled = frame_mean(batch.x[m], batch.observed[m])  # (B, d)
            filled = torch.where(present[m][:, None], pooled, self.get_buffer(f"mean_{m}"))
            hidden.append(self.project[m](filled).relu())
        joint = torch.cat(hidden, 1)
        return Prediction(self.head(joint), representation=joint)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        if self.p_max:
            batch = replace(batch, observed=lose_frames(batch.observed, self.p_max))
        present = _random_subset(batch.present) if self.dropout else batch.present
        rows = torch.stack(list(batch.present.values())).all(0) if self.complete_only else None
        return {"task": self.task_loss(self._fuse(batch, present).logits, batch.target, rows=rows)}


def trivial(data: Dataset, p_max: float = 0.0) -> dict[str, Callable[..., System]]:
    """The rows that every table has, by the name of the row: new(seed=...) makes the system. None models what is missing.

    p_max: of a method whose training loses frames. Where the data have sequences, one more row loses them alike.
    """
    rows: dict[str, Callable[..., System]] = {
        "zero fill": partial(Fill.for_data, data),
        "zero fill + modality dropout": partial(Fill.for_data, data, dropout=True),
    }
    if p_max and any(x.shape[1] > 1 for x in data.features.values()):
        rows["zero fill + modality and frame dropout"] = partial(Fill.for_data, data, dropout=True, p_max=p_max)
    rows |= {f"{m} alone": partial(Unimodal.for_data, data, modality=m) for m in data.modalities}
    rows |= {"prior": partial(Prior.for_data, data), "coin": partial(Coin.for_data, data)}
    if data.task in ("multilabel", "multibinary"):
        rows["all zeros"] = partial(AllZeros.for_data, data)
    return rows


def prior_logits(train: View) -> Float[Tensor, "C"]:
    """The best constant prediction of the training rows, as logits."""
    data, target = train.data, train.data.target[train.rows]
    if data.task == "regression":
        return target.median()[None]
    if data.task == "multiclass":
        return (torch.bincount(target, minlength=data.outputs) / len(target)).clamp(min=1e-6).log()
    return torch.logit(target.mean(0), eps=1e-6)


def class_weights(train: View) -> Float[Tensor, "C"]:
    """N / (C n_c) for each of C classes, n_c the number of its rows among the N training rows; an absent class gets N / C.

    Raises DataError unless the task is multiclass.
    """
    data = train.data
    if data.task != "multiclass":
        raise DataError(f"{data.where}: class weights are for multiclass data, the task is {data.task}")
    count = torch.bincount(data.target[train.rows], minlength=data.outputs)
    return len(train) / (data.outputs * count.clamp(min=1))


def _mean_frame(train: View, m: str) -> Float[Tensor, "d"]:
    total, count = 0.0, 0
    for batch in train.batches(4096):
        total = total + batch.x[m].double().sum((0, 1))
        count += int(batch.observed[m].sum())
    return (total / max(count, 1)).float()


def _random_subset(present: dict[str, Tensor]) -> dict[str, Tensor]:
    everything = torch.stack(list(present.values()))  # (M, B)
    subset = everything & (torch.rand(everything.shape, device=everything.device) < 0.5)
    return dict(zip(present, torch.where(subset.any(0), subset, everything)))
