"""Random numbers that belong to a row: the same in every batch, in every order and on every device.

A generator cannot give them, since its state depends on everything drawn before. Here normal numbers are drawn once, as one
fixed sheet; a row reads a window of it, whose place is a hash of the row's key and of the purpose of the numbers.
"""

import hashlib
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

_SHEET = 2**22
_ODD = (-0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)  # SplitMix64's constants (Steele et al. 2014)


def row_normal(key: Int[Tensor, "B"], purpose: tuple, shape: tuple[int, ...]) -> Float[Tensor, "B *shape"]:
    """Standard normal numbers (B, *shape), float32, a function of each row's key and of `purpose` alone.

    Two windows can overlap, shifted against each other; with four million places this does not change any mean noticeably.
    """
    size = torch.Size(shape).numel()
    tag = int.from_bytes(hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest(), signed=True)
    place = _mix(key * _ODD[0] + tag).remainder(_SHEET - size + 1)
    windows = _sheet(key.device).as_strided((_SHEET - size + 1, size), (1, 1))
    return windows[place].unflatten(1, shape)


def _mix(x: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
    """SplitMix64's finaliser; products wrap around, and the mask makes the shift a logical one."""
    for shift, odd in ((30, _ODD[1]), (27, _ODD[2])):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * odd
    return x ^ ((x >> 31) & ((1 << 33) - 1))


@cache
def _sheet(device: torch.device) -> Float[Tensor, "S"]:
    sheet = torch.randn(_SHEET, generator=torch.Generator().manual_seed(0))
    return ((sheet - sheet.mean()) / sheet.std(correction=0)).to(device)
