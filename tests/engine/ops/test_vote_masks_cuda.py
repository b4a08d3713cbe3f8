"""The CUDA kernel of vote_masks: run on the CPU against the reference, and compiled by nvcc where it is."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from engine.ops import vote_masks as op
from engine.ops.masks import Masks
from engine.ops.vote_masks_reference import vote_masks as reference
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches
from tests.engine.ops.test_vote_masks import GOLDEN, GOLDEN_MASKS, GOLDEN_OTHER_ORDER, GOLDEN_STEPS, image

DEFAULTS = {"on": "current", "min_area": 0, "min_share": 0.0, "ignore_background": False}


def kernel(maps, masks, form="runs", bins=None, order="forward", in_place=False, split=True, **options):
    """New maps and (M, 4) votes of a batch, by the kernel."""
    rules = op.check_rules(*({**DEFAULTS, **options}[name] for name in DEFAULTS))
    given = [Masks.from_dense(some) for some in masks]
    counts = [len(some) for some in given]
    table = op.image_table([one.shape for one in maps], counts)
    flat = np.concatenate([one.ravel() for one in maps])
    words = np.concatenate([some.to_packed().ravel() for some in given]) if form == "packed" else None
    runs, offsets = op.short_runs(given)
    if not split:
        runs = np.concatenate([some.runs for some in given])
        offsets = np.cumsum(np.concatenate([[0], *(np.diff(some.offsets) for some in given)]))
    out, votes = emulate(flat, table, words, runs, offsets, sum(counts), rules, bins or int(flat.max(initial=0)) + 1, order, in_place)
    ends = np.cumsum([0, *(one.size for one in maps)])
    found = [out[begin:end].reshape(one.shape) for begin, end, one in zip(ends, ends[1:], maps)]
    ends = np.cumsum([0, *counts])
    return found, [votes[begin:end] for begin, end in zip(ends, ends[1:])]


def emulate(flat, table, words, runs, offsets, masks, rules, bins, order="forward", in_place=False):
    """(pixels,) new maps and (masks, 4) votes; words is None, or runs and offsets are."""
    out, votes = np.empty_like(flat), np.full((masks, 4), -7, np.int32)
    sizes = [ctypes.c_int64(0 if array is None else len(array)) for array in (words, runs)]
    offsets = None if offsets is None else np.ascontiguousarray(offsets, np.int64)
    call(
        driver("vote_masks").luss_emulate_vote_masks,
        *(flat, ctypes.c_int64(flat.size), table, len(table), words, sizes[0], runs, sizes[1], offsets, ctypes.c_int64(masks)),
        *(rules, bins, int(flat.dtype == np.int32), int(in_place), out, votes),
        order=order,
    )
    return out, votes


def agrees(maps, masks, **options):
    choices = {name: options[name] for name in DEFAULTS if name in options}
    found, votes = kernel(maps, masks, **options)
    for i, (one, some) in enumerate(zip(maps, masks)):
        expected, expected_votes = reference(one, some, **choices)
        assert np.array_equal(found[i], expected), i
        assert np.array_equal(votes[i], expected_votes), i


def batch(seed, labels, kind, shapes=((5, 7), (1, 1), (33, 41), (3, 129), (16, 32)), most=5):
    rng = np.random.default_rng(seed)
    pairs = [image(seed + i, height, width, int(rng.integers(0, most)), labels, kind) for i, (height, width) in enumerate(shapes)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("form", ["runs", "packed"])
@pytest.mark.parametrize(("labels", "kind"), [(3, "uint16"), (51, "int32"), (920, "uint16")])
def test_batches_equal_the_reference(form, labels, kind, order):
    maps, masks = batch(labels, labels, kind)
    agrees(maps, masks, form=form, order=order)


@pytest.mark.parametrize("form", ["runs", "packed"])
@pytest.mark.parametrize(
    "options",
    [
        {"on": "original"},
        {"ignore_background": True, "min_share": 0.5},
        {"min_area": 30, "on": "original", "min_share": 0.3},
    ],
)
def test_options(form, options):
    maps, masks = batch(3, 4, "uint16")
    agrees(maps, masks, form=form, order="random", **options)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_the_example_of_the_spec(order):
    for form in ("runs", "packed"):
        assert kernel([GOLDEN], [GOLDEN_MASKS], form, order=order)[0][0].tolist() == GOLDEN_STEPS[3]
        assert kernel([GOLDEN], [GOLDEN_MASKS[[1, 0, 2]]], form, order=order)[0][0].tolist() == GOLDEN_OTHER_ORDER


@pytest.mark.parametrize("form", ["runs", "packed"])
def test_more_bins_than_fit_into_shared_memory(form):
    maps, masks = batch(11, 65536, "uint16", shapes=((20, 30), (9, 9)), most=3)
    agrees(maps, masks, form=form, bins=65536)
    limit = 12000
    maps[0][0, 0] = limit - 1
    maps = [np.minimum(one, limit - 1) for one in maps]
    agrees(maps, masks, form=form, bins=limit)
    agrees(maps, masks, form=form, bins=limit + 1, order="reverse")


def test_more_images_than_global_tables():
    maps = [np.full((1, 2), i, np.int32) for i in range(270)]
    masks = [np.ones((1, 1, 2), bool)] * 270
    agrees(maps, masks, bins=12001)


def test_in_place_long_runs_and_nothing():
    maps, masks = batch(5, 51, "int32")
    agrees(maps, masks, in_place=True, order="random")
    agrees(maps, masks, split=False, order="reverse")
    agrees([np.zeros((0, 4), np.uint16), np.ones((2, 2), np.uint16)], [np.ones((2, 0, 4), bool), np.zeros((0, 2, 2), bool)])
    agrees([np.zeros((0, 4), np.uint16)], [np.ones((2, 0, 4), bool)], form="packed")


def test_ids_beyond_the_bins_have_no_vote():
    map_ = np.array([[7, 7, 7, 2, 2, -1, -1, -1]], np.int32)
    masks = np.zeros((2, 1, 8), bool)
    masks[0, 0, :3] = masks[1, 0, 1:] = True
    found, votes = kernel([map_], [masks], bins=7)
    assert found[0].tolist() == [[7, 2, 2, 2, 2, 2, 2, 2]]
    assert votes[0].tolist() == [[-1, 0, 3, 0], [2, 2, 7, 1]]


@pytest.mark.parametrize("form", ["runs", "packed"])
@pytest.mark.parametrize("bins", [None, 920, 12345])
def test_what_the_op_hands_to_the_kernel(form, bins):
    """The op's CUDA side, with Jittor on the CPU and the emulation in the place of jt.code's kernel."""
    from engine.runtime import jt

    def code(shapes, kinds, inputs, cuda_header, cuda_src, data):
        flat, table, *rest = (one.numpy() for one in inputs)
        words, runs, offsets = (rest[0], None, None) if "vote_masks_packed" in cuda_src else (None, rest[0], rest[1].view(np.int64).ravel())
        rules = np.array([(*(data[name] for name in op.RULES.names[:-1]), 0)], op.RULES)
        out, votes = emulate(flat, table.view(op.IMAGE).ravel(), words, runs, offsets, shapes[1][0], rules, int(data["bins"]))
        assert shapes[0] == out.shape and kinds == ["int32", "int32", "int32"] and shapes[2] == (5 * 12345 if bins == 12345 else 1,)
        return [jt.array(out), jt.array(votes), jt.zeros(shapes[2], "int32")]

    maps, masks = batch(21, 920, "int32")
    masks = [some if len(some) else np.ones((1, *some.shape[1:]), bool) for some in masks]
    given = [jt.array(Masks.from_dense(some).to_packed()) if form == "packed" else some for some in masks]
    fake = SimpleNamespace(Var=jt.Var, array=jt.array, concat=jt.concat, zeros=jt.zeros, code=code)
    out, votes, lengths = op._on_device(fake, [jt.array(one) for one in maps], given, op.check_rules("original", 3, 0.25, True), bins)
    expected = [reference(*pair, on="original", min_area=3, min_share=0.25, ignore_background=True) for pair in zip(maps, masks)]
    assert np.array_equal(out.numpy(), np.concatenate([pair[0].ravel() for pair in expected]))
    assert np.array_equal(votes.numpy(), np.concatenate([pair[1] for pair in expected])) and lengths == [len(some) for some in masks]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["runs", "packed"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture, form):
    for name in op._TYPES.values():
        texts = SimpleNamespace(_HEADER=op._HEADER + "\n#include <cuda_fp16.h>", _LAUNCH=op._FORMS[form].replace("TYPE", name), _POINTERS={name: ""})
        compile_launches(tmp_path, texts, FUNCTION, architecture)


FUNCTION = """

void run(%s* in0_p, int* in1_p, int64_t in1_shape0, void* in2_p, int* in3_p, void* out0_p, int* out1_p, int* out2_p,
         std::unordered_map<std::string, double> data) { %s }
"""
