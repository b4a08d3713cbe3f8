"""`luss submit`: build the submission of a run or of anybody's label maps, or check a zip."""

from __future__ import annotations

import dataclasses
import os
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

from engine.runtime.errors import LussError

TEXT = "build a submission zip of a run or of any label maps and check it, or check anybody's with --check"
EXAMPLES = [
    "luss submit --workspace runs/50 --protocol unsupervised --out submission.zip",
    "luss submit --check submission.zip --data DIR --classes 50",
]
_METHOD_OPTIONS = {
    "name": ("--method-name", "name of the method"),
    "training_data": ("--training-data", "images it was trained on"),
    "training_scheme": ("--training-scheme", "SSL, Sup, SSL+Sup, ..."),
    "networks": ("--networks", "architecture"),
    "link": ("--link", "address of the paper or project"),
    "description": ("--description", "one line on the method"),
}
_COMMANDS = {"unsupervised": "predict", "distance": "protocol distance", "semi": "protocol semi"}  # what makes the predictions of a protocol
_OF_A_KIND = 20  # problems of one kind that are written out without --all


def add_options(parser) -> None:
    """Options of `luss submit` on its parser."""
    what = parser.add_argument_group("what to submit")
    what.add_argument(
        "predictions", metavar="PRED_DIR", nargs="?", help="anybody's label maps, <class>/<stem>.png, <split>/<class>/<stem>.png or flat"
    )
    what.add_argument("--workspace", metavar="DIR", help="folder of a run, in place of PRED_DIR (default: none)")
    what.add_argument("--check", metavar="FILE.zip", help="build nothing, check this zip (default: none)")
    what.add_argument("--protocol", metavar="NAME", help="unsupervised, distance, semi or free (required, but not with --check)")
    what.add_argument("--out", metavar="FILE.zip", help="the zip to write (default: submission.zip)")
    what.add_argument("--flat", action="store_true", help="names without class folders (default: off)")
    against = parser.add_argument_group("the test images")
    against.add_argument("--data", metavar="DIR", help="data set with the images of the split (default: the run's; required with PRED_DIR)")
    against.add_argument("--split", metavar="NAME", default="test", help="split of --data (default: %(default)s)")
    against.add_argument("--classes", metavar="K", type=int, help="number of categories (default: the class folders of --data)")
    against.add_argument("--match", metavar="none|FILE.json", help="table of generated ids (default: the run's match.json, none for PRED_DIR)")
    method = parser.add_argument_group("method.txt")
    method.add_argument("--method", metavar="FILE", help="a method.txt to take these lines from (default: none)")
    for option, text in _METHOD_OPTIONS.values():
        method.add_argument(option, metavar="TEXT", help=f"{text} (default: that of --method, else what the run's settings say)")
    behaviour = parser.add_argument_group("behaviour")
    behaviour.add_argument("--workers", metavar="N", type=int, default=-1, help="processes, 0 = none besides (default: one per core for many maps)")
    behaviour.add_argument("--all", action="store_true", help=f"print every problem (default: the first {_OF_A_KIND} of each kind)")
    behaviour.add_argument("--debug", action="store_true", help="show the traceback of every error (default: off)")
    behaviour.add_argument("--quiet", action="store_true", help="no progress on stderr (default: off)")


def submit(args: Namespace) -> None:
    """Handler of the command."""
    given = [name for name in ("check", "predictions", "workspace") if getattr(args, name)]
    if len(given) != 1:
        words = {"check": "--check", "predictions": "PRED_DIR", "workspace": "--workspace"}
        found = " and ".join(words[name] for name in given) or "none"
        raise LussError(f"luss submit: expected one of --workspace DIR, PRED_DIR and --check FILE.zip; found {found}")
    if args.workers < -1:
        raise LussError(f"--workers {args.workers}: expected 0 or more, or -1 for one per core")
    if args.check:
        _check(args)
    else:
        _build(args)


