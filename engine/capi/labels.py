"""The ops that make label maps, on arrays of PyTorch and CuPy; sizes and masks as runs come from the host, as does what they are checked by."""

from __future__ import annotations

import ctypes

import numpy as np

from ..ops.masks import as_masks
from ..ops.pixel_nearest_centroid import check_centroid_task, unit_rows
from ..ops.upsample_argmax import PLAN, check_task
from ..ops.vote_masks import IDS, check_label_map, check_rules, image_table, short_runs
from .arrays import is_on_gpu
from .frameworks import Place
from .library import FLOATS, call, scratch_bytes

_IDS = {"uint16": 2, "int32": 3}  # LUSS_UINT16, LUSS_INT32


def upsample_argmax(
    logits,  # (n, k, h, w) float32 or float16 on the GPU
    sizes,  # (n, 2) integers, host: height and width of each image
    *,
    middle: tuple[int, int] | None = None,
    attention=None,  # (n, h', w') float32 on the GPU
    threshold: float = 0.0,
    grid: tuple[int, int] | None = None,
    max_res: int = 0,
    first_id: int = 0,
) -> list:
    """engine.ops.upsample_argmax: label maps at image size. Returns: n arrays (H, W) int32 on the GPU, parts of one buffer."""
    place = Place("logits", logits)
    source = place.array("logits", logits, ("n", "k", "h", "w"), *FLOATS)
    gate = None if attention is None else place.array("attention", attention, (source.shape[0], "h", "w"), "float32")
    task, sizes = check_task(source, sizes, middle, gate, threshold, grid, first_id)
    if len(sizes) == 0:
        return []
    plans, labels, room = _planned(sizes, grid or (0, 0), max_res, gate)
    out, at = place.empty((labels,), "int32")
    call("luss_upsample_argmax", source.pointer, FLOATS[source.dtype.name], *source.shape, *(middle or (0, 0)), place.upload(plans), *_gate(gate),
         threshold, first_id, at, place.scratch(room), room, place.stream)  # fmt: skip
    return _maps(out, plans)


def pixel_nearest_centroid(
    features,  # (n, c, h, w) float32 or float16 on the GPU
    centroids: np.ndarray,  # (k, c) float32, host; need not have unit length
    sizes,  # (n, 2) integers, host: height and width of each image
    *,
    attention=None,  # (n, h', w') float32 on the GPU
    threshold: float = 0.0,
    factor: int = 4,
) -> list:
    """engine.ops.pixel_nearest_centroid: cluster of each pixel at image size. Returns: n arrays (H, W) int32 on the GPU, parts of one buffer."""
    place = Place("features", features)
    source = place.array("features", features, ("n", "c", "h", "w"), *FLOATS)
    gate = None if attention is None else place.array("attention", attention, (source.shape[0], "h", "w"), "float32")
    _, sizes, grid = check_centroid_task(source, centroids, sizes, gate, threshold, factor)
    if len(sizes) == 0:
        return []
    plans, labels, taps = _planned(sizes, grid, 0, gate)
    out, at = place.empty((labels,), "int32")
    n, depth, height, width = source.shape
    room = scratch_bytes("pixel_nearest_centroid", n, len(centroids), height, width) + taps
    call("luss_pixel_nearest_centroid", source.pointer, FLOATS[source.dtype.name], n, depth, height, width, place.upload(unit_rows(centroids)),
         len(centroids), place.upload(plans), *_gate(gate), threshold, at, place.scratch(room), room, place.stream)  # fmt: skip
    return _maps(out, plans)


def _planned(sizes: np.ndarray, grid: tuple[int, int], max_res: int, gate) -> tuple[np.ndarray, int, int]:
    """(n,) PLAN, the number of all labels, bytes of scratch for the taps."""
    plans, labels, room = np.zeros(len(sizes), PLAN), ctypes.c_int64(), ctypes.c_size_t()
    results = (plans.ctypes.data, ctypes.addressof(labels), ctypes.addressof(room))
    call("luss_upsample_argmax_plan", sizes.ctypes.data, len(sizes), *grid, max_res, int(gate is not None), *results)
    return plans, labels.value, room.value


def _gate(attention) -> tuple:
    """Pointer, height and width, as the functions take them."""
    return (None, 0, 0) if attention is None else (attention.pointer, *attention.shape[1:])


