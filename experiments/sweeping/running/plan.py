"""The plan of a sweep: the trials of a sweep config, checked against its base config."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.config import load_config, load_module
from experiments.sweeping.overrides import Overrides
from experiments.sweeping.trials import Trial, name_trials, select
from experiments.training import checked_config


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trials of a sweep.

    Attributes:
      config: the sweep config's file, with its variant: `configs/sweeps/mnist_ranks.py:quick`.
      base: the base config's file.
      trials: the trials, in the order in which they start.
    """

    config: str
    base: str
    trials: list[Trial]

    def matching(self, pattern: str) -> list[Trial]:
        """Returns the trials whose name contains `pattern`, as `trials.select` does.

        Raises:
          ValueError: if there is none.
        """
        return select(self.trials, pattern)


def load_plan(config: str) -> Plan:
    """Reads a sweep config, `FILE` or `FILE:VARIANT`.

    The file defines `BASE`, the path of the base config, and `sweep()`, which returns or yields the
    trials' overrides. Or `BASE` is a dict of such paths by variant, with `""` for none, and
    `sweep(variant)` takes the variant.

    Raises:
      ValueError: if the file or what it defines is missing or wrong.
    """
    path, _, variant = config.partition(":")
    module = load_module(path, "sweep config")
    base, sweep = getattr(module, "BASE", None), getattr(module, "sweep", None)
    if not isinstance(base, str | Mapping) or not callable(sweep):
        raise ValueError(
            f"{path} is not a sweep config: it must define BASE, the path of its base config, and "
            "sweep(), which yields overrides."
        )
    bases = base if isinstance(base, Mapping) else {"": base}
    if variant not in bases:
        known = ", ".join(f"{path}:{name}" if name else path for name in bases)
        raise ValueError(f"{path} has no variant {variant!r}; take one of {known}.")
    overrides = list(sweep(variant) if inspect.signature(sweep).parameters else sweep())
    for one in overrides:
        if not isinstance(one, dict):
            raise ValueError(f"sweep() of {path} yields {one!r}; it must yield dicts of overrides.")
    if not overrides:
        raise ValueError(f"sweep() of {config} yields no trial.")
    return Plan(config, bases[variant], name_trials(overrides))


def trial_configs(
    plan: Plan, trials: Sequence[Trial] | None = None, workdir: Path | None = None
) -> dict[str, ConfigDict]:
    """Returns every trial's whole config, by the trial's name, checked as training will.

    Args:
      plan: the plan of the sweep.
      trials: the trials of the plan that count; None: all.
      workdir: the sweep's folder, where known: teachers and sources of trials that are finished
        there may be gone.

    Raises:
      ValueError: naming the first trial that could not run, and why.
    """
    configs: dict[str, ConfigDict] = {}
    for trial in plan.trials if trials is None else trials:
        config = load_config(plan.base)
        try:
            _apply(config, trial.overrides)
            checked_config(config, workdir and workdir / trial.name)
        except ValueError as error:
            raise ValueError(f"{plan.config}, trial {trial.name}: {error}") from error
        configs[trial.name] = config
    return configs


def _apply(config: ConfigDict, overrides: Overrides) -> None:
    for field, value in overrides.items():
        *parents, last = field.split(".")
        subtree: Any = config
        for parent in parents:
            is_there = isinstance(subtree, ConfigDict) and parent in subtree
            subtree = subtree[parent] if is_there else None
        if not isinstance(subtree, ConfigDict) or last not in subtree:
            raise ValueError(f"the base config has no field {field!r}.")
        try:
            subtree[last] = value
        except TypeError as error:
            raise ValueError(
                f"{field} is {value!r}, but in the base config it is {subtree[last]!r}."
            ) from error
