"""What the contraction is to reach, as ratios within a run, and whether it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from experiments.benchmarking.results import CaseResult, Results

Ratio = Callable[[CaseResult], float | None]


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on a ratio.

    Attributes:
      title: what the ratio is of.
      limit: the bound.
      at_most: whether it is an upper one.
      ratio: the ratio of a case; None where the target says nothing, or a number is missing.
    """

    title: str
    limit: float
    at_most: bool
    ratio: Ratio


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a target was met.

    Attributes:
      target: the target.
      ratios: the ratios by case or network, the worst first.
    """

    target: Target
    ratios: dict[str, float]

    @property
    def met(self) -> int:
        """In how many cases it holds."""
        return sum(map(self.holds, self.ratios.values()))

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio <= self.target.limit if self.target.at_most else ratio >= self.target.limit


def evaluate(results: Results) -> list[Outcome]:
    """Returns the outcome of every target over all cases, and over the networks."""
    outcomes = [
        _outcome(target, {key: target.ratio(case) for key, case in results.cases.items()})
        for target in TARGETS
    ]
    steps = {}
    for name, network in results.networks.items():
        dense, kfc = (network.entries[kind].timing for kind in ("dense", "kfc"))
        steps[name] = dense.median / kfc.median if dense and kfc else None
    return [*outcomes, _outcome(NETWORKS, steps)]


def over_planned(name: str) -> Ratio:
    """Returns the ratio of a contender's or peer's time to the planned product's."""
    return lambda result: result.ratio(name, "planned")


def over_best(result: CaseResult) -> float | None:
    """Returns the planned product's time over that of the best strategy."""
    best = result.best_strategy
    return result.ratio("planned", best) if best else None


def over_floor(result: CaseResult) -> float | None:
    """Returns the planned product's time over the floor."""
    planned = result.seconds("planned")
    return planned / result.floor if planned else None


def memory_of_einsum(result: CaseResult) -> float | None:
    """Returns the planned product's temporary memory over the naive einsum's."""
    ours, naive = (
        entry.temporary_bytes if (entry := result.entries.get(name)) else None
        for name in ("planned", "einsum")
    )
    return ours / naive if ours is not None and naive else None


def where(
    ratio: Ratio,
    *,
    shape: tuple[int, int] | None = None,
    pass_: str | None = None,
    ranks: Callable[[int], bool] = lambda _: True,
    batches: Callable[[int], bool] = lambda _: True,
) -> Ratio:
    """Restricts a ratio to some cases."""

    def restricted(result: CaseResult) -> float | None:
        case = result.case
        fits = (
            shape in (None, (case.inputs, case.features))
            and pass_ in (None, case.pass_)
            and ranks(case.rank)
            and batches(case.batch)
        )
        return ratio(result) if fits else None

    return restricted


def _of_4096(rank: int, batches: Callable[[int], bool] = lambda _: True) -> Ratio:
    dense = over_planned("dense")
    return where(
        dense, shape=(4096, 4096), pass_="forward", ranks=lambda r: r == rank, batches=batches
    )


def _training(ratio: Ratio, least_batch: int, most_batch: float = float("inf")) -> Ratio:
    return where(
        ratio,
        pass_="training",
        ranks=lambda r: r == 4,
        batches=lambda b: least_batch <= b <= most_batch,
    )


def _floor(pass_: str) -> Ratio:
    return where(over_floor, pass_=pass_, ranks=lambda r: r >= 4, batches=lambda b: b >= 32)


TARGETS: Sequence[Target] = (
    Target("planned / best strategy", 1.10, True, over_best),
    Target("dense / planned, 4096x4096, forward, rank 1", 15.0, False, _of_4096(1)),
    Target("dense / planned, 4096x4096, forward, rank 4", 5.0, False, _of_4096(4)),
    Target(
        "dense / planned, 4096x4096, forward, rank 16, batch 32",
        2.5,
        False,
        _of_4096(16, lambda b: b == 32),
    ),
    Target(
        "dense / planned, 4096x4096, forward, rank 16, batch >= 256",
        1.3,
        False,
        _of_4096(16, lambda b: b >= 256),
    ),
    Target("dense / planned, anywhere", 0.95, False, over_planned("dense")),
    Target(
        "dense / planned, forward and backward, rank 4, batch >= 256",
        4.5,
        False,
        _training(over_planned("dense"), 256),
    ),
    Target(
        "naive einsum / planned, forward and backward, rank 4, batch >= 256",
        1.7,
        False,
        _training(over_planned("einsum"), 256),
    ),
    Target(
        "temporary memory, planned / naive einsum, forward and backward, rank 4, batch 1024",
        0.2,
        True,
        _training(memory_of_einsum, 1024, 1024),
    ),
    Target("FastKron / planned, forward", 1.0, False, over_planned("fastkron")),
    Target("LyCORIS LoKr / planned", 2.0, False, over_planned("lycoris")),
    Target("planned / floor, forward, rank >= 4, batch >= 32", 1.3, True, _floor("forward")),
    Target(
        "planned / floor, forward and backward, rank >= 4, batch >= 32",
        1.3,
        True,
        _floor("training"),
    ),
)
"""The targets on cases; NETWORKS is that on whole training steps."""

NETWORKS = Target("dense / KFC, a whole training step of a network", 1.0, False, lambda _: None)


def _outcome(target: Target, ratios: dict[str, float | None]) -> Outcome:
    known = {key: ratio for key, ratio in ratios.items() if ratio is not None}
    worst_first = sorted(known.items(), key=lambda item: item[1], reverse=target.at_most)
    return Outcome(target, dict(worst_first))
