"""What one run of the comparison found, and the files that hold it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.system import json_files, write_file

DENSE, FURTHER = "dense", "dense_further"
"""The dense model, and the same trained for a tenth longer, as the compressed ones are."""

_KEPT = "results.jsonl"
_RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the comparison.

    Attributes:
      model: a name of `recipes.MODELS`.
      seed: of the dense model's parameters and of all batches.
      method: `dense`, `dense_further`, or a method of a plan.
      budget: the fraction of the parameters; None of a dense model.
    """

    model: str
    seed: int
    method: str
    budget: float | None = None

    @property
    def name(self) -> str:
        """A name as text, `vit_nnx seed 0: auto at 0.5`."""
        budget = "" if self.budget is None else f" at {self.budget:g}"
        return f"{self.model} seed {self.seed}: {self.method.replace('_', ' ')}{budget}"

    @property
    def is_dense(self) -> bool:
        """Whether nothing is compressed."""
        return self.budget is None


@dataclasses.dataclass(frozen=True)
class Layer:
    """What became of one layer.

    Attributes:
      path: where it is in the parameters.
      size: inputs x features, and how many of them.
      kind: `dense`, `kfc`, `low_rank`, ...
      structure: its text form.
      parameters: of its kernels.
      error: relative error of its outputs, or of its kernel where it has no statistics.
    """

    path: str
    size: str
    kind: str
    structure: str
    parameters: int
    error: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
      model: as `Run`.
      seed: as `Run`.
      method: as `Run`.
      budget: as `Run`.
      task: `digits` or `text`.
      parameters: of the model.
      before: on the test part, the loss and the share of wrong classes before the training.
      after: and after it.
      learning_rate: of the training.
      validation: the loss on the validation part, by the learning rates that were tried; empty
        where the rate was known.
      steps: of the training.
      layers: what became of the layers; of a compressed model.
      plan_error: the total error that the plan kept small.
      seconds: by what was done.
      recipe: how the dense model was trained.
      data: the fingerprint of the examples.
      command: makes this run again.
      versions: of Python and of packages.
      device: what it ran on.
      revision: of this code.
    """

    model: str
    seed: int
    method: str
    budget: float | None
    task: str
    parameters: int
    before: dict[str, float]
    after: dict[str, float]
    learning_rate: float
    validation: dict[str, float]
    steps: int
    layers: list[Layer]
    plan_error: float | None
    seconds: dict[str, float]
    recipe: dict[str, Any]
    data: str
    command: str
    versions: dict[str, str]
    device: dict[str, Any]
    revision: str | None

    @property
    def run(self) -> Run:
        """The cell of the comparison."""
        return Run(self.model, self.seed, self.method, self.budget)

    @property
    def measure(self) -> str:
        """What models of its task are compared by."""
        return measure_of(self.task)


def measure_of(task: str) -> str:
    """Returns what models are compared by: the loss on text, else the share of wrong classes."""
    return "loss" if task == "text" else "wrong"


def path_of(folder: Path, run: Run) -> Path:
    """Returns where a run's result is, below the folder of all."""
    budget = "" if run.budget is None else f"-{run.budget:g}"
    return folder / _RUNS / run.model / f"seed{run.seed}-{run.method}{budget}.json"


def save(folder: Path, result: Result) -> None:
    """Writes a result.

    Raises:
      OSError: if it cannot be written.
    """
    path = path_of(folder, result.run)
    path.parent.mkdir(parents=True, exist_ok=True)
    json_files.write(path, dataclasses.asdict(result))


def read_results(folder: Path) -> list[Result]:
    """Returns all results in a folder: those of its runs, or, where they are gone, the kept ones.

    Raises:
      ValueError: if a file is no result.
      OSError: if a file cannot be read.
    """
    paths = sorted((folder / _RUNS).glob("*/*.json"))
    if not paths and (folder / _KEPT).exists():
        return [_read(line, folder / _KEPT) for line in (folder / _KEPT).read_text().splitlines()]
    return [_read(path.read_text(), path) for path in paths]


def keep(folder: Path, results: Iterable[Result]) -> None:
    """Writes all results into one file, a line for each.

    Raises:
      OSError: if it cannot be written.
    """
    lines = [json.dumps(dataclasses.asdict(result)) + "\n" for result in results]
    write_file(folder / _KEPT, "".join(lines))


def _read(text: str, path: Path) -> Result:
    try:
        return json_files.converted(json.loads(text), Result)
    except ValueError as error:
        raise ValueError(
            f"{path} is no result of this command ({error}): take another --out, or delete it."
        ) from error
