"""The optimizer of an experiment, from its config."""

from __future__ import annotations

from collections.abc import Collection

import jax
import optax
from ml_collections import ConfigDict

import kfc_jax
from kfc_jax.structures import kind_of_parameter

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


def learning_rate_schedule(
    config: ConfigDict, num_steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Returns the learning rate of every step: a linear warm-up, then a cosine or a constant.

    Args:
      config: the config's `optimizer` part.
      num_steps: steps of the whole run; the cosine ends at zero there.
      steps_per_epoch: steps of an epoch, the unit of the warm-up.
    """
    peak, warmup = config.learning_rate, round(config.warmup_epochs * steps_per_epoch)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(1, num_steps - warmup))
    else:
        after = optax.constant_schedule(peak)
    if not warmup:
        return after
    # From 1/warmup, as a step at a rate of zero would be wasted.
    before = optax.linear_schedule(peak / warmup, peak, max(1, warmup - 1))
    return optax.join_schedules([before, after], [warmup])


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, frozen: Collection[str] = ()
) -> optax.GradientTransformation:
    """Returns the optimizer that `config` (the config's `optimizer` part) describes.

    The weight decay is decoupled, and acts on kernels (a product of factors as one kernel) alone.

    Args:
      config: the config's `optimizer` part.
      schedule: the learning rate of every step.
      frozen: the names of the layers that stay as they are; nothing decays there either.
    """
    if config.name == "adamw":
        direction, update = optax.scale_by_adam(b1=config.b1, b2=config.b2), "sign"
    else:
        direction, update = optax.trace(decay=config.b1, nesterov=True), "gradient"
    scale_factors = kfc_jax.scale_factor_updates(config.factor_gain, update=update)
    optimizer = optax.chain(
        direction,
        scale_factors if config.scale_factors else optax.identity(),
        kfc_jax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
        optax.scale_by_learning_rate(schedule),
    )
    if not frozen:
        return optimizer
    return optax.multi_transform(
        {"trained": optimizer, "frozen": optax.set_to_zero()},
        lambda params: {name: "frozen" if name in frozen else "trained" for name in params},
    )


def _is_kernel(params: optax.Params) -> optax.Params:
    """Says of every parameter whether it belongs to a kernel, and not to a bias or a scale."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: kind_of_parameter(str(path[-1].key)) is not None, params
    )
