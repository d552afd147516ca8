"""The picture of the speed-up over a dense layer."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarking.results import CaseResult, Results
from experiments.reporting.pictures import style

_COLOURS = ("#0b6e99", "#d97706", "#7c3aed", "#15803d", "#be123c", "#52525b")
_COLUMNS = 4
_PASSES = {"forward": "forward", "training": "forward and backward"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws `speedup.png` (forward) and `speedup_training.png`, with an SVG of each.

    A panel per layer, a line per rank: the planned product's speed-up over JAX's dense one against
    the batch; dashed, the speed-up at the floor.

    Returns:
      The files; of a pass without a result none.
    """
    paths = []
    for pass_, words in _PASSES.items():
        cases = [r for r in results.cases.values() if r.case.pass_ == pass_]
        cases = [r for r in cases if r.seconds("planned") and r.seconds("dense")]
        if cases:
            name = "speedup" if pass_ == "forward" else f"speedup_{pass_}"
            title = f"Speed-up over a dense layer, {words}"
            on = f"{results.machine.get('cpu')}, {results.machine.get('cores')} cores"
            paths += style.save(_figure(cases, title, on), folder / name)
    return paths


def _figure(cases: list[CaseResult], title: str, machine: str) -> Figure:
    layers: dict[tuple[int, int], list[CaseResult]] = defaultdict(list)
    for result in cases:
        layers[result.case.inputs, result.case.features].append(result)
    ranks = sorted({result.case.rank for result in cases})
    colours = {rank: _COLOURS[i % len(_COLOURS)] for i, rank in enumerate(ranks)}
    columns = min(_COLUMNS, len(layers))
    rows = -(-len(layers) // columns)
    with style.look():
        width, height = max(6.5, 3.1 * columns), 2.6 * rows + 0.9
        figure, grid = style.panels(title, (width, height), (rows, columns), sharey=True)
        speedups = [r.seconds("dense") / r.seconds("planned") for r in cases]
        floors = [r.seconds("dense") / r.floor for r in cases]
        low = min(0.8, *speedups) / 1.1
        high = min(max(floors), 4 * max(1.2, *speedups)) * 1.1  # tiny cases are far from the floor
        for axes, (layer, of_layer) in zip(grid.flat, layers.items(), strict=False):
            _panel(axes, of_layer, colours)
            axes.set_title(f"{layer[0]} → {layer[1]}")
            axes.set_ylim(low, high)
            style.fix_ticks(axes, "y", style.log_ticks(low, high), lambda v: f"{v:g}x")
        for axes in list(figure.axes)[len(layers) :]:
            axes.set_axis_off()
        figure.axes[0].legend(fontsize=8)
        figure.supxlabel(f"batch (logarithmic); {machine}", fontsize=9)
        figure.supylabel("dense time / our time (logarithmic)", fontsize=9)
    return figure


def _panel(axes: Axes, cases: list[CaseResult], colours: dict[int, str]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(1, color="#777777", linewidth=1)
    for rank, colour in colours.items():
        line = sorted((r for r in cases if r.case.rank == rank), key=lambda r: r.case.batch)
        batches = [r.case.batch for r in line]
        speedups = [r.seconds("dense") / r.seconds("planned") for r in line]
        floors = [r.seconds("dense") / r.floor for r in line]
        axes.plot(batches, speedups, "o-", color=colour, markersize=4, label=f"rank {rank}")
        axes.plot(batches, floors, "--", color=colour, linewidth=1, alpha=0.7)
    axes.plot([], [], "--", color="#777777", linewidth=1, label="at the floor")
    style.fix_ticks(axes, "x", sorted({r.case.batch for r in cases}), lambda v: f"{v:g}")
