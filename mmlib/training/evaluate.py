"""Predictions and scores of a trained system on a split, under a protocol."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from mmlib import metrics, missing
from mmlib.data.dataset import Batch, Dataset
from mmlib.models.base import Prediction, System


def pick_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one, else the CPU; anything else is taken as torch names it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def predict(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str = "complete",
    split: str = "test",
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Prediction:
    """Predictions for all rows of a split, in file order, on the CPU. The system sees neither targets nor hidden features."""
    parts = list(predictions(system, system.predict, data, protocol, split, seed, batch_size))

    def join(pick) -> Tensor | None:
        values = [pick(p) for p in parts]
        return None if values[0] is None else torch.cat(values).cpu()

    completed = None
    if parts[0].completed is not None:
        completed = {m: join(lambda p, m=m: p.completed[m]) for m in parts[0].completed}
    return Prediction(join(lambda p: p.logits), completed, join(lambda p: p.representation))


def evaluate(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str = "complete",
    split: str = "test",
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """All metrics of the task on a split under a protocol's mask."""
    parts = predictions(system, system.predict, data, protocol, split, seed, batch_size)
    return _score(parts, data, split)


def _score(parts: Iterable[Prediction], data: Dataset, split: str) -> dict[str, float]:
    return metrics.score(data.task, torch.cat([p.logits for p in parts]), data.target[data.rows(split)])


def predictions(
    system: System,
    predict: Callable[[Batch], Prediction | None],
    data: Dataset,
    protocol: missing.Protocol | str,
    split: str,
    seed: int,
    batch_size: int,
) -> Iterator[Prediction | None]:
    protocol = missing.parse(protocol) if isinstance(protocol, str) else protocol
    view = data.view(split, protocol.observed(data, split, seed), labelled=False)
    was_training = system.training
    system.eval()
    try:
        for batch in view.batches(batch_size):
            with torch.no_grad():
                prediction = predict(batch)
            yield prediction
    finally:
        system.train(was_training)
