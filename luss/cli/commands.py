"""What each `luss` command does. Heavy modules are imported inside the functions, so that `luss --help` stays fast."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from engine.runtime.errors import LussError
from luss.cli.bench import bench
from luss.cli.data import run_data
from luss.cli.evaluate import ALONE, evaluate_alone
from luss.cli.submit import submit
from luss.cli.table import table
from luss.cli.toml import dump_settings
from luss.settings import PRESET_FOLDER, Settings, build_settings, flatten, load_settings, preset_names
from luss.workspace import STAGES, Workspace

DEMO_IMAGES = {"train": 800, "validation": 160, "test": 64}


def run_stages(args: Namespace) -> None:
    """`luss run`, and every single stage."""
    workspace, settings = resolve(args)
    from luss import pipeline

    quieten(args)
    pipeline.run(workspace, settings, stages=None if args.command == "run" else [args.command], dry_run=args.dry_run, untrained=False)


def features(args: Namespace) -> None:
    from luss.cli.features import check

    if check(args):
        run_stages(args)


def cluster(args: Namespace) -> None:
    from luss.cli.cluster import run

    run(args)


def run_demo(args: Namespace) -> None:
    overrides = [f"data.root={os.path.join(args.workspace, 'data')}", *_overrides(args)]
    settings = load_settings("demo", overrides=overrides)
    quieten(args)
    if not _make_demo_set(settings.data.root, settings.run.seed, args.dry_run):
        return
    from luss import pipeline

    pipeline.run(args.workspace, settings, stages=None, dry_run=args.dry_run, untrained=args.untrained)


def _make_demo_set(root: str, seed: int, dry_run: bool) -> bool:
    """Generate the demo's images where they are not complete; False if a dry run leaves them ungenerated."""
    from engine.runtime.processes import barrier, rank
    from luss.demo.generator import generate, is_complete

    if is_complete(root, seed=seed, **DEMO_IMAGES):
        return True
    counts = ", ".join(f"{number} {split}" for split, number in DEMO_IMAGES.items())
    if dry_run:
        print(f"would generate the demo set in {root} ({counts} images, seed {seed}), then run {', '.join(STAGES)}")
        return False
    if rank() == 0:
        print(f"luss: generating the demo set in {root} ({counts} images, seed {seed})", file=sys.stderr, flush=True)
        generate(root, seed=seed, **DEMO_IMAGES)
    barrier()
    return True


def evaluate(args: Namespace) -> None:
    if args.predictions is None and not args.counts:
        for name in ALONE:
            if getattr(args, name) not in (None, False):
                option = f"--{name.replace('_', '-')}"
                raise LussError(f"{option} needs PRED; a run is evaluated with its own settings (data.evaluation_split, cluster.clusters)")
        if args.workers is not None:
            args.set.append(f"data.workers={args.workers}")
        run_stages(args)
        return
    for name in ("preset", "config", "workspace", "seed", "set", "dry_run"):
        if getattr(args, name):
            raise LussError(f"--{name.replace('_', '-')} belongs to a run and does not go with PRED; give --data, --split, --classes and --match")
    quieten(args)
    evaluate_alone(args)


def report(args: Namespace) -> None:
    if not os.path.isdir(args.workspace):
        raise LussError(f"{args.workspace}: no such folder; expected the workspace of a run")
    from luss.report.html import write_report

    print(write_report(args.workspace))


def doctor(args: Namespace) -> None:
    from engine.runtime.doctor import collect, format_json, format_table

    if args.compile:
        from engine.runtime.jittor_setup import load_jittor

        load_jittor()
    findings = collect()
    print(format_json(findings) if args.json else format_table(findings))


def preset(args: Namespace) -> None:
    if args.action == "list":
        for name in preset_names():
            with open(PRESET_FOLDER / f"{name}.toml", encoding="utf-8") as stream:
                print(f"{name:16} {stream.readline().lstrip('# ').rstrip()}")
        return
    settings = load_settings(args.name)  # an unknown name is refused with the nearest one
    if args.resolved:
        print(dump_settings(settings.as_dict()), end="")
    else:
        print((PRESET_FOLDER / f"{args.name}.toml").read_text(encoding="utf-8"), end="")


def export(args: Namespace) -> None:
    from engine.training.checkpoint import read_checkpoint
    from luss.models.state_dict import export_torch, read_state_dict

    if not args.output.endswith((".pth.tar", ".pth", ".pt")):
        raise LussError(f"{args.output}: expected a name that ends in .pth.tar, .pth or .pt")
    epoch = 0
    if args.checkpoint.endswith(".npz"):
        epoch = int(read_checkpoint(args.checkpoint, prefix="-")[1].get("epoch", 0))  # the record alone, no arrays
    state = read_state_dict(args.checkpoint)
    options = {"prefix": ""} if args.no_prefix else {}
    export_torch(args.output, state, epoch=epoch, **options)
    print(args.output)


def resolve(args: Namespace) -> tuple[str, Settings]:
    """Workspace and settings of `run` and the single stages.

    Without --preset and --config an existing workspace goes on with the settings stored in it: `luss attend --workspace W`
    must not silently take another preset than the run that made W.
    """
    workspace = workspace_of(args)
    stored = Workspace(workspace).settings_file
    overrides = _overrides(args)
    if args.preset is None and args.config is None and stored.is_file():
        settings = _stored_settings(stored, overrides)
    else:
        settings = load_settings(args.preset or "demo", args.config, overrides)
    if not settings.data.root:
        own = os.path.join(workspace, "data")
        if not os.path.isdir(own):
            raise LussError(
                f"no images: neither --data DIR nor data.root is given, and there is no folder {own}; "
                "expected a data set with train/<class>/<image> and validation/, or a plain folder of images: add --data DIR"
            )
        settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, root=own))
    return workspace, settings


def workspace_of(args: Namespace) -> str:
    return args.workspace or os.path.join("runs", args.preset or "demo")


def _overrides(args: Namespace) -> list[str]:
    """What the options mean as settings; --set comes last and wins."""
    overrides = [f"data.root={os.path.expanduser(args.data)}"] if getattr(args, "data", None) else []
    if args.seed is not None:
        overrides.append(f"run.seed={args.seed}")
    return overrides + args.set


def _stored_settings(path: Path, overrides: list[str]) -> Settings:
    try:
        tree = build_settings(flatten(json.loads(path.read_text(encoding="utf-8")))).as_dict()
    except (ValueError, AttributeError, OSError) as error:
        raise LussError(f"{path}: not the stored settings of a run ({error}); name a --preset, or take another --workspace") from error
    with tempfile.TemporaryDirectory() as folder:  # as a settings file, so that the overrides are checked like any others
        file = Path(folder) / "settings.toml"
        file.write_text(dump_settings(tree), encoding="utf-8")
        return load_settings("demo", str(file), overrides)


def quieten(args: Namespace) -> None:
    """Progress asks these two variables; worker processes inherit them."""
    if args.quiet:
        os.environ["LUSS_QUIET"] = "1"
        os.environ["TQDM_DISABLE"] = "1"


def protocol(args: Namespace) -> None:
    from luss.cli.protocol import run

    run(args)


HANDLERS = {
    "demo": run_demo,
    "run": run_stages,
    **{stage: run_stages for stage in STAGES},
    "features": features,
    "cluster": cluster,
    "evaluate": evaluate,
    "protocol": protocol,
    "report": report,
    "data": run_data,
    "table": table,
    "bench": bench,
    "doctor": doctor,
    "preset": preset,
    "export": export,
    "submit": submit,
}
