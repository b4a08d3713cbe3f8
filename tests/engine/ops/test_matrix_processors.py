"""The CPU paths that stand on cpu/gemm_tile.h and cpu/lanes.h as other processors would compile them: against the references."""

import functools
from pathlib import Path

import numpy as np
import pytest

from engine.ops import attention_head, centroid_sums, fixed_sums, nearest_again, nearest_centroid, pixel_nearest_centroid, project_rows, unit_rows
from engine.runtime import native
from tests.engine.ops import (
    test_attention_head,
    test_centroid_sums,
    test_fixed_sums,
    test_nearest_again,
    test_nearest_centroid,
    test_pixel_nearest_centroid,
    test_project_rows,
    test_unit_rows,
)
from tests.engine.ops.attention_samples import head_inputs

PROCESSORS = {"AVX2": ("-march=haswell",), "AVX2 alone": ("-march=haswell", "-mno-fma", "-mno-f16c"), "SSE2": ("-march=x86-64",)}


def _nearest_centroid():
    for dtype in (np.float32, np.float16):
        test_nearest_centroid.compare(*test_nearest_centroid.sample(1, 65, 131, 411, dtype=dtype))


def _nearest_again():
    for seed, kind, dtype in ((1, "unit", np.float32), (2, "duplicates", np.float16)):
        test_nearest_again.test_runs_of_k_means.hypothesis.inner_test(seed, kind, 131, 19, 77, 2, 4, False, "auto", dtype, 2)


def _centroid_sums():
    for dtype in (np.float32, np.float16):
        test_centroid_sums.test_equals_the_reference_to_the_bit.hypothesis.inner_test(1, 90, 7, 53, dtype, 2)


def _fixed_sums():
    for bits in (0, 38, 62):
        test_fixed_sums.test_every_size_of_number_is_rounded_half_to_even(bits)
    for dtype in (np.float32, np.float16):
        test_fixed_sums.test_equals_the_reference_to_the_bit.hypothesis.inner_test(1, 90, 7, 53, dtype, 2, 2, 54)


def _pixel_nearest_centroid():
    test_pixel_nearest_centroid.check_away_from_ties(210, 3, 17, 31, 25, 40, 1)


def _attention_head():
    test_attention_head.check(*head_inputs(1, 2, 200, 3, 4))


def _unit_rows():
    for dtype in (np.float32, np.float16):
        test_unit_rows.check(test_unit_rows.sample(1, 21, 107, dtype), 2)


def _project_rows():
    for dtype in (np.float32, np.float16):
        test_project_rows.check(*test_project_rows.sample(1, 131, 411, 29, dtype), 2)


CHECKS = {
    nearest_centroid: _nearest_centroid,
    nearest_again: _nearest_again,
    centroid_sums: _centroid_sums,
    fixed_sums: _fixed_sums,
    pixel_nearest_centroid: _pixel_nearest_centroid,
    attention_head: _attention_head,
    unit_rows: _unit_rows,
    project_rows: _project_rows,
}


@pytest.mark.slow
@pytest.mark.parametrize("processor", list(PROCESSORS))
@pytest.mark.parametrize("name", [module.__name__.rpartition(".")[2] for module in CHECKS])
def test_equals_the_reference(name, processor, monkeypatch):
    cpu = Path("/proc/cpuinfo")
    words = set(cpu.read_text().split()) if cpu.is_file() else set()
    if not ({"sse2"} if processor == "SSE2" else {"avx2", "bmi2", "fma"}) <= words:
        pytest.skip(f"this processor cannot run {processor} code")
    module = next(module for module in CHECKS if module.__name__.endswith("." + name))
    flags = [flag for flag in native.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(native, "FLAGS", (*flags, *PROCESSORS[processor]))
    compiled = []

    def fresh(source, include=()):
        compiled.append(source.name)
        return native.load_native.__wrapped__(source, include)

    monkeypatch.setattr(module, "load_native", fresh)
    monkeypatch.setattr(module, "_library", functools.cache(getattr(module._library, "__wrapped__", module._library)))
    CHECKS[module]()
    assert compiled == [name + ".cc"]
