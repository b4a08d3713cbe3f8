"""The ops of k-means, on arrays of PyTorch and CuPy."""

from __future__ import annotations

from .arrays import view
from .frameworks import Place
from .library import FLOATS, call, scratch_bytes

_MODES = {"fp32": 0, "certified": 1, "auto": 1}


def nearest_centroid(
    x,  # (N, d) float32 or float16 on the GPU
    centroids,  # (K, d) or (R, K, d) float32 on the GPU
    *,
    cosine: bool = False,
    mode: str = "auto",
    scored: bool = True,
):
    """engine.ops.nearest_centroid: index of the nearest centroid of every row in each of R sets, and the squared distance (or product).

    mode: "fp32"; "certified" and "auto": tensor cores, and float32 where rounding could decide: the same bits.
    scored: False: no scores, which cost the second mode another pass; None in their place.

    Returns: (label, score): (N,) or (R, N) int32 and float32 on the GPU.
    """
    if mode not in _MODES:
        raise ValueError(f"mode: expected one of {', '.join(_MODES)}, found {mode!r}")
    place = Place("x", x)
    rows = place.array("x", x, ("N", "d"), *FLOATS)
    n, d = rows.shape
    several = view("centroids", centroids, place.stream).ndim == 3
    sets = place.array("centroids", centroids, ("R", "K", d) if several else ("K", d), "float32")
    r, k = sets.shape[:2] if several else (1, sets.shape[0])
    shape = (r, n) if several else (n,)
    label, at_label = place.empty(shape, "int32")
    score, at_score = place.empty(shape, "float32") if scored else (None, None)
    room = scratch_bytes("nearest_centroid", n, d, k, r, _MODES[mode])
    call("luss_nearest_centroid", rows.pointer, FLOATS[rows.dtype.name], sets.pointer, n, d, k, r, int(cosine), _MODES[mode], at_label, at_score,
         place.scratch(room), room, place.stream)  # fmt: skip
    return label, score


def centroid_sums(
    x,  # (N, d) float32 or float16 on the GPU
    label,  # (N,) int32 on the GPU; outside [0, clusters) a row counts for nothing
    clusters: int,
):
    """engine.ops.centroid_sums: sums[j] = sum of x[i] over label[i] == j, and how many these are.

    Returns: (sums, counts): (clusters, d) float64 and (clusters,) int64 on the GPU. Deterministic.
    """
    place = Place("x", x)
    rows = place.array("x", x, ("N", "d"), *FLOATS)
    n, d = rows.shape
    ids = place.array("label", label, (n,), "int32")
    room = scratch_bytes("centroid_sums", n, d, clusters)
    sums, at_sums = place.empty((clusters, d), "float64")
    counts, at_counts = place.empty((clusters,), "int64")
    call("luss_centroid_sums", rows.pointer, FLOATS[rows.dtype.name], ids.pointer, n, d, clusters, at_sums, at_counts, place.scratch(room), room,
         place.stream)  # fmt: skip
    return sums, counts


def fixed_sums(
    x,  # (N, d) float32 or float16 on the GPU
    label,  # (N,) or (R, N) int32 on the GPU; outside [0, clusters) a row counts for nothing
    clusters: int,
    bits: int,  # 0..62
):
    """engine.ops.fixed_sums: sums[r, j] = sum of round(x[i] * 2^bits) over label[r, i] == j, and how many these are.

    Returns: (sums, counts): ([R,] clusters, d) and ([R,] clusters) int64 on the GPU. Exact while no sum leaves 63 bits.
    """
    place = Place("x", x)
    rows = place.array("x", x, ("N", "d"), *FLOATS)
    n, d = rows.shape
    several = view("label", label, place.stream).ndim == 2
    ids = place.array("label", label, ("R", n) if several else (n,), "int32")
    shape = (*ids.shape[:-1], clusters)
    r = ids.shape[0] if several else 1
    room = scratch_bytes("fixed_sums", n, d, clusters, r)
    sums, at_sums = place.empty((*shape, d), "int64")
    counts, at_counts = place.empty(shape, "int64")
    call("luss_fixed_sums", rows.pointer, FLOATS[rows.dtype.name], ids.pointer, n, d, clusters, r, bits, at_sums, at_counts, place.scratch(room),
         room, place.stream)  # fmt: skip
    return sums, counts


def score_sums(
    score,  # (N,) or (R, N) float32 on the GPU, as nearest_centroid gives it
):
    """Sums of scores in float64, the objective of k-means. Returns: (R,) float64 on the GPU, (1,) for one set. Deterministic."""
    place = Place("score", score)
    several = view("score", score, place.stream).ndim == 2
    given = place.array("score", score, ("R", "N") if several else ("N",), "float32")
    r, n = given.shape if several else (1, given.shape[0])
    totals, at_totals = place.empty((r,), "float64")
    room = scratch_bytes("score_sums", r)
    call("luss_score_sums", given.pointer, n, r, at_totals, place.scratch(room), room, place.stream)
    return totals


def unit_rows(
    x,  # (N, d) float32 or float16 on the GPU
):
    """engine.ops.unit_rows: x / (|x| + 1e-8) of every row, and the squared length of what comes out.

    Returns: (out, squares): (N, d) float32 and (N,) float64 on the GPU. Deterministic.
    """
    place = Place("x", x)
    rows = place.array("x", x, ("N", "d"), *FLOATS)
    n, d = rows.shape
    out, at_out = place.empty((n, d), "float32")
    squares, at_squares = place.empty((n,), "float64")
    call("luss_unit_rows", rows.pointer, FLOATS[rows.dtype.name], n, d, at_out, at_squares, place.stream)
    return out, squares
