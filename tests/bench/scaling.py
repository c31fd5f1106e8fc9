"""How the CPU time of a step grows with its sizes, and that of an epoch with the rows: slopes of log time over log size."""

from collections.abc import Callable

import numpy as np
import torch

from mmlib import synthetic
from mmlib.data.dataset import Dataset
from mmlib.models import MODELS
from mmlib.training.fit import fit
from tests.bench.table import Table
from tests.bench.umdf import cpu_seconds

NAMES = ("text", "audio", "vision", "depth", "touch")
BASE = {"B": 32, "T": 16, "d": 32, "M": 3, "N": 512}
GROWN = {"B": (32, 64, 128), "T": (16, 32, 64), "d": (32, 64, 128), "M": (2, 3, 5), "N": (512, 1024, 2048)}
WIDTH = {
    "umdf": lambda d: {"d": d, "heads": 4, "layers": 2}, "mult": lambda d: {"d": d, "heads": 4, "layers": 2},
    "admc": lambda d: {"d": d, "heads": 4, "layers": 2, "fusion_layers": 1},
    "smcir": lambda d: {"d": d, "width": d, "heads": 4, "layers": 1}, "simc": lambda d: {"hidden": 4 * d},
}  # fmt: skip
SIZES = {"simc": "BdN", "smcir": "BTdN", "umdf": "BTdMN", "admc": "BTdMN", "mult": "BTdMN"}


def data_of(name: str, B: int, T: int, d: int, M: int, N: int, rows: int) -> Dataset:
    frames = 1 if name == "simc" else T
    modalities = {m: synthetic.Modality(32, frames) for m in NAMES[: 2 if name == "simc" else M]}
    return synthetic.like("iemocap", modalities=modalities).sample({"train": rows, "valid": 8, "test": 8}, 0)


def step_of(name: str, **sizes: int) -> Callable[[], None]:
    data = data_of(name, **sizes, rows=sizes["B"])
    system, view = MODELS[name].for_data(data, **WIDTH[name](sizes["d"])).train(), data.view("train")
    system.setup(view)
    stage, batch = system.stages[-1], view.batch(torch.arange(len(view)))
    system.on_stage(stage, view)
    system.prepare(stage, view)
    return lambda: sum(system.loss(batch, stage).values()).backward()


def epoch_of(name: str, **sizes: int) -> Callable[[], None]:
    """Masks, batches, steps and validation: two epochs."""
    data = data_of(name, **sizes, rows=sizes["N"])
    system = MODELS[name].for_data(data, **WIDTH[name](sizes["d"]))
    if name == "admc":
        system.stages = system.stages[-1:]
    protocol = "patterns(keep=text)" if name == "smcir" else "patterns"
    return lambda: fit(system, data, protocol, epochs=2, batch_size=sizes["B"], progress=False)


def main(table: Table) -> None:
    for name, grown in SIZES.items():
        for size in grown:
            make = epoch_of if size == "N" else step_of
            works = [make(name, **BASE | {size: value}) for value in GROWN[size]]
            times = [cpu_seconds(work, 2 if size == "N" else 5) for work in works]
            slope = np.polyfit(np.log(GROWN[size]), np.log(times), 1)[0]
            text = f"{size} = {', '.join(map(str, GROWN[size]))}"
            wanted = "1" if size == "N" else ""
            table.add(name, text, f"slope in {size}", float(slope), "", wanted=wanted)
