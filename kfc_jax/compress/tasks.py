"""Questions about many kernels, several kernels at once.

Most of the work on a kernel is LAPACK's, which makes little use of a second thread; two kernels at
once, with a thread each, make full use of it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits

from kfc_jax.compress.progress import Progress

_LARGE = 2**22  # entries of a kernel above which it has all cores, and the memory, for itself


@dataclasses.dataclass(frozen=True)
class Task:
    """A question about a kernel.

    Attributes:
      size: the number of entries of the kernel.
      ask: computes the answer.
    """

    size: int
    ask: Callable[[], Any]


def answers(tasks: Sequence[Task], clock: Progress) -> list[Any]:
    """Returns the answers in the order of the tasks, and tells the clock of each task's size."""
    found: list[Any] = [None] * len(tasks)

    def answer(index: int) -> None:
        found[index] = tasks[index].ask()
        clock.advance(tasks[index].size)

    alone = [i for i, task in enumerate(tasks) if task.size > _LARGE]
    others = [i for i, task in enumerate(tasks) if task.size <= _LARGE]
    workers = min(len(others), _cores())
    if workers < 2:
        alone, others = list(range(len(tasks))), []
    for index in alone:
        answer(index)
    if others:
        # Held from outside, as threads that each restored the limit they found would mix it up.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
            list(pool.map(answer, others))
    return found


def _cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
