import numpy as np
import pytest

from experiments.data.sets.character_sets import centred, gb2312_level_1, parse_variant

ALL = gb2312_level_1()


def test_the_first_level_of_gb2312_goes_from_a_to_zuo():
    assert len(ALL) == len(set(ALL)) == 3_755
    assert ALL[:3] + ALL[-2:] == "啊阿埃坐座"
    codes = [character.encode("gb2312") for character in ALL]
    assert codes == sorted(codes)
    assert (codes[0], codes[-1]) == (b"\xb0\xa1", b"\xd7\xf9")


@pytest.mark.parametrize(
    ("variant", "name", "side", "classes"),
    [
        ("", "48", 48, 3_755),
        ("64", "64", 64, 3_755),
        ("48-200", "48-200", 48, 200),
        ("048-3755", "48", 48, 3_755),
    ],
)
def test_a_variant_chooses_side_and_characters(variant, name, side, classes):
    config = parse_variant("casia_hwdb", variant, ALL)
    assert (config.name, config.side) == (name, side)
    assert config.characters == ALL[:classes]


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("big", "has no variant 'big': use casia_hwdb/SIDE or casia_hwdb/SIDE-COUNT"),
        ("48-", "has no variant '48-'"),
        ("48x48", "has no variant '48x48'"),
        ("-5", "has no variant '-5'"),
        ("7", "cannot have variant '7': the side is from 8 to 256 pixels"),
        ("48-1", "cannot have variant '48-1': .* from 2 to 3,755"),
        ("48-3756", "cannot have variant '48-3756'"),
    ],
)
def test_another_variant_is_refused(variant, message):
    with pytest.raises(ValueError, match=message):
        parse_variant("casia_hwdb", variant, ALL)


def ink_box(image):
    rows, columns = np.nonzero(image[..., 0] < 255)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize("shape", [(100, 40), (20, 90), (5, 5)])
def test_ink_is_cropped_scaled_and_centred(shape):
    page = np.full((200, 300), 255, np.uint8)
    page[30 : 30 + shape[0], 150 : 150 + shape[1]] = 80
    image = centred(page, 48)
    assert image.shape == (48, 48, 1)
    top, bottom, left, right = ink_box(image)
    assert max(bottom - top, right - left) == 42  # 3 pixels, 6%, are left at both sides
    assert (bottom - top) / (right - left) == pytest.approx(shape[0] / shape[1], rel=0.05)
    assert abs(top - (48 - bottom)) <= 1
    assert abs(left - (48 - right)) <= 1
    assert set(np.unique(image)) == {80, 255}


def test_a_page_without_ink_is_white():
    assert (centred(np.full((9, 4), 255, np.uint8), 16) == 255).all()
