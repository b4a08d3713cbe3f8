"""Fixtures that several rooms share."""

import importlib.util
import os
import sys

import pytest
from shared_folder import shared_path


@pytest.fixture(autouse=True)
def as_loud_as_before():
    """A command run in this process with --quiet tells its own process so, and would tell all later tests."""
    before = os.environ.get("LUSS_QUIET")
    yield
    if before is None:
        os.environ.pop("LUSS_QUIET", None)
    else:
        os.environ["LUSS_QUIET"] = before


@pytest.fixture(scope="session")
def golden_pass():
    """(golden_init, golden_check) of the shared golden data of PASS, loaded by path; skips where they are absent."""
    folder = shared_path("golden", "pass")
    modules = []
    for name in ("golden_init", "golden_check"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return tuple(modules)
