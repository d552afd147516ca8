import numpy as np
import pytest

from experiments import data
from experiments.data.image_set import DataSet, ImageSet

IMAGES = np.zeros((3, 4, 5, 1), np.uint8)
LABELS = np.zeros(3, np.int32)


def test_length_is_the_number_of_examples():
    assert len(ImageSet(IMAGES, LABELS)) == 3


@pytest.mark.parametrize(
    "images",
    [IMAGES.astype(np.float32), IMAGES[..., 0], np.zeros((3, 4, 10, 1), np.uint8)[:, :, ::2]],
    ids=["dtype", "rank", "strided"],
)
def test_images_of_another_form_are_refused(images):
    with pytest.raises(ValueError, match="images must be contiguous uint8"):
        ImageSet(images, LABELS)


@pytest.mark.parametrize("labels", [LABELS.astype(np.int64), LABELS[:2]], ids=["dtype", "length"])
def test_labels_of_another_form_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be int32 \(3,\)"):
        ImageSet(IMAGES, labels)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_outside_the_classes_is_refused(label):
    good = ImageSet(IMAGES, LABELS)
    bad = ImageSet(IMAGES, np.array([0, label, 9], np.int32))
    for train, test in [(good, bad), (bad, good)]:
        with pytest.raises(ValueError, match=r"labels of 'x' span .* does not fit num_classes=10"):
            DataSet("x", 10, train, test)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown data set 'mnits'.*mnist, mnist_5k"):
        data.load("mnits")
