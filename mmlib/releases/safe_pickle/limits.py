"""What is refused in every pickle, and how much memory its content may take."""

import math
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

DEPTH = 100  # levels of nesting, far from where Python's own functions would run out of stack
_SLACK, _GROWTH = 2**28, 16  # bytes that the content may take: slack + growth x size of the file

AGAIN = "the file is truncated, damaged or no pickle; download it again"
PLAIN = (
    "only arrays, lists, tuples, dicts, sets, text and numbers are read, as anything else could run code; "
    "do not open the file with pickle, get one with plain content"
)
BOMB = "no honest file does that; delete it and get it from its makers"


class Refusal(Exception):
    """What is wrong with the file and what to do about it; `load` adds the file and the place."""


class Budget:
    """Counts the bytes that the content takes, and makes arrays once their sizes are checked."""

    def __init__(self, size: int, max_bytes: int):
        self.size, self.spent = size, 0
        self.budget = _SLACK + _GROWTH * size
        self.limit = min(max_bytes, self.budget)
        self.nested = {}  # id of an array of objects: how deep arrays nest in it, and the array, which keeps the id

    def spend(self, size: int) -> None:
        self.spent += size
        if self.spent > self.budget:
            raise Refusal(f"needs over {self.budget} bytes, too much for a file of {self.size}; {BOMB}")

    def array(self, shape: Any, dtype: Any, raw: Any, order: str = "C") -> np.ndarray:
        size = _size(shape, dtype)
        raw = raw.encode("latin1") if type(raw) is str else raw
        if type(raw) not in (bytes, bytearray) or dtype.hasobject:
            raise Refusal(f"has {kind_of(raw)} as the bytes of an array of {dtype}; {BOMB}")
        if len(raw) != size * dtype.itemsize or size > max(1, len(raw)):
            raise Refusal(f"has {len(raw)} bytes for an array of {dtype} of the shape {shape}; {BOMB}")
        self.spend(len(raw))
        # numpy would accept both of the following, and fail or give wrong numbers much later.
        if dtype.kind == "b" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
            raise Refusal(f"has truth values other than 0 and 1; {AGAIN}")
        letters = np.dtype(np.uint32).newbyteorder(dtype.byteorder)
        if dtype.kind == "U" and np.frombuffer(raw, letters).max(initial=0) > sys.maxunicode:
            raise Refusal(f"has an array of text with impossible letters; {AGAIN}")
        return np.ndarray(shape, dtype, raw, order=order).astype(dtype.newbyteorder("="))

    def array_of_objects(self, shape: Any, dtype: Any, items: list) -> np.ndarray:
        size = _size(shape, dtype)
        if len(items) != size or not dtype.hasobject:
            raise Refusal(f"has {len(items)} objects for an array of {dtype} of the shape {shape}; {BOMB}")
        self.spend(8 * size)
        depth = 1 + max((self.nested[id(item)][0] for item in items if id(item) in self.nested), default=0)
        if depth > DEPTH:  # at once, because numpy overflows the stack in freeing arrays of arrays of arrays
            raise Refusal(f"nests over {DEPTH} levels deep; {BOMB}")
        array = np.fromiter(items, object, size).reshape(shape)
        self.nested[id(array)] = depth, array
        return array


def kind_of(value: Any) -> str:
    # Never the value itself: nested through the memo, its text can be endless.
    return f"{type(value).__name__.strip('_').lower()!r}"


def _size(shape: Any, dtype: Any) -> int:
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or len(shape) > 32:
        raise Refusal(f"has an array without a type or with {kind_of(shape)} as shape; {AGAIN}")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise Refusal(f"has an array of a negative or impossible shape; {BOMB}")
    return math.prod(shape)


def keys(items: Iterable[Any]) -> Iterable[Any]:
    """The same items. Refuses keys whose hash is slow or easily made equal to that of many others."""
    for key in items:
        if not isinstance(key, str | bytes | float | np.generic | None):
            if not isinstance(key, int) or not -(2**63) <= key < 2**64:
                raise Refusal(f"has {kind_of(key)} or a huge number as a key of a dict or in a set; {PLAIN}")
    return items
