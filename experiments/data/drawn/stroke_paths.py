"""The strokes of Chinese characters as lines, from the PyPI package kanjivg.

KanjiVG is copyright Ulrich Apel (http://kanjivg.tagaini.net), Creative Commons Attribution-Share
Alike 3.0. Images drawn from it may be passed on under that licence only.
"""

import functools
import importlib.metadata
import pathlib
import re

import numpy as np
from jaxtyping import Float

STROKE_BOX = 109
"""Side of the square in which the strokes lie."""

_POINTS = 8  # per Bezier curve
_PATH = re.compile(r'<path\b[^>]*\bd="([^"]+)"')
_TOKEN = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CJK = range(0x4E00, 0xA000)


@functools.cache
def drawable_characters() -> str:
    """Returns the Chinese characters whose strokes are known, in the order of their code points.

    Raises:
      ModuleNotFoundError: kanjivg is not installed.
    """
    names = (path.stem for path in _folder().glob("?????.svg"))
    return "".join(sorted(chr(code) for code in (int(name, 16) for name in names) if code in _CJK))


@functools.cache
def strokes(character: str) -> tuple[Float[np.ndarray, "points 2"], ...]:
    """Returns the strokes of a character in the order of writing.

    Each is a line of points (x, y), x to the right and y down, within 0 to STROKE_BOX.

    Raises:
      ValueError: a stroke has a form that is not known here.
    """
    svg = (_folder() / f"{ord(character):05x}.svg").read_text(encoding="utf-8")
    return tuple(path_points(path) for path in _PATH.findall(svg))


def path_points(path: str) -> Float[np.ndarray, "points 2"]:
    """Returns points along an SVG path of the commands M, C and S, absolute or relative.

    Raises:
      ValueError: it has another command, or starts with none.
    """
    position = control = np.zeros(2)
    points: list[np.ndarray] = []
    command, numbers = "", _TOKEN.findall(path)[::-1]
    while numbers:
        if numbers[-1].isalpha():
            command = numbers.pop()
        if command.upper() not in ("M", "C", "S"):
            raise ValueError(f"an SVG path with command {command!r} is not known here: {path!r}")
        count = {"M": 1, "C": 3, "S": 2}[command.upper()]
        values = np.array([float(numbers.pop()) for _ in range(2 * count)]).reshape(count, 2)
        values += position if command.islower() else 0
        if command.upper() == "M":
            points.append(values)
            position = control = values[0]
            continue
        first = 2 * position - control if command.upper() == "S" else values[0]
        control, end = values[-2:]
        t = np.linspace(0, 1, _POINTS + 1)[1:, None]
        points.append(
            (1 - t) ** 3 * position
            + 3 * (1 - t) ** 2 * t * first
            + 3 * (1 - t) * t**2 * control
            + t**3 * end
        )
        position = end
    return np.concatenate(points)


@functools.cache
def _folder() -> pathlib.Path:
    try:
        package = importlib.metadata.distribution("kanjivg")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "the strokes of data set 'kanji_strokes' are inside the package kanjivg, which is not "
            "installed: pip install kanjivg"
        ) from error
    return pathlib.Path(str(package.locate_file("kanji")))
