"""From a finished run and a budget to the config, the plan and the start of a smaller run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ml_collections import ConfigDict

from experiments.config import default_config
from experiments.runs import RunFolder, read_run
from experiments.training.check_config import (
    build_model,
    check_fields,
    read_source_and_teacher,
)
from experiments.training.run import Run, load_images, open_run
from experiments.training.start_from_dense import dense_params, source_statistics
from experiments.training.trained_model import TrainedModel
from kfc_jax import Budget, CompressionPlan, plan_compression
from kfc_jax.structures import TRAINABLE_MATRIX_RANK

_PLAN_FILE = "plan.json"


@dataclasses.dataclass(frozen=True)
class CompressionRequest:
    """What is wanted of a compression.

    Attributes:
      source: folder of the finished run.
      budget: text form of a `kfc_jax.Budget`.
      method: `auto`, `kfc` or `low_rank`.
      weighted: whether the errors of outputs on the training images count, not those of kernels.
      reordered: whether hidden units are put in the order that suits the structures best.
      finetune_epochs: epochs of fine-tuning; None: a third of the config's `train.num_epochs`.
      learning_rate: the learning rate of the fine-tuning; None: the config's.
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
    """A compression that was planned; nothing of it is written yet.

    Attributes:
      plan: what becomes of the layers.
      config: the whole config of the run that does it.
      run: the run itself; None where no folder was named for it.
    """

    plan: CompressionPlan
    config: ConfigDict
    run: Run | None

    def prepare(self) -> Run:
        """Makes the folder of the run, as `prepare` does for a run without a plan.

        Raises:
          ValueError, OSError: as `open_run`, or if no folder was named.
        """
        if self.run is None:
            raise ValueError("--workdir is missing; name a folder for the new run.")
        return open_run(self.run)


def plan_run(
    request: CompressionRequest,
    config: ConfigDict | None = None,
    workdir: str | os.PathLike[str] | None = None,
) -> ReadyCompression:
    """Plans a compression, and makes the run that does it, but for its folder.

    The source is read, its model built, and the config checked once for both, and before the
    planning, which may take minutes.

    Args:
      request: what is wanted.
      config: the config of the new run, but for its layers; None: the source's.
      workdir: the folder of the new run, whose plan is taken if it has one; None: only plan.

    Raises:
      ValueError: if the source is no finished run, the config or the budget is wrong or cannot be
        met, or `workdir` holds a plan for another request.
      OSError, ImportError: if the images cannot be loaded.
    """
    budget = Budget.parse(request.budget)
    source = TrainedModel(read_run(request.source))
    config = _make_config(request, _own_config(source) if config is None else config)
    check_fields(config)
    source, teacher = read_source_and_teacher(config, workdir, known=source)
    images = statistics = None
    if (plan := _earlier_plan(request, budget, workdir)) is None:
        print(f"Planning (may take minutes): {request.budget} of {request.source}", flush=True)
        if request.weighted:
            images = load_images(config)
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
    if workdir is None:
        return ReadyCompression(plan, config, None)
    run = Run(
        config,
        RunFolder(workdir, config),
        *build_model(config),
        source=source,
        teacher=teacher,
        images=images,
        statistics=statistics,
        files={_PLAN_FILE: plan.to_json() + "\n"},
    )
    return ReadyCompression(plan, config, run)


def _own_config(source: TrainedModel) -> ConfigDict:
    """Returns the source's config, without a teacher."""
    config, defaults = source.run.config.copy_and_resolve_references(), default_config()
    for part in ("compression", "distillation"):  # not all in runs from before there were these
        config[part] = ConfigDict({**defaults[part], **config.get(part, {})})
    config.distillation.teacher = ""
    return config


def _make_config(request: CompressionRequest, config: ConfigDict) -> ConfigDict:
    """Returns the config of the new run, but for its structures.

    Args:
      request: what is wanted.
      config: the config to start from.
    """
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
    request: CompressionRequest, budget: Budget, workdir: str | os.PathLike[str] | None
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
