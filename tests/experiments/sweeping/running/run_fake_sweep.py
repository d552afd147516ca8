"""Runs a sweep of fakes in a process of its own, to be killed: WORKDIR SEEDS PARALLEL."""

import sys
from pathlib import Path

from experiments.sweeping import seeds
from experiments.sweeping.running.executors import LocalExecutor
from experiments.sweeping.running.plan import Plan
from experiments.sweeping.running.runner import SweepInterrupted, run_sweep
from experiments.sweeping.running.shares import Share
from experiments.sweeping.trials import name_trials

if __name__ == "__main__":
    workdir, count, parallel = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    plan = Plan("fake", "configs/mnist.py", name_trials(seeds(count)))
    fake = (sys.executable, "-I", str(Path(__file__).with_name("fake_train.py")))
    try:
        run_sweep(
            plan, plan.trials, workdir, lambda: LocalExecutor([Share()] * parallel), program=fake
        )
    except SweepInterrupted as interrupted:
        print(interrupted)
        sys.exit(128 + interrupted.signum)
    except ValueError as error:
        print(error)
        sys.exit(1)
