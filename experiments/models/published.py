"""A published model: the file that `experiments.publish` writes, and the model in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.config import restored
from experiments.models.networks import make_model
from kfc_jax.compress import Checkpoint

MODEL_FILE = "model.safetensors"


def load_published(folder: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Returns a published model and its variables, for `model.apply(variables, images)`.

    Args:
      folder: what `experiments.publish` wrote. Its `README.md` says which images the model takes.

    Raises:
      ValueError: naming the file, if it is damaged or not of a published model.
      OSError: if it is not there.
    """
    path = Path(folder).expanduser() / MODEL_FILE
    checkpoint = Checkpoint.load(path)
    try:
        model = make_model(restored({"model": checkpoint.metadata["model"]}).model)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} does not say which model it is of ({type(error).__name__}: {error}): take a "
            "file that experiments.publish wrote, and the experiments of its git revision."
        ) from error
    return model, jax.tree.map(jnp.asarray, dict(checkpoint.variables))
