"""Chinese characters drawn from their strokes, grey: a data set of its own, without a download.

Real stroke paths (see `stroke_paths`), varied as handwriting varies: every stroke is moved, turned
and scaled, the whole is bent, slanted and stretched, the pen's width and pressure change, and
strokes may run into each other. No person wrote any of them: results are not those on handwriting.

The classes are first the characters of GB2312's first level whose strokes are known, in GB2312's
order, then the other ones: 6,000 and more. Each has 100 training and 20 test images.
`kanji_strokes` has all of them in images of 48x48, `kanji_strokes/64` in 64x64, and
`kanji_strokes/48-200` the first 200. Drawn once, always the same, and kept in the TFDS folder.
"""

import functools
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from experiments.data.drawn import (
    STROKE_BOX,
    drawable_characters,
    drawn_examples,
    load_drawn,
    strokes,
)
from experiments.data.image_set import DataSet
from experiments.data.sets import character_sets

_PER_CLASS = {"train": 100, "test": 20}
_CANVAS = 160  # pixels of the side at which a character is drawn
_FRACTION_BITS = 4  # of OpenCV's coordinates


def load(data_dir: str | None = None, variant: str = "") -> DataSet:
    """Reads the characters, drawing them first where that was not done yet.

    Args:
      data_dir: see `load_tfds`.
      variant: see `character_sets.parse_variant`.

    Raises:
      ValueError: the variant is wrong, or the drawn files cannot be read.
      ModuleNotFoundError: kanjivg is not installed.
      OSError: the set cannot be written.
    """
    known = drawable_characters()
    common = [character for character in character_sets.gb2312_level_1() if character in set(known)]
    ordered = "".join(dict.fromkeys([*common, *known]))
    config = character_sets.parse_variant("kanji_strokes", variant, ordered)
    return load_drawn(KanjiStrokes, config, data_dir)


class KanjiStrokes(tfds.core.GeneratorBasedBuilder):
    """Drawn Chinese characters, see the module's docstring."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the drawing changes

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Chinese characters drawn from the strokes of KanjiVG, CC BY-SA 3.0.",
            homepage="http://kanjivg.tagaini.net",
            features=character_sets.features(self.builder_config),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(split) for split in _PER_CLASS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        characters, side = self.builder_config.characters, self.builder_config.side
        draw_one = functools.partial(draw, characters, side)
        size = len(characters) * _PER_CLASS[split]
        return drawn_examples(draw_one, split, size, self.name)


def draw(
    characters: str, side: int, rng: np.random.Generator, number: int
) -> tuple[UInt8[np.ndarray, "side side 1"], int]:
    """Draws a character, dark on white; returns it and its place in `characters`.

    Args:
      characters: the classes, which take turns.
      side: pixels of the square image.
      rng: gives all that is chance.
      number: the number of the image.
    """
    label = number % len(characters)
    lines = _written(rng, strokes(characters[label]))
    ink = np.zeros((_CANVAS, _CANVAS), np.uint8)
    width = rng.uniform(1.5, 6.5) * _CANVAS / STROKE_BOX
    for line in _joined(rng, lines):
        _draw_line(ink, line, width * rng.uniform(0.8, 1.2), taper=rng.uniform(0, 0.7))
    page = 255 - ink.astype(np.float64) * rng.uniform(0.55, 1.0)
    page[ink == 0] = 255
    image = character_sets.centred(page.astype(np.uint8), side)
    noise = rng.normal(0, rng.uniform(0, 10), image.shape) * (image < 250)
    return np.clip(image + noise, 0, 255).astype(np.uint8), label


def _written(
    rng: np.random.Generator, strokes: tuple[np.ndarray, ...]
) -> list[Float[np.ndarray, "points 2"]]:
    """Returns strokes on the canvas as a hand would place them."""
    unsteadiness = rng.uniform(0.6, 2.0)
    lines = []
    for stroke in strokes:
        middle = stroke.mean(0)
        turned = (stroke - middle) @ _turn(rng.normal(0, 0.07 * unsteadiness))
        scales = np.exp(rng.normal(0, 0.1 * unsteadiness, 2))
        lines.append(middle + turned * scales + rng.normal(0, 2.0 * unsteadiness, 2))

    slant = np.array([[np.exp(rng.normal(0, 0.1)), 0], [rng.normal(0, 0.15), 1]])
    matrix = slant @ _turn(rng.normal(0, 0.06))
    # A smooth bend of the whole: one slow wave in each direction.
    waves = rng.uniform(0.5, 1.5, (2, 2)) * 2 * np.pi
    phases, heights = rng.uniform(0, 2 * np.pi, 2), rng.normal(0, 0.03, 2)
    placed = []
    for line in lines:
        unit = line / STROKE_BOX - 0.5
        unit = (unit + heights * np.sin(unit @ waves + phases)) @ matrix
        placed.append((0.5 + 0.7 * unit) * _CANVAS)
    return placed


def _joined(
    rng: np.random.Generator, lines: list[Float[np.ndarray, "points 2"]]
) -> list[Float[np.ndarray, "points 2"]]:
    """Returns the strokes, some of them run together with the next as in a hurried hand."""
    hurry = rng.uniform(0, 0.6)
    keep = 1 - rng.uniform(0, 0.25)  # of a long stroke, which such a hand does not finish
    lines = [line[: max(2, round(keep * len(line)))] if len(line) > 10 else line for line in lines]
    joined = [lines[0]]
    for line in lines[1:]:
        way = np.linalg.norm(line[0] - joined[-1][-1])
        if way < 0.35 * _CANVAS and rng.random() < hurry:
            joined[-1] = np.concatenate([joined[-1], line])
        else:
            joined.append(line)
    return joined


def _draw_line(
    ink: UInt8[np.ndarray, "side side"],
    line: Float[np.ndarray, "points 2"],
    width: float,
    taper: float,
) -> None:
    """Draws a stroke whose width falls by the fraction `taper` to its end."""
    points = np.round(line * 2**_FRACTION_BITS).astype(int)
    widths = np.maximum(1, np.round(width * (1 - taper * np.linspace(0, 1, len(points)))))
    for start, end, thickness in zip(points[:-1], points[1:], widths.astype(int), strict=False):
        cv2.line(
            ink, start.tolist(), end.tolist(), 255, int(thickness), cv2.LINE_AA, _FRACTION_BITS
        )


def _turn(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
