"""Write one shard of a pack: decode, shrink, encode, append. Runs in the writer's worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import simplejpeg
import xxhash
from PIL import Image

from ..runtime.errors import LussError
from ..storage.arrays import save_arrays
from ..storage.atomic import atomic_file
from .decode import UnreadableImage, decode_image
from .image_file import open_regular
from .manifest import Manifest
from .pack_format import COLUMNS, PackSettings, shard_header, shard_index_path, shard_path
from .parallel import Control

# Lanczos keeps most detail for the second resize, that of the crop: random crops come 0.6 dB nearer to those of the original than after
# bicubic and 2 dB nearer than after bilinear. Full chroma (4:4:4): at quality 90 it takes 24 % more bytes than 4:2:0 and comes 1.6 dB nearer,
# nearer than 4:2:0 at quality 95, which takes more bytes still (docs/packed-images.md).
_FILTER = Image.Resampling.LANCZOS
_CHROMA = "444"


@dataclass(frozen=True)
class ShardJob:
    """What all shards of a pack have in common; travels to the worker processes."""

    out: str
    identity: str
    settings: PackSettings
    manifest: Manifest
    bounds: np.ndarray


def write_shard(job: ShardJob, number: int, control: Control) -> int | None:
    """Write shard `number` and then its index; returns the number, or None where it was stopped, with no trace left.

    Raises:
        LussError: the disk is full; an image is no longer as the manifest says.
    """
    rows: dict[str, list] = {name: [] for name in COLUMNS}
    bad: list[tuple[str, str]] = []
    path = shard_path(job.out, number)
    try:
        with atomic_file(path) as stream:
            stream.write(shard_header(job.identity, number))
            for source in range(int(job.bounds[number]), int(job.bounds[number + 1])):
                if control.stopped():
                    raise _Stopped
                offset = stream.tell()
                try:
                    data, size, untouched = _make(job, source)
                except UnreadableImage as error:
                    bad.append((job.manifest.items.key(source), error.reason))
                else:
                    stream.write(data)
                    original = int(job.manifest.width[source]), int(job.manifest.height[source])
                    row = (offset, len(data), xxhash.xxh3_64_intdigest(data), *size, *original, source, untouched)
                    for name, value in zip(COLUMNS, row):
                        rows[name].append(value)
                control.report(1)
            total = stream.tell()
    except _Stopped:
        return None
    arrays = {name: np.array(rows[name], dtype) for name, dtype in COLUMNS.items()}
    save_arrays(shard_index_path(job.out, number), arrays, {"pack": job.identity, "number": number, "bytes": total, "bad": bad})
    return number


class _Stopped(Exception):
    """Leaves atomic_file, which removes what was begun."""


def _make(job: ShardJob, source: int) -> tuple[bytes | memoryview, tuple[int, int], bool]:
    """The record of an image: its bytes, (width, height), and whether they are the original file."""
    manifest, settings = job.manifest, job.settings
    item = manifest.items[source]
    if manifest.reason[source]:
        raise UnreadableImage(item.path, manifest.reasons[manifest.reason[source]])
    content = _read(item.path)
    if xxhash.xxh3_64_intdigest(content) != manifest.checksum[source]:
        raise _stale(item.path, "its content is another")
    size = int(manifest.width[source]), int(manifest.height[source])
    stored = settings.stored_size(*size)
    if settings.encoding == "jpeg" and stored == size and _is_plain_jpeg(content):
        return content, size, True
    image = decode_image(item.path)
    if image.size != size:
        raise _stale(item.path, f"{image.width} x {image.height} pixels instead of {size[0]} x {size[1]}")
    if stored != size:
        image = image.resize(stored, _FILTER)
    pixels = np.ascontiguousarray(image)
    if settings.encoding == "raw":
        return memoryview(pixels).cast("B"), stored, False
    return simplejpeg.encode_jpeg(pixels, settings.quality, "RGB", _CHROMA), stored, False


def _read(path: str) -> bytes:
    try:
        with open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise _stale(path, error.strerror or str(error)) from error


def _is_plain_jpeg(content: bytes) -> bool:
    """Whether the reader's decoder takes it without complaint: not CMYK, not cut off."""
    if content[:2] != b"\xff\xd8":
        return False
    try:
        if simplejpeg.decode_jpeg_header(content)[2] not in ("YCbCr", "Gray", "RGB"):
            return False
        simplejpeg.decode_jpeg(content)
    except (ValueError, KeyError):  # KeyError: simplejpeg's word for an unknown subsampling or colour space
        return False  # Pillow may decode it all the same; then it is encoded anew
    return True


def _stale(path: str, what: str) -> LussError:
    return LussError(f"{os.fspath(path)}: {what}; the manifest says otherwise: bring it up to date with luss data index, and pack into a new folder")
