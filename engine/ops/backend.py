"""Which implementation the ops run: the fast ones (CUDA on a GPU, C++ on a CPU), or the NumPy references for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

BACKENDS = ("auto", "reference")
_chosen = "auto"


def set_backend(name: str) -> None:
    """For this process, from now on. "auto": CUDA where Jittor computes on a GPU, else C++; "reference": NumPy, slow, one core.

    Raises: ValueError for another name.
    """
    global _chosen
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, found {name!r}")
    _chosen = name


def use_reference() -> bool:
    return _chosen == "reference"


@contextmanager
def backend(name: str) -> Iterator[None]:
    """`set_backend` for the body alone."""
    before = _chosen
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)
