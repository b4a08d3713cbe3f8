"""Evaluation crops: whole images resized as Pillow does, to the bit, of which a cut is taken and normalised (spec/pass.md 5, 6 and 8)."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .augment_crops import MEAN, STD
from .crop_checks import check_images, check_pixels, check_size, check_threads
from .crop_output import TYPES, affine, check_type, half_levels, result_array
from .crop_table import CUT
from .kernel_folder import kernel_folder


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
    host = pixels.numpy() if isinstance(pixels, jt.Var) else pixels
    return jt.array(resize_crops_host(host, images, cuts, size, mean=mean, std=std, dtype=dtype))


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
    length, (height, width) = check_pixels(pixels), check_size(size)
    check_images(images, length, 3)
    check_cuts(cuts, images, height, width)
    scale, shift = affine(mean, std)
    out = result_array(out, len(cuts), height, width, dtype)
    threads = check_threads(threads)
    if len(cuts) == 0:
        return out
    halves = half_levels(scale, shift)
    pixels, images, cuts = (np.ascontiguousarray(array) for array in (pixels, images, cuts))
    at_pixels, at_images, at_cuts, *rest = (ctypes.c_void_p(array.ctypes.data) for array in (pixels, images, cuts, scale, shift, halves, out))
    sizes = (ctypes.c_int64(len(cuts)), height, width, TYPES[dtype])
    if _library().luss_resize_crops_cpu(at_pixels, at_images, at_cuts, *sizes, *rest, min(threads, len(cuts))):
        raise MemoryError(f"resize_crops: no memory for the rows between both passes of {len(cuts)} cuts of {height} x {width}")
    return out


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


def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
