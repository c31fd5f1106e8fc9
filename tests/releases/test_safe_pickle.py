"""Pickles of strangers: honest ones give what pickle.load gives, hostile ones are refused before anything runs."""

import functools
import operator
import os
import pickle
import pickletools
import random
import subprocess
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib.names import DataError
from mmlib.releases import safe_pickle
from mmlib.releases.safe_pickle import allowed, machine

PROTOCOLS = range(6)
SCALARS = [None, True, False, 0, -1, 255, 2**16, 2**31, -(2**40), 2**70, 1.5, float("inf"), 1 + 2j, b"", b"\xff\0'\n"]
SCALARS += ["", "a", "é\\u00e9\n", "\ud800", "x" * 300, b"y" * 300, np.float32(0.1), np.int64(-3), np.bool_(True)]
SCALARS += [np.str_("né"), np.str_(""), np.bytes_(b"z"), np.complex64(1j)]
CONTAINERS = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [1, [2, (3,)]], {}, {"a": 1, "b": [2]}]
CONTAINERS += [{1: 2, 2.5: 3, None: 4, b"k": 5, np.str_("t"): 6}, set(), {1, "a"}, frozenset({2}), list(range(3000))]
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(1, 0, 2),
    np.arange(12)[::3],
    np.arange(3, dtype=">i4"),
    np.zeros((0, 3), np.float32),
    np.array(5),
    np.array([True, False]),
    np.array([1j, 2]),
    np.array(["a", "bé"]),
    np.array(["a", "bé"], dtype=">U2"),
    np.array([b"a", b"xy"]),
    np.array([None, "a", [1, (2,)], {"b": 1}, np.zeros(2), np.array(3), np.array(["q", None], object)], object),
    np.array([[1, "2"], [3, None]], object, order="F"),
    np.array(None),
]


def release() -> dict:
    """A small feature release with the fields and the types of MMSA's."""
    rng = np.random.default_rng(0)

    def split(name: str, rows: int) -> dict:
        return {
            "text": rng.normal(size=(rows, 5, 8)).astype(np.float32),
            "audio": rng.normal(size=(rows, 5, 3)),
            "vision": np.asfortranarray(rng.normal(size=(rows, 5, 2)).astype(np.float32)),
            "raw_text": np.array([f"what they said, {i} é" for i in range(rows)]),
            "id": np.array([f"{name}$_${i}" for i in range(rows)], object),
            "regression_labels": rng.normal(size=rows).astype(np.float32),
            "audio_lengths": [5] * rows,
            "annotations": ("Positive", "Negative", None),
        }

    return {name: split(name, rows) for name, rows in (("train", 4), ("valid", 2), ("test", 3))}


def assert_same(a, b) -> None:
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.shape, a.dtype) == (b.shape, b.dtype.newbyteorder("="))
        assert a.flags.writeable and (a.dtype == object or a.flags.f_contiguous or not b.flags.f_contiguous)
        a, b = (a.ravel().tolist(), b.ravel().tolist()) if a.dtype == object else (a.tolist(), b.tolist())
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert_same(list(a.items()), list(b.items()))
    else:
        assert a == b and repr(a) == repr(b)


def assert_plain(value) -> None:
    """Nothing but what the module promises, all the way down."""
    if isinstance(value, np.ndarray):
        assert type(value) is np.ndarray and value.dtype.kind in "biufcSUO"
        value = value.ravel().tolist()
    if isinstance(value, dict):
        assert type(value) is dict
        value = [*value, *value.values()]
    if isinstance(value, np.generic):
        assert value.dtype.kind in "biufcSU"
    elif isinstance(value, list | tuple | set | frozenset):
        assert type(value) in (list, tuple, set, frozenset)
        for item in value:
            assert_plain(item)
    else:
        assert type(value) in (type(None), bool, int, float, complex, str, bytes)


@contextmanager
def little_memory(limit: int):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.fixture
def loaded(tmp_path):
    """Reads a file with the given bytes."""

    def load(data: bytes, **options):
        path = tmp_path / "data.pkl"
        path.write_bytes(data)
        return safe_pickle.load(path, **options)

    return load


