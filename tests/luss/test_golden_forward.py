"""Forward passes, losses, features, label maps and predictions against golden set A (01, 02, 03, 05, 07a, 08, 09, 10a, 11)."""

import numpy as np
import pytest

pytestmark = pytest.mark.golden
SEED = 1000
INPUTS = {"sq64": (4, 3, 64, 64), "rect": (2, 3, 64, 96), "sq": (4, 3, 64, 64)}


def build(kind, init, *, shallow=(3,), override=None, absolute=(), training=False):
    """A golden network; `override` replaces arrays, `absolute` names get the absolute value."""
    from engine.runtime import jt
    from luss.models.layers import set_training
    from luss.models.networks import AttentionNet, FinetuneNet, PretrainNet

    makers = {
        "pretrain": lambda: PretrainNet("resnet18", 64, 32, 16, 20, shallow),
        "pixelattn": lambda: AttentionNet("resnet18", 64, 32, 16, 20),
        "finetune": lambda: FinetuneNet("resnet18", 64, 20),
    }
    net = makers[kind]()
    for key, value in net.state_dict().items():
        array = (override or {}).get(key)
        if array is None:
            array = init.init_param(key, value.shape, SEED)
        value.assign(jt.array(np.abs(array) if key in absolute else array))
    set_training(net, training)
    return net


def overrides(golden):
    start = "resnet18/override/"
    return {key[len(start) :]: golden[key] for key in golden.d.files if key.startswith(start)}


def finish(golden, least):
    assert not golden.bad, golden.bad
    assert len(golden.ok) >= least


def test_backbone(golden_pass):
    from engine.runtime import jt

    init, check = golden_pass
    golden = check.Golden("01_backbone")
    for tag in ("sq64", "rect"):
        x = jt.array(init.make_input(f"bb/{tag}", INPUTS[tag], SEED))
        for phase in ("eval", "train"):
            net = build("pretrain", init, training=phase == "train")
            for i, c in enumerate(net.stages(x), 1):
                golden.check(f"resnet18/pretrain/{tag}/{phase}/c{i}", c.numpy())
            if phase == "train":
                state = net.state_dict()
                for name in ("bn1", "layer1.0.bn2", "layer3.1.bn1", "layer4.1.bn2"):
                    for kind in ("running_mean", "running_var"):
                        golden.check(f"resnet18/pretrain/{tag}/train/{name}.{kind}", state[f"{name}.{kind}"].numpy())
            golden.check(f"resnet18/pixelattn/{tag}/{phase}/c4", build("pixelattn", init, training=phase == "train").features(x).numpy())
            golden.check(f"resnet18/finetune/{tag}/{phase}/logits", build("finetune", init, training=phase == "train")(x).numpy())
    finish(golden, 40)


@pytest.mark.parametrize("tag, crops, sizes, shallow", [("2crops", [2], [96], (3,)), ("2plus6", [2, 6], [96, 48], (3, 2))])
def test_heads(golden_pass, tag, crops, sizes, shallow):
    from engine.runtime import jt

    init, check = golden_pass
    golden = check.Golden("02_heads")
    shapes = [(4, 3, size, size) for count, size in zip(crops, sizes) for _ in range(count)]
    arrays = [init.make_input(f"heads/{tag}/crop{v}", shape, SEED) for v, shape in enumerate(shapes)]
    groups = [np.concatenate(arrays[:2])] + ([np.concatenate(arrays[2:])] if len(arrays) > 2 else [])
    alone = [np.concatenate(arrays[:2]), *arrays[2:]]
    phases = [("eval", groups), ("train", groups)] + ([("train_jittor_grouping", alone)] if len(arrays) > 2 else [])
    grids = [jt.array(golden[f"resnet18/{tag}/grid{side}"]) for side in "qk"]
    for phase, parts in phases:
        start = f"resnet18/{tag}/{phase}/"
        stages = (3,) if phase == "train_jittor_grouping" and golden[start + "embedding"].shape[0] == 40 else shallow
        net = build("pretrain", init, shallow=stages, training=phase != "eval")
        outputs = net([jt.array(part) for part in parts], *grids)
        for name, value in zip(("embedding", "output", "embedding_deep_pixel", "output_deep_pixel"), outputs):
            golden.check(start + name, value.numpy())
        state = net.state_dict()
        for key in golden.d.files:
            if key.startswith(start) and key.endswith(("running_mean", "running_var")):
                golden.check(key, state[key[len(start) :]].numpy())
    finish(golden, 20)


