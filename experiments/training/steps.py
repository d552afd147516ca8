"""The state of a training run and the two compiled functions on it: a training step, an eval step.

Both are jitted over all devices: batches are split along them, the state is replicated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from experiments.data import random_shift
from experiments.models import frozen_layers
from experiments.system import shardings
from experiments.training.teacher import Teacher, distillation_loss

Batch = dict[str, Any]

METRICS = ("loss", "error", "gradient_norm")


@flax.struct.dataclass
class TrainState:
    """All that a training step changes.

    Attributes:
      step: steps done, an int32 scalar.
      params: the model's parameters.
      batch_stats: its running statistics; empty for models without batch norm.
      opt_state: the optimizer's state.
    """

    step: Array
    params: Any
    batch_stats: Any
    opt_state: Any


def create_state(
    model: nn.Module, optimizer: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
    """Returns the state before the first step, from the config's seed."""

    def initialize(key: Array) -> TrainState:
        variables = model.init(key, jnp.zeros((1, *config.model.image_shape)))
        params = variables["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(params),
        )

    replicated, _ = shardings()
    # Keys are arguments, not constants, so that runs that differ in the seed compile alike.
    return jax.jit(initialize, out_shardings=replicated)(_keys(config.seed)[0])


def compile_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    config: ConfigDict,
    state: TrainState,
    teacher: Teacher | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Float[Array, " metrics"]]]:
    """Compiles a training step for the shapes in `state`, whose buffers it reuses.

    The step takes a batch of `image` (uint8) and `label`, both split, and returns the new state and
    the batch's METRICS: mean loss, fraction of errors, norm of the gradient. Its randomness depends
    on the seed and on the number of the step alone.

    The loss is what is minimised: the cross-entropy with the labels, smoothed if the config says
    so; with a teacher, which sees the same shifted images, the weighted sum of it and of
    `distillation_loss`. Frozen layers have no gradient, and no part in its norm.
    """
    distillation, frozen = config.distillation, frozen_layers(model)

    def step(
        base_key: Array, teacher_variables: Any, state: TrainState, batch: Batch
    ) -> tuple[TrainState, Array]:
        shift_key, dropout_key = jax.random.split(jax.random.fold_in(base_key, state.step))
        images = _to_float(batch["image"])
        if config.augmentation.shift:
            images = random_shift(shift_key, images, config.augmentation.shift)

        if teacher:
            taught = teacher.model.apply(teacher_variables, images, train=False)

        def mean_loss(params: Any) -> tuple[Array, tuple[Array, Any]]:
            params = params | {name: jax.lax.stop_gradient(params[name]) for name in frozen}
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            losses = _cross_entropy(logits, batch["label"], config.train.label_smoothing)
            if teacher:
                soft_losses = distillation_loss(logits, taught, distillation.temperature)
                losses = (1 - distillation.weight) * losses + distillation.weight * soft_losses
            return losses.mean(), (logits, updates.get("batch_stats", {}))

        grad = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, (logits, batch_stats)), gradients = grad(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        error = jnp.mean(jnp.argmax(logits, -1) != batch["label"])
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return new_state, jnp.stack([loss, error, optax.tree.norm(gradients)])

    replicated, split = shardings()
    jitted = jax.jit(
        step,
        in_shardings=(replicated, replicated, replicated, split),
        out_shardings=(replicated, replicated),
        donate_argnums=2,
    )
    # Arguments, not constants, so that runs that differ in seed or teacher compile alike.
    base_key = jax.device_put(_keys(config.seed)[1], replicated)
    variables = jax.device_put(teacher.variables, replicated) if teacher else None
    shapes = _batch_shapes(config, config.train.batch_size)
    compiled = jitted.lower(base_key, variables, state, shapes).compile()
    return functools.partial(compiled, base_key, variables)


def compile_eval_step(
    model: nn.Module, config: ConfigDict, state: TrainState
) -> Callable[[TrainState, Batch], dict[str, Array]]:
    """Compiles an evaluation step for the shapes in `state`.

    The step takes a batch of `image`, `label` and `mask` (False for padding) and returns `sums`
    over it: loss, errors, examples; and for each example the `predicted` class and the
    `probability` of the true one.
    """

    def step(state: TrainState, batch: Batch) -> dict[str, Array]:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = model.apply(variables, _to_float(batch["image"]), train=False)
        losses = _cross_entropy(logits, batch["label"], label_smoothing=0.0)
        predicted, mask = jnp.argmax(logits, -1), batch["mask"]
        errors = predicted != batch["label"]
        sums = [jnp.sum(x, where=mask) for x in (losses, errors, jnp.ones_like(losses))]
        # The cross-entropy with a label is minus the logarithm of its probability.
        return {"sums": jnp.stack(sums), "predicted": predicted, "probability": jnp.exp(-losses)}

    replicated, split = shardings()
    jitted = jax.jit(step, in_shardings=(replicated, split), out_shardings=replicated)
    size = config.train.eval_batch_size
    shapes = _batch_shapes(config, size) | {"mask": jax.ShapeDtypeStruct((size,), jnp.bool_)}
    return jitted.lower(state, shapes).compile()


@jax.jit
def all_finite(tree: Any) -> Array:
    """Says whether every number in a tree of arrays is finite."""
    leaves = jax.tree.leaves(tree)
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _keys(seed: int) -> Array:
    """Returns the keys of the initial parameters and of the training steps."""
    return jax.random.split(jax.random.key(seed))


def _batch_shapes(config: ConfigDict, size: int) -> Batch:
    return {
        "image": jax.ShapeDtypeStruct((size, *config.model.image_shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
    }


def _to_float(images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Maps 0..255 to 0..1."""
    return images.astype(jnp.float32) / 255


def _cross_entropy(
    logits: Float[Array, "b classes"], labels: Int[Array, " b"], label_smoothing: float
) -> Float[Array, " b"]:
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)
