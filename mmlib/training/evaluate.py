"""Predictions and scores of a trained system on a split, under a protocol."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from mmlib import metrics, missing
from mmlib.cost.threads import threads_for
from mmlib.data.dataset import Batch, Dataset
from mmlib.models.base import Prediction, System
from mmlib.names import suggesting


def pick_device(name: str) -> torch.device:
    """'auto': the GPU if there is one, else the CPU. Any other name is torch's, such as 'cuda:1'."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@suggesting
def predict(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str = "complete",
    split: str = "test",
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Prediction:
    """Predictions for all rows of a split, in file order, on the CPU. The system sees no target and no removed feature."""
    parts = list(predictions(system, system.predict, data, protocol, split, seed, batch_size))
    return _joined(parts, lambda values: torch.cat(values).cpu())


@suggesting
def evaluate(
    system: System,
    data: Dataset,
    protocol: missing.Protocol | str = "complete",
    split: str = "test",
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """All metrics of the task (see `metrics.score`) on a split under a protocol's mask."""
    return score(predictions(system, system.predict, data, protocol, split, seed, batch_size), data, split)


def score(parts: Iterable[Prediction], data: Dataset, split: str) -> dict[str, float]:
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
        batches = view.cut(torch.arange(len(view), device=data.device), batch_size, system.needs_dialogues)
        parts: list[Prediction] = []
        for index in batches:
            with torch.no_grad(), threads_for(system, data.device):
                prediction = predict(view.batch(index))
            if prediction is None or not system.needs_dialogues:
                yield prediction
            else:
                parts.append(prediction)
        if parts:  # the rows of a dialogue need not be neighbours in the file
            yield _joined(parts, lambda values: torch.cat(values)[torch.cat(batches).argsort()])
    finally:
        system.train(was_training)


def _joined(parts: list[Prediction], join: Callable[[list[Tensor]], Tensor]) -> Prediction:
    first = parts[0]
    completed = first.completed and {m: join([p.completed[m] for p in parts]) for m in first.completed}
    representation = None if first.representation is None else join([p.representation for p in parts])
    return Prediction(join([p.logits for p in parts]), completed, representation)
