"""The names that a pickle may use, and our own functions in their place. Nothing is imported."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmlib.releases.safe_pickle.limits import PLAIN, Budget, Refusal, keys, kind_of

_DTYPE = re.compile(r"\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O[48]?")


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
