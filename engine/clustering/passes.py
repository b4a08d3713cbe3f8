"""Which processor does the passes of k-means."""

from __future__ import annotations

from ..ops.nearest_centroid import MOST_ON_CUDA
from ..runtime.cuda import find_cuda
from .host_pass import HostPass
from .rows import Rows

_CUDA_CLUSTERS, _CUDA_VALUES = MOST_ON_CUDA
DEVICES = ("auto", "cpu", "cuda")
_CUDA_BLOCK_BYTES = 512 << 20  # adding a block's sums to the pass's is R K d: 3 % of its products then


def open_pass(device: str, rows: Rows, restarts: int, clusters: int, *, threads: int | None, **options):
    """A HostPass or DevicePass: "auto" is CUDA where Jittor can use it, and its kernels take as many clusters and values.

    Raises:
        ValueError: an unknown device.
    """
    if device not in DEVICES:
        raise ValueError(f"device={device!r}: expected one of {', '.join(DEVICES)}")
    fits = clusters <= _CUDA_CLUSTERS and rows.dim <= _CUDA_VALUES
    if device == "cuda" or (device == "auto" and fits and find_cuda().usable):
        from .device_pass import DevicePass

        rows.size_blocks(_CUDA_BLOCK_BYTES)
        return DevicePass(rows, restarts, clusters, **options)
    return HostPass(rows, restarts, clusters, threads=threads, **options)