@pytest.fixture
def refused(loaded, tmp_path):
    """Asserts that a file with the given bytes gives a DataError that names the file and has all the texts."""

    def refuse(data: bytes, *texts: str, **options) -> str:
        with pytest.raises(DataError) as caught:
            loaded(data, **options)
        message = str(caught.value)
        for text in (str(tmp_path / "data.pkl"), *texts):
            assert text in message
        assert len(message) < 1000
        return message

    return refuse


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [*SCALARS, *CONTAINERS, *ARRAYS], ids=lambda value: type(value).__name__)
def test_reads_what_python_wrote(loaded, value, protocol):
    data = pickle.dumps(value, protocol)
    assert_same(loaded(data), value)
    assert_same(loaded(data.replace(b"numpy._core.", b"numpy.core.").replace(b"\x16numpy.core.m", b"\x15numpy.core.m")
                       .replace(b"\x13numpy.core.n", b"\x12numpy.core.n")), value)  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_a_whole_release(loaded, protocol):
    assert_same(loaded(pickle.dumps(release(), protocol)), release())
    assert_same(loaded(pickletools.optimize(pickle.dumps(release(), protocol))), release())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.binary(), inner),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values, protocol=st.sampled_from(PROTOCOLS))
def test_reads_any_plain_value(loaded, value, protocol):
    assert_same(loaded(pickle.dumps([value, value], protocol)), [value, value])


def test_what_is_shared_stays_shared(loaded):
    shared, text = np.zeros(3), "a text"
    got = loaded(pickle.dumps([shared, shared, text, text, [shared]]))
    assert got[0] is got[1] is got[4][0] and got[2] is got[3]


def test_arrays_of_one_text_do_not_share_memory(loaded):
    """numpy lets them, so that writing to one changes the other."""
    first, second = loaded(b"\x80\x04]\x94(" + array(b"C\x08" + bytes(8) + b"\x94") + array(b"h\1") + b"e.")
    first[:] = 7
    assert second.tolist() == [0, 0]


# Pieces of pickles, of protocol 2 as Python 2 writes it where nothing else is said.
FLOATS = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECTS = b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"


def array(content: bytes, shape: bytes = b"K\x02\x85", dtype: bytes = FLOATS) -> bytes:
    return EMPTY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def test_reads_what_python_2_wrote(loaded):
    floats = np.array([1.5, -2.5], np.float32)
    string = b"U\x08" + floats.tobytes()
    assert b"\xc0" in string  # no ASCII, so that only latin1 reads it
    got = loaded(
        b"\x80\x02}q\x01(U\x05trainq\x02}q\x03("
        + (b"U\x05audio" + array(string + b"q\x05"))
        + (b"U\x04text" + array(b"h\x05", b"K\x02K\x01\x86"))
        + (b"U\x02id" + array(b"](U\x02a\xe9X\x02\x00\x00\x00\xc3\xa9e", dtype=OBJECTS))
        + (b"U\x05label" + SCALAR + FLOATS + b"U\x04\0\0\x80?\x86R")
        + (b"U\x05words" + b"c__builtin__\nset\n](U\x01aU\x01be\x85R")
        + b"T\x05\x00\x00\x00count\x8a\x03\xff\xff\x00uu."
    )
    assert list(got) == ["train"]
    train = got["train"]
    assert_same(train["audio"], floats)
    assert_same(train["text"], floats[:, None])
    assert train["id"].tolist() == ["aé", "é"]
    assert_same(train["label"], np.float32(1))
    assert train["words"] == {"a", "b"}
    assert train["count"] == 65535


def test_reads_python_2_pickles_made_of_text(loaded):
    got = loaded(
        b"(dp1\nS'a\\xe9\\n\\''\np2\n(lp3\nI1\naL12345678901L\naI01\naI00\naF1.5\naVd\\u00e9\naNasg2\n(g3\nI7\nts."
    )
    inner = [1, 12345678901, True, False, 1.5, "dé", None]
    assert got == {"aé\n'": (inner, 7)} or list(got.values()) == [(inner, 7)]


class Calls:
    def __init__(self, function, *arguments):
        self.pair = function, arguments

    def __reduce__(self):
        return self.pair


