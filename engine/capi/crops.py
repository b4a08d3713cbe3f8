"""The ops that make crops, on arrays of PyTorch and CuPy; records and plans stay NumPy arrays on the host, which checks them."""

from __future__ import annotations

import ctypes

import numpy as np

from ..ops.augment_crops import most_taps
from ..ops.crop_checks import check_crops, check_images, check_size
from ..ops.crop_labels import check_label_crops
from ..ops.crop_output import MEAN, STD, affine, check_type
from ..ops.resize_crops import check_cuts, resize_tables
from .frameworks import Place
from .library import call, scratch_bytes

_FLOATS = {"float32": 0, "float16": 1}  # LUSS_FLOAT32, LUSS_FLOAT16


def augment_crops(
    pixels,  # (bytes,) uint8 on the GPU
    images: np.ndarray,  # (m,) IMAGE, host
    crops: np.ndarray,  # (n,) CROP, host
    size: int | tuple[int, int],
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
):
    """engine.ops.augment_crops: augmented crops of decoded images. Returns: (n, 3, h, w) on the GPU. Raises: ValueError as that op does."""
    check_type(dtype, tuple(_FLOATS))
    place = Place("pixels", pixels)
    source = place.array("pixels", pixels, ("bytes",), "uint8")
    check_images(images, source.shape[0], 3)
    check_crops(crops, images)
    (height, width), (scale, shift) = check_size(size), _affine(mean, std)
    out, at = place.empty((len(crops), 3, height, width), dtype)
    sizes = (len(crops), height, width, most_taps(crops, height, width) if len(crops) else 3)
    room = scratch_bytes("augment_crops", *sizes)
    blur = float(crops["blur"].max()) if len(crops) else 0.0
    tables = (place.upload(images), place.upload(crops))
    call("luss_augment_crops", source.pointer, *tables, *sizes, blur, scale, shift, _FLOATS[dtype], at, place.scratch(room), room, place.stream)  # fmt: skip
    return out


def resize_crops(
    pixels,  # (bytes,) uint8 on the GPU
    images: np.ndarray,  # (m,) IMAGE, host
    cuts: np.ndarray,  # (n,) CUT, host
    size: int | tuple[int, int],
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
):
    """engine.ops.resize_crops: cuts of images resized as Pillow does. Returns: (n, 3, h, w) on the GPU. Raises: ValueError as that op does."""
    check_type(dtype, tuple(_FLOATS))
    place = Place("pixels", pixels)
    source = place.array("pixels", pixels, ("bytes",), "uint8")
    (height, width), (scale, shift) = check_size(size), _affine(mean, std)
    check_images(images, source.shape[0], 3)
    check_cuts(cuts, images, height, width)
    out, at = place.empty((len(cuts), 3, height, width), dtype)
    if len(cuts):
        tables = [place.upload(table) for table in (images, cuts, *resize_tables(images, cuts, (height, width)))]
        call("luss_resize_crops", source.pointer, *tables, len(cuts), height, width, scale, shift, _FLOATS[dtype], at, place.stream)
    return out


def crop_labels(
    maps,  # (bytes,) uint8 on the GPU
    records: np.ndarray,  # (m,) IMAGE, host
    numbers: np.ndarray,  # (n,) integers, host
    rows: np.ndarray,  # (n, h) integers, host
    columns: np.ndarray,  # (n, w) integers, host
):
    """engine.ops.crop_labels: crops of packed label maps. Returns: (n, h, w) int32 on the GPU. Raises: ValueError as that op does."""
    place = Place("maps", maps)
    source = place.array("maps", maps, ("bytes",), "uint8")
    numbers, rows, columns = check_label_crops(source, records, numbers, rows, columns)
    out, at = place.empty((*rows.shape, columns.shape[1]), "int32")
    tables = [place.upload(table) for table in (records, numbers, rows, columns)]
    call("luss_crop_labels", source.pointer, *tables, len(numbers), rows.shape[1], columns.shape[1], at, place.stream)
    return out


def _affine(mean, std):
    """scale and shift as C takes them."""
    return [(ctypes.c_float * 3)(*values) for values in affine(tuple(mean), tuple(std))[:2]]
