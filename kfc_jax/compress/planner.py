"""Whole models: plan what becomes of every dense layer, convert the parameters, and back.

Works on the layers of any Flax model that `find_layers` finds, and on bare parameters, in which a
dense layer is one that holds a matrix ``kernel``, and perhaps a ``bias``, and nothing else.

The error that is kept small is the root of the sum of the layers' squared relative errors: to
first order, what the layers do to the signal adds up. With `InputStatistics`, a layer's error is
that of its output, otherwise that of its kernel.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import itertools
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kfc_jax.compress.allocation import least_cost, least_error
from kfc_jax.compress.budget import ERROR, FLOPS, Budget
from kfc_jax.compress.known_errors import Known, fingerprint, known_errors
from kfc_jax.compress.layer_options import LayerOptions
from kfc_jax.compress.layer_statistics import (
    Statistics,
    list_layers,
    sees_nothing,
    weights_of,
)
from kfc_jax.compress.model_layers import Layer, ModelLayers, dense_layers
from kfc_jax.compress.options import LEFT, Choice, KernelOptions
from kfc_jax.compress.plan import CompressionPlan
from kfc_jax.compress.progress import Progress
from kfc_jax.compress.rules import Rules, resolve_rules
from kfc_jax.compress.shapes_at_ranks import methods
from kfc_jax.compress.tasks import Task, answers
from kfc_jax.structures import (
    DenseStructure,
    KroneckerStructure,
    LayerStructure,
    LowRankStructure,
)

_MAX_ROUNDS = 12
_NEGLIGIBLE = 3e-3  # of the total error or cost: for less it is not worth measuring more
_LIKELY_SHARE = 0.2  # of a kernel's cost that is left, where the budget does not tell
_MEMORY = 2**28  # bytes of what is kept, so that it need not be found again
_ESTIMATING = 0.6  # of the time, where there is a limit

_log = logging.getLogger(__name__)


def plan_compression(
    params: Mapping[str, Any] | ModelLayers,
    budget: Budget | int | float,
    *,
    method: str = "auto",
    statistics: Statistics | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    structures: Rules | None = None,
    min_matrix_rank: float = 0.0,
    max_shapes: int = 32,
    seconds: float | None = None,
    progress: Callable[[str], None] | None = None,
    reuse: Known | str | os.PathLike[str] | None = None,
) -> CompressionPlan:
    """Chooses a structure for every dense layer, so that the total error is as small as it can be.

    The options of a layer are all shapes of two factors at every rank (positions (x) channels of a
    flattened feature map are among them), low rank, the ranks of any other kind that has them, and
    to leave the layer. None has more parameters or FLOPs than the dense layer. The budget is shared
    out exactly: for the errors that were found, no other choice within the budget is better.

    Kernels of up to 65,536 entries are tried in every shape, larger ones in those that a search
    finds, with the errors estimated; what is chosen is measured. Without statistics, the errors of
    the plan are those of the optimal decompositions; for kernels above four million entries they
    are close upper bounds until the choice is made. With statistics, shapes are compared by a few
    sweeps; chosen ones are decomposed in full, those of more than 65,536 entries by a few sweeps
    again. Ranks at which a sweep would take many seconds are left out.

    Example::

      >>> import jax.numpy as jnp
      >>> from kfc_jax import plan_compression
      >>> kernel = jnp.kron(jnp.eye(6, 8), jnp.arange(64.0).reshape(8, 8))
      >>> plan = plan_compression({"fc": {"kernel": kernel, "bias": jnp.zeros(64)}}, 0.06)
      >>> plan.structures, plan.parameters, round(plan.error, 3)
      ({'fc': '1:6x8*8x8'}, 176, 0.0)

    Args:
      params: the layers of a model, as `find_layers` finds them, or its parameters, of any floating
        type: then layers are found by their names alone.
      budget: a `Budget`; a float is a fraction of the model's parameters, an integer their number.
        For an error bound, the fewest parameters are found.
      method: ``kfc``, ``low_rank`` or ``auto``, which takes the better one for each layer.
      statistics: what the layers see, by their paths, as `input_statistics` finds it, or samples of
        it ``(..., inputs)``.
      include: patterns (``*/mlp/*``) of the paths of layers that may be replaced.
      exclude: patterns of those that may not, out of the included ones.
      structures: structures that are fixed by hand, by paths or patterns (``**/mlp/**``), of which
        the first that fits counts: ``dense``, ``rank 3``, the text form of a
        `KroneckerStructure`, also of several terms, or a `Rank`.
      min_matrix_rank: the fraction of its full matrix rank that a new kernel must be able to have.
        Some shapes, such as ``400x1*2x500``, and low rank make a bottleneck of the layer. Often
        their error is the smallest, but after training, shapes without a bottleneck are better; so
        take ``kfc_jax.structures.TRAINABLE_MATRIX_RANK`` before training. With method ``low_rank``
        it is not considered.
      max_shapes: the number of shapes of two factors to try of a kernel of more than 65,536
        entries; up to four million entries, more are tried where it takes little time. Half of the
        tries are spread over all shapes, the others follow the best; above four million entries,
        half go to the shapes with the smallest factors. With `statistics`, it is also the largest
        number of shapes that are compared by sweeps.
      seconds: about how long it may take. When the time is over, no further shapes are tried and
        the errors of the chosen ones may be estimates. The parts that any plan needs are done all
        the same, and they may take longer. Default: no limit. With one, two plans may differ.
      progress: what is called with a line of text, every five seconds, about how far it is and the
        time that is left. Default: nothing is told in the first five seconds, then the lines are
        printed to the standard error stream.
      reuse: a dictionary, or the path of a file (``errors.npz``), that keeps the errors that are
        found, for plans of the same layers with another budget or other rules. A plan takes from it
        what it needs, and is the same as without. What was found of other kernels, or with other
        statistics, is never taken. Of kernels above four million entries the leading singular
        values are found to as many as the budget needs, so that estimates may differ by 0.1%.

    Raises:
      ValueError: if the budget cannot be met (the message names the smallest one that can), a
        kernel has numbers that are not finite, or an argument does not suit the parameters.
    """
    if not isinstance(budget, Budget):
        budget = Budget.parameters(budget)
    if method not in methods():
        raise ValueError(f"method is {method!r}; take one of {', '.join(methods())}.")
    if not 0 <= min_matrix_rank <= 1:
        raise ValueError(f"min_matrix_rank is {min_matrix_rank}; it must be a fraction, 0 to 1.")
    if max_shapes < 1:
        raise ValueError(f"max_shapes is {max_shapes}; it must be at least 1.")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds is {seconds}; it must be a positive number of seconds, or None.")
    layers, dense = dense_layers(params), DenseStructure.kind
    for layer in layers.values():
        layer.check_numbers()
    fixed = resolve_rules(structures or {}, layers)
    for patterns in (include, exclude):
        for pattern in patterns:
            if pattern != "*" and not fnmatch.filter(layers, pattern):
                raise ValueError(f"No dense layer matches {pattern!r}; {list_layers(layers)}")
    for path in layers:
        is_open = any(fnmatch.fnmatchcase(path, pattern) for pattern in include)
        if not is_open or any(fnmatch.fnmatchcase(path, pattern) for pattern in exclude):
            fixed.setdefault(path, dense)

    for path, layer in layers.items():
        if fixed.get(path) != dense and sees_nothing(layer, statistics):
            _log.warning("Layer %s has seen nothing but zeros: it is left dense.", path)
            fixed[path] = dense
    common: dict[str, Any] = {
        "cost": _flops if budget.kind == FLOPS else _parameters,
        "method": method,
        "min_matrix_rank": 0.0 if method == LowRankStructure.kind else min_matrix_rank,
        "max_shapes": max_shapes,
    }
    with known_errors(reuse) as known:
        options = []
        for path, layer in layers.items():
            seen = None if fixed.get(path) == dense else statistics
            names = _names(layer, seen, is_lasting=reuse is not None)
            kernels = zip(layer.each_matrix(), weights_of(layer, seen), names, strict=True)
            of_layer: dict[str, Any] = {"structure": fixed.get(path), "known": known, **common}
            options.append(
                LayerOptions(layer, [KernelOptions(path, *each, **of_layer) for each in kernels])
            )
        return _plan(options, layers, budget, method, Progress(seconds, progress))


def _plan(
    options: Sequence[LayerOptions],
    layers: ModelLayers,
    budget: Budget,
    method: str,
    clock: Progress,
) -> CompressionPlan:
    """Chooses of the options."""
    other = sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(layers.params)) - sum(
        math.prod(layer.kernel.shape) for layer in layers.values()
    )
    limit = None if budget.kind == ERROR else _kernel_limit(budget, options, layers, other)
    memory = 0
    for option in sorted(options, key=lambda option: option.kept_bytes):
        memory += option.kept_bytes
        option.keep_found(memory <= _MEMORY)
    _estimate(options, limit, clock)
    found = []
    for chosen in _choose(options, budget, limit, clock):
        clock.begin("the choice measured", sum(option.size for option in options))
        of_each = _asked(
            [option.planning(choice) for option, choice in zip(options, chosen, strict=True)], clock
        )
        plans = (option.plan(kernels) for option, kernels in zip(options, of_each, strict=True))
        found.append(CompressionPlan(tuple(plans), other, str(budget), method))
    return min(found, key=lambda plan: plan.error)


def _names(layer: Layer, statistics: Statistics | None, *, is_lasting: bool) -> list[str]:
    """Returns names for a layer's kernels; lasting ones are the same in another plan."""
    matrices = layer.each_matrix()
    if not is_lasting:
        return [f"{layer.path} {index}" for index in range(len(matrices))]
    given = None if statistics is None or layer.is_table else statistics[layer.path]
    of_each = given if isinstance(given, list) else [given] * len(matrices)
    has_bias = layer.bias is not None
    return [fingerprint(*each, has_bias) for each in zip(matrices, of_each, strict=True)]


def _asked(tasks: Sequence[list[Task]], clock: Progress) -> list[list[Any]]:
    """Returns the answers to what is asked of the kernels of every layer."""
    found = iter(answers([task for of_layer in tasks for task in of_layer], clock))
    return [list(itertools.islice(found, len(of_layer))) for of_layer in tasks]


def _estimate(options: Sequence[LayerOptions], limit: int | None, clock: Progress) -> None:
    """Estimates the errors of all layers' options."""
    left = sum(option.cost_of(LEFT) for option in options)
    kept = _LIKELY_SHARE if limit is None else min(1.0, limit / max(1, left))
    sizes = sum(option.size for option in options)
    clock.begin(f"the errors of the shapes of {len(options)} kernels", sizes)
    least, done, tasks = sum(option.min_cost for option in options), 0, []
    for option in options:
        done += option.size
        most = None if limit is None else limit - least + option.min_cost
        is_over = functools.partial(clock.is_over, _ESTIMATING * done / sizes)
        tasks.append(option.estimating(most, math.ceil(kept * option.cost_of(LEFT)), is_over))
    _asked(tasks, clock)


def _choose(
    options: Sequence[LayerOptions], budget: Budget, limit: int | None, clock: Progress
) -> list[list[Choice]]:
    """Returns choices of which the one with the least error is to be taken.

    They are allocated by what is known, the truth about what was chosen is found, and so on. First
    among Kronecker sums alone, where there are other kinds: their errors are estimates before they
    are measured, and those of low rank the truth, which would win where it is no better.
    """
    if not options:
        return [[]]
    allocate = functools.partial(_allocate, options, budget, limit)
    found = []
    if limit is not None and any({KroneckerStructure.kind} < o.kinds for o in options):
        sums_alone = functools.partial(allocate, kind=KroneckerStructure.kind)
        with contextlib.suppress(ValueError):  # they may not be small enough
            _compare(options, sums_alone()[0], clock)
            found.append(_measured_choice(options, sums_alone, limit, clock))
    if not found:
        _compare(options, allocate()[0], clock)
    return [*found, _measured_choice(options, allocate, limit, clock)]


def _compare(options: Sequence[LayerOptions], chosen: Sequence[Choice], clock: Progress) -> None:
    """Corrects the estimates of promising shapes at what the chosen ones cost."""
    clock.begin(f"the shapes of {len(options)} kernels compared", sum(o.size for o in options))
    costs = [option.cost_of(choice) for option, choice in zip(options, chosen, strict=True)]
    _asked(
        [o.comparing(cost, clock.is_over) for o, cost in zip(options, costs, strict=True)], clock
    )


def _measured_choice(
    options: Sequence[LayerOptions],
    allocate: Callable[..., tuple[list[Choice], float]],
    limit: int | None,
    clock: Progress,
) -> list[Choice]:
    """Returns the choice on which what is allocated and what is measured agree."""
    sizes = sum(option.size for option in options)
    nearly = limit is not None  # a bound of the error is kept for sure
    for count in range(_MAX_ROUNDS):
        chosen, hoped = allocate()
        if clock.is_over():
            return chosen
        clock.begin(f"choice {count + 1} of at most {_MAX_ROUNDS} measured", sizes)
        news = _asked(
            [o.measuring(c, nearly=nearly) for o, c in zip(options, chosen, strict=True)], clock
        )
        if not any(map(any, news)):
            return chosen
        try:
            chosen, reached = allocate(measured=True)
        except ValueError:  # what is measured is not yet within the budget
            continue
        if reached <= (1 + _NEGLIGIBLE) * hoped:
            return chosen
    return allocate(measured=True)[0]


def _allocate(
    options: Sequence[LayerOptions],
    budget: Budget,
    limit: int | None,
    *,
    measured: bool = False,
    kind: str | None = None,
) -> tuple[list[Choice], float]:
    """Returns the choices, and what they should keep small: their error, or their cost."""
    nearly = limit is not None
    fronts, choices = zip(
        *(option.front(measured=measured, nearly=nearly, kind=kind) for option in options),
        strict=True,
    )
    indices = least_cost(fronts, budget.value) if limit is None else least_error(fronts, limit)
    chosen = []
    total = 0.0
    for option, front, of_layer, i in zip(options, fronts, choices, indices, strict=True):
        chosen.append((int(of_layer[i, 0]), int(of_layer[i, 1])))
        if limit is None:
            total += option.cost_of(chosen[-1])
        else:
            total += float(front.squares[front.choices[:, 0] == i][0])
    return chosen, total if limit is None else math.sqrt(total)


def _kernel_limit(
    budget: Budget,
    options: Sequence[LayerOptions],
    layers: ModelLayers,
    other: int,
) -> int:
    """Returns what the budget leaves for the kernels."""
    size = sum(math.prod(layer.kernel.shape) for layer in layers.values())
    fixed, dense = (0, 2 * size) if budget.kind == FLOPS else (other, other + size)
    limit, lowest = budget.limit(dense), fixed + sum(option.min_cost for option in options)
    if limit < lowest:
        outside = f", {other:,} of them outside the dense kernels" if fixed else ""
        raise ValueError(
            f"The budget {budget} allows {limit:,} {budget.kind}, but these layers cannot have "
            f"fewer than {lowest:,} ({lowest / dense:.2%} of {dense:,}{outside}): raise it to that"
            + _other_remedy(options, layers)
        )
    return limit - fixed


def _other_remedy(options: Sequence[LayerOptions], layers: ModelLayers) -> str:
    """Returns what else helps beside a larger budget."""
    left = [o for o in options if o.min_cost == math.prod(layers[o.path].kernel.shape)]
    if kept := [option.path for option in left if not option.is_too_small]:
        return f", or let more layers be replaced ({', '.join(kept)})."
    small = ""
    if left:
        paths = ", ".join(option.path for option in left)
        small = f"; {paths}: too small for any structure to make them smaller"
    if layers.is_traced:
        return f"{small}; there is nothing else in the model that can be replaced."
    return (
        f"{small}; layers were found by their names alone, so give the plan "
        "find_layers(model, ...), which may find more."
    )


def _parameters(structure: LayerStructure) -> int:
    return structure.num_parameters


def _flops(structure: LayerStructure) -> int:
    return structure.flops(1)
