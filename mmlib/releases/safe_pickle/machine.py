"""The machine that runs the instructions of a pickle: a stack, the marks on it, and a memo of values that are used again.

`Machine.read` goes through the file twice. The first pass checks everything that shows without a stack, so that a
file is refused before any of it is read; the second pass carries the instructions out, and `weigh` checks the result.
"""

import codecs
import itertools
import mmap
import pickletools
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmlib.releases.safe_pickle.allowed import AGAIN, BOMB, PLAIN, Budget, Name, Refusal, Unbuilt, keys, kind_of, named

# How the argument of each instruction ends: after so many bytes, after a length of so many bytes, after so many lines.
_FIXED = {"PROTO": 1, "FRAME": 8, "BININT": 4, "BININT1": 1, "BININT2": 2, "BINFLOAT": 8}
_FIXED |= {"BINGET": 1, "LONG_BINGET": 4, "BINPUT": 1, "LONG_BINPUT": 4}
_FIXED |= dict.fromkeys("NONE NEWTRUE NEWFALSE MARK STOP MEMOIZE STACK_GLOBAL REDUCE BUILD NEWOBJ NEWOBJ_EX".split(), 0)
_FIXED |= dict.fromkeys("EMPTY_LIST EMPTY_TUPLE EMPTY_DICT EMPTY_SET LIST TUPLE DICT FROZENSET".split(), 0)
_FIXED |= dict.fromkeys("TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS ADDITEMS".split(), 0)
_COUNTED = {"LONG1": 1, "SHORT_BINSTRING": 1, "SHORT_BINUNICODE": 1, "SHORT_BINBYTES": 1, "BINSTRING": 4}
_COUNTED |= {"BINUNICODE": 4, "BINBYTES": 4, "BINUNICODE8": 8, "BINBYTES8": 8, "BYTEARRAY8": 8}
_LINES = {"INT": 1, "LONG": 1, "FLOAT": 1, "STRING": 1, "UNICODE": 1, "GET": 1, "PUT": 1, "GLOBAL": 2}
_INSTRUCTIONS = {ord(op.code): op.name for op in pickletools.opcodes}

_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_PARTS = {list: iter, tuple: iter, set: iter, frozenset: iter}
_PARTS |= {dict: lambda pairs: itertools.chain(pairs.keys(), pairs.values()), np.ndarray: lambda array: array.flat}


@dataclass(eq=False)
class _Level:
    """A container that is being weighed: its remaining parts, its size in bytes, the levels of nesting in it."""

    parts: Iterator[Any]
    size: int = 1
    height: int = 1

    def add(self, inner: "_Level") -> None:
        self.size, self.height = self.size + inner.size, max(self.height, 1 + inner.height)


