"""Distillation: a finished run, the teacher, says how probable every class of an image is."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from experiments.runs import FinishedRun


class Teacher(NamedTuple):
    """A trained model that another one learns from.

    Attributes:
      model: the model.
      variables: its parameters and running statistics, on all devices.
    """

    model: nn.Module
    variables: dict[str, Any]


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


def check_teacher(config: ConfigDict, taught: FinishedRun) -> None:
    """Checks that the config's teacher can teach its model.

    Args:
      config: the whole config.
      taught: the run that `config.distillation.teacher` names.

    Raises:
      ValueError: naming the teacher, what is wrong with it, and a remedy.
    """
    name = config.distillation.teacher
    for field in ("image_shape", "num_classes"):
        if (theirs := taught.config.model.get(field)) != (ours := config.model[field]):
            raise ValueError(
                f"config.distillation.teacher is {name!r}, whose model.{field} is {theirs}, but "
                f"config.model.{field} is {ours}; take a teacher of the same images and classes."
            )