def _check(args: Namespace) -> None:
    for name in ("out", "flat", "match", "method", *_METHOD_OPTIONS):
        if getattr(args, _attribute(name)):
            raise LussError(f"{_option(name)} belongs to building and does not go with --check")
    _print_problems(args, args.check, _classes(args, args.data), args.data)


def _build(args: Namespace) -> None:
    from engine.data.folder import list_images
    from luss.benchmark.rules import history_of, protocol_named, warnings_for
    from luss.benchmark.submission import build_submission
    from luss.benchmark.submission_check import worker_count

    if args.protocol is None:
        raise LussError("luss submit: --protocol is missing; expected unsupervised, distance, semi or free")
    rule = protocol_named(args.protocol)
    history = history_of(args.workspace) if args.workspace else {}
    data = args.data or history.get("settings", {}).get("data.root")
    if not data:
        raise LussError("luss submit: --data DIR is missing (the data set whose images the label maps belong to)")
    items = list_images(data, args.split).items
    classes = _classes(args, data)
    folder = _run_predictions(args) if args.workspace else _split_folder(args.predictions, args.split)
    match = _match(args, rule, folder, classes)
    method = _method(args, history, classes)
    for text in warnings_for(rule.name, history, classes):
        print(f"luss: warning: {text}", file=sys.stderr, flush=True)
    if match is not None and not rule.match:
        print(f"luss: warning: the protocol {rule.name} takes maps of class ids, without match.json", file=sys.stderr, flush=True)
    out = args.out or "submission.zip"
    with _Bar(args, "building") as bar:
        report = build_submission(
            folder,
            out,
            test_images=items,
            num_classes=classes,
            match=match,
            method=method,
            flat=args.flat,
            workers=worker_count(args.workers, len(items)),
            progress=bar.report,
        )
    _print_problems(args, out, classes, data)
    notes = [f"{report.images} label maps", f"{report.size} bytes", f"competition {rule.competition} ({rule.title})"]
    notes += [f"{report.reencoded} written anew as 8-bit RGB"] if report.reencoded else []
    notes += [f"{report.passed_over} other PNGs passed over"] if report.passed_over else []
    if not args.quiet:
        print(f"luss: {', '.join(notes)}", file=sys.stderr, flush=True)


def _print_problems(args: Namespace, path: str, classes: int, data: str | None) -> None:
    """Check a zip and print one line a problem; LussError if it is not valid."""
    from luss.benchmark.submission_check import check_submission

    with _Bar(args, "checking") as bar:
        problems = check_submission(
            path, data_root=data, split=args.split, num_classes=classes, protocol=args.protocol, workers=args.workers, progress=bar.report
        )
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[problem.kind] += 1
        if args.all or kinds[problem.kind] <= _OF_A_KIND:
            print(problem.line)
    for kind, number in kinds.items():
        if number > _OF_A_KIND and not args.all:
            print(f"{number - _OF_A_KIND} more of the kind {kind} (--all prints them)")
    errors = sum(not problem.warning for problem in problems)
    warnings = len(problems) - errors
    counts = f"{errors} problem{'s' if errors != 1 else ''}, {warnings} warning{'s' if warnings != 1 else ''}"
    sys.stdout.flush()
    if errors:
        raise LussError(f"{path}: {counts}; this is no valid submission")
    print(f"{path}: valid, {counts}")


def _classes(args: Namespace, data: str | None) -> int:
    from luss.benchmark.rules import count_categories

    classes = args.classes if args.classes is not None else count_categories(data or "", ("train", args.split, "validation"))
    if classes is None or classes < 1:
        raise LussError("luss submit: --classes K is missing (the number of categories, 50, 300 or 919 for ImageNet-S)")
    return classes


