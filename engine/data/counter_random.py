"""Random numbers as a function of a counter: Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011).

NumPy has Philox generators, but building one for each crop costs more than the crop's draws; here all crops of a batch draw at once.
"""

from __future__ import annotations

import numpy as np

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds of Philox4x32.

    Args:
        counter: four arrays (or numbers) of 32-bit values, of shapes that broadcast.
        key: two 32-bit numbers.

    Returns:
        (..., 4) uint32, independent uniform words; equal counters give equal words.
    """
    a, b, c, d = np.broadcast_arrays(*(np.asarray(word, np.uint64) for word in counter))
    k0, k1 = key
    for _ in range(10):
        p, q = _M0 * a, _M1 * c
        a, b, c, d = (q >> _32) ^ b ^ np.uint64(k0), q & _LOW, (p >> _32) ^ d ^ np.uint64(k1), p & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([a, b, c, d], axis=-1).astype(np.uint32)


def uniforms(seed: int, stream: int, epoch: int, images, crops, count: int) -> np.ndarray:
    """Uniform numbers in the open interval (0, 1), keyed by (seed, stream, epoch, image, crop).

    Args:
        seed: its lowest 64 bits count. stream: tells users of one seed apart, 0 to 255.
        epoch, images, crops: below 2^32; images and crops are arrays of shapes that broadcast.
        count: numbers for each (image, crop), at most 1024.

    Returns:
        (..., count) float64, multiples of 2^-33.
    """
    if not 0 <= stream < 256 or not 0 < count <= 1024 or not 0 <= epoch < 2**32:
        raise ValueError(f"stream={stream}, count={count}, epoch={epoch}: expected 0..255, 1..1024, 0..2^32-1")
    crops = np.asarray(crops, np.uint64)
    if crops.max(initial=0) >= 2**16:
        raise ValueError(f"crops: found {crops.max()}, expected below 65536")
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    images = np.asarray(images, np.uint64)[..., None]
    place = blocks | (np.uint64(stream) << np.uint64(8)) | (crops[..., None] << np.uint64(16))
    words = philox((place, images & _LOW, images >> _32, np.uint64(epoch)), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return (words.reshape(*words.shape[:-2], -1)[..., :count] + 0.5) * 2.0**-32
