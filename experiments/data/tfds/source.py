"""Reads an image classification set of TensorFlow Datasets (TFDS) into memory, no TensorFlow."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from experiments.data.image_set import DataSet, ImageSet
from experiments.data.tfds import prepare

_CHUNK = 1_000  # examples per batch read


def load_tfds(
    name: str,
    data_dir: str | None = None,
    *,
    train: str = "train",
    alternative: str | None = None,
) -> DataSet:
    """Reads the splits ``train`` and ``test`` of a TFDS set, preparing it first if need be.

    Args:
      name: TFDS's name of a set with the features ``image`` (uint8, of one size) and ``label``.
      data_dir: the TFDS folder, which holds ``name/version``. None or empty: the environment
        variable ``TFDS_DATA_DIR``, else TFDS's default, ``~/tensorflow_datasets``.
      train: see `read_builder`.
      alternative: what else a user can do who has no network; ends the error message.

    Raises:
      FileNotFoundError: it is not prepared in that folder and cannot be downloaded.
      ValueError: what is in that folder cannot be read.
    """
    builder = prepared_builder(
        lambda: tfds.builder(name, data_dir=tfds_folder(data_dir)), data_dir, alternative
    )
    return read_builder(builder, train)


def tfds_folder(data_dir: str | None = None) -> str:
    """Returns the TFDS folder that ``data_dir`` means, see `load`."""
    # The environment is asked here because TFDS reads it only once, when it is imported.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return os.path.expanduser(data_dir)


def make_builder(
    builder: type[tfds.core.DatasetBuilder],
    config: tfds.core.BuilderConfig,
    data_dir: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns a builder of a class and a configuration, for the folder that `load` would take."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns that the class does not list this config
    try:
        return builder(config=config, data_dir=tfds_folder(data_dir))
    finally:
        logging.set_verbosity(verbosity)


def prepared_builder(
    make: Callable[[], tfds.core.DatasetBuilder],
    data_dir: str | None = None,
    alternative: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns a builder whose set is prepared, by this process or while it waited by another.

    Args:
      make: returns the builder, for the folder that `load` would take.
      data_dir: see `load_tfds`.
      alternative: see `load_tfds`.

    Raises:
      FileNotFoundError, ValueError: as `prepare.prepare`.
    """
    builder = make()
    if builder.is_prepared():
        return builder
    with _locked(pathlib.Path(tfds_folder(data_dir)), builder.name):
        builder = make()  # it knows of a set that was prepared since only if it is made anew
        if not builder.is_prepared():
            prepare.prepare(builder, alternative)
    return builder


@contextlib.contextmanager
def _locked(folder: pathlib.Path, name: str) -> Iterator[None]:
    """Lets one process at a time prepare a set: runs of a sweep start together."""
    with contextlib.ExitStack() as stack:
        # Where nothing can be written, the preparation says so, and how to help.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / f".{name}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_builder(builder: tfds.core.DatasetBuilder, train: str = "train") -> DataSet:
    """Decodes the splits ``train`` and ``test`` of a prepared builder.

    The examples come in an order of their own, whatever the order in the files.

    Args:
      builder: the builder of a set with the features ``image`` (uint8, of one size) and ``label``.
      train: the splits to train on, in TFDS's notation: ``train+extra``.

    Raises:
      ValueError: the prepared files cannot be read (missing, damaged, or not ArrayRecord).
    """
    try:
        splits = {"train": train, "test": "test"}
        sources = {name: builder.as_data_source(split) for name, split in splits.items()}
        shape = builder.info.features["image"].shape
        with tqdm(
            desc=f"reading {builder.name}",
            total=sum(len(source) for source in sources.values()),
            unit=" examples",
            delay=2,
            mininterval=1,
            leave=False,
        ) as progress:
            sets = {split: _decode(source, shape, progress) for split, source in sources.items()}
    except Exception as error:  # TFDS and ArrayRecord raise many kinds, often plain RuntimeError
        raise ValueError(
            f"the prepared data in {builder.data_path} cannot be read: {error}\n"
            "Delete that folder so that it is prepared anew, or point --config.data.data_dir or "
            "TFDS_DATA_DIR at another one."
        ) from error
    num_classes = builder.info.features["label"].num_classes
    name = "/".join(filter(None, [builder.name, getattr(builder.builder_config, "name", "")]))
    return DataSet(name=name, num_classes=num_classes, **sets)


def _decode(source: Sequence[Any], shape: tuple[int, int, int], progress: tqdm) -> ImageSet:
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(source)))
        for position, example in zip(positions, source.__getitems__(list(positions)), strict=True):
            images[position] = example["image"]
            labels[position] = example["label"]
        progress.update(len(positions))
    order = _canonical_order(images, labels)
    return ImageSet(images[order], labels[order])


def _canonical_order(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns an order that depends on the examples alone, (examples,).

    TFDS shuffles when it writes, other writers do not: without this, what a seed selects would
    depend on who prepared the folder.
    """
    pixels = images.reshape(len(images), -1)
    return np.lexsort((labels, pixels.view(f"S{pixels.shape[1]}").ravel()))
