"""Stands in for `experiments.train`: the same files and manners, in milliseconds.

What it does beyond that is said, by seed, in `behaviour.json` in the sweep's folder: `steps`,
`seconds` per step, `failures` (how many attempts fail at half the steps, with `exit code`, or 1),
`errors` by epoch.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    flags = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
    folder, seed = Path(flags["workdir"]), flags.get("config.seed", "0")
    behaviour_file = folder.parent / "behaviour.json"
    behaviour = json.loads(behaviour_file.read_text()) if behaviour_file.exists() else {}
    behaviour = behaviour.get("all", {}) | behaviour.get(seed, {})
    if (folder / "result.json").exists():
        return 0
    _claim(folder)

    stopped = []
    signal.signal(signal.SIGTERM, lambda signum, _: stopped.append(signum))
    checkpoint = folder / "checkpoint"
    step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    starts = folder / "starts"
    with starts.open("a") as file:
        file.write(f"{os.getpid()} {step}\n")
    attempt = len(starts.read_text().splitlines())
    steps = behaviour.get("steps", 2)
    while step < steps:
        if stopped:
            print(f"stopped at {step}")
            return 143
        if attempt <= behaviour.get("failures", 0) and step >= steps // 2:
            print("first line\nValueError: the fake reason", file=sys.stderr)
            return behaviour.get("exit code", 1)
        time.sleep(behaviour.get("seconds", 0))
        step += 1
        with (folder / "steps").open("a") as file:
            file.write(f"{step}\n")
        _replace(checkpoint, str(step))
        error = behaviour.get("errors", {}).get(str(step), 0.5 / step)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "epoch": step, "validation/error": error}) + "\n")
    result = {"steps": steps, "test": {"error": 0.01}, "validation": {"error": 0.02}}
    _replace(folder / "result.json", json.dumps({**result, "whole_model": {"parameters": 7}}))
    return 0


def _claim(folder: Path) -> None:
    """Leaves a mark if another process works in the folder; holds it until this one is gone."""
    working = os.open(folder / "working", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(working, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (folder / "OVERLAP").touch()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
