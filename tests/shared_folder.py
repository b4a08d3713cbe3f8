"""Where the shared folder (golden numbers, real images) lies: LUSS_SHARED, else ../shared beside the repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("LUSS_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """Path below the shared folder; skips the calling test where it is absent."""
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is absent: set LUSS_SHARED to the folder that holds golden/ and data/")
    return path
