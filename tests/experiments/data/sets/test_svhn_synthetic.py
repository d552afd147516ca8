import importlib.util

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import data
from experiments.data.drawn import DIGIT_HEIGHT, digit_masks, font_paths
from experiments.data.sets import svhn_synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    data.load("svhn_synthetic/180", str(folder))
    return folder


def test_the_digits_are_drawn_once_and_kept_as_a_tfds_folder(folder, monkeypatch):
    monkeypatch.setattr(svhn_synthetic, "draw", None)
    loaded = data.load("svhn_synthetic/180", str(folder))
    assert (loaded.name, loaded.num_classes) == ("svhn_synthetic/180", 10)
    assert loaded.train.images.shape == (180, 32, 32, 3)
    assert loaded.test.images.shape == (30, 32, 32, 3)
    assert set(loaded.train.labels) == set(range(10))
    path = folder / "svhn_synthetic" / "180" / "1.0.0"
    source = tfds.builder_from_directory(path).as_data_source("test")
    assert sorted(example["label"] for example in source) == sorted(loaded.test.labels)


def test_a_folder_holds_what_the_seeds_draw(folder):
    loaded = data.load("svhn_synthetic/180", str(folder))
    expected = [svhn_synthetic.draw(np.random.default_rng((1, n)), n) for n in range(30)]
    found = zip(loaded.test.images, loaded.test.labels, strict=True)
    assert sorted((image.tobytes(), label) for image, label in expected) == sorted(
        (image.tobytes(), label) for image, label in found
    )


def test_digits_of_one_class_resemble_each_other():
    """Blurred edges alone tell more digits apart than chance, 10%, so labels and images agree."""

    def examples(split, size):
        drawn = [svhn_synthetic.draw(np.random.default_rng((split, n)), n) for n in range(size)]
        images = np.array([image for image, _ in drawn]).astype(float).mean(-1)
        down, across = np.gradient(images, axis=(1, 2))
        edges = np.hypot(down, across).reshape(size, 8, 4, 8, 4).mean((2, 4)).reshape(size, -1)
        return edges / np.linalg.norm(edges, axis=1, keepdims=True), [label for _, label in drawn]

    (known, labels), (asked, truth) = examples(7, 600), examples(8, 200)
    nearest = np.array(labels)[(asked @ known.T).argmax(1)]
    assert (nearest == truth).mean() > 0.25


@pytest.mark.parametrize("variant", ["many", "5", "-6", "1.5"])
def test_another_variant_is_refused(variant, tmp_path):
    with pytest.raises(ValueError, match=rf"no variant '{variant}': use svhn_synthetic/NUMBER"):
        data.load(f"svhn_synthetic/{variant}", str(tmp_path))


def test_every_font_has_ten_different_digits():
    paths = font_paths()
    assert len(paths) == len(set(paths)) >= 30
    for path in paths:
        masks = digit_masks(path)
        assert len({mask.tobytes() for mask in masks}) == 10, path
        for mask in masks:
            assert mask.shape[0] == DIGIT_HEIGHT
            assert 0.04 < mask.mean() / 255 < 0.9, path


def test_a_missing_package_of_fonts_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    font_paths.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        font_paths()