def text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def program(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def touch(canary: Path) -> str:
    return f"touch {canary}"


def source(canary: Path) -> str:
    return f"[open({str(canary)!r}, 'w').close()]"


def trap(canary: Path) -> str:
    path = canary.with_name("trap.npy")
    np.save(path, np.array([Calls(os.system, touch(canary))], object))
    return str(path)


# By the name that must be refused, what makes the canary with pickle.load.
CALLS = {
    "system": lambda canary: Calls(os.system, touch(canary)),
    "eval": lambda canary: Calls(eval, source(canary)),
    "exec": lambda canary: Calls(exec, source(canary)),
    "getattr": lambda canary: Calls(np.ndarray.tofile, np.zeros(1), str(canary)),
    "call": lambda canary: Calls(subprocess.call, touch(canary).split()),
    "functools.partial": lambda canary: Calls(functools.partial(os.system), touch(canary)),
    "operator.attrgetter": lambda canary: Calls(operator.attrgetter("real"), Calls(eval, source(canary))),
    "operator.methodcaller": lambda canary: Calls(operator.methodcaller("touch"), canary),
    "numpy.load": lambda canary: Calls(np.load, trap(canary), None, True),
    "numpy.memmap": lambda canary: Calls(np.memmap, str(canary), "u1", "w+", 0, (3,)),
}
PROGRAMS = {
    "INST": lambda canary: b"(S'" + touch(canary).encode() + b"'\nios\nsystem\n.",
    "os.system": lambda canary: b"(cos\nsystem\nS'" + touch(canary).encode() + b"'\no.",
    "numpy.lib._npyio_impl.os.system": lambda canary: program(
        named("numpy.lib._npyio_impl", "os.system"), text(touch(canary)), b"\x85R"
    ),
    "numpy.ndarray.tofile": lambda canary: program(
        named("numpy", "ndarray.tofile"), array(b"C\x08" + bytes(8)), text(str(canary)), b"\x86R"
    ),
    "posix.system": lambda canary: program(
        b"(" + text("posix") + b"\x94" + text("system") + b"\x94h\0h\1\x93", text(touch(canary)), b"\x85Rt"
    ),
    "numpy.testing._private.utils.runstring": lambda canary: program(
        named("numpy.testing._private.utils", "runstring"), text(source(canary)), b"}\x86R"
    ),
    "numpy.f2py.crackfortran.myeval": lambda canary: program(
        named("numpy.f2py.crackfortran", "myeval"), text(source(canary)), b"\x85R"
    ),
    "builtins.eval": lambda canary: program(
        array(b"](" + named("builtins", "eval") + text(source(canary)) + b"\x85RNe", dtype=OBJECTS)
    ),
    "builtins.exec": lambda canary: program(b"}", named("builtins", "exec"), text(source(canary)), b"\x85RNs"),
}


def springs(data: bytes, canary: Path) -> bool:
    """Whether pickle.load would have made the canary."""
    try:
        pickle.loads(data)
    except Exception:
        pass
    return canary.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CALLS)
