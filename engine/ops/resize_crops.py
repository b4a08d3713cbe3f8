"""Evaluation crops: whole images resized as Pillow does, to the bit, of which a cut is taken and normalised (spec/pass.md 5, 6 and 8)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_images, check_pixels, check_size, check_threads
from .crop_output import MEAN, STD, TYPES, affine, check_type, result_array, words
from .crop_table import CUT
from .kernel_folder import kernel_folder
from .resize_crops_reference import resize_crops as reference
from .resize_crops_reference import resize_levels as reference_levels

_HEADER = '#include "luss/resize_crops.cuh"'
# in0 pixels, in1 images, in2 cuts, in3 axes, in4 taps. Stream 0 is Jittor's.
_LAUNCH = """
luss::level_scale norm;
norm.scale[0] = data["scale0"], norm.scale[1] = data["scale1"], norm.scale[2] = data["scale2"];
norm.shift[0] = data["shift0"], norm.shift[1] = data["shift1"], norm.shift[2] = data["shift2"];
cudaError_t error = luss::resize_crops((const uint8_t*)in0_p, (const luss_image*)in1_p, (const luss_cut*)in2_p, (const luss_cut_axes*)in3_p,
    (const int32_t*)in4_p, (int)in2_shape0, (int)out0_shape2, (int)out0_shape3, norm, OUT0, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "resize_crops: " << cudaGetErrorString(error);
"""
_POINTERS = {"float32": "(float*)out0_p", "float16": "(__half*)out0_p"}


def resize_crops(
    pixels,  # (bytes,) uint8: NumPy array, or jt.Var on the device
    images: np.ndarray,  # (m,) IMAGE
    cuts: np.ndarray,  # (n,) CUT
    size: int | tuple[int, int],  # side, or (h, w)
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
):
    """Cuts of resized images, (value / 255 - mean) / std, channels first.

    `value` is, to the bit, that of Pillow's `image.resize((width, height), BILINEAR)` at [top : top + h, left : left + w]: two passes in whole
    numbers of 2^-22, the first one rounded to 8 bits, too. Which one is first is decided as in Pillow 13: the columns where the height shrinks by
    more than twice as many pixels as the width (tall images), else the rows. Earlier versions always began with the rows: tall images
    differ from theirs by one level in some pixels. Only the pixels that the cut needs are computed.

    Args:
        pixels: The images' bytes; what lies between images is not used.
        images: Where each image lies; see engine.ops.crop_table.
        cuts: To what size each image is resized, and where the cut begins.
        size: Height and width of every cut, at least 1.
        mean, std: Of the channels, on a scale of 0 to 1; std > 0.
        dtype: "float32" or "float16".

    Returns: jt.Var (n, 3, h, w); n == 0 is fine.
    Raises: ValueError names the argument and record, what was found and what was expected: an image outside the buffer, a cut outside the
        resized image, a size below 1.
    Gradient: none, the inputs are integers. Deterministic: CPU and CUDA give the same bits, for any number of threads.
    """
    from ..runtime import jt

    check_type(dtype, ("float32", "float16"))
    if use_reference() or not jt.flags.use_cuda:
        host = pixels.numpy() if isinstance(pixels, jt.Var) else pixels
        return jt.array(resize_crops_host(host, images, cuts, size, mean=mean, std=std, dtype=dtype))
    height, width = _checked(pixels, images, cuts, size)
    scale, shift, _ = affine(tuple(mean), tuple(std))
    if len(cuts) == 0:
        return jt.zeros((0, 3, height, width), dtype)
    if len(cuts) * -(-height // 32) * -(-width // 32) >= 1 << 31:
        raise ValueError(f"cuts, size: {len(cuts)} cuts of {height} x {width} are too many for one launch, split them")
    axes, taps = resize_tables(images, cuts, (height, width))
    out = jt.code(
        (len(cuts), 3, height, width),
        dtype,
        [pixels if isinstance(pixels, jt.Var) else jt.array(pixels), *map(jt.array, (words(images), words(cuts), axes, taps))],
        cuda_header=_HEADER,
        cuda_src=_LAUNCH.replace("OUT0", _POINTERS[dtype]),
        data={f"{name}{c}": float(values[c]) for name, values in (("scale", scale), ("shift", shift)) for c in range(3)},
    )
    out.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return out.stop_grad()


def resize_crops_host(
    pixels: np.ndarray,
    images: np.ndarray,
    cuts: np.ndarray,
    size: int | tuple[int, int],
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """`resize_crops` on the CPU, into NumPy; never imports Jittor. The interpreter's lock is released while it works.

    Args:
        dtype: also "uint8": the levels 0..255, (n, h, w, 3), without mean and std.
        out: contiguous array of the result's shape and type, to be filled and returned.
        threads: None: all cores this process may use, one cut each at a time. With 1 no thread is started, so it is safe in forked processes.
    """
    check_type(dtype)
    height, width = _checked(pixels, images, cuts, size)
    scale, shift, halves = affine(tuple(mean), tuple(std))
    out = result_array(out, len(cuts), height, width, dtype)
    threads = check_threads(threads)
    if len(cuts) == 0:
        return out
    if use_reference():
        given = np.ascontiguousarray(pixels), images, cuts, (height, width)
        out[...] = reference_levels(*given) if dtype == "uint8" else reference(*given, mean=mean, std=std)
        return out
    pixels, images, cuts = (np.ascontiguousarray(array) for array in (pixels, images, cuts))
    at_pixels, at_images, at_cuts, *rest = (ctypes.c_void_p(array.ctypes.data) for array in (pixels, images, cuts, scale, shift, halves, out))
    sizes = (ctypes.c_int64(len(cuts)), height, width, TYPES[dtype])
    if _library().luss_resize_crops_cpu(at_pixels, at_images, at_cuts, *sizes, *rest, min(threads, len(cuts))):
        raise MemoryError(f"resize_crops: no memory for the rows between both passes of {len(cuts)} cuts of {height} x {width}")
    return out


def resize_tables(images: np.ndarray, cuts: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What the GPU needs besides checked records: (n, 3) int32 axes and (k,) int32 taps, laid out as kernels/luss/cut_table.h says."""
    images, cuts = np.ascontiguousarray(images), np.ascontiguousarray(cuts)
    axes = np.empty((len(cuts), 3), np.int32)

    def fill(*tables: np.ndarray | None) -> int:
        pointers = [None if table is None else ctypes.c_void_p(table.ctypes.data) for table in tables]
        records = (ctypes.c_void_p(images.ctypes.data), ctypes.c_void_p(cuts.ctypes.data), ctypes.c_int64(len(cuts)))
        length = function(*records, *size, *pointers)
        if length < 0:
            raise MemoryError(f"resize_crops: no memory for the filters of {len(cuts)} cuts of {size[0]} x {size[1]}")
        return length

    function = _library().luss_resize_crops_taps
    function.restype = ctypes.c_int64
    length = fill(None, None)
    if length >= 1 << 31:
        raise ValueError(f"cuts: the filters of {len(cuts)} cuts have {length} weights and places, expected less than 2^31: split them")
    taps = np.empty(length, np.int32)
    fill(axes, taps)
    return axes, taps


def _checked(pixels, images: np.ndarray, cuts: np.ndarray, size: int | tuple[int, int]) -> tuple[int, int]:
    """(h, w) of checked arguments."""
    height, width = check_size(size)
    check_images(images, check_pixels(pixels), 3)
    check_cuts(cuts, images, height, width)
    return height, width


def check_cuts(cuts: np.ndarray, images: np.ndarray, height: int, width: int) -> None:
    """(n,) CUT records whose height x width pixels lie inside the resized image."""
    if not isinstance(cuts, np.ndarray) or cuts.ndim != 1 or cuts.dtype != CUT:
        found = f"{cuts.shape} {cuts.dtype}" if isinstance(cuts, np.ndarray) else type(cuts).__name__
        raise ValueError(f"cuts: expected (n,) CUT records, found {found}")
    fields = {name: cuts[name].astype(np.int64) for name in CUT.names}
    for bad, expected in (
        ((fields["image"] < 0) | (fields["image"] >= len(images)), f"expected image in 0..{len(images) - 1}"),
        ((fields["height"] < 1) | (fields["width"] < 1), "expected a resized height and width of at least 1"),
        ((fields["top"] < 0) | (fields["top"] + height > fields["height"]), f"expected top >= 0 and top + {height} <= height"),
        ((fields["left"] < 0) | (fields["left"] + width > fields["width"]), f"expected left >= 0 and left + {width} <= width"),
    ):
        if bad.any():
            first = int(np.argmax(bad))
            found = ", ".join(f"{name}={cuts[first][name]}" for name in CUT.names)
            raise ValueError(f"cuts[{first}]: {expected}, found {found}")


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
