"""ops.backend=reference: every op that has a reference runs it and nothing else, on Jittor's arrays and on the host, forward and backward."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from engine.data.eval_plan import center_cuts
from engine.ops.attention_head import attention_head, attention_head_host
from engine.ops.attention_pool import attention_pool, attention_pool_grad_host, attention_pool_host, pixel_norms, pixel_norms_host
from engine.ops.augment_crops import augment_crops, augment_crops_host
from engine.ops.backend import backend
from engine.ops.centroid_sums import centroid_sums, centroid_sums_host
from engine.ops.crop_labels import crop_labels, crop_labels_host
from engine.ops.fixed_sums import fixed_sums, fixed_sums_host, move_rows_host
from engine.ops.knn_vote import LabelledBank, knn_vote
from engine.ops.nearest_again import NearestAgain
from engine.ops.nearest_centroid import nearest_centroid, nearest_centroid_host
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid, pixel_nearest_centroid_host
from engine.ops.project_rows import project_rows, project_rows_host
from engine.ops.resize_crops import resize_crops, resize_crops_host
from engine.ops.unit_rows import row_squares_host, unit_rows, unit_rows_host
from engine.ops.upsample import upsample_bilinear
from engine.ops.upsample_argmax import enlarge_map, upsample_argmax, upsample_argmax_host
from engine.ops.upsample_cross_entropy import upsample_cross_entropy, upsample_cross_entropy_host
from engine.ops.vote_masks import vote_masks, vote_masks_host
from engine.runtime import jt
from tests.engine.data.samples import photo
from tests.engine.ops.attention_samples import head_inputs, pool_inputs
from tests.engine.ops.crop_samples import pack, random_plan
from tests.engine.ops.test_crop_labels import sample as label_sample

OPS = Path(__file__).resolve().parent.parent.parent.parent / "engine" / "ops"
rng = np.random.default_rng(0)
PIXELS, IMAGES = pack([np.asarray(photo(width, height, seed=width)) for width, height in ((61, 47), (23, 90))])
CROPS = random_plan(IMAGES, 3, seed=2)
CUTS = center_cuts(IMAGES["width"], IMAGES["height"], 24, 20, False)
LABELS = label_sample(1, 3, 9, 8)
FEATURES, CENTROIDS = rng.standard_normal((2, 6, 3, 4)).astype(np.float32), rng.standard_normal((5, 6)).astype(np.float32)
ATTENTION, SIZES = rng.random((2, 12, 16), np.float32), [(20, 31), (9, 8)]
GATE = {"attention": ATTENTION, "threshold": 0.4}
ROWS, IDS = rng.standard_normal((40, 6)).astype(np.float32), rng.integers(0, 5, 40).astype(np.int32)
POOL = pool_inputs(9, 1, 3, 2, 2)
HEAD = head_inputs(3, 1, 4, 2, 3)
TARGETS = rng.integers(0, 6, (2, 12, 16)).astype(np.int32)
MAP, MASKS = rng.integers(0, 9, (11, 13)).astype(np.uint16), rng.random((4, 11, 13)) < 0.4

# float32 against float64 for numbers of about 1 behind a few dozen roundings of 2^-24 each, enlarged by a normalisation's 1 / std of up to 4.5
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
HALF = {"rtol": 2.0**-10, "atol": 2.0**-10}  # one unit in the last place of float16
SAME = {"rtol": 0, "atol": 0}  # whole numbers; no two values of these samples are within rounding of each other


def moves():
    sums, counts = np.full((1, 5, 6), 3), np.full((1, 5), 4)
    return move_rows_host(ROWS, IDS[None], IDS[::-1][None], sums, counts, 30), sums, counts


def gradients(op, *arrays):
    """The op's first result and what all of it gives to its arguments."""
    given = [jt.array(array) for array in arrays]
    out = op(*given)
    return [out, *jt.grad((out * jt.array(np.cos(np.arange(out.numel())).reshape(out.shape).astype(np.float32))).sum(), given)]


def entropy():
    x = jt.array(FEATURES)
    loss, accuracy = upsample_cross_entropy(x, TARGETS)
    return loss, accuracy, jt.grad(2 * loss, x)


