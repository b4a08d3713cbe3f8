"""Stage 1, six consecutive steps: every array of golden set A, 04 (codes, gradients, norms, queue, rates, statistics)."""

import numpy as np
import pytest

from tests.luss.golden import BATCH, SEED, Recorder, fill_net

pytestmark = pytest.mark.golden
CASES = {  # crops, sizes, shallow, queue, optimiser, base and final rate, damped, frozen steps, each small crop alone
    "c2": ([2], [64], (3,), 8, "larc", 0.6, 0.0006, False, 2, False),
    "c2_jt": ([2], [64], (3,), 8, "sgd", 0.002, 2e-6, True, 2, False),
    "c2p6": ([2, 6], [64, 48], (3, 2), 0, "larc", 0.6, 0.0006, True, 2, False),
    "c2p6_jt": ([2, 6], [64, 48], (3,), 0, "sgd", 0.0005, 5e-7, True, 10**9, True),
}


def case_settings(crops, sizes, shallow):
    from luss.settings import build_settings

    ones = [1.0] * len(crops)
    values = {"pretrain.crops": crops, "pretrain.sizes": sizes, "pretrain.min_scale": ones, "pretrain.max_scale": ones}
    heads = {"model.hidden_mlp": 32, "model.feat_dim": 16, "model.prototypes": 20, "model.shallow": list(shallow)}
    return build_settings({**values, **heads, "pretrain.weights": [1.0] * (1 + len(shallow))})


@pytest.mark.parametrize("name", CASES)
def test_pretrain_trajectory(golden_pass, monkeypatch, name):
    from engine.runtime import jt
    from engine.training.schedule import cosine_schedule
    from luss.losses import EmbeddingQueue
    from luss.models.build import parameters, pretrain_net
    from luss.stages import pretrain

    crops, sizes, shallow, length, kind, base, final, damped, freeze, alone = CASES[name]
    init, check = golden_pass
    golden = check.Golden(f"04_pretrain_{name}")
    settings = case_settings(crops, sizes, shallow)
    net = fill_net(pretrain_net(settings), init, training=True, damped=damped)
    recorder = Recorder(golden, net, biased=kind == "sgd")
    optimizer, queue = recorder.optimizer(parameters(net), kind), EmbeddingQueue(length, 16) if length else None
    labels, assign = [], pretrain.assign_codes

    def recording_codes(*arguments):
        codes = assign(*arguments)
        labels.append(np.stack([c.numpy() for c in codes]))
        return codes

    monkeypatch.setattr(pretrain, "assign_codes", recording_codes)
    rates = cosine_schedule(base, final, 2, 6)[:6]
    figures, used, shapes = [], [], [(BATCH, 3, size, size) for count, size in zip(crops, sizes) for _ in range(count)]
    for t in range(6):
        arrays = [init.make_input(f"pre/{name}/step{t}/crop{v}", shape, SEED) for v, shape in enumerate(shapes)]
        small = arrays[2:] if alone else [np.concatenate(arrays[2:])] if len(arrays) > 2 else []
        groups = [jt.array(g) for g in [np.concatenate(arrays[:2]), *small]]
        grids = [jt.array(golden[f"step{t}/grid{side}"]) for side in "qk"]
        used.append(int(queue is not None and queue.full))
        step = pretrain.pretrain_step(net, optimizer, groups, *grids, queue, float(rates[t]), settings, t < freeze)
        figures.append({key: float(value.item()) for key, value in step.items()})
        recorder.after_step()
        if queue is not None and t == 1:
            recorder.check("queue_step1", queue.rows.numpy())
    recorder.check("lr", rates)
    recorder.check("labels", np.stack(labels))
    recorder.check("use_the_queue", np.array(used))
    recorder.check("loss_total", [f["loss"] for f in figures])
    recorder.check("loss_i2i", [f["i2i"] for f in figures])
    recorder.check("loss_i2i_avg", np.mean([f["i2i"] for f in figures]))
    recorder.check("loss_p2p", [f["p2p"] for f in figures])
    recorder.check("loss_d2s", [[f[f"d2s{s}"] for s in shallow] for f in figures])
    if queue is not None:
        recorder.check("queue_final", queue.rows.numpy())
    recorder.check_parameters()
    recorder.check_statistics()
    recorder.assert_complete()
