"""Data sets in the form of TensorFlow Datasets (TFDS), read and written without TensorFlow.

- `load_tfds`: reads a set that TFDS itself knows, downloading and preparing it first if need be.
- `make_builder`: a builder of one of our own sets.
- `prepared_builder`: a builder whose set is prepared, by this process or by one beside it.
- `read_builder`: the images of a builder's set, in memory.
- `tfds_folder`: the folder in which prepared sets lie.
- `png`: an image encoded as PNG.
"""

from experiments.data.tfds.prepare import png
from experiments.data.tfds.source import (
    load_tfds,
    make_builder,
    prepared_builder,
    read_builder,
    tfds_folder,
)

__all__ = [
    "load_tfds",
    "make_builder",
    "png",
    "prepared_builder",
    "read_builder",
    "tfds_folder",
]