def test_no_call_is_made(refused, tmp_path, name, protocol):
    canary = tmp_path / "canary"
    data = pickle.dumps({"train": [1.0, CALLS[name](canary)]}, protocol)
    refused(data, f"{name}'", "only arrays")
    assert not canary.exists()
    assert springs(data, canary)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_is_run(refused, tmp_path, name):
    canary = tmp_path / "canary"
    data = PROGRAMS[name](canary)
    refused(data, name, "only arrays")
    assert not canary.exists()
    assert springs(data, canary)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02Pposix.system\n.", "PERSID"),
        (b"\x80\x02Nq\0Q.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x00.", "EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x05\x97\x98.", "NEXT_BUFFER"),
        (b"\x80\x05C\x00\x98.", "READONLY_BUFFER"),
        (b"\x80\x02\x8b\x01\x00\x00\x00\x01.", "LONG4"),
        (b"\x80\x02N2\x86.", "DUP"),
        (b"\x80\x02NN0.", "POP"),
        (b"\x80\x02N(N1.", "POP_MARK"),
        (program(named("subprocess", "Popen"), b"]\x85\x81"), "'subprocess.Popen'"),
        (program(named("builtins", "set"), b")\x81"), "NEWOBJ"),
        (program(named("builtins", "set"), b")}\x92"), "NEWOBJ_EX"),
        (b"ccopyreg\n_reconstructor\n(N.", "'copyreg._reconstructor'"),
        (b"ccopy_reg\n_reconstructor\n(N.", "'copy_reg._reconstructor'"),
        (b"ccodecs\nencode\n.", "'codecs.encode'"),
        (b"c_codecs\ndecode\n.", "'_codecs.decode'"),
        (b"cnumpy\ncore.multiarray._reconstruct\n.", "'numpy.core.multiarray._reconstruct'"),
        (b"cnumpy.core.multiarray\n_reconstruct.__class__\n.", "_reconstruct.__class__'"),
        (b"ccollections\nOrderedDict\n)R.", "'collections.OrderedDict'"),
        (b"cos\n" + b"x" * 5000 + b"\n.", "'os.xxx"),
        (b"cos\x1b[2J\nsystem\n.", r"'os\x1b[2J.system'"),
        (program(b"C\x02osC\x06system\x93"), "a name that is no text"),
        (program(b"NN\x93"), "a name that is no text"),
        (program(b"c_codecs\nencode\n" + text("bf.flfgrz") + text("rot13") + b"\x86R"), "latin1"),
        (program(b"c_codecs\nencode\n" + text("a") + text("zip") + b"\x86R"), "latin1"),
        (program(b"c_codecs\nencode\nC\x01a" + text("latin1") + b"\x86R"), "latin1"),
        (program(b"c_codecs\nencode\n" + text("€") + text("latin1") + b"\x86R"), "UnicodeEncodeError"),
        (program(text("os"), text("system"), b"\x86", text("ls"), b"\x85R"), "calls 'tuple'"),
        (program(text("numpy.ndarray"), b")R"), "calls 'str'"),
        (program(named("numpy", "ndarray"), b"K\x05\x85\x85R"), "calls numpy.ndarray"),
        (program(named("builtins", "set"), b"]R"), "calls builtins.set with 'list'"),
        (program(named("builtins", "set"), text("ab"), b"\x85R"), "set of 'str'"),
        (program(named("builtins", "bytes"), b"K\x05\x85R"), "TypeError"),
        (program(named("builtins", "complex"), text("1"), b"K\x01\x86R"), "complex number of 'str' and 'int'"),
        (program(named("numpy", "ndarray")), "numpy.ndarray as content"),
        (program(b"]", named("builtins", "set"), b"a"), "builtins.set as content"),
        (program(FLOATS), "as content"),
        (program(EMPTY), "'unbuilt' as content"),
        (pickle.dumps(bytearray(b"abc"), 5), "'bytearray' as content"),
        (pickle.dumps(bytearray(b"abc"), 4), "bytearray'"),
        (pickle.dumps(np.zeros(2).dtype), "as content"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "'V4'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "'M8'"),
        (pickle.dumps(np.longdouble(1)), "'f16'"),
        (pickle.dumps(np.ma.zeros(2)), "numpy.ma"),
        (pickle.dumps(Path("x")), "pathlib"),
        (pickle.dumps(slice(2)), "slice"),
        (pickle.dumps(range(2)), "range"),
        (pickle.dumps(int), "int"),
        (pickle.dumps({(1, 2): 3}), "'tuple' or a huge number as a key"),
        (pickle.dumps({frozenset(): 3}), "'frozenset' or a huge number as a key"),
        (pickle.dumps({2**64}), "'int' or a huge number as a key"),
        (pickle.dumps({2**64: 1}, 0), "'int' or a huge number as a key"),
        (pickle.dumps({-(2**63) - 1: 1}), "'int' or a huge number as a key"),
        (program(b"]NNs"), "adds to 'list' as to a dict"),
        (program(b"\x8fNNs"), "adds to 'set' as to a dict"),
        (program(b"}Na"), "adds to 'dict' as to a list"),
        (program(b"\x96" + bytes(8) + b"K\1a"), "adds to 'bytearray' as to a list"),
        (program(b"](N\x90"), "adds to 'list' as to a set"),
        (program(b")(Ne"), "adds to 'tuple' as to a list"),
        (program(b"N\x86"), "takes 2 things off a stack of 1"),
        (program(b"Ne"), "IndexError"),
        (program(b"h\0"), "KeyError"),
        (program(b"F" + b"x" * 5000 + b"\n"), "ValueError"),
        (program(b"Sabc\n"), "without quotes"),
        (program(b"S'\n"), "without quotes"),
        (program(b"}]Ns"), "'list' or a huge"),
        (program(b"(Nd"), "ValueError"),
        (program(b"(]Nd"), "'list' or a huge"),
        (program(b"(]\x91"), "'list' or a huge"),
        (program(b"\x8f(]\x90"), "'list' or a huge"),
        (program(named("builtins", "set"), b"]]a\x85R"), "'list' or a huge"),
    ],
)
def test_anything_but_plain_content_is_refused(refused, data, message):
    refused(data, message)


