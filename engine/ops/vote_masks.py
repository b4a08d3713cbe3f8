"""Semantic voting: each mask of an image in turn gets the most frequent label under it (SAMPASS, spec/sampass.md 1.4.1)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .crop_output import words
from .kernel_folder import kernel_folder
from .masks import LARGEST, Masks, as_masks
from .vote_masks_reference import vote_masks as reference

# A mask's vote. label: the most frequent id; -1 where nothing voted: the mask is empty, smaller than min_area, or covers ignored background
# alone. count: how many of its `area` pixels had that id. written: 1 where the label was written over the mask.
VOTE = np.dtype([("label", "<i4"), ("count", "<i4"), ("area", "<i4"), ("written", "<i4")])

# luss_vote_rules and luss_vote_image of kernels/luss/vote_table.h; host_image of vote_masks.cc
RULES = np.dtype([("min_share", "<f8"), ("min_area", "<i4"), ("on_original", "<i4"), ("ignore_background", "<i4"), ("unused", "<i4")])
IMAGE = np.dtype([("first_pixel", "<i8"), ("first_word", "<i8"), *((name, "<i4") for name in ("pixels", "first_mask", "masks", "unused"))])
_HOST_IMAGE = np.dtype([(name, "<i8") for name in ("map", "out", "runs", "offsets", "votes", "pixels", "masks")])

IDS = 1 << 16
_ON = ("current", "original")
_LONGEST = 512  # pixels of a run on the device, where a warp takes a run
_HEADER = '#include "luss/vote_masks.cuh"'
# in0 maps, in1 images, then words, or runs and offsets; out0 maps, out1 votes, out2 scratch. Stream 0 is Jittor's.
_LAUNCH = """
luss_vote_rules rules = {data["min_share"], (int)data["min_area"], (int)data["on_original"], (int)data["ignore_background"], 0};
cudaError_t error = luss::LAUNCHER((const TYPE*)in0_p, (TYPE*)out0_p, (const luss_vote_image*)in1_p, (int)in1_shape0, MASKS,
    rules, (int)data["bins"], (void*)out2_p, (luss_vote*)out1_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "vote_masks: " << cudaGetErrorString(error);
"""
_FORMS = {
    "runs": _LAUNCH.replace("LAUNCHER", "vote_masks_runs").replace("MASKS", "(const int32_t*)in2_p, (const int64_t*)in3_p"),
    "packed": _LAUNCH.replace("LAUNCHER", "vote_masks_packed").replace("MASKS", "(const uint32_t*)in2_p"),
}
_TYPES = {"uint16": "uint16_t", "int32": "int32_t"}
_TABLES = 264  # VOTE_GLOBAL_BLOCKS of the kernel, and its VOTE_SHARED_BINS
_SHARED_BINS = 12000


def vote_masks(
    label_map,  # (H, W) uint16 or int32, jt.Var or NumPy array; or a list of them, of one type and any sizes
    masks,  # Masks, (M, H, W) bool or uint8, (M, words) uint32, or a list of COCO records; for a list of maps, a list of these
    *,
    on: str = "current",
    min_area: int = 0,
    min_share: float = 0.0,
    ignore_background: bool = False,
    bins: int | None = None,
):
    """Each mask, in the order given: the most frequent id among its pixels (ties: the smallest), written over all of them.

    Args:
        label_map: Category ids 0..65535; 0, the background, votes like any other.
        masks: Of the map's size; see `Masks` for their forms. Packed ones may be jt.Var. Order matters: SAMPASS has descending predicted IoU.
        on: "current": the map as the masks before have left it, as published; "original": the map as given; later masks still overwrite.
        min_area: A mask of fewer pixels does nothing.
        min_share: A mask does nothing where its label has less than this share of its pixels, 0..1.
        ignore_background: Background pixels have no vote, though they count as area and are written over.
        bins: All ids are below it. None: looked up, for which CUDA waits. Larger ids have no vote on CUDA, and are refused on the CPU.

    Returns: the new map, jt.Var of the same shape and type, and the votes, jt.Var (M, 4) int32 with the fields of VOTE; for lists, lists.
        Empty masks and M == 0 change nothing.
    Raises: ValueError names the argument (of a list, the image): types, sizes, options out of range, masks that are no masks.
    Gradient: none, all is whole numbers. Deterministic: the same on CPU and CUDA, for any number of threads.
    """
    from ..runtime import jt

    several = isinstance(label_map, (list, tuple))
    maps, given = _lists(label_map, masks)
    if use_reference() or not jt.flags.use_cuda:
        maps, given = ([value.numpy() if isinstance(value, jt.Var) else value for value in values] for values in (maps, given))
        _check_ids(maps, bins)
        found, votes = vote_masks_host(maps, given, on=on, min_area=min_area, min_share=min_share, ignore_background=ignore_background)
        found, votes = [jt.array(one) for one in found], [jt.array(words(one)) for one in votes]
        return (found, votes) if several else (found[0], votes[0])
    rules = check_rules(on, min_area, min_share, ignore_background)
    out, votes, lengths = _on_device(jt, maps, given, rules, bins)
    shapes = [tuple(one.shape) for one in maps]
    ends = np.cumsum([0, *(height * width for height, width in shapes)]).tolist()
    found = [out[begin:end].reshape(shape) for begin, end, shape in zip(ends, ends[1:], shapes)]
    ends = np.cumsum([0, *lengths]).tolist()
    cast = [votes[begin:end] for begin, end in zip(ends, ends[1:])]
    return (found, cast) if several else (found[0], cast[0])


def vote_masks_host(
    label_map,
    masks,
    *,
    on: str = "current",
    min_area: int = 0,
    min_share: float = 0.0,
    ignore_background: bool = False,
    threads: int | None = None,
):
    """`vote_masks` on the CPU, from NumPy into NumPy; never imports Jittor.

    threads: None for all cores; an image is voted on by one thread.
    Returns: the new map, and (M,) VOTE records; for lists, lists.
    """
    rules = check_rules(on, min_area, min_share, ignore_background)
    threads = check_threads(threads)
    maps, given = _lists(label_map, masks)
    for i, one in enumerate(maps):
        if not isinstance(one, np.ndarray):
            raise ValueError(f"label_map[{i}]: expected a NumPy array, found {type(one).__name__}")
    _check_ids(maps, None)
    given = [as_masks(one, maps[i].shape, f"masks of image {i}", threads=threads) for i, one in enumerate(given)]
    if use_reference():
        options = {"on": on, "min_area": min_area, "min_share": min_share, "ignore_background": ignore_background}
        pairs = [reference(one, some.to_dense(), **options) for one, some in zip(maps, given)]
        found, votes = [pair[0] for pair in pairs], [pair[1].view(VOTE).reshape(-1) for pair in pairs]
    else:
        found, votes = _on_host(maps, given, rules, threads)
    return (found, votes) if isinstance(label_map, (list, tuple)) else (found[0], votes[0])


def _on_host(maps: list[np.ndarray], masks: list[Masks], rules: np.ndarray, threads: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    maps = [np.ascontiguousarray(one) for one in maps]
    found = [np.empty_like(one) for one in maps]
    votes = [np.empty(len(some), VOTE) for some in masks]
    table = np.zeros(len(maps), _HOST_IMAGE)
    for i, (one, some) in enumerate(zip(maps, masks)):
        arrays = one, found[i], some.runs, some.offsets, votes[i]
        table[i] = (*(array.ctypes.data for array in arrays), one.size, len(some))
    if maps:
        wide = int(maps[0].dtype == np.int32)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (table, rules))
        if _library().luss_vote_masks_cpu(next(pointers), ctypes.c_int64(len(maps)), wide, next(pointers), min(threads, len(maps))) != 0:
            raise MemoryError("vote_masks: no memory for a map and its histogram")
    return found, votes


def _on_device(jt, maps: list, masks: list, rules: np.ndarray, bins: int | None):
    """New maps (all pixels,), votes (all masks, 4), and the number of masks of each image."""
    if not maps:
        return jt.zeros((0,), "int32"), jt.zeros((0, 4), "int32"), []
    packed = [isinstance(some, jt.Var) for some in masks]
    if any(packed) and not all(packed):
        raise ValueError("masks: expected them all as jt.Var, or none")
    if all(packed):
        for i, (one, some) in enumerate(zip(maps, masks)):
            length = (one.shape[0] * one.shape[1] + 31) // 32
            if len(some.shape) != 2 or some.shape[1] != length or str(some.dtype) != "uint32":
                raise ValueError(f"masks of image {i}: expected (M, {length}) uint32, found {tuple(some.shape)} {some.dtype}")
        lengths = [some.shape[0] for some in masks]
        inputs = [jt.concat([some.reshape(-1) for some in masks])]
    else:
        given = [as_masks(some, tuple(maps[i].shape), f"masks of image {i}") for i, some in enumerate(masks)]
        lengths = [len(some) for some in given]
        runs, offsets = short_runs(given)
        inputs = [jt.array(runs), jt.array(words(offsets))]
    flat = jt.concat([(one if isinstance(one, jt.Var) else jt.array(np.ascontiguousarray(one))).reshape(-1) for one in maps])
    table = image_table([tuple(one.shape) for one in maps], lengths)
    if flat.shape[0] == 0 or sum(lengths) == 0:
        return flat, jt.array(np.tile(np.array([-1, 0, 0, 0], np.int32), (sum(lengths), 1))), lengths
    if bins is None:
        lowest, highest = int(flat.int32().min().item()), int(flat.int32().max().item())
        if lowest < 0 or highest >= IDS:
            raise ValueError(f"label_map: expected ids 0..{IDS - 1}, found {lowest}..{highest}")
        bins = highest + 1
    _check_bins(bins)
    scratch = min(len(maps), _TABLES) * bins if bins > _SHARED_BINS else 1
    source = _FORMS["packed" if all(packed) else "runs"].replace("TYPE", _TYPES[str(flat.dtype)])
    data = {name: float(rules[name][0]) for name in RULES.names[:-1]}
    outputs = jt.code(
        [(flat.shape[0],), (sum(lengths), 4), (scratch,)],
        [str(flat.dtype), "int32", "int32"],
        [flat, jt.array(words(table)), *inputs],
        cuda_header=_HEADER,
        cuda_src=source,
        data={**data, "bins": float(bins)},
    )
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return outputs[0].stop_grad(), outputs[1].stop_grad(), lengths


def image_table(shapes: list[tuple[int, int]], masks: list[int]) -> np.ndarray:
    """(n,) IMAGE records of images that lie one after another in one buffer, with so many masks each."""
    table = np.zeros(len(shapes), IMAGE)
    pixels = np.array([height * width for height, width in shapes], np.int64)
    table["pixels"], table["masks"] = pixels, masks
    table["first_pixel"] = np.cumsum(pixels) - pixels
    table["first_mask"] = np.cumsum(masks) - masks
    counts = (pixels + 31) // 32 * masks
    table["first_word"] = np.cumsum(counts) - counts
    return table


def short_runs(masks: list[Masks]) -> tuple[np.ndarray, np.ndarray]:
    """(R, 2) int32 runs of all masks of all images, none longer than 512 pixels, and (all masks + 1,) int64 offsets."""
    runs = np.concatenate([some.runs for some in masks])
    ends = np.concatenate([[0], *(some.offsets[1:] + before for some, before in zip(masks, np.cumsum([0, *(len(some.runs) for some in masks)])))])
    pieces = -(-(runs[:, 1] - runs[:, 0]) // _LONGEST)
    total = np.concatenate([[0], np.cumsum(pieces, dtype=np.int64)])
    starts = np.repeat(runs[:, 0], pieces) + _LONGEST * (np.arange(total[-1]) - np.repeat(total[:-1], pieces))
    return np.stack([starts, np.minimum(starts + _LONGEST, np.repeat(runs[:, 1], pieces))], 1).astype(np.int32), total[ends.astype(np.int64)]


def _lists(label_map, masks) -> tuple[list, list]:
    """Checked maps, and the masks of each."""
    maps, given = (label_map, masks) if isinstance(label_map, (list, tuple)) else ([label_map], [masks])
    if not isinstance(given, (list, tuple)) or len(given) != len(maps):
        found = f"{len(given)}" if isinstance(given, (list, tuple)) else type(given).__name__
        raise ValueError(f"masks: expected a list with the masks of each of the {len(maps)} maps, found {found}")
    for i, one in enumerate(maps):
        check_label_map(i, one)
    kinds = sorted({str(one.dtype) for one in maps})
    if len(kinds) > 1:
        raise ValueError(f"label_map: expected maps of one type, found {', '.join(kinds)}")
    return list(maps), list(given)


def check_label_map(number: int, label_map) -> None:
    shape, kind = getattr(label_map, "shape", ()), str(getattr(label_map, "dtype", type(label_map).__name__))
    if len(shape) != 2 or kind not in _TYPES:
        raise ValueError(f"label_map[{number}]: expected (H, W) uint16 or int32, found {tuple(shape)} {kind}")
    if shape[0] * shape[1] > LARGEST - 4 * _LONGEST:  # so that the kernel's counters do not overflow
        raise ValueError(f"label_map[{number}]: expected at most {LARGEST - 4 * _LONGEST} pixels, found {shape[0]} x {shape[1]}")


def _check_bins(bins: int) -> None:
    if not isinstance(bins, (int, np.integer)) or not 1 <= bins <= IDS:
        raise ValueError(f"bins={bins!r}: expected a whole number in 1..{IDS}")


def _check_ids(maps: list[np.ndarray], bins: int | None) -> None:
    limit = IDS if bins is None else bins
    _check_bins(limit)
    for i, one in enumerate(maps):
        if one.size and not (one.dtype == np.uint16 and limit == IDS) and (one.min() < 0 or one.max() >= limit):
            raise ValueError(f"label_map[{i}]: expected ids 0..{limit - 1}, found {one.min()}..{one.max()}")


def check_rules(on: str, min_area: int, min_share: float, ignore_background: bool) -> np.ndarray:
    if on not in _ON:
        raise ValueError(f"on={on!r}: expected one of {', '.join(_ON)}")
    if not isinstance(min_area, (int, np.integer)) or min_area < 0:
        raise ValueError(f"min_area={min_area!r}: expected a whole number of pixels, at least 0")
    if not 0 <= min_share <= 1:
        raise ValueError(f"min_share={min_share!r}: expected 0..1")
    return np.array([(min_share, min(min_area, LARGEST), on == "original", bool(ignore_background), 0)], RULES)


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
