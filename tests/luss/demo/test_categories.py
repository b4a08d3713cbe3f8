"""Categories are pairs of shape and texture."""

import collections

import pytest

from luss.demo.categories import MAX_CATEGORIES, categories


def test_ids_follow_the_sorted_folder_names():
    known = categories(MAX_CATEGORIES)
    assert [c.number for c in known] == list(range(1, 36))
    assert [c.wnid for c in known] == sorted(c.wnid for c in known)
    assert known[0].wnid == "n90000001" and known[0].name == "striped ring"
    assert len({(c.shape, c.texture) for c in known}) == len({c.name for c in known}) == 35


def test_neither_shape_nor_texture_alone_tells_eight_categories():
    known = categories(8)
    for part, different in (("shape", 5), ("texture", 7)):
        counts = collections.Counter(getattr(c, part) for c in known)
        assert len(counts) == different and max(counts.values()) == 2


@pytest.mark.parametrize("count", [1, 36, -3])
def test_counts_out_of_range(count):
    with pytest.raises(ValueError, match=f"classes={count}: expected 2 to 35"):
        categories(count)
