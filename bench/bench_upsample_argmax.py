"""upsample_argmax against PyTorch's interpolate and argmax: label maps of 375 x 500 from small logits, hot paths U1 and U2.

    python bench/bench_upsample_argmax.py [--rounds N] [--only TEXT] [--json FILE]

"smooth": 3 times a map of normal numbers at a sixth of the size, enlarged, plus half a normal number a place, as logits of neighbouring
places go together. "peaky": the same, and one class, that of the largest smooth value, raised by 8. "noise": normal numbers alone.
The sides must give the same labels, except where the two values lie within 2^-20 of the size of the logits.
"""

from __future__ import annotations

from harness import Case, main, benchmark_of, torch_or_none  # isort: skip  (before NumPy)

import numpy as np

from engine.ops.upsample_argmax import upsample_argmax_host
from engine.ops.upsample_argmax_reference import enlarged_logits
from engine.ops.upsample_reference import upsample_bilinear

SIZE = (375, 500)
GOALS = {51: 40.0, 301: 40.0, 920: 150.0}


def logits_of(kind: str, classes: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(classes + height)
    noise = rng.standard_normal((1, classes, height, width), np.float32)
    if kind == "noise":
        return noise
    coarse = rng.standard_normal((1, classes, max(2, height // 6), max(2, width // 6)), np.float32)
    smooth = 3 * upsample_bilinear(coarse, (height, width)).astype(np.float32)
    logits = smooth + 0.5 * noise
    if kind == "peaky":
        np.put_along_axis(logits, smooth.argmax(1)[:, None], np.take_along_axis(logits, smooth.argmax(1)[:, None], 1) + 8, 1)
    return logits


def case(kind: str, classes: int, height: int, width: int, steps: int) -> Case:
    middle = (4 * height, 4 * width) if steps == 2 else None

    def prepare():
        logits = logits_of(kind, classes, height, width)

        def ours():
            return upsample_argmax_host(logits, [SIZE], middle=middle, threads=1)[0]

        sides = {"ours": ours}
        torch = torch_or_none()
        if torch is not None:
            x, enlarge = torch.from_numpy(logits), torch.nn.functional.interpolate

            def peer():
                with torch.inference_mode():
                    inner = enlarge(x, middle, mode="bilinear", align_corners=False) if middle else x
                    return enlarge(inner, SIZE, mode="bilinear", align_corners=False).argmax(1)[0].numpy()

            sides["torch"] = peer
            check(logits[0], ours(), peer(), middle)
        return sides

    name = f"{kind} {classes} x {height} x {width}" + (" two steps" if steps == 2 else "")
    # Least for any method: each number is looked at once, and each pixel decided
    operations = float(classes * height * width + SIZE[0] * SIZE[1])
    moved = 4.0 * (classes * height * width + SIZE[0] * SIZE[1])
    return Case("upsample_argmax", name, prepare, operations, moved, {"torch": GOALS[classes]})


def check(logits: np.ndarray, ours: np.ndarray, theirs: np.ndarray, middle) -> None:
    """Labels that differ must be of values that rounding cannot tell apart."""
    rows, columns = np.nonzero(ours != theirs)
    for y, x in zip(rows, columns):
        pair = logits[[ours[y, x], theirs[y, x]]]
        values = enlarged_logits(pair, SIZE, middle)[:, y, x]
        if abs(values[0] - values[1]) > 2.0**-20 * np.abs(logits).max():
            raise SystemExit(f"labels differ at {y}, {x}: {ours[y, x]} and {theirs[y, x]}, of values {values}")
    if len(rows):
        print(f"{len(rows)} of {ours.size} labels differ, all of values within rounding")


def cases() -> list[Case]:
    found = [case("smooth", classes, *size, steps) for size in ((32, 43), (8, 11)) for steps in (1, 2) for classes in (51, 301, 920)]
    return found + [case(kind, classes, 32, 43, 1) for kind in ("peaky", "noise") for classes in (51, 920)]


test_upsample_argmax = benchmark_of(cases)
if __name__ == "__main__":
    main(cases)
