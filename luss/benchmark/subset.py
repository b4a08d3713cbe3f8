"""Parts of a set of images by name: class folders, or a list file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.runtime.errors import LussError


def subset_positions(names: Sequence[str], subset: str) -> list[int]:
    """Positions of the images that a subset names, in the order of `names`.

    Args:
        names: "<class>/<stem>.png" of all images.
        subset: "class=n01440764,n01443537" = these class folders; else a file with one image a line, "<class>/<stem>" with any ending. Of several
            words on a line the last counts, as in the published lists.

    Raises:
        LussError: nothing is named, or something that is not among the images; names it.
    """
    if subset.startswith("class="):
        wanted = {one for one in subset[len("class=") :].split(",") if one}
        keys = [name.rpartition("/")[0] for name in names]
        source, kind = f"--subset {subset}", "class folder"
    else:
        try:
            lines = Path(subset).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LussError(f"{subset}: cannot be read ({reason}); expected class=NAME,... or a file with one image a line") from error
        wanted = {_stem(line.split()[-1]) for line in lines if line.strip()}
        keys = [_stem(name) for name in names]
        source, kind = subset, "image"
    unknown = sorted(wanted - set(keys))
    if unknown or not wanted:
        found = f"{len(unknown)} unknown, e.g. {unknown[0]}" if unknown else "nothing"
        raise LussError(f"{source}: found {found}; expected each {kind} to be one of those that were counted, e.g. {keys[0]}")
    return [position for position, key in enumerate(keys) if key in wanted]


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
