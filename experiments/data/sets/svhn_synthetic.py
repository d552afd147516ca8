"""Drawn house numbers, 32x32 colour: a data set of its own that needs no download.

As in the Street View House Numbers, a digit stands in the middle with parts of its neighbours at
the sides: many typefaces and colours, walls and plates behind them, slant, shadow, blur, noise and
JPEG. None is a photograph: results on it are not SVHN results.
`svhn_synthetic` has 60,000 training and 10,000 test digits; `svhn_synthetic/6000` has 6,000 and
1,000. Drawn once, always the same, and kept in the TFDS folder.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from experiments.data.drawn import (
    DIGIT_HEIGHT,
    digit_masks,
    drawn_examples,
    font_paths,
    load_drawn,
)
from experiments.data.image_set import DataSet

SIDE = 32
_CANVAS = 64  # pixels of the side at which an image is drawn
_SIZE = 60_000
_TRAIN_PER_TEST = 6


def load(data_dir: str | None = None, variant: str = "") -> DataSet:
    """Reads the digits, drawing them first where that was not done yet.

    Args:
      data_dir: see `load_tfds`.
      variant: number of training digits; empty: 60,000. There are a sixth as many test digits.

    Raises:
      ValueError: the variant is wrong, or the drawn files cannot be read.
      ModuleNotFoundError: a package with fonts is not installed.
      OSError: the set cannot be written.
    """
    size = variant or str(_SIZE)
    if not size.isdecimal() or not _TRAIN_PER_TEST <= int(size) <= 10_000_000:
        raise ValueError(
            f"data set 'svhn_synthetic' has no variant {variant!r}: use svhn_synthetic/NUMBER, "
            f"with a number of training digits from {_TRAIN_PER_TEST} to 10,000,000"
        )
    font_paths()
    config = tfds.core.BuilderConfig(name=str(int(size)))
    return load_drawn(SvhnSynthetic, config, data_dir)


class SvhnSynthetic(tfds.core.GeneratorBasedBuilder):
    """Drawn house numbers, see the module's docstring."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the drawing changes

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Drawn house numbers.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        size = int(self.builder_config.name)
        sizes = {"train": size, "test": size // _TRAIN_PER_TEST}
        return {split: self._generate_examples(split, sizes[split]) for split in sizes}

    def _generate_examples(self, split: str, size: int) -> Iterator[tuple[int, dict]]:
        return drawn_examples(draw, split, size, self.name)


def draw(rng: np.random.Generator, number: int) -> tuple[UInt8[np.ndarray, "32 32 3"], int]:
    """Draws a house number's digit, all chance from `rng`; returns it (RGB) and the digit."""
    del number
    label = int(rng.integers(10))
    mask = _digits(rng, label)
    ground, ink = _colours(rng)
    image = _wall(rng, ground)
    if rng.random() < 0.3:
        shadow = np.roll(mask, rng.integers(-3, 4, 2), (0, 1)) * rng.uniform(0.2, 0.7)
        image += shadow[..., None] * (rng.choice([0.0, 255.0]) - image)
    image += mask[..., None] * (ink + _slope(rng, 20.0) - image)
    return _photograph(rng, image), label


def _digits(rng: np.random.Generator, label: int) -> Float[np.ndarray, "64 64"]:
    """Returns where the ink of a number is, 0 to 1: `label` in the middle, perhaps neighbours."""
    fonts = font_paths()
    masks = digit_masks(fonts[rng.integers(len(fonts))])
    height, gap = DIGIT_HEIGHT, int(rng.integers(0, 14))
    middle = masks[label]
    line = np.zeros((height, 5 * height), np.uint8)
    left = (line.shape[1] - middle.shape[1]) // 2
    line[:, left : left + middle.shape[1]] = middle
    for is_right in (False, True):
        if rng.random() < 0.7:
            other = masks[rng.integers(10)]
            start = left + middle.shape[1] + gap if is_right else left - gap - other.shape[1]
            line[:, start : start + other.shape[1]] = other
    if rng.random() < 0.3:
        thickness = int(rng.integers(2, 5))
        line = cv2.dilate(line, np.ones((thickness, thickness), np.uint8))

    # From the canvas back to the line: the digit's middle comes near the canvas's.
    scale = rng.uniform(0.58, 0.98) * _CANVAS / height
    angle, shear = rng.normal(0, 0.09), rng.normal(0, 0.12)
    stretch = np.exp(rng.normal(-0.1, 0.15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = scale * turn @ np.array([[stretch, shear], [0, 1]])
    centre = np.array([line.shape[1], height]) / 2
    target = _CANVAS / 2 + rng.normal(0, 2.0, 2)
    matrix = np.column_stack([forward, target - forward @ centre])
    return cv2.warpAffine(line, matrix, (_CANVAS, _CANVAS)).astype(np.float32) / 255


def _colours(rng: np.random.Generator) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Returns the colours (0 to 255) of wall and ink, which differ in their brightness."""
    wall = rng.uniform(20, 235)
    contrast = rng.uniform(35, 190)
    room_below, room_above = wall - 5, 250 - wall
    is_darker = rng.random() < room_below / (room_below + room_above)
    ink = wall - min(contrast, room_below) if is_darker else wall + min(contrast, room_above)
    return tuple(brightness + rng.normal(0, 12, 3) for brightness in (wall, ink))


def _wall(rng: np.random.Generator, colour: Float[np.ndarray, "3"]) -> Float[np.ndarray, "64 64 3"]:
    """Returns what is behind the digits: uneven, perhaps boards or bricks, perhaps a plate."""
    image = colour.astype(np.float32) + _slope(rng, 35.0)
    for cells in (6, 24):
        patches = rng.normal(0, rng.uniform(0, 10), (cells, cells)).astype(np.float32)
        image += cv2.resize(patches, (_CANVAS, _CANVAS), interpolation=cv2.INTER_CUBIC)[..., None]
    if rng.random() < 0.25:
        period, width = int(rng.integers(8, 30)), int(rng.integers(1, 4))
        on_line = (np.arange(_CANVAS) + rng.integers(period)) % period < width
        lines = on_line[:, None] if rng.random() < 0.5 else on_line[None, :]
        image += np.broadcast_to(lines, (_CANVAS, _CANVAS))[..., None] * np.float32(
            rng.normal(0, 30)
        )
    if rng.random() < 0.3:
        edges = rng.integers(0, 12, 4)
        outside = np.ones((_CANVAS, _CANVAS, 1), np.float32)
        outside[edges[0] : _CANVAS - edges[1], edges[2] : _CANVAS - edges[3]] = 0
        image += outside * rng.normal(0, 35, 3)
    return image


def _slope(rng: np.random.Generator, size: float) -> Float[np.ndarray, "64 64 1"]:
    """Returns a light that grows evenly across the canvas, by up to `size` from the middle."""
    position = np.linspace(-0.5, 0.5, _CANVAS, dtype=np.float32)
    across, down = rng.normal(0, size / 2, 2).astype(np.float32)
    return (down * position[:, None] + across * position[None, :])[..., None]


def _photograph(
    rng: np.random.Generator, image: Float[np.ndarray, "64 64 3"]
) -> UInt8[np.ndarray, "32 32 3"]:
    """Returns the image as a poor camera at a distance sees it."""
    image = cv2.GaussianBlur(image, (0, 0), 0.5 + rng.exponential(1.5))
    if rng.random() < 0.15:
        length = int(rng.integers(3, 9))
        kernel = np.full((1, length) if rng.random() < 0.6 else (length, 1), 1 / length)
        image = cv2.filter2D(image, -1, kernel)
    image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    image += rng.normal(0, rng.uniform(1, 6), image.shape)
    small = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        small = cv2.imdecode(cv2.imencode(".jpg", small, quality)[1], cv2.IMREAD_COLOR)
    return small
