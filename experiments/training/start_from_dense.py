"""Starting a run from a finished one: its parameters, decomposed to the structures of the config.

`config.compression.source` names the finished run. Its model is the config's, but for what its
fully connected layers are made of.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from experiments.data import ImageSet
from experiments.models import NO_LAYER, LayerCost, make_model
from experiments.runs import FinishedRun
from experiments.system import shardings
from experiments.training.trained_model import TrainedModel
from kfc_jax import (
    InputStatistics,
    convert,
    find_layers,
    input_statistics,
    reorder_units,
    to_dense,
)
from kfc_jax.structures import DenseStructure, layer_kinds

_FEW_IMAGES = 8  # on which a model with reordered units is compared with what it was
_MOST_IMAGES = 20_000  # that tell what layers see: many times the inputs of a layer


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a run that compresses another one starts.

    Attributes:
      params: the model's parameters.
      batch_stats: the source's running statistics.
      layers: structure, relative error and output error of every layer that was decomposed, by its
        name.
      seconds: what the decomposition took.
    """

    params: Any
    batch_stats: Any
    layers: dict[str, dict[str, Any]]
    seconds: float


def check_source(config: ConfigDict, run: FinishedRun) -> None:
    """Checks that the config's run can start from its source.

    Args:
      config: the whole config.
      run: the run that `config.compression.source` names.

    Raises:
      ValueError: naming the source, what is wrong with it, and a remedy.
    """
    name, source = config.compression.source, run.config
    theirs, ours = (dict(_common_fields(c.model)) for c in (source, config))
    for field in sorted(theirs.keys() | ours.keys()):
        if theirs.get(field) != ours.get(field):
            raise ValueError(
                f"config.compression.source is {name!r}, a run of another model: its model.{field} "
                f"is {theirs.get(field)!r}, and config.model.{field} is {ours.get(field)!r}. Take "
                "the source's own config, or another source."
            )
    if config.data.num_validation and source.data.name == config.data.name:
        for field, other, value in (
            ("data.num_validation", source.data.num_validation, config.data.num_validation),
            ("seed", source.seed, config.seed),
        ):
            if other != value:
                raise ValueError(
                    f"config.{field} is {value}, but {other} in config.compression.source, "
                    f"{name!r}, which was therefore trained on some of this run's validation "
                    f"images. Set config.{field}={other}, or config.data.num_validation=0."
                )


def decompose(
    source: TrainedModel,
    costs: list[LayerCost],
    statistics: Mapping[str, InputStatistics],
    *,
    weighted: bool,
    reordered: bool,
) -> Start:
    """Decomposes the source's layers to the structures that `costs` tell of a run's model.

    Layers of the same structure in both keep their arrays. The rest of the source is made dense
    first, if it is not.

    Args:
      source: the run to start from.
      costs: the layers of the model to start with.
      statistics: what the source's layers see.
      weighted: whether the errors of outputs are minimised, not those of kernels.
      reordered: whether hidden units are put in the order with the least error first.
    """
    started = time.perf_counter()
    before, after = structures_of(source.costs), structures_of(costs)
    changed = {name: text for name, text in after.items() if text != before[name]}
    dense = to_dense(source.variables["params"], {name: before[name] for name in changed})
    variables = {**source.variables, "params": dense}
    if reordered:
        dense_model, images = _dense_model(source, changed)
        found = find_layers(dense_model, variables, images, train=False)
        reordered_layers, moved = reorder_units(
            found, changed, statistics=statistics, weighted=weighted
        )
        assert moved is not None
        variables, statistics = reordered_layers.variables, moved
        dense = variables["params"]
    params, reports = convert(dense, changed, statistics=statistics if weighted else None)
    after_it = to_dense(params, changed)
    layers = {
        name: {
            "structure": after[name],
            "relative_error": report.relative_error,
            "output_error": _output_error(statistics[name], dense[name], after_it[name]),
        }
        for name, report in reports.items()
    }
    replicated, _ = shardings()
    params, batch_stats = jax.device_put((params, variables["batch_stats"]), replicated)
    return Start(params, batch_stats, layers, time.perf_counter() - started)


def _dense_model(source: TrainedModel, names: Collection[str]) -> tuple[nn.Module, jax.Array]:
    """Returns the source's model, in which the named layers are dense, and images for it."""
    config = copy.deepcopy(source.run.config.model)
    others = [name for name in names if config[name].kind != DenseStructure.kind]
    for name in others:
        config[name].kind = DenseStructure.kind
    images = jax.random.uniform(jax.random.key(0), (_FEW_IMAGES, *config.image_shape))
    return make_model(config) if others else source.model, images


def _output_error(
    seen: InputStatistics | None, before: Mapping[str, Any], after: Mapping[str, Any]
) -> float | None:
    """Returns the error of a layer's output; None if it saw nothing but zeros."""
    if seen is None:
        return None
    kernels = before[DenseStructure.parameter], after[DenseStructure.parameter]
    return seen.output_error(*kernels, has_bias="bias" in before)


def dense_params(source: TrainedModel) -> Any:
    """Returns the source's parameters with dense layers."""
    return to_dense(source.variables["params"], structures_of(source.costs))


def source_statistics(
    source: TrainedModel, images: ImageSet, batch_size: int
) -> dict[str, InputStatistics]:
    """Returns what the fully connected layers of the source see of `images`, not augmented.

    Of more than 20,000 images that many are taken, evenly from the first to the last.
    """
    batches = _batches(images, batch_size)
    return input_statistics(source.model, source.variables, batches, train=False)


def structures_of(costs: list[LayerCost]) -> dict[str, str]:
    """Returns the structures of the fully connected layers, as `kfc_jax.convert` takes them."""
    return {
        cost.name: cost.kind if cost.kind == DenseStructure.kind else cost.structure
        for cost in costs
        if cost.kind in layer_kinds()
    }


def _batches(images: ImageSet, size: int) -> Iterator[Float[Array, "batch h w c"]]:
    chosen = np.linspace(0, len(images) - 1, min(len(images), _MOST_IMAGES)).round().astype(int)
    for start in range(0, len(chosen), size):
        yield images.images[chosen[start : start + size]].astype(np.float32) / 255


def _common_fields(model: ConfigDict) -> Iterator[tuple[str, Any]]:
    """Yields the fields of a model's config, of a layer no more than whether it is there."""
    for name, value in model.items():
        is_layer = isinstance(value, ConfigDict) and "kind" in value
        if is_layer:
            value = "left out" if value.kind == NO_LAYER else "a fully connected layer"
        yield name, value
