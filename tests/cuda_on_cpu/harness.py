"""Runs kernels of kernels/ on the CPU through the drivers beside this file."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from engine.ops.kernel_folder import kernel_folder
from engine.runtime.native import load_native

FOLDER = Path(__file__).resolve().parent
ORDERS = {"forward": 0, "reverse": 1, "random": 2}


class KernelFault(Exception):
    """What the emulation caught: memory outside an array, or a barrier that some threads miss."""


def driver(name: str) -> ctypes.CDLL:
    """The compiled driver tests/cuda_on_cpu/<name>.cc."""
    return load_native(FOLDER / f"{name}.cc", (kernel_folder(),))


def call(function, *arguments, order: str = "forward") -> None:
    """Call a driver's function; arrays become pointers, integers 32-bit ones; order, message and its room are added.

    Raises: KernelFault with the driver's message.
    """
    message = ctypes.create_string_buffer(500)
    passed = [ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else value for value in arguments]
    if function(*passed, ORDERS[order], message, len(message)) != 0:
        raise KernelFault(message.value.decode())
