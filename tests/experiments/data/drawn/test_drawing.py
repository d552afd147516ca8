import io

import numpy as np
import pytest
from PIL import Image

from experiments.data.drawn import drawing


def draw(rng, number):
    return rng.integers(0, 256, (4, 5, 3), np.uint8), number % 3


def pixels(example):
    return np.asarray(Image.open(io.BytesIO(example["image"].read()))).tobytes()


def drawn(split, size):
    return [
        (number, pixels(example), example["label"])
        for number, example in drawing.drawn_examples(draw, split, size, "noise")
    ]


@pytest.fixture
def one_core(monkeypatch):
    monkeypatch.setattr(drawing, "available_cores", lambda: tuple(range(1)))


def test_examples_are_numbered_and_drawn_from_their_number_alone(one_core, monkeypatch):
    whole = drawn("train", 7)
    assert [number for number, _, _ in whole] == list(range(7))
    assert [label for _, _, label in whole] == [0, 1, 2, 0, 1, 2, 0]
    assert len({image for _, image, _ in whole}) == 7
    monkeypatch.setattr(drawing, "_CHUNK", 3)  # how the work is divided makes no difference
    assert drawn("train", 7) == whole
    assert drawn("train", 4) == whole[:4]


def test_splits_are_different(one_core):
    images = [image for split in ("train", "test") for _, image, _ in drawn(split, 5)]
    assert len(set(images)) == 10


def test_several_processes_draw_the_same_as_one(monkeypatch):
    monkeypatch.setattr(drawing, "_CHUNK", 2)
    monkeypatch.setattr(drawing, "available_cores", lambda: tuple(range(1)))
    alone = drawn("train", 5)
    monkeypatch.setattr(drawing, "available_cores", lambda: tuple(range(2)))
    assert drawn("train", 5) == alone
