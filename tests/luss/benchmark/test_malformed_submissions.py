"""Generated malformed submissions and label maps: all refused by name, none crashes, and not one byte is written where it does not belong."""

from __future__ import annotations

import os
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.folder import list_images
from luss.benchmark.submission import SubmissionRefused, build_submission
from luss.benchmark.submission_check import check_submission
from tests.luss.benchmark.damaged_maps import MAPS
from tests.luss.benchmark.damaged_zips import ZIPS
from tests.luss.benchmark.submission_samples import METHOD, K, make_data, valid_entries, valid_maps, write_maps, zip_bytes

ROUNDS = 3  # of all kinds of zips, each round with other choices
_writes: list[str] | None = None  # paths opened for writing or made, while it is a list


def _watch(event: str, arguments: tuple) -> None:
    if _writes is None:
        return
    if event == "open":
        writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        writes = event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.chmod", "os.remove", "os.truncate")
    if writes:
        _writes.append(str(arguments[0]))


sys.addaudithook(_watch)


class _Watched:
    """What the block wrote, to be read after it."""

    def __enter__(self) -> list[str]:
        global _writes
        _writes = []
        return _writes

    def __exit__(self, *_) -> None:
        global _writes
        _writes = None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def test_there_are_enough_of_them():
    assert len(ZIPS) >= 25 and len(MAPS) >= 15
    assert ROUNDS * len(ZIPS) + 2 * len(MAPS) >= 200


@pytest.mark.parametrize("seed", range(2))
def test_undamaged_ones_are_accepted(tmp_path, data, seed):
    for match in (False, True):
        (tmp_path / "a.zip").write_bytes(zip_bytes(valid_entries(match, seed)))
        assert check_submission(tmp_path / "a.zip", data_root=str(data), num_classes=K) == []


@pytest.mark.parametrize("name", ZIPS)
def test_malformed_zip_is_refused(tmp_path, data, name):
    kind, damage = ZIPS[name]
    for seed in range(ROUNDS):
        path = tmp_path / "a.zip"
        content = damage(np.random.default_rng([seed, *name.encode()]))
        path.write_bytes(content)
        with _Watched() as written:
            found = check_submission(path, data_root=str(data), num_classes=K)
        assert kind in {problem.kind for problem in found if not problem.warning}, (seed, [problem.line for problem in found])
        assert written == [] and os.listdir(tmp_path) == ["a.zip"] and path.read_bytes() == content
        for problem in found:
            assert problem.line.isprintable() and len(problem.line) < 600, problem


@pytest.mark.parametrize("name", ZIPS)
def test_malformed_zip_without_the_images_never_crashes(tmp_path, name):
    """Some damage cannot be seen without the images (a map of another size); none may end in an exception."""
    (tmp_path / "a.zip").write_bytes(ZIPS[name][1](np.random.default_rng(0)))
    found = check_submission(tmp_path / "a.zip", num_classes=K, protocol="distance")
    unseen = {"missing", "extra", "folder", "size"}
    assert ZIPS[name][0] in unseen or any(problem.kind == ZIPS[name][0] and not problem.warning for problem in found)


@pytest.mark.parametrize("name", MAPS)
def test_malformed_label_map_is_refused(tmp_path, data, name):
    """Building names the file, and neither a zip nor a temporary is left."""
    kind, damage = MAPS[name]
    items = list_images(str(data), "test").items
    for seed in range(2):
        rng = np.random.default_rng([seed, *name.encode()])
        maps = valid_maps(seed=seed)
        victim = str(rng.choice(list(maps)))
        folder = write_maps(tmp_path / f"pred{seed}", {**maps, victim: damage(maps[victim], rng)})
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        (tmp_path / "out").mkdir(exist_ok=True)
        with _Watched() as written, pytest.raises(SubmissionRefused) as refused:
            build_submission(folder, tmp_path / "out" / "s.zip", test_images=items, num_classes=K, method=METHOD)
        assert [problem.entry for problem in refused.value.problems] == [str(folder / victim)]
        assert refused.value.problems[0].kind == ("ids" if kind == "ids" else "map")
        assert victim in str(refused.value) and os.listdir(tmp_path / "out") == []
        assert {os.path.dirname(path) for path in written} == {str(tmp_path / "out")}, written
        (tmp_path / "out").rmdir()
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4), st.booleans())
def test_overwritten_bytes_anywhere_never_crash(tmp_path, data, changes, match):
    content = bytearray(zip_bytes(valid_entries(match)))
    for place, piece in changes:
        start = int(place * len(content))
        content[start : start + len(piece)] = piece
    (tmp_path / "a.zip").write_bytes(content)
    for problem in check_submission(tmp_path / "a.zip", data_root=str(data), num_classes=K):
        assert problem.line.isprintable()


BOMBS = ["entry_of_zeros", "map_size_of_a_bomb", "map_size_bomb_that_unpacks", "entry_claims_gigabytes", "entry_longer_than_claimed"]


@pytest.mark.parametrize("name", [*BOMBS, "all_together_too_large", "list_of_entries_too_large"])
def test_a_bomb_takes_no_memory(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(ZIPS[name][1](np.random.default_rng(1)))
    tracemalloc.start()
    check_submission(tmp_path / "a.zip", num_classes=K)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
