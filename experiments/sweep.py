"""Runs a sweep: `python -m experiments.sweep --config=configs/sweeps/mnist_ranks.py --workdir=DIR`.

The trials of the sweep config are trained, several at once, each in a folder of its own in the
workdir; then a report compares them. The same command on the same workdir goes on: finished trials
are kept, interrupted ones resume, failed ones are tried again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
from absl import flags

from experiments.sweeping.running import (
    MAX_ATTEMPTS,
    Executor,
    LocalExecutor,
    RayExecutor,
    SweepInterrupted,
    TrialState,
    load_plan,
    preview,
    run_sweep,
)
from experiments.system import command_line

_CONFIG = flags.DEFINE_string(
    "config", None, "Sweep config, for example configs/sweeps/mnist_ranks.py or ...py:quick."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep.")
_EXECUTOR = flags.DEFINE_enum("executor", "local", ["local", "ray"], "What runs the trials.")
_PARALLEL = flags.DEFINE_integer(
    "parallel", 0, "Trials at once. 0: one per GPU, or one per CPU core without GPUs."
)
_FILTER = flags.DEFINE_string("filter", "", "Run only trials with this in their name; * and ? fit.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the trials and their commands, run nothing.")
_MAX_ATTEMPTS = flags.DEFINE_integer(
    "max_attempts",
    MAX_ATTEMPTS,
    "How often a failing trial is tried, per start of the sweep.",
    lower_bound=1,
)
_EARLY_STOPPING = flags.DEFINE_bool(
    "early_stopping", False, "Stop trials that do worse than others of the same model and seed."
)
_RAY_ADDRESS = flags.DEFINE_string("ray_address", "", "Ray cluster. Empty: Ray on this machine.")
_CPUS = flags.DEFINE_float("cpus_per_trial", 0, "With Ray: CPU cores of a trial. 0: chosen.")
_GPUS = flags.DEFINE_float("gpus_per_trial", -1, "With Ray: GPUs of a trial. -1: chosen.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Runs the sweep, and turns what a user can cause into one line and an exit code."""
    command_line.refuse_arguments(argv)
    jax.config.update("jax_platforms", "cpu")  # the devices are for the trials
    workdir = Path(_WORKDIR.value).expanduser().absolute()
    with command_line.mistakes_in_a_line():
        plan = load_plan(_CONFIG.value)
        trials = plan.matching(_FILTER.value)
        if _DRY_RUN.value:
            _show(preview(plan, trials, workdir))
            return
        try:
            trial_states = run_sweep(
                plan,
                trials,
                workdir,
                _executor,
                max_attempts=_MAX_ATTEMPTS.value,
                early_stopping=_EARLY_STOPPING.value,
            )
        except SweepInterrupted as interrupted:
            command_line.fail(str(interrupted), 128 + interrupted.signum)
    _report(workdir)
    if failed := [one for one in trial_states if one.has_failed]:
        names = "".join(f"\n  {one.name}" for one in failed)
        said = f"{len(failed)} of {len(trial_states)} trials failed, see their log.txt:{names}"
        command_line.fail(said)


def _executor() -> Executor:
    if _EXECUTOR.value == "ray":
        return RayExecutor(_PARALLEL.value, _RAY_ADDRESS.value, _CPUS.value, _GPUS.value)
    return LocalExecutor.of_this_machine(_PARALLEL.value)


def _show(trial_states: list[TrialState]) -> None:
    for one in trial_states:
        print(f"{one.state:8}{one.name}\n        {one.command}")
    done = sum(one.is_done for one in trial_states)
    print(f"{len(trial_states)} trials, {done} of them done; nothing was run.")


def _report(workdir: Path) -> None:
    """Writes the report; the sweep is what counts, so a report that fails is only a message."""
    try:
        from experiments.reporting import write_report

        write_report([workdir], out=workdir / "report")
        print(f"Report: {workdir / 'report'}")
    except Exception as error:
        print(f"The report could not be written: {error!r}", file=sys.stderr)


if __name__ == "__main__":
    command_line.run_app(main)
