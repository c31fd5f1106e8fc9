"""What a pickle may contain: the names that it may use, with our own functions in their place, and how much memory."""

import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

_DTYPE = re.compile(r"\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O[48]?")
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

    depth = 100  # levels of nesting, far from where Python's own functions would run out of stack

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
        if depth > self.depth:  # at once, because numpy overflows the stack in freeing arrays of arrays of arrays
            raise Refusal(f"nests over {self.depth} levels deep; {BOMB}")
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


@dataclass(eq=False)
class Name:
    """A name from the file and our function in its place, if it is one to call."""

    text: str
    call: Callable[..., Any] | None = None


@dataclass(eq=False)
class Unbuilt:
    """An array or dtype between REDUCE, which names it, and BUILD, which gives its content."""

    build: Callable[[Budget, Any], Any]
    value: Any = None


def named(module: Any, name: Any) -> Name:
    if type(module) is not str or type(name) is not str:
        raise Refusal(f"asks for a name that is no text; {PLAIN}")
    if (module, name) not in NAMES:
        raise Refusal(f"asks for {f'{module}.{name}'[:200]!r}; {PLAIN}")
    return NAMES[module, name]


def _ndarray(_: Budget, kind: Any, *__: Any) -> Unbuilt:
    if type(kind) is not Name or kind.text != "numpy.ndarray":
        raise Refusal(f"makes an array of another class than numpy.ndarray; {PLAIN}")
    return Unbuilt(_filled)


def _filled(budget: Budget, state: Any) -> np.ndarray:
    _, shape, dtype, fortran, raw = state
    if type(raw) is list:
        return budget.array_of_objects(shape, dtype, raw)
    return budget.array(shape, dtype, raw, "F" if fortran else "C")


def _frombuffer(budget: Budget, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    if order == "K":
        return budget.array(shape, dtype, raw).transpose(axes)
    return budget.array(shape, dtype, raw, order)


def _scalar(budget: Budget, dtype: Any, raw: Any) -> np.generic:
    return budget.array((), dtype, raw)[()]


def _dtype(_: Budget, code: Any, *__: Any) -> Unbuilt:
    if type(code) is not str or not _DTYPE.fullmatch(code):
        what = repr(code[:100]) if type(code) is str else kind_of(code)
        raise Refusal(f"has an array of the type {what}; only arrays of numbers, text and objects are read")
    return Unbuilt(partial(_ordered, np.dtype(object if code.startswith("O") else code)))


def _ordered(dtype: np.dtype, _: Budget, state: Any) -> np.dtype:
    _, order, *parts = state
    if order not in ("<", ">", "|") or parts[:3] != [None, None, None]:
        raise Refusal(f"has an array type with fields or an unknown byte order; {PLAIN}")
    return dtype.newbyteorder(order)


def _set(kind: type, budget: Budget, items: Any = ()) -> set | frozenset:
    if type(items) not in (list, tuple):
        raise Refusal(f"makes a set of {kind_of(items)}; {PLAIN}")
    budget.spend(64 * len(items))  # memory of the set, or time where items are equal
    return kind(keys(items))


def _complex(_: Budget, real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise Refusal(f"has a complex number of {kind_of(real)} and {kind_of(imaginary)}; {PLAIN}")
    return complex(real, imaginary)


def _encode(_: Budget, text: Any, encoding: Any) -> bytes:
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal(f"encodes something other than text as latin1; {PLAIN}")
    return text.encode("latin1")


NAMES = {("numpy", "ndarray"): Name("numpy.ndarray"), ("numpy", "dtype"): Name("numpy.dtype", _dtype)}
for _numpy in ("numpy.core", "numpy._core"):
    for _module, _name, _call in (
        ("multiarray", "_reconstruct", _ndarray),
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _frombuffer),
    ):
        NAMES[f"{_numpy}.{_module}", _name] = Name(f"{_numpy}.{_module}.{_name}", _call)
for _module in ("__builtin__", "builtins"):
    NAMES[_module, "set"] = Name(f"{_module}.set", partial(_set, set))
    NAMES[_module, "frozenset"] = Name(f"{_module}.frozenset", partial(_set, frozenset))
    NAMES[_module, "complex"] = Name(f"{_module}.complex", _complex)
    NAMES[_module, "bytes"] = Name(f"{_module}.bytes", lambda _: b"")  # which protocols 0 to 2 call
NAMES["_codecs", "encode"] = Name("_codecs.encode", _encode)