@pytest.mark.parametrize("target", [b"]", b"}", b")", b"\x8f", b"N", array(b"C\x08" + bytes(8)), FLOATS, b"X\0\0\0\0"])
def test_only_a_new_array_takes_content(refused, target):
    state = b"(K\x01K\x02\x85" + FLOATS + b"\x89C\x08" + bytes(8) + b"t"
    for content in (b"}" + text("__class__") + b"Ns", b"N}\x86", state):
        refused(program(target, content, b"b"), "sets the content of")
    refused(program(named("numpy", "ndarray"), b"}b"), "sets the content of 'name'")


HUGE = b"\x8a\x05\0\0\0\0\x10"  # 2 ** 36


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array(b"C\x08" + bytes(8), HUGE + b"\x85"), "8 bytes for an array of float32 of the shape (68719476736,)"),
        (array(b"C\x08" + bytes(8), HUGE + HUGE + b"\x86"), "8 bytes for an array"),
        (array(b"C\x08" + bytes(8), b"(" + b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"K\x02t"), "8 bytes for an array"),
        (array(b"C\x00", b"K\x00" + HUGE + HUGE + b"\x87"), "too big"),
        (array(b"C\x08" + bytes(8), b"\x8a\x09" + bytes(8) + b"\x01\x85"), "impossible shape"),
        (array(b"C\x08" + bytes(8), b"J\xfe\xff\xff\xff\x85"), "negative"),
        (array(b"C\x08" + bytes(8), b"J\xfe\xff\xff\xffJ\xff\xff\xff\xff\x86"), "negative"),
        (array(b"C\x08" + bytes(8), b"\x88\x88\x86"), "impossible shape"),
        (array(b"C\x08" + bytes(8), b"G@\0\0\0\0\0\0\0\x85"), "impossible shape"),
        (array(b"C\x08" + bytes(8), b"]"), "'list' as shape"),
        (array(b"C\x08" + bytes(8), b"(" + b"K\x01" * 33 + b"t"), "'tuple' as shape"),
        (array(b"C\x08" + bytes(8), dtype=b"N"), "without a type"),
        (array(b"C\x08" + bytes(8), dtype=text("f4")), "without a type"),
        (array(b"C\x07" + bytes(7)), "7 bytes for an array"),
        (array(b"C\x09" + bytes(9)), "9 bytes for an array"),
        (array(b"]"), "0 objects for an array of float32"),
        (array(b"](K\x01K\x02e"), "2 objects for an array of float32"),
        (array(b"N"), "'nonetype' as the bytes"),
        (array(b"K\x08"), "'int' as the bytes"),
        (array(b"U\x10" + b"A" * 16, dtype=OBJECTS), "'bytes' as the bytes of an array of object"),
        (array(b"C\x10" + b"A" * 16, dtype=OBJECTS), "'bytes' as the bytes of an array of object"),
        (array(b"](NNNe", dtype=OBJECTS), "3 objects for an array of object"),
        (array(b"](Ne", HUGE + b"\x85", dtype=OBJECTS), "1 objects for an array of object"),
        (array(b"C\0", HUGE + b"\x85", FLOATS.replace(b"f4", b"S0")), "0 bytes for an array of |S0"),
        (array(b"C\0", HUGE + b"\x85", FLOATS.replace(b"f4", b"U0")), "0 bytes for an array of <U0"),
        (array(b"C\x02\0\2", dtype=FLOATS.replace(b"f4", b"b1")), "truth values"),
        (array(b"C\x08" + b"\0\0\x11\0" * 2, dtype=FLOATS.replace(b"f4", b"U1")), "impossible letters"),
        (array(b"C\x08" + b"\0\x11\0\0" * 2, dtype=FLOATS.replace(b"f4", b"U1").replace(b"<", b">")), "impossible"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"NNN", b"NN}")), "fields"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"NNN", b"(NNt(tN")), "fields"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"<", b"=")), "unknown byte order"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"\x02f4", b"\x05f4,O8")), "'f4,O8'"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"\x02f4", b"\x0b(9999999)f4")), "'(9999999)f4"),
        (array(b"C\x08" + bytes(8), dtype=FLOATS.replace(b"\x02f4", b"\x01V")), "'V'"),
        (array(b"C\x08" + bytes(8)).replace(b"ndarray", b"dtype"), "another class than numpy.ndarray"),
        (array(b"C\x08" + bytes(8)).replace(b"cnumpy\nndarray\n", b"U\x07ndarray"), "another class"),
        (SCALAR + FLOATS + b"C\x05" + bytes(5) + b"\x86R", "5 bytes for an array"),
        (SCALAR + OBJECTS + b"C\x08" + bytes(8) + b"\x86R", "'bytes' as the bytes of an array of object"),
        (SCALAR + OBJECTS + b"]Na\x86R", "'list' as the bytes of an array of object"),
        (b"cnumpy.core.numeric\n_frombuffer\n(]Na" + OBJECTS + b"K\x01\x85U\x01Ct" + b"R", "'list' as the bytes"),
        (b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8) + FLOATS + HUGE + b"\x85U\x01CtR", "8 bytes for"),
        (b"cnumpy.core.numeric\n_frombuffer\n(C\x08" + bytes(8) + FLOATS + b"K\x02\x85U\x01KK\x05\x85tR", "axis 5"),
    ],
)
def test_arrays_must_be_what_they_declare(refused, data, message):
    with little_memory(2**22):
        refused(b"\x80\x03" + data + b".", message)


