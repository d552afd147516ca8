import itertools
import math

import pytest

from kfc_jax.structures import sizes as splits

SIZES = [*range(1, 65), 97, 784, 800, 1023, 1024, 3755]


def brute_force_splits(size, num_factors):
    sides = [d for d in range(1, size + 1) if size % d == 0]
    return {s for s in itertools.product(sides, repeat=num_factors) if math.prod(s) == size}


def ratio(split):
    return max(split) / min(split)


@pytest.mark.parametrize("size", SIZES)
def test_divisors_are_all_of_them_ascending(size):
    assert splits.divisors(size) == tuple(d for d in range(1, size + 1) if size % d == 0)


@pytest.mark.parametrize("num_factors", [1, 2, 3])
def test_ordered_splits_list_every_product_once(num_factors):
    for size in SIZES:
        found = splits.ordered_splits(size, num_factors)
        assert len(found) == len(set(found))
        assert set(found) == brute_force_splits(size, num_factors)


@pytest.mark.parametrize("num_factors", [1, 2, 3, 4])
def test_most_even_split_has_the_least_ratio_of_all(num_factors):
    for size in [*range(1, 65), 97, 180]:
        split = splits.most_even_split(size, num_factors)
        assert list(split) == sorted(split)
        assert math.prod(split) == size
        assert len(split) == num_factors
        assert ratio(split) == min(map(ratio, brute_force_splits(size, num_factors)))


@pytest.mark.parametrize(
    ("size", "num_factors", "expected"),
    [
        (784, 2, (28, 28)),
        (1024, 2, (32, 32)),
        (800, 2, (25, 32)),
        (25088, 2, (128, 196)),
        (1024, 3, (8, 8, 16)),
        (360, 3, (6, 6, 10)),  # (5, 8, 9) has the smaller sum
        (1, 4, (1, 1, 1, 1)),
        (7, 1, (7,)),
    ],
)
def test_most_even_split_of_known_sizes(size, num_factors, expected):
    assert splits.most_even_split(size, num_factors) == expected


@pytest.mark.parametrize("num_factors", [1, 2, 3])
def test_good_size_is_the_least_that_splits_within_the_limit(num_factors):
    for size in range(1, 65):
        good = splits.good_size(size, num_factors)
        assert good >= size
        for candidate in range(size, good + 1):
            best = min(map(ratio, brute_force_splits(candidate, num_factors)))
            assert (best <= splits.MAX_UNEVENNESS) == (candidate == good)


def test_a_size_needs_no_padding_for_one_factor():
    assert all(splits.good_size(size, 1) == size for size in range(1, 200))


@pytest.mark.parametrize(("num_factors", "bound"), [(2, 0.007), (3, 0.018)])
def test_waste_of_padding_is_bounded_as_documented(num_factors, bound):
    waste = [splits.good_size(n, num_factors) / n - 1 for n in range(1000, 30001)]
    assert bound / 2 < max(waste) <= bound  # the stated bound holds and is not idle


@pytest.mark.parametrize("num_factors", [1, 2, 3, 4])
def test_waste_of_padding_is_bounded_for_small_sizes(num_factors):
    assert all(splits.good_size(n, num_factors) <= 1.35 * n for n in range(1, 1000))


@pytest.mark.parametrize("num_factors", [1, 2, 3])
def test_largest_allowed_size_is_five_percent_or_the_next_good_size(num_factors):
    for size in [1, 5, 7, 10, 19, 20, 39, 40, 100, 784, 3755]:
        allowed = splits.largest_allowed_size(size, num_factors)
        assert allowed == max(math.floor(size * 21 / 20), splits.good_size(size, num_factors))


@pytest.mark.parametrize(
    ("size", "num_factors", "expected"),
    [(10, 2, 10), (11, 2, 12), (5, 2, 6), (13, 2, 15), (13, 3, 16), (784, 2, 784), (97, 2, 98)],
)
def test_good_size_of_known_sizes(size, num_factors, expected):
    assert splits.good_size(size, num_factors) == expected
