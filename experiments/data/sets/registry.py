"""The data sets by name. A new set is a module beside this one, and a line here."""

from collections.abc import Callable

from experiments.data.image_set import DataSet
from experiments.data.sets import (
    casia_hwdb,
    kanji_strokes,
    mnist,
    mnist_5k,
    prepared,
    svhn_cropped,
    svhn_synthetic,
)

_LOADERS: dict[str, Callable[[str | None], DataSet]] = {
    "mnist": mnist.load,
    "mnist_5k": mnist_5k.load,
}
_LOADERS_OF_VARIANTS: dict[str, Callable[[str | None, str], DataSet]] = {
    "casia_hwdb": casia_hwdb.load,
    "kanji_strokes": kanji_strokes.load,
    "svhn_cropped": svhn_cropped.load,
    "svhn_synthetic": svhn_synthetic.load,
}


def load(name: str, data_dir: str | None = None) -> DataSet:
    """Loads a data set by name.

    Args:
      name: one of the registered names, for some with a variant (``kanji_strokes/48-200``), or that
        of a set which is prepared in the TFDS folder.
      data_dir: a TensorFlow Datasets folder. None or empty: the environment variable
        ``TFDS_DATA_DIR``, else TensorFlow Datasets' default. Data sets that ship inside a Python
        package ignore it.

    Raises:
      ValueError: the name, or its variant, is not known, and no prepared set has it.
      FileNotFoundError: the data is neither there nor can it be downloaded.
    """
    if name in _LOADERS:
        return _LOADERS[name](data_dir)
    base, _, variant = name.partition("/")
    if base in _LOADERS_OF_VARIANTS:
        return _LOADERS_OF_VARIANTS[base](data_dir, variant)
    try:
        return prepared.load(name, data_dir)
    except FileNotFoundError as error:
        known = ", ".join(sorted(_LOADERS | _LOADERS_OF_VARIANTS))
        raise ValueError(f"unknown data set {name!r}: choose one of {known}; {error}") from error