# Something made of two of something made of two of ... , all in one tuple, and the largest of them from the memo.
LAUGHS = b"(" + text("lol") + b"\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(60)) + b"t"
LAUGH = b"h\x3c"
OTHER_LAUGHS = [b"](h%ch%ce\x94", b"}(K\0h%cK\1h%cu\x94", array(b"](h%ch%ce", dtype=OBJECTS) + b"\x94"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LAUGHS, "unfolds to over"),
        *((b"(N\x94" + b"".join(s % (i, i) for i in range(60)) + b"t", "unfolds to over") for s in OTHER_LAUGHS),
        (LAUGHS + b"}" + LAUGH + b"Ns", "as a key"),
        (LAUGHS + b"(" + LAUGH + b"\x91", "as a key"),
        (LAUGHS + array(b"C\x08" + bytes(8), shape=LAUGH + b"\x85"), "impossible shape"),
        (LAUGHS + array(b"C\x08" + bytes(8), shape=LAUGH), "impossible shape"),
        (LAUGHS + array(b"C\x08" + bytes(8), dtype=LAUGH), "without a type"),
        (LAUGHS + array(LAUGH), "'tuple' as the bytes"),
        (LAUGHS + LAUGH + b")R", "calls 'tuple'"),
        (LAUGHS + LAUGH + b"b", "sets the content of 'tuple'"),
        (LAUGHS + LAUGH + text("system") + b"\x93", "a name that is no text"),
        (LAUGHS + text("os") + LAUGH + b"\x93", "a name that is no text"),
        (LAUGHS + b"cnumpy\ndtype\n" + LAUGH + b"\x85R", "of the type 'tuple'"),
        (LAUGHS + b"c_codecs\nencode\n" + LAUGH + LAUGH + b"\x86R", "latin1"),
        (b"]\x94h\0a", "'list' that contains itself"),
        (b"}\x94Nh\0s", "'dict' that contains itself"),
        (b"]\x94h\0\x85a", "'list' that contains itself"),
        (EMPTY + b"\x94(K\1K\1\x85" + OBJECTS + b"\x89]h\0atb", "before it has content"),
        (b"]" * 101 + b"a" * 100, "nests over 100 levels"),
        (b"N" + b"\x85" * 20_000, "nests over 100 levels"),
        (b"]" * 20_000 + b"a" * 19_999, "nests over 100 levels"),
        (b"}N" * 20_000 + b"}" + b"s" * 20_000, "nests over 100 levels"),
        (b"(" * 20_000 + b"t" * 20_000, "nests over 100 levels"),
        (b"(N" + b"\x85" * 60 + b"\x94" + b"]" * 60 + b"h\0" + b"a" * 60 + b"t", "nests over 100 levels"),
        (  # at once, as the same arrays at 100,000 levels would end Python where they are freed
            b"Nq\0" + (array(b"](h\0Ne", dtype=OBJECTS) + b"q\0") * 101 + named("os", "system"),
            "nests over 100 levels",
        ),
    ],
    ids=range(27),
)
def test_bombs_are_refused(refused, data, message):
    start = time.process_time()
    refused(program(data), message)
    assert time.process_time() - start < 10