class Machine(Budget):
    """Runs the instructions of one pickle."""

    def __init__(self, data: mmap.mmap, max_bytes: int):
        super().__init__(len(data), max_bytes)
        self.data, self.position = data, 0
        self.stack, self.marks, self.memo, self.puts = [], [], {}, 0

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
                raise Refusal(f"makes an object by {name}; {PLAIN}")
        (result,) = self.stack
        self.weigh(result)
        return result

    def scan(self) -> set[int]:
        """The memo slots that are used. Raises Refusal for everything that can be refused without the stack."""
        used = set()
        for name, start, stop in self.instructions():
            if name == "GLOBAL":
                named(*_lines(self.data[start:stop]))
            elif name in _GETS:
                used.add(self.slot(name, self.data[start:stop]))
            elif name in _PUTS and start < stop:
                slot = self.slot(name, self.data[start:stop])
                if not 0 <= slot < len(self.data):
                    raise Refusal(f"{name} takes memo slot {slot}, more than a file of this size can fill; {BOMB}")
        return used

    def instructions(self) -> Iterator[tuple[str, int, int]]:
        """The name of each instruction, and the start and end of its argument, which lies inside the file."""
        data, end, stop, name = self.data, len(self.data), 0, ""
        while name != "STOP":
            self.position = stop
            if stop >= end:
                raise Refusal(f"ends without STOP; {AGAIN}")
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
                raise Refusal(f"has the pickle instruction {name}; {PLAIN}")
            else:
                raise Refusal(f"{code:#04x} is no pickle instruction; {AGAIN}")
            if stop > end:
                raise Refusal(f"{name} goes on to byte {stop}, but the file has only {end}; {AGAIN}")
            yield name, start, stop
        if stop < end:
            raise Refusal(f"STOP, but {end - stop} bytes follow; get a file with one pickle and nothing else")

    def slot(self, name: str, raw: bytes) -> int:
        if name == "MEMOIZE":
            return self.puts
        return int(raw) if name in _LINES else int.from_bytes(raw, "little")

    def get(self, item: Any) -> None:
        if type(item) is Unbuilt:
            if item.value is None:
                raise Refusal(f"uses an array before it has content; {BOMB}")
            item = item.value
        self.stack.append(item)

    def items(self) -> list:
        """The values above the last mark, which are taken off the stack."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def push(self, value: Any) -> None:
        self.spend(sys.getsizeof(value))
        self.stack.append(value)

    def pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise Refusal(f"takes {count} things off a stack of {len(self.stack)}; {AGAIN}")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def add(self, kind: type, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not kind:
            raise Refusal(f"adds to {kind_of(target)} as to a {kind.__name__}; {PLAIN}")
        if kind is list:
            target.extend(items)
        else:
            target.update(_pairs(items) if kind is dict else keys(items))

    def protocol(self, raw: bytes) -> None:
        if raw[0] > 5:
            raise Refusal(f"is a pickle of protocol {raw[0]}, newer than 5; write it again with protocol 5 or less")

    def reduce(self, name: Any, arguments: Any) -> None:
        if type(name) is not Name or name.call is None:
            raise Refusal(f"calls {name.text if type(name) is Name else kind_of(name)}; {PLAIN}")
        if type(arguments) is not tuple:
            raise Refusal(f"calls {name.text} with {kind_of(arguments)}; {AGAIN}")
        self.push(name.call(self, *arguments))

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if type(target) is not Unbuilt:
            raise Refusal(f"sets the content of {kind_of(target)}, which is no new array; {PLAIN}")
        target.value = self.stack[-1] = target.build(self, state)

    def weigh(self, root: Any) -> None:
        """Refuses content that has other types, nests too deep, contains itself or unfolds to more than the limit."""
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
                    raise Refusal(f"has {part.text if kind is Name else kind_of(part)} as content; {PLAIN}")
                elif id(part) in path:
                    raise Refusal(f"has {kind_of(part)} that contains itself; {BOMB}")
                elif len(path) - 1 + getattr(done.get(id(part)), "height", 1) > self.depth:
                    raise Refusal(f"nests over {self.depth} levels deep; {BOMB}")
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
                raise Refusal(f"unfolds to over {self.limit} bytes, from a file of {len(self.data)}; {BOMB}")


def _lines(raw: bytes) -> list[str]:
    return raw.decode("utf-8", "backslashreplace").split("\n")[:-1]


def _pairs(items: list) -> dict:
    return dict(zip(keys(items[::2]), items[1::2], strict=True))


def _int(raw: bytes) -> bool | int:
    return raw == b"01\n" if raw in (b"00\n", b"01\n") else int(raw)


def _string(raw: bytes) -> str:
    quoted = raw.strip()
    if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
        raise Refusal(f"has a text without quotes; {AGAIN}")
    return codecs.escape_decode(quoted[1:-1])[0].decode("latin1")


_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_UNSIGNED = partial(int.from_bytes, byteorder="little")
_SIGNED = partial(int.from_bytes, byteorder="little", signed=True)
_LITERALS = {"NONE": lambda _: None, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False, "BYTEARRAY8": bytearray}
_LITERALS |= {"BININT": _SIGNED, "BININT1": _UNSIGNED, "BININT2": _UNSIGNED, "LONG1": _SIGNED}
_LITERALS |= {"INT": _int, "LONG": lambda raw: int(raw.rstrip(b"L\n"))}
_LITERALS |= {"FLOAT": float, "BINFLOAT": lambda raw: struct.unpack(">d", raw)[0]}
_LITERALS |= {"STRING": _string, "UNICODE": lambda raw: raw[:-1].decode("raw-unicode-escape")}
_LITERALS |= dict.fromkeys(("SHORT_BINSTRING", "BINSTRING"), partial(str, encoding="latin1"))
_LITERALS |= dict.fromkeys(
    ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), partial(str, encoding="utf-8", errors="surrogatepass")
)
_LITERALS |= dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), bytes)
_STEPS = {
    "PROTO": Machine.protocol, "FRAME": lambda *_: None, "STOP": lambda *_: None,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_LIST": lambda m, _: m.push([]), "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push({}), "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.items()), "TUPLE": lambda m, _: m.push(tuple(m.items())),
    "DICT": lambda m, _: m.push(_pairs(m.items())), "FROZENSET": lambda m, _: m.push(frozenset(keys(m.items()))),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))), "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "APPEND": lambda m, _: m.add(list, m.pop(1)), "APPENDS": lambda m, _: m.add(list, m.items()),
    "SETITEM": lambda m, _: m.add(dict, m.pop(2)), "SETITEMS": lambda m, _: m.add(dict, m.items()),
    "ADDITEMS": lambda m, _: m.add(set, m.items()),
    "GLOBAL": lambda m, raw: m.stack.append(named(*_lines(raw))),
    "STACK_GLOBAL": lambda m, _: m.stack.append(named(*m.pop(2))),
    "REDUCE": lambda m, _: m.reduce(*m.pop(2)), "BUILD": lambda m, _: m.build(*m.pop(1)),
}  # fmt: skip
