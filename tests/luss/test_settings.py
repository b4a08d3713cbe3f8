"""Settings: precedence, types, refusals with the nearest name, and that every preset holds what was published."""

from __future__ import annotations

import dataclasses

import pytest

from engine.runtime.errors import LussError
from luss.settings import PRESET_FOLDER, Settings, build_settings, flatten, load_settings, preset_names, setting_names


def test_presets_are_there():
    assert preset_names() == ["demo", "imagenet-s-300", "imagenet-s-50", "imagenet-s-919"]


@pytest.mark.parametrize("name", preset_names())
def test_preset_loads_and_opens_with_command_published_and_own_result(name):
    settings = load_settings(name)
    assert not settings.run.published_quirks
    head = (PRESET_FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()[:3]
    assert all(line.startswith("#") for line in head)
    assert "luss " in head[1] and "Published" in head[2] and "Own measurement" in head[2]


@pytest.mark.parametrize(
    ("name", "arch", "hidden", "prototypes", "epochs", "crops", "queue", "freeze", "attend_lr", "clusters", "miou"),
    [
        ("imagenet-s-50", "resnet18", 512, 500, 200, (2, 6), 2048, 1001, 6.0, 50, "29.2"),
        ("imagenet-s-300", "resnet50", 2048, 3000, 100, (2,), 3840, 5005, 0.6, 300, "18.0"),
        ("imagenet-s-919", "resnet50", 2048, 3000, 100, (2,), 3840, 5005, 0.6, 919, "11.5"),
    ],
)
def test_published_values(name, arch, hidden, prototypes, epochs, crops, queue, freeze, attend_lr, clusters, miou):
    s = load_settings(name)
    assert (s.model.arch, s.model.hidden_mlp, s.model.feat_dim, s.model.prototypes) == (arch, hidden, 128, prototypes)
    assert (s.pretrain.epochs, s.pretrain.crops, s.pretrain.batch_size) == (epochs, crops, 256)
    assert (s.pretrain.queue_length, s.pretrain.queue_start_epoch, s.pretrain.freeze_prototypes) == (queue, 15, freeze)
    assert (s.swav.temperature, s.swav.epsilon, s.swav.sinkhorn_iterations) == (0.1, 0.05, 3)
    assert (s.optimizer.kind, s.optimizer.base_lr, s.optimizer.final_lr, s.optimizer.weight_decay) == ("larc", 0.6, 0.0006, 1e-6)
    assert (s.attend.epochs, s.attend.base_lr, s.attend.queue_length, s.attend.freeze_prototypes) == (20, attend_lr, 3840, 0)
    assert (s.cluster.clusters, s.cluster.iterations, s.cluster.restarts) == (clusters, 20, 30)
    assert (s.label.threshold, s.label.curve_min, s.label.curve_max) == (-1.0, 0, 80)
    assert (s.finetune.epochs, s.finetune.base_lr, s.finetune.label_scale, s.predict.max_res) == (20, 0.6, 0.5, 1000)
    assert s.run.seed == 10010
    assert miou in (PRESET_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def test_the_demo_trains_its_prototypes():
    s = load_settings("demo")
    assert s.cluster.clusters == 8
    steps = s.pretrain.epochs * (800 // s.pretrain.batch_size)
    assert s.pretrain.freeze_prototypes < steps / 2


def test_precedence_is_default_preset_file_set(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("[pretrain]\nepochs = 7\nbatch_size = 8\n")
    s = load_settings("demo", str(file), ["pretrain.batch_size=16"])
    assert s.swav.temperature == Settings().swav.temperature  # default
    assert s.model.width == 16  # preset
    assert s.pretrain.epochs == 7  # file over preset
    assert s.pretrain.batch_size == 16  # --set over file
    assert load_settings("demo", None, ["run.seed=1", "run.seed=2"]).run.seed == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.base_lr=1", 1.0),
        ("optimizer.weight_decay=1e-4", 1e-4),
        ("run.tensorboard=false", False),
        ("pretrain.crops=[2, 4]", (2, 4)),
        ("pretrain.crops=2,4", (2, 4)),
        ("predict.splits=validation,test", ("validation", "test")),
        ("data.root=/data/a b=c", "/data/a b=c"),
        ("data.root=12", "12"),
    ],
)
def test_overrides_have_the_settings_type(text, expected):
    name = text.partition("=")[0]
    section, key = name.split(".")
    value = getattr(getattr(load_settings("imagenet-s-50", None, [text]), section), key)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("optimizer.baselr", "optimizer.base_lr"),
        ("pretrain.epoch", "pretrain.epochs"),
        ("optimizer.prototypes", "model.prototypes"),
        ("sinkhorn_iterations", "swav.sinkhorn_iterations"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(tmp_path, name, nearest):
    with pytest.raises(LussError, match=rf"{name}.*{nearest}"):
        load_settings("demo", None, [f"{name}=1"])
    if "." in name:
        file = tmp_path / "a.toml"
        section, key = name.split(".")
        file.write_text(f"[{section}]\n{key} = 1\n")
        with pytest.raises(LussError, match=rf"a\.toml.*{name}.*{nearest}"):
            load_settings("demo", str(file))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pretrain.epochs=3.5", "int"),
        ("pretrain.epochs=many", "int"),
        ("optimizer.base_lr=fast", "float"),
        ("run.tensorboard=1", "bool"),
        ("pretrain.epochs=true", "int"),
        ("pretrain.crops=2,six", "int"),
    ],
)
def test_wrong_type_is_refused(text, expected):
    with pytest.raises(LussError, match=rf"{text.partition('=')[0]}.*expected {expected}"):
        load_settings("demo", None, [text])


@pytest.mark.parametrize(
    "text",
    [
        "pretrain.crops=3,6",
        "pretrain.sizes=224",
        "model.shallow=4",
        "pretrain.weights=1,1,1",
        "optimizer.kind=adam",
        "ops.backend=cuda",
        "data.max_unreadable=2",
        "label.threshold=41",
        "label.curve_max=101",
        "cluster.clusters=0",
        "cluster.iterations=0",
        "cluster.restarts=0",
        "cluster.engine=sklearn",
        "cluster.start=first",
        "cluster.whiten=-1",
        "cluster.minibatch=-1",
        "cluster.block_rows=-1",
    ],
)
def test_impossible_values_are_refused(text):
    with pytest.raises(LussError, match=text.partition("=")[0].split(".")[1]):
        load_settings("imagenet-s-50", None, [text])


@pytest.mark.parametrize("text", ["start=k-means++", "spherical=true", "whiten=64", "minibatch=1024"])
def test_what_faiss_cannot_do_is_refused(text):
    with pytest.raises(LussError, match=rf"cluster\.{text.partition('=')[0]} = .*: cluster.engine = faiss cannot do that"):
        load_settings("demo", None, ["cluster.engine=faiss", f"cluster.{text}"])
    load_settings("demo", None, [f"cluster.{text}"])


def test_minibatches_are_not_spherical():
    with pytest.raises(LussError, match="cluster.minibatch = 64: mini-batches go by squared distance alone"):
        load_settings("demo", None, ["cluster.minibatch=64", "cluster.spherical=true"])


def test_starts_are_those_of_the_engine():
    from engine.clustering.records import STARTS as OF_ENGINE
    from luss.cluster_settings import STARTS

    assert STARTS == OF_ENGINE


def test_most_clusters_are_those_of_the_engine():
    from engine.clustering.records import KMeansSettings
    from luss.cluster_settings import MOST_CLUSTERS

    KMeansSettings(MOST_CLUSTERS)
    with pytest.raises(LussError, match="at most"):
        KMeansSettings(MOST_CLUSTERS + 1)
    with pytest.raises(LussError, match="cluster.clusters = 65537: expected at most 65536"):
        load_settings("demo", None, [f"cluster.clusters={MOST_CLUSTERS + 1}"])


def test_override_without_equals_sign_and_unknown_preset():
    with pytest.raises(LussError, match="expected section.name=value"):
        load_settings("demo", None, ["pretrain.epochs"])
    with pytest.raises(LussError, match="did you mean imagenet-s-50"):
        load_settings("imagenet-s-51")


def test_bad_files(tmp_path):
    with pytest.raises(LussError, match="cannot be read"):
        load_settings("demo", str(tmp_path / "absent.toml"))
    (tmp_path / "bad.toml").write_text("[pretrain\n")
    with pytest.raises(LussError, match="not valid TOML"):
        load_settings("demo", str(tmp_path / "bad.toml"))
    (tmp_path / "flat.toml").write_text("epochs = 3\n")
    with pytest.raises(LussError, match=r"outside a \[section\]"):
        load_settings("demo", str(tmp_path / "flat.toml"))


@pytest.mark.parametrize("name", preset_names())
def test_stored_settings_come_back_equal(name):
    settings = load_settings(name)
    assert build_settings(flatten(settings.as_dict())) == settings


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings("demo").run.seed = 3
    assert len(setting_names()) > 60