def test_sinkhorn(golden_pass):
    from engine.runtime import jt
    from luss.losses import sinkhorn

    golden = golden_pass[1].Golden("03_losses")
    for i in range(8):
        epsilon, iterations = golden[f"sinkhorn/{i}/cfg"]
        golden.check(f"sinkhorn/{i}/Q", sinkhorn(jt.array(golden[f"sinkhorn/{i}/scores"]), float(epsilon), int(iterations)).numpy())
    finish(golden, 8)


@pytest.mark.parametrize("case, crops, batch", [("q2", 2, 3), ("q2p6", 8, 2)])
def test_queue_and_swapped_prediction(golden_pass, case, crops, batch):
    from engine.runtime import jt
    from luss.losses import EmbeddingQueue, assign_codes, swapped_prediction

    golden = golden_pass[1].Golden("03_losses")
    prototypes = jt.array(golden[f"queue/{case}/prototypes"])
    queue = EmbeddingQueue(6, prototypes.shape[1])
    step = 0
    while f"queue/{case}/step{step}/embedding" in golden.d.files:
        start = f"queue/{case}/step{step}/"
        embedding = jt.array(golden[start + "embedding"])
        scores = jt.nn.matmul_transpose(embedding, prototypes)
        used = queue.full
        codes = assign_codes(embedding, scores, batch, prototypes, queue, 0.05, 3)
        golden.check(start + "labels", np.stack([c.numpy() for c in codes]))
        golden.check(start + "loss", swapped_prediction(codes, scores, batch, crops, 0.1).numpy())
        golden.check(start + "queue", queue.rows.numpy())
        golden.check(start + "use_the_queue", np.array(int(used)))
        step += 1
    finish(golden, 16)


@pytest.mark.parametrize("case", ["a", "b", "zero"])
def test_pixel_to_pixel(golden_pass, case):
    from engine.runtime import jt
    from luss.losses import pixel_to_pixel

    golden = golden_pass[1].Golden("03_losses")
    z, p = jt.array(golden[f"p2p/{case}/embedding"]), jt.array(golden[f"p2p/{case}/output"])
    loss = pixel_to_pixel(z, p)
    golden.check(f"p2p/{case}/loss", loss.numpy())
    golden.check(f"p2p/{case}/grad_output", jt.grad(loss, p).numpy())
    finish(golden, 2)


def test_schedules(golden_pass):
    from engine.training.schedule import cosine_schedule

    golden = golden_pass[1].Golden("05_lr")
    for i in range(6):
        epochs, steps, warmup, base, final, start = golden[f"lr/{i}/cfg"]
        golden.check(f"lr/{i}/schedule", cosine_schedule(base, final, int(epochs), int(steps), int(warmup), start))
    finish(golden, 6)


def test_pixel_attention(golden_pass):
    from engine.ops.attention_pool import pixel_norms
    from engine.ops.upsample import upsample_bilinear
    from engine.runtime import jt
    from luss.models.layers import global_mean

    init, check = golden_pass
    golden = check.Golden("07_pixelattn_forward")
    for tag in ("sq", "rect"):
        x = jt.array(init.make_input(f"pa/{tag}", INPUTS[tag], SEED))
        for threshold in ("thr_rand", "thr_zero"):
            zero = {"fbg.threshold": np.zeros((1, 512, 1, 1), np.float32)} if threshold == "thr_zero" else None
            for phase in ("eval", "train"):
                start = f"resnet18/{tag}/{threshold}/{phase}/"
                net = build("pixelattn", init, override=zero, training=phase == "train")
                c4 = net.features(x)
                f, norms = upsample_bilinear(c4, (4 * c4.shape[2], 4 * c4.shape[3])), pixel_norms(c4)
                attention = jt.sigmoid(net.fbg(c4, norms) + net.fbg.threshold)
                golden.check(start + "fbg_input", (f / norms).numpy())
                golden.check(start + "attention", attention.numpy())
                golden.check(start + "pooled", global_mean(f / norms * attention).numpy())
                fresh = build("pixelattn", init, override=zero, training=phase == "train")
                embedding, scores = fresh([x])
                golden.check(start + "embedding", embedding.numpy())
                golden.check(start + "output", scores.numpy())
    finish(golden, 40)


