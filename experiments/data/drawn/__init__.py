"""What drawn data sets are made with: typefaces, strokes, and drawing on all cores.

- `load_drawn`: reads a drawn set, drawing it first where that was not done yet.
- `drawn_examples`: the examples of a split, each drawn from its own number.
- `font_paths`: the files of the typefaces.
- `digit_masks`: the ten digits of a typeface.
- `DIGIT_HEIGHT`: pixels of the tallest digit of a typeface.
- `drawable_characters`: the Chinese characters whose strokes are known.
- `strokes`: the strokes of a character, as lines.
- `STROKE_BOX`: side of the square in which strokes lie.
"""

from experiments.data.drawn.digit_fonts import DIGIT_HEIGHT, digit_masks, font_paths
from experiments.data.drawn.drawing import drawn_examples, load_drawn
from experiments.data.drawn.stroke_paths import STROKE_BOX, drawable_characters, strokes

__all__ = [
    "DIGIT_HEIGHT",
    "STROKE_BOX",
    "digit_masks",
    "drawable_characters",
    "drawn_examples",
    "font_paths",
    "load_drawn",
    "strokes",
]
