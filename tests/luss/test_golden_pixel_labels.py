"""Label maps of image files, from pixels on: golden set A, 09 (`png` and the square `png_jittor_square`)."""

import pytest

from tests.luss.golden import fill_net, image_items, overrides, pixels_of

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case, square", [("png", False), ("png_jittor_square", True)])
def test_label_maps_of_files(golden_pass, case, square):
    from engine.data import WholeImageDataset
    from engine.ops.upsample_argmax import enlarge_map
    from luss.models.networks import AttentionNet
    from luss.stages.pixel_labels import image_labels

    init, check = golden_pass
    golden = check.Golden("09_pixel_labels")
    net = fill_net(AttentionNet("resnet18", 64, 32, 16, 20), init, training=False, replace=overrides(golden), absolute=("fbg.atten.3.weight",))
    names = ["ipa0", "ipa1", "ipa2"]
    dataset = WholeImageDataset(image_items(names))
    threshold = float(golden[f"resnet18/{case}/threshold"])
    for i, name in enumerate(names):
        start, sample = f"resnet18/{case}/{name}/", dataset.load(0, i)
        pixels, size = pixels_of(sample).whole(256, square), sample["size"]
        (ids,), attention = image_labels(net, pixels, size[None], golden["resnet18/c12/centroids"], threshold)
        assert golden.check(start + "attention", attention.numpy()[:, None])
        assert golden.check(start + "mask", enlarge_map(attention.numpy()[0], tuple(size)))
        assert golden.check(start + "label", ids)


@pytest.mark.parametrize("case, count", [("c12", 3), ("c300", 2)])
def test_enlarged_features(golden_pass, case, count):
    """The enlarged feature map before its normalisation; attention and label maps of these cases stand in test_golden_forward."""
    from engine.ops.upsample import upsample_bilinear
    from engine.runtime import jt
    from luss.models.networks import AttentionNet

    init, check = golden_pass
    golden = check.Golden("09_pixel_labels")
    net = fill_net(AttentionNet("resnet18", 64, 32, 16, 20), init, training=False, replace=overrides(golden), absolute=("fbg.atten.3.weight",))
    for i in range(count):
        start = f"resnet18/{case}/im{i}/"
        height, width = (int(v) for v in golden[start + "size"][:2])
        c4 = net.features(jt.array(init.make_input(f"ipa/{i}", (3, height, width), 1000)[None]))
        f = upsample_bilinear(c4, (4 * c4.shape[2], 4 * c4.shape[3]))
        assert golden.check(start + "feature", f.numpy())
