from __future__ import annotations

import math
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.storage.foreign_values import ALLOWED, Budget, Builder
from engine.storage.pickle_reader import PickleError, PickleReader


def read(content: bytes, position: int = 0):
    builder = Builder(Budget(len(content)))
    reader = PickleReader(content, "a file", position=position, allowed=ALLOWED, call=builder.call, build=builder.build)
    value = reader.read()
    return value, reader.position


scalars = st.none() | st.booleans() | st.integers(-(1 << 400), 1 << 400) | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4),
    max_leaves=20,
)


def plain(protocol: int, tree: object) -> bytes:
    return pickle.dumps(tree, protocol)


@settings(max_examples=300, deadline=None)
@given(trees, st.integers(3, 5), st.binary(max_size=4))
def test_agrees_with_pythons_reader(tree, protocol, behind):
    content = plain(protocol, tree)
    assert read(b"xx" + content + behind, 2) == (pickle.loads(content), 2 + len(content))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda i: st.lists(i) | st.tuples(i, i), max_leaves=10
    )
)
def test_agrees_with_pythons_reader_on_the_old_protocols(tree):
    for protocol in (0, 1, 2):
        assert repr(read(plain(protocol, tree))[0]) == repr(tree)  # repr, since NaN differs from itself


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_pickle_error(content):
    try:
        read(b"\x80\x04" + content)
    except PickleError as error:
        assert str(error).startswith("a file: ")


def test_strings_of_python_2():
    assert read(b"(S'abc'\nU\x02deT\x01\x00\x00\x00ft.")[0] == ("abc", "de", "f")
    assert read(b"U\x02\xff\x00.")[0] == b"\xff\x00"


def test_dict_and_list_opcodes_of_protocol_0():
    assert read(b"(dp0\nS'a'\np1\nI1\ns(lp2\nI01\naL5L\na0.")[0] == {"a": 1}
    assert read(b"(lp2\nI01\naL5L\na.")[0] == [True, 5]
    assert read(b"(I1\nNI2\nF2.5\nd.")[0] == {1: None, 2: 2.5}


def test_marks_are_popped_with_what_lies_above():
    assert read(b"K\x07(K\x01K\x021.")[0] == 7


def test_a_shared_value_stays_shared():
    value = [[1]] * 2
    back = read(pickle.dumps(value, 2))[0]
    assert back[0] is back[1]


@pytest.mark.parametrize(
    "content",
    [
        b".",  # nothing on the stack
        b"N",  # no end
        b"NN.",  # two values
        b"(.",  # a mark as the value
        b"t.",  # no mark
        b"(K\x01d.",  # a key without a value
        b"]K\x01K\x02s.",  # items of a list
        b"}K\x01a.",  # appending to a dictionary
        b"}]Ns.",  # a list as a key
        b"}}Ns.",
        b"h\x00.",  # a memo that was never set
        b"q\x00.",
        b"(q\x00.",
        b"\xff.",  # no such opcode
        b"\x97.",  # an out-of-band buffer
        b"i__main__\nX\n.",  # INST
        b"\x82\x01.",  # an extension code
        b"NQ.",  # a persistent id outside torch
        b"Px\n.",
        b"K\x01K\x02R.",
        b"S'a\n.",
        b"S'\\x41'\n.",
        b"I" + b"9" * 500 + b"\n.",
        b"I1",  # a line without an end
        b"X\xff\xff\xff\xffx.",
        b"T\xff\xff\xff\xffx.",
        b"F1e5000x\n.",
        b"X\x01\x00\x00\x00\xff.",  # not UTF-8
        b"\x8a\xffx.",
        b"cargparse\nNamespace\nN\x93.",
        b"K\x01b.",
    ],
)
def test_malformed(content):
    with pytest.raises(PickleError, match="a file: "):
        read(b"\x80\x02" + content)


def test_keys_that_would_take_for_ever_to_hash_are_refused():
    bomb = b")" + b"\x85" + b"2\x86" * 60 + b"N"  # t = (t, t), sixty times
    with pytest.raises(PickleError, match="key of type tuple"):
        read(b"\x80\x02}" + bomb + b"s.")


def test_float_and_integer_limits():
    assert read(b"G" + struct.pack(">d", math.inf) + b".")[0] == math.inf
    assert read(b"J\xff\xff\xff\xff.")[0] == -1 and read(b"M\xff\xff.")[0] == 65535 and read(b"\x8a\x00.")[0] == 0
