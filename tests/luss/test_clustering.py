"""A clustering of a cache and its files, in one process and in several; what is there already is not made again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from engine.clustering.records import IterationRecord
from engine.features import FeatureCache, FeatureWriter
from engine.runtime import LussError, interrupt
from engine.runtime.exchange import SINGLE
from luss import clustering as module
from luss.cluster_settings import RESULT_NAMES, ClusterSettings
from luss.clustering import STATE, Work, cluster, labels_of, load
from tests.engine.clustering.thread_exchange import run_ranks
from tests.engine.features.samples import contents

N, DIM = 3000, 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "train"
    with FeatureWriter(folder, DIM, "float16") as writer:
        writer.append(np.arange(N), np.random.default_rng(0).normal(size=(N, DIM)))
    return FeatureCache(folder)


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setattr(interrupt, "_requested", False)


def work(**changes) -> Work:
    return Work(ClusterSettings(**{"clusters": 7, "restarts": 3, "iterations": 6, **changes}), seed=5, quiet=True)


def made(cache, w: Work, folder, exchange=SINGLE):
    folder.mkdir(exist_ok=True)
    clustering = cluster(cache, w, folder, exchange)
    return clustering, labels_of(cache, clustering, w, "labels", exchange)


def test_every_setting_that_matters_reaches_the_engine():
    batches = ClusterSettings(11, 12, 13, "luss", "k-means++", False, 14, 15, 16)
    cosine = dataclasses.replace(batches, spherical=True, minibatch=0)
    for field in dataclasses.fields(ClusterSettings):  # a value left at its default could get lost unseen
        values = {getattr(settings, field.name) for settings in (batches, cosine)}
        assert field.name == "engine" or values - {field.default}, field.name
    for settings in (batches, cosine):
        w = Work(settings, seed=17, normalise=False)
        engine = dataclasses.asdict(w.for_engine())
        assert engine == {name: value for name, value in w.as_dict().items() if name != "engine"}
        assert set(engine) == {*RESULT_NAMES, "seed", "normalise"} - {"engine"}


@pytest.mark.parametrize("changes", [{}, {"whiten": 3}, {"engine": "faiss"}, {"minibatch": 256}], ids=str)
@pytest.mark.parametrize("size", [2, 3])
def test_the_number_of_processes_changes_no_byte(cache, tmp_path, changes, size):
    w = work(**changes)
    one, (labels, sizes) = made(cache, w, tmp_path / "one")
    several = run_ranks(size, lambda exchange: made(cache, w, tmp_path / "several", exchange))
    for clustering, (found, counted) in several:
        np.testing.assert_array_equal(clustering.centroids, one.centroids)
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(counted, sizes)
        assert clustering.objective == one.objective and clustering.restart == one.restart
    files, expected = contents(tmp_path / "several"), contents(tmp_path / "one")
    assert files.keys() == expected.keys() and [name for name in files if files[name] != expected[name]] == ["report.json"]  # it holds seconds
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "several")]
    for report in reports:
        for record in report["iterations"]:
            del record["seconds"]
    assert reports[0] == reports[1]


def test_what_is_loaded_is_what_was_made(cache, tmp_path, monkeypatch):
    w = work(whiten=2)
    clustering, _ = made(cache, w, tmp_path)
    monkeypatch.setattr(module, "kmeans", lambda *_, **__: pytest.fail("clustered again"))
    again = cluster(cache, w, tmp_path, SINGLE)
    np.testing.assert_array_equal(again.centroids, clustering.centroids)
    for name in ("mean", "basis", "eigenvalues"):
        np.testing.assert_array_equal(getattr(again.whitening, name), getattr(clustering.whitening, name))
    assert again.records == clustering.records and isinstance(again.records[0], IterationRecord)
    assert not (tmp_path / STATE).exists()


def test_a_stop_leaves_a_state_that_another_number_of_processes_goes_on_from(cache, tmp_path, monkeypatch):
    w = work(iterations=4)
    expected, _ = made(cache, w, tmp_path / "whole")
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted):
        run_ranks(2, lambda exchange: made(cache, w, tmp_path / "out", exchange))
    assert list((tmp_path / "out" / STATE).iterdir()) and not (tmp_path / "out" / "report.json").exists()
    monkeypatch.setattr(interrupt, "_requested", False)
    for clustering, _ in run_ranks(3, lambda exchange: made(cache, w, tmp_path / "out", exchange)):
        np.testing.assert_array_equal(clustering.centroids, expected.centroids)


def test_seconds_of_faiss_are_those_of_an_iteration(cache, tmp_path):
    clustering, _ = made(cache, work(engine="faiss", iterations=9), tmp_path)
    assert [(r.restart, r.iteration) for r in clustering.records] == [(restart, i) for restart in range(3) for i in range(9)]
    assert all(0 <= r.seconds < 5 for r in clustering.records) and all(r.moved is None and not r.approximate for r in clustering.records)
    last = [r.objective for r in clustering.records if r.iteration == 8]
    assert clustering.objective == min(last) and clustering.restart == last.index(min(last))


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"start": "k-means++"}, "starts by k-means++: 18000/18000 rows"),
        ({"start": "k-means||"}, "starts by k-means||: 18000/18000 rows"),
        ({"minibatch": 250}, "mini-batches: 1500/1500 rows"),
        ({"whiten": 2}, "whitening: 6000/6000 rows"),
        ({"engine": "faiss"}, "restarts of faiss: 9000/9000 rows"),
        ({"clusters": 1}, "k-means: ended after 2 of 6 iterations"),
    ],
    ids=str,
)
def test_each_kind_of_work_is_shown_in_rows(cache, tmp_path, capsys, changes, line):
    made(cache, dataclasses.replace(work(**changes), quiet=False), tmp_path)
    assert line in capsys.readouterr().err


def test_faiss_is_stopped_between_restarts(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted, match="begin anew"):
        made(cache, work(engine="faiss"), tmp_path)
    assert not (tmp_path / "report.json").exists()


DAMAGE = {
    "centroids.npy": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
    "report.json": lambda path: path.write_text('{"iterations": [{"restart": 0}]}'),
    "no centroids.npy": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(cache, tmp_path, name):
    made(cache, work(), tmp_path)
    DAMAGE[name](tmp_path / name.split()[-1])
    with pytest.raises(LussError, match=name.split()[-1]):
        load(tmp_path)


def test_progress_has_a_line_for_each_part(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("engine.runtime.progress.Progress.INTERVAL", 0.0)
    w = dataclasses.replace(work(block_rows=1000, restarts=1, iterations=2), quiet=False)
    made(cache, w, tmp_path)
    said = capsys.readouterr().err
    assert "labels: 3000/3000 rows" in said and "rows/s" in said and "left" in said
    assert said.count("rows/s") > 4  # several of each part
