"""The bootstrap against resampling the images themselves, and its laws."""

import numpy as np
import pytest

from engine.runtime.errors import LussError
from luss.benchmark import bootstrap
from luss.benchmark.bootstrap import METRICS, image_sums, interval, require_same_images, resample
from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.metrics import compute_metrics, iou
from luss.benchmark.per_image import class_areas

K = 3


def truths(number, seed=0, labels=(0, 1, 2, 3, 1000)):
    rng = np.random.default_rng(seed)
    return [np.kron(rng.choice(labels, (4, 4)), np.ones((5, 5), int)) for _ in range(number)]


def predictions(gts, wrong, seed=1):
    """The ground truth, a share of its cells replaced."""
    rng = np.random.default_rng(seed)
    made = []
    for gt in gts:
        cells = np.where(gt[::5, ::5] == 1000, 0, gt[::5, ::5])
        cells = np.where(rng.random(cells.shape) < wrong, rng.integers(0, K + 1, cells.shape), cells)
        made.append(np.kron(cells, np.ones((5, 5), int)))
    return made


def counted(gts, wrong, seed=1):
    return [count_image(pred, gt) for pred, gt in zip(predictions(gts, wrong, seed), gts)]


def names_of(items):
    return [f"n01/{number:03}.png" for number in range(len(items))]


def summed(names, counts, classes=K):
    return image_sums(names, stack_counts(counts), np.array([one.shape for one in counts]), classes)


def draws(images, resamples, seed):
    """The drawn images, as documented: one call for each resample."""
    rng = np.random.default_rng(seed)
    return [rng.integers(images, size=images) for _ in range(resamples)]


def test_equals_scoring_the_drawn_images_again():
    gts = truths(12)
    runs = [counted(gts, 0.3), counted(gts, 0.6, seed=2)]
    found = resample([summed(names_of(gts), counts) for counts in runs], 30, seed=5)
    for counts, values in zip(runs, found):
        for number, chosen in enumerate([np.arange(12), *draws(12, 30, 5)]):
            expected = compute_metrics(stack_counts([counts[image] for image in chosen]), K)  # every class is in every draw of these images
            for name in METRICS:
                assert values[name][number] == pytest.approx(expected[name], rel=1e-12), (name, number)


def test_a_class_that_was_not_drawn_is_left_out_of_the_mean():
    gts = [np.full((20, 20), label) for label in (1, 2, 3)] + truths(2, labels=(0, 1))
    counts = counted(gts, 0.3)
    values = resample([summed(names_of(gts), counts)], 40, seed=3)[0]
    absent = 0
    for number, chosen in enumerate(draws(5, 40, 3), 1):
        table = stack_counts([counts[image] for image in chosen])
        for name, boundary in (("mIoU", False), ("mBIoU", True)):
            common, predicted, true = (np.asarray(matrix.sum(1)).ravel() for matrix in class_areas(table, K, boundary))
            ious = [iou(*areas) for areas in zip(common, predicted, true) if areas[2] > 0]
            absent += 4 - len(ious)
            assert values[name][number] == pytest.approx(100 * np.mean(ious), rel=1e-12)
    assert absent > 0


def test_a_class_that_the_whole_set_lacks_counts_0_as_in_the_metric():
    gts = truths(6, labels=(0, 1))
    counts = [count_image(gt, gt) for gt in gts]
    values = resample([summed(names_of(gts), counts)], 20)[0]
    assert values["mIoU"] == pytest.approx(np.full(21, 50.0))


def test_both_runs_get_the_same_draws_so_equal_runs_never_differ():
    gts = truths(20)
    first, second = (summed(names_of(gts), counted(gts, 0.5)) for _ in range(2))
    a, b = resample([first, second], 50)
    for name in METRICS:
        assert interval(a[name] - b[name]) == bootstrap.Interval(0.0, 0.0, 0.0)
        assert np.ptp(a[name]) > 0


def test_the_order_of_images_and_the_blocks_do_not_matter(monkeypatch):
    gts = truths(15)
    counts, names = counted(gts, 0.4), names_of(gts)
    expected = resample([summed(names, counts)], 25)[0]
    monkeypatch.setattr(bootstrap, "_BLOCK", 60)  # 4 resamples at once
    found = resample([summed(names[::-1], counts[::-1])], 25)[0]
    for name in METRICS:
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    assert resample([summed(names, counts)], 25, seed=1)[0]["mIoU"][1:] != pytest.approx(expected["mIoU"][1:])


def test_a_clear_difference_is_found_and_the_figure_lies_inside():
    gts = truths(60)
    good, bad = resample([summed(names_of(gts), counted(gts, wrong)) for wrong in (0.2, 0.6)], 200)
    for name in METRICS:
        found, difference = interval(good[name]), interval(good[name] - bad[name])
        assert found.low <= found.value <= found.high
        assert difference.value == pytest.approx(good[name][0] - bad[name][0])
    assert interval(good["mIoU"] - bad["mIoU"]).low > 0


def test_interval_is_a_percentile():
    found = interval(np.array([7.0, *range(101)]))
    assert (found.value, found.low, found.high) == pytest.approx((7.0, 2.5, 97.5))


def sums(gts, names=None, classes=K):
    return summed(names or names_of(gts), [count_image(np.zeros_like(gt), gt) for gt in gts], classes)


def test_other_images_are_refused():
    gts = truths(4)
    base = sums(gts)
    changed = [gt.copy() for gt in gts]
    changed[2][:] = 1
    for other, complaint in (
        (sums(gts[:3]), r"B: not the images of A: 1 are in one of them only, e.g. n01/003.png in A"),
        (sums(gts, ["x", *names_of(gts)[1:]]), "2 are in one of them only, e.g. n01/000.png in A"),
        (sums(changed), r"B: 1 images have another ground truth than in A, e.g. n01/002.png"),
        (sums([gt[:, :15] if i == 1 else gt for i, gt in enumerate(gts)]), "1 images have another ground truth than in A, e.g. n01/001.png"),
        (sums(gts, classes=5), "B: 5 categories, but A has 3"),
    ):
        with pytest.raises(LussError, match=complaint):
            require_same_images(base, other, ("A", "B"))
        with pytest.raises(LussError, match="expected two runs of the same images"):
            resample([base, other], 3)
    require_same_images(base, sums(gts[::-1], names_of(gts)[::-1]))


def test_bad_arguments():
    gts = truths(2)
    with pytest.raises(ValueError, match="expected 2 distinct names"):
        summed(["a", "a"], counted(gts, 0))
    with pytest.raises(ValueError, match="resamples"):
        resample([sums(gts)], 0)
    with pytest.raises(ValueError, match="runs"):
        resample([], 10)
