"""How long plans take: cases of made-up kernels, with and without statistics, in turns."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarking import machine
from experiments.benchmarking.peer_process import TREE
from experiments.benchmarking.planning_process import CASES
from experiments.benchmarking.revisions import checked_out
from experiments.runs import provenance
from experiments.system import json_files, write_file

_ROOT = Path(__file__).parents[2]
_TIMEOUT = 3600.0
_WEIGHTINGS = ("plain", "weighted")
_HEAD = "| case | kernels | statistics | revision | seconds | of the CPU | error | parameters |"


@dataclasses.dataclass(frozen=True)
class PlanningOptions:
    """What to plan.

    Attributes:
      cases: names of `planning_process.CASES`.
      against: an earlier revision of this repository, which plans in turn; empty: none.
      repeats: how often each plan is made.
      command: the command that was given.
    """

    cases: Sequence[str] = ("mixer", "mlp", "block", "transformer")
    against: str = ""
    repeats: int = 3
    command: str = ""


def run_planning(
    options: PlanningOptions, out: Path, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Makes the plans, and writes `planning.json` and `planning.md` after every case.

    Raises:
      ValueError: if a case, a number or the revision is unknown, or a plan fails.
      OSError: if the files cannot be written.
    """
    if unknown := [name for name in options.cases if name not in CASES]:
        raise ValueError(f"--planning_cases holds {unknown[0]!r}; take of {', '.join(CASES)}.")
    if options.repeats < 1:
        raise ValueError(f"--repeats is {options.repeats}; it must be at least 1.")
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "command": options.command,
        "versions": provenance.versions() | {"git": provenance.git_revision() or "none"},
        "machine": machine.description(),
        "plans": [],
    }
    with contextlib.ExitStack() as stack:
        trees: dict[str, Path | None] = {"this": None}
        if options.against:
            tree = stack.enter_context(checked_out(options.against))
            trees[tree.name] = tree
        for case in options.cases:
            for weighting in _WEIGHTINGS:
                results["plans"] += _measured(case, weighting, trees, options.repeats)
                json_files.write(out / "planning.json", results)
                write_file(out / "planning.md", planning_table(results))
                say(f"{case}, {weighting}: done")
    return results


def planning_table(results: dict[str, Any]) -> str:
    """Returns the plans as a table in Markdown."""
    lines = [_HEAD, "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {plan['case']} | {plan['kernels']} | "
        f"{'yes' if plan['weighting'] == 'weighted' else 'no'} | {plan['revision']} | "
        f"{plan['seconds']:.1f} | {plan['cpu_seconds']:.1f} | {plan['error']:.4f} | "
        f"{plan['parameters']:,} |"
        for plan in results["plans"]
    ]
    return "\n".join([f"`{results['command']}`", "", *lines, ""])


def _measured(
    case: str, weighting: str, trees: dict[str, Path | None], repeats: int
) -> list[dict[str, Any]]:
    """Plans with every revision in turn; returns the medians, and the load of other processes."""
    load = machine.LoadMeter()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for _ in range(repeats):
        for name, tree in trees.items():
            found[name].append(_plan(case, weighting, tree))
    others = load.of_others()
    return [
        plans[0]
        | {name: statistics.median(p[name] for p in plans) for name in ("seconds", "cpu_seconds")}
        | {
            "case": case,
            "kernels": len(CASES[case]),
            "weighting": weighting,
            "revision": revision,
            "repeats": repeats,
            "other_load": others,
        }
        for revision, plans in found.items()
    ]


def _plan(case: str, weighting: str, tree: Path | None) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarking.planning_process", case, weighting],
        cwd=_ROOT,
        env=os.environ | ({TREE: str(tree)} if tree else {}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"The plan of {case} failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])
