"""The golden numbers of shared/golden/pass, read through the checker that stands beside them."""

from __future__ import annotations

import importlib.util

from tests.shared_folder import shared_path


def golden(name: str):
    """Golden(name); skips the test where the shared folder is absent."""
    path = shared_path("golden", "pass", "golden_check.py")
    spec = importlib.util.spec_from_file_location("golden_check", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Golden(name)