def test_a_hundred_levels_are_read(loaded):
    got = loaded(program(b"]" * 100 + b"a" * 99))
    for _ in range(99):
        (got,) = got
    assert got == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "count"),
    [
        (array(b"h\0", b"M\x00\x04\x85", FLOATS.replace(b"f4", b"i1")), 1700),
        (array(b"h\1", b"M\x00\x04\x85", OBJECTS), 500),
        (b"c_codecs\nencode\nh\2h\3\x86R", 2500),
        (b"c__builtin__\nset\nh\1\x85R", 500),
        (b"c__builtin__\nset\n)R", 8000),
        (b"\x8f", 30_000),
        (b"]", 30_000),
        (b"}", 30_000),
        (b")\x85", 30_000),
    ],
    ids=range(9),
)
def test_no_small_file_takes_much_memory(refused, monkeypatch, step, count):
    """Arrays, bytes and sets of the same kilobyte, and very many empty containers."""
    monkeypatch.setattr(allowed, "_SLACK", 2**20)
    monkeypatch.setattr(allowed, "_GROWTH", 2)
    kilobyte = b"B\0\4\0\0" + bytes(1024) + b"\x94" + b"](" + b"N" * 1024 + b"e\x94"
    kilobyte += b"X\0\4\0\0" + b"a" * 1024 + b"\x94" + text("latin1") + b"\x94"
    data = program(b"(", kilobyte, step * count, b"l")
    with little_memory(2**24):
        refused(data, "too much for a file of")


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n", b"p-1\n", b"r\x0a\0\0\0"])
def test_memo_slots_are_no_more_than_the_bytes_of_the_file(refused, put):
    refused(b"\x80\x02N" + put + b".", "memo slot")


def test_text_that_reaches_beyond_the_end_is_not_waited_for(refused):
    for head in (b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"T\xff\xff\xff\xff", b"\x8c\xff", b"U\xff", b"C\xff"):
        refused(b"\x80\x04" + head + b"abc.", "but the file has only")
    for head in (b"\x8d", b"\x8e", b"\x96"):
        refused(b"\x80\x05" + head + b"\xff" * 8 + b"abc.", "but the file has only")
    refused(b"\x80\x04N", "ends without STOP")
    refused(b"\x80\x04X\xff", "but the file has only")
    refused(b"Vabc.", "but the file has only")


def test_every_truncation_is_refused(refused):
    data = pickle.dumps(release(), 4)
    for stop in [*range(0, 300), *range(300, len(data), 97)]:
        refused(data[:stop], "download it again")


