"""What `experiments.benchmark` times, how, and what becomes of the numbers.

- `run`, `Options`: measures what is wanted, and writes everything.
- `all_cases`: the combinations of `SHAPES`, `RANKS`, `BATCHES` and `PASSES`, the defaults of each.
- `NETWORKS`: the networks whose whole training steps can be timed.
- `LIBRARIES`: other libraries whose layers can be timed beside ours.
- `calibrate`: measures this machine's constants for the planner.
- `run_planning`, `PlanningOptions`: how long plans of a compression take.

Every name is imported when it is first used: a peer is timed in a process, and perhaps an
environment, that has no JAX, and whose module lies in this folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.benchmarking.calibration import calibrate
    from experiments.benchmarking.cases import BATCHES, PASSES, RANKS, SHAPES, all_cases
    from experiments.benchmarking.networks import NETWORKS
    from experiments.benchmarking.peer_layers import LIBRARIES
    from experiments.benchmarking.planning import PlanningOptions, run_planning
    from experiments.benchmarking.runner import Options, run

__all__ = [
    "BATCHES",
    "LIBRARIES",
    "NETWORKS",
    "PASSES",
    "RANKS",
    "SHAPES",
    "Options",
    "PlanningOptions",
    "all_cases",
    "calibrate",
    "run",
    "run_planning",
]

_MODULES = {
    "calibrate": "calibration",
    "LIBRARIES": "peer_layers",
    "NETWORKS": "networks",
    "Options": "runner",
    "PlanningOptions": "planning",
    "run": "runner",
    "run_planning": "planning",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'cases')}"), name)
