"""Says how long a training will take, after its first steps."""

import math
import time
from collections.abc import Mapping

from torch import nn

_TIMED = 0.3  # seconds


_LONG = 20.0  # seconds


class Plan:
    """Times the first steps of a stage, without the very first, which also makes room in memory.

    epochs: of the stages to come, by name. alone: whether one thread was chosen for the user, which is said once in a process.
    Stages differ in speed. So the first line is about all of them, and a later one is told where a stage of another kind
    takes long.
    """

    _said = False

    def __init__(self, system: nn.Module, epochs: Mapping[str, int], alone: bool):
        self.system, self.epochs = system, dict(epochs)
        self.threads = ", one thread (OMP_NUM_THREADS sets more)" if alone and not Plan._said else ""
        Plan._said |= alone
        self.kinds: set[str] = set()
        self.started, self.since = math.nan, 0

    def line(self, stage: str, step: int, batches: int) -> str | None:
        """After `step` steps of an epoch of `batches`: steps, parameters and time, where there is something to say."""
        kind, now = stage.split()[0], time.perf_counter()
        if kind in self.kinds:
            return None
        if math.isnan(self.started) and step < batches:
            self.started, self.since = now, step
            return None
        if not (now - self.started > _TIMED or step == batches):
            return None
        per_step = math.nan if math.isnan(self.started) else (now - self.started) / (step - self.since)
        first, self.started = not self.kinds, math.nan
        self.kinds.add(kind)
        steps = batches * (sum(self.epochs.values()) if first else self.epochs[stage])
        name, amount = type(self.system).__name__, f"{steps:,} steps at most, {duration(per_step * steps)} at most"
        if not first:
            return f"{name}, stage {stage}: {amount}" if per_step * steps > _LONG else None
        stages = f"{len(self.epochs)} stages, " if len(self.epochs) > 1 else ""
        size = sum(p.numel() for p in self.system.parameters())
        return f"{name}: {size / 1e6:.2g} M parameters, {stages}{amount}{self.threads}"


def duration(seconds: float) -> str:
    """'12 s', '3 min', '2.5 h'; 'a moment' where it is not known."""
    if math.isnan(seconds):
        return "a moment"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
