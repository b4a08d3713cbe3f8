"""The bank of the distance-matching protocol on small images; the published figures are in test_golden_distance."""

import numpy as np
import pytest
from PIL import Image

from engine.runtime.errors import LussError
from luss.settings import load_settings
from luss.stages import common, distance
from luss.stages.common import Job
from luss.workspace import Workspace
from tests.engine.data.samples import image_tree


@pytest.fixture
def job(tmp_path):
    """Six images of two classes; the mask of each holds 0 above, its class below, and ignored pixels at the left."""
    root = image_tree(tmp_path / "data", split="train-semi")
    for path in (root / "train-semi").glob("*/*.JPEG"):
        width, height = Image.open(path).size
        coded = np.zeros((height, width, 3), np.uint8)
        coded[height // 2 :, :, 0] = 1 + (path.parent.name == "n02")
        coded[:, : width // 4] = 232, 3, 0
        target = root / "train-semi-segmentation" / path.parent.name / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coded).save(target)
    settings = load_settings("demo", overrides=[f"data.root={root}", "data.workers=0", "distance.resize=64", "distance.batch_size=2"])
    folder = Workspace(tmp_path / "run").stage("distance")
    folder.path.mkdir(parents=True)
    return Job(Workspace(tmp_path / "run"), settings, folder)


@pytest.fixture
def net():
    from luss.models.layers import set_training
    from luss.models.resnet import ResNet

    net = ResNet("resnet18", 4)
    set_training(net, False)
    return net


def test_every_process_makes_the_whole_bank(job, net, monkeypatch):
    rows, labels = distance.make_bank(job, net)
    assert labels.tolist() == [0, 1] * 3 + [0, 2] * 3 and rows.shape == (12, 32) and np.isfinite(rows).all()
    kept, again = distance.make_bank(job, net)  # from its file
    assert np.array_equal(kept, rows) and np.array_equal(again, labels)
    (job.path / "bank.npz").unlink()
    monkeypatch.setattr(common, "rank", lambda: 1)
    monkeypatch.setattr(common, "world_size", lambda: 2)
    alone, of_one = distance.make_bank(job, net)
    assert np.array_equal(of_one, labels) and np.array_equal(alone, rows)


def test_an_id_without_a_class_folder_is_refused(job, net):
    path = next((job.path.parent.parent / "data" / "train-semi-segmentation").glob("*/*.png"))
    Image.new("RGB", Image.open(path).size, (3, 0, 0)).save(path)
    with pytest.raises(LussError, match="id 3; expected 0 to 2"):
        distance.make_bank(job, net)


def test_masks_that_are_all_ignored_leave_nothing_to_match_with(job, net):
    for path in (job.path.parent.parent / "data" / "train-semi-segmentation").glob("*/*.png"):
        Image.new("RGB", Image.open(path).size, (232, 3, 0)).save(path)
    with pytest.raises(LussError, match="nothing to match with"):
        distance.make_bank(job, net)
