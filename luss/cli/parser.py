"""The tree of `luss` commands and options, as an argparse parser: no command is run here."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence

from engine.runtime.errors import LussError
from luss import __version__
from luss.cli import cluster, features, protocol, submit
from luss.cli.aliases import translate
from luss.cli.bench import add_bench
from luss.cli.data import add_data
from luss.cli.evaluate import add_options as add_evaluate_options
from luss.cli.table import add_table

STAGE_HELP = {
    "pretrain": ("stage 1: train the encoder on images alone (SwAV, pixel-to-pixel, deep-to-shallow)", "pretrain.epochs=50"),
    "attend": ("stage 2.1: train the pixel-attention head on the frozen encoder", "attend.base_lr=0.6"),
    "features": ("stage 2.2: one attention-pooled vector per image, in checked shards on disk", "features.dtype=float16"),
    "cluster": ("stage 2.2: k-means over the features, and the agreement with the class folders; or over any feature cache", "cluster.restarts=5"),
    "threshold": ("stage 2.3: label maps and attention of the validation images, and the best threshold", "label.curve_max=60"),
    "label": ("stage 2.4: pseudo label maps of the training images", "label.threshold=0.41"),
    "finetune": ("stage 3: train the segmentation network on the pseudo labels", "finetune.epochs=5"),
    "predict": ("stage 4: label maps at image size, and the match of clusters to categories", "predict.splits=validation,test"),
    "evaluate": ("metrics of a run's predictions, or of any folder of label maps", "data.evaluation_split=validation"),
}
_EXIT_CODES = "exit codes: 0 done, 1 a bug of ours, 2 something to mend on your side, 3 interrupted (the same command goes on from there)"


class Parser(argparse.ArgumentParser):
    """Errors become LussError, so that all messages look alike."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message):
        raise LussError(f"{message}  (see {self.prog} --help)")


