"""The GPU through PyTorch, or where that is absent through CuPy: arrays there and back, and times with a cold second-level cache."""

from __future__ import annotations

import time

import numpy as np

from .steps import Skip

FLUSH = 512 << 20  # bytes written before each timed call: over all second-level caches, and long enough to hide the launch's own cost
ROUNDS = 20


class TorchGpu:
    name = "torch"

    def __init__(self):
        import torch

        if not torch.cuda.is_available():
            raise Skip("PyTorch sees no GPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.set_grad_enabled(False)
        self.torch, self._trash, self.card = torch, None, torch.cuda.get_device_name()

    def upload(self, values: np.ndarray):
        return self.torch.from_numpy(np.ascontiguousarray(values)).cuda()

    def download(self, array) -> np.ndarray:
        return array.detach().cpu().numpy()

    def synchronize(self) -> None:
        self.torch.cuda.synchronize()

    def events(self):
        return self.torch.cuda.Event(enable_timing=True), self.torch.cuda.Event(enable_timing=True)

    def milliseconds(self, begin, end) -> float:
        return begin.elapsed_time(end)

    def flush(self) -> None:
        if self._trash is None:
            self._trash = self.torch.empty(FLUSH, dtype=self.torch.uint8, device="cuda")
        self._trash.zero_()

    def peak_bytes(self, function) -> int:
        """Most memory of the allocator during one call beyond that before it, the result included."""
        self.synchronize()
        before = self.torch.cuda.memory_allocated()
        self.torch.cuda.reset_peak_memory_stats()
        function()
        self.synchronize()
        return self.torch.cuda.max_memory_allocated() - before

    def copy(self, size: int):
        """(function, bytes it reads and writes)"""
        source = self.torch.ones(size // 4, device="cuda")
        target = self.torch.empty_like(source)
        return lambda: target.copy_(source), 2 * size

    def unit_rows(self, n: int, d: int, dtype: str, around: np.ndarray | None):
        """(n, d) random rows of length 1, made on the GPU; where `around` is given, each near one of its rows."""
        self.torch.manual_seed(0)
        x = self.torch.empty(n, d, dtype=getattr(self.torch, dtype), device="cuda")
        for part in x.split(1 << 16):  # in float32, a part at a time
            rows = self.torch.randn(len(part), d, device="cuda")
            if around is not None:
                centres = self.upload(around)
                rows = rows * (0.5 / d**0.5) + centres[self.torch.randint(len(centres), (len(part),), device="cuda")]
            part.copy_(self.torch.nn.functional.normalize(rows))
        return x

    def product(self, side: int, dtype: str):
        """(function, operations) of one matrix product on random numbers"""
        left, right = (self.torch.randn(side, side, device="cuda", dtype=getattr(self.torch, dtype)) for _ in range(2))
        out = self.torch.empty_like(left)
        return lambda: self.torch.mm(left, right, out=out), 2 * side**3


class CuPyGpu:
    name = "cupy"

    def __init__(self):
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            raise Skip("CuPy sees no GPU")
        self.cupy, self._trash = cupy, None
        self.card = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()

    def upload(self, values):
        return self.cupy.asarray(np.ascontiguousarray(values))

    def download(self, array):
        return self.cupy.asnumpy(array)

    def synchronize(self):
        self.cupy.cuda.Device().synchronize()

    def events(self):
        return self.cupy.cuda.Event(), self.cupy.cuda.Event()

    def milliseconds(self, begin, end):
        return self.cupy.cuda.get_elapsed_time(begin, end)

    def flush(self):
        if self._trash is None:
            self._trash = self.cupy.empty(FLUSH, "uint8")
        self._trash.fill(0)

    def peak_bytes(self, function):
        return float("nan")  # CuPy's pool keeps no record of its peak

    def copy(self, size):
        source = self.cupy.ones(size // 4, "float32")
        target = self.cupy.empty_like(source)
        return lambda: self.cupy.copyto(target, source), 2 * size

    def unit_rows(self, n, d, dtype, around):
        x = self.cupy.empty((n, d), dtype)
        for first in range(0, n, 1 << 16):
            rows = self.cupy.random.standard_normal((min(1 << 16, n - first), d), dtype="float32")
            if around is not None:
                rows = rows * (0.5 / d**0.5) + self.upload(around)[self.cupy.random.randint(0, len(around), len(rows))]
            x[first : first + len(rows)] = rows / self.cupy.linalg.norm(rows, axis=1, keepdims=True)
        return x

    def product(self, side, dtype):
        left, right = (self.cupy.random.standard_normal((side, side), dtype="float32").astype(dtype) for _ in range(2))
        out = self.cupy.empty_like(left)
        return lambda: self.cupy.matmul(left, right, out=out), 2 * side**3


def open_gpu():
    """The first of both that is installed and sees a GPU. Raises: Skip with the reasons."""
    reasons = []
    for kind in (TorchGpu, CuPyGpu):
        try:
            return kind()
        except (ImportError, Skip) as error:
            reasons.append(f"{kind.name}: {error}")
        except Exception as error:  # CuPy's own error where there is no driver
            reasons.append(f"{kind.name}: {type(error).__name__}: {error}")
    raise Skip("; ".join(reasons))


def on_h200(gpu, seconds: float) -> dict[str, float]:
    """A goal in seconds that was set for that card, for Timing.goals; none on others."""
    return {"seconds": seconds} if "H200" in gpu.card else {}


def seconds_of(gpu, sides: dict, rounds: int = ROUNDS, most: float = 20.0) -> dict[str, list[float]]:
    """All sides in turn, each after a flush of the cache; at least 3 rounds, and fewer than `rounds` only after `most` seconds.

    A side that runs out of memory is left out: that is a result, too.
    """
    sides = dict(sides)
    for name in list(sides):
        try:
            sides[name]()
            gpu.synchronize()
        except Exception as error:
            if name == "ours" or "memory" not in str(error).lower():
                raise
            del sides[name]
    times = {name: [] for name in sides}
    begin = time.monotonic()
    for turn in range(rounds):
        if turn >= 3 and time.monotonic() - begin > most:
            break
        for name, side in sides.items():
            first, last = gpu.events()
            gpu.flush()
            first.record()
            side()
            last.record()
            gpu.synchronize()
            times[name].append(gpu.milliseconds(first, last) / 1e3)
    return times
