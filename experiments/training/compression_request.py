"""From a finished run and a budget to the config, the plan and the start of a smaller run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from configs import mnist
from experiments.runs.finished import read_run
from experiments.system.atomic_files import write_text
from experiments.training import run as training
from experiments.training.check_config import check_config
from experiments.training.start_from_dense import (
    Start,
    dense_params,
    load_source,
    source_statistics,
)
from kfc_jax import Budget, CompressionPlan, InputStatistics, plan_compression
from kfc_jax.structures import TRAINABLE_MATRIX_RANK

_PLAN_FILE = "plan.json"


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of a compression.

    Attributes:
      source: folder of the finished run.
      budget: text form of a `kfc_jax.Budget`.
      method: `auto`, `kfc` or `low_rank`.
      weighted: whether the errors of outputs on the training images count, not those of kernels.
      reordered: whether hidden units are put in the order that suits the structures best.
      finetune_epochs: epochs of fine-tuning; None: a third of the config's `train.num_epochs`.
      learning_rate: of the fine-tuning; None: the config's.
      distill: weight of the source's classes in the loss of the fine-tuning; 0: no distillation.
    """

    source: str
    budget: str
    method: str = "auto"
    weighted: bool = True
    reordered: bool = True
    finetune_epochs: int | None = None
    learning_rate: float | None = None
    distill: float = 0.0


@dataclasses.dataclass(frozen=True)
class ReadyCompression:
    """A compression that is ready to start.

    Attributes:
      config: the config of the new run.
      plan: what becomes of the layers.
      images: the images of the run, if they were needed.
      statistics: what the source's layers see, if that was needed.
    """

    config: ConfigDict
    plan: CompressionPlan
    images: training.Images | None
    statistics: Mapping[str, InputStatistics] | None


def make_plan(
    request: Request,
    config: ConfigDict | None = None,
    workdir: str | os.PathLike[str] | None = None,
) -> ReadyCompression:
    """Plans a compression, or reads the plan of the run that the same request began in `workdir`.

    Args:
      request: what is wanted.
      config: the config to take all from that is not the plan's; None: the source's.
      workdir: folder of the new run, where known. Nothing is written.

    Raises:
      ValueError: if the source is no finished run, the config or the budget is wrong or cannot be
        met, or `workdir` holds a plan for another request.
      OSError, ImportError: if the images cannot be loaded.
    """
    budget = Budget.parse(request.budget)
    config = _make_config(request, config)
    check_config(config, workdir)
    images = statistics = None
    if (plan := _earlier_plan(request, budget, workdir)) is None:
        source = load_source(config)
        if request.weighted:
            images = training.load_images(config)
            batch_size = config.train.eval_batch_size
            statistics = source_statistics(source, images.train, batch_size)
        plan = plan_compression(
            dense_params(source),
            budget,
            method=request.method,
            statistics=statistics,
            min_matrix_rank=TRAINABLE_MATRIX_RANK if config.train.num_epochs else 0.0,
        )
    for layer in plan.layers:
        config.model[layer.path].update(layer.kernel.config_fields())
    return ReadyCompression(config, plan, images, statistics)


def start(planned: ReadyCompression, run: training.Run) -> tuple[training.Images, Start | None]:
    """Writes the plan into the run's folder; returns the images and the start for its training.

    Raises:
      ValueError, OSError, ImportError: as `training.load_images`.
    """
    write_text(run.folder.path / _PLAN_FILE, planned.plan.to_json() + "\n")
    images = planned.images or training.load_images(planned.config)
    return images, training.make_start(run, images, planned.statistics)


def _make_config(request: Request, config: ConfigDict | None) -> ConfigDict:
    """Returns the config of the new run, but for its structures."""
    if config is None:
        config, _ = read_run(request.source)
        defaults = mnist.get_config()
        for part in ("compression", "distillation"):  # not all in runs from before there were these
            config[part] = ConfigDict({**defaults[part], **config.get(part, {})})
        config.distillation.teacher = ""
    else:
        config = config.copy_and_resolve_references()
    config.compression.update(
        source=request.source, weighted=request.weighted, reordered=request.reordered
    )
    before, epochs = config.train.num_epochs, request.finetune_epochs
    epochs = max(1, round(before / 3)) if epochs is None else epochs
    config.train.num_epochs = epochs
    if before:  # the warm-up stays the same part of the training
        config.optimizer.warmup_epochs = config.optimizer.warmup_epochs * epochs / before
    if request.learning_rate is not None:
        config.optimizer.learning_rate = request.learning_rate
    if request.distill:
        config.distillation.update(teacher=request.source, weight=request.distill)
    return config


def _earlier_plan(
    request: Request, budget: Budget, workdir: str | os.PathLike[str] | None
) -> CompressionPlan | None:
    """Returns the plan of a run that began with this budget and method, if there is one.

    What else it depends on is in the run's config, which the run's folder compares. A plan without
    a config is of a run that was stopped before it began, by whatever request: it is made again.
    """
    folder = Path(workdir).expanduser() if workdir else None
    if not folder or not all((folder / name).exists() for name in (_PLAN_FILE, "config.json")):
        return None
    plan = CompressionPlan.from_json((folder / _PLAN_FILE).read_text())
    if (plan.budget, plan.method) != (str(budget), request.method):
        raise ValueError(
            f"{folder / _PLAN_FILE} is a plan for budget {plan.budget} and method {plan.method}; "
            "for another one take another --workdir."
        )
    return plan
