"""Measures programs on this machine, for the constants of the planner's cost model."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
from jaxtyping import Array

from experiments.benchmarking.cases import Case
from experiments.benchmarking.compiled import CompiledCall, compile_call
from experiments.benchmarking.fitting import Measurement, fit, quality
from experiments.benchmarking.timing import in_turns
from kfc_jax.product.cost_model import COSTS_VARIABLE, Costs, Work, costs_of, save_costs
from kfc_jax.product.native import host_of
from kfc_jax.product.planner import candidate_programs
from kfc_jax.product.program import Program
from kfc_jax.product.strategies import gradients, multiply

_LAYERS = (  # inputs, features, and pairs of rank and batch
    (512, 512, ((1, 1), (4, 32), (16, 128), (1, 512), (16, 512))),
    (784, 1024, ((4, 1), (1, 32), (16, 32), (4, 256))),
    (1024, 1024, ((1, 8), (1, 256), (4, 512), (16, 256))),
    (2048, 1024, ((16, 1), (4, 128), (1, 512))),
    (4608, 2048, ((1, 32), (4, 32), (16, 64), (4, 256))),
    (4096, 4096, ((1, 1), (4, 8), (16, 32), (1, 128), (4, 256))),
)
CASES = tuple(
    Case(inputs, features, rank, batch, pass_)
    for inputs, features, pairs in _LAYERS
    for rank, batch in pairs
    for pass_ in ("forward", "backward")
)
"""What is measured: programs of single passes, small enough for many of them."""

_OTHER_NAMES = {"gpu": "cuda"}  # names of platforms in the file of constants
_SECONDS = 0.04  # a program
_FAR_SLOWER = 8.0  # by the constants at hand; such programs tell nothing on the choices


def calibrate(path: Path, say: Callable[[str], None] = print) -> Costs:
    """Measures this machine, and writes the constants that fit it best to a file.

    Raises:
      OSError: if the file cannot be written.
    """
    platform = jax.default_backend()
    before = costs_of(platform)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass  # raises now rather than at the end, and leaves nothing if it is interrupted
    start, measurements = time.monotonic(), []
    for count, (case, measured) in enumerate(measure(CASES, before), 1):
        measurements += measured
        left = (time.monotonic() - start) * (len(CASES) / count - 1)
        fastest = min(m.seconds for m in measured)
        say(
            f"{count:3}/{len(CASES)} {left:5.0f} s left  {case.key:32} "
            f"{len(measured):2} programs, fastest {fastest * 1e6:.0f} us"
        )
    costs = fit(measurements, before.loops, known=before)
    save_costs({_OTHER_NAMES.get(platform, platform): costs}, path)
    say(json.dumps(dataclasses.asdict(costs), indent=2))
    for name, constants in (("before", before), ("fitted", costs)):
        of = quality(constants, measurements)
        say(
            f"{name}: relative error {of.median_error:.0%} (median), {of.error_90:.0%} (90th "
            f"percentile); the choice within 10% of the fastest in {of.good_choices:.0%} of "
            f"{len(CASES)} cases, on average {of.mean_loss:.3f} times its time, at worst "
            f"{of.worst_loss:.2f}"
        )
    say(f"To use them: export {COSTS_VARIABLE}={path}")
    return costs


def measure(cases: Sequence[Case], costs: Costs) -> Iterator[tuple[Case, list[Measurement]]]:
    """Yields every case with times of its programs, each pass on its own.

    Args:
      cases: the cases, whose `pass_` is `forward` or `backward` (without the forward pass).
      costs: the constants at hand, which say what programs are worth measuring.
    """
    for case in cases:
        programs = _worth_measuring(case, costs)
        arrays = case.arrays()
        calls = {str(index): _compile(case, p, arrays) for index, p in enumerate(programs)}
        timings = in_turns(calls, _SECONDS * len(calls))
        yield (
            case,
            [
                Measurement(
                    case.key,
                    functools.partial(_work, case, program, costs),
                    timings[str(index)].median,
                )
                for index, program in enumerate(programs)
            ],
        )


def _worth_measuring(case: Case, costs: Costs) -> list[Program]:
    programs = _programs(case, costs)
    fastest = min(costs.seconds(p.work) for p in programs)
    chunks: dict[bool, list[int]] = {True: [], False: []}
    for program in programs:
        if program.strategy == "chunked":
            chunks[program.left_first].append(program.chunk)
    return [
        p
        for p in programs
        if costs.seconds(p.work) <= _FAR_SLOWER * fastest
        and (p.strategy != "chunked" or p.chunk in _ends(chunks[p.left_first]))
    ]


def _ends(chunks: Sequence[int]) -> tuple[int, int]:
    """Returns the smallest and the largest: those between differ little from them."""
    return min(chunks), max(chunks)


@functools.lru_cache(maxsize=1024)
def _programs(case: Case, costs: Costs) -> tuple[Program, ...]:
    backward = case.pass_ == "backward"
    host = host_of(jax.default_backend())
    return tuple(
        candidate_programs(case.structure, case.batch, costs, backward=backward, host=host)
    )


def _work(case: Case, program: Program, costs: Costs, cache: float) -> Work:
    """Returns a program's work on a machine with another cache."""
    # What XLA would do in place of a native kernel may be another program there.
    wanted = dataclasses.replace(program, otherwise=None)
    programs = _programs(case, dataclasses.replace(costs, cache=cache))
    return next(p.work for p in programs if dataclasses.replace(p, otherwise=None) == wanted)


def _compile(case: Case, program: Program, arrays: dict[str, Array]) -> CompiledCall:
    factors = ((arrays["a"], arrays["b"]),)
    bound = (program, case.structure, None)
    if case.pass_ == "backward":
        return compile_call(
            functools.partial(gradients, *bound), (arrays["x"], factors, arrays["g"])
        )
    return compile_call(functools.partial(multiply, *bound), (arrays["x"], factors))
