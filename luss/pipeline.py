"""The order of the stages; which of them are complete and current, and what each one's result depends on."""

from __future__ import annotations

import importlib
import os
import time
from dataclasses import dataclass

from engine.data import PackedImages, list_images
from engine.ops.backend import set_backend
from engine.runtime import LussError, interrupt
from engine.runtime.processes import barrier, rank
from engine.storage.atomic import write_json
from engine.storage.fingerprint import file_digest
from luss.cluster_settings import RESULT_NAMES, WHITENED
from luss.images import forget, known_images, root_of, split_images
from luss.settings import Settings
from luss.workspace import Workspace


class EarlierStageMissing(LussError):
    """A stage's input is another stage's result, which is not there yet."""


@dataclass(frozen=True)
class Stage:
    name: str
    function: str  # module:function, imported when the stage runs
    settings: tuple[str, ...]  # sections and dotted names its result depends on
    inputs: tuple[str, ...]  # "stage/file" of earlier stages
    splits: tuple[str, ...]  # images it reads
    alone: bool = False  # the first process does it, the others wait


_FROM_PACK = ("pretrain", "attend", "finetune")  # stages that data.packed serves
_MODEL = ("model", "run.seed", "run.published_quirks")
PLAN = (
    Stage("pretrain", "luss.stages.pretrain:run", (*_MODEL, "pretrain", "swav", "optimizer"), (), ("train",)),
    Stage("attend", "luss.stages.attend:run", (*_MODEL, "attend", "swav", "optimizer", "pretrain.jitter"), ("pretrain/checkpoint.npz",), ("train",)),
    Stage(
        "features",
        "luss.stages.features:run",
        ("model", "run.published_quirks", "features.dtype", "features.resize", "features.crop", "features.batch_size"),
        ("attend/checkpoint.npz",),
        ("train", "evaluation"),
    ),
    Stage(
        "cluster",
        "luss.stages.cluster:run",
        ("run.seed", *(f"cluster.{name}" for name in RESULT_NAMES)),
        ("features/features.json",),
        ("train", "evaluation"),
    ),
    Stage(
        "threshold",
        "luss.stages.pixel_labels:choose_threshold",
        (*_MODEL, "label", "data.evaluation_split"),
        ("attend/checkpoint.npz", "cluster/centroids.npy"),
        ("evaluation",),
    ),
    Stage(
        "label",
        "luss.stages.pixel_labels:label_training_images",
        (*_MODEL, "label.resize"),
        ("attend/checkpoint.npz", "cluster/centroids.npy", "threshold/curve.json"),
        ("train",),
    ),
    Stage(
        "finetune",
        "luss.stages.finetune:run",
        (*_MODEL, "finetune", "optimizer", "cluster.clusters"),
        ("pretrain/checkpoint.npz", "label/DONE.json"),
        ("train",),
    ),
    Stage(
        "predict",
        "luss.stages.predict:run",
        (*_MODEL, "predict", "cluster.clusters", "data.evaluation_split"),
        ("finetune/checkpoint.npz",),
        ("evaluation",),
    ),
    Stage("evaluate", "luss.stages.predict:evaluate", ("data.evaluation_split", "cluster.clusters"), ("predict/DONE.json",), ("evaluation",), True),
)
_ANNOTATED = ("train-semi", "train-semi-segmentation", "evaluation")
PROTOCOLS = {
    "unsupervised": PLAN,
    "distance": (
        PLAN[0],
        Stage(
            "distance",
            "luss.stages.distance:run",
            (*_MODEL, "distance", "predict.splits", "data.evaluation_split"),
            ("pretrain/checkpoint.npz",),
            _ANNOTATED,
        ),
        Stage(
            "distance-evaluate",
            "luss.stages.class_metrics:evaluate_distance",
            ("data.evaluation_split",),
            ("distance/DONE.json",),
            ("evaluation",),
            alone=True,
        ),
    ),
    "semi": (
        PLAN[0],
        Stage("semi", "luss.stages.semi:run", (*_MODEL, "semi"), ("pretrain/checkpoint.npz",), _ANNOTATED[:2]),
        Stage(
            "semi-predict",
            "luss.stages.semi:predict",
            (*_MODEL, "semi.output_stride", "predict", "data.evaluation_split"),
            ("semi/checkpoint.npz",),
            ("evaluation",),
        ),
        Stage(
            "semi-evaluate",
            "luss.stages.class_metrics:evaluate_semi",
            ("data.evaluation_split",),
            ("semi-predict/DONE.json",),
            ("evaluation",),
            alone=True,
        ),
    ),
}


