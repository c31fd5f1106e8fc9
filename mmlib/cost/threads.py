"""How many CPU threads train a network: one for a small network, unless the user has chosen another number."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_SMALL = 2_000_000  # parameters; the operations of larger networks are worth more threads than one
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_AT_IMPORT = torch.get_num_threads()


@contextmanager
def threads_for(system: nn.Module, device: torch.device) -> Iterator[bool]:
    """Trains and predicts with one thread where the network is small and on the CPU; gives whether it does.

    Threads of small operations wait for each other more than they work, and where other programs use the cores, too, a
    training takes fifty times as long. A number set by OMP_NUM_THREADS or `torch.set_num_threads` stays.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or _is_chosen(threads) or _size(system) >= _SMALL:
        yield False
        return
    torch.set_num_threads(1)
    try:
        yield True
    finally:
        torch.set_num_threads(threads)


def _is_chosen(threads: int) -> bool:
    cores = {os.cpu_count() or 1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1}
    unset = cores | {n // 2 for n in cores}  # torch starts with all cores, or with half of them where each counts twice
    return any(v in os.environ for v in _VARIABLES) or threads != _AT_IMPORT or threads not in unset


def _size(system: nn.Module) -> int:
    return sum(p.numel() for p in system.parameters())
