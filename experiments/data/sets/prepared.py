"""Image sets that somebody prepared in a folder of TensorFlow Datasets (TFDS), found by name."""

import pathlib

import tensorflow_datasets as tfds

from experiments.data.image_set import DataSet
from experiments.data.tfds import read_builder, tfds_folder

_INFO = "dataset_info.json"  # what makes a folder a prepared version of a set


def load(name: str, data_dir: str | None = None) -> DataSet:
    """Reads the newest version of a set, ``name/version`` in the TFDS folder.

    No code of the set is needed: features, classes and splits are in the folder. It must have the
    features ``image`` (uint8, of one size) and ``label``, and the splits ``train`` and ``test``.

    Args:
      name: the set's name, or ``set/config``.
      data_dir: see `load_tfds`.

    Raises:
      FileNotFoundError: there is no such set; the message lists those that are there.
      ValueError: it cannot be read.
    """
    folder = pathlib.Path(tfds_folder(data_dir))
    versions = [path.parent for path in (folder / name).glob(f"*/{_INFO}")]
    versions = [path for path in versions if tfds.core.Version.is_valid(path.name)]
    if not versions:
        there = ", ".join(available(data_dir)) or "none"
        raise FileNotFoundError(
            f"no data set {name!r} is prepared in {folder} (as {name}/VERSION/{_INFO}); prepared "
            f"there: {there}. Take one of them, or point --config.data.data_dir or TFDS_DATA_DIR "
            "at another TFDS folder"
        )
    newest = max(versions, key=lambda path: tfds.core.Version(path.name))
    return read_builder(tfds.builder_from_directory(str(newest)))


def available(data_dir: str | None = None) -> list[str]:
    """Returns the names of the sets that are prepared in the TFDS folder, sorted."""
    folder = pathlib.Path(tfds_folder(data_dir))
    infos = [*folder.glob(f"*/*/{_INFO}"), *folder.glob(f"*/*/*/{_INFO}")]
    return sorted({str(path.parent.parent.relative_to(folder)) for path in infos})
