"""Every system at one width: parameters, the time of a training step, and the memory that a step adds."""

import resource
import time

import pandas as pd
import torch

from mmlib import synthetic
from mmlib.models import MODELS
from tests.helpers.dialogues import fitting

D, ROWS, STEPS = 32, 64, 10
WIDTHS = {
    "simc": {"hidden": 2 * D}, "umdf": {"d": D, "heads": 4, "layers": 1}, "mctn": {"hidden": D},
    "smcir": {"d": D, "width": D, "heads": 4, "layers": 1}, "unimodal": {"modality": "text"},
    "admc": {"d": D, "heads": 4, "layers": 2, "fusion_layers": 1},
}  # fmt: skip
_OWN_WIDTH = ("fill", "prior", "coin", "all_zeros")


def main() -> None:
    """Vectors, then sequences of 20 frames: three modalities (two for SIM-C), 64 rows a step, one thread."""
    torch.set_num_threads(1)
    for length in (1, 20):
        modalities = {m: synthetic.Modality(24, length) for m in ("text", "audio", "vision")}
        data = synthetic.like("iemocap", modalities=modalities).sample({"train": ROWS, "valid": 4, "test": 4}, 0)
        lines = {}
        for name, kind in MODELS.items():
            if kind.stages and "multiclass" in kind.tasks and (length == 1 or kind.sequences):
                few = data.only("text", "audio") if kind.modalities == "two" else data
                lines[name] = _cost(name, fitting(name, few))
        table = pd.DataFrame.from_dict(lines, orient="index")
        table["times the cheapest"] = table["a step, ms"] / table["a step, ms"].min()
        print(f"{length} frames, width {D}, {ROWS} rows:\n{table.round(1).to_string()}\n")


def _cost(name: str, data) -> dict[str, float]:
    """Of a step in the slowest stage of a system. Memory is new where a step needs more than any system before it."""
    width = WIDTHS.get(name, {} if name in _OWN_WIDTH else {"d": D})
    system = MODELS[name].for_data(data, **width).train()
    view = data.view("train")
    system.setup(view)
    batch, slowest = view.batch(torch.arange(ROWS)), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for stage in system.stages:
        system.on_stage(stage, view)
        system.prepare(stage, view)
        optimizer = torch.optim.Adam(system.parameters_of(stage), fused=True)

        def step(stage=stage, optimizer=optimizer):
            optimizer.zero_grad()
            sum(system.loss(batch, stage).values()).backward()
            optimizer.step()

        step()
        start = time.process_time()
        for _ in range(STEPS):
            step()
        slowest = max(slowest, (time.process_time() - start) / STEPS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = sum(p.numel() for p in system.parameters())
    return {"parameters": parameters, "a step, ms": 1000 * slowest, "new peak memory, MB": (peak - before) / 1024}
