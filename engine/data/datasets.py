"""What an index of a data set yields in each stage: decoded pixels and the plan of its crops. Picklable: they travel to the loading processes.

The pixels are cut, resized and augmented later, where the model is (engine/ops/augment_crops.py); decoding is all that loading processes do.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from ..ops.crop_table import CROP
from ..runtime.errors import LussError
from .crop_plan import CropGroup, plan_crops
from .crops import correspondence_grids
from .decode import UnreadableImage, decode_rgb
from .jpeg import REDUCTIONS
from .label_crops import label_indices
from .sources import image_source

Place = Callable[[int], np.ndarray]
_BOX = ("left", "top", "width", "height")


# A crop has to be shrunk at least so much after its image was reduced. The decoder's averages are sharper than the resize's filter: where
# hardly anything is left to shrink, crops differ from those of the whole image by 1.9 levels of 255 on average and 6.0 at worst (17 on the demo's
# textures); from twice on by 0.9 and 1.5 (200 ImageNet photographs).
LEFT_TO_SHRINK = 2


def reduction(crops: np.ndarray, sizes: np.ndarray) -> int:
    """Largest of 8, 4, 2, 1 by which an image may be reduced while it is decoded, so that every crop still has to be shrunk well after it.

    Args:
        crops: (n,) CROP. sizes: (n,) side of each crop in pixels.
    """
    room = np.minimum(crops["width"], crops["height"]) / sizes
    return next((divisor for divisor in REDUCTIONS if room.min() >= LEFT_TO_SHRINK * divisor), 1)


class _Planned(ABC):
    """Shared by the data sets below: open all images of a task, plan their crops at once, decode each as its plan allows.

    In a sample's "crops" the field `image` is 0; `crop_major` fills it in for a batch.

    Sub-classes give `plan(epoch, numbers, widths, heights) -> (b, n) CROP` in pixels of the original images.
    """

    ragged: tuple[str, ...] = ("image",)
    sizes: np.ndarray | None = None  # (n,) side of each crop; None: there are no crops

    def __init__(self, images):
        self.images = image_source(images)

    def __len__(self) -> int:
        return len(self.images)

    def load(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """The sample of one index. Raises: UnreadableImage."""
        sample = self.load_many(epoch, [index], lambda count: np.empty(count, np.uint8))[0]
        if isinstance(sample, UnreadableImage):
            raise sample
        return sample

    def load_many(self, epoch: int, indices: Sequence[int], place: Place) -> list[dict[str, np.ndarray] | UnreadableImage]:
        """The sample of each index, or why its photograph cannot be read."""
        opened = [self._open(index) for index in indices]
        good = [number for number, image in enumerate(opened) if not isinstance(image, UnreadableImage)]
        if good:
            sizes = np.array([opened[number].original for number in good], np.int64)
            keys = np.array([self.images.number(indices[number]) for number in good])
            plans = self.plan(epoch, keys, sizes[:, 0], sizes[:, 1])
            extras = self.extras(plans)
            for row, number in enumerate(good):
                sample = self._decoded(indices[number], opened[number], plans[row], place)
                if not isinstance(sample, UnreadableImage):
                    sample.update((key, value[row]) for key, value in extras.items())
                opened[number] = sample
        return opened

    def _open(self, index: int):
        try:
            return self.images.open(index)
        except UnreadableImage as error:
            return error

    def _decoded(self, index: int, image, plan: np.ndarray, place: Place):
        width, height = image.original
        if self.sizes is None:
            try:
                return {"image": image.decode(place), **self.more(index, image, plan)}
            except UnreadableImage as error:
                return error
        crops = scaled(plan, image.width / width, image.height / height, image.width, image.height)
        try:
            pixels = image.decode(place, reduction(crops, self.sizes))
        except UnreadableImage as error:
            return error
        rows, columns = pixels.shape[:2]
        # A decoder's reduction by k makes each pixel of k x k, the last row and column of fewer: the scale is 1 / k all the same
        crops = scaled(crops, 1 / _divisor(image.width, columns), 1 / _divisor(image.height, rows), columns, rows).copy()
        crops["image"] = 0
        return {"image": pixels, "crops": crops, **self.more(index, image, plan)}

    @abstractmethod
    def plan(self, epoch: int, numbers: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """(b, n) CROP of the images' crops, in pixels of the original images."""

    def extras(self, plans: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays (b, ...) that follow from the plans of several images; a row of each goes into the image's sample."""
        return {}

    def more(self, index: int, image, plan: np.ndarray) -> dict[str, np.ndarray]:
        """What a sample holds beside pixels and crops; `plan` is in pixels of the original image."""
        return {}


def crop_major(crops: np.ndarray) -> np.ndarray:
    """Plans (b, n) of a batch's images as one list (n b,), all images of crop 0 first, each naming its image's row."""
    listed = np.ascontiguousarray(crops.T)
    listed["image"] = np.arange(len(crops))
    return listed.reshape(-1)


def scaled(crops: np.ndarray, across: float, down: float, columns: int, rows: int) -> np.ndarray:
    """Boxes in pixels of a smaller image of columns x rows; the crops themselves where nothing changes."""
    if across == down == 1:
        return crops
    crops = crops.copy()
    for name, scale, limit in zip(_BOX, (across, down, across, down), (columns, rows, columns, rows)):
        crops[name] = np.minimum(crops[name] * scale, limit)
    crops["width"] = np.minimum(crops["width"], columns - crops["left"])
    crops["height"] = np.minimum(crops["height"], rows - crops["top"])
    return crops


def _divisor(full: int, decoded: int) -> int:
    return next(divisor for divisor in reversed(REDUCTIONS) if -(-full // divisor) == decoded)


class MultiCropDataset(_Planned):
    """Stage 1 and 2.1: several augmented crops of each image, and where the first two show the same pixels.

    A sample is {"image": (h, w, 3) uint8, "crops": (n,) CROP, "grid_q", "grid_k": (7, 7, 2) float32}; crops are numbered through the groups.

    Args:
        images: items of a folder, or packed images.
        seed: of all draws; a sample depends on (seed, epoch, index) alone.
        crops: crops in each group.
        sizes: side of a group's crops in pixels.
        min_scale, max_scale: share of the image's area a group's crops cover.
        jitter: strength of the colour jitter.
        with_grids: add the correspondence grids of the first two crops of the first group.
    """

    def __init__(
        self,
        images,
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
        super().__init__(images)
        self.seed = seed
        self.groups = tuple(CropGroup(*group, jitter=jitter) for group in zip(crops, sizes, zip(min_scale, max_scale)))
        self.sizes = np.repeat(sizes, crops)
        self.with_grids = with_grids

    def plan(self, epoch: int, numbers: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return plan_crops(self.groups, self.seed, epoch, numbers, widths, heights)

    def extras(self, plans: np.ndarray) -> dict[str, np.ndarray]:
        if not self.with_grids:
            return {}
        boxes = np.stack([plans[name] for name in (*_BOX, "flip")], axis=-1).astype(np.float64)  # (b, n, 5)
        return dict(zip(("grid_q", "grid_k"), correspondence_grids(boxes[:, 0], boxes[:, 1])))


class WholeImageDataset(_Planned):
    """Evaluation: images as they are; where and how large they are shown to a network, `eval_plan` says.

    A sample is {"image": (h, w, 3) uint8, "size": (2,) int64 = height and width of the original}, the same in every epoch.
    """

    def plan(self, epoch: int, numbers: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return np.zeros((len(numbers), 0), CROP)

    def more(self, index: int, image, plan: np.ndarray) -> dict[str, np.ndarray]:
        return {"size": np.array([image.original[1], image.original[0]], np.int64)}


class _Labelled(_Planned):
    """One random crop of an image, and of its label map <label_root>/<class>/<stem>.png the same.

    A sample is {"image": (h, w, 3) uint8, "crops": (1,) CROP, "label": (H, W) uint16, "rows", "columns": (size,) int32: the label map's
    pixels that the crop shows}.
    """

    ragged = ("image", "label")

    def __init__(self, images, label_root: str, seed: int, group: CropGroup):
        super().__init__(images)
        self.label_root, self.seed, self.groups = str(label_root), seed, (group,)
        self.sizes = np.array([group.size])

    def plan(self, epoch: int, numbers: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
        return plan_crops(self.groups, self.seed, epoch, numbers, widths, heights)

    def label_path(self, index: int) -> str:
        return os.path.join(self.label_root, os.path.splitext(self.images.key(index))[0] + ".png")

    def label(self, index: int, image) -> np.ndarray:
        """(H, W) uint16 ids."""
        path = self.label_path(index)
        try:
            coded = decode_rgb(path)
        except UnreadableImage as error:
            raise LussError(
                f"{error.path}: {self.missing.format(image.path)} ({error.reason}); expected an RGB PNG with id = R + 256 G{self.remedy}"
            ) from error
        return coded[..., 0] + np.left_shift(coded[..., 1], 8, dtype=np.uint16)

    def more(self, index: int, image, plan: np.ndarray) -> dict[str, np.ndarray]:
        label = self.label(index, image)
        box = tuple(int(plan[0][name]) for name in _BOX)
        rows, columns = label_indices((label.shape[1], label.shape[0]), image.original, box, bool(plan[0]["flip"]), int(self.sizes[0]))
        return {"label": label, "rows": rows, "columns": columns}


class PseudoLabelDataset(_Labelled):
    """Stage 3: crops without colour changes, and pseudo labels; a map of another size than the image is stretched to it.

    Args:
        scale: smallest and largest share of the image's area.

    Raises (when loading):
        LussError: the label map is missing or damaged.
    """

    missing, remedy = "no usable pseudo label for {}", ", as the label stage writes it: run that stage again"

    def __init__(self, images, label_root: str, seed: int, size: int, scale: tuple[float, float]):
        super().__init__(images, label_root, seed, CropGroup(1, size, tuple(scale), jitter=0, grey=0, blur=0))


class AnnotatedDataset(_Labelled):
    """Semi-supervised fine-tuning: augmented crops and the masks of people.

    Args:
        scale: smallest and largest share of the image's area.
        jitter, grey, blur: see `CropGroup`; the mask is cropped and flipped alone.

    Raises (when loading):
        LussError: the mask is missing, damaged, or of another size than the photograph.
    """

    missing, remedy = "no usable mask for {}", ""

    def __init__(self, images, mask_root: str, seed: int, size: int, scale: tuple[float, float], jitter: float, grey: float, blur: float):
        super().__init__(images, mask_root, seed, CropGroup(1, size, tuple(scale), jitter=jitter, grey=grey, blur=blur))

    def label(self, index: int, image) -> np.ndarray:
        found = super().label(index, image)
        width, height = image.original
        if found.shape != (height, width):
            size = f"{found.shape[1]}x{found.shape[0]}"
            raise LussError(f"{self.label_path(index)}: {size} pixels, its photograph {image.path} has {width}x{height}; expected equal sizes")
        return found


class Subset:
    """Some images of a data set, by their positions in it."""

    def __init__(self, dataset: _Planned, positions: Sequence[int]):
        self.dataset, self.positions, self.ragged = dataset, np.asarray(positions, np.int64), dataset.ragged

    def __len__(self) -> int:
        return len(self.positions)

    def load_many(self, epoch: int, indices: Sequence[int], place: Place) -> list[dict[str, np.ndarray] | UnreadableImage]:
        return self.dataset.load_many(epoch, self.positions[np.asarray(indices, np.int64)].tolist(), place)
