"""All settings of a run, as frozen dataclasses: names, types, defaults and what each one means.

Order of precedence: defaults here < preset (TOML) < a settings file < `--set section.name=value`. Unknown names and wrong
types are refused with the nearest valid name. The defaults are those of the published ImageNet-S-50 run (spec/pass.md,
section 11); presets change what differs.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path

from engine.ops.backend import BACKENDS
from engine.runtime.errors import LussError
from luss.cluster_settings import ClusterSettings, cluster_trouble

PRESET_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class DataSettings:
    root: str = ""  # folder with train/, validation/, ... in ImageNet-S layout, or a plain folder of images
    pretrain_root: str = ""  # other images for stage 1 (919: full ImageNet); empty = root
    packed: str = ""  # pack of the training images (luss data pack) that stages 1, 2.1 and 3 read instead of the files; empty = the files
    workers: int = -1  # loading processes; -1 = one per core, at most 8; 0 = load in the main process
    max_unreadable: float = 0.001  # share of unreadable images (0 to 1) above which a run stops
    evaluation_split: str = "validation"  # the split with masks used for threshold, match and metrics


@dataclass(frozen=True)
class ModelSettings:
    arch: str = "resnet18"  # resnet18, resnet50, resnet50w2, resnet50w4, resnet50w5
    width: int = 64  # channels of the first stage before expansion
    hidden_mlp: int = 512  # hidden width of the heads
    feat_dim: int = 128  # dimension of the embeddings
    prototypes: int = 500
    shallow: tuple[int, ...] = (3,)  # stages (1 to 3) with a deep-to-shallow branch
    weights: str = ""  # a published checkpoint (.pth.tar, .pth) to start stage 1 from; empty = random


@dataclass(frozen=True)
class SwavSettings:
    temperature: float = 0.1
    epsilon: float = 0.05  # Sinkhorn regulariser
    sinkhorn_iterations: int = 3


@dataclass(frozen=True)
class OptimizerSettings:
    """Defaults of the three training stages; `attend` and `finetune` may override the rates."""

    kind: str = "larc"  # larc | sgd
    base_lr: float = 0.6
    final_lr: float = 0.0006
    momentum: float = 0.9
    weight_decay: float = 1e-6
    trust: float = 0.001
    warmup_epochs: int = 0
    start_warmup: float = 0.0


@dataclass(frozen=True)
class PretrainSettings:
    epochs: int = 200
    batch_size: int = 256  # images a step over all processes
    crops: tuple[int, ...] = (2, 6)  # crops a group; the first group has exactly two
    sizes: tuple[int, ...] = (224, 96)  # pixels
    min_scale: tuple[float, ...] = (0.14, 0.05)  # share of the image's area
    max_scale: tuple[float, ...] = (1.0, 0.14)
    jitter: float = 0.8  # brightness, contrast, saturation in 1 +- jitter; hue in +- jitter / 4
    weights: tuple[float, ...] = (1.0, 1.0)  # of the image loss and of each deep-to-shallow loss
    p2p_weight: float = 1.0
    queue_length: int = 2048  # rows over all processes; 0 = no queue
    queue_start_epoch: int = 15
    freeze_prototypes: int = 1001  # steps during which the prototypes get no update


@dataclass(frozen=True)
class AttendSettings:
    epochs: int = 20
    batch_size: int = 256
    size: int = 224
    min_scale: float = 0.08
    max_scale: float = 1.0
    base_lr: float = 6.0
    final_lr: float = 0.0006
    queue_length: int = 3840
    freeze_prototypes: int = 0


@dataclass(frozen=True)
class FeaturesSettings:
    """One attention-pooled vector per image, in shards on disk."""

    resize: int = 256  # shorter side before the centre crop
    crop: int = 224
    batch_size: int = 64
    dtype: str = "float32"  # float32 | float16 (half the disk)
    shard_mb: int = 128  # a kill costs at most the shard at hand; see also run.checkpoint_minutes


@dataclass(frozen=True)
class LabelSettings:
    threshold: float = -1.0  # attention below it is background; -1 = the best of the curve on the evaluation split
    curve_min: int = 0  # hundredths
    curve_max: int = 80
    resize: int = 256
    batch_size: int = 16


@dataclass(frozen=True)
class FinetuneSettings:
    epochs: int = 20
    batch_size: int = 256
    size: int = 224
    min_scale: float = 0.08
    max_scale: float = 1.0
    label_scale: float = 0.5  # labels are shrunk by this before the loss
    base_lr: float = 0.6
    final_lr: float = 0.0006


@dataclass(frozen=True)
class PredictSettings:
    splits: tuple[str, ...] = ("validation",)
    resize: int = 256
    max_res: int = 1000  # images of more than max_res^2 pixels are predicted at max_res rows; 0 = never
    batch_size: int = 16


@dataclass(frozen=True)
class DistanceSettings:
    """Distance-matching protocol: a bank of labelled vectors from train-semi, and a vote of the nearest ones at each pixel."""

    neighbours: int = 10
    temperature: float = 0.07
    resize: int = 256
    batch_size: int = 16


@dataclass(frozen=True)
class SemiSettings:
    """Semi-supervised protocol: fine-tuning on the masks of train-semi. The defaults are the published recipe of ResNet-50 at stride 32."""

    epochs: int = 100
    warmup_epochs: int = 5
    batch_size: int = 256  # images a step over all processes
    micro_batch: int = 32  # images a process holds at a time; gradients of a step's micro-batches are averaged
    size: int = 224
    min_scale: float = 0.14
    max_scale: float = 1.0
    jitter: float = 0.8  # brightness, contrast, saturation in 1 +- jitter; hue in +- jitter / 4
    grey: float = 0.2
    blur: float = 0.5
    base_lr: float = 5e-4  # at batches of 256 images; scaled by batch_size / 256
    final_lr: float = 1e-6
    layer_decay: float = 0.4  # rate of each residual block over that of the one after it
    weight_decay: float = 5e-4  # not on biases and BatchNorm
    output_stride: int = 32  # 32 | 16 (last stage dilated)


@dataclass(frozen=True)
class OpsSettings:
    backend: str = "auto"  # auto: CUDA or C++; reference: the NumPy references, for comparison: slow, on one core


@dataclass(frozen=True)
class RunSettings:
    seed: int = 10010
    checkpoint_minutes: float = 15.0  # also at the end of each epoch
    checkpoint_steps: int = 0  # also every so many steps; 0 = by time only
    keep_every_epochs: int = 25  # keep a copy of the checkpoint every so many epochs; 0 = none
    log_every: int = 10  # steps
    tensorboard: bool = True
    published_quirks: bool = False  # the published arithmetic where it differs from what is right: see docs/from-pass.md


@dataclass(frozen=True)
class Settings:
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    swav: SwavSettings = field(default_factory=SwavSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    attend: AttendSettings = field(default_factory=AttendSettings)
    features: FeaturesSettings = field(default_factory=FeaturesSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    label: LabelSettings = field(default_factory=LabelSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)
    distance: DistanceSettings = field(default_factory=DistanceSettings)
    semi: SemiSettings = field(default_factory=SemiSettings)
    ops: OpsSettings = field(default_factory=OpsSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def as_dict(self) -> dict:
        """Plain dictionaries and lists, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


