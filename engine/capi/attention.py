"""The pooling ops of the pixel attention, on arrays of PyTorch and CuPy."""

from __future__ import annotations

from ..ops.attention_head import HeadWeights
from .frameworks import Place
from .library import FLOATS, call, scratch_bytes


def pixel_norms(
    features,  # (n, c, h, w) float32 on the GPU
):
    """engine.ops.pixel_norms: length over channels of each pixel of the features enlarged four times. Returns: (n, 1, 4h, 4w) float32."""
    place, source = _features(features)
    n, c, h, w = source.shape
    out, at = place.empty((n, 1, 4 * h, 4 * w), "float32")
    call("luss_pixel_norms", source.pointer, n, c, h, w, at, place.stream)
    return out


def attention_pool(
    features,  # (n, c, h, w) float32 on the GPU
    logits,  # (n, c, 4h, 4w) float32
    threshold,  # (c,) float32
    normalize: bool = True,
    *,
    norms=None,  # (n, 1, 4h, 4w) float32: pixel_norms(features), if the caller has them
):
    """engine.ops.attention_pool: attention-weighted mean of the features enlarged four times. Returns: (n, c) float32."""
    place, source = _features(features)
    given = _pool_arguments(place, source, features, logits, threshold, normalize, norms)
    out, at = place.empty(source.shape[:2], "float32")
    call("luss_attention_pool", source.pointer, *given, *source.shape, at, place.stream)
    return out


def attention_pool_grad(
    features,
    logits,
    threshold,
    gradient,  # (n, c) float32, of the result
    normalize: bool = True,
    *,
    norms=None,
    features_wanted: bool = True,
):
    """Gradients of `attention_pool` by features (None where not wanted), logits and threshold."""
    place, source = _features(features)
    given = _pool_arguments(place, source, features, logits, threshold, normalize, norms)
    (n, c, h, w), of_result = source.shape, place.array("gradient", gradient, source.shape[:2], "float32")
    d_logits, at_logits = place.empty((n, c, 4 * h, 4 * w), "float32")
    d_threshold, at_threshold = place.empty((c,), "float32")
    d_features, at_features = place.empty((n, c, h, w), "float32") if features_wanted else (None, None)
    room = scratch_bytes("attention_pool_grad", n, c, h, w)
    call("luss_attention_pool_grad", source.pointer, *given, of_result.pointer, n, c, h, w, at_logits, at_threshold, at_features, place.scratch(room),
         room, place.stream)  # fmt: skip
    return d_features, d_logits, d_threshold


def attention_head(
    features,  # (n, c, h, w) float32 on the GPU
    weights: HeadWeights,  # arrays on the GPU
    *,
    pooled: bool = True,
    attention: bool = True,
    products: str = "float32",
):
    """engine.ops.attention_head: the head at inference. Returns: pooled (n, c) and attention (n, 1, 4h, 4w) float32, None for what is not wanted."""
    if products not in FLOATS:
        raise ValueError(f"products: expected one of {', '.join(FLOATS)}, found {products!r}")
    place, source = _features(features)
    n, c, h, w = source.shape
    sizes = {"weight1": (c, c), "weight2": (c, c)}
    given = [place.array(name, value, sizes.get(name, (c,)), "float32").pointer for name, value in zip(HeadWeights._fields, weights)]
    vectors, at_vectors = place.empty((n, c), "float32") if pooled else (None, None)
    maps, at_maps = place.empty((n, 1, 4 * h, 4 * w), "float32") if attention else (None, None)
    room = scratch_bytes("attention_head", n, c, h, w, FLOATS[products])
    outputs = (at_vectors, at_maps, place.scratch(room), room, place.stream)
    call("luss_attention_head", source.pointer, *given, n, c, h, w, FLOATS[products], *outputs)
    return vectors, maps


def _features(features):
    place = Place("features", features)
    return place, place.array("features", features, ("n", "c", "h", "w"), "float32")


def _pool_arguments(place: Place, source, features, logits, threshold, normalize: bool, norms) -> tuple:
    """Pointers to logits, threshold and norms (None without)."""
    n, c, h, w = source.shape
    if normalize and norms is None:
        norms = pixel_norms(features)
    return (
        place.array("logits", logits, (n, c, 4 * h, 4 * w), "float32").pointer,
        place.array("threshold", threshold, (c,), "float32").pointer,
        place.array("norms", norms, (n, 1, 4 * h, 4 * w), "float32").pointer if normalize else None,
    )