# module, names of the references in it that have to be called, the call, how close
def again():
    """Labels of one set; the bounds beside them are any that hold, the reference's the best there are."""
    label, lower = np.full((1, len(ROWS)), -1, np.int32), np.full((1, len(ROWS)), -np.inf, np.float32)
    with NearestAgain(CENTROIDS[None]) as nearest:
        nearest(ROWS, label, lower)
    return [label]


CASES = [
    ("augment_crops", ("reference",), lambda: augment_crops(PIXELS, IMAGES, CROPS, (19, 33)), CLOSE),
    ("augment_crops", ("reference",), lambda: augment_crops_host(PIXELS, IMAGES, CROPS, 17, dtype="float16"), HALF),
    ("augment_crops", ("reference_levels",), lambda: augment_crops_host(PIXELS, IMAGES, CROPS, 17, dtype="uint8"), SAME),
    ("resize_crops", ("reference",), lambda: resize_crops(jt.array(PIXELS), IMAGES, CUTS, 20), CLOSE),
    ("resize_crops", ("reference",), lambda: resize_crops_host(PIXELS, IMAGES, CUTS, 20, dtype="float16"), HALF),
    ("resize_crops", ("reference_levels",), lambda: resize_crops_host(PIXELS, IMAGES, CUTS, 20, dtype="uint8"), SAME),
    ("crop_labels", ("reference",), lambda: crop_labels(*LABELS), SAME),
    ("crop_labels", ("reference",), lambda: crop_labels_host(*LABELS), SAME),
    ("knn_vote", ("reference",), lambda: knn_vote(jt.array(ROWS[:7]), LabelledBank(ROWS[7:], IDS[7:], 5), 4), SAME),
    ("upsample", ("reference", "reference_grad"), lambda: gradients(lambda x: upsample_bilinear(x, (7, 9)), FEATURES), CLOSE),
    ("upsample_argmax", ("reference",), lambda: upsample_argmax(jt.array(FEATURES), SIZES, **GATE), SAME),
    ("upsample_argmax", ("reference",), lambda: upsample_argmax_host(FEATURES, SIZES, middle=(6, 8), max_res=10, first_id=2), SAME),
    ("upsample_argmax", ("reference_map",), lambda: enlarge_map(ATTENTION[0], (20, 31)), CLOSE),
    ("pixel_nearest_centroid", ("reference",), lambda: pixel_nearest_centroid(jt.array(FEATURES), CENTROIDS, SIZES), SAME),
    ("pixel_nearest_centroid", ("reference",), lambda: pixel_nearest_centroid_host(FEATURES, CENTROIDS, SIZES, **GATE), SAME),
    ("nearest_centroid", ("_reference",), lambda: nearest_centroid(jt.array(ROWS), CENTROIDS), CLOSE),
    ("nearest_centroid", ("_reference",), lambda: nearest_centroid_host(ROWS, CENTROIDS, cosine=True), CLOSE),
    ("nearest_again", ("_reference",), again, SAME),
    ("centroid_sums", ("_reference",), lambda: centroid_sums(jt.array(ROWS), jt.array(IDS), 5), SAME),
    ("centroid_sums", ("_reference",), lambda: centroid_sums_host(ROWS, IDS, np.int64(5)), SAME),
    ("fixed_sums", ("_reference",), lambda: fixed_sums(jt.array(ROWS), jt.array(IDS), 5, 30), SAME),
    ("fixed_sums", ("_reference",), lambda: fixed_sums_host(ROWS, IDS[None], np.int64(5), np.int64(30)), SAME),
    ("fixed_sums", ("_reference_moves",), moves, SAME),
    ("unit_rows", ("_reference",), lambda: unit_rows(jt.array(ROWS)), CLOSE),
    ("unit_rows", ("_reference",), lambda: unit_rows_host(ROWS.astype(np.float16)), CLOSE),
    ("unit_rows", ("_reference_squares",), lambda: row_squares_host(ROWS), CLOSE),
    ("project_rows", ("_reference",), lambda: project_rows(jt.array(ROWS), CENTROIDS[0], CENTROIDS.T.copy()), CLOSE),
    ("project_rows", ("_reference",), lambda: project_rows_host(ROWS, CENTROIDS[0], CENTROIDS.T), CLOSE),
    ("attention_pool", ("reference_norms",), lambda: pixel_norms(jt.array(FEATURES)), CLOSE),
    ("attention_pool", ("reference_norms",), lambda: pixel_norms_host(FEATURES), CLOSE),
    ("attention_pool", ("reference_pool", "reference_grad"), lambda: gradients(attention_pool, *POOL), CLOSE),
    ("attention_pool", ("reference_pool",), lambda: attention_pool_host(*POOL, False), CLOSE),
    ("attention_pool", ("reference_grad",), lambda: attention_pool_grad_host(*POOL, np.ones((1, 3), np.float32)), CLOSE),
    ("attention_head", ("reference",), lambda: attention_head(jt.array(HEAD[0]), type(HEAD[1])(*map(jt.array, HEAD[1]))), CLOSE),
    ("attention_head", ("reference",), lambda: attention_head_host(*HEAD), CLOSE),
    ("upsample_cross_entropy", ("reference",), entropy, CLOSE),
    ("upsample_cross_entropy", ("reference",), lambda: upsample_cross_entropy_host(FEATURES, TARGETS, 5, (6, 8)), CLOSE),
    ("vote_masks", ("reference",), lambda: vote_masks(jt.array(MAP), MASKS), SAME),
    ("vote_masks", ("reference",), lambda: vote_masks_host([MAP], [MASKS], on="original")[0], SAME),
]


