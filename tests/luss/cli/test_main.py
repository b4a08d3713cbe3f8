"""Exit codes and messages, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

USER_ERROR = 2
ROOT = Path(__file__).resolve().parents[3]


def luss(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "luss.cli", *words], capture_output=True, text=True, timeout=60, cwd=ROOT, **options)


def raising(statement: str, *words: str) -> subprocess.CompletedProcess:
    """`luss preset list` with a command that executes `statement`."""
    script = (
        "import sys, luss.cli.main as m\n"
        "from engine.runtime.errors import LussError\n"
        "from engine.runtime.interrupt import Interrupted\n"
        f"def command(arguments):\n    {statement}\n"
        "m.HANDLERS['preset'] = command\n"
        f"sys.exit(m.main(['preset', 'list', *{words!r}]))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_done_is_0():
    done = luss("preset", "list")
    assert done.returncode == 0 and "imagenet-s-919" in done.stdout and done.stderr == ""


def test_user_error_is_2_with_one_message_and_no_traceback():
    done = luss("run", "--preset", "imagenet-s-51")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("luss: error: ") and done.stderr.count("\n") == 1
    assert "did you mean imagenet-s-50" in done.stderr


def test_debug_shows_the_traceback_of_a_user_error():
    done = raising("raise LussError('the file is bad')", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr and "luss: error: the file is bad" in done.stderr


def test_bug_is_1_with_traceback():
    done = raising("assert 1 == 2, 'our mistake'")
    assert done.returncode == 1
    assert "AssertionError: our mistake" in done.stderr and "luss doctor --json" in done.stderr


@pytest.mark.parametrize("error", ["KeyboardInterrupt()", "Interrupted('stopped after step 7')"])
def test_interruption_is_3(error):
    done = raising(f"raise {error}")
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "the same command goes on" in done.stderr
    assert ("step 7" in done.stderr) == error.startswith("Interrupted")


def test_full_disk_is_the_users_and_a_missing_file_is_ours():
    full = raising("raise OSError(28, 'No space left on device', '/w/log.csv')")
    assert full.returncode == 2 and full.stderr == "luss: error: /w/log.csv: No space left on device\n"
    assert raising("open('/nonexistent/file')").returncode == 1


def test_unknown_setting_reaches_the_user():
    done = luss("run", "--data", "D", "--set", "optimizer.baselr=0.3", "--dry-run")
    assert done.returncode == 2 and "nearest valid name: optimizer.base_lr" in done.stderr


def test_pass_name_is_noted_on_stderr():
    done = luss("pretrain", "--nmb_prototypes", "500", "--preset", "nothing")
    assert done.returncode == 2
    assert "luss: note: --nmb_prototypes 500 is taken as --set model.prototypes=500\n" in done.stderr


def test_dry_run_without_images_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from luss.cli.main import main; sys.exit(main())"]
        + "pretrain --preset imagenet-s-919 --dry-run".split(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "no images" in done.stderr and "runs/imagenet-s-919/data" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_command_shows_the_help():
    done = luss()
    assert done.returncode == 2 and "examples:" in done.stdout
    assert luss("--version").stdout.startswith("luss 0.")


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(f"'{sys.executable}' -m luss.cli preset show demo | true", shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr


def test_help_is_fast_and_imports_nothing_heavy():
    script = (
        "import sys, luss.cli.main as m\ntry:\n    m.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'scipy', 'jittor', 'PIL', 'faiss', 'tensorboardX'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        assert luss("--help").returncode == 0
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.5


@pytest.mark.parametrize(("size", "ends"), [(1, "cleaned up"), (2, "")])
def test_one_of_several_processes_ends_at_once_after_an_error(tmp_path, size, ends):
    """MPI's clean-up at exit waits for the others, which would wait for this process."""
    code = "import atexit, sys; atexit.register(print, 'cleaned up'); from luss.cli.main import run; run()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMPI_COMM_WORLD_SIZE": str(size), "OMPI_COMM_WORLD_RANK": "0"}
    words = ["report", str(tmp_path / "nothing")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == USER_ERROR and done.stdout.strip() == ends and "luss: error: " in done.stderr
