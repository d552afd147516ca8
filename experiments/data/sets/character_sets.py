"""Which characters, and how large: what data sets of Chinese characters have in common."""

import dataclasses

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

SIDES = range(8, 257)
_MARGIN = 0.06  # of the side, left white around the ink at the least


def gb2312_level_1() -> str:
    """Returns the 3,755 characters of GB2312's first level, in its order, that of their sound."""
    rows = range(0xB0, 0xD8)
    codes = [bytes([row, cell]) for row in rows for cell in range(0xA1, 0xFF)]
    return b"".join(codes[:3_755]).decode("gb2312")


@dataclasses.dataclass
class CharacterConfig(tfds.core.BuilderConfig):
    """A TFDS configuration of a set of characters.

    Attributes:
      side: pixels of the square images.
      characters: the classes, in the order of their labels.
    """

    side: int = 48
    characters: str = dataclasses.field(default="", repr=False)


def parse_variant(name: str, variant: str, characters: str) -> CharacterConfig:
    """Returns the configuration that a variant asks for.

    Args:
      name: the name of the data set, for messages.
      variant: ``SIDE`` for all characters in images of that side, or ``SIDE-COUNT`` for the first
        ones; empty: ``48``.
      characters: all characters that the set has.

    Raises:
      ValueError: the variant cannot be read, or is out of range.
    """
    side, dash, count = (variant or "48").partition("-")
    numbers = [side, count] if dash else [side, str(len(characters))]
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(
            f"data set {name!r} has no variant {variant!r}: use {name}/SIDE or {name}/SIDE-COUNT, "
            f"as {name}/48-200 for the first 200 characters in images of 48x48"
        )
    pixels, classes = map(int, numbers)
    if pixels not in SIDES or not 2 <= classes <= len(characters):
        raise ValueError(
            f"data set {name!r} cannot have variant {variant!r}: the side is from {SIDES[0]} to "
            f"{SIDES[-1]} pixels, and the characters are from 2 to {len(characters):,}"
        )
    suffix = f"-{classes}" if classes < len(characters) else ""
    return CharacterConfig(name=f"{pixels}{suffix}", side=pixels, characters=characters[:classes])


def features(config: CharacterConfig) -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a set of characters: ``image`` and ``label``."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(config.side, config.side, 1)),
            "label": tfds.features.ClassLabel(names=list(config.characters)),
        }
    )


def centred(ink: UInt8[np.ndarray, "height width"], side: int) -> UInt8[np.ndarray, "side side 1"]:
    """Crops an image to its ink, and scales it, its proportions kept, to the middle of a square.

    Args:
      ink: dark on white, which is 255; what is not white is ink.
      side: pixels of the square. The longer side of the ink fills it but for a small margin.
    """
    square = np.full((side, side), 255, np.uint8)
    rows, columns = (np.flatnonzero((ink < 255).any(axis)) for axis in (1, 0))
    if len(rows):
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        scale = (side - 2 * max(1, round(_MARGIN * side))) / max(ink.shape)
        height, width = (max(1, round(scale * length)) for length in ink.shape)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = cv2.resize(
            ink, (width, height), interpolation=method
        )
    return square[..., None]
