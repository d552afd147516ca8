"""CASIA-HWDB 1.0 and 1.1: offline handwritten Chinese characters, from their official files.

CASIA gives the files away for academic research, on request of a page of its own; nothing can be
downloaded here. Put them into TFDS's folder for such files, `downloads/manual` in the TFDS folder
(`--config.data.data_dir`), as `.gnt` files, in folders or not, or in the official zips. A part of
each path, or the zip's name, tells the official split: `train` or `trn`, and `test` or `tst`
(`Gnt1.1TrainPart1.zip`, `HWDB1.1tst_gnt/1241-c.gnt`).

The classes are the 3,755 characters of GB2312's first level, all of which both databases are about;
other characters in the files are left out. `casia_hwdb` has images of 48x48, `casia_hwdb/64` of
64x64, and `casia_hwdb/48-200` the first 200 characters. Every image is cropped to the ink, scaled
and centred.
"""

import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import tensorflow_datasets as tfds

from experiments.data.image_set import DataSet
from experiments.data.sets import character_sets, gnt
from experiments.data.tfds import make_builder, prepared_builder, read_builder

_SPLITS = {"train": re.compile(r"train|trn", re.I), "test": re.compile(r"test|tst", re.I)}
_WITHOUT_FILES = (
    "use --config.data.name=kanji_strokes, drawn characters that need no download (results on "
    "them are not CASIA-HWDB results)"
)


def load(data_dir: str | None = None, variant: str = "") -> DataSet:
    """Reads CASIA-HWDB, preparing it first from the official files where that was not done yet.

    Args:
      data_dir: see `load_tfds`.
      variant: see `character_sets.parse_variant`.

    Raises:
      FileNotFoundError: it is not prepared, and the official files are not there, or damaged.
      ValueError: the variant is wrong, or the prepared files cannot be read.
    """
    config = character_sets.parse_variant("casia_hwdb", variant, character_sets.gb2312_level_1())
    builder = prepared_builder(
        lambda: make_builder(CasiaHwdb, config, data_dir), data_dir, _WITHOUT_FILES
    )
    return read_builder(builder)


class CasiaHwdb(tfds.core.GeneratorBasedBuilder):
    """Handwritten Chinese characters, see the module's docstring."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the .gnt files of CASIA-HWDB 1.0 or 1.1, or the zips that hold them; the path of each "
        "must tell train (or trn) or test (or tst)."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="CASIA-HWDB: offline handwritten Chinese characters.",
            homepage="https://nlpr.ia.ac.cn/databases/handwriting/Home.html",
            features=character_sets.features(self.builder_config),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        files = _files_by_split(pathlib.Path(dl_manager.manual_dir))
        return {split: self._generate_examples(files[split]) for split in _SPLITS}

    def _generate_examples(self, files: list[pathlib.Path]) -> Iterator[tuple[str, dict]]:
        side, characters = self.builder_config.side, self.builder_config.characters
        labels = {character: label for label, character in enumerate(characters)}
        seen: dict[str, str] = {}
        for path in files:
            for name, file in _gnt_files(path):
                # One writer's file; the official names are all different.
                if (other := seen.setdefault(pathlib.PurePath(name).name, name)) != name:
                    raise ValueError(f"{other} and {name} are the same file twice: remove one")
                for sample in gnt.samples(file, name):
                    if (label := labels.get(sample.character)) is not None:
                        image = character_sets.centred(sample.image, side)
                        yield f"{name}:{sample.offset}", {"image": image, "label": label}


def _files_by_split(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns the files that hold samples, by split, sorted.

    Raises:
      ValueError: a split has no file, or a path does not tell its split.
    """
    files: dict[str, list[pathlib.Path]] = {split: [] for split in _SPLITS}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".gnt" or (path.suffix.lower() == ".zip" and _holds_gnt(path)):
            where = str(path.relative_to(folder))
            splits = [split for split, pattern in _SPLITS.items() if pattern.search(where)]
            if len(splits) != 1:
                raise ValueError(
                    f"{path} does not tell whether it is of the training or of the test set: "
                    "rename it, or its folder, so that the path has either train (or trn) or test "
                    "(or tst) in it"
                )
            files[splits[0]].append(path)
    for split, found in files.items():
        if not found:
            raise ValueError(
                f"{folder} has no .gnt file, and no zip with one, of the {split} set: put "
                f"the official files there, with {split} in their path"
            )
    return files


def _holds_gnt(path: pathlib.Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".gnt") for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is cut off or damaged ({error}); get it anew") from error


def _gnt_files(path: pathlib.Path) -> Iterator[tuple[str, BinaryIO]]:
    """Yields the open `.gnt` files of a path, itself one or a zip of some, and their names."""
    if path.suffix.lower() == ".gnt":
        with path.open("rb") as file:
            yield str(path), file
        return
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(".gnt"):
                with archive.open(name) as file:
                    yield f"{path}/{name}", file
