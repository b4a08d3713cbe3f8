"""From a decoded image to the pixels a network sees (spec/pass.md, sections 3.2, 5 and 7). Pillow's arithmetic throughout."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .crops import center_crop_box, random_resized_crop, resize_shorter

JITTER_PROBABILITY = 0.8
BLUR_RADIUS = (0.1, 2.0)
_BILINEAR = Image.Resampling.BILINEAR
_FLIP = Image.Transpose.FLIP_LEFT_RIGHT
_IDENTITY = list(range(256))


def augment_crop(
    image: Image.Image,
    box: tuple[int, int, int, int],
    flip: bool,
    size: int,
    rng: np.random.Generator,
    jitter: float = 0.8,
    grey: float = 0.2,
    blur: float = 0.5,
) -> np.ndarray:
    """One augmented crop: cut, resize, flip, colour jitter, grey, blur.

    Args:
        image: RGB.
        box: (left, top, width, height) in its pixels.
        size: side of the result.
        rng: source of the photometric draws; every call draws the same number of values, whatever is applied.
        jitter: strength, applied with probability 0.8: brightness, contrast, saturation in 1 +- jitter, hue in +- jitter / 4.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur with a radius in 0.1 to 2 pixels.

    Returns:
        (size, size, 3) uint8.
    """
    crop = _cut(image, box, size, flip, _BILINEAR)
    draws = rng.random(8).tolist()
    order = rng.permutation(4).tolist()
    if jitter > 0 and draws[0] < JITTER_PROBABILITY:
        low = max(0.0, 1 - jitter)
        factors = [low + (1 + jitter - low) * draw for draw in draws[1:4]]
        hue = (2 * draws[4] - 1) * jitter / 4
        for step in order:
            crop = _shift_hue(crop, hue) if step == 3 else _ENHANCERS[step](crop).enhance(factors[step])
    losing_colour = draws[5] < grey
    if losing_colour:
        crop = crop.convert("L")
    if draws[6] < blur:
        crop = crop.filter(ImageFilter.GaussianBlur(BLUR_RADIUS[0] + (BLUR_RADIUS[1] - BLUR_RADIUS[0]) * draws[7]))
    if losing_colour:  # after the blur: the three channels are equal, one blur does for all
        crop = crop.convert("RGB")
    return np.array(crop)


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def _shift_hue(image: Image.Image, hue: float) -> Image.Image:
    """Turn the hue by a share of the circle in [-0.5, 0.5], in Pillow's 8-bit HSV."""
    shift = int(255 * hue) % 256  # towards zero, then modulo, as the published code casts
    if shift == 0:
        return image.convert("HSV").convert("RGB")  # the way there and back rounds, too
    table = _IDENTITY[shift:] + _IDENTITY[:shift] + _IDENTITY + _IDENTITY
    return image.convert("HSV").point(table).convert("RGB")


def _cut(image: Image.Image, box: tuple[int, int, int, int], size: int, flip: bool, resample: Image.Resampling) -> Image.Image:
    left, top, width, height = box
    # Crop, then resize: resize(box=...) would let pixels outside the box into the filter's support.
    crop = image.crop((left, top, left + width, top + height)).resize((size, size), resample)
    return crop.transpose(_FLIP) if flip else crop


def eval_image(image: Image.Image, shorter: int, square: bool = False) -> np.ndarray:
    """Whole image for evaluation, (h, w, 3) uint8: shorter side to `shorter` pixels.

    `square` squashes it to shorter x shorter instead, as the published Jittor code does (section 12.2, J3).
    """
    size = (shorter, shorter) if square else resize_shorter(image.width, image.height, shorter)
    return np.array(image if size == image.size else image.resize(size, _BILINEAR))


def center_crop(array: np.ndarray, side: int) -> np.ndarray:
    """The central side x side pixels of an (H, W, ...) array, as a view."""
    left, top, _, _ = center_crop_box(array.shape[1], array.shape[0], side)
    return array[top : top + side, left : left + side]


def nearest_source(length: int, target: int) -> np.ndarray:
    """Source index of each of `target` positions when `length` are resized by torch's nearest rule: floor(i * in / out)."""
    scale = np.float32(length) / np.float32(target)
    return np.minimum((np.arange(target, dtype=np.float32) * scale).astype(np.int64), length - 1)


def label_indices(
    label_size: tuple[int, int], image_size: tuple[int, int], box: tuple[int, int, int, int], flip: bool, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a label map that a size x size crop shows.

    The map is first brought to the image's size (torch nearest, where they differ), then cut and resized by Pillow's
    nearest rule; both are index look-ups, so they are joined into one and only size x size labels are ever touched.

    Args:
        label_size, image_size: (width, height).
        box: (left, top, width, height) in pixels of the image.

    Returns:
        rows (size,), columns (size,) int64 into the label map; columns run backwards when flipped.
    """
    left, top, width, height = box
    rows = top + _pillow_nearest(height, size)
    columns = left + _pillow_nearest(width, size)
    if label_size != image_size:
        rows = nearest_source(label_size[1], image_size[1])[rows]
        columns = nearest_source(label_size[0], image_size[0])[columns]
    return rows, columns[::-1] if flip else columns


def _pillow_nearest(length: int, target: int) -> np.ndarray:
    # Pillow adds the step up in double precision instead of multiplying; accumulate rounds exactly as it does.
    steps = np.full(target, length / target)
    steps[0] *= 0.5
    return np.minimum(np.add.accumulate(steps).astype(np.int64), length - 1)


def apply_joint_crop(image: Image.Image, label: np.ndarray, box: tuple[int, int, int, int], flip: bool, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same crop of an image (bilinear) and of its label map (nearest).

    Args:
        image: RGB.
        label: (H, W) ids, or (H, W, channels); of any size.
        box: (left, top, width, height) in pixels of the image.

    Returns:
        (size, size, 3) uint8, and (size, size, ...) of label's type.
    """
    rows, columns = label_indices((label.shape[1], label.shape[0]), image.size, box, flip, size)
    return np.array(_cut(image, box, size, flip, _BILINEAR)), label[rows[:, None], columns]


def joint_crop(
    image: Image.Image, label: np.ndarray, size: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random crop of an image and its label map, flipped together with probability one half; see `apply_joint_crop`."""
    box = random_resized_crop(rng, image.width, image.height, scale)
    return apply_joint_crop(image, label, box, bool(rng.random() < 0.5), size)
