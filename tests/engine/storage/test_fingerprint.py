from __future__ import annotations

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage.fingerprint import canonical_json, file_digest, fingerprint


def test_stable_across_versions():
    """A changed value would make every finished stage of every user stale."""
    assert fingerprint({"b": [0.5, None, True], "a": 1}) == "de20a47389261bdf"  # printf '{"a":1,"b":[0.5,null,true]}' | b2sum -l 64


def test_order_of_keys_tuples_and_numpy_do_not_matter():
    assert fingerprint({"a": (1, 2), "b": np.float64(0.1)}) == fingerprint({"b": 0.1, "a": [1, 2]})
    assert canonical_json({"b": 1, "a": np.arange(2)}) == '{"a":[0,1],"b":1}'


@pytest.mark.parametrize("pair", [(1, 1.0), (1, "1"), ([1, 2], [2, 1]), ({}, []), (None, False), (0.1, 0.1 + 1e-16 * 2)])
def test_different_values_differ(pair):
    assert fingerprint(pair[0]) != fingerprint(pair[1])


def test_what_has_no_json_form_is_refused():
    with pytest.raises(ValueError, match="no fingerprint.*set"):
        fingerprint({"x": {1}})


def test_file_digest(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert file_digest(path) == "cae66941d9efbd404e4d88758ea67670"  # b2sum -l 128 of nothing
    path.write_bytes(bytes(3 << 20) + b"x")
    long = file_digest(path)
    path.write_bytes(bytes(3 << 20) + b"y")
    assert len(long) == 32 and file_digest(path) != long


def test_file_digest_of_an_absent_file(tmp_path):
    with pytest.raises(LussError, match="nothing-here: cannot be read"):
        file_digest(tmp_path / "nothing-here")
