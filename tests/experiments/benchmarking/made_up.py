"""Results of a benchmark that was never run."""

from experiments.benchmarking.cases import Case
from experiments.benchmarking.results import CaseResult, Entry, Results
from experiments.benchmarking.timing import Timing

PEAK_FLOPS, BANDWIDTH = 1e11, 1e10


def timing(seconds):
    return Timing(seconds, 0.9 * seconds, 1.2 * seconds, 5)


def result(case, *, memory=None, beside=None, **seconds):
    memory, beside = memory or {}, beside or {}
    entries = {
        name: Entry(
            timing=timing(value),
            compile_seconds=0.1,
            temporary_bytes=memory.get(name),
            flops=1e9,
            beside=beside.get(name, {}),
        )
        for name, value in seconds.items()
    }
    return CaseResult(case, entries, PEAK_FLOPS, BANDWIDTH)


def results(*cases, **fields):
    return Results(
        "python -m experiments.benchmark",
        {"jax": "1"},
        {"cpu": "made up", "cores": 2},
        cases={one.case.key: one for one in cases},
        **fields,
    )


def case(rank=4, batch=32, pass_="forward", shape=(4096, 4096)):
    return Case(*shape, rank, batch, pass_)
