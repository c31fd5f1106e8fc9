"""Pickle files from strangers, read without running anything they name.

A pickle is a program, and pickle.load runs it with every function of the computer at hand. Here the program is checked
from end to end and then drives a small machine of our own. What it names is looked up in _NAMES, where our functions
stand in for the few of numpy's that honest files need; nothing is imported and no class makes or changes an object.
"""

import codecs
import itertools
import math
import mmap
import os
import pickletools
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmlib.data.checks import DataError

_DEPTH = 100  # of nesting, far from where Python's own functions would run out of stack
_SLACK, _GROWTH = 2**28, 16  # the content may take this many bytes and this many times the size of the file

_AGAIN = "the file is truncated, damaged or no pickle; download it again"
_PLAIN = (
    "only arrays, lists, tuples, dicts, sets, text and numbers are read, as anything else could run code; "
    "do not open the file with pickle, get one with plain content"
)
_BOMB = "no honest file does that; delete it and get it from its makers"
_OTHER_FORMATS = (
    (rb"version https://git-lfs", "is a Git LFS pointer; get the file itself with git lfs pull"),
    (rb"(\xef\xbb\xbf)?\s*<", "is a web page; download the file itself"),
    (rb"\x89HDF", "is an HDF5 file; open it with h5py"),
    (rb"\x93NUMPY", "is an .npy array; open it with numpy.load(allow_pickle=False)"),
    (rb"PK", "is a zip (.npz or torch?); unpack it or open it with numpy.load(allow_pickle=False)"),
    (rb"\x1f\x8b", "is compressed; unpack it with gzip -d"),
)

# How each instruction says where its argument ends: bytes of the argument, bytes of the length before it, or lines.
_FIXED = {"PROTO": 1, "FRAME": 8, "BININT": 4, "BININT1": 1, "BININT2": 2, "BINFLOAT": 8}
_FIXED |= {"BINGET": 1, "LONG_BINGET": 4, "BINPUT": 1, "LONG_BINPUT": 4}
_FIXED |= dict.fromkeys("NONE NEWTRUE NEWFALSE MARK STOP MEMOIZE STACK_GLOBAL REDUCE BUILD NEWOBJ NEWOBJ_EX".split(), 0)
_FIXED |= dict.fromkeys("EMPTY_LIST EMPTY_TUPLE EMPTY_DICT EMPTY_SET LIST TUPLE DICT FROZENSET".split(), 0)
_FIXED |= dict.fromkeys("TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS ADDITEMS".split(), 0)
_COUNTED = {"LONG1": 1, "SHORT_BINSTRING": 1, "SHORT_BINUNICODE": 1, "SHORT_BINBYTES": 1, "BINSTRING": 4}
_COUNTED |= {"BINUNICODE": 4, "BINBYTES": 4, "BINUNICODE8": 8, "BINBYTES8": 8, "BYTEARRAY8": 8}
_LINES = {"INT": 1, "LONG": 1, "FLOAT": 1, "STRING": 1, "UNICODE": 1, "GET": 1, "PUT": 1, "GLOBAL": 2}
_INSTRUCTIONS = {ord(op.code): op.name for op in pickletools.opcodes}

_DTYPE = re.compile(r"\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O[48]?")
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_PARTS = {list: iter, tuple: iter, set: iter, frozenset: iter}
_PARTS |= {dict: lambda pairs: itertools.chain(pairs.keys(), pairs.values()), np.ndarray: lambda array: array.flat}


class _Refusal(Exception):
    """What was found and what to do about it; load() adds the file and the place."""


@dataclass(eq=False)
class _Name:
    """A name from the file and our function in its place, if it is one to call."""

    text: str
    call: Callable[..., Any] | None = None


@dataclass(eq=False)
class _Unbuilt:
    """An array or dtype between REDUCE, which names it, and BUILD, which gives its content."""

    build: Callable[["_Reader", Any], Any]
    value: Any = None


@dataclass(eq=False)
class _Level:
    """A container on the way through the content: parts to come, its weight in bytes, levels of nesting in it."""

    parts: Iterator[Any]
    size: int = 1
    height: int = 1

    def add(self, inner: "_Level") -> None:
        self.size, self.height = self.size + inner.size, max(self.height, 1 + inner.height)