@functools.lru_cache(maxsize=1)
def setting_names() -> dict[str, type]:
    """All dotted names with their types, e.g. {'optimizer.base_lr': float, ...}; not to be changed."""
    names = {}
    for section, kind in typing.get_type_hints(Settings).items():
        for name, hint in typing.get_type_hints(kind).items():
            names[f"{section}.{name}"] = hint
    return names


def load_settings(preset: str = "demo", file: str | None = None, overrides: typing.Sequence[str] = ()) -> Settings:
    """Resolve a preset's name, an optional TOML file and `section.name=value` texts into Settings.

    Raises:
        LussError: unknown preset, unreadable file, unknown name (the nearest valid one is suggested), or a wrong type.
    """
    values: dict[str, object] = {}
    _merge(values, _read_toml(_preset_file(preset)), f"preset {preset}")
    if file:
        _merge(values, _read_toml(Path(file)), file)
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise LussError(f"--set {text}: expected section.name=value, for example optimizer.base_lr=0.3")
        name = _known(name.strip(), "--set")
        values[name] = _parse(name, value.strip())
    return build_settings(values)


def build_settings(values: dict[str, object]) -> Settings:
    """Settings from dotted names, e.g. a stored run's; types are checked."""
    types = setting_names()
    sections: dict[str, dict] = {}
    for name, value in values.items():
        section, _, key = _known(name, "settings").partition(".")
        sections.setdefault(section, {})[key] = _convert(name, value, types[name])
    hints = typing.get_type_hints(Settings)
    settings = Settings(**{section: hints[section](**keys) for section, keys in sections.items()})
    _validate(settings)
    return settings


def flatten(tree: dict) -> dict[str, object]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    return {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def _preset_file(preset: str) -> Path:
    path = PRESET_FOLDER / f"{preset}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(preset, preset_names(), 1, 0.3)
        raise LussError(f"--preset {preset}: no such preset; {'did you mean ' + near[0] + '? ' if near else ''}there are {', '.join(preset_names())}")
    return path


def _read_toml(path: Path) -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); expected a TOML file of settings") from error
    except tomllib.TOMLDecodeError as error:
        raise LussError(f"{path}: not valid TOML: {error}") from error


