import pickle

import numpy as np
import pytest
from PIL import Image

from engine.data.augment import eval_image
from engine.data.crops import correspondence_grids, crop_rng, random_resized_crop
from engine.data.datasets import AnnotatedDataset, CenterCropDataset, MultiCropDataset, PseudoLabelDataset, WholeImageDataset
from engine.data.decode import UnreadableImage, decode_image
from engine.data.folder import ImageItem, list_images
from engine.runtime.errors import LussError
from tests.engine.data.samples import image_tree


@pytest.fixture
def items(tmp_path):
    return list_images(str(image_tree(tmp_path)), "train").items


def multi(items, **changes):
    settings = {"seed": 3, "crops": (2, 3), "sizes": (32, 16), "min_scale": (0.14, 0.05), "max_scale": (1.0, 0.14), "jitter": 0.8, "with_grids": True}
    return MultiCropDataset(items, **{**settings, **changes})


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_multi_crop_shapes_and_types(items):
    dataset = multi(items)
    sample = dataset.load(0, 4)
    assert len(dataset) == 6
    assert {key: (value.shape, value.dtype.name) for key, value in sample.items()} == {
        "crops0": ((2, 32, 32, 3), "uint8"),
        "crops1": ((3, 16, 16, 3), "uint8"),
        "grid_q": ((7, 7, 2), "float32"),
        "grid_k": ((7, 7, 2), "float32"),
    }
    assert multi(items, with_grids=False).load(0, 4).keys() == {"crops0", "crops1"}
    assert multi(items, crops=(2,), sizes=(8,), min_scale=(0.1,), max_scale=(1.0,)).load(0, 0)["crops0"].shape == (2, 8, 8, 3)


def test_multi_crop_depends_on_seed_epoch_and_index_only(items):
    first = multi(items).load(1, 2)
    dataset = multi(items)
    dataset.load(0, 5)
    assert same(dataset.load(1, 2), first) and same(pickle.loads(pickle.dumps(dataset)).load(1, 2), first)
    for other in (dataset.load(2, 2), dataset.load(1, 3), multi(items, seed=4).load(1, 2)):
        assert not np.array_equal(other["crops0"], first["crops0"])
    assert not np.array_equal(first["crops1"][0], first["crops1"][1])


def test_multi_crop_grids_are_those_of_the_first_two_boxes(items):
    image = decode_image(items[1].path)
    rects = []
    for crop in range(2):
        rng = crop_rng(3, 7, 1, crop)
        box = random_resized_crop(rng, image.width, image.height, (0.14, 1.0))
        rects.append((*box, int(rng.random() < 0.5)))
    sample = multi(items).load(7, 1)
    assert np.array_equal(sample["grid_q"], correspondence_grids(*rects)[0]) and np.array_equal(sample["grid_k"], correspondence_grids(*rects)[1])


def test_multi_crop_arguments(items):
    with pytest.raises(ValueError, match=r"sizes=\(32,\).*equal lengths"):
        multi(items, sizes=(32,))
    with pytest.raises(ValueError, match=r"crops=\(1, 3\): grids need at least 2"):
        multi(items, crops=(1, 3))


def test_many_items_travel_compactly():
    items = [ImageItem(f"/data/train/n{i % 50:08d}/n{i % 50:08d}_{i}.JPEG", f"n{i % 50:08d}/n{i % 50:08d}_{i}.JPEG", i % 50) for i in range(5000)]
    dataset = multi(items)
    assert len(pickle.dumps(dataset, protocol=4)) < 60 * 5000
    assert [dataset._paths[i] for i in (0, 1, 4999)] == [items[i].path for i in (0, 1, 4999)]


def test_paths_that_are_not_utf8_survive(tmp_path):
    name = b"n\xff.jpg".decode("utf8", "surrogateescape")
    dataset = WholeImageDataset([ImageItem(f"/x/{name}", name, -1), ImageItem("/x/\u00e9\u4e2d.jpg", "b", -1)], 32)
    assert [dataset._paths[i] for i in range(2)] == [f"/x/{name}", "/x/\u00e9\u4e2d.jpg"]


