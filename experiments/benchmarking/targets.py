"""What the contraction is to reach, as ratios within a run, and whether it does."""

from __future__ import annotations

import dataclasses
import math
import statistics
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
      share: fraction of the cases in which it is to hold.
    """

    title: str
    limit: float
    at_most: bool
    ratio: Ratio
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Verdict:
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

    @property
    def mean(self) -> float:
        """The geometric mean of the ratios, of which there is at least one."""
        return statistics.geometric_mean(self.ratios.values())

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio <= self.target.limit if self.target.at_most else ratio >= self.target.limit


def evaluate(results: Results) -> list[Verdict]:
    """Returns the outcome of every target over all cases, and over the networks."""
    outcomes = [
        _outcome(target, {key: target.ratio(case) for key, case in results.cases.items()})
        for target in TARGETS
    ]
    steps = {}
    for name, network in results.networks.items():
        dense, kfc = (network.entries[kind].timing for kind in ("dense", "kfc"))
        steps[name] = dense.median / kfc.median if dense and kfc else None
    of_mlp = {name: ratio for name, ratio in steps.items() if name.startswith("MLP")}
    return [*outcomes, _outcome(NETWORKS, steps), _outcome(MLP, of_mlp)]


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


def by_xla_over_low_rank(result: CaseResult) -> float | None:
    """Returns the time of two products by XLA over that of the low-rank layer."""
    return result.ratio("low_rank_by_xla", "low_rank")


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


def _of_4096(rank: int, batch: int, pass_: str) -> Ratio:
    return where(
        over_planned("dense"),
        shape=(4096, 4096),
        pass_=pass_,
        ranks=lambda r: r == rank,
        batches=lambda b: b == batch,
    )


def _training(ratio: Ratio, least_batch: int, most_batch: float = math.inf) -> Ratio:
    return where(
        ratio,
        pass_="training",
        ranks=lambda r: r == 4,
        batches=lambda b: least_batch <= b <= most_batch,
    )


def _large(ratio: Ratio, pass_: str | None = None) -> Ratio:
    return where(ratio, pass_=pass_, batches=lambda b: b >= 32)


_DENSE_AT_4096 = (
    ("forward", 256, (33.0, 8.5, 2.3)),
    ("forward", 1024, (25.0, 8.0, 2.4)),
    ("training", 256, (27.0, 8.5, 2.2)),
)

TARGETS: Sequence[Target] = (
    Target("planned / best strategy", 1.10, True, over_best),
    Target("earlier / planned, batch >= 32", 1.1, False, _large(over_planned("earlier"))),
    *(
        Target(
            f"planned / floor, {words}, batch >= 32, at most {limit:g}",
            limit,
            True,
            _large(over_floor, pass_),
            share,
        )
        for pass_, words, limits in (
            ("forward", "forward", ((1.15, 0.9), (1.3, 1.0))),
            ("training", "forward and backward", ((1.3, 0.9), (1.5, 1.0))),
        )
        for limit, share in limits
    ),
    *(
        Target(
            f"dense / planned, 4096x4096, {pass_}, batch {batch}, rank {rank}",
            limit,
            False,
            _of_4096(rank, batch, pass_),
        )
        for pass_, batch, limits in _DENSE_AT_4096
        for rank, limit in zip((1, 4, 16), limits, strict=True)
    ),
    Target("dense / planned, anywhere", 0.95, False, over_planned("dense")),
    Target(
        "dense / planned, 4096x4096, forward, batch 1, rank 4",
        60.0,
        False,
        _of_4096(4, 1, "forward"),
    ),
    Target(
        "planned / floor, 4096x4096, forward, batch 1, rank 4",
        1.7,
        True,
        where(
            over_floor,
            shape=(4096, 4096),
            pass_="forward",
            ranks=lambda r: r == 4,
            batches=lambda b: b == 1,
        ),
    ),
    Target(
        "naive einsum / planned, forward and backward, rank 4, batch >= 256",
        1.7,
        False,
        _training(over_planned("einsum"), 256),
    ),
    Target(
        "temporary memory, planned / naive einsum, forward and backward, rank 4, batch 1024",
        0.125,
        True,
        _training(memory_of_einsum, 1024, 1024),
    ),
    *(
        Target(
            f"low rank: two products by XLA / ours, {words}",
            0.95,
            False,
            where(by_xla_over_low_rank, pass_=pass_),
        )
        for pass_, words in (("forward", "forward"), ("training", "forward and backward"))
    ),
    Target("FastKron / planned, forward", 1.2, False, over_planned("fastkron")),
    Target(
        "LyCORIS LoKr / planned, forward",
        2.0,
        False,
        where(over_planned("lycoris"), pass_="forward"),
    ),
)
"""The targets on cases; NETWORKS and MLP are those on whole training steps."""

NETWORKS = Target("dense / KFC, a whole training step of a network", 1.0, False, lambda _: None)
MLP = Target("dense / KFC, a whole training step of the MLP", 5.0, False, lambda _: None)


def _outcome(target: Target, ratios: dict[str, float | None]) -> Verdict:
    known = {key: ratio for key, ratio in ratios.items() if ratio is not None}
    worst_first = sorted(known.items(), key=lambda item: item[1], reverse=target.at_most)
    return Verdict(target, dict(worst_first))
