"""Writes `.gnt` files byte by byte, from the published description of the format."""

import numpy as np


def gnt_sample(character: str, image: np.ndarray) -> bytes:
    """Returns a sample: its size, its code, width and height, its pixels."""
    height, width = image.shape
    size = 4 + 2 + 2 + 2 + height * width
    code = character.encode("gb2312")
    return (
        bytes([size % 256, size // 256 % 256, size // 65536, 0])
        + code
        + b"\0" * (2 - len(code))
        + bytes([width % 256, width // 256, height % 256, height // 256])
        + image.tobytes()
    )
