"""Run by test_exchange.py under mpirun: a rank whose sums are all what NumPy says leaves a file in the folder it is given, and exits with 0."""

import sys
from pathlib import Path

import numpy as np

from engine.runtime import exchange
from engine.runtime.exchange import for_processes

exchange._PIECE_BYTES = 1 << 12  # so that arrays go in pieces


def of_rank(rank, dtype, shape):
    rng = np.random.default_rng(rank)
    numbers = rng.integers(-(2**60), 2**60, shape)
    return numbers if dtype == np.int64 else numbers * np.exp(rng.uniform(-90, 90, shape))


ours = for_processes()
assert ours.size > 1, "mpirun started one process only"
for dtype in (np.int64, np.float64):
    for shape in ((), (0, 3), (1,), (17,), (40, 41), (3, 700, 5)):
        given = of_rank(ours.rank, dtype, shape)
        before = np.array(given)
        total = ours.sum(np.asarray(given, dtype))
        expected = np.asarray(of_rank(0, dtype, shape), dtype)
        for other in range(1, ours.size):
            expected = expected + of_rank(other, dtype, shape)
        assert total.dtype == dtype and total.shape == shape and np.array_equal(total, expected), (dtype, shape)
        assert np.array_equal(given, before) and not total.flags.writeable
        transposed = ours.sum(np.asarray(given, dtype).T)
        assert np.array_equal(transposed, np.asarray(expected).T)
wrapped = ours.sum(np.full(3, 2**62, np.int64))
assert wrapped.tolist() == [(2**62 * ours.size + 2**63) % 2**64 - 2**63] * 3
special = ours.sum(np.array([np.nan if ours.rank == 1 else 1.0, np.inf, -0.0]))
assert np.isnan(special[0]) and special[1] == np.inf and str(special[2]) == "-0.0"
ours.barrier()
(Path(sys.argv[1]) / f"{ours.rank} of {ours.size}").touch()
