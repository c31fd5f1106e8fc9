"""UMDF: one training step against MulT's, memory against batch size, time against depth."""

import math
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import nn

from mmlib import synthetic
from mmlib.data.dataset import Batch, Dataset
from mmlib.hub import mend_torchvision
from mmlib.models.base import System
from mmlib.models.umdf import UMDF
from tests.bench.table import Table


def clips(rows: int) -> Dataset:
    """Clips of 50 frames of 768, 5 and 20 numbers."""
    return synthetic.like("mosi").sample({"train": rows, "valid": 1, "test": 1})


def batch_of(data: Dataset) -> Batch:
    view = data.view("train")
    return view.batch(torch.arange(len(view)))


def umdf_step(rows: int, **arguments) -> Callable[[], None]:
    data = clips(rows)
    system, batch = UMDF.for_data(data, **arguments).train(), batch_of(data)
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-3, fused=True)

    def step():
        total = sum(system.loss(batch, "main").values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step


def mult_step(rows: int) -> Callable[[], None] | None:
    """MulT of the package mmsa at the same sizes, with its own optimiser and loss; None where it is not installed."""
    try:
        mend_torchvision()  # mmsa imports transformers, which imports it
        from MMSA.models.singleTask.MULT import MULT
    except ImportError:
        return None
    settings = SimpleNamespace(
        use_bert=False, feature_dims=(768, 5, 20), dst_feature_dim_nheads=(40, 10), nlevels=4, attn_mask=True,
        attn_dropout=0.1, attn_dropout_a=0.1, attn_dropout_v=0.1, relu_dropout=0.1, embed_dropout=0.25, res_dropout=0.1,
        output_dropout=0.0, text_dropout=0.1, num_classes=1, train_mode="regression",
        conv1d_kernel_size_l=1, conv1d_kernel_size_a=1, conv1d_kernel_size_v=1,
    )  # fmt: skip
    network, batch = MULT(settings).train(), batch_of(clips(rows))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def step():
        loss = nn.functional.l1_loss(network(*batch.x.values())["M"].squeeze(1), batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cpu_seconds(step: Callable[[], None], repeats: int = 3) -> float:
    """The best of some repeats: whatever else runs on the machine only ever adds."""
    step()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def saved_bytes(system: System, batch: Batch) -> int:
    """Memory that the forward pass keeps for the backward pass, every storage once, without the weights."""
    weights, seen = {p.untyped_storage().data_ptr() for p in system.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = system.loss(batch, "main")
    assert terms
    return sum(size for size, _ in seen.values())


def main(table: Table) -> None:
    torch.manual_seed(0)
    size, ours, peer_step = "32 clips, 50 frames of 768, 5, 20", umdf_step(32), mult_step(32)
    # Taken in turns, so that a busy machine slows both.
    pairs = [(cpu_seconds(ours, 1), cpu_seconds(peer_step, 1) if peer_step else math.nan) for _ in range(4)]
    mine, peer = (min(times) for times in zip(*pairs))
    against = "MulT of MMSA" if peer_step else "MulT, not installed: pip install '.[bench]'"
    table.add(
        "umdf", size, "a step of both views", 1000 * mine, "ms", against=against, ratio=mine / peer, wanted="<= 1"
    )
    sizes = {
        rows: saved_bytes(UMDF.for_data(clips(rows)).train(), batch_of(clips(rows))) / 2**20 for rows in (16, 32, 64)
    }
    table.add(
        "umdf",
        "64 clips",
        "saved for backward",
        sizes[64],
        "MiB",
        against="32 clips",
        ratio=sizes[64] / sizes[32],
        wanted="2",
    )
    times = {layers: cpu_seconds(umdf_step(16, layers=layers), 2) for layers in (1, 2, 4, 8)}
    first, last = times[2] - times[1], (times[8] - times[4]) / 4
    table.add(
        "umdf",
        "16 clips, 4 to 8 layers",
        "a step per layer",
        1000 * last,
        "ms",
        against="1 to 2 layers",
        ratio=last / first,
        wanted="1",
    )
