"""MNIST, whole: 60,000 training and 10,000 test digits, 28x28 grey, from TensorFlow Datasets."""

from experiments.data.image_set import DataSet
from experiments.data.tfds import load_tfds

_WITHOUT_NETWORK = (
    "use --config.data.name=mnist_5k, 5,000 real digits that need no download "
    "(results on them are not MNIST results)"
)


def load(data_dir: str | None = None) -> DataSet:
    """Reads MNIST, downloading and preparing it first where that was not done yet.

    Args:
      data_dir: see `load_tfds`.

    Raises:
      FileNotFoundError: it is not prepared, and cannot be downloaded.
      ValueError: the prepared files cannot be read.
    """
    return load_tfds("mnist", data_dir, alternative=_WITHOUT_NETWORK)
