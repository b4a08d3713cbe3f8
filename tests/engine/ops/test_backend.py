import pytest

from engine.ops.backend import backend, set_backend, use_reference


def test_the_reference_is_used_where_it_is_asked_for():
    assert not use_reference()
    with backend("reference"):
        assert use_reference()
        with backend("auto"):
            assert not use_reference()
        assert use_reference()
    assert not use_reference()


def test_an_error_in_the_body_does_not_leave_it_switched():
    with pytest.raises(KeyError), backend("reference"):
        raise KeyError
    assert not use_reference()


def test_an_unknown_backend_is_refused_and_changes_nothing():
    with pytest.raises(ValueError, match="expected one of auto, reference, found 'cuda'"):
        set_backend("cuda")
    assert not use_reference()