def test_cluster_features(golden_pass):
    from engine.clustering.faiss_kmeans import nearest, unit_rows
    from engine.runtime import jt

    init, check = golden_pass
    golden = check.Golden("08_cluster")
    net = build("pixelattn", init, override=overrides(golden), absolute=("fbg.atten.3.weight",))
    shapes = {"sq": (4, 3, 64, 64), "rect": (3, 3, 64, 96)}
    for tag, shape in shapes.items():
        features = net.pool(jt.array(init.make_input(f"cluster/{tag}", shape, SEED))).numpy()
        golden.check(f"resnet18/{tag}/embedding", features)
        golden.check(f"resnet18/{tag}/normalized", unit_rows(features))
        golden.check(f"resnet18/{tag}/nearest_centroid", nearest(unit_rows(features), golden["resnet18/centroids"])[0])
    finish(golden, 6)


@pytest.mark.parametrize("case, count", [("c12", 3), ("c300", 2)])
def test_pixel_labels(golden_pass, case, count):
    from engine.ops.upsample_argmax import enlarge_map
    from engine.runtime import jt
    from luss.stages.pixel_labels import image_labels

    init, check = golden_pass
    golden = check.Golden("09_pixel_labels")
    net = build("pixelattn", init, override=overrides(golden), absolute=("fbg.atten.3.weight",))
    threshold = float(golden[f"resnet18/{case}/threshold"])
    for i in range(count):
        start = f"resnet18/{case}/im{i}/"
        ih, iw, h, w = (int(v) for v in golden[start + "size"])
        x = jt.array(init.make_input(f"ipa/{i}", (3, ih, iw), SEED)[None])
        (ids,), attention = image_labels(net, x, np.array([(h, w)]), golden[f"resnet18/{case}/centroids"], threshold)
        golden.check(start + "attention", attention.numpy()[:, None])
        golden.check(start + "mask", enlarge_map(attention.numpy()[0], (h, w)))
        golden.check(start + "label", ids)
    finish(golden, 3 * count)


def test_segmentation_loss(golden_pass):
    from engine.ops.upsample_cross_entropy import upsample_cross_entropy
    from engine.runtime import jt
    from luss.losses import shrink_labels

    golden = golden_pass[1].Golden("10_finetune_loss")
    for i in range(4):
        start = f"loss/{i}/"
        small = shrink_labels(golden[start + "labels"], 0.25 if i == 3 else 0.5)
        golden.check(start + "labels_small", small)
        output = jt.array(golden[start + "output"])
        loss, _ = upsample_cross_entropy(output, small)
        golden.check(start + "loss", loss.numpy())
        golden.check(start + "grad_output", jt.grad(loss, output).numpy())
    golden.check("loss/2/labels_small_jittor", shrink_labels(golden["loss/2/labels"], 0.5, published_jittor=True))
    finish(golden, 13)
    with pytest.raises(ValueError, match="labels: expected ids in 0..6, found .*1000"):
        upsample_cross_entropy(jt.array(golden["invalid_labels/output"]), golden["invalid_labels/labels"])


def test_predictions(golden_pass):
    from engine.ops.upsample_argmax import upsample_argmax
    from engine.runtime import jt
    from luss.stages.predict import predict_logits

    init, check = golden_pass
    golden = check.Golden("11_inference")
    net = build("finetune", init, override=overrides(golden))
    for i in range(3):
        start = f"resnet18/tensor/im{i}/"
        size = [int(v) for v in golden[start + "size"]]
        (ih, iw), (h, w) = ((size[0], size[1]), (size[2], size[3]))
        logits = predict_logits(net, jt.array(init.make_input(f"inf/{i}", (3, ih, iw), SEED)[None]))
        golden.check(start + "logits", logits.numpy())
        for limit in (1000, 40, 0):
            golden.check(start + f"label_maxres{limit}", upsample_argmax(logits, [(h, w)], max_res=limit)[0])
    finish(golden, 12)
