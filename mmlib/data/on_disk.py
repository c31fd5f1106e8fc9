"""Tensors larger than memory: made chunk by chunk in a file without a name, whose room is free when nobody holds them."""

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmlib.data.checks import chunk_rows
from mmlib.names import DataError


def build(n: int, part: Callable[[slice], Tensor], folder: Path | None) -> Tensor:
    """part(all n rows): in memory or, where a folder is given, from parts of few rows, one after the other, in a file there.

    Raises DataError where the folder has too little room.
    """
    if folder is None or n == 0:
        return part(slice(0, n))
    first = part(slice(0, 1))
    whole = _empty((n, *first.shape[1:]), first.dtype, folder)
    for start in range(0, n, step := chunk_rows(first)):
        whole[start : start + step] = part(slice(start, start + step))
    return whole


def moments(parts: Iterable[Float[Tensor, "_ d"]]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]] | None:
    """Mean and variance of all vectors (Chan, Golub, LeVeque 1979), torch's where there is one part; None without any."""
    n, mean, variance = 0, torch.zeros(()), torch.zeros(())
    for x in parts:
        if not len(x):
            continue
        k, mean_x, variance_x = len(x), x.mean(0), x.var(0, correction=0)
        if n:
            share, away = k / (n + k), mean_x - mean
            mean_x = mean + share * away
            variance_x = (1 - share) * variance + share * variance_x + share * (1 - share) * away.square()
        n, mean, variance = n + k, mean_x, variance_x
    return (mean, variance) if n else None


def _empty(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> Tensor:
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size := max(1, math.prod(shape)) * kind.itemsize)
        except OSError as problem:
            raise DataError(
                f"{folder}: no room for {size:,} bytes of features ({problem.strerror}); make room there"
            ) from None
        return torch.from_numpy(np.memmap(file, kind, "r+", shape=shape))
