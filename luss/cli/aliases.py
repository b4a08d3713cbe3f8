"""PASS option names on the `luss` command line: each is rewritten to the setting it stands for, with one line that says so.

Only names that map onto one setting are accepted. The others are refused with the reason, never ignored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.runtime.errors import LussError
from luss.workspace import STAGES

_ALL = ("demo", "run", *STAGES)

# PASS name -> setting (or one of our options), for every command that trains or runs stages
_SHARED = {
    "--arch": "model.arch",
    "--hidden_mlp": "model.hidden_mlp",
    "--feat_dim": "model.feat_dim",
    "--nmb_prototypes": "model.prototypes",
    "--shallow": "model.shallow",
    "--temperature": "swav.temperature",
    "--epsilon": "swav.epsilon",
    "--sinkhorn_iterations": "swav.sinkhorn_iterations",
    "--wd": "optimizer.weight_decay",
    "--warmup_epochs": "optimizer.warmup_epochs",
    "--start_warmup": "optimizer.start_warmup",
    "--optim": "optimizer.kind",
    "--workers": "data.workers",
    "--num_workers": "data.workers",
    "--checkpoint_freq": "run.keep_every_epochs",
    "--num_classes": "cluster.clusters",
    "--weights": "pretrain.weights",
    "--epoch_queue_starts": "pretrain.queue_start_epoch",
    "--finetune_scale_factor": "finetune.label_scale",
    "--threshold": "label.threshold",
    "--min": "label.curve_min",
    "--max": "label.curve_max",
    "--max_res": "predict.max_res",
    "--data_path": "--data",
    "--dump_path": "--workspace",
    "-a": "model.arch",
    "-c": "cluster.clusters",
    "-s": "--seed",
    "-t": "label.threshold",
}
# ... and those that mean another setting in another stage
_STAGED = {
    "--epochs": {stage: f"{stage}.epochs" for stage in ("pretrain", "attend", "finetune")},
    "--batch_size": {
        "threshold": "label.batch_size",  # the threshold stage labels the validation images
        **{stage: f"{stage}.batch_size" for stage in ("pretrain", "attend", "features", "label", "finetune", "predict")},
        "cluster": "features.batch_size",  # of PASS's cluster.py, which extracts
    },
    "-b": {"cluster": "features.batch_size"},
    "--mode": {"predict": "predict.splits"},
    "--base_lr": {"pretrain": "optimizer.base_lr", "attend": "attend.base_lr", "finetune": "finetune.base_lr"},
    "--final_lr": {"pretrain": "optimizer.final_lr", "attend": "attend.final_lr", "finetune": "finetune.final_lr"},
    "--queue_length": {"pretrain": "pretrain.queue_length", "attend": "attend.queue_length"},
    "--freeze_prototypes_niters": {"pretrain": "pretrain.freeze_prototypes", "attend": "attend.freeze_prototypes"},
    "--nmb_crops": {"pretrain": "pretrain.crops"},
    "--size_crops": {"pretrain": "pretrain.sizes", "attend": "attend.size", "finetune": "finetune.size"},
    "--min_scale_crops": {"pretrain": "pretrain.min_scale", "attend": "attend.min_scale", "finetune": "finetune.min_scale"},
    "--max_scale_crops": {"pretrain": "pretrain.max_scale", "attend": "attend.max_scale", "finetune": "finetune.max_scale"},
    "--pretrained": {"pretrain": "model.weights"},
}

_REFUSED = {
    "--pretrained": "a stage reads the checkpoint of the stage before it; a published file enters at stage 1: --set model.weights=FILE",
    "--pseudo_path": "pseudo labels are read from the workspace (5-label)",
    "--centroid": "centroids are read from the workspace (3-cluster)",
    "--match_file": "the match is read from the workspace (7-predict/match.json)",
    "--predict_path": "name the folder itself: luss evaluate PRED --data DIR --split validation --classes K",
    "--mode": "luss threshold labels the validation images, luss label the training images",
    "--curve": "the curve is always made, by luss threshold",
    "--test": "attention maps of the validation images are always written, by luss threshold",
    "--t": "a threshold is chosen by luss threshold, or set as a share of 1: --set label.threshold=0.41",
    "--nmb_crops": "this stage always takes its own number of crops (attend two, finetune one)",
    "--crops_for_assign": "the first two crops are always the assigning pair",
    "--checkpoint_key": "the weights are found in the file without it",
    "--use_fp16": "training is in 32-bit floating point",
    "--sync_bn": "there is no such switch",
    "--syncbn_process_group_size": "there is no such switch",
    "--dist_url": "processes are not started this way",
    "--world_size": "processes are not started this way",
    "--rank": "processes are not started this way",
    "--local_rank": "processes are not started this way",
}
_OF_EVALUATE = ("--threshold", "--curve", "--workers")  # ours there by the same name
_LISTS = ("--nmb_crops", "--size_crops", "--min_scale_crops", "--max_scale_crops", "--shallow", "--weights")
_REMARKS = {
    "--batch_size": "over all processes (the PyTorch branch of PASS counts per GPU)",
    "--threshold": "a share of 1",
    "-t": "a share of 1",
}


def translate(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Rewrite PASS options of `luss command`.

    Returns:
        the arguments, with every PASS option replaced by ours, and one note for each that was replaced.

    Raises:
        LussError: a PASS option that has no counterpart here, or means different settings in different stages.
    """
    if command not in _ALL:
        return list(arguments), []
    result: list[str] = []
    notes: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--set":  # its value is never an option of its own
            result += [word] + rest[:1]
            del rest[:1]
            continue
        name, equals, attached = word.partition("=")
        key = _known_name(name)
        if key is None or (command == "evaluate" and name in _OF_EVALUATE):
            result.append(word)
            continue
        target = _target(command, key)
        words = [attached] if equals else _take(key, rest)
        if not words:
            raise LussError(f"{name}: expected a value (this PASS option is {target} here)")
        new = _ours(target, words)
        result += new
        remark = f", {_REMARKS[key]}" if key in _REMARKS else ""
        notes.append(f"{name} {' '.join(words)} is taken as {' '.join(new)}{remark}")
    return result, notes


