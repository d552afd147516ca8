"""Writes a published model: its arrays, and its card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from experiments.models import MODEL_FILE, totals
from experiments.publishing.command import without_machine_paths
from experiments.publishing.errors import errors_by_seed
from experiments.publishing.model_card import Published, model_card
from experiments.reporting.trials import read_sweeps
from experiments.runs import read_run
from experiments.system import write_file
from experiments.training import TrainedModel
from kfc_jax.compress import Checkpoint
from kfc_jax.structures import DenseStructure, layer_kinds

_LARGEST = 300_000  # bytes: a repository keeps every version of every file


def publish(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    seeds: Sequence[str | os.PathLike[str]] = (),
    command: str = "",
    any_size: bool = False,
) -> Path:
    """Writes `model.safetensors` and `README.md` of a finished run; returns their folder.

    Args:
      run: the folder of the run, which is only read.
      out: the folder to write to; its name is the model's.
      seeds: folders of sweeps, runs or kept runs, among them runs of the same config with other
        seeds. Without them the card has the error of this run alone.
      command: the command that trained the run. Default: what its files say.
      any_size: whether the file may have more than 300 kB.

    Raises:
      ValueError: if the run is not finished, was not tested or diverged, nothing says how it was
        trained, there are no such runs in `seeds`, or the file would be too large. Nothing is
        written then.
      OSError: if something cannot be read or written.
    """
    finished, out = read_run(run), Path(out).expanduser()
    result, config = finished.result, finished.config
    if not result.get("test"):
        raise ValueError(
            f"{finished.folder} has no test error, as its train.test_at_end is False: evaluate it "
            "by a run that starts from it and trains for no epoch (docs/training.md), and publish "
            "that one."
        )
    (trial,) = read_sweeps([finished.folder])
    command = command or trial.command or str(result.get("command") or "")
    if not command:
        raise ValueError(
            f"{finished.folder} does not say which command trained it, as it is from before runs "
            "did: give it by --command."
        )
    trained = TrainedModel(finished)
    factored = layer_kinds().keys() - {DenseStructure.kind}
    content = Checkpoint(
        trained.variables,
        {cost.name: cost.structure for cost in trained.costs if cost.kind in factored},
        {
            "model": config.model.to_dict(),
            "data": config.data.name,
            "seed": config.seed,
            "test": {name: result["test"][name] for name in ("error", "examples")},
            "parameters": totals(trained.costs)["parameters"],
            "git_revision": result.get("git_revision"),
        },
    ).to_bytes()
    if len(content) > _LARGEST and not any_size:
        raise ValueError(
            f"The model of {finished.folder} has {len(content):,} bytes, more than {_LARGEST:,}: "
            "publish a smaller one, or take --any_size."
        )
    published = Published(
        folder=Path(out.name) if out.is_absolute() else out,
        trained=trained,
        num_bytes=len(content),
        command=without_machine_paths(command),
        errors=errors_by_seed(trial, seeds) if seeds else {},
    )
    card = model_card(published)
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / MODEL_FILE, content)
    write_file(out / "README.md", card)
    return out
