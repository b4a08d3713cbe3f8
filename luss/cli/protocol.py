"""`luss protocol`: one protocol of the benchmark, from a checkpoint or label maps to scored validation maps and a checked submission for test."""

from __future__ import annotations

import os
from argparse import Namespace

from engine.runtime.errors import LussError
from luss.workspace import Workspace

_TEXT = "one protocol of the benchmark: from a checkpoint to scored validation maps, and a checked submission for test"
_EXAMPLES = [
    "luss protocol distance --workspace runs/50 --submission distance.zip",
    "luss protocol free --predictions MAPS --data DIR --match identity --method method.txt --submission free.zip",
]
NAMES = {
    "unsupervised": "all stages of `luss run`; clusters are matched to categories on validation",
    "distance": "labelled vectors of train-semi vote for each pixel's category; nothing is trained after stage 1",
    "semi": "fine-tuning on the masks of train-semi",
    "free": "anybody's label maps, MAPS/validation/ and MAPS/test/",
}
_FOR_RUNS = ("checkpoint", "preset", "config", "workspace", "seed", "dry_run", "set")
_FOR_MAPS = ("predictions", "classes", "match")


def add_parser(commands, add, add_common) -> None:
    """The options of `luss protocol`; `add` and `add_common` are those of luss.cli.parser."""
    parser = add(commands, "protocol", _TEXT, _EXAMPLES)
    parser.description += "\n\n" + "\n".join(f"{name:13}{text}" for name, text in NAMES.items())
    parser.add_argument("protocol", metavar="PROTOCOL", choices=list(NAMES), help=", ".join(NAMES))
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="weights of stage 1 to start from, ours or a published .pth.tar (default: stage 1 of the workspace)"
    )
    parser.add_argument("--submission", metavar="FILE.zip", help="also write the submission of the test split, and check it (default: none)")
    parser.add_argument("--method", metavar="FILE", help="method.txt of the submission (default: what the run's settings say)")
    maps = parser.add_argument_group("protocol free")
    maps.add_argument("--predictions", metavar="MAPS", help="folder of label maps with validation/ and test/ (required for free)")
    maps.add_argument("--classes", metavar="K", type=int, help="number of categories (default: the class folders of --data)")
    maps.add_argument("--match", metavar="SCHEME|FILE.json", help="how ids are matched, see luss evaluate (default: image)")
    add_common(parser)


def run(args: Namespace) -> None:
    """Handler of the command: predict and score validation, then build the submission of test."""
    wrong = _FOR_RUNS if args.protocol == "free" else _FOR_MAPS
    for name in wrong:
        if getattr(args, name):
            raise LussError(f"--{name.replace('_', '-')} does not go with the protocol {args.protocol}")
    if args.method and not args.submission:
        raise LussError("--method belongs to a submission: give --submission FILE.zip, too")
    if args.protocol == "free":
        _run_free(args)
    else:
        _run_stages(args)


def _run_stages(args: Namespace) -> None:
    from luss import pipeline
    from luss.cli.commands import quieten, resolve

    first = ["predict.splits=validation,test"]
    if args.checkpoint:
        if not os.path.isfile(args.checkpoint):
            raise LussError(f"--checkpoint {args.checkpoint}: no such file; expected weights of stage 1 (.npz of a run, or .pth.tar)")
        first += [f"model.weights={os.path.abspath(args.checkpoint)}", "pretrain.epochs=0"]
    args.set = first + args.set  # the user's own come later and win
    workspace, settings = resolve(args)
    if args.checkpoint:
        _spare_other_weights(workspace, settings.model.weights)
    quieten(args)
    pipeline.run(workspace, settings, dry_run=args.dry_run, plan=pipeline.PROTOCOLS[args.protocol])
    if args.submission and not args.dry_run:
        _submit(args, ["--workspace", workspace, "--data", settings.data.root])


def _run_free(args: Namespace) -> None:
    from luss.benchmark.rules import count_categories
    from luss.cli.parser import parse

    for name in ("predictions", "data"):
        if not getattr(args, name):
            raise LussError(f"luss protocol free: --{name} DIR is missing")
    classes = args.classes or count_categories(args.data, ("train", "validation", "test"))
    if not classes:
        raise LussError(f"luss protocol free: {args.data} has no class folders to count; give --classes K")
    from luss.cli.commands import evaluate

    words = ["evaluate", args.predictions, "--data", args.data, "--classes", str(classes), "--match", args.match or "image"]
    evaluate(parse([*words, "--quiet"] if args.quiet else words)[0])
    if args.submission:
        table = ["--match", args.match] if args.match and args.match.endswith(".json") else []
        _submit(args, [args.predictions, "--data", args.data, "--classes", str(classes), *table])


def _submit(args: Namespace, what: list[str]) -> None:
    from luss.cli.parser import parse
    from luss.cli.submit import submit

    words = ["submit", *what, "--protocol", args.protocol, "--out", args.submission]
    words += ["--method", args.method] if args.method else []
    submit(parse([*words, "--quiet"] if args.quiet else words)[0])


def _spare_other_weights(workspace: str, weights: str) -> None:
    """A trained stage 1 must not be thrown away because a checkpoint was named beside it."""
    done = Workspace(workspace).stage("pretrain").done()
    if done is not None and done["settings"]["model"]["weights"] != weights:
        held = done["settings"]["model"]["weights"] or "trained there"
        raise LussError(f"--checkpoint {weights}: {workspace} has a stage 1 already ({held}); leave --checkpoint out, or name another --workspace")
