"""What a user would write instead of our input pipeline: the transforms of the published code, on Pillow, one image at a time.

The operations and their order are those of spec/pass.md 3.2; each is done as torchvision does it on Pillow images, without torch: random
numbers from Python's `random`, pixels to float32 by NumPy.
"""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

MEAN = np.array((0.485, 0.456, 0.406), np.float32)[:, None, None]
STD = np.array((0.228, 0.224, 0.225), np.float32)[:, None, None]


def load(path: str) -> Image.Image:
    with open(path, "rb") as stream:
        return Image.open(stream).convert("RGB")


def crop_box(width: int, height: int, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            return left, top, left + w, top + h
    return 0, 0, width, height


def jittered(image: Image.Image) -> Image.Image:
    steps = [0, 1, 2, 3]
    random.shuffle(steps)
    for step in steps:
        if step == 3:
            hue, saturation, value = image.convert("HSV").split()
            turned = np.array(hue, np.uint8)
            turned += np.uint8(int(255 * random.uniform(-0.2, 0.2)) % 256)
            image = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
        else:
            enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
            image = enhancer(image).enhance(random.uniform(0.2, 1.8))
    return image


def to_array(image: Image.Image) -> np.ndarray:
    """(3, h, w) float32, normalised."""
    pixels = np.ascontiguousarray(np.array(image, np.uint8).transpose(2, 0, 1)).astype(np.float32)
    pixels /= 255
    return (pixels - MEAN) / STD


def normalize(levels: np.ndarray) -> np.ndarray:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float32, normalised."""
    pixels = np.ascontiguousarray(levels.transpose(0, 3, 1, 2)).astype(np.float32)
    pixels /= 255
    pixels -= MEAN
    pixels /= STD
    return pixels


def one_crop(image: Image.Image, size: int, scale: tuple[float, float]) -> np.ndarray:
    crop = image.crop(crop_box(image.width, image.height, scale)).resize((size, size), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.8:
        crop = jittered(crop)
    if random.random() < 0.2:
        crop = crop.convert("L").convert("RGB")
    if random.random() < 0.5:
        crop = crop.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    return to_array(crop)


def crops(path: str, groups) -> list[np.ndarray]:
    """All crops of one file; groups: (count, size, scale) each."""
    image = load(path)
    return [one_crop(image, size, scale) for count, size, scale in groups for _ in range(count)]
