"""Steps of the stages under ops.backend=reference: they train, and come to the same figures and weights as with the fast ops."""

import numpy as np
import pytest

from engine.ops.backend import backend
from engine.runtime import jt
from engine.training.larc import LarcSGD
from luss.losses import EmbeddingQueue
from luss.models.build import parameters
from luss.models.networks import AttentionNet, FinetuneNet
from luss.settings import Settings
from luss.stages.attend import TRAINABLE, attend_step
from luss.stages.finetune import finetune_step


def steps(name: str, make, step) -> tuple[list[dict], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Figures of two steps on a fresh network, and its parameters before and after."""
    jt.set_global_seed(5)
    with backend(name):
        net = make()
        watched = {key: value for key, value in net.named_parameters()}
        before = {key: value.numpy() for key, value in watched.items()}
        run = step(net)
        figures = [{key: value.numpy().item() for key, value in run().items()} for _ in range(2)]
        return figures, before, {key: value.numpy() for key, value in watched.items()}


def compare(make, step, trained: tuple[str, ...]) -> None:
    (fast, start, quick), (slow, other, plain) = (steps(name, make, step) for name in ("auto", "reference"))
    assert all(np.array_equal(start[key], other[key]) for key in start)
    for ours, theirs in zip(fast, slow):
        assert ours.keys() == theirs.keys()
        for key in ours:  # float32 means of a few thousand numbers; the second step stands on the first one's weights
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5), key
    for key in start:
        moved = np.abs(plain[key] - start[key]).max()
        # a gradient that passed through a dozen layers and normalisations of float32: some hundred roundings of 2^-24 of its size
        np.testing.assert_allclose(quick[key], plain[key], rtol=1e-6, atol=2e-3 * moved + 1e-7, err_msg=key)
    assert all(any(key.startswith(name) and np.abs(plain[key] - start[key]).max() > 1e-5 for key in start) for name in trained)


def test_finetune_steps():
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((4, 3, 64, 64)).astype(np.float32), rng.integers(0, 6, (4, 32, 32)).astype(np.int32)

    def step(net):
        optimizer = LarcSGD(parameters(net), "sgd")
        return lambda: finetune_step(net, optimizer, jt.array(x), labels, 0.01)

    compare(lambda: FinetuneNet("resnet18", 8, 5), step, ("layer1", "last_layer"))


def test_attend_steps():
    rng = np.random.default_rng(2)
    crops = rng.standard_normal((8, 3, 64, 64)).astype(np.float32)

    def step(net):
        optimizer, queue, settings = LarcSGD(parameters(net, TRAINABLE), "sgd"), EmbeddingQueue(4, 16), Settings()
        return lambda: attend_step(net, optimizer, [jt.array(crops)], queue, 0.05, settings)

    compare(lambda: AttentionNet("resnet18", 8, 32, 16, 20), step, ("fbg.threshold", "fbg.atten", "prototypes"))
