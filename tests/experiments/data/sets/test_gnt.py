import io
import zipfile

import numpy as np
import pytest

from experiments.data.sets import gnt
from tests.experiments.data.sets.gnt_files import gnt_sample

FIRST = np.arange(6, dtype=np.uint8).reshape(2, 3)
SECOND = np.full((70, 300), 9, np.uint8)  # sizes that need both of their bytes
GOOD = gnt_sample("啊", FIRST) + gnt_sample("A", SECOND)


def read(content: bytes) -> list[gnt.Sample]:
    return list(gnt.samples(io.BytesIO(content), "1001-c.gnt"))


def test_a_file_of_known_bytes_is_read():
    # 啊 is B0 A1 in GB2312; its sample of 1x2 pixels takes 12 bytes.
    content = bytes([12, 0, 0, 0, 0xB0, 0xA1, 1, 0, 2, 0, 255, 7])
    (sample,) = read(content)
    assert (sample.offset, sample.character) == (0, "啊")
    np.testing.assert_array_equal(sample.image, [[255], [7]])


def test_samples_follow_one_another():
    first, second = read(GOOD)
    assert (first.offset, first.character) == (0, "啊")
    assert (second.offset, second.character) == (16, "A")
    np.testing.assert_array_equal(first.image, FIRST)
    np.testing.assert_array_equal(second.image, SECOND)


def test_an_empty_file_has_no_samples():
    assert read(b"") == []


def test_a_code_that_stands_for_nothing_is_no_character():
    assert read(GOOD[:4] + b"\xff\xff" + GOOD[6:])[0].character == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "1001-c.gnt ends after 20999 of 21000 pixels, at byte 16: the file is cut off"),
        (GOOD[:20], "1001-c.gnt ends after 4 of a sample's 10 header bytes, at byte 16"),
        (b"\x11" + GOOD[1:], "1001-c.gnt has a sample of 17 bytes, but 3x2 pixels, at byte 0"),
        (GOOD[:16] + b"\0" * 30, "1001-c.gnt has a sample of 0 bytes, but 0x0 pixels, at byte 16"),
        (b"PK\3\4" + bytes(range(60)), "1001-c.gnt has a sample of 67324752 bytes, .* at byte 0"),
    ],
    ids=["pixels cut off", "header cut off", "wrong size", "zeros", "no gnt file"],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_byte(content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_a_damaged_zip_is_refused_with_the_byte(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1001-c.gnt", GOOD)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x09\x09\x09\x09", b"\x09\x09\x08\x09", 1))
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("1001-c.gnt") as file,
        pytest.raises(ValueError, match=r"x.gnt cannot be unpacked \(Bad CRC-32.*at byte 16"),
    ):
        list(gnt.samples(file, "x.gnt"))
