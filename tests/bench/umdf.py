"""UMDF: one training step against MulT's, memory against batch size, time against depth."""

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


def main() -> None:
    torch.manual_seed(0)
    print(f"UMDF · torch {torch.__version__}, {torch.get_num_threads()} threads")
    ours, peer_step = umdf_step(32), mult_step(32)
    mine = cpu_seconds(ours)
    if peer_step is None:
        print(f"step at batch 32, both views: {mine:.2f} CPU-seconds; MulT is not installed (pip install '.[bench]')")
    else:
        # Taken in turns, so that a busy machine slows both.
        pairs = [(cpu_seconds(ours, 1), cpu_seconds(peer_step, 1)) for _ in range(4)]
        mine, peer = (min(times) for times in zip(*pairs))
        print(f"step at batch 32: UMDF with both views {mine:.2f} CPU-seconds, MulT {peer:.2f}: "
              f"ratio {mine / peer:.2f} (wanted <= 1)")  # fmt: skip
    sizes = {}
    for rows in (16, 32, 64):
        data = clips(rows)
        sizes[rows] = saved_bytes(UMDF.for_data(data).train(), batch_of(data)) / 2**20
    print("saved for backward: " + ", ".join(f"batch {rows} {size:.0f} MiB" for rows, size in sizes.items())
          + f"; doubling the batch multiplies by {sizes[64] / sizes[32]:.2f}")  # fmt: skip
    times = {layers: cpu_seconds(umdf_step(16, layers=layers), 2) for layers in (1, 2, 4, 8)}
    print("step at batch 16: " + ", ".join(f"D = {layers} {t:.2f} s" for layers, t in times.items())
          + f"; per added layer {(times[2] - times[1]):.3f}, {(times[4] - times[2]) / 2:.3f}, "
          f"{(times[8] - times[4]) / 4:.3f} s")  # fmt: skip
