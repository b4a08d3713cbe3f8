from __future__ import annotations

import hashlib
import json
import pickle
from collections import OrderedDict
from math import prod

import numpy as np
import pytest
from shared_folder import shared_path

from engine.runtime.errors import LussError
from engine.storage.torch_file import read_torch, write_torch
from engine.training.checkpoint import save_checkpoint
from luss.models.state_dict import LoadReport, export_torch, match, read_state_dict

# -- the tables of spec/pass.md 2.4, written out independently of luss.models


def norm(name: str, channels: int, affine: bool = True) -> dict[str, tuple]:
    names = (("weight", "bias") if affine else ()) + ("running_mean", "running_var")
    return {**{f"{name}.{n}": (channels,) for n in names}, f"{name}.num_batches_tracked": ()}


def backbone(bottleneck: bool) -> dict[str, tuple]:
    keys: dict[str, tuple] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    incoming = 64
    for stage, blocks in enumerate((3, 4, 6, 3) if bottleneck else (2, 2, 2, 2), 1):
        w = 64 << (stage - 1)
        out = 4 * w if bottleneck else w
        for i in range(blocks):
            at = f"layer{stage}.{i}"
            shapes = [(w, incoming, 1, 1), (w, w, 3, 3), (out, w, 1, 1)] if bottleneck else [(w, incoming, 3, 3), (w, w, 3, 3)]
            for j, shape in enumerate(shapes, 1):
                keys.update({f"{at}.conv{j}.weight": shape, **norm(f"{at}.bn{j}", shape[0])})
            if i == 0 and (bottleneck or stage > 1):
                keys.update({f"{at}.downsample.0.weight": (out, incoming, 1, 1), **norm(f"{at}.downsample.1", out)})
            incoming = out
    return keys


def linear_head(name: str, incoming: int, hidden: int) -> dict[str, tuple]:
    keys = {f"{name}.0.weight": (hidden, incoming), f"{name}.0.bias": (hidden,), **norm(f"{name}.1", hidden)}
    return {**keys, f"{name}.3.weight": (128, hidden), f"{name}.3.bias": (128,), **norm(f"{name}.4", 128, affine=False)}


def pixel_head(name: str, incoming: int, hidden: int, out: int) -> dict[str, tuple]:
    keys = {f"{name}.0.weight": (hidden, incoming, 1, 1), **norm(f"{name}.1", hidden), f"{name}.3.weight": (hidden, hidden, 1, 1)}
    return {**keys, **norm(f"{name}.4", hidden), f"{name}.6.weight": (out, hidden, 1, 1), **norm(f"{name}.7", out, affine=False)}


