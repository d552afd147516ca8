import importlib.metadata

import numpy as np
import pytest

from experiments import data
from experiments.data.drawn import STROKE_BOX, drawable_characters, stroke_paths, strokes
from experiments.data.sets import kanji_strokes
from experiments.data.sets.character_sets import gb2312_level_1


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return data.load("kanji_strokes/20-3", str(tmp_path_factory.mktemp("tfds")))


def test_the_characters_are_drawn_in_equal_numbers(loaded):
    assert (loaded.name, loaded.num_classes) == ("kanji_strokes/20-3", 3)
    assert loaded.train.images.shape == (300, 20, 20, 1)
    assert loaded.test.images.shape == (60, 20, 20, 1)
    np.testing.assert_array_equal(np.bincount(loaded.train.labels), 100)
    np.testing.assert_array_equal(np.bincount(loaded.test.labels), 20)
    assert len({image.tobytes() for image in loaded.train.images}) == 300


def test_they_are_dark_on_white_and_their_mean_is_their_class(loaded):
    means = np.array(
        [loaded.train.images[loaded.train.labels == label].mean(0) for label in range(3)]
    )
    assert means.max() > 240
    assert means.min() < 200
    distances = ((loaded.test.images[:, None] - means) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == loaded.test.labels).mean() > 0.8  # chance is a third


def test_there_are_more_than_6000_characters_and_common_ones_come_first(tmp_path):
    assert len(drawable_characters()) > 6_000
    with pytest.raises(ValueError, match=r"the characters are from 2 to 6,\d\d\d"):
        data.load("kanji_strokes/48-9999", str(tmp_path))
    known = [character for character in gb2312_level_1() if character in drawable_characters()]
    drawn, label = kanji_strokes.draw("".join(known), 32, np.random.default_rng(0), 5)
    assert (drawn.shape, label) == ((32, 32, 1), 5)


def test_strokes_of_a_known_character_run_as_they_are_written():
    one = strokes("一")
    assert len(one) == 1  # from left to right, across most of the box
    assert one[0][-1, 0] - one[0][0, 0] > 0.6 * STROKE_BOX
    ten = strokes("十")
    assert len(ten) == 2
    assert ten[1][-1, 1] - ten[1][0, 1] > 0.6 * STROKE_BOX  # downwards
    assert len(strokes("國")) == 11
    for stroke in strokes("國"):
        assert stroke.min() > 0
        assert stroke.max() < STROKE_BOX


def test_a_path_goes_through_the_ends_of_its_curves():
    # Absolute and relative, separated in SVG's short ways; S reflects the control point before.
    points = stroke_paths.path_points("M10,20c0,1.5,10-1.5,10,0S40,30,30,20s.5.5,1-1")
    assert points.shape == (1 + 3 * 8, 2)
    np.testing.assert_allclose(points[[0, 8, 16, 24]], [[10, 20], [20, 20], [30, 20], [31, 19]])
    # Half way along a curve: (start + 3 first + 3 second + end) / 8.
    np.testing.assert_allclose(points[4], [(10 + 30 + 60 + 20) / 8, (80 + 60 + 4.5 - 4.5 + 20) / 8])
    first = 2 * np.array([20, 20]) - np.array([20, 18.5])
    middle = (np.array([20, 20]) + 3 * first + 3 * np.array([40, 30]) + np.array([30, 20])) / 8
    np.testing.assert_allclose(points[12], middle)


@pytest.mark.parametrize("path", ["M1,1L2,2", "1,2", "M0,0A1,1,0,0,0,2,2"])
def test_a_path_of_another_form_is_refused(path):
    with pytest.raises(ValueError, match="an SVG path with command"):
        stroke_paths.path_points(path)


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    stroke_paths._folder.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="pip install kanjivg"):
        stroke_paths._folder()
