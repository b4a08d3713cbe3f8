from __future__ import annotations

import errno
import os
import random

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage.arrays import save_arrays
from engine.training.checkpoint import keep_copy, load_checkpoint, read_checkpoint, save_checkpoint, section
from tests.engine.storage.faults import failures, kills


def arrays(value: float) -> dict[str, np.ndarray]:
    return {
        "model/conv1.weight": np.full((2, 3), value, "f4"),
        "momentum/conv1.weight": np.full((2, 3), -value, "f4"),
        "queue": np.zeros((2, 4, 3), "f4"),
    }


def test_round_trip_with_random_states(tmp_path):
    path = tmp_path / "checkpoint.npz"
    generator = np.random.default_rng(3)
    state = {"epoch": 2, "step": 17, "numpy": generator.bit_generator.state, "python": random.Random(4).getstate()}
    save_checkpoint(path, arrays=arrays(1.5), state=state)
    loaded, back = load_checkpoint(path)
    assert list(loaded) == list(arrays(0)) and (loaded["model/conv1.weight"] == 1.5).all() and (loaded["momentum/conv1.weight"] == -1.5).all()
    again = np.random.default_rng()
    again.bit_generator.state = back["numpy"]
    assert again.integers(1 << 60) == generator.integers(1 << 60)
    version, numbers, gauss = back["python"]
    other = random.Random()
    other.setstate((version, tuple(numbers), gauss))
    assert other.random() == random.Random(4).random()


def test_absent_is_none_but_must_exist_to_be_read(tmp_path):
    assert load_checkpoint(tmp_path / "checkpoint.npz") is None
    with pytest.raises(LussError, match="checkpoint.npz: cannot be read"):
        read_checkpoint(tmp_path / "checkpoint.npz")


def test_sections(tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, arrays=arrays(1), state={})
    model, _ = read_checkpoint(path, prefix="model/")
    assert list(model) == ["model/conv1.weight"] and list(section(arrays(1), "momentum/")) == ["conv1.weight"]


def test_damage_says_what_the_run_continues_from(tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, arrays=arrays(1), state={})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(1).tobytes() * 2)] ^= 1
    path.write_bytes(content)
    with pytest.raises(LussError, match=r"checkpoint\.npz: array model/conv1\.weight is damaged .*: delete it; the run continues from"):
        load_checkpoint(path)


def test_arrays_of_another_kind_are_refused(tmp_path):
    save_arrays(tmp_path / "a.npz", {}, {"format": "features"})
    with pytest.raises(LussError, match=r"a\.npz: not a checkpoint.*'features'"):
        load_checkpoint(tmp_path / "a.npz")
    save_arrays(tmp_path / "b.npz", {}, [1])
    with pytest.raises(LussError, match=r"b\.npz: not a checkpoint"):
        load_checkpoint(tmp_path / "b.npz")


def test_kills_and_failures_leave_the_old_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, arrays=arrays(1), state={"step": 1})

    def check() -> int:
        loaded, state = load_checkpoint(path)
        assert (loaded["model/conv1.weight"] == state["step"]).all() and (loaded["momentum/conv1.weight"] == -state["step"]).all()
        return state["step"]

    seen = [check() for _ in kills(lambda: save_checkpoint(path, arrays=arrays(2), state={"step": 2}))]
    assert set(seen) == {1, 2} and seen == sorted(seen)
    save_checkpoint(path, arrays=arrays(1), state={"step": 1})
    patch = lambda name, f: monkeypatch.setattr(os, name, f)  # noqa: E731
    seen = [check() for _ in failures(lambda: save_checkpoint(path, arrays=arrays(2), state={"step": 2}), patch)]
    assert set(seen) == {1, 2} and seen == sorted(seen)


@pytest.mark.parametrize("links", [True, False])
def test_a_kept_copy_stays_when_the_checkpoint_moves_on(tmp_path, monkeypatch, links):
    if not links:

        def link(source, target):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", link)
    path, kept = tmp_path / "checkpoint.npz", tmp_path / "ckp-0.npz"
    for value in (1, 2):  # the second replaces an older copy
        save_checkpoint(path, arrays=arrays(value), state={"step": value})
        keep_copy(path, kept)
        assert os.path.samefile(path, kept) == links
        keep_copy(path, kept)  # again, also where both are the same file already
    save_checkpoint(path, arrays=arrays(3), state={"step": 3})
    assert load_checkpoint(kept)[1] == {"step": 2} and load_checkpoint(path)[1] == {"step": 3}
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "ckp-0.npz"]


def test_a_copy_of_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        keep_copy(tmp_path / "absent", tmp_path / "x")


def test_a_kill_while_copying_leaves_the_old_or_the_new_copy(tmp_path):
    path, kept = tmp_path / "checkpoint.npz", tmp_path / "ckp.npz"
    for value in (1, 2):
        save_checkpoint(path, arrays=arrays(value), state={"step": value})
        if value == 1:
            keep_copy(path, kept)
    seen = [load_checkpoint(kept)[1]["step"] for _ in kills(lambda: keep_copy(path, kept))]
    assert seen == sorted(seen) and set(seen) == {1, 2}