def alias_targets() -> set[str]:
    """All settings that PASS names are rewritten to."""
    targets = set(_SHARED.values()).union(*(stages.values() for stages in _STAGED.values()))
    return {target for target in targets if not target.startswith("--")}


def _known_name(name: str) -> str | None:
    """PASS writes most names with underscores and a few with hyphens."""
    if not name.startswith("-"):
        return None
    key = "--" + name[2:].replace("-", "_") if name.startswith("--") else name
    return key if key in _SHARED or key in _STAGED or key in _REFUSED else None


def _target(command: str, key: str) -> str:
    if command == "evaluate":
        own = {"--data_path": "--data", "--mode": "--split", "--num_classes": "--classes", "-c": "--classes"}
        if key in own:
            return own[key]
    if key in _SHARED:
        return _SHARED[key]
    stages = _STAGED.get(key, {})
    if command in stages:
        return stages[command]
    if len(stages) > 1 and command in ("demo", "run"):
        names = ", ".join(sorted(set(stages.values())))
        raise LussError(f"{key}: this PASS option means another setting in each stage; say which with --set: {names}")
    if len(stages) == 1 and command in ("demo", "run"):
        return next(iter(stages.values()))
    reason = _REFUSED.get(key, f"luss {command} has no such setting")
    raise LussError(f"{key}: this PASS option has no counterpart here: {reason}; leave it out")


def _take(key: str, rest: list[str]) -> list[str]:
    """Remove the option's value or values from the front of `rest`."""
    words: list[str] = []
    while rest and not _is_option(rest[0]) and (key in _LISTS or not words):
        words.append(rest.pop(0))
    return words


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:].replace(".", "", 1).isdigit()


def _ours(target: str, words: list[str]) -> list[str]:
    if target == "--data" and os.path.basename(os.path.normpath(words[0])) == "train":
        words = [os.path.dirname(os.path.normpath(words[0])) or "."]  # PASS names the split's folder, we the data set's
    if target.startswith("--"):
        return [target, words[0]]
    return ["--set", f"{target}={','.join(words)}"]