def load(path: str | Path, *, max_bytes: int = 64 * 2**30) -> Any:
    """The content of a pickle file: lists, tuples, dicts, sets, text, bytes, numbers, None, numpy arrays and scalars.

    Bytes of Python 2 become text as with encoding="latin1". Arrays come in the byte order of this computer.

    Raises DataError for anything else: other names, instructions that make objects, damage, nesting beyond 100 levels,
    content that contains itself, a file over max_bytes, and content that would take over max_bytes or many times the
    file if everything were written out as often as it is used.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a file; give the path of the pickle itself")
        with open(path, "rb") as file:
            _refuse_other_files(path, file.read(512), os.fstat(file.fileno()).st_size, max_bytes)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, _Reader(data, max_bytes))
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened ({problem.strerror}); see data/README.md for its place") from problem


def _read(path: Path, reader: "_Reader") -> Any:
    try:
        return reader.read()
    except _Refusal as problem:
        message, cause = problem, None
    except MemoryError as problem:
        message, cause = "does not fit in memory; use a computer with more", problem
    except Exception as problem:  # wrong operands end in a dozen unrelated types
        message, cause = f"cannot be read ({type(problem).__name__}: {str(problem)[:200]}); {_AGAIN}", problem
    raise DataError(f"{path}: byte {reader.position}: {message}") from cause


def _refuse_other_files(path: Path, head: bytes, size: int, max_bytes: int) -> None:
    if not size:
        raise DataError(f"{path}: is empty; download it again")
    if size > max_bytes:
        raise DataError(f"{path}: has {size} bytes, over the limit of {max_bytes}; pass a larger max_bytes")
    for pattern, message in _OTHER_FORMATS:
        if re.match(pattern, head):
            raise DataError(f"{path}: {message}")


class _Reader:
    """The machine: a stack, the marks on it, and a memo of what is used again."""

    def __init__(self, data: mmap.mmap, max_bytes: int):
        self.data, self.position, self.spent = data, 0, 0
        self.budget = _SLACK + _GROWTH * len(data)
        self.limit = min(max_bytes, self.budget)
        self.stack, self.marks, self.memo, self.puts = [], [], {}, 0
        self.nested = {}  # id of an array of objects: how deep arrays nest in it, and the array, which keeps the id

    def read(self) -> Any:
        used = self.scan()
        for name, start, stop in self.instructions():
            raw = self.data[start:stop] if start < stop else b""
            if name in _LITERALS:
                self.stack.append(_LITERALS[name](raw))
            elif name in _PUTS:
                # A slot that is never used would only keep the bytes of an array beside the array.
                if (slot := self.slot(name, raw)) in used:
                    self.memo[slot] = self.stack[-1]
                self.puts += 1
            elif name in _GETS:
                self.get(self.memo[self.slot(name, raw)])
            elif name in _STEPS:
                _STEPS[name](self, raw)
            else:
                raise _Refusal(f"makes an object by {name}; {_PLAIN}")
        (result,) = self.stack
        self.weigh(result)
        return result

    def scan(self) -> set[int]:
        """The memo slots that are used, once nothing is left to refuse that can be seen without the stack."""
        used = set()
        for name, start, stop in self.instructions():
            if name == "GLOBAL":
                _named(*_lines(self.data[start:stop]))
            elif name in _GETS:
                used.add(self.slot(name, self.data[start:stop]))
            elif name in _PUTS and start < stop:
                slot = self.slot(name, self.data[start:stop])
                if not 0 <= slot < len(self.data):
                    raise _Refusal(f"{name} takes memo slot {slot}, more than a file of this size can fill; {_BOMB}")
        return used

    def instructions(self) -> Iterator[tuple[str, int, int]]:
        """Each instruction to the last with the place of its argument, which is inside the file."""
        data, end, stop, name = self.data, len(self.data), 0, ""
        while name != "STOP":
            self.position = stop
            if stop >= end:
                raise _Refusal(f"ends without STOP; {_AGAIN}")
            code, start = data[stop], stop + 1
            name = _INSTRUCTIONS.get(code, "")
            if name in _FIXED:
                stop = start + _FIXED[name]
            elif name in _COUNTED:
                start += _COUNTED[name]
                stop = start + int.from_bytes(data[start - _COUNTED[name] : start], "little")
            elif name in _LINES:
                stop = start
                for _ in range(_LINES[name]):
                    stop = data.find(b"\n", stop) + 1 or end + 1
            elif name and self.position:
                raise _Refusal(f"has the pickle instruction {name}; {_PLAIN}")
            else:
                raise _Refusal(f"{code:#04x} is no pickle instruction; {_AGAIN}")
            if stop > end:
                raise _Refusal(f"{name} goes on to byte {stop}, but the file has only {end}; {_AGAIN}")
            yield name, start, stop
        if stop < end:
            raise _Refusal(f"STOP, but {end - stop} bytes follow; get a file with one pickle and nothing else")

    def slot(self, name: str, raw: bytes) -> int:
        if name == "MEMOIZE":
            return self.puts
        return int(raw) if name in _LINES else int.from_bytes(raw, "little")

    def get(self, item: Any) -> None:
        if type(item) is _Unbuilt:
            if item.value is None:
                raise _Refusal(f"uses an array before it has content; {_BOMB}")
            item = item.value
        self.stack.append(item)

    def spend(self, size: int) -> None:
        self.spent += size
        if self.spent > self.budget:
            raise _Refusal(f"needs over {self.budget} bytes, too much for a file of {len(self.data)}; {_BOMB}")

    def items(self) -> list:
        """What lies above the last mark, taken off the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def push(self, value: Any) -> None:
        self.spend(sys.getsizeof(value))
        self.stack.append(value)

    def pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise _Refusal(f"takes {count} things off a stack of {len(self.stack)}; {_AGAIN}")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def add(self, kind: type, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not kind:
            raise _Refusal(f"adds to {_kind(target)} as to a {kind.__name__}; {_PLAIN}")
        if kind is list:
            target.extend(items)
        else:
            target.update(_pairs(items) if kind is dict else _keys(items))

    def protocol(self, raw: bytes) -> None:
        if raw[0] > 5:
            raise _Refusal(f"is a pickle of protocol {raw[0]}, newer than 5; write it again with protocol 5 or less")

    def reduce(self, name: Any, arguments: Any) -> None:
        if type(name) is not _Name or name.call is None:
            raise _Refusal(f"calls {name.text if type(name) is _Name else _kind(name)}; {_PLAIN}")
        if type(arguments) is not tuple:
            raise _Refusal(f"calls {name.text} with {_kind(arguments)}; {_AGAIN}")
        self.push(name.call(self, *arguments))

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if type(target) is not _Unbuilt:
            raise _Refusal(f"sets the content of {_kind(target)}, which is no new array; {_PLAIN}")
        target.value = self.stack[-1] = target.build(self, state)

    def array(self, shape: Any, dtype: Any, raw: Any, order: str = "C") -> np.ndarray:
        size = _size(shape, dtype)
        raw = raw.encode("latin1") if type(raw) is str else raw
        if type(raw) not in (bytes, bytearray) or dtype.hasobject:
            raise _Refusal(f"has {_kind(raw)} as the bytes of an array of {dtype}; {_BOMB}")
        if len(raw) != size * dtype.itemsize or size > max(1, len(raw)):
            raise _Refusal(f"has {len(raw)} bytes for an array of {dtype} of the shape {shape}; {_BOMB}")
        self.spend(len(raw))
        # numpy would take both and fail, or compute nonsense, much later.
        if dtype.kind == "b" and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
            raise _Refusal(f"has truth values other than 0 and 1; {_AGAIN}")
        letters = np.dtype(np.uint32).newbyteorder(dtype.byteorder)
        if dtype.kind == "U" and np.frombuffer(raw, letters).max(initial=0) > sys.maxunicode:
            raise _Refusal(f"has an array of text with impossible letters; {_AGAIN}")
        return np.ndarray(shape, dtype, raw, order=order).astype(dtype.newbyteorder("="))

    def array_of_objects(self, shape: Any, dtype: Any, items: list) -> np.ndarray:
        size = _size(shape, dtype)
        if len(items) != size or not dtype.hasobject:
            raise _Refusal(f"has {len(items)} objects for an array of {dtype} of the shape {shape}; {_BOMB}")
        self.spend(8 * size)
        depth = 1 + max((self.nested[id(item)][0] for item in items if id(item) in self.nested), default=0)
        if depth > _DEPTH:  # at once, because numpy overflows the stack in freeing arrays of arrays of arrays
            raise _Refusal(f"nests over {_DEPTH} levels deep; {_BOMB}")
        array = np.fromiter(items, object, size).reshape(shape)
        self.nested[id(array)] = depth, array
        return array

    def weigh(self, root: Any) -> None:
        """Refuses content of other types, too deep, within itself, or too large if written out as often as used."""
        done, path = {}, {0: _Level(iter((root,)))}  # by id
        while path:
            key, level = next(reversed(path.items()))
            for part in level.parts:
                kind = type(part)
                if kind in _ATOMS:
                    level.size += 1 + (len(part) if kind in (str, bytes) else 0)
                elif isinstance(part, np.generic) or (kind is np.ndarray and not part.dtype.hasobject):
                    level.size += 1 + part.nbytes
                elif kind not in _PARTS:
                    raise _Refusal(f"has {part.text if kind is _Name else _kind(part)} as content; {_PLAIN}")
                elif id(part) in path:
                    raise _Refusal(f"has {_kind(part)} that contains itself; {_BOMB}")
                elif len(path) - 1 + getattr(done.get(id(part)), "height", 1) > _DEPTH:
                    raise _Refusal(f"nests over {_DEPTH} levels deep; {_BOMB}")
                elif id(part) in done:
                    level.add(done[id(part)])
                else:
                    path[id(part)] = _Level(_PARTS[kind](part))
                    break
            else:
                done[key] = path.pop(key)
                for outer in itertools.islice(reversed(path.values()), 1):
                    outer.add(level)
            if level.size > self.limit:
                raise _Refusal(f"unfolds to over {self.limit} bytes, from a file of {len(self.data)}; {_BOMB}")


def _named(module: Any, name: Any) -> _Name:
    if type(module) is not str or type(name) is not str:
        raise _Refusal(f"asks for a name that is no text; {_PLAIN}")
    if (module, name) not in _NAMES:
        raise _Refusal(f"asks for {f'{module}.{name}'[:200]!r}; {_PLAIN}")
    return _NAMES[module, name]


def _kind(value: Any) -> str:
    # Never the value: the text of one that is nested through the memo has no end.
    return f"{type(value).__name__.strip('_').lower()!r}"


def _size(shape: Any, dtype: Any) -> int:
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or len(shape) > 32:
        raise _Refusal(f"has an array without a type or with {_kind(shape)} as shape; {_AGAIN}")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise _Refusal(f"has an array of a negative or impossible shape; {_BOMB}")
    return math.prod(shape)


def _lines(raw: bytes) -> list[str]:
    return raw.decode("utf-8", "backslashreplace").split("\n")[:-1]


def _keys(items: Iterable[Any]) -> Iterable[Any]:
    """Only what has a hash that is quick to find and hard to make equal to many others."""
    for key in items:
        if not isinstance(key, str | bytes | float | np.generic | None):
            if not isinstance(key, int) or not -(2**63) <= key < 2**64:
                raise _Refusal(f"has {_kind(key)} or a huge number as a key of a dict or in a set; {_PLAIN}")
    return items


def _pairs(items: list) -> dict:
    return dict(zip(_keys(items[::2]), items[1::2], strict=True))


def _ndarray(_: _Reader, kind: Any, *__: Any) -> _Unbuilt:
    if type(kind) is not _Name or kind.text != "numpy.ndarray":
        raise _Refusal(f"makes an array of another class than numpy.ndarray; {_PLAIN}")
    return _Unbuilt(_filled)


def _filled(reader: _Reader, state: Any) -> np.ndarray:
    _, shape, dtype, fortran, raw = state
    if type(raw) is list:
        return reader.array_of_objects(shape, dtype, raw)
    return reader.array(shape, dtype, raw, "F" if fortran else "C")


def _frombuffer(reader: _Reader, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    if order == "K":
        return reader.array(shape, dtype, raw).transpose(axes)
    return reader.array(shape, dtype, raw, order)


def _scalar(reader: _Reader, dtype: Any, raw: Any) -> np.generic:
    return reader.array((), dtype, raw)[()]


def _dtype(_: _Reader, code: Any, *__: Any) -> _Unbuilt:
    if type(code) is not str or not _DTYPE.fullmatch(code):
        what = repr(code[:100]) if type(code) is str else _kind(code)
        raise _Refusal(f"has an array of the type {what}; only arrays of numbers, text and objects are read")
    return _Unbuilt(partial(_ordered, np.dtype(object if code.startswith("O") else code)))


def _ordered(dtype: np.dtype, _: _Reader, state: Any) -> np.dtype:
    _, order, *parts = state
    if order not in ("<", ">", "|") or parts[:3] != [None, None, None]:
        raise _Refusal(f"has an array type with fields or an unknown byte order; {_PLAIN}")
    return dtype.newbyteorder(order)


def _set(kind: type, reader: _Reader, items: Any = ()) -> set | frozenset:
    if type(items) not in (list, tuple):
        raise _Refusal(f"makes a set of {_kind(items)}; {_PLAIN}")
    reader.spend(64 * len(items))  # in a set or, where they are equal, in time
    return kind(_keys(items))


def _complex(_: _Reader, real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise _Refusal(f"has a complex number of {_kind(real)} and {_kind(imaginary)}; {_PLAIN}")
    return complex(real, imaginary)


def _encode(_: _Reader, text: Any, encoding: Any) -> bytes:
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise _Refusal(f"encodes something other than text as latin1; {_PLAIN}")
    return text.encode("latin1")


def _int(raw: bytes) -> bool | int:
    return raw == b"01\n" if raw in (b"00\n", b"01\n") else int(raw)


def _string(raw: bytes) -> str:
    quoted = raw.strip()
    if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
        raise _Refusal(f"has a text without quotes; {_AGAIN}")
    return codecs.escape_decode(quoted[1:-1])[0].decode("latin1")


_NAMES = {("numpy", "ndarray"): _Name("numpy.ndarray"), ("numpy", "dtype"): _Name("numpy.dtype", _dtype)}
for _numpy in ("numpy.core", "numpy._core"):
    for _module, _name, _call in (
        ("multiarray", "_reconstruct", _ndarray),
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _frombuffer),
    ):
        _NAMES[f"{_numpy}.{_module}", _name] = _Name(f"{_numpy}.{_module}.{_name}", _call)
for _module in ("__builtin__", "builtins"):
    _NAMES[_module, "set"] = _Name(f"{_module}.set", partial(_set, set))
    _NAMES[_module, "frozenset"] = _Name(f"{_module}.frozenset", partial(_set, frozenset))
    _NAMES[_module, "complex"] = _Name(f"{_module}.complex", _complex)
    _NAMES[_module, "bytes"] = _Name(f"{_module}.bytes", lambda _: b"")  # which protocols 0 to 2 call
_NAMES["_codecs", "encode"] = _Name("_codecs.encode", _encode)

_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_UTF8 = partial(str, encoding="utf-8", errors="surrogatepass")
_LATIN1 = partial(str, encoding="latin1")
_UNSIGNED = partial(int.from_bytes, byteorder="little")
_SIGNED = partial(int.from_bytes, byteorder="little", signed=True)
_LITERALS = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "BININT": _SIGNED,
    "BININT1": _UNSIGNED,
    "BININT2": _UNSIGNED,
    "LONG1": _SIGNED,
    "INT": _int,
    "LONG": lambda raw: int(raw.rstrip(b"L\n")),
    "FLOAT": float,
    "BINFLOAT": lambda raw: struct.unpack(">d", raw)[0],
    "STRING": _string,
    "SHORT_BINSTRING": _LATIN1,
    "BINSTRING": _LATIN1,
    "UNICODE": lambda raw: raw[:-1].decode("raw-unicode-escape"),
    "SHORT_BINUNICODE": _UTF8,
    "BINUNICODE": _UTF8,
    "BINUNICODE8": _UTF8,
    "SHORT_BINBYTES": bytes,
    "BINBYTES": bytes,
    "BINBYTES8": bytes,
    "BYTEARRAY8": bytearray,
}
_STEPS = {
    "PROTO": _Reader.protocol,
    "FRAME": lambda *_: None,
    "STOP": lambda *_: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.items()),
    "TUPLE": lambda m, _: m.push(tuple(m.items())),
    "DICT": lambda m, _: m.push(_pairs(m.items())),
    "FROZENSET": lambda m, _: m.push(frozenset(_keys(m.items()))),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "APPEND": lambda m, _: m.add(list, m.pop(1)),
    "APPENDS": lambda m, _: m.add(list, m.items()),
    "SETITEM": lambda m, _: m.add(dict, m.pop(2)),
    "SETITEMS": lambda m, _: m.add(dict, m.items()),
    "ADDITEMS": lambda m, _: m.add(set, m.items()),
    "GLOBAL": lambda m, raw: m.stack.append(_named(*_lines(raw))),
    "STACK_GLOBAL": lambda m, _: m.stack.append(_named(*m.pop(2))),
    "REDUCE": lambda m, _: m.reduce(*m.pop(2)),
    "BUILD": lambda m, _: m.build(*m.pop(1)),
}
