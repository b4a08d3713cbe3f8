"""What the golden tests of training steps and of image files share."""

from __future__ import annotations

import fnmatch

import numpy as np

SEED, BATCH = 1000, 4
DAMPING = np.float32(0.2)  # DAMPED INIT of golden/pass/README.md


def fill_net(net, init, *, training, damped=False, replace=None, absolute=()):
    """Give every Var of `net` its golden initial value; returns the net.

    init: the module golden_init. replace: key -> array used instead. absolute: keys whose absolute value is taken.
    """
    from engine.runtime import jt
    from luss.models.build import parameters
    from luss.models.layers import set_training

    for key, value in net.state_dict().items():
        array = (replace or {}).get(key)
        if array is None:
            array = init.init_param(key, value.shape, SEED)
        if damped and fnmatch.fnmatch(key, "layer*.*.bn2.weight"):
            array = array * DAMPING
        value.assign(jt.array(np.abs(array) if key in absolute else array))
    for value in parameters(net).values():
        value.start_grad()
    set_training(net, training)
    return net


def overrides(golden) -> dict:
    """The arrays that replace initial values in 08, 09 and 11."""
    start = "resnet18/override/"
    return {key[len(start) :]: golden[key] for key in golden.d.files if key.startswith(start)}


class Recorder:
    """Gradients, values and norms of every parameter along a training trajectory, for comparison with a golden one.

    biased: the BatchNorm layers keep the biased variance, as the Jittor branch does; it meets `running_var_biased`.
    """

    def __init__(self, golden, net, *, biased: bool):
        from luss.models.layers import BatchNorm

        self.golden, self.net, self.biased = golden, net, biased
        for module in net.modules():
            if isinstance(module, BatchNorm):
                module.unbiased = not biased
        self.names = [str(name) for name in golden["param_names"]]
        self.values = [self._values()]
        self.gradients: list[dict] = []
        self.done: set[str] = set()

    def optimizer(self, parameters: dict, kind: str):
        """A LarcSGD that hands its gradients to this recorder."""
        from engine.training.larc import LarcSGD

        recorder = self

        class Recording(LarcSGD):
            def step(self, loss, lr, frozen=frozenset()):
                gradients = super().step(loss, lr, frozen)
                recorder.gradients.append({name: value.numpy() for name, value in gradients.items()})
                return gradients

        return Recording(parameters, kind)

    def _values(self) -> dict:
        state = self.net.state_dict()
        return {name: state[name].numpy().copy() for name in self.names}

    def after_step(self) -> None:
        self.values.append(self._values())

    def check(self, key: str, found) -> None:
        assert self.golden.check(key, found), key
        self.done.add(key)

    def check_parameters(self) -> None:
        """Gradients, values, norms, and which parameters moved."""
        first, last = self.values[0], self.values[-1]
        assert set(self.names) == {key for key in self.net.state_dict() if not key.endswith(("running_mean", "running_var"))}
        self.done.add("param_names")
        self.check("param_norm_init", [_norm(first[name]) for name in self.names])
        self.check("param_norm", [[_norm(values[name]) for name in self.names] for values in self.values[1:]])
        self.check("delta_norm", [_norm(last[name].astype(np.float64) - first[name]) for name in self.names])
        self.check("grad_norm", [[_norm(step[name]) if name in step else np.nan for name in self.names] for step in self.gradients])
        self.check("changed", np.array([int(not np.array_equal(first[name], last[name])) for name in self.names]))
        for key in self.golden.d.files:
            kind, _, name = key.partition("/")
            if kind == "grad0":
                self.check(key, self.gradients[0][name].reshape(-1)[:8])
            elif kind == "param":
                self.check(key, np.array([values[name].reshape(-1)[:8] for values in self.values[1:]]))

    def check_statistics(self) -> None:
        state = self.net.state_dict()
        for key in self.golden.d.files:
            if key.startswith("bn/") and key.endswith("running_mean"):
                self.check(key, state[key[3:]].numpy())
                variance = key.replace("running_mean", "running_var")
                self.check(variance + "_biased" * self.biased, state[variance[3:]].numpy())

    def assert_complete(self) -> None:
        """Every golden array was compared, but for inputs, update counters (we keep none) and the other variance."""
        other = "running_var" if self.biased else "running_var_biased"
        inputs = ("gridq", "gridk", "num_batches_tracked", "noise", other)
        left = [key for key in self.golden.d.files if key not in self.done and not key.endswith(inputs)]
        assert not left, left


def _norm(array) -> float:
    return float(np.linalg.norm(np.asarray(array, np.float64)))


def image_items(names):
    """Items for the data sets, of PNG files in golden/pass/images."""
    from engine.data import ImageItem
    from tests.shared_folder import shared_path

    return [ImageItem(path=str(shared_path("golden", "pass", "images", f"{name}.png")), key=f"{name}.png", class_index=0) for name in names]


def pixels_of(sample):
    """One sample of a data set where the stages have a batch."""
    from engine.data import Ragged
    from luss.stages.common import DevicePixels

    return DevicePixels(Ragged.of([sample["image"]]))
