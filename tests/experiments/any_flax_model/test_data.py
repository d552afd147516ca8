import jax
import numpy as np
import pytest

from experiments.any_flax_model.data import load_task


@pytest.fixture(scope="module")
def text():
    return load_task("text", context=64, max_shift=0)


def test_the_text_is_what_follows_and_windows_stay_in_their_part(text):
    for inputs, targets in (text.train, text.validation, text.test):
        assert (inputs[:, 1:] == targets[:, :-1]).all()
        assert 0 <= inputs.min() <= inputs.max() < text.outputs
    assert text.test[0].shape[1] == 64
    blocks = {bytes(row.astype(np.uint8)) for row in text.train[0]}
    windows = text.test[0].reshape(-1, 1024)
    assert not blocks & {bytes(row.astype(np.uint8)) for row in windows}


def test_drawn_windows_are_of_the_training_part(text):
    inputs, targets = text.draw(jax.random.key(0), text.train, 16)
    assert inputs.shape == targets.shape == (16, 64)
    whole = [bytes(row.astype(np.uint8)) for row in text.train[0]]
    for row in np.asarray(inputs):
        assert any(bytes(row.astype(np.uint8)) in block for block in whole)
    assert (inputs[:, 1:] == targets[:, :-1]).all()


def test_the_parts_of_the_digits_are_disjoint_and_drawn_ones_keep_their_labels():
    digits = load_task("digits", context=0, max_shift=0)
    assert [len(part[0]) for part in (digits.train, digits.validation, digits.test)] == [
        *(3500, 500, 1000)
    ]
    parts = [
        {image.tobytes() for image in part[0]}
        for part in (digits.train, digits.validation, digits.test)
    ]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    images, labels = digits.draw(jax.random.key(0), digits.train, 8)
    known = {image.tobytes(): label for image, label in zip(*digits.train, strict=True)}
    for image, label in zip(np.asarray(images), labels, strict=True):
        assert known[np.rint(image * 255).astype(np.uint8).tobytes()] == label


def test_samples_are_from_all_over_the_training_part(text):
    samples = list(text.samples(100, 64))
    assert [len(batch) for batch in samples] == [64, 36]
    assert (samples[0][0] == text.train[0][0, :64]).all()
    assert (samples[1][-1] == text.train[0][-1, -64:]).all()

    digits = load_task("digits", context=0, max_shift=0)  # which are sorted by class
    (images,) = digits.samples(50, 50)
    labels = {image.tobytes(): label for image, label in zip(*digits.train, strict=True)}
    pixels = np.rint(images * 255).astype(np.uint8)
    seen = np.bincount([labels[image.tobytes()] for image in pixels], minlength=10)
    assert seen.tolist() == [5] * 10
    assert images.max() == 1
