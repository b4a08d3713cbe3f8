"""Read the values out of a pickle without executing anything from it.

Python's own Unpickler is not used even with a restricted `find_class`: BUILD sets attributes of whatever lies on its stack,
and a memo index of 2^32 makes the C version allocate 64 GB. This one knows the opcodes, keeps a global as an inert `Global`,
and refuses every global, call and state that the caller's two functions do not know. What it allocates is bounded by a small
multiple of the pickle's own length.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable

from ..runtime.errors import LussError

_MARK = object()
_SCALARS = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class Global:
    """The name of something importable; never imported. Stays in the result where a file holds e.g. `torch.float32` itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Namespace(dict):
    """What `argparse.Namespace` and its like become: their attributes."""


@dataclass(eq=False)
class Pending:
    """What a call made that is complete only after BUILD, e.g. an array without its content; BUILD replaces it everywhere."""

    kind: str
    value: object = None
    places: list[int] = field(default_factory=list)  # where the memo holds it


class PickleError(LussError):
    """The bytes are no pickle, are cut off, or ask for something that is not allowed."""


class PickleReader:
    """One pass over one pickle.

    Args:
        data: The bytes; may go on behind the pickle.
        where: Name of the file, for errors.
        position: Where in `data` the pickle begins.
        allowed: {module: names} of the globals that may occur.
        call: call(function, arguments) -> value for REDUCE and NEWOBJ; raises ValueError for what it does not know.
        build: build(value, state) -> value for BUILD; likewise.
        persistent: persistent(identifier) -> value for persistent ids; likewise. None refuses them all.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        where: str,
        *,
        position: int = 0,
        allowed: dict[str, frozenset],
        call: Callable[[object, tuple], object],
        build: Callable[[object, object], object],
        persistent: Callable[[object], object] | None = None,
    ):
        self._data = memoryview(data)
        self._where = where
        self.position = position  # after `read`: the first byte behind the pickle
        self._allowed = allowed
        self._call = call
        self._build = build
        self._persistent = persistent
        self._stack: list = []
        self._memo: dict[int, object] = {}

    def read(self) -> object:
        """The value. Raises PickleError."""
        start = self.position
        try:
            while True:
                code = self._take(1)[0]
                if code == 0x2E:  # STOP
                    value = self._pop()
                    if self._stack:
                        raise ValueError("more than one value on the stack at its end")
                    return value
                action = _ACTIONS.get(code)
                if action is None:
                    raise ValueError(f"no such opcode: {code:#04x} at byte {self.position - 1}")
                action(self)
        except PickleError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, struct.error, OverflowError) as error:
            raise PickleError(f"{self._where}: damaged, or not allowed ({error}; pickle at byte {start}); nothing was executed from it") from error

    # -- bytes and stack

    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self._data):
            missing = end - len(self._data) if count >= 0 else "some"
            raise PickleError(f"{self._where}: cut off: {missing} bytes are missing; download or copy it again")
        block = self._data[self.position : end]
        self.position = end
        return block

    def _unpack(self, layout: str) -> int | float:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> bytes:
        for end in range(self.position, min(len(self._data), self.position + 4096)):
            if self._data[end] == 0x0A:
                line = bytes(self._data[self.position : end])
                self.position = end + 1
                return line
        raise ValueError("a line without an end")

    def _pop(self) -> object:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value was expected where a mark lies")
        return value

    def _pop_mark(self) -> list:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise ValueError("no mark on the stack")

    def _top(self, kind: type) -> object:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"{kind.__name__} expected, {type(self._stack[-1]).__name__} found")
        return self._stack[-1]

    # -- opcodes with more than a line

    def _global(self, module: str, name: str) -> None:
        if name not in self._allowed.get(module, ()):
            raise PickleError(
                f"{self._where}: refused: its pickle asks for the forbidden global {module}.{name}, which is no part of plain weights; nothing was "
                "executed from it. Save the state_dict alone, as tensors in dictionaries, if you trust where the file comes from"
            )
        self._stack.append(Global(module, name))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a global's name is not text")
        self._global(module, name)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            raise ValueError("arguments are not a tuple")
        self._stack.append(self._call(function, arguments))

    def _newobj_ex(self) -> None:
        keywords = self._pop()
        if keywords != {}:
            raise ValueError("keyword arguments")
        self._reduce()

    def _build_state(self) -> None:
        state, value = self._pop(), self._pop()
        built = self._build(value, state)
        if isinstance(value, Pending):
            for place in value.places:
                self._memo[place] = built
        self._stack.append(built)

    def _persistent_id(self, identifier: object) -> None:
        if self._persistent is None:
            raise ValueError("a persistent id outside a torch file")
        self._stack.append(self._persistent(identifier))

    def _set_items(self, flat: list) -> None:
        target = self._top(dict)
        if len(flat) % 2:
            raise ValueError("a key without a value")
        set_pairs(target, zip(flat[::2], flat[1::2]))

    def _put(self, index: int) -> None:
        if self._stack[-1] is _MARK:
            raise ValueError("a mark was to be remembered")
        value = self._memo[index] = self._stack[-1]
        if isinstance(value, Pending):
            value.places.append(index)

    def _add_items(self, items: list) -> None:
        self._top(set).update(checked_key(item) for item in items)


def set_pairs(target: dict, pairs: Iterable[tuple]) -> None:
    for key, value in pairs:
        target[checked_key(key)] = value


def checked_key(key: object) -> object:
    """A dict's key: a scalar or a flat tuple of scalars; hashing a deep tuple could take for ever or crash the interpreter."""
    if isinstance(key, (*_SCALARS, Global)) or (isinstance(key, tuple) and all(isinstance(item, _SCALARS) for item in key)):
        return key
    raise ValueError(f"a key of type {type(key).__name__}")