def test_centre_crop_and_whole_image(items):
    image = decode_image(items[5].path)  # 74 x 53
    whole = WholeImageDataset(items, 40).load(0, 5)
    assert np.array_equal(whole["image"], eval_image(image, 40)) and whole["image"].shape == (40, 55, 3)
    assert whole["size"].tolist() == [53, 74] and whole["size"].dtype == np.int64
    centre = CenterCropDataset(items, 40, 32).load(9, 5)["image"]
    assert np.array_equal(centre, eval_image(image, 40)[4:36, 12:44])  # 11.5 is rounded to the even 12
    assert np.array_equal(CenterCropDataset(items, 40, 32, square=True).load(0, 5)["image"], eval_image(image, 40, square=True)[4:36, 4:36])
    assert WholeImageDataset(items, 40, square=True).load(0, 5)["image"].shape == (40, 40, 3)
    with pytest.raises(ValueError, match="crop=41: expected at most resize=40"):
        CenterCropDataset(items, 40, 41)


def test_unreadable_photographs_are_named(items):
    with open(items[0].path, "wb"):
        pass
    for dataset in (multi(items), WholeImageDataset(items, 40), CenterCropDataset(items, 40, 32), PseudoLabelDataset(items, "/none", 0, 8, (0.1, 1))):
        with pytest.raises(UnreadableImage, match="n01_0.JPEG: unreadable image: empty file"):
            dataset.load(0, 0)


def test_pseudo_labels(items, tmp_path):
    root = tmp_path / "labels"
    for item in items:
        image = decode_image(item.path)
        ids = np.zeros((image.height, image.width), np.int32)
        ids[:, image.width // 2 :] = 300
        path = root / item.key.replace(".JPEG", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)).save(path)
    dataset = PseudoLabelDataset(items, str(root), 1, 24, (0.5, 1.0))
    sample = dataset.load(0, 3)
    assert sample["image"].shape == (24, 24, 3) and sample["image"].dtype == np.uint8
    assert sample["label"].shape == (24, 24) and sample["label"].dtype == np.int32 and set(np.unique(sample["label"])) <= {0, 300}
    assert same(dataset.load(0, 3), sample) and not same(dataset.load(1, 3), sample)
    assert {len(np.unique(dataset.load(epoch, 0)["label"])) for epoch in range(5)} == {2}
    (root / "n02" / "n02_0.png").unlink()
    with pytest.raises(LussError, match=r"labels/n02/n02_0.png: no usable pseudo label for .*n02_0.JPEG \(no such file\)") as caught:
        dataset.load(0, 3)
    assert not isinstance(caught.value, UnreadableImage)


def annotated(items, root, **changes):
    settings = {"seed": 3, "size": 24, "scale": (0.3, 1.0), "jitter": 0.8, "grey": 0.2, "blur": 0.5}
    return AnnotatedDataset(items, str(root), **{**settings, **changes})


@pytest.fixture
def masks(items, tmp_path):
    """A mask of every image that repeats its red channel, so that crop and mask can be compared; id = red + 256."""
    for item in items:
        red = np.asarray(decode_image(item.path))[..., 0]
        path = tmp_path / "masks" / item.key.replace(".JPEG", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([red, np.ones_like(red), np.zeros_like(red)], axis=-1)).save(path)
    return tmp_path / "masks"


def test_annotated_crops_show_the_same_place_in_image_and_mask(items, masks):
    plain = annotated(items, masks, jitter=0.0, grey=0.0, blur=0.0)
    for epoch in range(4):
        sample = plain.load(epoch, 2)
        assert sample["image"].shape == (24, 24, 3) and sample["label"].shape == (24, 24) and sample["label"].dtype == np.int32
        image, mask = sample["image"][..., 0].astype(float).ravel(), (sample["label"] - 256).astype(float).ravel()
        assert np.corrcoef(image, mask)[0, 1] > 0.9  # bilinear and nearest differ by the photograph's noise
    # the photometric draws come after the box and the flip: they leave the mask where it was
    assert np.array_equal(annotated(items, masks).load(1, 2)["label"], plain.load(1, 2)["label"])
    assert not np.array_equal(annotated(items, masks).load(1, 2)["image"], plain.load(1, 2)["image"])
    assert same(pickle.loads(pickle.dumps(plain)).load(1, 2), plain.load(1, 2))


def test_annotated_needs_a_mask_of_equal_size(items, masks):
    path = masks / items[0].key.replace(".JPEG", ".png")
    Image.new("RGB", (7, 5)).save(path)
    with pytest.raises(LussError, match=r"7x5 pixels, its photograph .* has 60x48"):
        annotated(items, masks).load(0, 0)
    path.unlink()
    with pytest.raises(LussError, match="no usable mask"):
        annotated(items, masks).load(0, 0)
