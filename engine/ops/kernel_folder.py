"""Where the sources of kernels/ lie: beside `engine` in a checkout or an editable install, inside it where it was installed."""

from __future__ import annotations

from pathlib import Path

from ..runtime.errors import RuntimeSetupError

_ENGINE = Path(__file__).resolve().parent.parent


def kernel_folder() -> Path:
    """The include root: `#include "luss/<op>.cuh"` is found below it.

    Raises:
        RuntimeSetupError: neither place holds it.
    """
    candidates = (_ENGINE.parent / "kernels", _ENGINE / "_kernels")
    for folder in candidates:
        if (folder / "luss").is_dir():
            return folder
    raise RuntimeSetupError(f"the kernel sources are in none of {', '.join(map(str, candidates))}: install luss-engine again")
