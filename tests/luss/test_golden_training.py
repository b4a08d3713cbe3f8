"""Six consecutive steps of stage 1, four of stages 2.1 and 3, against the published implementation (golden set A: 04, 07b, 10b)."""

import fnmatch
import importlib.util
import sys

import numpy as np
import pytest
from shared_folder import shared_path

pytestmark = pytest.mark.golden
SEED, BATCH = 1000, 4


@pytest.fixture(scope="module")
def golden():
    """golden_init and golden_check of the shared folder, loaded by path."""
    folder = shared_path("golden", "pass")
    modules = {}
    for name in ("golden_init", "golden_check"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules[name] = module
    return modules


def fill(net, init, damped, zero=()):
    """The golden initial values; `damped` multiplies the last BatchNorm weight of each residual block by 0.2."""
    from engine.runtime import jt
    from luss.models.build import parameters
    from luss.models.layers import set_training

    for key, value in net.state_dict().items():
        array = init.init_param(key, value.shape, SEED)
        if damped and fnmatch.fnmatch(key, "layer*.*.bn2.weight"):
            array = array * np.float32(0.2)
        value.assign(jt.array(np.zeros_like(array) if key in zero else array))
    for value in parameters(net).values():
        value.start_grad()
    set_training(net, True)
    return net


class Trace:
    """Collects first values of parameters after each step, and compares with the golden ones."""

    def __init__(self, golden, name, net):
        self.golden, self.net = golden["golden_check"].Golden(name), net
        self.tracked = [key[6:] for key in self.golden.d.files if key.startswith("param/")]
        self.values = {key: [] for key in self.tracked}
        self.figures = {}

    def add(self, figures):
        state = self.net.state_dict()
        for key in self.tracked:
            self.values[key].append(state[key].numpy().reshape(-1)[:8])
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(float(value.item()))

    def check(self, names):
        for name, figure in names.items():
            self.golden.check(name, np.array(self.figures[figure]))
        for key, values in self.values.items():
            self.golden.check("param/" + key, np.array(values))
        state = self.net.state_dict()
        for key in self.golden.d.files:
            if key.startswith("bn/") and key[3:] in state:
                self.golden.check(key, state[key[3:]].numpy())
        assert not self.golden.bad and len(self.golden.ok) > 10


PRETRAIN = {  # crops, sizes, shallow, queue, optimiser, base and final rate, damped, frozen steps, each small crop alone
    "c2": ([2], [64], (3,), 8, "larc", 0.6, 0.0006, False, 2, False),
    "c2_jt": ([2], [64], (3,), 8, "sgd", 0.002, 2e-6, True, 2, False),
    "c2p6": ([2, 6], [64, 48], (3, 2), 0, "larc", 0.6, 0.0006, True, 2, False),
    "c2p6_jt": ([2, 6], [64, 48], (3,), 0, "sgd", 0.0005, 5e-7, True, 10**9, True),
}


@pytest.mark.parametrize("name", PRETRAIN)
def test_pretrain_steps(golden, name):
    from engine.runtime import jt
    from engine.training.larc import LarcSGD
    from engine.training.schedule import cosine_schedule
    from luss.losses import EmbeddingQueue
    from luss.models.build import parameters
    from luss.models.networks import PretrainNet
    from luss.settings import build_settings
    from luss.stages.pretrain import pretrain_step

    crops, sizes, shallow, length, kind, base, final, damped, freeze, alone = PRETRAIN[name]
    init = golden["golden_init"]
    net = fill(PretrainNet("resnet18", 64, 32, 16, 20, shallow), init, damped)
    trace = Trace(golden, f"04_pretrain_{name}", net)
    ones = [1.0] * len(crops)
    settings = build_settings(
        {
            "model.shallow": list(shallow),
            "pretrain.weights": [1.0] * (1 + len(shallow)),
            "pretrain.crops": crops,
            "pretrain.sizes": sizes,
            "pretrain.min_scale": ones,
            "pretrain.max_scale": ones,
        }
    )
    optimizer, queue = LarcSGD(parameters(net), kind), EmbeddingQueue(length, 16) if length else None
    rates = cosine_schedule(base, final, 2, 6)
    for t in range(6):
        shapes = [(BATCH, 3, size, size) for count, size in zip(crops, sizes) for _ in range(count)]
        arrays = [init.make_input(f"pre/{name}/step{t}/crop{v}", shape, SEED) for v, shape in enumerate(shapes)]
        groups = [np.concatenate(arrays[:2])]
        if len(arrays) > 2:
            groups += arrays[2:] if alone else [np.concatenate(arrays[2:])]
        grids = [jt.array(trace.golden[f"step{t}/grid{side}"]) for side in "qk"]
        figures = pretrain_step(net, optimizer, [jt.array(g) for g in groups], *grids, queue, float(rates[t]), settings, t < freeze)
        trace.add(figures)
    if queue:
        trace.golden.check("queue_final", queue.rows.numpy())
    trace.check({"loss_total": "loss", "loss_i2i": "i2i", "loss_p2p": "p2p"})


@pytest.mark.parametrize("name, kind, base, final, damped", [("larc", "larc", 0.6, 0.0006, False), ("jt", "sgd", 0.1, 0.0001, True)])
def test_attention_steps(golden, name, kind, base, final, damped):
    from engine.runtime import jt
    from engine.training.larc import LarcSGD
    from engine.training.schedule import cosine_schedule
    from luss.losses import EmbeddingQueue
    from luss.models.build import parameters
    from luss.models.networks import AttentionNet
    from luss.settings import Settings
    from luss.stages.attend import TRAINABLE, attend_step

    init = golden["golden_init"]
    net = fill(AttentionNet("resnet18", 64, 32, 16, 20), init, damped, zero=("fbg.threshold",))
    trace = Trace(golden, f"07_pixelattn_{name}", net)
    optimizer, queue = LarcSGD(parameters(net, TRAINABLE), kind), EmbeddingQueue(8, 16)
    rates = cosine_schedule(base, final, 2, 4)
    for t in range(4):
        crops = [init.make_input(f"pa/{name}/step{t}/crop{v}", (BATCH, 3, 64, 64), SEED) for v in (0, 1)]
        trace.add(attend_step(net, optimizer, [jt.array(np.concatenate(crops))], queue, float(rates[t]), Settings()))
    trace.golden.check("queue_final", queue.rows.numpy())
    trace.check({"loss_total": "loss"})


@pytest.mark.parametrize("name, kind, base, final, damped", [("larc", "larc", 0.6, 0.0006, False), ("jt", "sgd", 0.004, 4e-6, True)])
def test_finetune_steps(golden, name, kind, base, final, damped):
    from engine.runtime import jt
    from engine.training.larc import LarcSGD
    from engine.training.schedule import cosine_schedule
    from luss.losses import shrink_labels
    from luss.models.build import parameters
    from luss.models.networks import FinetuneNet
    from luss.stages.finetune import finetune_step

    init = golden["golden_init"]
    net = fill(FinetuneNet("resnet18", 64, 20), init, damped)
    trace = Trace(golden, f"10_finetune_{name}", net)
    optimizer, rates = LarcSGD(parameters(net), kind), cosine_schedule(base, final, 2, 4)
    for t in range(4):
        image = init.make_input(f"ft/{name}/step{t}/img", (BATCH, 3, 64, 64), SEED)
        labels = shrink_labels(trace.golden[f"step{t}/labels"].astype(np.int32), 0.5)
        figures = finetune_step(net, optimizer, jt.array(image), labels, float(rates[t]))
        trace.add({"loss": figures["loss"], "accuracy": figures["accuracy"] * 100})
    trace.check({"loss_total": "loss", "acc1": "accuracy"})
