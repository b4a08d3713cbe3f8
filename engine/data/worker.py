"""What runs in a loading process: make the samples of a few indices and leave them in a slot of shared memory. Never imports Jittor."""

from __future__ import annotations

import contextlib
import mmap
import pickle
import sys
import threading
from collections.abc import Callable

import numpy as np

from ..runtime.errors import LussError
from ..runtime.interrupt import leave_to_parent
from .decode import UnreadableImage
from .parallel import die_with_parent
from .ragged import Ragged
from .shared_slots import SharedSlots, SlotWriter

REPLACEMENT_TRIES = 20

Part = dict  # key -> (n, ...) array or Ragged; "index" -> (n,) int64
Bad = list  # of (path, reason)
Place = Callable[[int], np.ndarray]


def run(connection, slots_handle, count: int, size: int, dataset_handle) -> None:
    """Main function: answers tasks (number, slot, epoch, indices, replace) until the connection ends.

    An answer is (number, bytes of the slot that hold its pickle, or the pickle itself where the slot is too small).
    """
    leave_to_parent(terminate=False)
    threading.Thread(target=die_with_parent, daemon=True).start()
    slots = SharedSlots(count, size, slots_handle.detach())
    with mmap.mmap(dataset_handle.detach(), 0, access=mmap.ACCESS_READ) as data:
        dataset = pickle.loads(data)
    if "jittor" in sys.modules:  # it would take a second and 150 MB a process, start MPI again, and ask for the GPU
        answer_all(connection, RuntimeError(f"{type(dataset).__module__}: a data set's module must not import Jittor (engine.runtime.jt)"))
        return
    while True:
        try:
            number, slot, epoch, indices, replace = connection.recv()
        except EOFError:
            return
        writer = SlotWriter(slots.slot(slot))
        try:
            answer = pickle.dumps(_shipped(*load_part(dataset, epoch, indices, replace, writer.place), writer), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # reaches the consumer, in its turn
            answer = _pickled_error(error)
        place = writer.place(len(answer))
        place[:] = np.frombuffer(answer, np.uint8)
        begin = writer.offset(place)
        try:
            connection.send((number, answer if begin is None else (begin, len(answer))))
        except OSError:  # the main process has gone, or has closed the loader
            return


def answer_all(connection, error: Exception) -> None:
    """Answer every task with one error."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, *_ = connection.recv()
            connection.send((number, pickle.dumps(error)))


def received(slots: SharedSlots, slot: int, answer) -> tuple[Part, Bad]:
    """In the main process: what a task made. Ragged arrays stay in the slot; the others are copies.

    Raises: the exception of the loading process.
    """
    memory = slots.slot(slot)
    loaded = pickle.loads(memory[answer[0] : answer[0] + answer[1]] if isinstance(answer, tuple) else answer)
    if isinstance(loaded, Exception):
        raise loaded
    part, bad = loaded
    base = slot * slots.size
    for key, value in part.items():
        if isinstance(value, _InSlot):
            part[key] = value.array(memory)
        elif isinstance(value, _RaggedInSlot):
            value.table["offset"] += base
            part[key] = Ragged(slots.bytes, value.table, value.dtype, value.channels)
    return part, bad


def load_part(dataset, epoch: int, indices: np.ndarray, replace: bool, place: Place) -> tuple[Part, Bad]:
    """Samples of some indices of a data set.

    Args:
        dataset: has `load(epoch, index)`, or `load_many(epoch, indices, place)` -> one sample or UnreadableImage for each.
        indices: (n,) int64.
        replace: put the next readable image in place of an unreadable one; else leave it out.
        place: gives memory for large arrays.

    Returns:
        The arrays, stacked or (keys in `dataset.ragged`) as lists, and the unreadable files met. The part is empty where nothing remains.
    """
    wanted = [int(index) for index in indices]
    found = _load_many(dataset, epoch, wanted, place)
    samples, kept, bad = [], [], []
    for index, sample in zip(wanted, found):
        used = index
        for shift in range(1, REPLACEMENT_TRIES + 1):
            if not isinstance(sample, UnreadableImage):
                break
            bad.append((sample.path, sample.reason))
            if not replace:
                break
            if shift == REPLACEMENT_TRIES:
                last = f"{sample.path} ({sample.reason})"
                raise LussError(f"{REPLACEMENT_TRIES} images in a row cannot be read, the last is {last}: check that the data set is whole")
            used = (index + shift) % len(dataset)
            sample = _load_many(dataset, epoch, [used], place)[0]
        if not isinstance(sample, UnreadableImage):
            samples.append(sample)
            kept.append(used)
    if not samples:
        return {}, bad
    ragged = getattr(dataset, "ragged", ())
    part: Part = {key: _joined([sample[key] for sample in samples], key, key in ragged) for key in samples[0]}
    part["index"] = np.array(kept, np.int64)
    return part, bad


def _load_many(dataset, epoch: int, indices: list[int], place: Place) -> list:
    many = getattr(dataset, "load_many", None)
    if many is not None:
        return many(epoch, indices, place)
    found = []
    for index in indices:
        try:
            found.append(dataset.load(epoch, index))
        except UnreadableImage as error:
            found.append(error)
    return found


def _joined(arrays: list[np.ndarray], key: str, ragged: bool):
    if ragged:
        return arrays
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"{key}: samples of shapes {sorted({array.shape for array in arrays})} cannot be stacked; name the key in dataset.ragged")
    return np.stack(arrays)


class _InSlot:
    """An array that lies in the slot."""

    def __init__(self, offset: int, array: np.ndarray):
        self.offset, self.shape, self.dtype = offset, array.shape, array.dtype

    def array(self, slot: np.ndarray) -> np.ndarray:
        count = int(np.prod(self.shape)) * self.dtype.itemsize
        return slot[self.offset : self.offset + count].view(self.dtype).reshape(self.shape).copy()


class _RaggedInSlot:
    """Arrays of differing sizes that lie in the slot; `table` counts from its beginning."""

    def __init__(self, offsets: list[int], arrays: list[np.ndarray]):
        self.table = Ragged.at(offsets, arrays)
        self.dtype, self.channels = arrays[0].dtype, arrays[0].shape[2] if arrays[0].ndim == 3 else 0


def _shipped(part: Part, bad: Bad, writer: SlotWriter) -> tuple[Part, Bad]:
    """`part` as it travels: large arrays in the slot, or where that is full in the message."""
    for key, value in part.items():
        if isinstance(value, list):
            value = [_moved(array, writer) for array in value]
            offsets = [writer.offset(array) for array in value]
            part[key] = Ragged.of(value) if None in offsets else _RaggedInSlot(offsets, value)
        elif value.nbytes > 4096 and not value.dtype.hasobject:
            value = _moved(value, writer)
            offset = writer.offset(value)
            part[key] = value if offset is None else _InSlot(offset, value)
    return part, bad


def _moved(array: np.ndarray, writer: SlotWriter) -> np.ndarray:
    """`array` in the slot, if there is room."""
    if array.flags.c_contiguous and writer.offset(array) is not None:
        return array
    place = writer.place(array.nbytes).view(array.dtype).reshape(array.shape)
    place[...] = array
    return place


def _pickled_error(error: Exception) -> bytes:
    try:
        answer = pickle.dumps(error)
        pickle.loads(answer)
        return answer
    except Exception:  # an exception of a kind that does not travel: its text does
        return pickle.dumps(RuntimeError(f"{type(error).__name__} in a loading process: {error}"))
