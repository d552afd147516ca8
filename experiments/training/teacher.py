"""Distillation: a finished run, the teacher, says how probable every class of an image is."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from experiments.models import make_model
from experiments.runs.finished import load_named_run, read_named_run


class Teacher(NamedTuple):
    """A trained model that another one learns from.

    Attributes:
      model: the model.
      variables: its parameters and running statistics, on all devices.
      errors: loss, error and number of examples by split, from its result; None: not evaluated.
    """

    model: nn.Module
    variables: dict[str, Any]
    errors: dict[str, dict[str, Any] | None]


def distillation_loss(
    logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    temperature: float,
) -> Float[Array, " batch"]:
    """Returns `T^2 KL(teacher || student)` of every example, with softmaxes at temperature `T`.

    The factor keeps the size of the gradient about the same whatever the temperature (Hinton,
    Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015).
    """
    log_student = jax.nn.log_softmax(logits / temperature)
    log_teacher = jax.nn.log_softmax(teacher_logits / temperature)
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(log_student, log_teacher)


def check_teacher(config: ConfigDict, workdir: str | os.PathLike[str] | None = None) -> None:
    """Checks that the config's teacher, if it has one, can teach its model.

    Args:
      config: the whole config.
      workdir: the folder of the run that is to learn, where known.

    Raises:
      ValueError: naming the teacher, what is wrong with it, and a remedy.
    """
    if not (name := config.distillation.teacher):
        return
    taught, _ = read_named_run("distillation.teacher", name, workdir)
    for field in ("image_shape", "num_classes"):
        if (theirs := taught.model.get(field)) != (ours := config.model[field]):
            raise ValueError(
                f"config.distillation.teacher is {name!r}, whose model.{field} is {theirs}, but "
                f"config.model.{field} is {ours}; take a teacher of the same images and classes."
            )


def load_teacher(config: ConfigDict) -> Teacher | None:
    """Returns the config's teacher; None if it has none.

    Raises:
      ValueError: if it is no finished run, or its checkpoint is not of its model.
    """
    if not (name := config.distillation.teacher):
        return None
    run = load_named_run("distillation.teacher", name)
    variables = {"params": run.params, "batch_stats": run.batch_stats}
    errors = {split: run.result.get(split) for split in ("validation", "test")}
    return Teacher(make_model(run.config.model), variables, errors)
