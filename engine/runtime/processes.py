"""Rank and number of processes under `mpirun`; one process without it. Known before Jittor is imported."""

from __future__ import annotations

import os


def rank() -> int:
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", 0))


def world_size() -> int:
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Of each flag, whether it is set in any process; all of them have to ask at the same point."""
    if world_size() == 1:
        return flags
    from . import jt

    return tuple(bool(count > 0) for count in jt.array([float(flag) for flag in flags]).mpi_all_reduce("add").numpy())


def barrier() -> None:
    """Return when every process has arrived."""
    if world_size() > 1:
        from . import jt

        jt.array([1.0]).mpi_all_reduce("add").sync()
