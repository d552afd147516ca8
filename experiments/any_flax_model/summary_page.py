"""The tables of the comparison, in Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from experiments.any_flax_model.comparison import (
    LOW_RANK,
    METHODS,
    TARGETS,
    Difference,
    Row,
    rows,
)
from experiments.any_flax_model.results import Layer, Result
from experiments.reporting.pages import table_lines
from experiments.reporting.tables import Column, Table, number

__all__ = ["METHODS", "summary"]

_KINDS = ("dense", "kfc", "low_rank")


def summary(results: Sequence[Result]) -> str:
    """Returns everything: what falls short first, then the tables."""
    found = rows(results)
    if not found:
        return "No model was compressed yet.\n"
    parts = [
        "# Whole models, compressed",
        _origin(results),
        "## What falls short",
        "\n".join(f"- {line}" for line in _short(found)),
        "## Before and after fine-tuning",
        "Means over seeds. Above dense, above dense trained as much longer, and above low rank at "
        "the same budget: means of the differences of each seed, with 95% intervals (Student's); "
        "in points of the error rate, or in percent of the dense loss.",
        "\n".join(table_lines(_errors(found))),
        "## What was chosen",
        "Layers of all seeds together. Error: the root of the sum of the squared relative errors.",
        "\n".join(table_lines(_choices(found))),
        "## Layer by layer",
        "What `auto` chose, over seeds and blocks, and the mean relative error of the layers' "
        "outputs (of tables: of their entries) by `auto`, `kfc` and `low_rank`; each of the three "
        "shares the budget out in its own way.",
        "\n".join(table_lines(_layers(found))),
    ]
    return "\n\n".join(parts) + "\n"


def _short(found: Sequence[Row]) -> Iterator[str]:
    """Yields what is to be known first: the target, then where it is worse than low rank."""
    judged = sorted((r for r in found if r.has_target), key=lambda row: -row.excess)
    for row in judged:
        verdict = "**missed**" if row.excess > 0 else "reached"
        yield (
            f"{verdict}: `{row.model}`, `auto` at a half of the parameters, is "
            f"{_difference(row.to_dense, row.task)} above dense; it may be "
            f"{TARGETS[row.task]:g}{'%' if row.task == 'text' else ' point'}"
        )
    others = [row for row in found if row.budget and row.method != LOW_RANK]
    for row in sorted(others, key=lambda row: -_or_zero(row.to_low_rank.mean)):
        if row.to_low_rank.is_above:
            yield (
                f"**worse than low rank beyond the spread**: `{row.model}`, `{row.method}` at "
                f"{row.budget:g}, by {_difference(row.to_low_rank, row.task)}"
            )
    if not any(row.to_low_rank.is_above for row in others):
        yield "nothing is worse than low rank beyond the spread"
    if any(result.steps < 20 for row in found for result in row.results):
        yield "these are quick runs of tiny models, which say nothing but that all works"


def _cell(row: Row) -> dict[str, str]:
    """Returns what the columns of `_who` show."""
    return {
        "model": row.model,
        "budget": _budget(row),
        "method": row.method.replace("_", " "),
    }


def _errors(found: Sequence[Row]) -> Table:
    frame = pd.DataFrame(
        {
            **_cell(row),
            "parameters": np.mean([result.parameters for result in row.results]),
            "dense": _value(row.dense, row.task),
            "before": _value(row.before, row.task),
            "after": _value(row.after, row.task),
            "to_dense": _difference(row.to_dense, row.task),
            "to_further": _difference(row.to_further, row.task) if row.budget else "",
            "to_low_rank": _difference(row.to_low_rank, row.task)
            if row.budget and row.method != LOW_RANK
            else "",
            "seeds": len(row.results),
        }
        for row in found
    )
    columns = [
        *_who(),
        number("parameters", "parameters"),
        _right("dense", "dense"),
        _right("at once", "before"),
        _right("fine-tuned", "after"),
        _right("above dense", "to_dense"),
        _right("above dense, trained on", "to_further"),
        _right("above low rank", "to_low_rank"),
        number("seeds", "seeds"),
    ]
    return Table("runs", "Before and after fine-tuning", columns, frame)


def _choices(found: Sequence[Row]) -> Table:
    kept = [row for row in found if row.budget]
    frame = pd.DataFrame(
        {
            **_cell(row),
            **_counts(layer for result in row.results for layer in result.layers),
            "error": np.mean([result.plan_error or 0.0 for result in row.results]),
            "rate": ", ".join(sorted({f"{result.learning_rate:g}" for result in row.results})),
            "seconds": np.mean([result.seconds["planning"] for result in row.results]),
        }
        for row in kept
    )
    columns = [
        *_who(),
        number("kept dense", "dense"),
        number("KFC", "kfc"),
        number("low rank", "low_rank"),
        number("others", "others"),
        number("error", "error", lambda value: f"{value:.3f}"),
        _right("learning rate", "rate"),
        number("planning, s", "seconds", lambda value: f"{value:.1f}"),
    ]
    return Table("choices", "What was chosen", columns, frame)


def _layers(found: Sequence[Row]) -> Table:
    """Returns a table with a row for every kind of layer, those of all blocks together."""
    lines = []
    cells = {(row.model, row.budget): None for row in found if row.budget}
    for model, budget in cells:
        by_method = {r.method: r for r in found if (r.model, r.budget) == (model, budget)}
        groups = {method: _by_name(row) for method, row in by_method.items()}
        for name, layers in groups.get(METHODS[0], {}).items():
            errors = {
                f"error_{method}": float(np.mean([layer.error for layer in groups[method][name]]))
                if name in groups.get(method, {})
                else math.nan
                for method in METHODS
            }
            share = sum(layer.parameters for layer in layers) / sum(map(_dense_size, layers))
            lines.append(
                {"model": model, "budget": _budget(by_method[METHODS[0]]), "layer": name}
                | {"size": layers[0].size, **_counts(layers), "share": share, **errors}
            )
    columns = [
        Column("model", "model", kind="code"),
        Column("budget", "budget"),
        Column("layer", "layer", kind="code"),
        Column("size", "size"),
        number("kept dense", "dense"),
        number("KFC", "kfc"),
        number("low rank", "low_rank"),
        number("parameters", "share", lambda value: f"{value:.0%}"),
        *(
            number(f"error, {method.replace('_', ' ')}", f"error_{method}", "{:.3f}".format)
            for method in METHODS
        ),
    ]
    names = ["model", "budget", "layer", "size", *_KINDS, "others", "share"]
    names += [f"error_{method}" for method in METHODS]
    return Table("layers", "Layer by layer", columns, pd.DataFrame(lines, columns=names))


def _by_name(row: Row) -> dict[str, list[Layer]]:
    groups: dict[str, list[Layer]] = {}
    for layer in (layer for result in row.results for layer in result.layers):
        name = re.sub(r"(block_|blocks/)\d+", r"\1*", layer.path)
        groups.setdefault(name, []).append(layer)
    return groups


def _counts(layers: Iterator[Layer] | Sequence[Layer]) -> dict[str, int]:
    counts = Counter(layer.kind for layer in layers)
    return {kind: counts.pop(kind, 0) for kind in _KINDS} | {"others": counts.total()}


def _dense_size(layer: Layer) -> int:
    return math.prod(int(part) for part in re.findall(r"\d+", layer.size))


def _who() -> list[Column]:
    return [
        Column("model", "model", kind="code"),
        Column("budget", "budget"),
        Column("method", "method"),
    ]


def _right(head: str, name: str) -> Column:
    """Returns a column of numbers that are texts already."""
    return number(head, name, str)


def _budget(row: Row) -> str:
    return "all" if row.budget is None else f"{row.budget:.4g}"


def _value(value: float, task: str) -> str:
    return f"{value:.4f}" if task == "text" else f"{value:.2%}"


def _difference(difference: Difference, task: str) -> str:
    if not difference.seeds:
        return ""
    half = "" if math.isnan(difference.half) else f" ± {difference.half:.2f}"
    return f"{difference.mean:+.2f}{half}{'%' if task == 'text' else ''}"


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _origin(results: Sequence[Result]) -> str:
    """Returns where the numbers come from."""
    lines = []
    for name, values in {
        "revisions": {str(result.revision) for result in results},
        "devices": {f"{r.device['kind']}, {r.device['cpu_cores']} cores" for r in results},
        "versions": {", ".join(f"{k} {v}" for k, v in r.versions.items()) for r in results},
        "data": {f"{result.task} {result.data}" for result in results},
    }.items():
        lines.append(f"- {name}: {'; '.join(sorted(values))}")
    seeds = ", ".join(str(seed) for seed in sorted({result.seed for result in results}))
    lines.append(f"- command: `python -m experiments.any_model`; seeds {seeds}")
    seconds = sum(sum(result.seconds.values()) for result in results)
    lines.append(f"- {len(results)} runs, {seconds / 60:.0f} minutes in all")
    return "\n".join(lines)
