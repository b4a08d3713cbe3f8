"""Categories of the three sets: held to the published checksums and to the specification's table."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_folder import shared_path

from engine.runtime.errors import LussError
from luss.benchmark import categories as table

PUBLISHED = {50: "cba1701f5d94bf0d", 300: "9327409a512019ff", 919: "b2ee89cf2d5def58"}


@pytest.mark.parametrize("num", table.SETS)
def test_the_published_category_file_is_reproduced(num):
    assert hashlib.sha256(table.category_list(num).encode()).hexdigest()[:16] == PUBLISHED[num]


@pytest.mark.golden
def test_ids_and_names_are_those_of_the_specification():
    header, *rows = [line.split("\t") for line in shared_path("spec", "categories.tsv").read_text(encoding="utf-8").splitlines()]
    for column, num in ((2, 919), (3, 300), (4, 50)):
        expected = [(int(row[column]), row[0], row[1]) for row in rows if row[column]]
        assert [(category.id, category.wnid, category.name) for category in table.categories(num)] == expected
    assert header == ["wnid", "name", "id919", "id300", "id50"]


def test_each_set_contains_the_smaller_ones_under_other_ids():
    small, middle, large = (table.category_ids(num) for num in table.SETS)
    assert set(small) < set(middle) < set(large)
    assert (small["n01443537"], middle["n01443537"], large["n01443537"]) == (1, 2, 2)  # goldfish


def test_919_and_the_merged_and_dropped_ones_are_imagenet():
    known = set(table.category_ids(919))
    assert len(table.DROPPED) == len(set(table.DROPPED)) == 76
    assert not known & set(table.DROPPED) and not known & set(table.MERGED)
    assert len(known | set(table.DROPPED) | set(table.MERGED)) == 1000
    assert set(table.MERGED.values()) <= known
    assert not (set(table.MERGED) | set(table.MERGED.values())) & set(table.category_ids(300))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(table.SETS), st.data())
def test_lookups_are_inverse(num, data):
    number = data.draw(st.integers(1, num))
    assert table.id_of(num, table.wnid_of(num, number)) == number


@pytest.mark.parametrize(
    ("num", "wnid", "complaint"),
    [
        (50, "n01440764", "no category of ImageNet-S-50: it is in 300 and 919"),
        (919, "n03642806", "merged into n03832673"),
        (919, "n02699494", "no ImageNet-S set"),
        (300, "n99999999", "no set has it"),
        (51, "n01443537", "no ImageNet-S with so many categories; expected 50, 300, 919"),
    ],
)
def test_what_is_no_category_is_said(num, wnid, complaint):
    with pytest.raises(LussError, match=complaint):
        table.id_of(num, wnid)


@pytest.mark.parametrize("number", [0, -1, 51, 1000])
def test_ids_out_of_range(number):
    with pytest.raises(LussError, match=r"expected 1\.\.50"):
        table.wnid_of(50, number)


@pytest.mark.parametrize("num", table.SETS)
def test_a_set_is_recognised_by_its_class_folders_alone(num):
    classes = [category.wnid for category in table.categories(num)]
    assert table.dataset_of(reversed(classes)) == num
    assert table.dataset_of(classes[1:]) is None
    assert table.dataset_of([*classes[1:], "n00000000"]) is None
    assert table.nearest_set(classes[1:]) == (num, num - 1)


def test_strangers_are_no_set():
    assert table.dataset_of([]) is None and table.dataset_of([f"c{number}" for number in range(50)]) is None
    assert table.nearest_set(["cat", "dog"]) is None and table.nearest_set([]) is None


@pytest.mark.parametrize("num", table.SETS)
def test_split_sizes_agree_with_the_sizes_of_class_folders(num):
    sizes = table.SPLIT_SIZES[num]
    assert sizes["train-semi"] == 10 * num
    for split, (fewest, most) in table.IMAGES_PER_CATEGORY[num].items():
        assert fewest * num <= sizes[split] <= most * num
    assert table.SPLIT_SIZES[919]["validation"] + table.SPLIT_SIZES[919]["test"] == 39_842


def test_leaks_between_nested_sets():
    assert table.NESTED_TEST_IN_LARGER_VAL == {(50, 300): 1, (50, 919): 4, (300, 919): 19}
