"""Digits as masks, in many typefaces that come inside PyPI packages."""

import functools
import importlib.util
import pathlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

DIGIT_HEIGHT = 64
"""Pixels of the tallest digit of a font."""

# (package, folder in it, files): a fixed list, so that a seed means the same digits everywhere.
_FONTS = (
    (
        "matplotlib",
        "mpl-data/fonts/ttf",
        (
            "DejaVuSans.ttf DejaVuSans-Bold.ttf DejaVuSans-Oblique.ttf DejaVuSans-BoldOblique.ttf "
            "DejaVuSansMono.ttf DejaVuSansMono-Bold.ttf DejaVuSerif.ttf DejaVuSerif-Bold.ttf "
            "DejaVuSerif-Italic.ttf STIXGeneral.ttf STIXGeneralBol.ttf STIXGeneralItalic.ttf "
            "cmr10.ttf cmb10.ttf cmss10.ttf cmtt10.ttf"
        ),
    ),
    ("font_amatic_sc", "files", "AmaticSC-Bold.ttf AmaticSC-Regular.ttf"),
    (
        "font_caladea",
        "files",
        "Caladea-Bold.ttf Caladea-BoldItalic.ttf Caladea-Italic.ttf Caladea-Regular.ttf",
    ),
    ("font_fredoka_one", "files", "FredokaOne-Regular.ttf"),
    (
        "font_hanken_grotesk",
        "files",
        "HankenGrotesk-Bold.otf HankenGrotesk-Italic.otf HankenGrotesk-Light.otf "
        "HankenGrotesk-SemiBold.otf",
    ),
    ("font_intuitive", "files", "Intuitive.ttf"),
    (
        "font_manrope",
        "files",
        "Manrope-ExtraBold.ttf Manrope-ExtraLight.ttf Manrope-Medium.ttf Manrope-SemiBold.ttf",
    ),
)


@functools.cache
def font_paths() -> tuple[pathlib.Path, ...]:
    """Returns the files of the fonts.

    Raises:
      ModuleNotFoundError: a package with fonts is not installed.
      FileNotFoundError: a package does not hold an expected font.
    """
    found = []
    for package, folder, names in _FONTS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            pip_name = package.replace("_", "-")
            raise ModuleNotFoundError(
                f"the fonts of data set 'svhn_synthetic' are inside the package {pip_name}, which "
                f"is not installed: pip install {pip_name}"
            )
        root = pathlib.Path(spec.submodule_search_locations[0]) / folder
        found.extend(root / name for name in names.split())
    if missing := [path for path in found if not path.is_file()]:
        raise FileNotFoundError(
            f"{missing[0]} is missing, a font of data set 'svhn_synthetic': install a release of "
            "that package which has it (see requirements.txt)"
        )
    return tuple(found)


@functools.cache
def digit_masks(path: pathlib.Path) -> tuple[UInt8[np.ndarray, "height width"], ...]:
    """Returns the digits 0 to 9 of a font, 255 where there is ink, on one base line.

    All have DIGIT_HEIGHT rows, and no empty column at their sides.
    """
    font = ImageFont.truetype(str(path), 100)
    boxes = [font.getbbox(str(digit)) for digit in range(10)]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    masks = []
    for digit, (left, _, right, _) in enumerate(boxes):
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).text((-left, -top), str(digit), fill=255, font=font)
        width = max(1, round(mask.width * DIGIT_HEIGHT / mask.height))
        masks.append(np.asarray(mask.resize((width, DIGIT_HEIGHT), Image.Resampling.LANCZOS)))
    return tuple(masks)
