"""Short names for contents: of a structure of settings, of a file."""

from __future__ import annotations

import hashlib
import json

from ..runtime.errors import LussError
from .atomic import PathLike, plain

_BLOCK = 1 << 20


def canonical_json(obj: object) -> str:
    """One text per value: keys sorted, no spaces; tuples are lists, NumPy values are plain ones.

    Raises:
        ValueError: something in `obj` has no JSON form.
    """
    try:
        return json.dumps(obj, sort_keys=True, separators=(",", ":"), default=plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"obj has no fingerprint: {error}") from error


def fingerprint(obj: object) -> str:
    """16 hexadecimal digits of a structure of dicts, lists and numbers; the order of keys does not matter, 1 and 1.0 differ."""
    return hashlib.blake2b(canonical_json(obj).encode(), digest_size=8).hexdigest()


def file_digest(path: PathLike) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits.

    Raises:
        LussError: the file is absent or cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); expected a file") from error
    return digest.hexdigest()
