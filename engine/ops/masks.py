"""Binary masks of one image as runs, and their other forms: dense, bit-packed, COCO's run-length encoding. Never imports Jittor."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .crop_checks import check_threads

LARGEST = np.iinfo(np.int32).max  # pixels of a mask
_FAULTS = (  # of cpu/coco_counts.h, from 1 on
    "count {position} is negative",
    "count {position} overruns",
    "it ends after {position} counts",
    "character {position} cannot stand there",
    "count {position} breaks off at the end",
)


class Masks:
    """M binary masks of (H, W) pixels. Immutable.

    Pixels are numbered row by row. Mask i is the runs `runs[offsets[i]:offsets[i + 1]]`, each the set pixels [start, stop); they ascend and do
    not touch, so equal masks have equal runs. M, H and W may be 0.

    Attributes:
        shape: (H, W).
        runs: (R, 2) int32.
        offsets: (M + 1,) int64.
    """

    __slots__ = ("shape", "runs", "offsets")

    def __init__(self, shape: tuple[int, int], runs: np.ndarray, offsets: np.ndarray) -> None:
        """Raises: ValueError names the mask and run that lie outside the image, are empty, or do not come after the one before."""
        self.shape = _shape(shape)
        runs, offsets = np.asarray(runs), np.asarray(offsets)
        if runs.ndim != 2 or runs.shape[1] != 2 or runs.dtype.kind not in "iu":
            raise ValueError(f"runs: expected (R, 2) integers, found {runs.shape} {runs.dtype}")
        steps = np.diff(offsets) if offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) else np.array([-1])
        if (steps < 0).any() or offsets[0] != 0 or offsets[-1] != len(runs):
            raise ValueError(f"offsets: expected (M + 1,) integers rising from 0 to the {len(runs)} runs, found {offsets.shape} {offsets.dtype}")
        first = np.zeros(len(runs), bool)
        first[offsets[:-1][steps > 0]] = True  # of its mask
        before = np.where(first, -1, np.concatenate([[0], runs[:-1, 1]])) if len(runs) else np.zeros(0, np.int64)
        bad = (runs[:, 0] <= before) | (runs[:, 1] <= runs[:, 0]) | (runs[:, 1] > self.shape[0] * self.shape[1])
        if bad.any():
            at = int(np.argmax(bad))
            mask = int(np.searchsorted(offsets, at, "right")) - 1
            raise ValueError(
                f"runs: expected ascending, separate runs inside {self.shape[0]} x {self.shape[1]} pixels, "
                f"found {runs[at].tolist()} as run {at - int(offsets[mask])} of mask {mask}"
            )
        # copies: C++ and CUDA trust what was checked here
        self.runs, self.offsets = np.array(runs, np.int32, order="C"), np.array(offsets, np.int64)
        self.runs.flags.writeable = self.offsets.flags.writeable = False

    @classmethod
    def from_dense(cls, masks: np.ndarray, *, threads: int | None = None) -> Masks:
        """masks: (M, H, W) bool or uint8; what is not 0 is set.

        Raises: ValueError for another type or rank.
        """
        masks = np.asarray(masks)
        if masks.ndim != 3 or masks.dtype not in (np.bool_, np.uint8):
            raise ValueError(f"masks: expected (M, H, W) bool or uint8, found {masks.shape} {masks.dtype}")
        shape = _shape(masks.shape[1:])
        masks = np.ascontiguousarray(masks)
        numbers = ctypes.c_int64(len(masks)), ctypes.c_int64(shape[0] * shape[1])
        return cls._made(shape, len(masks), lambda at: _library().luss_masks_from_dense(_at(masks), *numbers, at, check_threads(threads)))

    @classmethod
    def from_packed(cls, words: np.ndarray, shape: tuple[int, int], *, threads: int | None = None) -> Masks:
        """words: (M, ceil(H W / 32)) uint32; bit i (value 2^i) of word j is pixel 32 j + i; bits past the last pixel are 0.

        Raises: ValueError for another type or length, and names the mask with a bit past the last pixel.
        """
        shape, words = _shape(shape), np.asarray(words)
        pixels = shape[0] * shape[1]
        length = (pixels + 31) // 32
        if words.ndim != 2 or words.dtype != np.uint32 or words.shape[1] != length:
            raise ValueError(f"words: expected (M, {length}) uint32 for {shape[0]} x {shape[1]} pixels, found {words.shape} {words.dtype}")
        words, good = np.ascontiguousarray(words), np.ones(len(words), np.uint8)
        numbers = ctypes.c_int64(len(words)), ctypes.c_int64(pixels)
        made = cls._made(shape, len(words), lambda at: _library().luss_masks_from_packed(_at(words), *numbers, _at(good), at, check_threads(threads)))
        if not good.all():
            mask = int(np.argmin(good))
            raise ValueError(f"words: expected bits past the last pixel to be 0, found {int(words[mask, -1]):#010x} at the end of mask {mask}")
        return made

    @classmethod
    def from_coco(cls, records: Sequence[dict], shape: tuple[int, int] | None = None, *, threads: int | None = None) -> Masks:
        """COCO's run-length encoding: records of "size" [H, W] and "counts", a list of integers or a compressed string (str or bytes).

        shape: (H, W); needed where there are no records.
        Raises: ValueError names the mask whose size differs, or whose counts are negative, overrun, fall short or are no valid string.
        """
        shape = _shape(shape if shape is not None else records[0]["size"] if len(records) else (-1, -1))
        for i, record in enumerate(records):
            if tuple(record["size"]) != shape:
                raise ValueError(f"masks[{i}]: expected size {list(shape)}, found {list(record['size'])}")
        counts = [record["counts"] for record in records]
        text = [isinstance(one, (str, bytes)) for one in counts]
        if any(text) and not all(text):
            raise ValueError(f"masks[{text.index(not text[0])}]: counts: expected all strings or all lists, found both")
        if any(text):
            given = [_ascii(i, one) for i, one in enumerate(counts)]
            joined, pointers = np.frombuffer(b"".join(given) or b"\0", np.uint8), (False, True)
        else:
            given = [_counts(i, one) for i, one in enumerate(counts)]
            joined, pointers = np.concatenate([*given, np.zeros(1, np.int64)]), (True, False)
        begins = np.cumsum([0, *map(len, given)], dtype=np.int64)
        faults = np.zeros((len(given), 3), np.int64)
        sources = [_at(joined) if wanted else None for wanted in pointers]
        sizes = ctypes.c_int64(len(given)), shape[0], shape[1]
        made = cls._made(
            shape, len(given), lambda at: _library().luss_masks_from_coco(*sources, _at(begins), *sizes, _at(faults), at, check_threads(threads))
        )
        if faults[:, 0].any():
            mask = int(np.argmax(faults[:, 0] != 0))
            kind, position, total = faults[mask].tolist()
            what = _FAULTS[kind - 1].format(position=position)
            raise ValueError(
                f"masks[{mask}]: counts: expected a sum of {shape[0]} x {shape[1]} = {shape[0] * shape[1]}, "
                f"found that {what}; {total} pixels before it: {_excerpt(counts[mask])}"
            )
        return made

    def to_dense(self, *, threads: int | None = None) -> np.ndarray:
        """(M, H, W) bool."""
        out = np.empty((len(self), *self.shape), np.bool_)
        _library().luss_masks_to_dense(*self._pointers(), ctypes.c_int64(self.shape[0] * self.shape[1]), _at(out), check_threads(threads))
        return out

    def to_packed(self, *, threads: int | None = None) -> np.ndarray:
        """(M, ceil(H W / 32)) uint32, in the order of bits of `from_packed`."""
        pixels = self.shape[0] * self.shape[1]
        out = np.empty((len(self), (pixels + 31) // 32), np.uint32)
        _library().luss_masks_to_packed(*self._pointers(), ctypes.c_int64(pixels), _at(out), check_threads(threads))
        return out

    def to_coco(self, *, compressed: bool = True, threads: int | None = None) -> list[dict]:
        """Records as pycocotools makes them: "size" and "counts", a compressed string (bytes) or a list of integers."""
        make, kind = ("text", np.uint8) if compressed else ("counts", np.int64)
        offsets = np.zeros(len(self) + 1, np.int64)
        handle = getattr(_library(), f"luss_masks_to_{make}")(*self._pointers(), *self.shape, _at(offsets), check_threads(threads))
        found = _taken(handle, make, np.empty(offsets[-1], kind))
        bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist())
        if compressed:
            joined = found.tobytes()
            return [{"size": list(self.shape), "counts": joined[begin:end]} for begin, end in bounds]
        return [{"size": list(self.shape), "counts": found[begin:end].tolist()} for begin, end in bounds]

    @property
    def areas(self) -> np.ndarray:
        """(M,) int64: set pixels of each mask."""
        total = np.concatenate([[0], np.cumsum(self.runs[:, 1] - self.runs[:, 0], dtype=np.int64)])
        return total[self.offsets[1:]] - total[self.offsets[:-1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, order) -> Masks:
        """These masks in this order: a slice, or (n,) integers or booleans."""
        chosen = np.arange(len(self))[order]
        if chosen.ndim != 1:
            raise ValueError(f"order: expected a slice or (n,) numbers of masks, found {order!r}")
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return self._trusted(self.shape, self.runs[places], offsets)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.offsets, other.offsets) and np.array_equal(self.runs, other.runs)

    __hash__ = None

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.shape[0]} x {self.shape[1]}, {len(self.runs)} runs)"

    def _pointers(self) -> tuple:
        return _at(self.runs), _at(self.offsets), ctypes.c_int64(len(self))

    @classmethod
    def _made(cls, shape: tuple[int, int], count: int, make) -> Masks:
        offsets = np.zeros(count + 1, np.int64)
        handle = make(_at(offsets))
        return cls._trusted(shape, _taken(handle, "runs", np.empty((offsets[-1], 2), np.int32)), offsets)

    @classmethod
    def _trusted(cls, shape: tuple[int, int], runs: np.ndarray, offsets: np.ndarray) -> Masks:
        """Without the checks of `__init__`."""
        masks = cls.__new__(cls)
        masks.shape, masks.runs, masks.offsets = shape, runs, np.ascontiguousarray(offsets, np.int64)
        masks.runs.flags.writeable = masks.offsets.flags.writeable = False
        return masks


def as_masks(masks, shape: tuple[int, int], name: str = "masks", *, threads: int | None = None) -> Masks:
    """`Masks` of any form: Masks, dense (M, H, W) bool or uint8, packed (M, words) uint32, a sequence of COCO records.

    Raises: ValueError for none of these, or another size than `shape`.
    """
    is_coco = isinstance(masks, (list, tuple)) and all(isinstance(record, dict) for record in masks)
    if not is_coco and not isinstance(masks, (np.ndarray, Masks)):
        raise ValueError(f"{name}: expected Masks, an array or a list of COCO records, found {type(masks).__name__}")
    try:
        if is_coco:
            made = Masks.from_coco(masks, shape, threads=threads)
        elif isinstance(masks, Masks):
            made = masks
        else:
            made = Masks.from_packed(masks, shape, threads=threads) if masks.dtype == np.uint32 else Masks.from_dense(masks, threads=threads)
    except ValueError as error:  # of several images the caller has to know which one
        raise ValueError(str(error) if name == "masks" else f"{name}: {error}") from error
    if made.shape != tuple(shape):
        raise ValueError(f"{name}: expected masks of {shape[0]} x {shape[1]} pixels, the map's size, found {made.shape[0]} x {made.shape[1]}")
    return made


def _shape(shape) -> tuple[int, int]:
    height, width = (int(side) for side in shape)
    if height < 0 or width < 0 or height * width > LARGEST:
        raise ValueError(f"shape: expected (H, W) with at most {LARGEST} pixels, found {tuple(shape)}")
    return height, width


def _ascii(mask: int, text: str | bytes) -> bytes:
    try:
        return text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise ValueError(f"masks[{mask}]: counts: expected ASCII, found {_excerpt(text)}") from error


def _counts(mask: int, counts) -> np.ndarray:
    array = np.asarray(counts)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"masks[{mask}]: counts: expected a list of integers or a string, found {_excerpt(counts)}")
    return array.astype(np.int64)


def _excerpt(counts) -> str:
    text = repr(counts)
    return text if len(text) <= 80 else text[:80] + " ..."


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _taken(handle: int | None, kind: str, out: np.ndarray) -> np.ndarray:
    """What a maker of masks.cc holds, fetched and freed."""
    if handle is None:
        raise MemoryError("masks: no memory for their runs")
    getattr(_library(), f"luss_masks_take_{kind}")(ctypes.c_void_p(handle), _at(out))
    return out


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_native(Path(__file__).with_suffix(".cc"))
    for maker in ("from_dense", "from_packed", "from_coco", "to_counts", "to_text"):
        getattr(library, f"luss_masks_{maker}").restype = ctypes.c_void_p
    return library
