"""The `.gnt` format of CASIA's handwriting databases: grey images of single characters.

A file holds samples one after the other, numbers little-endian:

    4 bytes       size of the sample, these 4 included: 10 + width * height
    2 bytes       the character in GB2312 (or its superset GBK); ASCII characters end with a zero
    2 bytes       width
    2 bytes       height
    width*height  pixels, row by row, 255 is white
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import UInt8

_HEADER = struct.Struct("<I2sHH")


class Sample(NamedTuple):
    """One handwritten character.

    Attributes:
      offset: where the sample starts, in bytes.
      character: what was to be written; "" if the code stands for none.
      image: uint8 (height, width), 255 is white.
    """

    offset: int
    character: str
    image: UInt8[np.ndarray, "height width"]


def samples(file: BinaryIO, name: str) -> Iterator[Sample]:
    """Yields the samples of a `.gnt` file.

    Args:
      file: open for reading bytes, at its beginning.
      name: what messages call it.

    Raises:
      ValueError: the file is cut off or damaged; the message says at which byte.
    """
    offset = 0
    while header := _read(file, _HEADER.size, name, offset):
        if len(header) < _HEADER.size:
            raise _damaged(name, offset, f"ends after {len(header)} of a sample's 10 header bytes")
        size, code, width, height = _HEADER.unpack(header)
        if not width or not height or size != _HEADER.size + width * height:
            raise _damaged(
                name, offset, f"has a sample of {size} bytes, but {width}x{height} pixels"
            )
        pixels = _read(file, width * height, name, offset)
        if len(pixels) < width * height:
            raise _damaged(name, offset, f"ends after {len(pixels)} of {width * height} pixels")
        character = code.rstrip(b"\0").decode("gbk", errors="ignore")
        yield Sample(offset, character, np.frombuffer(pixels, np.uint8).reshape(height, width))
        offset += size


def _read(file: BinaryIO, count: int, name: str, offset: int) -> bytes:
    try:
        return file.read(count)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # inside a zip
        raise _damaged(name, offset, f"cannot be unpacked ({error})") from error


def _damaged(name: str, offset: int, what: str) -> ValueError:
    return ValueError(
        f"{name} {what}, at byte {offset:,}: the file is cut off or damaged, or no .gnt file; get "
        "it anew"
    )
