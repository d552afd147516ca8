"""The card of a published model, in Markdown: what it is, how good it is, where it comes from."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data import terms_of_use
from experiments.models import MODEL_FILE, cost_table, totals
from experiments.publishing.errors import interval_of_images, interval_of_mean
from experiments.training import TrainedModel


@dataclasses.dataclass(frozen=True)
class Published:
    """What a card is written from.

    Attributes:
      folder: where the model lies, as its readers name it.
      trained: the finished run.
      num_bytes: size of the model's file.
      command: the command that trained it.
      errors: the test error by seed, if there are other seeds.
    """

    folder: Path
    trained: TrainedModel
    num_bytes: int
    command: str
    errors: Mapping[Any, float]


def model_card(published: Published) -> str:
    """Returns the text of the card."""
    run, costs = published.trained.run, published.trained.costs
    model, data, total = run.config.model, run.config.data, totals(costs)
    height, width, channels = model.image_shape
    rows = {
        "test error": _error(run.result["test"]),
        **_over_seeds(published.errors, run.config.seed),
        "parameters": f"{total['parameters']:,} in total, {total['reduction']:.1%} fewer than the "
        f"{total['dense_parameters']:,} of the same network with dense layers",
        "size": f"{published.num_bytes:,} bytes (`{MODEL_FILE}`)",
        "input": f"float32 `(batch, {height}, {width}, {channels})`, from 0 to 1: the bytes of "
        f"{'grey' if channels == 1 else 'colour'} images, divided by 255",
        "output": f"logits `(batch, {model.num_classes})`",
        "data": f"`{data.name}`",
        "terms of the data": terms_of_use(data.name),
        "seed": f"{run.config.seed}",
        "revision": f"`{run.result.get('git_revision') or 'unknown'}`",
    }
    lines = [
        f"# {published.folder.name}",
        "",
        f"`{model.name}`, trained on `{data.name}` with KFC-JAX.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        "## Load it",
        "",
        "```python",
        "from experiments.models import load_published",
        f'model, variables = load_published("{published.folder.as_posix()}")',
        "```",
        "",
        "`model.apply(variables, images, train=False)` are the logits.",
        "",
        "## Its layers",
        "",
        "```text",
        cost_table(costs),
        "```",
        "",
        "## How it was trained",
        "",
        "```bash",
        published.command,
        "```",
        "",
        "(This page was written by `python -m experiments.publish`.)",
    ]
    return "\n".join(lines) + "\n"


def _error(test: Mapping[str, Any]) -> str:
    examples = test["examples"]
    errors = round(test["error"] * examples)
    low, high = interval_of_images(errors, examples)
    return (
        f"{test['error']:.2%}: {errors:,} of {examples:,} test images (binomial 95% interval: "
        f"{low:.2%} to {high:.2%})"
    )


def _over_seeds(errors: Mapping[Any, float], seed: int) -> dict[str, str]:
    if not errors:
        return {}
    low, high = interval_of_mean(errors)
    mean, deviation = statistics.fmean(errors.values()), statistics.stdev(errors.values())
    return {
        f"of {len(errors)} seeds": f"{mean:.2%} ± {100 * deviation:.2f}, mean and standard "
        f"deviation (95% interval of the mean: {low:.2%} to {high:.2%}); this is seed {seed}"
    }
