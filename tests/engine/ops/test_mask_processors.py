"""The CPU paths of masks and vote_masks as other processors would compile them: the same bytes."""

import functools
from pathlib import Path

import numpy as np
import pytest

from engine.ops import masks as masks_module
from engine.ops import vote_masks as vote_module
from engine.ops.masks import Masks
from engine.ops.vote_masks import vote_masks_host
from engine.runtime import native
from tests.engine.ops.mask_samples import sam_like
from tests.engine.ops.test_vote_masks import image

PROCESSORS = {"AVX2": ("-march=haswell",), "SSE2": ("-march=x86-64",), "no intrinsics": ("-march=x86-64", "-U__SSE2__")}


def _missing(processor: str) -> bool:
    cpu = Path("/proc/cpuinfo")
    words = set(cpu.read_text().split()) if cpu.is_file() else set()
    return not {"AVX2": {"avx2", "bmi2", "fma"}}.get(processor, {"sse2"}) <= words


@pytest.mark.parametrize("processor", list(PROCESSORS))
def test_gives_the_same_bytes(processor, monkeypatch):
    if _missing(processor):
        pytest.skip(f"this processor cannot run {processor} code")
    dense = [sam_like(5, 61, 83, seed=1), np.random.default_rng(0).random((4, 50, 33)) < 0.5, np.ones((2, 64, 64), bool)]
    pairs = [image(seed, 40 + seed, 90 - seed, 6, labels, kind) for seed in range(12) for labels, kind in ((51, "uint16"), (9000, "int32"))]

    def everything():
        forms = [(made := Masks.from_dense(one)).runs.tobytes() + repr(made.to_coco()).encode() + made.to_packed().tobytes() for one in dense]
        back = [Masks.from_coco(Masks.from_dense(one).to_coco()).to_dense().tobytes() for one in dense]
        votes = [found.tobytes() for map_, some in pairs for on in ("current", "original") for found in vote_masks_host(map_, some, on=on)]
        return forms, back, votes

    expected = everything()
    flags = [flag for flag in native.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(native, "FLAGS", (*flags, *PROCESSORS[processor]))
    compiled = []

    def fresh(source, include=()):
        compiled.append(source.name)
        return native.load_native.__wrapped__(source, include)

    for module in (masks_module, vote_module):
        monkeypatch.setattr(module, "load_native", fresh)
        monkeypatch.setattr(module, "_library", functools.cache(module._library.__wrapped__))
    assert everything() == expected
    assert sorted(compiled) == ["masks.cc", "vote_masks.cc"]
