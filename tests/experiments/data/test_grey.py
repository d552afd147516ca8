import cv2
import numpy as np
import pytest

from experiments.data import DataSet, ImageSet, to_grey


def data_set(channels: int) -> DataSet:
    rng = np.random.default_rng(0)
    parts = [
        ImageSet(
            rng.integers(0, 256, (size, 6, 5, channels), np.uint8),
            rng.integers(0, 3, size).astype(np.int32),
        )
        for size in (12, 7)
    ]
    return DataSet("leaves", 3, *parts)


def test_colour_becomes_the_luma_of_opencv():
    colour = data_set(3)
    grey = to_grey(colour)
    assert (grey.name, grey.num_classes) == ("leaves", 3)
    for before, after in ((colour.train, grey.train), (colour.test, grey.test)):
        expected = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in before.images]
        difference = after.images[..., 0].astype(int) - np.array(expected)
        assert abs(difference).max() <= 1  # OpenCV rounds its weights
        np.testing.assert_array_equal(after.labels, before.labels)


def test_extremes_keep_their_brightness():
    images = np.array([0, 255], np.uint8).repeat(12).reshape(2, 2, 2, 3)
    labels = np.zeros(2, np.int32)
    grey = to_grey(DataSet("x", 1, ImageSet(images, labels), ImageSet(images, labels)))
    assert grey.train.images[0].max() == 0
    assert grey.train.images[1].min() == 255


def test_grey_stays_as_it_is():
    grey = data_set(1)
    assert to_grey(grey) is grey


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"'leaves' have 4 channels .*image_shape to \(6, 5, 4\)"):
        to_grey(data_set(4))
