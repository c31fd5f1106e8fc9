"""System, the base class of all methods: it predicts from a batch and gives its losses by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.dataset import Batch, Dataset, Scaling, View
from mmlib.names import TASKS, DataError, check_arguments, suggest

TRAITS = {
    "batch_dependent": "a prediction depends on the other rows of its batch",
    "stochastic": "a prediction draws random numbers",
    "hides_nothing": "training hides no modality itself: it learns from rows that the protocol leaves incomplete",
    "needs_dialogues": "rows need the columns group and order",
    "needs_complete_rows": "training needs some rows that have every modality",
    "trained_per_pattern": "one model for each set of available modalities",
}


@dataclass(frozen=True)
class Prediction:
    """Output for the B rows of a batch. For regression C = 1, and the logit is the predicted value.

    completed: per modality the features (B, T, d) after imputation: real where observed, imputed elsewhere.
    representation: the joint representation that the last layers read.
    """

    logits: Float[Tensor, "B C"]
    completed: dict[str, Float[Tensor, "B _ _"]] | None = None
    representation: Float[Tensor, "B h"] | None = None


class System(nn.Module):
    """A method. Subclasses define `predict` and, if they are trained by gradient descent, `loss`; all hooks are optional.

    stages: names of the training stages in order; empty for a system without gradient training. The parts of one stage
    have names that begin with the same word ("itfn text", "itfn audio").
    grid: settings of the method that its paper tunes, at most two, and the values to try (`training.tune`);
    empty in a variant that has none of them.
    modalities, tasks, sequences: what data the system takes: how many modalities, in words; which of TASKS; whether frames.
    Traits (class attributes, False unless declared; TRAITS explains them) say what the method needs; tables print them.
    State changed by hooks must be parameters or buffers. On resume only `prepare` is called again.
    class_weight: (C,), the weights of the classes in `task_loss`, None for equal ones. absolute: its error of a regression is
    the absolute one. Settings of the training, the same for all systems of a study, so they are not part of the state.
    fitted_to: the scaling of the data that `training.fit` got (None: unscaled); not there before `fit`.
    """

    class_weight: Float[Tensor, "C"] | None = None
    fitted_to: Scaling | None
    stages: tuple[str, ...] = ("main",)
    modalities, tasks, sequences = "any", TASKS, True
    grid: Mapping[str, tuple[Any, ...]] = {}
    absolute = batch_dependent = stochastic = hides_nothing = False
    needs_complete_rows = needs_dialogues = trained_per_pattern = False

    def __init__(self, dims: dict[str, int], task: str, outputs: int):
        super().__init__()
        self.dims, self.task, self.outputs = dict(dims), task, outputs
        self.arguments: dict[str, Any] = {}

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "System":
        """A new system for the modalities, task and labels of this dataset; initial weights depend on `seed` only.

        Raises TypeError for an argument that the constructor does not have, naming the one that was meant.
        """
        check_arguments(cls, arguments)
        with torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []):
            torch.manual_seed(seed)
            system = cls(data.dims, data.task, data.outputs, **arguments).to(data.device)
        system.arguments = {"seed": seed, **arguments}
        return system

    @property
    def traits(self) -> tuple[str, ...]:
        """The names of the traits that this system declares."""
        return tuple(t for t in TRAITS if getattr(self, t))

    def predict(self, batch: Batch) -> Prediction:
        """Predicts from the observed frames of a batch; needs no targets."""
        raise NotImplementedError

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The terms of the training objective by name, already weighted; training minimises their sum."""
        raise NotImplementedError

    def task_loss(
        self, logits: Float[Tensor, "B C"], target: Tensor, reduction: str = "mean", rows: Bool[Tensor, "B"] | None = None
    ) -> Float[Tensor, ""]:  # fmt: skip
        """The function `task_loss` for the task of this system, with its `class_weight` or `absolute`."""
        return task_loss(logits, target, self.task, reduction, rows, self.class_weight, self.absolute)

    def setup(self, train: View) -> None:
        """Called once before training; `train` is the training split after the protocol removed modalities and frames."""

    def predict_in(self, stage: str, batch: Batch) -> Prediction | None:
        """The prediction that validation scores to choose the best epoch of `stage`; None: keep the last epoch's weights."""
        return self.predict(batch) if stage == self.stages[-1] else None

    def parts_of(self, stage: str) -> tuple[str, ...]:
        """Earlier stages that train one part of what this stage joins: it should end better on validation than each alone."""
        return ()

    def on_stage(self, stage: str, train: View) -> None:
        """Called when a stage begins; `train` as in `setup`."""

    def prepare(self, stage: str, train: View) -> None:
        """Called after `on_stage`, and when a run resumes within the stage: computes what follows from weights and rows."""

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        """The parameters that the optimiser of this stage updates."""
        return list(self.parameters())

    def on_epoch(self, stage: str, epoch: int) -> None:
        """Called when an epoch of a stage begins; epochs count from 0."""

    def after_step(self, batch: Batch, stage: str) -> None:
        """Called after each optimiser step."""


def check_options(method: str, **options: tuple[str, tuple[str, ...]]) -> None:
    """Raises DataError for an option with a value outside its choices; options: name=(value, choices)."""
    for name, (value, choices) in options.items():
        if value not in choices:
            near = suggest(str(value), choices)
            raise DataError(f"{method}: {name} {value!r} is not one of {', '.join(choices)}{near}")


def task_loss(
    logits: Float[Tensor, "B C"], target: Tensor, task: str, reduction: str = "mean",
    rows: Bool[Tensor, "B"] | None = None, weight: Float[Tensor, "C"] | None = None, absolute: bool = False,
) -> Float[Tensor, ""]:  # fmt: skip
    """Squared (or absolute) error, cross-entropy or binary cross-entropy, by task; the mean over all rows, or over `rows`.

    reduction: 'mean' averages over labels, 'sum' sums over them. weight: class weights (multiclass only); the mean over
    rows is then the weighted mean, as in torch.
    """
    share = torch.ones(len(logits), device=logits.device) if rows is None else rows.to(logits.dtype)
    if task == "regression":
        error = nn.functional.l1_loss if absolute else nn.functional.mse_loss
        loss = error(logits.squeeze(1), target, reduction="none")
    elif task == "multiclass":
        loss = nn.functional.cross_entropy(logits, target, reduction="none")
        share = share if weight is None else share * weight[target]
    else:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")  # (B, C)
        loss = loss.sum(1) if reduction == "sum" else loss.mean(1)
    if rows is None and weight is None:
        return loss.mean()
    return (loss * share).sum() / share.sum().clamp(min=1e-6)
