"""Weights by name: read them from our checkpoints and the published ones, match them with a model, export them to torch.

Keys are those of spec/pass.md 2.4, without the `module.` of distributed training and without `num_batches_tracked`, which
nothing here uses. What does not fit is reported or refused, never dropped silently.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.runtime.errors import LussError
from engine.storage.arrays import is_arrays_file
from engine.storage.atomic import PathLike
from engine.storage.torch_file import read_torch, write_torch
from engine.training.checkpoint import read_checkpoint, section

_BACKBONE = re.compile(r"(conv1|bn1|layer\d+)\.")
_WRAPPER = "module."
_COUNTER = "num_batches_tracked"
_SHOWN = 10  # keys listed in an error


@dataclass(frozen=True)
class LoadReport:
    """Which keys a file and a model share; `missing` are the model's only, `unexpected` the file's only."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def describe(self) -> str:
        """One line of counts; below it the groups of keys that one side lacks."""
        lines = [f"{len(self.matched)} keys matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected"]
        for title, keys in (("missing (keep their initial values)", self.missing), ("unexpected (not used)", self.unexpected)):
            if keys:
                lines.append(f"  {title}: {_grouped(keys)}")
        return "\n".join(lines)


def read_state_dict(path: PathLike) -> dict[str, np.ndarray]:
    """{key: array} of a checkpoint: ours (.npz), torch's (.pth, .pth.tar, zip or legacy) or Jittor's, told apart by content.

    Of a torch or Jittor file the entry "state_dict" is taken, else "model", else the mapping itself, of which entries that are
    no arrays (an epoch, say) are left out.

    Raises:
        LussError: the file cannot be read or is damaged, asks for code to be run, or holds no weights.
    """
    try:
        ours = is_arrays_file(path)
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); expected a checkpoint file") from error
    if ours:
        state = section(read_checkpoint(path, prefix="model/")[0], "model/")
        if not state:
            raise LussError(f"{path}: this checkpoint holds no arrays named model/...")
        return _clean(state, path)
    tree = read_torch(path)
    if not isinstance(tree, dict):
        raise LussError(f"{path}: holds a {type(tree).__name__}; expected a dictionary of weights")
    for name in ("state_dict", "model"):
        if isinstance(tree.get(name), dict):
            tree = tree[name]
            break
    state = {key: value for key, value in tree.items() if isinstance(key, str) and isinstance(value, np.ndarray)}
    if not state:
        keys = _some(map(str, tree), "none")
        raise LussError(f"{path}: holds no weights: its keys are {keys}; expected 'state_dict', 'model', or the weights themselves")
    return _clean(state, path)


def _clean(state: Mapping[str, np.ndarray], path: PathLike) -> dict[str, np.ndarray]:
    """Without `module.` and without the counters."""
    cleaned: dict[str, np.ndarray] = {}
    for key, value in state.items():
        while key.startswith(_WRAPPER):
            key = key[len(_WRAPPER) :]
        if key.rpartition(".")[2] == _COUNTER:
            continue
        if key in cleaned:
            raise LussError(f"{path}: holds {key} both with and without '{_WRAPPER}'; it is not clear which is meant")
        cleaned[key] = value
    return cleaned


def match(
    state: Mapping[str, np.ndarray],
    expected: Mapping[str, Sequence[int]],
    *,
    required_prefixes: Sequence[str] = (),
    source: str = "the checkpoint",
) -> LoadReport:
    """Compare weights with a model's keys and shapes before anything is loaded.

    Args:
        state: From `read_state_dict`.
        expected: {key: shape} of the model; counters are ignored.
        required_prefixes: Every expected key that begins with one of them must be in `state`; "" asks for all.
        source: Name of the file, for errors.

    Raises:
        LussError: a shape differs, no backbone key (conv1., bn1., layer*) fits although the model has some, or a required key
            is missing; the first ten are listed.
    """
    wanted = {key: tuple(shape) for key, shape in expected.items() if key.rpartition(".")[2] != _COUNTER}
    matched = tuple(key for key in wanted if key in state)
    missing = tuple(key for key in wanted if key not in state)
    unexpected = tuple(key for key in state if key not in wanted)
    backbone = [key for key in wanted if _BACKBONE.match(key)]
    if backbone and not any(key in state for key in backbone):
        raise LussError(
            f"{source}: not one of the {len(backbone)} backbone keys (conv1., bn1., layer1. ...) is in it{_prefix_hint(state, backbone)}; "
            f"its keys are {_some(state, 'none')}"
        )
    differing = [key for key in matched if state[key].shape != wanted[key]]
    if differing:
        wrong = [f"{key}: {_shape(state[key].shape)} in the file, {_shape(wanted[key])} in the model" for key in differing]
        hint = _family_hint(state, wanted)
        raise LussError(f"{source}: {len(wrong)} of {len(matched)} keys have another shape{hint}; nothing was loaded:\n  {_listed(wrong)}")
    needed = [key for key in missing if key.startswith(tuple(required_prefixes))]
    if needed:
        hint = _family_hint(state, wanted)
        raise LussError(f"{source}: {len(needed)} keys that this stage needs are missing{hint}; nothing was loaded:\n  {_listed(needed)}")
    return LoadReport(matched, missing, unexpected)


