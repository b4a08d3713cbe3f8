"""Distance matching: golden set A, 12."""

import numpy as np
import pytest
from shared_folder import shared_path

from tests.luss.golden import fill_net, image_items, pixels_of

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case", range(4))
def test_votes(golden_pass, case):
    from engine.ops.knn_vote import LabelledBank, knn_vote
    from engine.runtime import jt

    golden = golden_pass[1].Golden("12_distance_matching")
    k, temperature, classes = golden[f"knn/{case}/cfg"]
    bank = LabelledBank(golden[f"knn/{case}/train"], golden[f"knn/{case}/labels"], int(classes))
    found = knn_vote(jt.array(golden[f"knn/{case}/test"]), bank, int(k), float(temperature))
    assert golden.check(f"knn/{case}/prediction", found)


def test_bank_and_maps_of_image_files(golden_pass):
    from engine.data import WholeImageDataset
    from engine.ops.knn_vote import LabelledBank
    from luss.benchmark.label_map import read_label_map
    from luss.models.resnet import ResNet
    from luss.stages.distance import instance_vectors, pixel_vectors, vote_maps

    init, check = golden_pass
    golden = check.Golden("12_distance_matching")
    net = fill_net(ResNet("resnet18", 64), init, training=False)
    names = ["semi0", "semi2", "semi1"]  # in the order of their class folders, as the golden labels show
    rows, labels = [], []
    dataset = WholeImageDataset(image_items(names))
    for number, name in enumerate(names):
        sample = dataset.load(0, number)
        vectors = pixel_vectors(net, pixels_of(sample).whole(256, False)).numpy()[0]
        found = instance_vectors(vectors, read_label_map(shared_path("golden", "pass", "images", f"gt_{name}.png")))
        rows.append(found[0])
        labels.append(found[1])
    rows, labels = np.concatenate(rows), np.concatenate(labels)
    assert golden.check("resnet18/e2e/embeddings_train", rows)
    assert golden.check("resnet18/e2e/labels_train", labels)
    maps_of = vote_maps(net, LabelledBank(rows, labels, 51), 10, 0.07)
    for number, name in enumerate(["dm0", "dm1"]):
        sample = WholeImageDataset(image_items(["dm0", "dm1"])).load(0, number)
        (ids,) = maps_of(pixels_of(sample).whole(256, False), sample["size"][None])
        assert golden.check(f"resnet18/e2e/{name}/label", ids)
