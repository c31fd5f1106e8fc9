"""One system for each set of modalities; each row goes to the one for what it has."""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from mmlib.data.dataset import Batch, View
from mmlib.missing.patterns import all_patterns, availability, within
from mmlib.models.base import Prediction, System
from mmlib.names import DataError


class PerPattern(System):
    """new: makes the system for a set of modalities. It has one stage, and no other hooks than `predict` and `loss`.

    Stages: "main audio", "main text", "main text+audio", ...: each trains the system of one set on the rows that have at
    least this set, and the cost is their sum. To predict, a system sees its own set; in training it sees all of a row.
    """

    trained_per_pattern = needs_complete_rows = True

    def __init__(self, dims: dict[str, int], task: str, outputs: int, new: Callable[[tuple[str, ...]], System]):
        super().__init__(dims, task, outputs)
        self.register_buffer("patterns", all_patterns(len(dims)), persistent=False)  # (2^M - 1, M)
        self.sets = [tuple(itertools.compress(dims, p)) for p in self.patterns.tolist()]
        self.systems = nn.ModuleList([new(names) for names in self.sets])
        self.stages = tuple(f"main {'+'.join(names)}" for names in self.sets)

    def predict(self, batch: Batch) -> Prediction:
        return self._predict(batch, availability(batch.observed))

    def _predict(self, batch: Batch, present: Bool[Tensor, "B M"]) -> Prediction:
        """Each row by the system of exactly the modalities in `present`."""
        if not bool(present.any(1).all()):
            row = int(batch.index[(~present.any(1)).nonzero()[0]])
            raise DataError(f"row {row} has no modality available; there is nothing to predict it from")
        pattern = (present[:, None] == self.patterns).all(2)  # (B, P)
        logits = next(iter(batch.x.values())).new_zeros(len(batch), self.outputs)
        for p, (names, system) in enumerate(zip(self.sets, self.systems)):
            rows = pattern[:, p].nonzero().flatten()
            if len(rows):
                others = [m for m in self.dims if m not in names]
                logits[rows] = system.predict(batch.select(rows).without(*others)).logits
        return Prediction(logits)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The terms of the stage's system on the rows that have at least its set; all zero in a batch without any."""
        p = self.stages.index(stage)
        system = self.systems[p]
        system.class_weight, system.absolute = self.class_weight, self.absolute
        rows = within(self.patterns[[p]], availability(batch.observed))[:, 0]
        if bool(rows.any()):
            return system.loss(batch.select(rows), system.stages[0])
        return {name: 0 * term for name, term in system.loss(batch, system.stages[0]).items()}

    def setup(self, train: View) -> None:
        if not bool(availability(train.observed).all(1).any()):
            name = type(self).__name__
            raise DataError(
                f"{train.data.where}: no training row has every modality; {name} trains a model for each set of modalities"
            )

    def predict_in(self, stage: str, batch: Batch) -> Prediction:
        """Each row as if it had no more than the set of the stage; rows that have nothing of it as they are."""
        present = availability(batch.observed)
        under = present & self.patterns[self.stages.index(stage)]
        return self._predict(batch, torch.where(under.any(1, keepdim=True), under, present))

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        return list(self.systems[self.stages.index(stage)].parameters())
