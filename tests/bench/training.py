"""Where the CPU time of a whole training goes: forward, backward, optimiser, masks, data, validation, checkpoints, the rest."""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch

from mmlib import synthetic
from mmlib.data.dataset import Dataset, View
from mmlib.missing.protocols import Protocol
from mmlib.models import MODELS
from mmlib.models.base import System
from mmlib.training import checkpoint
from tests.bench.table import Table
from tests.helpers.dialogues import fitting

loop = sys.modules["mmlib.training.fit"]  # the package has a function of this name
D, ROWS, EPOCHS = 32, 64, 6
WIDTHS = {
    "simc": {"hidden": 2 * D}, "umdf": {"d": D, "heads": 4, "layers": 1}, "mctn": {"hidden": D}, "fill": {},
    "smcir": {"d": D, "width": D, "heads": 4, "layers": 1}, "unimodal": {"modality": "text"},
    "admc": {"d": D, "heads": 4, "layers": 2, "fusion_layers": 1},
}  # fmt: skip
STEP = ("forward", "backward", "optimiser")
AROUND = ("masks", "data", "loop")


class Clock:
    """CPU seconds by name. Of calls within calls, the inner one counts for the inner name alone."""

    def __init__(self):
        self.spent: Counter[str] = Counter()
        self.within: list[float] = []

    def timed(self, name: str, call: Callable) -> Callable:
        def timed_call(*args, **kwargs):
            self.within.append(0.0)
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.process_time() - start
                self.spent[name] += spent - self.within.pop()
                if self.within:
                    self.within[-1] += spent

        return timed_call


def parts_of(system: System, data: Dataset, protocol: str, epochs: int) -> Counter[str]:
    """CPU seconds of a training by part; those of no other part are 'loop'."""
    clock, run, adam = Clock(), loop._Run, torch.optim.Adam
    places = {
        "forward": [(system, "loss")], "backward": [(torch.Tensor, "backward")],
        "optimiser": [(adam, "step"), (adam, "zero_grad")],
        "masks": [(Protocol, "observed")], "data": [(View, "batch"), (View, "__init__"), (View, "cut")],
        "validation": [(run, "_validate"), (run, "_score")], "checkpoints": [(checkpoint, "save")],
        "hooks": [(system, name) for name in ("setup", "on_stage", "prepare", "on_epoch", "after_step")],
    }  # fmt: skip
    with ExitStack() as patches, tempfile.TemporaryDirectory() as folder:
        for name, owners in places.items():
            for owner, attribute in owners:
                patches.enter_context(patch.object(owner, attribute, clock.timed(name, getattr(owner, attribute))))
        fit = clock.timed("loop", loop.fit)
        fit(system, data, protocol, epochs=epochs, batch_size=ROWS, folder=folder, progress=False)
    return clock.spent


def main(table: Table) -> None:
    """Reviews of eight frames, 64 rows a step, one size for all, as in notebooks/studies/compare_synthetic.yaml."""
    data = synthetic.like("reviews", dim=D, length=8).sample({"train": 1216, "valid": 400, "test": 8}, 0)
    size = f"{ROWS} rows, 8 frames, width {D}"
    for name, kind in MODELS.items():
        if not kind.stages or "regression" not in kind.tasks or name == "simc":
            continue
        few = fitting(name, data)
        protocol = "patterns(keep=text)" if name == "smcir" else "patterns"
        new = MODELS[name].for_data
        parts_of(
            new(few, **WIDTHS.get(name, {"d": D})), few, protocol, epochs=1
        )  # what is imported late counts for none
        system = new(few, **WIDTHS.get(name, {"d": D}))
        spent = parts_of(system, few, protocol, max(2, EPOCHS // len(system.stages)))
        total, step = sum(spent.values()), sum(spent[part] for part in STEP)
        if name in ("umdf", "smcir", "admc", "mult", "fill"):
            for part in (*STEP, *AROUND, "hooks", "validation", "checkpoints"):
                table.add(name, size, f"training: {part}", 100 * spent[part] / total, "%")
        overhead = sum(spent[part] for part in AROUND)
        table.add(name, size, "overhead of a step", 100 * overhead / (step + overhead), "%", wanted="<= 10")