def export_torch(path: PathLike, state: Mapping[str, np.ndarray], *, epoch: int, optimizer: dict | None = None, prefix: str = _WRAPPER) -> None:
    """Write weights as the published code saves them: {"epoch", "state_dict"[, "optimizer"]}, readable by torch.load.

    Args:
        state: Keys without prefix, float arrays.
        epoch: Number of finished epochs.
        optimizer: torch-SGD's state_dict with arrays for tensors; None leaves the entry out, as the published loader expects.
        prefix: Put before every key; "" for none.

    A `num_batches_tracked` of 0 (int64, 0-d) follows every batch norm's statistics, since torch's strict loading asks for it.
    """
    weights: OrderedDict[str, np.ndarray] = OrderedDict()
    for key, value in state.items():
        weights[prefix + key] = np.asarray(value)
        module, dot, name = key.rpartition(".")
        if name == "running_var":
            weights[f"{prefix}{module}{dot}{_COUNTER}"] = np.zeros((), np.int64)
    counters = sum(key.rpartition(".")[2] == "running_mean" for key in state)
    if counters != sum(key.endswith(_COUNTER) for key in weights):
        raise ValueError("state: running_mean and running_var must come in pairs, and num_batches_tracked must not be in it")
    tree = {"epoch": epoch, "state_dict": weights}
    if optimizer is not None:
        tree["optimizer"] = optimizer
    write_torch(path, tree)


def _shape(shape: Sequence[int]) -> str:
    return "(" + ",".join(map(str, shape)) + ")"


def _listed(lines: Sequence[str]) -> str:
    rest = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n  ".join([*lines[:_SHOWN], *rest])


def _some(keys, nothing: str) -> str:
    keys = list(keys)
    return (", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "")) or nothing


def _grouped(keys: Sequence[str]) -> str:
    """layer1.0.conv1.weight, layer1.0.bn1.bias, fbg.threshold -> 'layer1.* (2), fbg.* (1)'."""
    counts: dict[str, int] = {}
    for key in keys:
        head = key.partition(".")[0]
        counts[head] = counts.get(head, 0) + 1
    return ", ".join(f"{head}.* ({count})" for head, count in counts.items())


def _prefix_hint(state: Mapping[str, np.ndarray], backbone: Sequence[str]) -> str:
    """Where the keys fit but for something before them, what that is."""
    for key in state:
        for tail in backbone[:1]:
            if key.endswith("." + tail):
                return f"; they seem to stand behind {key[: -len(tail)]!r}: save them without it"
    return ""


def _family_hint(state: Mapping[str, np.ndarray], wanted: Mapping[str, tuple]) -> str:
    found, expected = _family({k: v.shape for k, v in state.items()}), _family(wanted)
    if found == expected or "?" in found + expected:
        return ""
    return f" (the file holds {found}, the model is {expected}: see model.arch and model.width)"


def _family(shapes: Mapping[str, Sequence[int]]) -> str:
    """A guess at the encoder, from the first and the third block: 'ResNet-50', 'ResNet-18 of width 32'."""
    stem = shapes.get("conv1.weight")
    if stem is None:
        return "?"
    bottleneck = "layer1.0.conv3.weight" in shapes
    blocks = sum(f"layer3.{i}.conv1.weight" in shapes for i in range(64))
    name = {(False, 2): "ResNet-18", (False, 6): "ResNet-34", (True, 6): "ResNet-50", (True, 23): "ResNet-101"}.get((bottleneck, blocks), "?")
    return name if stem[0] == 64 else f"{name} of width {stem[0]}"