def refuse(what: object) -> ValueError:
    return ValueError(f"a call or state of {what if isinstance(what, Global) else type(what).__name__} that is not allowed")


def build_plain(value: object, state: object) -> object:
    """BUILD for dictionaries and namespaces: an OrderedDict's attributes (torch's _metadata) are dropped, a namespace gets its own."""
    if isinstance(value, Namespace):
        if not isinstance(state, dict):
            raise refuse(value)
        set_pairs(value, state.items())
        return value
    if isinstance(value, OrderedDict) and isinstance(state, dict):
        return value
    raise refuse(value)


def _long(block: memoryview) -> int:
    if len(block) > 1024:
        raise ValueError("an integer of more than 1024 bytes")
    return int.from_bytes(block, "little", signed=True)


def _decimal(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    line = line.rstrip(b"L")
    if len(line) > 400:
        raise ValueError("a number of more than 400 digits")
    return int(line)


def _short_text(block: memoryview) -> str | bytes:
    """Strings of Python 2: text where they are ASCII."""
    raw = bytes(block)
    return raw.decode("ascii") if raw.isascii() else raw


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1] or b"\\" in line:
        raise ValueError("a quoted string with escapes or without quotes")
    return line[1:-1].decode("ascii")


def _text(block: memoryview) -> str:
    return bytes(block).decode("utf-8", "surrogatepass")


def _push(make):
    return lambda r: r._stack.append(make(r))


_ACTIONS = {
    0x80: lambda r: r._take(1),  # PROTO
    0x95: lambda r: r._take(8),  # FRAME
    0x28: _push(lambda r: _MARK),
    0x30: lambda r: r._stack.pop(),  # POP; may be a mark
    0x31: lambda r: r._pop_mark(),  # POP_MARK
    0x32: _push(lambda r: r._top(object)),  # DUP
    0x4E: _push(lambda r: None),
    0x88: _push(lambda r: True),
    0x89: _push(lambda r: False),
    0x49: _push(lambda r: _decimal(r._line())),  # INT
    0x4C: _push(lambda r: _decimal(r._line())),  # LONG
    0x4A: _push(lambda r: r._unpack("<i")),
    0x4B: _push(lambda r: r._unpack("<B")),
    0x4D: _push(lambda r: r._unpack("<H")),
    0x8A: _push(lambda r: _long(r._take(r._unpack("<B")))),
    0x8B: _push(lambda r: _long(r._take(r._unpack("<i")))),
    0x46: _push(lambda r: float(r._line())),
    0x47: _push(lambda r: r._unpack(">d")),
    0x53: _push(lambda r: _quoted(r._line())),  # STRING
    0x54: _push(lambda r: _short_text(r._take(r._unpack("<i")))),  # BINSTRING
    0x55: _push(lambda r: _short_text(r._take(r._unpack("<B")))),  # SHORT_BINSTRING
    0x56: _push(lambda r: r._line().decode("raw-unicode-escape")),  # UNICODE
    0x58: _push(lambda r: _text(r._take(r._unpack("<I")))),
    0x8C: _push(lambda r: _text(r._take(r._unpack("<B")))),
    0x8D: _push(lambda r: _text(r._take(r._unpack("<Q")))),
    0x42: _push(lambda r: bytes(r._take(r._unpack("<I")))),
    0x43: _push(lambda r: bytes(r._take(r._unpack("<B")))),
    0x8E: _push(lambda r: bytes(r._take(r._unpack("<Q")))),
    0x96: _push(lambda r: bytes(r._take(r._unpack("<Q")))),  # BYTEARRAY8
    0x5D: _push(lambda r: []),
    0x7D: _push(lambda r: {}),
    0x8F: _push(lambda r: set()),
    0x29: _push(lambda r: ()),
    0x85: _push(lambda r: (r._pop(),)),
    0x86: _push(lambda r: (r._pop(), r._pop())[::-1]),
    0x87: _push(lambda r: (r._pop(), r._pop(), r._pop())[::-1]),
    0x74: _push(lambda r: tuple(r._pop_mark())),
    0x6C: _push(lambda r: r._pop_mark()),
    0x64: lambda r: _new_dict(r),
    0x91: _push(lambda r: frozenset(checked_key(item) for item in r._pop_mark())),
    0x90: lambda r: r._add_items(r._pop_mark()),
    0x61: lambda r: _append(r, [r._pop()]),
    0x65: lambda r: _append(r, r._pop_mark()),
    0x73: lambda r: r._set_items([r._pop(), r._pop()][::-1]),
    0x75: lambda r: r._set_items(r._pop_mark()),
    0x70: lambda r: r._put(int(r._line())),
    0x71: lambda r: r._put(r._unpack("<B")),
    0x72: lambda r: r._put(r._unpack("<I")),
    0x94: lambda r: r._put(len(r._memo)),
    0x67: _push(lambda r: r._memo[int(r._line())]),
    0x68: _push(lambda r: r._memo[r._unpack("<B")]),
    0x6A: _push(lambda r: r._memo[r._unpack("<I")]),
    0x63: lambda r: r._global(r._line().decode(), r._line().decode()),
    0x93: lambda r: r._stack_global(),
    0x52: lambda r: r._reduce(),
    0x81: lambda r: r._reduce(),  # NEWOBJ
    0x92: lambda r: r._newobj_ex(),
    0x62: lambda r: r._build_state(),
    0x50: lambda r: r._persistent_id(r._line().decode()),
    0x51: lambda r: r._persistent_id(r._pop()),
}


def _append(reader: PickleReader, items: list) -> None:
    reader._top(list).extend(items)


def _new_dict(reader: PickleReader) -> None:
    items = reader._pop_mark()
    reader._stack.append({})
    reader._set_items(items)