def pretrain(bottleneck: bool) -> dict[str, tuple]:
    c4, hidden, prototypes = (2048, 2048, 3000) if bottleneck else (512, 512, 500)
    return {
        **backbone(bottleneck),
        **linear_head("projection_head", c4, hidden),
        **linear_head("projection_head_shallow.projection_head_shallow3", c4 // 2, hidden),
        **pixel_head("projection_head_pixel_shallow.projection_head_pixel3", c4 // 2, hidden, c4 // 2),
        **pixel_head("projection_head_pixel", c4, hidden, 128),
        "predictor_head_pixel.0.weight": (128, 128, 1, 1),
        **norm("predictor_head_pixel.1", 128),
        "predictor_head_pixel.3.weight": (128, 128, 1, 1),
        "predictor_head_pixel.3.bias": (128,),
        "prototypes.weight": (prototypes, 128),
    }


def finetune(bottleneck: bool, k: int) -> dict[str, tuple]:
    c4 = 2048 if bottleneck else 512
    return {**backbone(bottleneck), "last_layer.weight": (k + 1, c4, 1, 1), "last_layer.bias": (k + 1,)}


def parameters(keys: dict[str, tuple]) -> int:
    return sum(prod(shape) for key, shape in keys.items() if key.rpartition(".")[2] not in ("running_mean", "running_var", "num_batches_tracked"))


def weights(keys: dict[str, tuple], prefix: str = "", counters: bool = False) -> OrderedDict:
    """Arrays that take no memory but have the shapes; each value names its key's position."""
    return OrderedDict(
        (prefix + key, np.full(shape, i % 7, "i8" if key.endswith("tracked") else "f4"))
        for i, (key, shape) in enumerate(keys.items())
        if counters or not key.endswith("tracked")
    )


SMALL = {key: shape for key, shape in backbone(False).items() if key.startswith(("conv1", "bn1", "layer1.0"))}


def test_the_tables_have_the_totals_of_the_specification():
    assert (len(backbone(False)), parameters(backbone(False))) == (120, 11_176_512)
    assert (len(backbone(True)), parameters(backbone(True))) == (318, 23_508_032)
    assert (len(pretrain(False)), parameters(pretrain(False))) == (185, 12_919_488)
    assert (len(pretrain(True)), parameters(pretrain(True))) == (383, 47_809_216)
    assert (len(finetune(False, 50)), parameters(finetune(False, 50))) == (122, 11_202_675)
    assert (len(finetune(True, 919)), parameters(finetune(True, 919))) == (320, 25_393_112)


@pytest.mark.golden
def test_the_tables_agree_with_the_reference_model():
    golden = json.loads(shared_path("golden", "pass", "param_shapes.json").read_text())["resnet18/pretrain/shallow3"]
    ours = pretrain(False)
    assert set(golden) == set(ours)
    fixed = [key for key in golden if key.startswith(("conv1", "bn1", "layer"))]  # the golden heads are smaller
    assert {key: tuple(golden[key]) for key in fixed} == {key: ours[key] for key in fixed}


# -- reading


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("wrap", [lambda s: {"epoch": 200, "state_dict": s, "optimizer": {}}, lambda s: {"model": s}, lambda s: s])
def test_published_files_in_every_wrapping(tmp_path, prefix, wrap):
    path = tmp_path / "checkpoint.pth.tar"
    write_torch(path, wrap(weights(SMALL, prefix, counters=True)))
    state = read_state_dict(path)
    expected = weights(SMALL)
    assert list(state) == list(expected) and all((state[key] == expected[key]).all() for key in expected)


def test_our_own_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.npz"
    model = weights(SMALL)
    save_checkpoint(path, arrays={**weights(SMALL, "model/"), **weights(SMALL, "momentum/"), "queue": np.zeros(3)}, state={"epoch": 1})
    state = read_state_dict(path)
    assert list(state) == list(model) and all((state[key] == model[key]).all() for key in model)
    save_checkpoint(path, arrays={"queue": np.zeros(3)}, state={})
    with pytest.raises(LussError, match="no arrays named model/"):
        read_state_dict(path)


def test_a_jittor_file_with_the_torch_suffix(tmp_path):
    content = pickle.dumps({"epoch": 1, "state_dict": weights(SMALL)}, 4)
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content + hashlib.sha1(content).digest() + b"HCAJSLHD")
    assert list(read_state_dict(path)) == list(weights(SMALL))


def test_weights_beside_other_things(tmp_path):
    write_torch(tmp_path / "a.pth", {"epoch": 3, "conv1.weight": np.zeros(2), 5: np.zeros(1)})
    assert list(read_state_dict(tmp_path / "a.pth")) == ["conv1.weight"]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"epoch": 3, "args": {}}, "holds no weights: its keys are epoch, args"),
        ({"state_dict": {}}, "its keys are none"),
        ([1], "holds a list"),
        ({"module.a": np.zeros(1), "a": np.zeros(1)}, "both with and without"),
    ],
)
def test_files_without_usable_weights(tmp_path, tree, words):
    write_torch(tmp_path / "a.pth", tree)
    with pytest.raises(LussError, match=rf"a\.pth: .*{words}"):
        read_state_dict(tmp_path / "a.pth")


def test_absent_and_damaged_files(tmp_path):
    with pytest.raises(LussError, match="absent: cannot be read"):
        read_state_dict(tmp_path / "absent")
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, arrays={"model/a": np.ones(100)}, state={})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LussError, match=r"checkpoint\.npz"):
        read_state_dict(path)


# -- matching


def test_stage_3_from_stage_1():
    """The heads of pre-training are not used, the last layer keeps its initial values (65 entries of heads, 11 of them counters)."""
    report = match(weights(pretrain(False)), finetune(False, 50))
    assert len(report.matched) == 100 and report.missing == ("last_layer.weight", "last_layer.bias")
    assert len(report.unexpected) == 65 - 11 and not any(key.startswith(("conv1", "bn1", "layer")) for key in report.unexpected)
    text = report.describe()
    assert text.startswith("100 keys matched, 2 missing, 54 unexpected") and "last_layer.* (2)" in text and "prototypes.* (1)" in text