def _merge(values: dict, tree: dict, source: str) -> None:
    for section, keys in tree.items():
        if not isinstance(keys, dict):
            raise LussError(f"{source}: {section} stands outside a [section]; nearest valid name: {_nearest(section)}")
        for key, value in keys.items():
            values[_known(f"{section}.{key}", source)] = value


def _known(name: str, source: str) -> str:
    if name not in setting_names():
        raise LussError(f"{source}: unknown setting {name}; nearest valid name: {_nearest(name)}")
    return name


def _nearest(name: str) -> str:
    names = list(setting_names())
    near = difflib.get_close_matches(name, names, 1, 0.0)
    tail = difflib.get_close_matches(name.rpartition(".")[2], [n.partition(".")[2] for n in names], 1, 0.8)
    if tail and difflib.SequenceMatcher(None, name, near[0]).ratio() < 0.8:
        near = [n for n in names if n.partition(".")[2] == tail[0]]
    return near[0]


def _parse(name: str, text: str) -> object:
    kind = setting_names()[name]
    if kind is str:
        return text
    if typing.get_origin(kind) is tuple:
        return [_parse_scalar(part.strip()) for part in text.strip("[]()").split(",") if part.strip()]
    return _parse_scalar(text)


def _parse_scalar(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("\"'")


def _convert(name: str, value: object, kind: type) -> object:
    if typing.get_origin(kind) is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_convert(name, item, typing.get_args(kind)[0]) for item in items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise LussError(f"{name} = {value!r}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _validate(s: Settings) -> None:
    def need(holds: bool, text: str) -> None:
        if not holds:
            raise LussError(text)

    groups = {len(s.pretrain.crops), len(s.pretrain.sizes), len(s.pretrain.min_scale), len(s.pretrain.max_scale)}
    need(len(groups) == 1, "pretrain.crops, sizes, min_scale and max_scale must have equal lengths")
    need(s.pretrain.crops[0] == 2, f"pretrain.crops = {s.pretrain.crops}: the first group must have exactly 2 crops (they are the assigning pair)")
    need(all(1 <= stage <= 3 for stage in s.model.shallow), f"model.shallow = {s.model.shallow}: stages are 1, 2 and 3")
    need(
        len(s.pretrain.weights) == 1 + len(s.model.shallow),
        f"pretrain.weights = {s.pretrain.weights}: expected {1 + len(s.model.shallow)} numbers (the image loss and one per stage in model.shallow)",
    )
    need(sum(s.pretrain.weights) > 0, "pretrain.weights: their sum must be positive")
    need(s.optimizer.kind in ("larc", "sgd"), f"optimizer.kind = {s.optimizer.kind}: expected larc or sgd")
    need(s.ops.backend in BACKENDS, f"ops.backend = {s.ops.backend}: expected {' or '.join(BACKENDS)}")
    need(s.features.dtype in ("float32", "float16"), f"features.dtype = {s.features.dtype}: expected float32 or float16")
    need(0 <= s.data.max_unreadable <= 1, f"data.max_unreadable = {s.data.max_unreadable}: expected a share from 0 to 1")
    need(
        s.label.threshold == -1 or 0 <= s.label.threshold <= 1,
        f"label.threshold = {s.label.threshold}: expected 0 to 1, or -1 for the best of the curve",
    )
    need(0 <= s.label.curve_min <= s.label.curve_max <= 100, "label.curve_min and curve_max: hundredths, 0 to 100, min at most max")
    trouble = cluster_trouble(s.cluster)
    need(not trouble, trouble)
    need(s.distance.neighbours >= 1 and s.distance.temperature > 0, "distance.neighbours and distance.temperature: expected at least 1, and above 0")
    need(s.semi.output_stride in (16, 32), f"semi.output_stride = {s.semi.output_stride}: expected 16 or 32")
    need(0 < s.semi.layer_decay <= 1, f"semi.layer_decay = {s.semi.layer_decay}: expected above 0, at most 1")
    for name in (
        "pretrain.batch_size",
        "attend.batch_size",
        "features.batch_size",
        "features.shard_mb",
        "label.batch_size",
        "finetune.batch_size",
        "predict.batch_size",
        "distance.batch_size",
        "semi.batch_size",
        "semi.micro_batch",
    ):
        section, key = name.split(".")
        need(getattr(getattr(s, section), key) >= 1, f"{name}: expected at least 1")