def _maps(labels, plans: np.ndarray) -> list:
    shapes = [(int(plan["height"]), int(plan["width"])) for plan in plans]
    return [labels[int(plan["out"]) : int(plan["out"]) + shape[0] * shape[1]].reshape(shape) for plan, shape in zip(plans, shapes)]


def vote_masks(
    label_map,  # (H, W) uint16 or int32 on the GPU, or a list of them, of one type and any sizes
    masks,  # host: Masks, (M, H, W) bool or uint8, list of COCO records; on the GPU: (M, words) uint32; for a list of maps, a list of these
    *,
    on: str = "current",
    min_area: int = 0,
    min_share: float = 0.0,
    ignore_background: bool = False,
    bins: int | None = None,
):
    """engine.ops.vote_masks: each mask in turn gets the most frequent label under it.

    bins: All ids are below it; larger ones have no vote. None: looked up, for which the GPU is waited for.

    Returns: the new map and its votes, (M, 4) int32 with the fields of VOTE, on the GPU; for lists, lists.
    """
    several = isinstance(label_map, (list, tuple))
    maps, given = (list(label_map), list(masks)) if several else ([label_map], [masks])
    if len(maps) != len(given):
        raise ValueError(f"masks: expected the masks of each of the {len(maps)} maps, found {len(given)}")
    rules = check_rules(on, min_area, min_share, ignore_background)[0]
    if not maps:
        return [], []
    place = Place("label_map[0]", maps[0])
    views = [place.array(f"label_map[{i}]", one, ("H", "W"), *_IDS) for i, one in enumerate(maps)]
    for i, one in enumerate(views):
        check_label_map(i, one)
        if one.dtype != views[0].dtype:
            raise ValueError(f"label_map[{i}]: expected {views[0].dtype} as label_map[0], found {one.dtype}")
    packed = [is_on_gpu(some) for some in given]
    if any(packed) and not all(packed):
        raise ValueError("masks: expected them all on the GPU, or none")
    if all(packed):
        lengths = [(one.shape[0] * one.shape[1] + 31) // 32 for one in views]
        rows = [place.array(f"masks[{i}]", some, ("M", length), "uint32") for i, (some, length) in enumerate(zip(given, lengths))]
        counts = [one.shape[0] for one in rows]
        tables = [rows[0].pointer if len(rows) == 1 else place.joined(given)[1]]
    else:
        runs = [as_masks(some, one.shape, f"masks[{i}]") for i, (some, one) in enumerate(zip(given, views))]
        counts = [len(some) for some in runs]
        tables = [place.upload(table) for table in short_runs(runs)]
    source, source_at = (maps[0], views[0].pointer) if len(maps) == 1 else place.joined(maps)
    table = image_table([one.shape for one in views], counts)
    votes, votes_at = place.empty((sum(counts), 4), "int32")
    if sum(counts) == 0 or table["pixels"].sum() == 0:  # nothing changes, and no mask has a pixel
        out, votes = place.joined(maps)[0], place.framework.upload(np.tile(np.array([-1, 0, 0, 0], np.int32), (sum(counts), 1)))
        return _split(table, views, out, votes, several)
    out, at = place.empty((int(table["pixels"].sum()),), views[0].dtype.name)
    if bins is None:
        lowest, highest = place.framework.extremes(source)
        if lowest < 0 or highest >= IDS:
            raise ValueError(f"label_map: expected ids 0..{IDS - 1}, found {lowest}..{highest}")
        bins = highest + 1
    room = scratch_bytes("vote_masks", len(maps), bins)
    function = "luss_vote_masks_packed" if all(packed) else "luss_vote_masks_runs"
    call(function, source_at, at, _IDS[views[0].dtype.name], place.upload(table), len(maps),
         *tables, int(rules["on_original"]), int(rules["min_area"]), float(rules["min_share"]), int(rules["ignore_background"]), bins, votes_at,
         place.scratch(room), room, place.stream)  # fmt: skip
    return _split(table, views, out, votes, several)


def _split(table: np.ndarray, views: list, out, votes, several: bool):
    found, cast = [], []
    for record, one in zip(table, views):
        first, mask = int(record["first_pixel"]), int(record["first_mask"])
        found.append(out[first : first + int(record["pixels"])].reshape(one.shape))
        cast.append(votes[mask : mask + int(record["masks"])])
    return (found, cast) if several else (found[0], cast[0])
