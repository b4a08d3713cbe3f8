"""Stage 3, four consecutive steps: every array of golden set A, 10b."""

import numpy as np
import pytest

from tests.luss.golden import BATCH, SEED, Recorder, fill_net

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("name, kind, base, final, damped", [("larc", "larc", 0.6, 0.0006, False), ("jt", "sgd", 0.004, 4e-6, True)])
def test_finetune_trajectory(golden_pass, monkeypatch, name, kind, base, final, damped):
    from engine.runtime import jt
    from engine.training.schedule import cosine_schedule
    from luss.losses import shrink_labels
    from luss.models.build import parameters
    from luss.models.networks import FinetuneNet
    from luss.stages import finetune

    init, check = golden_pass
    golden = check.Golden(f"10_finetune_{name}")
    net = fill_net(FinetuneNet("resnet18", 64, 20), init, training=True, damped=damped)
    recorder = Recorder(golden, net, biased=kind == "sgd")
    optimizer = recorder.optimizer(parameters(net), kind)
    logits, loss_of = [], finetune.upsample_cross_entropy

    def recording_loss(output, labels):
        logits.append(output.numpy())
        return loss_of(output, labels)

    monkeypatch.setattr(finetune, "upsample_cross_entropy", recording_loss)
    rates, figures = cosine_schedule(base, final, 2, 4)[:4], []
    for t in range(4):
        image = init.make_input(f"ft/{name}/step{t}/img", (BATCH, 3, 64, 64), SEED)
        labels = shrink_labels(golden[f"step{t}/labels"].astype(np.int32), 0.5)
        step = finetune.finetune_step(net, optimizer, jt.array(image), labels, float(rates[t]))
        figures.append({key: float(value.item()) for key, value in step.items()})
        recorder.after_step()
        recorder.done.add(f"step{t}/labels")  # an input
    recorder.check("logits_step0", logits[0])
    recorder.check("lr", rates)
    recorder.check("loss_total", [f["loss"] for f in figures])
    recorder.check("loss_avg", np.mean([f["loss"] for f in figures]))
    recorder.check("acc1", [100 * f["accuracy"] for f in figures])
    recorder.check_parameters()
    recorder.check_statistics()
    recorder.assert_complete()
