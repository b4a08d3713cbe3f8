"""The pixel-attention head at inference: from a small map to pooled vectors or attention, nothing of the enlarged size stored.

Spec: spec/pass.md 2.3, 5 and 6; spec/sampass.md 6.3 K1. The first 1x1 convolution commutes with the enlargement and with the division by the
pixel's length, so it runs on the small map; the second one's product is consumed where it is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..runtime.native import load_native
from .attention_checks import call_native, check_float32, check_map
from .attention_head_reference import attention_head as reference
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .native_call import native_code

_HEADER = '#include "luss/attention_head_half.cuh"'
# in0 features, in1 to in6 the weights; out0 pooled, out1 attention (one number where not wanted), out2 scratch. Stream 0 is Jittor's.
_LAUNCHERS = {"float32": "attention_head", "float16": "attention_head_half"}
_LAUNCH = """
cudaError_t error = luss::LAUNCHER((const float*)in0_p, (const float*)in1_p, (const float*)in2_p, (const float*)in3_p, (const float*)in4_p,
    (const float*)in5_p, (const float*)in6_p, in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3,
    data["pooled"] != 0 ? (float*)out0_p : nullptr, data["attention"] != 0 ? (float*)out1_p : nullptr, (float*)out2_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "attention_head: " << cudaGetErrorString(error);
"""


class HeadWeights(NamedTuple):
    """hidden = relu(scale1 (weight1 v) + shift1), attention = sigmoid(scale2 (weight2 hidden) + shift2), for a pixel's unit vector v.

    Biases, normalisation by running statistics and the threshold are folded into scales and shifts. All jt.Var, or all NumPy; float32.
    """

    weight1: Any  # (c, c)
    scale1: Any  # (c,)
    shift1: Any  # (c,)
    weight2: Any  # (c, c)
    scale2: Any  # (c,)
    shift2: Any  # (c,)


def attention_head(
    features,  # (n, c, h, w) float32 jt.Var
    weights: HeadWeights,
    *,
    pooled: bool = True,
    attention: bool = True,
    products: str = "float32",
):
    """Attention of each pixel and channel of the features enlarged four times (bilinear, align_corners false), and what is made of it.

    Args:
        products: "float16" lets tensor cores multiply weight2 and the hidden layer, rounded to float16, with sums in float32; elsewhere than
            on a GPU it is float32 all the same.

    Returns: a pair of jt.Var float32, None for what is not wanted:
        pooled (n, c): mean over pixels of the enlarged features, not normalised, times the attention;
        attention (n, 1, 4h, 4w): mean over channels of the attention.
    A NaN in the features goes to the attention of the pixels that it is a tap of, and to all of the image's pooled values.
    Raises: ValueError names the argument: rank, type or shape that does not fit, an empty plane. n == 0 is fine, c == 0 is not.
    Gradient: none, it is for inference. Deterministic.
    """
    from ..runtime import jt

    n, c, h, w = _check(features, weights)
    if products not in _LAUNCHERS:
        raise ValueError(f"products: expected one of {', '.join(_LAUNCHERS)}, found {products!r}")
    if use_reference() or n == 0:
        found = attention_head_host(features.numpy(), HeadWeights(*(v.numpy() for v in weights)), pooled=pooled, attention=attention)
        return tuple(None if array is None else jt.array(array).stop_grad() for array in found)
    shapes = [(n, c) if pooled else (1,), (n, 1, 4 * h, 4 * w) if attention else (1,)]
    if jt.flags.use_cuda:
        shapes.append((scratch_floats(n, c, 16 * h * w, products == "float16"),))
        data = {"pooled": int(pooled), "attention": int(attention)}
        text = _LAUNCH.replace("LAUNCHER", _LAUNCHERS[products])
        outputs = jt.code(shapes, ["float32"] * 3, [features, *weights], cuda_header=_HEADER, cuda_src=text, data=data)
        for output in outputs:
            output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    else:
        numbers = [n, c, h, w, check_threads(None), int(pooled), int(attention)]
        outputs = native_code(_library().luss_attention_head_cpu, shapes, ["float32"] * 2, [features, *weights], numbers)
    return outputs[0].stop_grad() if pooled else None, outputs[1].stop_grad() if attention else None


def attention_head_host(
    features: np.ndarray, weights: HeadWeights, *, pooled: bool = True, attention: bool = True, threads: int | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`attention_head` on the CPU, into NumPy; never imports Jittor. The result does not depend on threads (None: all cores)."""
    n, c, h, w = _check(features, weights)
    if use_reference():
        found = reference(features, weights)
        return tuple(array.astype(np.float32) if wanted else None for array, wanted in zip(found, (pooled, attention)))
    vectors = np.empty((n, c), np.float32) if pooled else None
    maps = np.empty((n, 1, 4 * h, 4 * w), np.float32) if attention else None
    given = [np.ascontiguousarray(array) for array in (features, *weights)]
    numbers = [n, c, h, w, check_threads(threads), int(pooled), int(attention)]
    if n:
        call_native(_library().luss_attention_head_cpu, [*given, vectors, maps], numbers)
    return vectors, maps


def _library():
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _check(features, weights: HeadWeights) -> tuple[int, int, int, int]:
    n, c, h, w = check_map(features, "features")
    if c == 0:
        raise ValueError("features: expected at least one channel, found 0")
    for name, value in zip(HeadWeights._fields, weights):
        check_float32(value, (c, c) if name.startswith("weight") else (c,), name)
    return n, c, h, w


def scratch_floats(n: int, c: int, pixels: int, half: bool = False) -> int:
    """attention_head_scratch or attention_head_half_scratch: W2 in fp16, norms, the small product, shares of column and row tiles."""
    columns, rows = -(-pixels // (128 if half else 64)), -(-c // 128)
    return half * rows * 64 * -(-c // 16) * 16 + n * (pixels + c * pixels // 16 + columns * c + rows * pixels)
