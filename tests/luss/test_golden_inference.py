"""Predictions for image files, from pixels on, and their match: golden set A, 11 (`png` and the square `png_jittor_square`)."""

import pytest
from shared_folder import shared_path

from tests.luss.golden import fill_net, image_items, overrides, pixels_of

pytestmark = pytest.mark.golden
NAMES = ["val0", "val1", "val2"]


def predicted_maps(init, golden, case, square):
    from engine.data import WholeImageDataset
    from engine.ops.upsample_argmax import upsample_argmax
    from luss.models.networks import FinetuneNet
    from luss.stages.predict import predict_logits

    net = fill_net(FinetuneNet("resnet18", 64, 20), init, training=False, replace=overrides(golden))
    dataset = WholeImageDataset(image_items(NAMES))
    maps = []
    for i, name in enumerate(NAMES):
        sample = dataset.load(0, i)
        logits = predict_logits(net, pixels_of(sample).whole(256, square))
        assert golden.check(f"resnet18/{case}/{name}/logits", logits.numpy())
        maps.extend(upsample_argmax(logits, sample["size"][None], max_res=1000))
    return maps


@pytest.mark.parametrize("case, square", [("png", False), ("png_jittor_square", True)])
def test_predictions_for_files(golden_pass, case, square):
    init, check = golden_pass
    golden = check.Golden("11_inference")
    for name, ids in zip(NAMES, predicted_maps(init, golden, case, square)):
        assert golden.check(f"resnet18/{case}/{name}/label", ids)


def test_match_has_the_published_cooccurrence(golden_pass):
    """Ties are resolved by the assignment package, so the total is compared and not the pairs."""
    from luss.benchmark.counts import count_image, stack_counts
    from luss.benchmark.label_map import read_label_map
    from luss.benchmark.matching import cooccurrence, match_images, objective

    init, check = golden_pass
    golden = check.Golden("11_inference")
    maps = predicted_maps(init, golden, "png", False)
    truth = [read_label_map(shared_path("golden", "pass", "images", f"gt_{name}.png")) for name in NAMES]
    table = stack_counts(count_image(ids, gt) for ids, gt in zip(maps, truth))
    together = cooccurrence(table, 20, 20)
    published = {int(cluster): int(label) for cluster, label in golden["resnet18/png/match"]}
    assert len(published) == 21 and published[0] == 0
    assert objective(together, match_images(table, 20, 20)) == objective(together, published) > 0
