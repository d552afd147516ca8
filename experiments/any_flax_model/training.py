"""One training loop, and one evaluation, for every model: a function of its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import kfc_jax
from experiments.any_flax_model.apis import Function
from experiments.any_flax_model.data import Part, Task, as_inputs
from experiments.any_flax_model.recipes import Recipe

_EVALUATED = 250  # examples of a batch


@dataclasses.dataclass(frozen=True)
class Score:
    """How good a model is on a part of the data.

    Attributes:
      loss: the mean cross entropy, in nats.
      wrong: the share of wrong classes.
    """

    loss: float
    wrong: float


class Training:
    """The training of one model, compiled once for all its parameters and learning rates."""

    def __init__(
        self, model: Function, task: Task, recipe: Recipe, teacher: Function | None = None
    ):
        """Takes a model and what it learns; its parameters do not matter.

        The steps of factors are multiplied by the rule, and factors decay as their product; to
        dense layers this is AdamW. With a teacher it learns the teacher's probabilities, which tell
        more than the classes where there are few steps.
        """
        self._part = jax.tree.map(jnp.asarray, task.train)
        self._taught_by = None if teacher is None else teacher.params
        optimizer = optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.scale_by_adam(),
            kfc_jax.scale_factor_updates(recipe.factor_gain),
            kfc_jax.add_decayed_weights(recipe.weight_decay),
        )
        self._new_state = jax.jit(optimizer.init)

        @jax.jit
        def step(
            params: Any, state: Any, train: Any, key: Any, rate: Any, taught_by: Any
        ) -> tuple[Any, Any, Any]:
            inputs, targets = task.draw(key, train, recipe.batch)
            soft = None if teacher is None else jax.nn.softmax(teacher.apply(taught_by, inputs))

            def loss(params: Any) -> Any:
                logits = model.apply(params, inputs)
                if soft is not None:
                    return optax.softmax_cross_entropy(logits, soft).mean()
                return _cross_entropies(logits, targets).mean()

            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradients, state, params)
            updates = jax.tree.map(lambda update: -rate * update, updates)
            return optax.apply_updates(params, updates), state, value

        self._step = step

    def run(
        self,
        params: Any,
        steps: int,
        learning_rate: float,
        seed: int,
        told: Callable[[int], None] = lambda step: None,
    ) -> Any:
        """Returns the parameters after some batches of the training part.

        Args:
          params: where to start.
          steps: the number of batches.
          learning_rate: the highest one: it rises for a tenth of the steps, and falls to 0.
          seed: chooses the batches.
          told: is called with every step's number.
        """
        schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps)
        rates = np.asarray(jax.vmap(schedule)(jnp.arange(steps) + 0.5))
        state = self._new_state(params)
        key = jax.random.key(seed)
        for number, rate in enumerate(rates, 1):
            own = jax.random.fold_in(key, number)
            params, state, _ = self._step(params, state, self._part, own, rate, self._taught_by)
            told(number)
        return params


class Evaluation:
    """The evaluation of one model, compiled once for all its parameters."""

    def __init__(self, model: Function):
        """Takes a model; its parameters do not matter."""

        @jax.jit
        def sums(params: Any, inputs: Any, targets: Any, counts: Any) -> tuple[Any, Any]:
            logits = model.apply(params, as_inputs(inputs))
            wrong = logits.argmax(-1) != targets
            losses = _cross_entropies(logits, targets)
            weights = counts.reshape(-1, *(1,) * (targets.ndim - 1))
            return (losses * weights).sum(), (wrong * weights).sum()

        self._sums = sums

    def __call__(self, params: Any, part: Part) -> Score:
        """Returns how good these parameters are on a part of the data."""
        loss = wrong = 0.0
        for start in range(0, len(part[0]), _EVALUATED):
            rows = np.arange(start, start + _EVALUATED)
            counts = rows < len(part[0])  # the last batch is filled with others, not counted
            rows %= len(part[0])
            found = self._sums(params, part[0][rows], part[1][rows], counts)
            loss, wrong = loss + float(found[0]), wrong + float(found[1])
        return Score(loss / part[1].size, wrong / part[1].size)


def _cross_entropies(logits: Any, targets: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
