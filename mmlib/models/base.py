"""What every compared method is: a System that predicts from a batch and names its losses."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.data.checks import DataError
from mmlib.data.dataset import Batch, Dataset, View

TRAITS = {
    "batch_dependent": "a prediction depends on which rows share its batch",
    "stochastic": "a prediction draws random numbers",
    "needs_complete_training": "training needs the features that the protocol removes",
    "needs_dialogues": "rows need group, order and speaker",
    "regression_only": "defined for regression alone",
    "trained_per_pattern": "one model for each set of available modalities",
}


@dataclass(frozen=True)
class Prediction:
    """logits: (B, C); C = 1 for regression, whose logit is the predicted value.
    completed: per modality, the features (B, T, d) that the system went on with: real where observed, else its own guess.
    representation: (B, h), the joint representation that the last layers read.
    """

    logits: Float[Tensor, "B C"]
    completed: dict[str, Float[Tensor, "B _ _"]] | None = None
    representation: Float[Tensor, "B h"] | None = None


class System(nn.Module):
    """A method under comparison. Subclasses give `predict` and, if they learn by gradient, `loss`.

    stages: names of the training stages in order; empty for a system that learns nothing by gradient. A stage of several
    parts has one name for each, which begin with the same word ("itfn text", "itfn audio").
    What hooks change must live in parameters or buffers, but for `prepare`: after a resume it is called again, `setup` and
    `on_stage` are not.
    Traits (class attributes, False unless declared) say what the method needs; tables print them.
    """

    stages: tuple[str, ...] = ("main",)
    batch_dependent = False
    stochastic = False
    needs_complete_training = False
    needs_dialogues = False
    regression_only = False
    trained_per_pattern = False

    def __init__(self, dims: dict[str, int], task: str, outputs: int):
        super().__init__()
        self.dims, self.task, self.outputs = dict(dims), task, outputs
        self.arguments: dict[str, Any] = {}

    @classmethod
    def for_data(cls, data: Dataset, seed: int = 0, **arguments: Any) -> "System":
        """A new system for this dataset's modalities, task and labels; initial weights depend on `seed` alone."""
        with torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []):
            torch.manual_seed(seed)
            system = cls(data.dims, data.task, data.outputs, **arguments).to(data.device)
        system.arguments = {"seed": seed, **arguments}
        return system

    @property
    def traits(self) -> tuple[str, ...]:
        return tuple(t for t in TRAITS if getattr(self, t))

    def predict(self, batch: Batch) -> Prediction:
        raise NotImplementedError

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The terms of the objective by name, already weighted; training minimises their sum."""
        raise NotImplementedError

    def setup(self, train: View) -> None:
        """Called once before training, with the training rows as the protocol leaves them."""

    def predict_in(self, stage: str, batch: Batch) -> Prediction | None:
        """What validation scores after each epoch of a stage, whose best weights are kept; None: its last ones are.

        The last stage is scored by `predict`.
        """
        return self.predict(batch) if stage == self.stages[-1] else None

    def on_stage(self, stage: str, train: View) -> None:
        """Called when a stage begins, with the training rows as the protocol leaves them."""

    def prepare(self, stage: str, train: View) -> None:
        """Called after `on_stage`, and when a run goes on within the stage: may compute what weights and rows decide."""

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        """What the optimiser of this stage updates."""
        return list(self.parameters())

    def on_epoch(self, stage: str, epoch: int) -> None:
        """Called when an epoch of a stage begins, counted from 0."""

    def after_step(self, batch: Batch, stage: str) -> None:
        """Called after each optimiser step."""


def check_options(method: str, **options: tuple[str, tuple[str, ...]]) -> None:
    """Raises DataError for an option that is none of its values; options: name=(value, those it can take)."""
    for name, (value, known) in options.items():
        if value not in known:
            raise DataError(f"{method}: {name} {value!r} is not one of {', '.join(known)}")


def task_loss(
    logits: Float[Tensor, "B C"],
    target: Tensor,
    task: str,
    reduction: str = "mean",
    rows: Bool[Tensor, "B"] | None = None,
    weight: Float[Tensor, "C"] | None = None,
) -> Float[Tensor, ""]:
    """Squared error, cross-entropy or binary cross-entropy, averaged over rows (over `rows` alone where given).

    reduction 'mean' averages over labels, 'sum' sums over them. weight: of each class, multiclass alone; the average is
    weighted, as torch's is.
    """
    share = torch.ones(len(logits), device=logits.device) if rows is None else rows.to(logits.dtype)
    if task == "regression":
        loss = nn.functional.mse_loss(logits.squeeze(1), target, reduction="none")
    elif task == "multiclass":
        loss = nn.functional.cross_entropy(logits, target, reduction="none")
        share = share if weight is None else share * weight[target]
    else:
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")  # (B, C)
        loss = loss.sum(1) if reduction == "sum" else loss.mean(1)
    if rows is None and weight is None:
        return loss.mean()
    return (loss * share).sum() / share.sum().clamp(min=1e-6)


def masked_mean(x: Float[Tensor, "B T d"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B d"]:
    """Mean over the observed frames, zero where there is none; what stands on other frames has no influence."""
    if x.shape[1] == 1:
        return x.masked_fill(~observed.unsqueeze(-1), 0).squeeze(1)
    total = x.masked_fill(~observed.unsqueeze(-1), 0).sum(1)
    return total / observed.sum(1, keepdim=True).clamp(min=1)
