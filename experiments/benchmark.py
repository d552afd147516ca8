"""Times a KFC layer against a dense one and others: `python -m experiments.benchmark --out=DIR`.

Every case is a layer's shape, a rank, a batch and a pass: dense, one naive einsum, our layer by its
plan and by every strategy, low rank of the same size, and other libraries' layers where installed
(requirements-peers.txt). The folder gets `results.json` and `results.csv` as cases finish,
`summary.md` with the targets, and `speedup.png`. The same command goes on where it was stopped.

    --quick                       one layer, two batches: about 3 minutes on two cores
    --shapes=784x1024 --ranks=4 --batches=256 --passes=forward      some cases
    --networks                    also whole training steps of LeNet, of the SVHN network and of an
                                  MLP, and each convolution of these alone
    --peers= --peers_python=...   no peers; or an environment of their own
    --against=REVISION            also this library at an earlier revision
    --calibrate --costs=FILE      instead, measure this machine's constants for the planner
    --planning                    instead, time plans of a compression (`planning.json` and
                                  `planning.md`); --planning_cases=mlp --repeats=1: some of it

Functions are compiled ahead, then timed in turns. Every peer is in a process of its own, which
computes only in its turn, after a pause in which thread pools come to rest: OpenMP's threads spin
for a while after their work, and would take the cores from XLA's.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from absl import flags

from experiments.benchmarking import (
    BATCHES,
    LIBRARIES,
    NETWORKS,
    PASSES,
    RANKS,
    SHAPES,
    Options,
    PlanningOptions,
    all_cases,
    calibrate,
    run,
    run_planning,
)
from experiments.system import command_line

_OUT = flags.DEFINE_string("out", "runs/benchmark", "Folder of the results.")
_SHAPES = flags.DEFINE_list("shapes", list(SHAPES), "Layers, INPUTSxFEATURES.")
_RANKS = flags.DEFINE_list("ranks", list(map(str, RANKS)), "Ranks.")
_BATCHES = flags.DEFINE_list("batches", list(map(str, BATCHES)), "Batches.")
_PASSES = flags.DEFINE_list("passes", list(PASSES), "forward; training: forward and backward.")
_QUICK = flags.DEFINE_bool("quick", False, "A few cases; the flags above choose others.")
_NETWORKS = flags.DEFINE_bool(
    "networks", False, "Whole training steps too, and convolutions alone."
)
_PEERS = flags.DEFINE_list("peers", list(LIBRARIES), f"Of {', '.join(LIBRARIES)}.")
_PEERS_PYTHON = flags.DEFINE_string(
    "peers_python", sys.executable, "Interpreter of the environment that has the peers."
)
_AGAINST = flags.DEFINE_string(
    "against", "", "An earlier revision of this repository, timed in turn with this one."
)
_SECONDS = flags.DEFINE_float(
    "seconds", 1.5, "Time to measure a case; compilation and slow contenders come on top."
)
_CALIBRATE = flags.DEFINE_bool("calibrate", False, "Measure the planner's constants instead.")
_COSTS = flags.DEFINE_string("costs", "runs/costs.json", "With --calibrate: file to write.")
_PLANNING = flags.DEFINE_bool("planning", False, "Time plans of a compression instead.")
_PLANNING_CASES = flags.DEFINE_list(
    "planning_cases", list(PlanningOptions().cases), "With --planning: cases of made-up kernels."
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "With --planning: how often each plan is made.")

_QUICK_VALUES = {
    "shapes": ["4096x4096"],
    "batches": ["32", "256"],
    "seconds": 0.6,
}


def main(argv: list[str]) -> None:
    """Runs the benchmark, and turns what a user can cause into one line and an exit code."""
    command_line.refuse_arguments(argv)
    start = time.monotonic()
    with command_line.mistakes_in_a_line():
        if _CALIBRATE.value:
            calibrate(_path(_COSTS.value))
            return
        out = _path(_OUT.value)
        if _PLANNING.value:
            run_planning(_planning_options(), out)
            print((out / "planning.md").read_text())
            return
        run(_options(), out)
    print((out / "summary.md").read_text().split("## Cases")[0].split("## Targets")[1])
    print(f"{time.monotonic() - start:.0f} s; all numbers and pictures are in {out}")


def _options() -> Options:
    values = {
        flag.name: _QUICK_VALUES[flag.name]
        if _QUICK.value and flag.name in _QUICK_VALUES and not flags.FLAGS[flag.name].present
        else flag.value
        for flag in (_SHAPES, _RANKS, _BATCHES, _PASSES, _SECONDS)
    }
    to_measure = all_cases(
        values["shapes"],
        _whole_numbers("ranks", values["ranks"]),
        _whole_numbers("batches", values["batches"]),
        values["passes"],
    )
    if values["seconds"] <= 0:
        raise ValueError(f"--seconds is {values['seconds']}; it must be above 0.")
    if unknown := [name for name in _PEERS.value if name not in LIBRARIES]:
        raise ValueError(f"--peers holds {unknown[0]!r}; take of {', '.join(LIBRARIES)}.")
    return Options(
        cases=to_measure,
        networks=tuple(NETWORKS) if _NETWORKS.value else (),
        peers=_PEERS.value,
        peers_python=_PEERS_PYTHON.value,
        against=_AGAINST.value,
        seconds=values["seconds"],
        command=_command(),
    )


def _planning_options() -> PlanningOptions:
    return PlanningOptions(
        _PLANNING_CASES.value, _AGAINST.value, _REPEATS.value, command=_command()
    )


def _command() -> str:
    return shlex.join(["python", "-m", "experiments.benchmark", *sys.argv[1:]])


def _whole_numbers(flag: str, texts: list[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"--{flag} is {','.join(texts)}; it must be whole numbers.") from error


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


if __name__ == "__main__":
    command_line.run_app(main)
