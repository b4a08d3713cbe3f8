"""Stage cluster on a made-up cache of features: label files in the published form, the report, stops, processes, whitening."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from engine.clustering.agreement import matched_accuracy, normalized_mutual_information
from engine.data import list_images
from engine.features import FeatureWriter
from engine.runtime import LussError, interrupt
from engine.storage.atomic import write_json
from luss import pipeline
from luss.feature_files import SUMMARY, cache_fingerprint
from luss.settings import load_settings
from luss.stages import cluster as stage
from luss.stages.common import Job
from luss.workspace import Workspace

COUNTS = {"train": 60, "validation": 12}
UNREADABLE = 17  # an image of train that has no features
DIM = 5
OPTIONS = ["cluster.clusters=4", "cluster.restarts=3", "cluster.iterations=5"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for split, count in COUNTS.items():
        for i in range(count):
            folder = root / split / f"n{i % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i:02d}.png")
    return root


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setenv("LUSS_QUIET", "1")
    monkeypatch.setattr(interrupt, "_requested", False)


def features_of(split: str) -> np.ndarray:
    """Of images that are more or less near their class, and of different lengths; images are in the order of their classes."""
    draw = np.random.default_rng(len(split))
    rows = np.repeat(3 * np.eye(4, DIM), COUNTS[split] // 4, axis=0) + draw.normal(scale=1.3, size=(COUNTS[split], DIM))
    return (rows * draw.uniform(0.5, 2, size=(len(rows), 1))).astype(np.float32)


def job(data, root, *options) -> Job:
    """Stage cluster of a run whose features are there, begun."""
    space = Workspace(root)
    settings = load_settings("demo", None, [f"data.root={data}", *OPTIONS, *options])
    features = space.stage("features")
    if features.done() is None:
        features.begin({}, {"images of train": "ab"})
        for split in COUNTS:
            with FeatureWriter(features.path / split, DIM, fingerprint=cache_fingerprint(features, split)) as writer:
                ids = np.delete(np.arange(COUNTS[split]), UNREADABLE if split == "train" else [])
                writer.append(ids, features_of(split)[ids])
        write_json(features.path / SUMMARY, {split: {"rows": count - (split == "train")} for split, count in COUNTS.items()})
        features.finish({}, {"images of train": "ab"}, {})
    folder = space.stage("cluster")
    folder.begin({}, {})
    return Job(space, settings, folder)


def labels_by_hand(split: str, centroids: np.ndarray) -> str:
    """The published form: "class/image label" a line, none at the end."""
    lines = []
    for i, (x, key) in enumerate(zip(features_of(split).astype(np.float64), keys(split))):
        if split == "train" and i == UNREADABLE:
            continue
        lines.append(f"{key} {((x / np.linalg.norm(x) - centroids) ** 2).sum(1).argmin()}")
    return "\n".join(lines)


def keys(split: str) -> list[str]:
    per_class = COUNTS[split] // 4
    return [f"n{c}/{4 * i + c:02d}.png" for c in range(4) for i in range(per_class)]


@pytest.mark.parametrize("engine", ["luss", "faiss"])
def test_labels_and_report(data, tmp_path, engine):
    j = job(data, tmp_path, f"cluster.engine={engine}")
    outputs = stage.run(j)
    centroids = np.load(j.path / "centroids.npy")
    assert centroids.shape == (4, DIM) and centroids.dtype == np.float32
    assert [item.key for item in list_images(str(data), "train").items] == keys("train")
    assert (j.path / "train_labeled.txt").read_text() == labels_by_hand("train", centroids.astype(np.float64))
    assert (j.path / "val_labeled.txt").read_text() == labels_by_hand("validation", centroids.astype(np.float64))
    lines = (j.path / "train_labeled.txt").read_text().split("\n")
    labels = np.array([int(line.split(" ")[1]) for line in lines])
    classes = np.array([int(line[1]) for line in lines])
    report = json.loads((j.path / "report.json").read_text())
    assert report["nmi"] == pytest.approx(normalized_mutual_information(labels, classes)) and 0.3 < report["nmi"] < 1
    assert report["accuracy"] == pytest.approx(matched_accuracy(labels, classes))
    assert report["sizes"] == np.bincount(labels, minlength=4).tolist() and report["train_images"] == COUNTS["train"] - 1
    assert report["imbalance"] == pytest.approx(4 * (np.array(report["sizes"]) ** 2).sum() / 59**2)
    assert report["engine"] == engine and report["seed"] == int(np.random.default_rng(j.settings.run.seed).integers(1234))
    assert {record["restart"] for record in report["iterations"]} == {0, 1, 2}
    assert outputs == {key: report[key] for key in ("nmi", "accuracy", "objective", "engine")}
    assert not (j.path / "state").exists()


def test_both_engines_agree(data, tmp_path):
    found = []
    for engine in ("luss", "faiss"):
        j = job(data, tmp_path / engine, f"cluster.engine={engine}")
        stage.run(j)
        report = json.loads((j.path / "report.json").read_text())
        found.append((np.load(j.path / "centroids.npy"), (j.path / "train_labeled.txt").read_text(), report))
    ours, faiss = found
    np.testing.assert_allclose(ours[0], faiss[0], rtol=0, atol=1e-5)  # float32 sums of 20 rows of unit length, in another order
    assert ours[1] == faiss[1]
    assert ours[2]["best_restart"] == faiss[2]["best_restart"] and ours[2]["objective"] == pytest.approx(faiss[2]["objective"], rel=1e-5)


def test_stopped_again_and_again_it_ends_like_an_undisturbed_one(data, tmp_path, monkeypatch):
    whole = job(data, tmp_path / "whole")
    stage.run(whole)
    j, stops = job(data, tmp_path / "stopped"), 0
    monkeypatch.setattr(interrupt, "_requested", True)
    while stops < 20:
        try:
            stage.run(j)
            break
        except interrupt.Interrupted:
            stops += 1
    assert 2 <= stops < 20
    for name in ("centroids.npy", "train_labeled.txt", "val_labeled.txt"):
        assert (j.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_stage_killed_while_it_assigns_does_not_cluster_again(data, tmp_path, monkeypatch):
    j = job(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "labels_of", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(j)
    before = (j.path / "centroids.npy").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr("luss.clustering.kmeans", lambda *_, **__: pytest.fail("clustered again"))
        stage.run(j)
    assert (j.path / "centroids.npy").stat().st_mtime_ns == before and (j.path / "val_labeled.txt").exists()


def test_more_clusters_than_images(data, tmp_path):
    with pytest.raises(LussError, match="cluster.clusters = 61, but only 59 training images could be read"):
        stage.run(job(data, tmp_path, "cluster.clusters=61"))


@pytest.mark.parametrize("stages", [None, ["threshold"], ["cluster", "label"]])
def test_whitening_is_refused_before_anything_is_made(data, tmp_path, stages):
    settings = load_settings("demo", None, [f"data.root={data}", "cluster.whiten=3"])
    with pytest.raises(LussError, match="cluster.whiten = 3: .*would compare pixels' features with centroids"):
        pipeline.run(str(tmp_path / "run"), settings, stages=stages)
    assert not (tmp_path / "run").exists()


def test_whitened_centroids_are_not_taken_for_others(data, tmp_path):
    j = job(data, tmp_path, "cluster.whiten=3")
    stage.run(j)
    j.folder.finish({}, {}, {})
    assert np.load(j.path / "whitened_centroids.npy").shape == (4, 3)
    j.workspace.stage("attend").begin({}, {})
    (j.workspace.stage("attend").path / "checkpoint.npz").write_bytes(b"")
    j.workspace.stage("attend").finish({}, {}, {})
    settings = load_settings("demo", None, [f"data.root={data}", *OPTIONS])
    with pytest.raises(LussError, match="its centroids are those of whitened features: run `luss cluster --set cluster.whiten=0`"):
        pipeline.run(str(tmp_path), settings, stages=["threshold"])


def test_block_rows_is_no_reason_to_cluster_again(data, tmp_path):
    cluster = next(entry for entry in pipeline.PLAN if entry.name == "cluster")
    j = job(data, tmp_path)

    def relevant(*options):
        settings = load_settings("demo", None, [f"data.root={data}", *OPTIONS, *options])
        return pipeline._dependencies(j.workspace, settings, cluster, False, lambda *_: None)[0]["cluster"]

    assert relevant("cluster.block_rows=100") == relevant()
    for changed in ("clusters=5", "iterations=6", "restarts=4", "engine=faiss", "start=k-means++", "spherical=true", "whiten=2", "minibatch=8"):
        assert relevant(f"cluster.{changed}") != relevant(), changed
