"""The published evaluation algorithm written plainly, image by image and class by class, to be timed against luss.benchmark.

It follows the definitions, not anybody's source: a dense histogram call for every area, one erosion for every id of a map, a selection of pixels for
every object size, presence lists, a double loop for the cost matrix. It leaves out what is slow in the published code without belonging to the
algorithm (Python's `sum` over tensors, moves to a GPU and back), so it is the faster of the two.

Erosion is OpenCV's where it is installed (as in the published code), else SciPy's.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

try:
    import cv2

    cv2.setNumThreads(1)
    EROSION = f"OpenCV {cv2.__version__}"
except ImportError:
    cv2 = None
    EROSION = "SciPy (opencv-python-headless is not installed)"

IGNORE = 1000
SIZES = ("S", "MS", "ML", "L")


def read_ids(path: str) -> np.ndarray:
    rgb = np.asarray(Image.open(path))
    return rgb[..., 0] + 256 * rgb[..., 1].astype(np.int32)


def boundary_map(ids: np.ndarray) -> np.ndarray:
    """0 = not boundary, v + 1 = boundary pixel of id v."""
    radius = max(1, round(0.03 * math.hypot(*ids.shape)))
    result = np.zeros_like(ids)
    for value in np.unique(ids):
        mask = np.pad((ids == value).astype(np.uint8), 1)  # outside of the frame is another id
        if cv2 is not None:
            inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=radius, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        else:
            from scipy.ndimage import binary_erosion

            inner = binary_erosion(mask, np.ones((3, 3)), iterations=radius).astype(np.uint8)
        result[(mask - inner)[1:-1, 1:-1] > 0] = value + 1
    return result


class PlainEvaluator:
    """Sums over images of areas, boundary areas, sizes, F and accuracy; predictions carry class ids after `match`."""

    def __init__(self, num_classes: int, match: np.ndarray):
        self.classes, self.match = num_classes, match
        self.areas = {name: np.zeros((3, num_classes + 1)) for name in ("all", "boundary", *SIZES, *("B" + size for size in SIZES))}
        self.f_measure, self.right, self.images = 0.0, 0, 0
        self.predicted_ids: list[list[int]] = []
        self.true_ids: list[list[int]] = []

    def add(self, pred: np.ndarray, gt: np.ndarray) -> None:
        renamed = np.zeros_like(pred)
        for value in np.unique(pred):
            renamed[pred == value] = self.match[value]
        maps = (renamed, gt, boundary_map(renamed), boundary_map(gt))
        valid = gt != IGNORE
        self.predicted_ids.append([int(value) for value in np.unique(pred[valid]) if value])
        pred, gt, pred_edge, gt_edge = (one[valid] for one in maps)
        self.true_ids.append([int(value) for value in np.unique(gt) if value])
        self.images += 1
        area = self._add("all", pred, gt)
        self._add("boundary", pred_edge - 1, gt_edge - 1)
        self._add_shape(pred > 0, gt > 0)
        if area[1:].max() > 0:
            self.right += int(area[1:].argmax()) + 1 in self.true_ids[-1]
        groups: dict[str, list[int]] = {}
        for label in self.true_ids[-1]:
            percent = math.ceil(100 * int((gt == label).sum()) / gt.size)
            groups.setdefault(SIZES[(percent > 5) + (percent > 25) + (percent > 50)], []).append(label)
        for size, labels in groups.items():
            chosen = np.isin(gt, [0, *labels])
            self._add(size, pred[chosen], gt[chosen])
            self._add("B" + size, pred_edge[chosen] - 1, gt_edge[chosen] - 1)

    def _add(self, name: str, pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
        edges = {"bins": self.classes + 1, "range": (0, self.classes + 1)}
        predicted = np.histogram(pred, **edges)[0]
        self.areas[name] += [np.histogram(pred[pred == gt], **edges)[0], predicted, np.histogram(gt, **edges)[0]]
        return predicted

    def _add_shape(self, pred: np.ndarray, gt: np.ndarray) -> None:
        common = (pred & gt).sum()
        precision, recall = common / (pred.sum() + 1e-20), common / (gt.sum() + 1e-20)
        self.f_measure += 1.3 * precision * recall / (0.3 * precision + recall + 1e-20)

    def metrics(self) -> dict[str, float | None]:
        result = {"Acc": 100 * self.right / self.images, "FMeasure": 100 * self.f_measure / self.images}
        for name, (common, predicted, true) in self.areas.items():
            ious = 100 * common / (predicted + true - common + 1e-10)
            if name in ("all", "boundary"):
                result["mIoU" if name == "all" else "mBIoU"] = float(ious.mean())
            else:
                result[name] = float(ious[true > 0].mean()) if (true > 0).any() else None
        return result


def cost_matrix(predicted_ids: list[list[int]], true_ids: list[list[int]], num_classes: int) -> np.ndarray:
    """1 - share of images that hold both, by a loop over all pairs of ids; (K, K)."""
    images = len(predicted_ids)
    predicted, true = np.zeros((num_classes, images), bool), np.zeros((num_classes, images), bool)
    for presence, lists in ((predicted, predicted_ids), (true, true_ids)):
        for image, ids in enumerate(lists):
            presence[np.array(ids, int) - 1, image] = True
    cost = np.zeros((num_classes, num_classes), np.float32)
    for i in range(num_classes):
        for j in range(num_classes):
            cost[i, j] = 1 - (predicted[i] & true[j]).sum() / images
    return cost
