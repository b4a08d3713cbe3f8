"""Images and data sets for the tests of engine.data; the data sets are imported by loading processes, too."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time

import numpy as np
from PIL import Image

from engine.data.decode import UnreadableImage
from engine.data.loader import Loader


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some texture, so that JPEG and resizing behave as on photographs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def bomb(width: int, height: int) -> bytes:
    """A small JPEG file whose header claims another size."""
    stream = io.BytesIO()
    photo(16, 16).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    place = content.index(b"\xff\xc0") + 5  # after marker, length and precision
    content[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def image_tree(root, classes=("n01", "n02"), per_class=3, split="train", size=(60, 48)):
    """<root>/<split>/<class>/<class>_<i>.JPEG"""
    for c, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(per_class):
            photo(size[0] + 7 * i, size[1] + 5 * c, seed=10 * c + i).save(folder / f"{name}_{i}.JPEG", quality=90)
    return root


@contextlib.contextmanager
def without_privileges():
    """As a user to whom permissions apply; for root: nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


class Numbers:
    """Sample i of epoch e is {"x": [e, i]}; `bad` indices cannot be read, `deadly` ones end the process, `hanging` ones never return.

    unequal: also "y", i + 1 zeros; ragged: "y" is (i + 1, 2), and named as ragged.
    """

    def __init__(self, length, bad=(), deadly=(), failing=(), hanging=(), unequal=False, ragged=False, seconds=0.0):
        self.length = length
        self.bad = frozenset(bad)
        self.deadly = frozenset(deadly)
        self.failing = frozenset(failing)
        self.hanging = frozenset(hanging)
        self.unequal = unequal
        self.ragged = ("y",) if ragged else ()
        self.seconds = seconds

    def __len__(self):
        return self.length

    def load(self, epoch, index):
        time.sleep(self.seconds)
        if index in self.deadly:
            os._exit(7)
        if index in self.hanging:
            time.sleep(3600)
        if index in self.failing:
            raise KeyError(f"sample {index}")
        if index in self.bad:
            raise UnreadableImage(f"/images/{index}.jpg", "truncated")
        sample = {"x": np.array([epoch, index])}
        if self.unequal:
            sample["y"] = np.zeros(index + 1)
        if self.ragged:
            sample["y"] = np.full((index + 1, 2), index, np.uint16)
        return sample


class Environment:
    """Shows what a loading process sees of the environment, and when."""

    def __len__(self):
        return 4

    def load(self, epoch, index):
        return {"threads": np.array(int(os.environ["OMP_NUM_THREADS"])), "pid": np.array(os.getpid()), "when": np.array(time.monotonic())}


class Wide(Numbers):
    """Samples of 64 kB."""

    def load(self, epoch, index):
        return {"y": np.full((128, 128), index, np.int32)}


class NeedsJittor(Numbers):
    """A data set that cannot be unpickled without Jittor."""

    def __reduce__(self):
        return _with_jittor, (self.length,)


def _with_jittor(length):
    import types

    sys.modules.setdefault("jittor", types.ModuleType("jittor"))  # as good as imported
    return Numbers(length)


def loader(dataset, batch_size=4, **changes):
    return Loader(dataset, batch_size, **{"seed": 1, "workers": 0, "shuffle": True, "drop_last": True, **changes})


def visited(batches):
    return [batch["index"].tolist() for batch in batches]
