"""Whole training steps of the experiments' networks, with the large layer dense or factored."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarking.compiled import CompiledCall
from experiments.benchmarking.convolutions import convolutions
from experiments.benchmarking.mlp import BATCH, CLASSES, HIDDEN, INPUTS, RANK, MLPStep
from experiments.benchmarking.results import CONVOLUTION, Entry, NetworkResult
from experiments.benchmarking.timing import in_turns
from experiments.config import load_config
from experiments.models import make_model
from experiments.system import shardings
from experiments.training import (
    compile_train_step,
    create_state,
    learning_rate_schedule,
    make_optimizer,
)

KINDS = ("dense", "kfc")
_MLP = f"MLP {INPUTS}-{HIDDEN}-{HIDDEN}-{CLASSES}"
NETWORKS = {"LeNet": "mnist.py", "SVHN small": "svhn.py:small", _MLP: None}
"""The networks that can be timed, and the files of their configs; the MLP has none."""

_CONFIGS = Path(__file__).parents[2] / "configs"


def measure_network(name: str, seconds: float) -> NetworkResult:
    """Times training steps of a network on random images, once for every kind of `fc1`.

    Its convolutions are timed as well, each alone, if it has any.

    Args:
      name: one of NETWORKS.
      seconds: how long to measure, about.
    """
    file = NETWORKS[name]
    steps: dict[str, MLPStep | TrainingStep]
    beside: dict[str, CompiledCall] = {}
    if file is None:
        steps, batch = {kind: MLPStep(kind) for kind in KINDS}, BATCH
        structure = f"rank {RANK} in both hidden layers"
    else:
        config = load_config(str(_CONFIGS / file))
        steps = {kind: TrainingStep(config, kind) for kind in KINDS}
        structure, batch = config.model.fc1.structure, config.train.batch_size
        images = np.zeros((batch, *config.model.image_shape), np.float32)
        alone = convolutions(make_model(config.model), images)
        beside = {f"{CONVOLUTION} {number}": call for number, call in enumerate(alone, 1)}
    timings = in_turns(steps | beside, seconds)
    entries = {
        kind: Entry(
            timing=timings[kind],
            compile_seconds=step.compile_seconds,
            temporary_bytes=step.temporary_bytes,
        )
        for kind, step in steps.items()
    } | {name: Entry(timing=timings[name]) for name in beside}
    return NetworkResult(name, structure, batch, entries)


class TrainingStep:
    """A network in training, always on the same batch; a call does a step.

    Args:
      config: the experiment's config.
      kind: the kind of the layer `fc1`.

    Attributes:
      compile_seconds: how long tracing and compiling took.
      temporary_bytes: memory of the compiled step besides state and batch; None if not known.
    """

    def __init__(self, config: ConfigDict, kind: str):
        config = ConfigDict(config.to_dict())
        config.model.fc1.kind = kind
        model = make_model(config.model)
        optimizer = make_optimizer(
            config.optimizer, learning_rate_schedule(config.optimizer, 10_000, 1_000)
        )
        self._state = create_state(model, optimizer, config)
        start = time.perf_counter()
        self._step = compile_train_step(model, optimizer, config, self._state)
        self.compile_seconds = time.perf_counter() - start
        memory = self._step.func.memory_analysis()
        self.temporary_bytes = None if memory is None else memory.temp_size_in_bytes
        self._batch = _random_batch(config)

    def __call__(self) -> None:
        """Does a step, and returns once it is done."""
        self._state, metrics = self._step(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))


def _random_batch(config: ConfigDict) -> dict[str, Any]:
    rng, size = np.random.default_rng(0), config.train.batch_size
    images = rng.integers(0, 256, (size, *config.model.image_shape), dtype=np.uint8)
    labels = rng.integers(0, config.model.num_classes, size).astype(np.int32)
    return jax.device_put({"image": images, "label": labels}, shardings()[1])
