r"""The runs that claims are checked on: every method at its best setting, ten seeds, test images.

    python -m experiments.sweep --config=configs/sweeps/evidence/claims.py:TASK \
        --workdir=runs/TASK-claims
    python -m experiments.report runs/TASK-claims --out=results/claims_TASK

The best setting of a method is the one of the search (`search.py`, kept in `results/search_TASK`)
whose finished run has the lowest validation error; of equal ones, the lowest validation loss. Runs
train on all images, those that the search validated on included. A method that no claim is about
gets three seeds.
"""

from collections.abc import Iterator
from pathlib import Path

from configs.sweeps.evidence.methods import FEW_SEEDS, SEEDS, TASKS
from experiments.reporting.trials import Trial, read_sweeps
from experiments.sweeping import Overrides

BASE = {name: task.base for name, task in TASKS.items()}
_RESULTS = Path(__file__).parents[3] / "results"


def sweep(task: str) -> Iterator[Overrides]:
    """Yields the trials: all methods with the first seed, then with the next.

    Raises:
      ValueError: if the search is not there, or has no finished run of a method.
    """
    its = TASKS[task]
    best = best_settings(task)
    for seed in SEEDS:
        for method, layer in its.methods.items():
            if seed in FEW_SEEDS or method not in its.beside_claims:
                fields = {"data.num_validation": 0, "seed": seed}
                yield layer | its.fields | best[method] | fields


def best_settings(task: str) -> dict[str, Overrides]:
    """Returns, for every method, the fields that were searched, at their best.

    Raises:
      ValueError: as `sweep`.
    """
    its, folder = TASKS[task], _RESULTS / f"search_{task.replace('-', '_')}"
    if not folder.is_dir():
        raise ValueError(
            f"There is no {folder}: run the sweep configs/sweeps/evidence/search.py:{task} first, "
            "and report on it there."
        )
    finished = [trial for trial in read_sweeps([folder]) if trial.outcome]
    best = {}
    for method, layer in its.methods.items():
        trials = [trial for trial in finished if _layers(trial) == layer]
        if not trials:
            raise ValueError(
                f"{folder} has no finished run of '{method}': let the search of {task} end, and "
                "report on it again."
            )
        chosen = min(trials, key=_validation).overrides
        best[method] = {field: chosen[field] for field in its.space if field in chosen}
    return best


def _layers(trial: Trial) -> Overrides:
    """Returns what a trial of the search says of the model."""
    return {f: v for f, v in trial.overrides.items() if f.startswith("model.")}


def _validation(trial: Trial) -> tuple[float, float]:
    assert trial.outcome
    return trial.outcome.errors["validation"], trial.outcome.losses["validation"]
