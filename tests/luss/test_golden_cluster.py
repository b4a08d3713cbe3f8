"""Clustering features of image files, from pixels on: golden set A, 08 (`png` and the square `png_jittor_square`)."""

import numpy as np
import pytest

from tests.luss.golden import fill_net, image_items, overrides, pixels_of

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case, square", [("png", False), ("png_jittor_square", True)])
def test_features_of_files(golden_pass, case, square):
    from engine.clustering.faiss_kmeans import nearest, unit_rows
    from engine.data import WholeImageDataset
    from engine.runtime import jt
    from luss.models.networks import AttentionNet
    from luss.stages.features import extract

    init, check = golden_pass
    golden = check.Golden("08_cluster")
    start = f"resnet18/{case}/"
    net = fill_net(AttentionNet("resnet18", 64, 32, 16, 20), init, training=False, replace=overrides(golden), absolute=("fbg.atten.3.weight",))
    names = [path.rpartition("/")[2][: -len(".png")] for path in golden[start + "paths"]]
    dataset = WholeImageDataset(image_items(names))
    x = np.concatenate([pixels_of(dataset.load(0, i)).centres(256, 224, square).numpy() for i in range(len(names))])
    features = extract(net, jt.array(x))
    unit = unit_rows(features)
    labels, distance = nearest(unit, golden["resnet18/centroids"])
    assert golden.check(start + "input", x)
    assert golden.check(start + "embedding", features)
    assert golden.check(start + "normalized", unit)
    assert golden.check(start + "nearest_centroid", labels)
    expected, tolerance = golden[start + "nearest_dist2"][:, 0], golden.tol[start + "nearest_dist2"]["atol"]
    np.testing.assert_allclose(distance, expected, rtol=0, atol=tolerance)  # we keep the nearest alone, the golden array has two