def test_a_complete_match_is_one_line():
    assert LoadReport(("a",), (), ()).describe() == "1 keys matched, 0 missing, 0 unexpected"


def test_another_encoder_is_refused_with_the_first_ten_shapes():
    with pytest.raises(LussError) as caught:
        match(weights(backbone(True)), backbone(False), source="r50.pth")
    message = str(caught.value)
    assert message.startswith("r50.pth: ") and "the file holds ResNet-50, the model is ResNet-18" in message and "nothing was loaded" in message
    lines = message.splitlines()
    assert len(lines) == 12 and lines[1].strip() == "layer1.0.conv1.weight: (64,64,1,1) in the file, (64,64,3,3) in the model" and "more" in lines[-1]


def test_another_width_is_named():
    narrow = {key: tuple(n // 2 if n > 7 else n for n in shape) for key, shape in backbone(False).items()}
    with pytest.raises(LussError, match="the file holds ResNet-18 of width 32, the model is ResNet-18:"):
        match(weights(narrow), backbone(False))


def test_one_wrong_shape_is_enough():
    state = weights(finetune(False, 50))
    with pytest.raises(
        LussError, match=r"1 of 102 keys have another shape; nothing was loaded:\n  last_layer.weight: \(51,512,1,1\) in the file, \(301,512,1,1\)"
    ):
        match(state, {**finetune(False, 50), "last_layer.weight": (301, 512, 1, 1)})


def test_no_backbone_at_all_fails_loudly_and_names_the_prefix():
    with pytest.raises(LussError, match=r"not one of the 100 backbone keys .*'encoder\.'"):
        match(weights(backbone(False), "encoder."), backbone(False))
    with pytest.raises(LussError, match="not one of the 100 backbone keys .*its keys are none"):
        match({}, backbone(False))


def test_a_model_without_a_backbone_is_not_asked_for_one():
    assert match({}, {"head.weight": (3,)}).missing == ("head.weight",)


def test_required_keys():
    state = weights(pretrain(False))
    del state["layer4.1.conv2.weight"]
    assert match(state, pretrain(False)).missing == ("layer4.1.conv2.weight",)
    with pytest.raises(LussError, match=r"1 keys that this stage needs are missing; nothing was loaded:\n  layer4\.1\.conv2\.weight"):
        match(state, pretrain(False), required_prefixes=("conv1.", "layer"))
    with pytest.raises(LussError, match="needs are missing"):
        match(weights(backbone(False)), finetune(False, 50), required_prefixes=("",))
    match(state, pretrain(False), required_prefixes=("layer1.",))


# -- export


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_export_has_the_published_keys_and_comes_back(tmp_path, prefix):
    path = tmp_path / "checkpoint.pth.tar"
    export_torch(path, weights(pretrain(False)), epoch=200, prefix=prefix)
    tree = read_torch(path)
    assert list(tree) == ["epoch", "state_dict"] and tree["epoch"] == 200
    assert {key: value.shape for key, value in tree["state_dict"].items()} == {prefix + key: shape for key, shape in pretrain(False).items()}
    assert list(tree["state_dict"]) == [prefix + key for key in pretrain(False)]  # also the order
    counter = tree["state_dict"][prefix + "bn1.num_batches_tracked"]
    assert counter.dtype == np.int64 and counter.shape == ()
    state = read_state_dict(path)
    assert all((state[key] == value).all() for key, value in weights(pretrain(False)).items())


def test_export_with_an_optimizer(tmp_path):
    optimizer = {"state": {0: {"momentum_buffer": np.ones(3, "f4")}}, "param_groups": [{"lr": 0.6, "params": [0]}]}
    export_torch(tmp_path / "a.pth", {"a": np.zeros(3, "f4")}, epoch=1, optimizer=optimizer)
    read = read_torch(tmp_path / "a.pth")["optimizer"]
    assert (read["state"][0]["momentum_buffer"] == 1).all() and read["param_groups"] == optimizer["param_groups"]


def test_export_refuses_counters_and_halves_of_statistics(tmp_path):
    for state in ({"bn.running_mean": np.zeros(1)}, {"bn.num_batches_tracked": np.zeros(())}):
        with pytest.raises(ValueError, match="running_mean and running_var"):
            export_torch(tmp_path / "a.pth", state, epoch=1)
