"""How much memory a clustering takes on the CPU: to plan one, and held to by a test."""

from __future__ import annotations

_THREAD = 4 << 20  # packed rows, partial products and lists of one thread


def memory_bytes(
    rows: int, dim: int, clusters: int, restarts: int, *, block_rows: int, value_bytes: int = 2, threads: int = 1, processes: int = 1
) -> int:
    """Most bytes that `kmeans` holds in each of `processes` processes, beside the interpreter and the pages of the cache's files: with random or
    given starts, all rows (no mini-batches), and no whitening; what the others take is in `plus_plus`, `parallel_plus_plus` and `fit_whitening`.

      n R (4 + 4)                  labels and bounds of this process's n rows
      R K d (8 + 4 + 4 + 4 + 4)    sums; centroids of this pass, the one before and the next; their packed copy
      8 K d * 5                    one restart's update in float64, and the best one
      block_rows * (...)           three blocks as stored (one in use, two on their way), one in float32, labels before and after
      threads * 4 MB               packed rows, partial products and lists

    Args:
        rows: of all processes.
        value_bytes: of a stored value: 2 for float16, 4 for float32.
    """
    share = -(-rows // processes)
    values = restarts * clusters * dim
    blocks = block_rows * (3 * value_bytes * dim + 4 * dim + 8 * restarts + 16)
    return 8 * share * restarts + 24 * values + 40 * clusters * dim + blocks + threads * _THREAD
