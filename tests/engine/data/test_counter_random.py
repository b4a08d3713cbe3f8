import numpy as np
import pytest

from engine.data.counter_random import philox, uniforms

ALL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known answers published with Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_known_answers(counter, key, words):
    assert tuple(philox(counter, key).tolist()) == words


def test_numbers_depend_on_their_keys_only():
    whole = uniforms(5, 1, 3, np.arange(6)[:, None], np.arange(4), 9)
    assert whole.shape == (6, 4, 9)
    assert np.array_equal(uniforms(5, 1, 3, [4], [2], 9)[0], whole[4, 2]) and np.array_equal(uniforms(5, 1, 3, [4], [2], 6)[0], whole[4, 2, :6])
    others = [
        uniforms(seed, stream, epoch, [image], [crop], 8)
        for seed in (0, 1, 2**32, -1)
        for stream in (0, 1)
        for epoch in (0, 1)
        for image in (0, 1, 2**32)
        for crop in (0, 1)
    ]
    assert len({other.tobytes() for other in others}) == len(others)


def test_numbers_are_uniform_and_uncorrelated():
    numbers = uniforms(7, 0, 0, np.arange(20000), np.zeros(20000, int), 4)
    assert numbers.min() > 0 and numbers.max() < 1
    for column in numbers.T:
        distance = np.abs(np.sort(column) - np.linspace(0, 1, len(column))).max()  # Kolmogorov-Smirnov; 0.01 % level at 0.0155
        assert distance < 0.0155
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03  # four standard errors are 0.028
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03  # neighbours in the data set


def test_numbers_of_a_seed_are_pinned():
    """Another value would change what a seed means."""
    assert uniforms(10010, 1, 2, [3], [1], 3)[0].tolist() == [0.27992665756028146, 0.42999973718542606, 0.44664579106029123]


def test_arguments_are_checked():
    for stream, epoch, crop, count in [(256, 0, 0, 1), (0, -1, 0, 1), (0, 0, 65536, 1), (0, 0, 0, 0), (0, 0, 0, 1025)]:
        with pytest.raises(ValueError, match="expected"):
            uniforms(0, stream, epoch, [0], [crop], count)
