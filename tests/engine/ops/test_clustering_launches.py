"""The launch texts of the clustering ops compile with nvcc against Jittor's own headers, for every architecture."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from engine.ops import centroid_sums, fixed_sums, nearest_centroid, unit_rows
from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import find_nvcc
from tests.engine.ops.nvcc import ARCHITECTURES

# What jt.code puts around a text, as far as these use it
AROUND = """
#include <iostream>
#include <string>
#include <unordered_map>
#include <cuda_fp16.h>
%s
#undef CHECK
#define CHECK(good) if (!(good)) std::cerr
namespace jittor {
void run(const void* in0_p, int64_t in0_shape0, int64_t in0_shape1, const void* in1_p, int64_t in1_shape0, int64_t in1_shape1, void* out0_p,
         int64_t out0_shape0, int64_t out0_shape1, void* out1_p, std::unordered_map<std::string, double> data) {
    (void)in1_p, (void)in1_shape0, (void)in1_shape1, (void)out0_shape0, (void)out0_shape1;
    %s
}
}
"""
LAUNCHES = {
    **{
        f"nearest-{half:d}{cosine:d}{tensor:d}": (nearest_centroid, (half, cosine, tensor))
        for half, cosine, tensor in ((False, False, True), (True, True, False))
    },
    **{f"sums-{half:d}": (centroid_sums, (half,)) for half in (False, True)},
    **{f"fixed-{half:d}": (fixed_sums, (half,)) for half in (False, True)},
    **{f"unit-{half:d}": (unit_rows, (half,)) for half in (False, True)},
}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", LAUNCHES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, name, architecture):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    op, arguments = LAUNCHES[name]
    source = tmp_path / "launch.cu"
    source.write_text(AROUND % (op._HEADER, op._launch(*arguments)))
    jittor = Path(importlib.util.find_spec("jittor").submodule_search_locations[0])
    include = [f"-I{kernel_folder()}", f"-I{jittor / 'src'}"]
    # Without HAS_CUDA: with it, Jittor 1.3.11's headers need an older CUDA than 13
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", "-w", *include, "-c"]  # -w: Jittor's headers, not ours
    done = subprocess.run([nvcc, *options, str(source), "-o", str(tmp_path / "launch.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
