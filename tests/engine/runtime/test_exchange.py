"""Sums over processes: one process, ranks as threads, and mpirun itself where it was asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.runtime.exchange import SINGLE, Exchange, for_processes
from tests.engine.clustering.thread_exchange import run_ranks

ROOT = Path(__file__).resolve().parents[3]


def test_one_process_sees_its_own_numbers_and_cannot_write_them():
    numbers = np.arange(6, dtype=np.int64).reshape(2, 3)
    total = SINGLE.sum(numbers)
    assert np.shares_memory(total, numbers) and np.array_equal(total, numbers)
    with pytest.raises(ValueError, match="read-only"):
        total[0, 0] = 5
    numbers[0, 0] = 7  # the caller's own array stays writeable
    SINGLE.barrier()


def test_one_process_needs_no_jittor():
    code = (
        "import sys, numpy\nfrom engine.runtime.exchange import SINGLE, for_processes\nassert for_processes() is SINGLE\n"
        "SINGLE.sum(numpy.zeros(3))\nSINGLE.barrier()\nassert not any(name.startswith('jittor') for name in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMPI_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)


def test_mpirun_is_noticed(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    exchange = for_processes()
    assert (exchange.rank, exchange.size) == (2, 3) and type(exchange) is not Exchange


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.zeros(3, np.int32), [1, 2], 5])
def test_other_types_are_refused(wrong):
    with pytest.raises(ValueError, match="array: expected .* int64 or float64"):
        SINGLE.sum(wrong)
    with pytest.raises(ValueError, match="array: expected"):
        run_ranks(2, lambda exchange: exchange.sum(wrong))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_threads_as_ranks(size):
    def sums(exchange):
        total = exchange.sum(np.array([exchange.rank, 2**60 + 1], np.int64))
        exchange.barrier()
        return total, exchange.sum(np.full((2, 2), 0.1 * (exchange.rank + 1)))

    in_order = 0.1
    for rank in range(1, size):
        in_order += 0.1 * (rank + 1)
    for whole, real in run_ranks(size, sums):
        assert whole.tolist() == [size * (size - 1) // 2, size * (2**60 + 1)]
        assert (real == in_order).all()


def test_a_rank_that_fails_is_heard_and_the_others_end():
    def one_fails(exchange):
        if exchange.rank == 1:
            raise RuntimeError("rank 1 fell")
        return exchange.sum(np.zeros(2))

    with pytest.raises(RuntimeError, match="rank 1 fell"):
        run_ranks(3, one_fails)
    with pytest.raises(AssertionError, match="unlike arrays"):
        run_ranks(2, lambda exchange: exchange.sum(np.zeros(2 + exchange.rank)))


@pytest.mark.parametrize("size", [1, 3])
def test_an_error_of_one_is_raised_by_all(size):
    class Special(LussError):
        pass

    def work(exchange):
        with exchange.together():
            pass
        with pytest.raises(LussError, match="^row 7 of Zürich$") as found, exchange.together():
            if exchange.rank == size - 1:
                raise Special("row 7 of Zürich")
        with pytest.raises(LussError) as both, exchange.together():
            if exchange.rank != 1:
                raise LussError(str(exchange.rank) if exchange.rank else "")
        exchange.barrier()
        return type(found.value), str(both.value)

    kinds, texts = zip(*run_ranks(size, work))
    assert kinds == (LussError,) * (size - 1) + (Special,) and texts == ("", " ", "2")[:size]
    with pytest.raises(ZeroDivisionError), SINGLE.together():
        raise ZeroDivisionError


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_under_mpirun(size, tmp_path):
    if os.environ.get("LUSS_TEST_MPI") != "1":
        pytest.skip("LUSS_TEST_MPI is not 1: with MPI Jittor first compiles itself anew, for minutes")
    if shutil.which("mpirun") is None:
        pytest.skip("mpirun is absent")
    program = Path(__file__).with_name("exchange_program.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = ["mpirun", "-np", str(size), "--allow-run-as-root", "--oversubscribe", sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{rank} of {size}" for rank in range(size)]  # mpirun mixes what ranks print
