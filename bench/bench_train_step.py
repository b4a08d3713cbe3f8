"""One training step of each stage, ResNet-18 at 224 pixels, against the same step in PyTorch on the CPU.

    python bench/bench_train_step.py [--batch 8] [--steps 6] [--threads N] [--torch-python PYTHON]

Both sides get the same weights and the same batch, run one after the other in processes of their own, and must agree on
the loss of the first step. Printed: the median seconds of a step without the first two (they compile), images a second, the
ratio to PyTorch, the share of the machine's matrix-product rate that the step's convolutions reach, and peak memory.
PyTorch is not a dependency: install it into a virtual environment (pip install torch numpy) and name its python.

Least work of a step, in multiply-adds of ResNet-18 (1.81 GMAC for one forward pass at 224 pixels): three passes (forward,
gradient of the input, gradient of the weights) for what is trained, one for the frozen encoder of stage 2.1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "bench" / "peers" / "torch_train_step.py"
STAGES = ("pretrain", "attend", "finetune")
CONFIG = {"hidden": 512, "dim": 128, "prototypes": 500, "classes": 51, "lr": 0.6}
CROPS = ((2, 224), (6, 96))  # ImageNet-S-50 as published
GMAC = 1.81  # ResNet-18, one image of 224 x 224
WARM = 2  # steps
sys.path.insert(0, str(ROOT))


def work(stage: str, batch: int) -> float:
    """Least floating-point operations of a step: encoder convolutions, and in stage 2.1 the second attention convolution."""
    large = 2 * GMAC * 1e9 * batch
    if stage == "pretrain":
        return 3 * sum(count * (size / 224) ** 2 for count, size in CROPS) * large
    if stage == "attend":
        head = 2 * 512 * 512 * (28 * 28 + 7 * 7)
        return 2 * (large + 3 * batch * head)
    return 3 * large


def make_batch(stage: str, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    def images(count, size):
        return rng.standard_normal((count, 3, size, size), np.float32)

    if stage == "pretrain":
        arrays = {f"crops{g}": images(count * batch, size) for g, (count, size) in enumerate(CROPS)}
        return {**arrays, **{name: rng.uniform(-1, 1, (batch, 7, 7, 2)).astype(np.float32) for name in ("grid_q", "grid_k")}}
    if stage == "attend":
        return {"crops0": images(2 * batch, 224)}
    return {"image": images(batch, 224), "labels": rng.integers(0, CONFIG["classes"], (batch, 112, 112)).astype(np.int32)}


def our_settings():
    from luss.settings import load_settings

    overrides = [f"data.root={ROOT}", "pretrain.queue_length=0", "attend.queue_length=0", f"optimizer.base_lr={CONFIG['lr']}"]
    return load_settings("imagenet-s-50", overrides=overrides)


def our_net(stage: str, settings):
    from luss.models import build

    make = {"pretrain": build.pretrain_net, "attend": build.attention_net, "finetune": build.finetune_net}
    return make[stage](settings)


def our_side(folder: str, stage: str, steps: int) -> None:
    """Run our step in this process and print the same JSON line as the peer."""
    from engine.runtime import jt
    from engine.training.larc import LarcSGD
    from luss.models.build import load, parameters
    from luss.models.layers import set_training
    from luss.models.state_dict import read_state_dict
    from luss.stages.attend import TRAINABLE, attend_step
    from luss.stages.finetune import finetune_step
    from luss.stages.pretrain import pretrain_step

    settings = our_settings()
    net = our_net(stage, settings)
    load(net, read_state_dict(os.path.join(folder, f"{stage}.pth")), source="the bench")
    set_training(net, True)
    optimizer = LarcSGD(parameters(net, TRAINABLE) if stage == "attend" else parameters(net))
    batch = dict(np.load(os.path.join(folder, f"{stage}.npz")))
    seconds, losses = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        fed = {name: jt.array(x) for name, x in batch.items() if name != "labels"}
        if stage == "pretrain":
            groups = [fed["crops0"], fed["crops1"]]
            figures = pretrain_step(net, optimizer, groups, fed["grid_q"], fed["grid_k"], None, CONFIG["lr"], settings, False)
        elif stage == "attend":
            figures = attend_step(net, optimizer, [fed["crops0"]], None, CONFIG["lr"], settings)
        else:
            figures = finetune_step(net, optimizer, fed["image"], batch["labels"], CONFIG["lr"])
        losses.append(float(figures["loss"].item()))
        jt.sync_all(True)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_mib": peak, "version": f"Jittor {jt.__version__}"}))


def prepare(folder: str, batch: int, threads: int) -> None:
    """Write weights and batches of every stage."""
    from engine.runtime.seeding import seed_everything
    from engine.storage.torch_writer import write_torch

    Path(folder, "config.json").write_text(json.dumps({**CONFIG, "threads": threads}))
    rng = np.random.default_rng(0)
    settings = our_settings()
    for stage in STAGES:
        seed_everything(0)
        state = {name: value.numpy() for name, value in our_net(stage, settings).state_dict().items()}
        write_torch(Path(folder, f"{stage}.pth"), state)
        np.savez(Path(folder, f"{stage}.npz"), **make_batch(stage, batch, rng))


def machine_rate(threads: int) -> float:
    """Floating-point operations a second of NumPy's single-precision matrix product, the best of five."""
    script = (
        "import time, numpy as np\na = np.ones((3072, 3072), np.float32)\nbest = 1e9\n"
        "for _ in range(5):\n    t = time.perf_counter(); a @ a; best = min(best, time.perf_counter() - t)\nprint(2 * 3072**3 / best)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(threads), check=True, capture_output=True, text=True)
    return float(done.stdout)


def environment(threads: int) -> dict[str, str]:
    return {**os.environ, **{name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}}


def measure(command: list[str], threads: int) -> dict:
    done = subprocess.run(command, env=environment(threads), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: ended with status {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--steps", type=int, default=6, help=f"steps of each side; the first {WARM} do not count")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both sides")
    parser.add_argument("--torch-python", default=sys.executable, help="a python that has torch")
    parser.add_argument("--side", nargs=3, metavar=("FOLDER", "STAGE", "STEPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        our_side(args.side[0], args.side[1], int(args.side[2]))
        return
    if args.steps <= WARM:
        parser.error(f"--steps {args.steps}: expected more than {WARM}")
    if subprocess.run([args.torch_python, "-c", "import torch"], capture_output=True).returncode:
        sys.exit(f"{args.torch_python} has no torch: pip install torch numpy in a virtual environment, and give its python as --torch-python")
    rate = machine_rate(args.threads)
    print(f"{args.threads} threads, batch {args.batch}; matrix products of this machine {rate / 1e9:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, args.batch, args.threads)
        for stage in STAGES:
            ours = measure([sys.executable, __file__, "--side", folder, stage, str(args.steps)], args.threads)
            peer = measure([args.torch_python, str(PEER), folder, stage, str(args.steps)], args.threads)
            a, b = (statistics.median(side["seconds"][WARM:]) for side in (ours, peer))
            if abs(ours["losses"][0] - peer["losses"][0]) > 1e-3 * abs(peer["losses"][0]):
                sys.exit(f"{stage}: the first losses differ, {ours['losses'][0]} and {peer['losses'][0]}: the two sides do not compute the same step")
            share = work(stage, args.batch) / rate
            for side, seconds in ((ours, a), (peer, b)):
                print(
                    f"{stage:9} {side['version']:15} {seconds * 1e3:8.0f} ms/step {args.batch / seconds:6.1f} images/s, "
                    f"{share / seconds:4.0%} of the machine's rate, peak {side['peak_mib']:.0f} MiB, first loss {side['losses'][0]:.5f}"
                )
            print(f"{stage:9} ours is {b / a:.2f} times as fast as PyTorch", flush=True)


if __name__ == "__main__":
    main()
