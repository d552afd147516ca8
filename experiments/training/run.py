"""A run before it is trained: its checked config and folder, its images, and where it starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import NamedTuple

from flax import linen as nn
from ml_collections import ConfigDict

from experiments import data
from experiments.models import LayerCost
from experiments.runs import RunFolder
from experiments.training.check_config import check_data, checked_config
from experiments.training.start_from_dense import (
    Start,
    decompose,
    source_statistics,
)
from experiments.training.trained_model import TrainedModel
from kfc_jax import InputStatistics


class Images(NamedTuple):
    """The images of a run.

    Attributes:
      train: the images to train on.
      validation: the images cut from them; possibly none.
      test: the test split.
    """

    train: data.ImageSet
    validation: data.ImageSet
    test: data.ImageSet


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose config and folder were checked, with all that was read or made on the way.

    Attributes:
      config: the whole config.
      folder: where its files go.
      model: the model.
      costs: what the model's layers cost.
      source: the run that this one compresses, if any; None of a finished run.
      teacher: the run that this one learns from, if any; likewise.
      images: its images, where they were loaded already.
      statistics: what the source's layers see of them, where that is known already.
      files: what else its folder shall hold, texts by the files' names.
    """

    config: ConfigDict
    folder: RunFolder
    model: nn.Module
    costs: list[LayerCost]
    source: TrainedModel | None = None
    teacher: TrainedModel | None = None
    images: Images | None = None
    statistics: Mapping[str, InputStatistics] | None = None
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)


def prepare(config: ConfigDict, workdir: str | os.PathLike[str]) -> Run:
    """Checks the config and the folder, which it makes if need be, and reads source and teacher.

    Raises:
      ValueError: if the config, its teacher or its source is wrong, or `workdir` holds a run with
        another one.
      OSError: if the folder cannot be made.
    """
    model, costs, folder, source, teacher = checked_config(config, workdir)
    return open_run(Run(config, folder, model, costs, source, teacher))


def open_run(run: Run) -> Run:
    """Makes the run's folder, if need be, and reads the arrays of its source and teacher.

    Raises:
      ValueError: if the folder holds a run with another config, or an array cannot be read or is
        not finite.
      OSError: if the folder cannot be made.
    """
    run.folder.open()
    if run.folder.result():
        return dataclasses.replace(run, source=None, teacher=None)
    for trained in (run.teacher, run.source):
        if trained:
            _ = trained.variables  # which raises now rather than after the images are loaded
    return run


def load_images(config: ConfigDict) -> Images:
    """Loads the data set, and cuts the validation images from its training images.

    Colour images are turned grey where the config's `model.image_shape` has one channel.

    Raises:
      ValueError: if the config does not suit the data set, or its files are damaged.
      OSError: if it cannot be found.
      ImportError: if the package that carries it is not installed.
    """
    images = data.load(config.data.name, config.data.data_dir or None)
    if config.model.image_shape[-1] == 1:
        images = data.to_grey(images)
    check_data(config, images)
    train, validation = data.split_validation(images.train, config.data.num_validation, config.seed)
    return Images(train, validation, images.test)


def make_start(run: Run, images: Images) -> Start | None:
    """Decomposes the run's source, if it has one and no checkpoint yet.

    Args:
      run: the run.
      images: its images, of which the training images tell the errors of outputs.
    """
    if run.source is None or run.folder.has_checkpoint:
        return None
    statistics = run.statistics
    if statistics is None:
        batch_size = run.config.train.eval_batch_size
        statistics = source_statistics(run.source, images.train, batch_size)
    return decompose(
        run.source,
        run.costs,
        statistics,
        weighted=run.config.compression.weighted,
        reordered=run.config.compression.reordered,
    )
