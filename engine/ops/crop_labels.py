"""Crops of label maps that are packed in one buffer: a look-up along chosen rows and columns (spec/pass.md 7)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_images, check_pixels, check_threads
from .crop_labels_reference import crop_labels as reference
from .kernel_folder import kernel_folder

_HEADER = '#include "luss/crop_labels.cuh"'
# in0 maps, in1 records, in2 numbers, in3 rows, in4 columns. Stream 0 is Jittor's.
_LAUNCH = """
cudaError_t error = luss::crop_labels((const uint8_t*)in0_p, (const luss_image*)in1_p, (const int32_t*)in2_p, (const int32_t*)in3_p,
    (const int32_t*)in4_p, (int)in3_shape0, (int)in3_shape1, (int)in4_shape1, (int32_t*)out0_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "crop_labels: " << cudaGetErrorString(error);
"""


def crop_labels(
    maps,  # (bytes,) uint8: NumPy array, or jt.Var on the device
    records: np.ndarray,  # (m,) IMAGE: offset in bytes, even; height and width in labels of uint16
    numbers: np.ndarray,  # (n,) integers: the map of each crop
    rows: np.ndarray,  # (n, h) integers
    columns: np.ndarray,  # (n, w) integers
):
    """out[i, y, x] = map[numbers[i]][rows[i, y], columns[i, x]]; engine.data.label_crops.label_indices makes rows and columns.

    Returns: jt.Var (n, h, w) int32; n == 0 is fine.
    Raises: ValueError names the argument and record: a map outside the buffer or at an odd offset, a number, row or column outside its range.
    Gradient: none, all is whole numbers. Deterministic.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        host = maps.numpy() if isinstance(maps, jt.Var) else maps
        return jt.array(crop_labels_host(host, records, numbers, rows, columns))
    numbers, rows, columns = check_label_crops(maps, records, numbers, rows, columns)
    if len(numbers) == 0:
        return jt.zeros((0, rows.shape[1], columns.shape[1]), "int32")
    table = np.ascontiguousarray(records).view(np.int32).reshape(len(records), -1)
    inputs = [maps if isinstance(maps, jt.Var) else jt.array(maps), *map(jt.array, (table, numbers, rows, columns))]
    out = jt.code((*rows.shape, columns.shape[1]), "int32", inputs, cuda_header=_HEADER, cuda_src=_LAUNCH)
    out.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return out.stop_grad()


def crop_labels_host(
    maps: np.ndarray, records: np.ndarray, numbers: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, threads: int | None = None
) -> np.ndarray:
    """`crop_labels` on the CPU, into NumPy; never imports Jittor. threads: None for all cores; with 1 no thread is started."""
    numbers, rows, columns = check_label_crops(maps, records, numbers, rows, columns)
    threads = check_threads(threads)
    if use_reference():
        return reference(np.ascontiguousarray(maps), records, numbers, rows, columns)
    out = np.empty((*rows.shape, columns.shape[1]), np.int32)
    maps, records = np.ascontiguousarray(maps), np.ascontiguousarray(records)
    at_maps, at_records, at_numbers, at_rows, at_columns, at_out = (
        ctypes.c_void_p(array.ctypes.data) for array in (maps, records, numbers, rows, columns, out)
    )
    count = ctypes.c_int64(len(numbers))
    _library().luss_crop_labels_cpu(
        at_maps, at_records, at_numbers, at_rows, at_columns, count, rows.shape[1], columns.shape[1], at_out, min(threads, max(1, len(numbers)))
    )
    return out


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def check_label_crops(maps, records, numbers, rows, columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check_images(records, check_pixels(maps, "maps"), 2, "records")
    if (records["offset"] % 2).any():
        first = int(np.argmax(records["offset"] % 2))
        raise ValueError(f"records[{first}]: expected an even offset, found {records[first]['offset']}")
    numbers = _whole("numbers", numbers, 1, None)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(records)):
        raise ValueError(f"numbers: expected 0..{len(records) - 1}, found {numbers.min()}..{numbers.max()}")
    found = []
    for name, indices, extent in (("rows", rows, "height"), ("columns", columns, "width")):
        indices = _whole(name, indices, 2, len(numbers))
        outside = (indices < 0) | (indices >= records[extent][numbers][:, None])
        if outside.any():
            crop, position = np.argwhere(outside)[0]
            limit = records[extent][numbers[crop]]
            raise ValueError(f"{name}[{crop}, {position}]: expected 0..{limit - 1}, the map's {extent}, found {indices[crop, position]}")
        found.append(np.ascontiguousarray(indices, np.int32))
    return np.ascontiguousarray(numbers, np.int32), found[0], found[1]


def _whole(name: str, values, rank: int, length: int | None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != rank or values.dtype.kind not in "iu" or (length is not None and len(values) != length):
        shape = "(n,)" if rank == 1 else f"({length}, ...)"
        raise ValueError(f"{name}: expected {shape} integers, found {values.shape} {values.dtype}")
    return values
