"""From decoded images and a crop plan to normalised crops: cut, resize, flip, colour jitter, grey, blur, normalise (spec/pass.md 3.2 and 7)."""

from __future__ import annotations

import ctypes
import functools
import math
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .augment_crops_reference import augment_crops as reference
from .augment_crops_reference import augment_levels as reference_levels
from .backend import use_reference
from .crop_checks import check_crops, check_images, check_pixels, check_size, check_threads
from .crop_output import MEAN, STD, TYPES, affine, check_type, result_array, words
from .kernel_folder import kernel_folder

_HEADER = '#include "luss/augment_crops.cuh"'
# in0 pixels, in1 images, in2 crops; out0 the crops, out1 8-bit planes, out2 sums of luma (64 bits each), out3 taps. Stream 0 is Jittor's.
_LAUNCH = """
luss::level_scale norm;
norm.scale[0] = data["scale0"], norm.scale[1] = data["scale1"], norm.scale[2] = data["scale2"];
norm.shift[0] = data["shift0"], norm.shift[1] = data["shift1"], norm.shift[2] = data["shift2"];
cudaError_t error = luss::augment_crops((const uint8_t*)in0_p, (const luss_image*)in1_p, (const luss_crop*)in2_p, (int)in2_shape0,
    (int)out0_shape2, (int)out0_shape3, (int)data["taps"], (float)data["blur"], norm, (int32_t*)out3_p, (uint8_t*)out1_p,
    (unsigned long long*)out2_p, OUT0, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "augment_crops: " << cudaGetErrorString(error);
"""
_POINTERS = {"float32": "(float*)out0_p", "float16": "(__half*)out0_p"}


def augment_crops(
    pixels,  # (bytes,) uint8: NumPy array, or jt.Var on the device
    images: np.ndarray,  # (m,) IMAGE
    crops: np.ndarray,  # (n,) CROP
    size: int | tuple[int, int],  # side, or (h, w)
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
):
    """Augmented crops of decoded images, (value / 255 - mean) / std, channels first.

    `value` is, to the bit, that of Pillow's chain (engine.ops.augment_crops_reference): crop and resize(BILINEAR), its jitter as torchvision does
    it, convert("L"), GaussianBlur. A box of fractions is `resize(.., box=box)` of the pixels that it touches by 1/1024 or more. As in Pillow 13
    resizing begins with the columns where the height shrinks by more than twice as many pixels as the width, else with the rows. Earlier
    versions always began with the rows: such crops differ from theirs by one level in some pixels before jitter.

    Args:
        pixels: The images' bytes; what lies between images is not read.
        images: Where each image lies; see engine.ops.crop_table.
        crops: What to do; the steps and their order stand in engine.ops.crop_table.
        size: Height and width of every result, at least 1.
        mean, std: Of the channels, on a scale of 0 to 1; std > 0.
        dtype: "float32" or "float16".

    Returns: jt.Var (n, 3, h, w); n == 0 is fine.
    Raises: ValueError names the argument and record, what was found and what was expected: an image outside the buffer, a box outside its
        image, a number that is not finite or out of its range.
    Gradient: none, the inputs are integers. Deterministic: the same bits on CPU and CUDA, on every processor and for any number of
        threads.
    """
    from ..runtime import jt

    check_type(dtype, ("float32", "float16"))
    if use_reference() or not jt.flags.use_cuda:
        host = pixels.numpy() if isinstance(pixels, jt.Var) else pixels
        return jt.array(augment_crops_host(host, images, crops, size, mean=mean, std=std, dtype=dtype))
    check_images(images, check_pixels(pixels), 3)
    check_crops(crops, images)
    height, width = check_size(size)
    scale, shift, _ = affine(tuple(mean), tuple(std))
    if len(crops) == 0:
        return jt.zeros((0, 3, height, width), dtype)
    taps = most_taps(crops, height, width)
    numbers = len(crops) * (4 + (2 + taps) * (height + width))  # crop_table of the header
    if len(crops) * -(-height // 32) * -(-width // 32) >= 1 << 31 or numbers >= 1 << 31:
        raise ValueError(f"crops, size: {len(crops)} crops of {height} x {width} are too many for one launch, split them")
    data = {"taps": float(taps), "blur": float(crops["blur"].max())}
    data.update({f"{name}{c}": float(values[c]) for name, values in (("scale", scale), ("shift", shift)) for c in range(3)})
    count = len(crops)
    outputs = jt.code(
        [(count, 3, height, width), (count * 3 * height * width,), (count, 2), (numbers,)],
        [dtype, "uint8", "int32", "int32"],
        [pixels if isinstance(pixels, jt.Var) else jt.array(pixels), jt.array(words(images)), jt.array(words(crops))],
        cuda_header=_HEADER,
        cuda_src=_LAUNCH.replace("OUT0", _POINTERS[dtype]),
        data=data,
    )
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return outputs[0].stop_grad()


def augment_crops_host(
    pixels: np.ndarray,
    images: np.ndarray,
    crops: np.ndarray,
    size: int | tuple[int, int],
    *,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    dtype: str = "float32",
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """`augment_crops` on the CPU, into NumPy; never imports Jittor. The interpreter's lock is released while it works.

    Args:
        dtype: also "uint8": the levels 0..255, (n, h, w, 3), without mean and std.
        out: contiguous array of the result's shape and type, to be filled and returned.
        threads: None: all cores this process may use. The result does not depend on it. With 1 no thread is started, so it is safe in
            forked processes.
    """
    check_type(dtype)
    check_images(images, check_pixels(pixels), 3)
    check_crops(crops, images)
    height, width = check_size(size)
    scale, shift, halves = affine(tuple(mean), tuple(std))
    out = result_array(out, len(crops), height, width, dtype)
    threads = check_threads(threads)
    if len(crops) == 0:
        return out
    if use_reference():
        given = np.ascontiguousarray(pixels), images, crops, (height, width)
        out[...] = reference_levels(*given) if dtype == "uint8" else reference(*given, mean=mean, std=std)
        return out
    pixels, images, crops = (np.ascontiguousarray(array) for array in (pixels, images, crops))
    arguments = (pixels, images, crops, scale, shift, halves, out)
    at_pixels, at_images, at_crops, at_scale, at_shift, at_halves, at_out = (ctypes.c_void_p(array.ctypes.data) for array in arguments)
    failed = _library().luss_augment_crops_cpu(
        at_pixels, at_images, at_crops, ctypes.c_int64(len(crops)),
        height, width, TYPES[dtype], at_scale, at_shift, at_halves, at_out, min(threads, len(crops)),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"augment_crops: no memory for the intermediate rows of {len(crops)} crops of {height} x {width}")
    return out


def most_taps(crops: np.ndarray, height: int, width: int) -> int:
    """At least as many taps as any row or column of these crops, at least one, is made of."""
    return 2 * math.ceil(max(1.0, float(crops["height"].max()) / height, float(crops["width"].max()) / width)) + 1


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
