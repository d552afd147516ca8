"""Data sets of images, decoded in host memory, and the batches that training reads.

One file per data set, each with a ``load``; this module knows them by name. Every data set is
loaded by its own name alone: none ever stands in for another.
"""

from collections.abc import Callable

from experiments.data import mnist, mnist_5k
from experiments.data.image_set import DataSet, ImageSet

__all__ = ["DataSet", "ImageSet", "load"]

_LOADERS: dict[str, Callable[[str | None], DataSet]] = {
    "mnist": mnist.load,
    "mnist_5k": mnist_5k.load,
}


def load(name: str, data_dir: str | None = None) -> DataSet:
    """Loads a data set by name.

    Args:
      name: one of the registered names, ``mnist`` or ``mnist_5k``.
      data_dir: a TensorFlow Datasets folder. None or empty: the environment variable
        ``TFDS_DATA_DIR``, else TensorFlow Datasets' default. Data sets that ship inside a Python
        package ignore it.

    Raises:
      ValueError: the name is not registered.
      FileNotFoundError: the data is neither there nor can it be downloaded.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(sorted(_LOADERS))}")
    return _LOADERS[name](data_dir)