def build_parser() -> Parser:
    parser = Parser(
        prog="luss",
        description="Large-scale unsupervised semantic segmentation: learn to label every pixel of photographs without human labels.",
        epilog="examples:\n  luss demo\n  luss run --preset imagenet-s-50 --data DIR --workspace runs/50\n\n" + _EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"luss {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    _add_demo(commands)
    run = _add(
        commands,
        "run",
        "all stages in order; what is complete and current is skipped, what is half done resumed",
        [
            "luss run --preset imagenet-s-50 --data DIR --workspace runs/50",
            "luss run --preset imagenet-s-919 --data DIR --set optimizer.base_lr=0.3 --dry-run",
        ],
    )
    _add_common(run)
    for stage, (text, setting) in STAGE_HELP.items():
        if stage == "features":
            features.add_options(_add(commands, stage, text, features.EXAMPLES), _add_common)
        elif stage == "cluster":
            cluster.add_options(_add(commands, stage, text, cluster.EXAMPLES), _add_common)
        elif stage != "evaluate":
            examples = [f"luss {stage} --preset imagenet-s-50 --data DIR", f"luss {stage} --workspace runs/demo --set {setting}"]
            _add_common(_add(commands, stage, text, examples))
    _add_evaluate(commands)
    protocol.add_parser(commands, _add, _add_common)
    _add_report(commands)
    add_data(commands, _add)
    add_table(commands, _add, _add_debug)
    add_bench(commands, _add, _add_debug)
    _add_doctor(commands)
    _add_preset(commands)
    _add_export(commands)
    submit.add_options(_add(commands, "submit", submit.TEXT, submit.EXAMPLES))
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parsed arguments, and notes on PASS option names that were translated.

    Raises:
        LussError: an unknown command or option (the nearest one is named), or a missing or wrong value.
        SystemExit: after --help and --version.
    """
    parser = build_parser()
    names = subcommands(parser)
    notes: list[str] = []
    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        command = arguments[0]
        if command not in names:
            near = difflib.get_close_matches(command, names, 1)
            raise LussError(f"unknown command {command}; {'did you mean ' + near[0] + '? ' if near else ''}there are {', '.join(names)}")
        translated, notes = translate(command, arguments[1:])
        arguments = [command] + translated
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        options = sorted(names[namespace.command]._option_string_actions) if namespace.command else ["--help", "--version"]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], options, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise LussError(f"unknown argument {unknown[0]}{meant}  (see luss {namespace.command or ''} --help)")
    return namespace, notes


def subcommands(parser: Parser) -> dict[str, Parser]:
    action = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def _add(commands, name: str, text: str, examples: Sequence[str]) -> Parser:
    epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples) + "\n\n" + _EXIT_CODES
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog)


def _add_common(parser: Parser) -> None:
    """Options of `run` and of the single stages."""
    where = parser.add_argument_group("what to run")
    where.add_argument("--preset", metavar="NAME", help="preset to start from (default: the settings stored in an existing workspace, else demo)")
    where.add_argument("--config", metavar="FILE", help="TOML file of settings, over the preset (default: none)")
    where.add_argument("--data", metavar="DIR", help="data set: a folder with train/, validation/, ... (default: WORKSPACE/data where there is one)")
    where.add_argument("--workspace", metavar="DIR", help="folder of the run, made if need be (default: runs/<preset>)")
    _add_settings(parser)
    _add_behaviour(parser)


def _add_settings(parser: Parser) -> None:
    settings = parser.add_argument_group("settings (see luss preset show --resolved)")
    settings.add_argument("--set", metavar="SECTION.NAME=VALUE", action="append", default=[], help="override one setting; repeatable")
    settings.add_argument("--seed", metavar="N", type=int, help="same as --set run.seed=N (default: the preset's)")


def _add_behaviour(parser: Parser) -> None:
    behaviour = parser.add_argument_group("behaviour")
    behaviour.add_argument("--dry-run", action="store_true", help="print stages, steps and sizes of what would be written, and stop (default: off)")
    _add_debug(behaviour)
    behaviour.add_argument("--quiet", action="store_true", help="no progress on stderr (default: off)")


def _add_debug(group) -> None:
    group.add_argument("--debug", action="store_true", help="show the traceback of every error (default: off)")


def _add_demo(commands) -> None:
    demo = _add(
        commands,
        "demo",
        "generate a small labelled set and run all stages on it; minutes on two CPU cores",
        [
            "luss demo",
            "luss demo --untrained --workspace runs/demo-untrained --seed 1",
        ],
    )
    where = demo.add_argument_group("what to run")
    where.add_argument("--workspace", metavar="DIR", default="runs/demo", help="folder of the run; the set goes to DIR/data (default: %(default)s)")
    where.add_argument("--untrained", action="store_true", help="skip pre-training: a random encoder, for comparison (default: off)")
    _add_settings(demo)
    _add_behaviour(demo)


def _add_evaluate(commands) -> None:
    text, setting = STAGE_HELP["evaluate"]
    evaluate = _add(
        commands,
        "evaluate",
        text,
        [
            "luss evaluate --workspace runs/demo",
            "luss evaluate PRED --data DIR --split validation --classes 50 --match image --save-counts counts.npz",
        ],
    )
    add_evaluate_options(evaluate)
    _add_common(evaluate)


def _add_report(commands) -> None:
    report = _add(
        commands,
        "report",
        "write a run's report again, one self-contained HTML page, and print its path",
        [
            "luss report",
            "luss report runs/50",
        ],
    )
    report.add_argument("workspace", metavar="WORKSPACE", nargs="?", default="runs/demo", help="folder of the run (default: %(default)s)")
    _add_debug(report)


def _add_doctor(commands) -> None:
    doctor = _add(
        commands,
        "doctor",
        "what was found on this machine, what is missing, what that costs and how to get it",
        [
            "luss doctor",
            "luss doctor --json",
        ],
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON object instead of a table (default: off)")
    doctor.add_argument("--compile", action="store_true", help="also compile Jittor for this machine if that was not done yet (default: off)")
    _add_debug(doctor)


def _add_preset(commands) -> None:
    preset = _add(
        commands,
        "preset",
        "list the presets, or show one as a file to edit",
        [
            "luss preset list",
            "luss preset show imagenet-s-50 --resolved > my.toml",
        ],
    )
    actions = preset.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    _add_debug(actions.add_parser("list", help="names and first lines", description="Names and first lines of the presets."))
    show = actions.add_parser("show", help="print one as TOML", description="Print a preset as TOML; the output is a file for --config.")
    show.add_argument("name", metavar="NAME", nargs="?", default="demo", help="the preset (default: %(default)s)")
    show.add_argument("--resolved", action="store_true", help="every setting with its value, also those left at their default (default: off)")
    _add_debug(show)


def _add_export(commands) -> None:
    export = _add(
        commands,
        "export",
        "write a checkpoint's weights as a PyTorch file with the published names",
        [
            "luss export runs/50/1-pretrain/checkpoint.npz pass50_pretrained.pth.tar",
            "luss export runs/50/6-finetune/checkpoint.npz pass50_finetuning.pth.tar --no-prefix",
        ],
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint.npz of a run, or any file the stages can read")
    export.add_argument("output", metavar="OUT.pth.tar", help="the file to write")
    export.add_argument("--no-prefix", action="store_true", help="plain names, without the module. of the published files (default: off)")
    _add_debug(export)


def print_help() -> None:
    build_parser().print_help(sys.stdout)
