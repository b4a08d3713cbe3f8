"""A small ImageNet with list files and masks, in the forms that `luss data prepare` reads."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from luss.benchmark.label_map import encode_label_map

CATEGORIES = ("n01443537", "n02808440", "n03832673", "n12998815")  # the two in the middle are targets of merges
SOURCES = {"n02808440": "n04493381", "n03832673": "n03642806"}
DROPPED = "n02699494"
SIZE = (12, 9)  # width, height


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def label_map(number: int) -> bytes:
    """The category's id with some other and some ignored pixels."""
    ids = np.full(SIZE[::-1], number)
    ids[0], ids[-1] = 0, 1000
    return encode_label_map(ids)


class Sample:
    """Files below `root`: imagenet/{train,val}, lists/, and masks as {key: bytes}.

    Every ImageNet category has 3 training images; of each category of the set 2 are annotated, and it has 2 validation and 3 test images. One
    validation image of each category comes from another folder of ImageNet than its own.
    """

    def __init__(self, root: Path, flat: bool = False, categories: tuple[str, ...] = CATEGORIES, columns: int = 2):
        self.root, self.categories = root, categories
        self.imagenet, self.lists, self.out = root / "imagenet", root / "lists", root / "out"
        self.masks: dict[str, bytes] = {}
        seed = 0
        merged = {wnid: target for target, wnid in SOURCES.items() if target in categories}
        for wnid in (*categories, *merged, DROPPED):
            for number in range(3):
                seed += 1
                self.write(f"imagenet/train/{wnid}/{wnid}_{number}.JPEG", jpeg(seed))
        semi, mappings, validation = [], {"validation": [], "test": []}, []
        number = 0
        for index, wnid in enumerate(categories):
            for image, source in ((0, wnid), (1, SOURCES.get(wnid, wnid))):
                stem = f"{wnid}/{source}_{image}"
                semi.append(f"{stem}.JPEG {stem}.png" if columns == 2 else f"{stem}.JPEG")
                self.masks[f"train-semi-segmentation/{stem}.png"] = label_map(index + 1)
            for split, count in (("validation", 2), ("test", 3)):
                for image in range(count):
                    number += 1
                    stem = f"ILSVRC2012_val_{number:08d}"
                    folder = DROPPED if image == 0 and split == "validation" else wnid
                    self.write(f"imagenet/val/{stem}.JPEG" if flat else f"imagenet/val/{folder}/{stem}.JPEG", jpeg(1000 + number))
                    mappings[split].append(f"{folder}/{stem}.JPEG {wnid}/{stem}.JPEG")
                    if split == "validation":
                        validation.append(f"{wnid}/{stem}.JPEG {wnid}/{stem}.png" if columns == 2 else f"{wnid}/{stem}.JPEG")
                        self.masks[f"validation-segmentation/{wnid}/{stem}.png"] = label_map(index + 1)
        num = len(categories)
        self.list("categories/ImageNetS_categories_im{}.txt", categories)
        self.list("names/ImageNetSemi_im{}_train.txt", semi)
        self.list("names/ImageNetS_im{}_validation.txt", validation)
        for split, lines in mappings.items():
            self.list(f"mapping/ImageNetS_im{{}}_mapping_{split}.txt", lines)
        self.num = num

    def list(self, name: str, lines) -> None:
        self.write("lists/" + name.format(len(self.categories)), "\n".join(lines).encode())

    def list_path(self, name: str) -> Path:
        return self.lists / name.format(len(self.categories))

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def archive(self, name: str = "masks.zip", prefix: str = "", extra: dict[str, bytes] | None = None) -> Path:
        """The masks as a zip archive."""
        path = self.root / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, data in {**{prefix + key: data for key, data in self.masks.items()}, **(extra or {})}.items():
                archive.writestr(key, data)
        return path

    def mask_folder(self) -> Path:
        for key, data in self.masks.items():
            self.write(f"masks/{key}", data)
        return self.root / "masks"