def run(
    workspace: str,
    settings: Settings,
    *,
    stages: list[str] | None = None,
    dry_run: bool = False,
    untrained: bool = False,
    plan: tuple[Stage, ...] = PLAN,
) -> None:
    """Run the named stages of the plan (all if None) in order: complete and current ones are skipped, half-done ones resumed.

    Raises:
        LussError: no images, or an earlier stage that a requested one needs is missing. Interrupted: stopped on request.
    """
    from luss.stages.common import say

    chosen = [stage for stage in plan if stages is None or stage.name in stages]
    list_images(settings.data.pretrain_root or settings.data.root, "train")  # one clear error before anything is made
    if settings.data.packed and settings.data.pretrain_root:
        raise LussError(
            f"data.packed = {settings.data.packed} and data.pretrain_root = {settings.data.pretrain_root}: a pack stands for one set of training "
            "images, and here stage 1 has others than the later stages; leave one of the two empty"
        )
    _refuse_whitened(settings, chosen)
    space = Workspace(workspace)
    if dry_run:
        from luss.estimate import describe

        print(describe(space, settings, [(stage, *_state(space, settings, stage, untrained)) for stage in chosen]))
        return
    interrupt.install()
    forget()
    if rank() == 0:
        os.makedirs(workspace, exist_ok=True)
        with space.lock():
            _run_stages(space, settings, chosen, untrained, say)
    else:
        _run_stages(space, settings, chosen, untrained, say)
    if rank() == 0 and any(stage.name == "evaluate" for stage in chosen):
        from luss.report.html import write_report

        say(f"report: {write_report(workspace)}")


def _refuse_whitened(settings: Settings, chosen) -> None:
    """Before hours of work, rather than after them."""
    wanting = [stage.name for stage in chosen if "cluster/centroids.npy" in stage.inputs]
    if settings.cluster.whiten and wanting:
        raise LussError(
            f"cluster.whiten = {settings.cluster.whiten}: {' and '.join(wanting)} would compare pixels' features with centroids, and those of "
            "whitened features lie in another space; set cluster.whiten=0, or run `luss cluster` alone"
        )


def _run_stages(space: Workspace, settings: Settings, chosen, untrained: bool, say) -> None:
    from luss.stages.common import Job

    set_backend(settings.ops.backend)
    if rank() == 0:
        write_json(str(space.settings_file), settings.as_dict())
    for stage in chosen:
        relevant, inputs = _dependencies(space, settings, stage, untrained)
        folder = space.stage(stage.name)
        if rank() == 0:
            status = folder.status(relevant, inputs)
        barrier()
        if rank() != 0:
            status = folder.status(relevant, inputs)
        if status.state == "complete":
            say(f"{stage.name}: skipped, {status.reason}")
            continue
        verb = {"missing": "starts", "partial": "resumes", "stale": "runs again"}[status.state]
        say(f"{stage.name}: {verb}{'' if status.state == 'missing' else ': ' + status.reason}")
        if rank() == 0:
            folder.begin(relevant, inputs)
        barrier()
        module, function = stage.function.split(":")
        begin = time.time()
        figures = {}
        if rank() == 0 or not stage.alone:
            figures = getattr(importlib.import_module(module), function)(Job(space, settings, folder, untrained))
        barrier()
        if rank() == 0:
            folder.finish(relevant, inputs, {**figures, "seconds": round(time.time() - begin, 2)})
        barrier()
        say(f"{stage.name}: done in {time.time() - begin:.1f} s")


def _dependencies(space: Workspace, settings: Settings, stage: Stage, untrained: bool, images=split_images) -> tuple[dict, dict]:
    """Settings and fingerprints of inputs that a stage's result depends on; `images` gives the manifest of a split, or None."""
    tree = settings.as_dict()
    relevant: dict = {}
    for name in stage.settings:
        section, _, key = name.partition(".")
        if key:
            relevant.setdefault(section, {})[key] = tree[section][key]
        else:
            relevant[section] = tree[section]
    if stage.name == "pretrain":
        relevant["untrained"] = untrained
    if settings.ops.backend != "auto":
        relevant["ops"] = tree["ops"]
    inputs = {}
    for name in stage.inputs:
        earlier, _, file = name.partition("/")
        path = space.stage(earlier).path / file
        if space.stage(earlier).done() is None:
            raise EarlierStageMissing(
                f"{stage.name} needs the result of {earlier}, and {space.stage(earlier).path} is not complete: run `luss {earlier}` first"
            )
        if name == "cluster/centroids.npy" and not path.exists() and path.with_name(WHITENED).exists():
            raise LussError(f"{path.parent}: its centroids are those of whitened features: run `luss cluster --set cluster.whiten=0` first")
        inputs[name] = file_digest(str(path))
    for split in stage.splits:
        root = root_of(settings, stage.name)
        split = settings.data.evaluation_split if split == "evaluation" else split
        if split != "train" and not os.path.isdir(os.path.join(root, split)):
            continue
        manifest = images(space, settings, split, stage.name)
        inputs[f"images of {split}"] = manifest.fingerprint() if manifest else "not looked at as yet"
    if settings.data.packed and stage.name in _FROM_PACK:
        inputs["pack of train"] = PackedImages(settings.data.packed).fingerprint()
    return relevant, inputs


def _state(space: Workspace, settings: Settings, stage: Stage, untrained: bool) -> tuple[str, str]:
    """(state, reason) for a dry run; a stage whose inputs are not there yet waits."""
    try:
        relevant, inputs = _dependencies(space, settings, stage, untrained, known_images)
    except EarlierStageMissing:
        return "waiting", "an earlier stage comes first"
    status = space.stage(stage.name).status(relevant, inputs)
    return status.state, status.reason
