"""Sets of images that are drawn, not downloaded: from a seed, on all cores, once per folder.

Every example depends on its split and its number alone, so it does not matter how many processes
draw, nor how many examples there are.
"""

import functools
import io
import multiprocessing
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from tqdm import tqdm

from experiments.data.image_set import DataSet
from experiments.data.tfds import make_builder, png, prepared_builder, read_builder
from experiments.system import available_cores

Draw = Callable[[np.random.Generator, int], tuple[UInt8[np.ndarray, "height width channels"], int]]
"""Draws the example of a number with a generator of its own; returns image and label."""

_CHUNK = 500  # examples that a process draws at once
_SPLIT_KEYS = {"train": 0, "test": 1}


def load_drawn(
    builder_class: type[tfds.core.DatasetBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: str | None = None,
) -> DataSet:
    """Reads a drawn set, drawing it first where that was not done yet.

    Args:
      builder_class: the set's builder.
      config: its configuration.
      data_dir: see `load_tfds`.

    Raises:
      OSError: it cannot be written.
      ValueError: what is in the folder cannot be read.
    """
    builder = prepared_builder(lambda: make_builder(builder_class, config, data_dir), data_dir)
    return read_builder(builder)


def drawn_examples(draw: Draw, split: str, size: int, name: str) -> Iterator[tuple[int, dict]]:
    """Yields the examples 0 to `size - 1` of a split as TFDS wants them, the images as PNG.

    Args:
      draw: can be pickled; see `Draw`.
      split: `train` or `test`; the two have different randomness.
      size: number of examples.
      name: the set's name, for the line of progress.
    """
    chunks = [range(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]
    draw_chunk = functools.partial(_draw_chunk, draw, _SPLIT_KEYS[split])
    with tqdm(
        desc=f"drawing {name}, {split}", total=size, unit=" images", delay=2, leave=False
    ) as progress:
        for chunk, drawn in zip(chunks, _map(draw_chunk, chunks), strict=True):
            for number, (image, label) in zip(chunk, drawn, strict=True):
                yield number, {"image": io.BytesIO(image), "label": label}
            progress.update(len(chunk))


def _map(function: Callable[[range], list], items: list[range]) -> Iterator[list]:
    processes = min(len(available_cores()), len(items))
    if processes <= 1:
        yield from map(function, items)
        return
    # Not forked: JAX has threads in this process.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(function, items)


def _draw_chunk(draw: Draw, split_key: int, numbers: range) -> list[tuple[bytes, int]]:
    drawn = []
    for number in numbers:
        image, label = draw(np.random.default_rng((split_key, number)), number)
        drawn.append((png(image), label))
    return drawn
