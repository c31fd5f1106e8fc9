"""Every system at its paper's size: parameters, the CPU time of a training step, and the memory that a step takes."""

import multiprocessing
import resource
import time

import torch

from mmlib import synthetic
from mmlib.data.dataset import Dataset
from mmlib.models import MODELS
from tests.bench.table import Table
from tests.helpers.dialogues import fitting

STEPS = 3


def paper_size(name: str) -> tuple[Dataset, str]:
    """One batch of data in the form of a system's own task, and what it is in words."""
    kind, count = MODELS[name], 32
    if name == "simc":
        form, count, text = "mmimdb", 8, "8 films, 4096 and 768 numbers"
    elif "regression" in kind.tasks:
        form, text = "mosi", "32 clips, 50 frames of 768, 5, 20"
    else:
        form, text = "iemocap", "32 utterances, 3 vectors"
    return fitting(name, synthetic.like(form).sample({"train": count, "valid": 4, "test": 4}, 0)), text


def cost(name: str) -> dict[str, float]:
    """In a process of its own, so that its largest memory is its own: of the slowest stage."""
    torch.set_num_threads(1)
    data, _ = paper_size(name)
    system = MODELS[name].for_data(data, **({"modality": "text"} if name == "unimodal" else {})).train()
    view, before = data.view("train"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    system.setup(view)
    batch, slowest = view.batch(torch.arange(len(view))), 0.0
    for stage in system.stages:
        system.on_stage(stage, view)
        system.prepare(stage, view)
        optimizer, times = torch.optim.Adam(system.parameters_of(stage), fused=True), []
        for _ in range(STEPS):
            start = time.process_time()
            optimizer.zero_grad()
            sum(system.loss(batch, stage).values()).backward()
            optimizer.step()
            times.append(time.process_time() - start)
        slowest = max(slowest, min(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "parameters": sum(p.numel() for p in system.parameters()),
        "a step": 1000 * slowest,
        "peak memory": (peak - before) / 1024,
    }


def main(table: Table) -> None:
    units = {"parameters": "", "a step": "ms", "peak memory": "MiB"}
    for name, kind in MODELS.items():
        if not kind.stages:
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(cost, (name,))
        for measure, value in found.items():
            table.add(name, paper_size(name)[1], measure, value, units[measure])
