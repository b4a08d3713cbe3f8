"""`luss protocol`: one protocol of the benchmark, from a checkpoint to scored label maps and, on request, a submission."""

from __future__ import annotations

import os
from argparse import Namespace

from engine.runtime.errors import LussError
from luss.cli import commands
from luss.workspace import Workspace

_TEXT = "one protocol of the benchmark: from a checkpoint to scored validation maps, and a submission for test"
_EXAMPLES = [
    "luss protocol distance --workspace runs/50",
    "luss protocol semi --checkpoint pass919_pretrained.pth.tar --preset imagenet-s-919 --data DIR --workspace runs/semi --set model.arch=resnet50",
]
NAMES = {
    "unsupervised": "all stages of `luss run`; clusters are matched to categories on validation",
    "distance": "labelled vectors of train-semi vote for each pixel's category; nothing is trained after stage 1",
    "semi": "fine-tuning on the masks of train-semi",
}


def add_parser(commands_, add, add_common) -> None:
    """The options of `luss protocol`; `add` and `add_common` are those of luss.cli.parser."""
    parser = add(commands_, "protocol", _TEXT, _EXAMPLES)
    parser.description += "\n\n" + "\n".join(f"{name:13}{text}" for name, text in NAMES.items())
    parser.add_argument("protocol", metavar="PROTOCOL", choices=list(NAMES), help=", ".join(NAMES))
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="weights of stage 1 to start from, ours or a published .pth.tar (default: stage 1 of the workspace)"
    )
    add_common(parser)


def run(args: Namespace) -> None:
    """Settings, the guard of an existing stage 1, and the protocol's stages."""
    predicted = ["predict.splits=validation,test"]
    if args.checkpoint:
        if not os.path.isfile(args.checkpoint):
            raise LussError(f"--checkpoint {args.checkpoint}: no such file; expected weights of stage 1 (.npz of a run, or .pth.tar)")
        predicted += [f"model.weights={os.path.abspath(args.checkpoint)}", "pretrain.epochs=0"]
    args.set = predicted + args.set  # --set of the user comes later and wins
    workspace, settings = commands.resolve(args)
    if args.checkpoint:
        _spare_other_weights(workspace, settings.model.weights)
    from luss import pipeline

    commands._quieten(args)
    pipeline.run(workspace, settings, dry_run=args.dry_run, plan=pipeline.PROTOCOLS[args.protocol])


def _spare_other_weights(workspace: str, weights: str) -> None:
    """A trained stage 1 must not be thrown away because a checkpoint was named beside it."""
    done = Workspace(workspace).stage("pretrain").done()
    if done is not None and done["settings"]["model"]["weights"] != weights:
        held = done["settings"]["model"]["weights"] or "trained there"
        raise LussError(f"--checkpoint {weights}: {workspace} has a stage 1 already ({held}); leave --checkpoint out, or name another --workspace")
