import pytest

from experiments.sweeping import product, seeds, values


def test_a_product_has_every_combination_the_last_axis_fastest():
    assert product(values("a", 1, 2), values("b", "x", "y")) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_a_product_takes_generators_and_nothing():
    assert product(iter(seeds(2)), (o for o in [{"a": 1}])) == [
        {"seed": 0, "a": 1},
        {"seed": 1, "a": 1},
    ]
    assert product() == [{}]


def test_a_field_is_set_once():
    with pytest.raises(ValueError, match="seed is set twice"):
        product(seeds(2), seeds(2))
