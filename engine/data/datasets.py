"""What one index of a data set yields in each stage. Plain picklable objects: they travel to the loading processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from ..runtime.errors import LussError
from .augment import apply_joint_crop, augment_crop, center_crop, eval_image, label_indices
from .crops import correspondence_grids, crop_rng, random_resized_crop
from .decode import UnreadableImage, decode_image, decode_rgb
from .folder import ImageItem


class _Texts:
    """Many strings in one buffer: a million paths reach a loading process as two arrays, not as a million objects."""

    def __init__(self, texts: Iterable[str]):
        encoded = [os.fsencode(text) for text in texts]
        self._ends = np.cumsum([0] + [len(text) for text in encoded], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self._bytes[self._ends[index] : self._ends[index + 1]])


class MultiCropDataset:
    """Stage 1 and 2.1: several augmented crops of each image, and where the first two show the same pixels.

    Args:
        items: the images.
        seed: of all draws; a sample depends on (seed, epoch, index) alone.
        crops: crops in each group.
        sizes: side of a group's crops in pixels.
        min_scale, max_scale: share of the image's area a group's crops cover.
        jitter: strength of the colour jitter.
        with_grids: add the correspondence grids of the first two crops of the first group.
    """

    def __init__(
        self,
        items: Sequence[ImageItem],
        seed: int,
        crops: Sequence[int],
        sizes: Sequence[int],
        min_scale: Sequence[float],
        max_scale: Sequence[float],
        jitter: float = 0.8,
        with_grids: bool = True,
    ):
        if not len(crops) == len(sizes) == len(min_scale) == len(max_scale) or not crops:
            raise ValueError(f"crops={crops}, sizes={sizes}, min_scale={min_scale}, max_scale={max_scale}: expected equal lengths, at least 1")
        if with_grids and crops[0] < 2:
            raise ValueError(f"crops={crops}: grids need at least 2 crops in the first group")
        self._paths = _Texts(item.path for item in items)
        self.seed = seed
        self.groups = tuple(zip(crops, sizes, zip(min_scale, max_scale)))
        self.jitter = jitter
        self.with_grids = with_grids

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """{"crops0": (n0, s0, s0, 3) uint8, "crops1": ..., "grid_q", "grid_k": (7, 7, 2) float32}."""
        image = decode_image(self._paths[index])
        sample: dict[str, np.ndarray] = {}
        placed = []
        for group, (count, size, scale) in enumerate(self.groups):
            pixels = np.empty((count, size, size, 3), np.uint8)
            for number in range(count):
                rng = crop_rng(self.seed, epoch, index, len(placed))
                box = random_resized_crop(rng, image.width, image.height, scale)
                flip = bool(rng.random() < 0.5)
                pixels[number] = augment_crop(image, box, flip, size, rng, self.jitter)
                placed.append((*box, int(flip)))
            sample[f"crops{group}"] = pixels
        if self.with_grids:
            sample["grid_q"], sample["grid_k"] = correspondence_grids(placed[0], placed[1])
        return sample


class CenterCropDataset:
    """Stage 2.2: shorter side to `resize`, central `crop` x `crop` pixels. `square` squashes instead (published quirk)."""

    def __init__(self, items: Sequence[ImageItem], resize: int, crop: int, square: bool = False):
        if crop > resize:
            raise ValueError(f"crop={crop}: expected at most resize={resize}")
        self._paths = _Texts(item.path for item in items)
        self.resize = resize
        self.crop = crop
        self.square = square

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """{"image": (crop, crop, 3) uint8}, the same in every epoch."""
        image = eval_image(decode_image(self._paths[index]), self.resize, self.square)
        return {"image": center_crop(image, self.crop)}


class WholeImageDataset:
    """Label maps and predictions: the whole image, shorter side to `resize`."""

    def __init__(self, items: Sequence[ImageItem], resize: int, square: bool = False):
        self._paths = _Texts(item.path for item in items)
        self.resize = resize
        self.square = square

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """{"image": (h, w, 3) uint8, "size": (2,) int64 = height and width of the original}."""
        image = decode_image(self._paths[index])
        return {"image": eval_image(image, self.resize, self.square), "size": np.array([image.height, image.width], np.int64)}


class AnnotatedDataset:
    """Semi-supervised fine-tuning: an augmented random crop of an image together with its mask <mask_root>/<class>/<stem>.png.

    Args:
        scale: smallest and largest share of the image's area.
        jitter, grey, blur: see `augment_crop`; the mask is cropped and flipped alone.
    """

    def __init__(
        self, items: Sequence[ImageItem], mask_root: str, seed: int, size: int, scale: tuple[float, float], jitter: float, grey: float, blur: float
    ):
        items = list(items)
        self._paths = _Texts(item.path for item in items)
        self._keys = _Texts(item.key for item in items)
        self.mask_root = str(mask_root)
        self.seed = seed
        self.size = size
        self.scale = tuple(scale)
        self.jitter, self.grey, self.blur = jitter, grey, blur

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """{"image": (size, size, 3) uint8, "label": (size, size) int32 ids, ignored ones included}.

        Raises:
            UnreadableImage: the photograph.
            LussError: the mask is missing, damaged, or of another size than the photograph.
        """
        image = decode_image(self._paths[index])
        path = os.path.join(self.mask_root, os.path.splitext(self._keys[index])[0] + ".png")
        try:
            coded = decode_rgb(path)
        except UnreadableImage as error:
            raise LussError(
                f"{error.path}: no usable mask for {self._paths[index]} ({error.reason}); expected an RGB PNG with id = R + 256 G"
            ) from error
        if coded.shape[:2] != (image.height, image.width):
            found = f"{coded.shape[1]}x{coded.shape[0]}"
            raise LussError(f"{path}: {found} pixels, its photograph {self._paths[index]} has {image.width}x{image.height}; expected equal sizes")
        rng = crop_rng(self.seed, epoch, index, 0)
        box = random_resized_crop(rng, image.width, image.height, self.scale)
        flip = bool(rng.random() < 0.5)
        rows, columns = label_indices(image.size, image.size, box, flip, self.size)
        coded = coded[rows[:, None], columns]
        pixels = augment_crop(image, box, flip, self.size, rng, self.jitter, self.grey, self.blur)
        return {"image": pixels, "label": coded[..., 0] + 256 * coded[..., 1].astype(np.int32)}


class PseudoLabelDataset:
    """Stage 3: a random crop of an image together with its pseudo label <label_root>/<class>/<stem>.png.

    Args:
        scale: smallest and largest share of the image's area.
    """

    def __init__(self, items: Sequence[ImageItem], label_root: str, seed: int, size: int, scale: tuple[float, float]):
        items = list(items)
        self._paths = _Texts(item.path for item in items)
        self._keys = _Texts(item.key for item in items)
        self.label_root = str(label_root)
        self.seed = seed
        self.size = size
        self.scale = tuple(scale)

    def __len__(self) -> int:
        return len(self._paths)

    def label_path(self, index: int) -> str:
        return os.path.join(self.label_root, os.path.splitext(self._keys[index])[0] + ".png")

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """{"image": (size, size, 3) uint8, "label": (size, size) int32 ids}.

        Raises:
            UnreadableImage: the photograph.
            LussError: the label map is missing or damaged.
        """
        image = decode_image(self._paths[index])
        try:
            coded = decode_rgb(self.label_path(index))
        except UnreadableImage as error:
            raise LussError(
                f"{error.path}: no usable pseudo label for {self._paths[index]} ({error.reason}); expected an RGB PNG with "
                "id = R + 256 G, as the label stage writes it: run that stage again"
            ) from error
        rng = crop_rng(self.seed, epoch, index, 0)
        box = random_resized_crop(rng, image.width, image.height, self.scale)
        pixels, coded = apply_joint_crop(image, coded, box, bool(rng.random() < 0.5), self.size)
        return {"image": pixels, "label": coded[..., 0] + 256 * coded[..., 1].astype(np.int32)}
