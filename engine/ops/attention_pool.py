"""Attention-weighted mean of a map enlarged four times, which is never stored (spec/pass.md 2.3, spec/sampass.md 6.3 K1)."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .attention_checks import call_native, check_float32, check_map
from .attention_pool_reference import attention_pool as reference_pool
from .attention_pool_reference import attention_pool_grad as reference_grad
from .attention_pool_reference import pixel_norms as reference_norms
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .native_call import native_code

_HEADER = '#include "luss/attention_pool.cuh"'
# Stream 0 is Jittor's. norms: in0 features; out0 norms.
_NORMS = """
cudaError_t error = luss::pixel_norms((const float*)in0_p, in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3, (float*)out0_p,
    (cudaStream_t)0);
CHECK(error == cudaSuccess) << "pixel_norms: " << cudaGetErrorString(error);
"""
# in0 features, in1 logits, in2 threshold, in3 norms (one number where there are none); out0 (n, c).
_POOL = """
cudaError_t error = luss::attention_pool((const float*)in0_p, (const float*)in1_p, (const float*)in2_p,
    in3_num > 1 ? (const float*)in3_p : nullptr, in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3, (float*)out0_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "attention_pool: " << cudaGetErrorString(error);
"""
# Inputs as above, in4 gradient; out0 logits', out1 threshold's, out2 features' (one number where it is not wanted), out3 and out4 scratch.
_GRAD = """
cudaError_t error = luss::attention_pool_grad((const float*)in0_p, (const float*)in1_p, (const float*)in2_p,
    in3_num > 1 ? (const float*)in3_p : nullptr, (const float*)in4_p, in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3,
    (float*)out0_p, (float*)out1_p, out2_num > 1 ? (float*)out2_p : nullptr, (float*)out3_p, (float*)out4_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "attention_pool_grad: " << cudaGetErrorString(error);
"""


def pixel_norms(
    features,  # (n, c, h, w) float32 jt.Var
):
    """Length over channels of each pixel of the features enlarged four times (bilinear, align_corners false), at least 1e-12.

    Returns: (n, 1, 4h, 4w) float32 jt.Var, without gradient. A NaN or infinite value makes its pixels' norms so.
    Raises: ValueError for another rank or type, or an empty plane; n == 0 and c == 0 are fine.
    """
    from ..runtime import jt

    n, _, h, w = check_map(features, "features")
    if use_reference() or 0 in features.shape:
        return jt.array(pixel_norms_host(features.numpy())).stop_grad()
    return _code([(n, 1, 4 * h, 4 * w)], [features], _NORMS, "luss_pixel_norms_cpu", _numbers(features))[0].stop_grad()


def attention_pool(
    features,  # (n, c, h, w) float32 jt.Var
    logits,  # (n, c, 4h, 4w) float32 jt.Var
    threshold,  # (c,) float32 jt.Var
    normalize: bool = True,
    *,
    norms=None,
):
    """out[n, c] = mean over pixels p of v[n, c, p] sigmoid(logits[n, c, p] + threshold[c]).

    v is the features enlarged four times (bilinear, align_corners false), each pixel divided by its length over channels (at least
    1e-12) where `normalize`. Neither v nor the product is stored.

    Args:
        norms: pixel_norms(features), if the caller has them; looked at only where `normalize`.

    Returns: (n, c) float32 jt.Var. A NaN goes to the sums that it is in: with `normalize`, of all channels.
    Raises: ValueError names the argument: rank, type or shape that does not fit, an empty plane. n == 0 and c == 0 are fine.
    Gradient: to features (through the norm, too; not computed where they are marked stop_grad), logits, threshold. Deterministic.
    """
    check_map(features, "features")
    if normalize and norms is None:
        norms = pixel_norms(features)
    _check(features, logits, threshold, norms if normalize else None)
    return _function()(features, logits, threshold, norms if normalize else None)


@functools.cache
def _function():
    from ..runtime import jt

    class AttentionPool(jt.Function):
        def execute(self, features, logits, threshold, norms):
            self.saved = features, logits, threshold, norms
            self.features_wanted = not features.is_stop_grad()
            if use_reference() or 0 in features.shape:
                return jt.array(attention_pool_host(*_arrays(features, logits, threshold), norms is not None, norms=_array(norms)))
            given = jt.zeros((1,)) if norms is None else norms
            numbers = _numbers(features, norms is not None)
            return _code([tuple(features.shape[:2])], [features, logits, threshold, given], _POOL, "luss_attention_pool_cpu", numbers)[0]

        def grad(self, gradient):
            features, logits, threshold, norms = self.saved
            if use_reference() or 0 in features.shape:
                given = (*_arrays(features, logits, threshold, gradient), norms is not None)
                found = attention_pool_grad_host(*given, norms=_array(norms), features_wanted=self.features_wanted)
                return tuple(None if array is None else jt.array(array) for array in found) + (None,)
            n, c, h, w = features.shape
            shapes = [tuple(logits.shape), (c,), (n, c, h, w) if self.features_wanted else (1,)]
            if jt.flags.use_cuda:  # scratch
                shapes += [(n, c), (n, 16 * h * w) if self.features_wanted and norms is not None else (1,)]
            given = jt.zeros((1,)) if norms is None else norms
            inputs, numbers = [features, logits, threshold, given, gradient], _numbers(features, norms is not None, self.features_wanted)
            d_logits, d_threshold, d_features, *_ = _code(shapes, inputs, _GRAD, "luss_attention_pool_grad_cpu", numbers)
            return d_features if self.features_wanted else None, d_logits, d_threshold, None

    return AttentionPool.apply


def pixel_norms_host(features: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """`pixel_norms` on the CPU, into NumPy; never imports Jittor. The result does not depend on threads (None: all cores)."""
    n, c, h, w = check_map(features, "features")
    if use_reference():
        return reference_norms(features).astype(np.float32)
    out = np.empty((n, 1, 4 * h, 4 * w), np.float32)
    features = np.ascontiguousarray(features)
    call_native(_library().luss_pixel_norms_cpu, [features, out], _numbers(features, threads=threads))
    return out


def attention_pool_host(
    features: np.ndarray,
    logits: np.ndarray,
    threshold: np.ndarray,
    normalize: bool = True,
    *,
    norms: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """`attention_pool` on the CPU, into NumPy; never imports Jittor. The result does not depend on threads (None: all cores)."""
    n, c, h, w = check_map(features, "features")
    if normalize and norms is None:
        norms = pixel_norms_host(features, threads=threads)
    _check(features, logits, threshold, norms if normalize else None)
    if use_reference():
        return reference_pool(features, logits, threshold, normalize).astype(np.float32)
    out = np.empty((n, c), np.float32)
    given = _contiguous(features, logits, threshold, norms if normalize else None)
    call_native(_library().luss_attention_pool_cpu, [*given, out], _numbers(features, normalize, threads=threads))
    return out


def attention_pool_grad_host(
    features: np.ndarray,
    logits: np.ndarray,
    threshold: np.ndarray,
    gradient: np.ndarray,  # (n, c) float32, of the result
    normalize: bool = True,
    *,
    norms: np.ndarray | None = None,
    features_wanted: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients by features (None where not wanted), logits and threshold; arguments otherwise as of `attention_pool_host`."""
    n, c, h, w = check_map(features, "features")
    if normalize and norms is None:
        norms = pixel_norms_host(features, threads=threads)
    _check(features, logits, threshold, norms if normalize else None)
    check_float32(gradient, (n, c), "gradient")
    if use_reference():
        found = [array.astype(np.float32) for array in reference_grad(features, logits, threshold, gradient, normalize)]
        return (found[0] if features_wanted else None), found[1], found[2]
    d_features = np.empty((n, c, h, w), np.float32) if features_wanted else None
    d_logits, d_threshold = np.empty((n, c, 4 * h, 4 * w), np.float32), np.empty((c,), np.float32)
    given = _contiguous(features, logits, threshold, norms if normalize else None, gradient)
    numbers = _numbers(features, normalize, features_wanted, threads)
    call_native(_library().luss_attention_pool_grad_cpu, [*given, d_logits, d_threshold, d_features], numbers)
    return d_features, d_logits, d_threshold


def _check(features, logits, threshold, norms) -> None:
    n, c, h, w = features.shape
    check_float32(logits, (n, c, 4 * h, 4 * w), "logits")
    check_float32(threshold, (c,), "threshold")
    if norms is not None:
        check_float32(norms, (n, 1, 4 * h, 4 * w), "norms")


def _arrays(*values) -> list[np.ndarray]:
    return [value.numpy() for value in values]


def _array(value) -> np.ndarray | None:
    return None if value is None else value.numpy()


def _contiguous(*arrays) -> list:
    return [None if array is None else np.ascontiguousarray(array) for array in arrays]


def _numbers(features, normalize: bool = False, features_wanted: bool = False, threads: int | None = None) -> list[int]:
    return [*map(int, features.shape), check_threads(threads), int(normalize), int(features_wanted)]


def _code(shapes: list[tuple], inputs: list, cuda: str, cpu: str, numbers: list[int]) -> list:
    from ..runtime import jt

    if not jt.flags.use_cuda:
        return native_code(getattr(_library(), cpu), shapes, ["float32"] * len(shapes), inputs, numbers)
    outputs = jt.code(shapes, ["float32"] * len(shapes), inputs, cuda_header=_HEADER, cuda_src=cuda)
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return outputs


def _library():
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
