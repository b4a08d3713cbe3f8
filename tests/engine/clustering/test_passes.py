"""Which processor does the passes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from engine.clustering import passes
from engine.clustering.host_pass import HostPass
from engine.clustering.rows import Rows

OPTIONS = {"bits": 40, "energy_bits": 40, "spherical": False}


@pytest.mark.parametrize("clusters, dim, name", [(5, 6, "DevicePass"), (4096, 6, "DevicePass"), (4097, 6, "HostPass"), (5, 2049, "HostPass")])
def test_auto_leaves_to_the_cpu_what_the_kernels_do_not_take(monkeypatch, clusters, dim, name):
    monkeypatch.setattr(passes, "find_cuda", lambda: SimpleNamespace(usable=True))
    found = passes.open_pass("auto", Rows(np.zeros((10, dim), np.float32)), 2, clusters, threads=1, **OPTIONS)
    assert type(found).__name__ == name


def test_devices(monkeypatch):
    rows = Rows(np.zeros((10, 3), np.float32))
    with pytest.raises(ValueError, match="device='gpu': expected one of auto, cpu, cuda"):
        passes.open_pass("gpu", rows, 2, 5, threads=1, **OPTIONS)
    monkeypatch.setattr(passes, "find_cuda", lambda: SimpleNamespace(usable=False))
    for device in ("cpu", "auto"):
        assert isinstance(passes.open_pass(device, rows, 2, 5, threads=1, **OPTIONS), HostPass)
