"""Stage 2.1, four consecutive steps: every array of golden set A, 07b."""

import numpy as np
import pytest

from tests.luss.golden import BATCH, SEED, Recorder, fill_net

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("name, kind, base, final, damped", [("larc", "larc", 0.6, 0.0006, False), ("jt", "sgd", 0.1, 0.0001, True)])
def test_attention_trajectory(golden_pass, monkeypatch, name, kind, base, final, damped):
    from engine.runtime import jt
    from engine.training.schedule import cosine_schedule
    from luss.losses import EmbeddingQueue
    from luss.models.build import parameters
    from luss.models.networks import AttentionNet
    from luss.settings import Settings
    from luss.stages import attend

    init, check = golden_pass
    golden = check.Golden(f"07_pixelattn_{name}")
    zero = {"fbg.threshold": np.zeros((1, 512, 1, 1), np.float32)}
    net = fill_net(AttentionNet("resnet18", 64, 32, 16, 20), init, training=True, damped=damped, replace=zero)
    recorder = Recorder(golden, net, biased=kind == "sgd")
    optimizer, queue = recorder.optimizer(parameters(net, attend.TRAINABLE), kind), EmbeddingQueue(8, 16)
    outputs, assign = [], attend.assign_codes

    def recording_codes(embedding, scores, *arguments):
        outputs.append((embedding.numpy(), scores.numpy()))
        return assign(embedding, scores, *arguments)

    monkeypatch.setattr(attend, "assign_codes", recording_codes)
    rates, losses = cosine_schedule(base, final, 2, 4)[:4], []
    for t in range(4):
        crops = [init.make_input(f"pa/{name}/step{t}/crop{v}", (BATCH, 3, 64, 64), SEED) for v in (0, 1)]
        figures = attend.attend_step(net, optimizer, [jt.array(np.concatenate(crops))], queue, float(rates[t]), Settings())
        losses.append(float(figures["loss"].item()))
        recorder.after_step()
        recorder.check(f"step{t}/embedding", outputs[t][0])
        recorder.check(f"step{t}/output", outputs[t][1])
    recorder.check("lr", rates)
    recorder.check("loss_total", losses)
    recorder.check("loss_avg", np.mean(losses))
    recorder.check("queue_final", queue.rows.numpy())
    recorder.check_parameters()
    recorder.check_statistics()
    recorder.assert_complete()