def _run_predictions(args: Namespace) -> str:
    """The run's folder of label maps for the split; says what makes them where they are not there."""
    from luss.benchmark.rules import PREDICTIONS

    stages = list(PREDICTIONS) if args.protocol == "free" else [args.protocol]
    found = [Path(args.workspace) / PREDICTIONS[stage] for stage in stages]
    for stage in found:
        if (stage / args.split).is_dir() and (stage / "DONE.json").is_file():
            return str(stage / args.split)
    splits = ",".join(dict.fromkeys(("validation", args.split)))
    half = next((stage for stage in found if (stage / args.split).is_dir()), None)
    state = f"{half / args.split} is half done" if half else f"{found[0] / args.split} is not there"
    raise LussError(
        f"{args.workspace}: no {args.split} predictions of the protocol {args.protocol}: {state}; make them with  "
        f"luss {_COMMANDS[stages[0]]} --workspace {args.workspace} --set predict.splits={splits}"
    )


def _split_folder(folder: str, split: str) -> str:
    inner = os.path.join(folder, split)
    return inner if os.path.isdir(inner) else folder


def _match(args: Namespace, rule, folder: str, classes: int) -> dict[int, int] | None:
    """The table that goes with the maps; None for maps of class ids."""
    if args.match == "none":
        return None
    file = args.match
    if file is None:
        own = os.path.join(os.path.dirname(folder), "match.json")
        if not args.workspace or not rule.match or Path(folder).parent.name != "7-predict":
            return None
        if not os.path.isfile(own):
            raise LussError(f"{own} is missing: the maps hold generated ids; give --match FILE.json, or --match none for maps of class ids")
        file = own
    from luss.benchmark.submission_texts import read_match

    return read_match(file, classes)


def _method(args: Namespace, history: dict, classes: int):
    from luss.benchmark.submission_texts import MethodText, read_method

    values = _method_of_run(args, history, classes) if args.workspace else {}
    if args.method:
        try:
            values = dataclasses.asdict(read_method(Path(args.method).read_bytes(), args.method))
        except OSError as error:
            raise LussError(f"{args.method}: cannot be read ({error.strerror}); expected a method.txt of six lines") from error
    values.update({name: text for name in _METHOD_OPTIONS if (text := getattr(args, _attribute(name))) is not None})
    missing = [option for name, (option, _) in _METHOD_OPTIONS.items() if name not in values]
    if missing:
        raise LussError(f"luss submit: {', '.join(missing)} missing; method.txt has six lines: give them, or --method FILE")
    return MethodText(**values)


def _method_of_run(args: Namespace, history: dict, classes: int) -> dict[str, str]:
    """The six lines as far as a run's settings tell them."""
    settings = history["settings"]
    weights, first = settings.get("model.weights"), settings.get("data.pretrain_root")
    images = f"ImageNet-S-{classes}" if classes in (50, 300, 919) else f"a set of {classes} categories"
    return {
        "name": "PASS",
        "training_data": f"training images of {images}" + (f", stage 1 of {first}" if first else ""),
        "training_scheme": "SSL" + (f", from the weights {os.path.basename(str(weights))}" if weights else ""),
        "networks": str(settings.get("model.arch", "unknown")).replace("resnet", "ResNet-"),
        "link": "none",
        "description": f"LUSS engine, protocol {args.protocol}, seed {settings.get('run.seed', 'unknown')}",
    }


def _attribute(name: str) -> str:
    return _METHOD_OPTIONS[name][0][2:].replace("-", "_") if name in _METHOD_OPTIONS else name


def _option(name: str) -> str:
    return _METHOD_OPTIONS[name][0] if name in _METHOD_OPTIONS else f"--{name}"


class _Bar:
    """A progress bar for functions that report (done, total)."""

    def __init__(self, args: Namespace, title: str):
        self.quiet, self.title, self.bar = args.quiet, title, None

    def __enter__(self) -> _Bar:
        return self

    def report(self, done: int, total: int) -> None:
        from engine.runtime.progress import Progress

        if self.bar is None:
            self.bar = Progress(self.title, total, unit="map", quiet=self.quiet)
        self.bar.update(done - self.bar.done)

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()
