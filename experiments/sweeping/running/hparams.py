"""Shows finished trials in TensorBoard's HParams tab, next to their curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from experiments.sweeping.overrides import Overrides

_SUFFIX = ".hparams"


def write_hparams(folder: Path, overrides: Overrides, fields: list[str], config: Any) -> None:
    """Adds an events file with a finished run's hyper-parameters and results, once.

    Args:
      folder: the folder of the run, with `config.json` and `result.json`.
      overrides: the overrides of the trial.
      fields: all fields that vary in the sweep; those that the trial leaves alone are shown as
        they are in its config.
      config: the trial's config, nested.

    Raises:
      OSError: if the files cannot be read or written.
      ValueError: if the result is damaged.
    """
    if any(folder.glob(f"events.out.tfevents.*{_SUFFIX}")):
        return
    result = json.loads((folder / "result.json").read_text())
    metrics = {
        f"hparam/{split}_error": result[split]["error"]
        for split in ("validation", "test")
        if result.get(split)
    }
    if "whole_model" in result:
        metrics["hparam/parameters"] = result["whole_model"]["parameters"]
    values = {field: overrides.get(field, _get(config, field)) for field in fields}
    values = {f: v if isinstance(v, int | float | str) else str(v) for f, v in values.items()}
    with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as writer:
        for summary in hparams(values, metrics):
            writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(name, value, result.get("steps", 0))


def _get(config: Any, field: str) -> Any:
    for part in field.split("."):
        config = config[part]
    return config
