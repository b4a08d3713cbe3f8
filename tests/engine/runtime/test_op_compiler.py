"""The lock in Jittor's operator compiler: installed, harmless, and replaced by compiling one after another where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.runtime import op_compiler

ROOT = Path(__file__).resolve().parents[3]


def fake_jittor(cc_path, threads=16):
    return SimpleNamespace(
        __version__="test", flags=SimpleNamespace(use_parallel_op_compiler=threads), compiler=SimpleNamespace(cc_path=cc_path, cc_flags="-shared")
    )


def test_convolutions_that_share_an_input_compile_in_parallel():
    from engine.runtime import jt

    if os.environ.get("use_parallel_op_compiler") == "0":
        pytest.skip("operators are compiled one after another here: the user has switched the parallel compiler off")
    assert op_compiler.make_compiler_safe(jt, os.path.join(os.environ["JITTOR_HOME"], ".cache", "jittor"))  # again: nothing changes
    assert 1 <= jt.flags.use_parallel_op_compiler <= len(os.sched_getaffinity(0))
    x = jt.array(np.ones((1, 2, 9, 9), np.float32))
    weights = [jt.array(np.full((3, 2, size, size), 0.5, np.float32)) for size in (1, 3, 5)]
    maps = [jt.nn.conv2d(x, w, None, 1, padding) for w in weights for padding in (0, 3)]
    gradients = jt.grad(sum(m.sum() for m in maps), [x, *weights])
    jt.sync(maps + gradients)
    for w, (plain, padded) in zip(weights, zip(maps[::2], maps[1::2])):
        size = w.shape[-1]
        assert plain.shape == (1, 3, 10 - size, 10 - size) and np.all(plain.numpy() == size * size)
        assert padded.shape == (1, 3, 16 - size, 16 - size)
    # each weight of a 1 x 1 kernel sees all 81 pixels, padded or not
    assert np.all(gradients[1].numpy() == 2 * 81)


def test_loading_an_operator_leaves_subnormal_numbers_alone():
    """Compiled in a thread of their own operators would show nothing; one after another, all are loaded by this one."""
    code = (
        "import numpy as np; from engine.runtime import jt; jt.flags.use_parallel_op_compiler = 0;"
        "(jt.array(np.arange(5, dtype=np.float32)) * 3 + 1).sync();"
        "assert (np.full(3, 1e-40, np.float32) * np.ones(3, np.float32) > 0).all()"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", ["/nonexistent/g++", "false"])
def test_without_the_lock_operators_are_compiled_one_after_another(tmp_path, capfd, compiler):
    jittor = fake_jittor(compiler)
    assert not op_compiler.make_compiler_safe(jittor, str(tmp_path))
    assert jittor.flags.use_parallel_op_compiler == 0
    assert "one after another" in capfd.readouterr().err
    assert not list(tmp_path.glob("*.so"))


def test_a_parallel_compiler_that_is_switched_off_stays_off(tmp_path):
    jittor = fake_jittor("/nonexistent/g++", threads=0)
    assert not op_compiler.make_compiler_safe(jittor, str(tmp_path))
    assert jittor.flags.use_parallel_op_compiler == 0 and not list(tmp_path.iterdir())