def test_one_file_holds_one_pickle(refused):
    data = pickle.dumps([1])
    refused(data + b"\0", "1 bytes follow")
    refused(data + data, "bytes follow")
    refused(program(b"NN"), "ValueError")
    refused(b"\x80\x04.", "ValueError")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html></html>", "web page"),
        (b"\xef\xbb\xbf\n <html></html>", "web page"),
        (b"id,text\n1,hello\n", "no pickle"),
        (b'{"train": [1, 2]}', "no pickle"),
        (b"Hello, these are no data.\n", "no pickle"),
        (bytes(100), "no pickle"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x89HDF\r\n\x1a\n", "h5py"),
        (b"\x93NUMPY\x01\x00", "numpy.load"),
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_other_files_are_named(refused, data, message):
    assert "do not open the file with pickle" not in refused(data, message)


def test_places_without_a_file_are_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        safe_pickle.load(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="is not a file"):
        safe_pickle.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a file"):
        safe_pickle.load(str(tmp_path / "pipe"))


def test_the_caller_may_set_the_limit(loaded, refused):
    data = pickle.dumps(np.zeros(100))
    refused(data, f"has {len(data)} bytes, over the limit of 900", max_bytes=900)
    assert loaded(data, max_bytes=len(data)).shape == (100,)
    twice = pickle.dumps([value := "x" * 1000, value])
    refused(twice, "unfolds to over 2000 bytes", max_bytes=2000)
    assert len(loaded(twice, max_bytes=2010)) == 2


def test_a_file_that_does_not_fit_in_memory_is_named(refused, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(machine.Machine, "array", full)
    refused(pickle.dumps(np.zeros(3)), "does not fit in memory")


def test_the_whole_file_is_checked_before_any_of_it_is_read(refused, monkeypatch):
    monkeypatch.setattr(machine.Machine, "array", lambda *_: pytest.fail("has read an array"))
    array = pickle.dumps(np.zeros(3), 2)[:-1]
    refused(array + b"cos\nsystem\n.", "os.system")
    refused(array + b"Q.", "BINPERSID")
    refused(array + b"N", "ends without STOP")
    refused(array + b".N", "1 bytes follow")


def test_the_message_names_the_place(refused):
    refused(b"\x80\x02]q\0cos\nsystem\n.", "byte 5: asks for 'os.system'")


def test_reading_takes_little_beside_the_content(loaded):
    for protocol, factor in ((2, 2), (4, 1.5), (5, 1.5)):
        arrays = {name: np.random.default_rng(0).bytes(2**21) for name in "abcdefgh"}
        data = pickle.dumps({name: np.frombuffer(raw, np.uint8) for name, raw in arrays.items()}, protocol)
        with little_memory(int(factor * 8 * 2**21)):
            content = loaded(data)
        assert content["h"].tobytes() == arrays["h"]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four damages: a flipped or swapped byte or instruction, a piece taken out, put in or moved."""
    starts = [place for _, _, place in pickletools.genops(data)]
    codes = [op.code.encode("latin1") for op in pickletools.opcodes]
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data)), rng.choice([1, 1, 2, 4, 8, 50])
        start = rng.choice(starts)
        data = rng.choice(
            [
                data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
                data[:place] + rng.randbytes(length) + data[place + length :],
                data[:place] + rng.randbytes(length) + data[place:],
                data[:place] + data[place + length :],
                data[:place] + data[start : start + length] + data[place:],
                data[:start] + rng.choice(codes) + data[start + 1 :],
                data[:start] + rng.choice(codes) + data[start:],
                data[:start] + data[start + 1 :],
                data[:place] if rng.random() < 0.2 else data,
            ]
        )
    return data


def composed(rng: random.Random) -> bytes:
    """Honest pieces and single instructions in any order, which damage alone would hardly bring about."""
    pieces = [bytes([code]) for code in b"()]}\x8f\x91\x90\x85\x86\x87aeusldtRb\x93N\x88\x94"] + [
        b"h\0",
        b"h\1",
        b"h\2",
    ]
    pieces += [
        FLOATS,
        OBJECTS,
        EMPTY,
        SCALAR,
        array(b"C\x08" + bytes(8)),
        b"K\x02\x85",
        text("latin1"),
        b"C\0",
        b"C\1a",
    ]
    pieces += [
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        b"c_codecs\nencode\n",
        b"c__builtin__\nset\n",
        b"K\x01",
        b"J" + bytes(4),
    ]
    pieces += [b"cnumpy.core.numeric\n_frombuffer\n", b"c__builtin__\ncomplex\n", b"G" + bytes(8), b"(K\x01K\x02\x85"]
    body = b"".join(rng.choices(pieces, k=rng.randint(1, 12)))
    return program(b"N\x94](K\x01K\x02e\x94" if rng.random() < 0.5 else b"", body, b"t" if rng.random() < 0.5 else b"")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mutated", "composed"])
def test_damage_gives_a_data_error_or_plain_content(loaded, kind):
    rng, refusals = random.Random(0), 0
    honest = [pickle.dumps(release(), protocol) for protocol in PROTOCOLS]
    rounds = 500 if kind == "mutated" else 1000
    with little_memory(2**29):
        for i in range(rounds):
            data = mutated(honest[i % 6], rng) if kind == "mutated" else composed(rng)
            start = time.process_time()
            try:
                content = loaded(data)
            except DataError:
                refusals += 1
            else:
                assert_plain(content)
            assert time.process_time() - start < 10
    assert 100 < refusals < rounds
