"""Prepare the environment for Jittor 1.3.11, compile it once, and import it.

Plain `import jittor` fails, aborts or lies in seven known situations, each handled here:

* nvcc without a usable CUDA runtime or driver: Jittor aborts. `cuda.find_cuda` decides first.
* no network: Jittor downloads oneDNN at import. `onednn.place_onednn` lays the PyPI wheel's files where it looks.
* a read-only or foreign home: Jittor writes below it. A writable cache folder is chosen and shown to it as its home.
* a rebuilt cache: Jittor says "please rerun" and exits with status 0. The first compilation therefore runs in a child
  process that has to print a word at its end, and an exit during our own import becomes an error.
* NumPy 2: silently wrong results. Refused.
* Ctrl-C, or a worker process that is killed: Jittor's signal handlers end the whole process. Ours come back after the import.
* operators compiled in parallel: now and then its heap is corrupted. `op_compiler.make_compiler_safe` puts a lock where one is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .cuda import CudaFinding, find_cuda
from .errors import RuntimeSetupError
from .onednn import place_onednn
from .op_compiler import make_compiler_safe

JITTOR_VERSION = "1.3.11.0"
_PROBE = "jittor is up"  # what the compiling child must print
_loaded = None
_environment = None


@dataclass(frozen=True)
class JittorEnvironment:
    """The choices made for this process."""

    home: str  # Jittor's cache lies in home/.cache/jittor
    cuda: CudaFinding
    onednn: bool
    compiler: str


def cache_home() -> str:
    """First writable of JITTOR_HOME, ~/.cache/luss, $XDG_CACHE_HOME/luss and a folder of this user in the temp folder."""
    explicit = os.environ.get("JITTOR_HOME")
    if explicit:
        if not _writable(explicit):
            raise RuntimeSetupError(f"JITTOR_HOME={explicit} is not writable: Jittor compiles into it; unset it or name another folder")
        return os.path.abspath(explicit)
    candidates = [os.path.join(os.path.expanduser("~"), ".cache", "luss")]
    if os.environ.get("XDG_CACHE_HOME"):
        candidates.insert(0, os.path.join(os.environ["XDG_CACHE_HOME"], "luss"))
    candidates.append(os.path.join(tempfile.gettempdir(), f"luss-cache-{os.getuid()}"))
    for path in candidates:
        if _writable(path):
            return path
    raise RuntimeSetupError(f"no writable folder for Jittor's compiled kernels among {candidates}: set JITTOR_HOME to one")


def _writable(path: str) -> bool:
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def check_numpy() -> None:
    import numpy

    if int(numpy.__version__.split(".")[0]) >= 2:
        raise RuntimeSetupError(
            f"NumPy {numpy.__version__} is installed, and Jittor {JITTOR_VERSION} computes silently wrong results with NumPy 2: "
            "run  pip install 'numpy<2'"
        )


def find_compiler() -> str:
    compiler = os.environ.get("cc_path") or shutil.which("g++")
    if not compiler:
        raise RuntimeSetupError("g++ was not found: Jittor compiles its kernels with it; install it (Debian, Ubuntu: apt-get install g++)")
    return compiler


def write_python_config(home: str) -> str:
    """A python3.x-config that answers for this interpreter; virtual environments and pyenv have none Jittor finds."""
    include = sysconfig.get_path("include", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix})
    if not os.path.isfile(os.path.join(include, "Python.h")):
        raise RuntimeSetupError(
            f"Python.h was not found in {include}: Jittor compiles an extension; install the headers "
            f"(Debian, Ubuntu: apt-get install python3.{sys.version_info.minor}-dev)"
        )
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    answers = {"--includes": f"-I{include}", "--extension-suffix": suffix, "--ldflags": ""}
    cases = "".join(f' {option}) echo "{answer}";;\n' for option, answer in answers.items())
    text = f'#!/bin/sh\ncase "$1" in\n{cases} *) exit 2;;\nesac\n'
    return _write_script(home, f"python{sys.version_info.major}.{sys.version_info.minor}-config", text)


def write_python_wrapper(home: str) -> str:
    """The interpreter that Jittor's compiler calls, with `home` for its HOME.

    Jittor's child processes store JITTOR_HOME in ~/.cache/jittor/config.json, several at a time, and read each other's
    half-written file; below a home of their own they find nothing to change.
    """
    text = f"#!/bin/sh\nHOME='{home}' JITTOR_HOME='{home}' exec '{_interpreter()}' \"$@\"\n"
    return _write_script(home, "python", text)


def _interpreter() -> str:
    """One name for this environment's interpreter, whether it was started as python, python3 or by a script's first line.

    It stands in the command by which Jittor knows a compiled operator again: with another name all are compiled anew.
    """
    full = os.path.join(sys.prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return full if os.access(full, os.X_OK) else sys.executable


def _write_script(home: str, name: str, text: str) -> str:
    key = hashlib.md5(text.encode()).hexdigest()[:8]
    path = Path(home) / ".cache" / "jittor" / f"{name}-{key}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text)
        temporary.chmod(0o755)
        os.replace(temporary, path)
    return str(path)


def prepare_environment() -> JittorEnvironment:
    """Set the variables Jittor reads at import; what the user has set stays. Idempotent."""
    global _environment
    if _environment is not None:
        return _environment
    if "jittor" in sys.modules:
        raise RuntimeSetupError("jittor was imported before luss: import luss (or engine.runtime) first")
    check_numpy()
    compiler = find_compiler()
    home = cache_home()
    cuda = find_cuda()
    env = os.environ
    env["JITTOR_HOME"] = home
    env["nvcc_path"] = cuda.nvcc if cuda.usable else ""
    env.setdefault("cache_name", "default")  # else Jittor asks git for the branch of wherever it is installed
    env.setdefault("use_cutt", "0")  # both only download, and are not needed
    env.setdefault("use_cutlass", "0")
    under_mpirun = "OMPI_COMM_WORLD_SIZE" in env
    if not under_mpirun:
        env.setdefault("use_mpi", "0")  # else mpicc is probed and an extension is built at every first start
    if not (under_mpirun and cuda.usable):
        env.setdefault("use_nccl", "0")
    env.setdefault("python_config_path", write_python_config(home))
    onednn = place_onednn(home)
    if not onednn:
        env.setdefault("use_mkl", "0")
        if not cuda.usable:
            print(
                "luss: oneDNN was not found: convolutions on the CPU run 15 to 130 times slower "
                "(pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1)",
                file=sys.stderr,
            )
    env.setdefault("FIX_TORCH_ERROR", "0")  # else Jittor imports torch where there is one
    env.setdefault("log_silent", "1")
    _environment = JittorEnvironment(home, cuda, onednn, compiler)
    return _environment


def build_key(environment: JittorEnvironment) -> str:
    """Fingerprint of everything that makes Jittor compile itself anew."""
    compiler = subprocess.run([environment.compiler, "--version"], capture_output=True, text=True).stdout
    mpi = "OMPI_COMM_WORLD_SIZE" in os.environ
    names = ("cc_flags", "nvcc_flags", "debug", "use_mkl", "use_mpi", "use_nccl", "cache_name", "python_config_path", "nvcc_path", "cuda_archs")
    facts = [JITTOR_VERSION, sys.version, sys.prefix, platform.platform(), platform.node(), compiler, mpi, [os.environ.get(n) for n in names]]
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            facts.append(next((line for line in cpuinfo if line.startswith("model name")), ""))
    except OSError:
        facts.append(platform.processor())
    return hashlib.md5(json.dumps(facts).encode()).hexdigest()[:16]


def _compile_once(environment: JittorEnvironment) -> None:
    """Run the first import in children until one reports success; announce it, since it takes minutes."""
    marker = Path(environment.home) / ".cache" / "jittor" / f"luss-ready-{build_key(environment)}"
    if marker.exists():
        return
    if os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", "0") != "0":
        _wait_for(marker)
        return
    cores = os.cpu_count() or 1
    print(
        f"luss: compiling Jittor for this machine, once (150 files; 2 to 4 minutes on two cores, {cores} here); kept in {environment.home}",
        file=sys.stderr,
        flush=True,
    )
    begin = time.time()
    script = f"import jittor as jt; assert float(jt.array([1.0, 2.0]).sum().item()) == 3.0; print({_PROBE!r})"
    child_env = dict(os.environ, HOME=environment.home, log_silent="0")
    output = ""
    for _ in range(3):  # Jittor may ask for a second start after it has rebuilt itself
        output = _run_showing_progress([sys.executable, "-c", script], child_env, begin)
        if _PROBE in output:
            break
    else:
        log = Path(environment.home) / "jittor-compile.log"
        log.write_text(output)
        tail = "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", output).strip().splitlines()[-12:])
        raise RuntimeSetupError(f"Jittor did not come up after three tries; the whole output is in {log}, its end:\n{tail}")
    marker.write_text(json.dumps({"seconds": round(time.time() - begin, 1)}))
    print(f"luss: Jittor is compiled ({time.time() - begin:.0f} s)", file=sys.stderr, flush=True)


def _run_showing_progress(command: list[str], env: dict, begin: float) -> str:
    with tempfile.TemporaryFile() as sink:
        child = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=tempfile.gettempdir())
        done = threading.Event()

        def report():
            terminal = sys.stderr.isatty()
            while not done.wait(2 if terminal else 30):
                sink_size = os.fstat(sink.fileno()).st_size
                text = os.pread(sink.fileno(), min(sink_size, 400), max(0, sink_size - 400)).decode(errors="replace")
                steps = re.findall(r"(\d+)/(\d+)\)", text)
                progress = f"{steps[-1][0]} of {steps[-1][1]} files" if steps else "linking"
                line = f"luss: compiling Jittor: {progress}, {time.time() - begin:.0f} s"
                print(f"\r{line}   " if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
            if terminal:
                print(file=sys.stderr)

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            child.wait()
        except BaseException:
            child.terminate()
            raise
        finally:
            done.set()
            reporter.join()
        sink.seek(0)
        return sink.read().decode(errors="replace")


def _wait_for(marker: Path, limit_seconds: float = 1800) -> None:
    begin = time.time()
    while not marker.exists():
        if time.time() - begin > limit_seconds:
            raise RuntimeSetupError(f"waited {limit_seconds:.0f} s for the first process to compile Jittor ({marker} did not appear)")
        time.sleep(0.5)


@contextmanager
def _own_signals():
    """Put back what the import replaces: Jittor ends the process at Ctrl-C, and also when a worker process of ours is killed.

    Python allows this in the main thread only; elsewhere Jittor's own handlers stay.
    """
    numbers = (signal.SIGINT, signal.SIGCHLD, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)


def load_jittor():
    """Prepare, compile if needed, import; return the `jittor` module. Later calls return it at once.

    Raises:
        RuntimeSetupError: NumPy 2, no g++, no Python headers, no writable folder, or Jittor does not come up.
    """
    global _loaded
    if _loaded is not None:
        return _loaded
    environment = prepare_environment()
    _compile_once(environment)
    real_home = os.environ.get("HOME")
    os.environ["HOME"] = environment.home  # Jittor writes a config.json below the home that would bind other Jittor programs
    try:
        with _own_signals():
            import jittor
    except SystemExit as leaving:
        raise RuntimeSetupError("Jittor rebuilt its cache and asked for a new start: run the same command again") from leaving
    finally:
        if real_home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = real_home
    if environment.cuda.usable and jittor.compiler.has_cuda:
        jittor.flags.use_cuda = 1
    jittor.flags.python_path = write_python_wrapper(environment.home)
    make_compiler_safe(jittor, os.path.join(environment.home, ".cache", "jittor"))
    _loaded = jittor
    return jittor
