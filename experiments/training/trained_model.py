"""The model of a finished run, on which another run builds: its teacher, or its source."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from experiments.models import LayerCost, costs_of_layers, make_model
from experiments.runs import FinishedRun
from experiments.system import shardings


class TrainedModel:
    """A finished run with its model, built, and its arrays read, once and when first needed.

    Attributes:
      run: the finished run.
    """

    def __init__(self, run: FinishedRun):
        self.run = run

    @functools.cached_property
    def model(self) -> nn.Module:
        """The model."""
        return make_model(self.run.config.model)

    @functools.cached_property
    def costs(self) -> list[LayerCost]:
        """What its layers cost."""
        return costs_of_layers(self.model, self.run.config.model.image_shape)

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """Its final `params` and `batch_stats`, on all devices; the latter empty without norms.

        Raises:
          ValueError: if the newest checkpoint is missing, damaged or of another model, or one of
            its parameters is not finite.
        """
        images = jnp.zeros((1, *self.run.config.model.image_shape))
        variables = jax.eval_shape(lambda: self.model.init(jax.random.key(0), images))
        replicated, _ = shardings()
        like = {
            part: jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
                variables.get(part, {}),
            )
            for part in ("params", "batch_stats")
        }
        found = self.run.read_variables(like)
        for path, leaf in flatten_dict(found["params"], sep="/").items():
            if not np.isfinite(leaf).all():
                raise ValueError(
                    f"{self.run.called}{self.run.folder} is a run whose {path} has numbers that "
                    "are NaN or infinite; take a run that did not diverge."
                )
        return found

    @property
    def errors(self) -> dict[str, Any]:
        """What the run reached, by split; None where it was not evaluated."""
        return {split: self.run.result.get(split) for split in ("validation", "test")}