def arrays(found) -> list[np.ndarray]:
    parts = found if isinstance(found, (list, tuple)) else [found]
    return [part.numpy() if isinstance(part, jt.Var) else np.asarray(part) for part in parts]


@pytest.mark.parametrize(("module", "names", "call", "close"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_the_op_runs_its_reference_and_means_the_same(monkeypatch, module, names, call, close):
    fast, op, called = arrays(call()), importlib.import_module(f"engine.ops.{module}"), set()

    def recording(name, function):
        def record(*given, **options):
            called.add(name)
            return function(*given, **options)

        return record

    for name in names:
        monkeypatch.setattr(op, name, recording(name, getattr(op, name)))
    assert arrays(call()) and not called  # not unless it is asked for
    for name in ("_library", "library"):
        if hasattr(op, name):
            monkeypatch.setattr(op, name, lambda: pytest.fail("the compiled library was used"))
    with backend("reference"):
        slow = arrays(call())
    assert called == set(names) and len(fast) == len(slow)
    for ours, theirs in zip(fast, slow):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape and theirs.flags.c_contiguous
        np.testing.assert_allclose(ours, theirs, **close)


def test_every_reference_is_among_them():
    """masks_reference is none of an op: it checks the forms of masks, which the ops are given."""
    assert {case[0] for case in CASES} == {path.name[: -len("_reference.py")] for path in OPS.glob("*_reference.py")} - {"masks"}


def test_crops_fill_the_callers_array():
    out = np.full((3, 17, 17, 3), 7, np.uint8)
    with backend("reference"):
        assert augment_crops_host(PIXELS, IMAGES, CROPS, 17, dtype="uint8", out=out) is out
    assert np.array_equal(out, augment_crops_host(PIXELS, IMAGES, CROPS, 17, dtype="uint8"))


def test_queries_that_are_not_finite_are_refused():
    with backend("reference"), pytest.raises(ValueError, match="queries: a cosine in rows 0..1 is not finite"):
        knn_vote(jt.array(np.array([[1, 2], [np.nan, 0]], np.float32)), LabelledBank(np.eye(2, dtype=np.float32), [0, 1], 2), 1)


def test_a_small_temperature_does_not_overflow():
    """exp(1 / 0.0005) has no float64: two classes of infinite weight would tie."""
    bank, queries = LabelledBank(np.array([[1, 0.1], [1, 0]], np.float32), [0, 1], 2), jt.array(np.array([[1, 0]], np.float32))
    with backend("reference"):
        assert knn_vote(queries, bank, 2, 0.0005).tolist() == [1]
    assert knn_vote(queries, bank, 2, 0.0005).tolist() == [1]
