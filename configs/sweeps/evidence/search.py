r"""The search: 24 random settings for every method of a task, judged on validation images.

    python -m experiments.sweep --config=configs/sweeps/evidence/search.py:TASK \
        --workdir=runs/TASK-search
    python -m experiments.report runs/TASK-search --out=results/search_TASK

Tasks are those of `methods.py`. The settings are drawn log-uniformly, once for all methods, from
the task's space. No trial is stopped early: halving after one and four of twelve epochs was
tried, and keeps what starts fast (low gains and rates) in place of what ends well. The test split
is not looked at.
"""

from collections.abc import Iterator

from configs.sweeps.evidence.methods import DRAWS, TASKS
from experiments.sweeping import Overrides, log_uniform

BASE = {name: task.base for name, task in TASKS.items()}


def sweep(task: str) -> Iterator[Overrides]:
    """Yields the trials, one method after the other."""
    its = TASKS[task]
    for method, layer in its.methods.items():
        for drawn in log_uniform(its.space, DRAWS):
            yield (
                layer
                | its.fields
                | its.settings_of(method, drawn)
                | {
                    "data.num_validation": its.num_validation,
                    "train.test_at_end": False,
                }
            )
