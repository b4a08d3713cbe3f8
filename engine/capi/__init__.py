"""The CUDA kernels without Jittor: on CuPy arrays, PyTorch tensors, and all that has __cuda_array_interface__ or __dlpack__.

    from engine import capi
    label, score = capi.nearest_centroid(x, centroids)    # x and centroids on a GPU; so are the results, as arrays of the same library

Every function has the name, the arguments and the meaning of the op in engine.ops, where its documentation stands. Work is queued on the
current stream of the library that holds the first array; nothing waits for it, unless a function says so. No gradients.
docs/kernels.md: building, linking, the C interface.
"""

from .attention import attention_head, attention_pool, attention_pool_grad, pixel_norms
from .centroids import centroid_sums, fixed_sums, nearest_centroid, score_sums, unit_rows
from .crops import augment_crops, crop_labels, resize_crops
from .labels import pixel_nearest_centroid, upsample_argmax, vote_masks
from .library import KernelError, build
from .loss import upsample_cross_entropy

__all__ = [
    "KernelError",
    "attention_head",
    "attention_pool",
    "attention_pool_grad",
    "augment_crops",
    "build",
    "centroid_sums",
    "crop_labels",
    "fixed_sums",
    "nearest_centroid",
    "pixel_nearest_centroid",
    "pixel_norms",
    "resize_crops",
    "score_sums",
    "unit_rows",
    "upsample_argmax",
    "upsample_cross_entropy",
    "vote_masks",
]
