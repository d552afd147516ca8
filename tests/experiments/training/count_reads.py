"""Runs a command of the tiny network, and prints what it read, built and checked, as JSON.

The arguments are the module's name and the command's own.
"""

import collections
import importlib
import json
import sys
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from experiments.models import networks
from experiments.system import command_line
from tests.experiments import tiny

COUNTS = collections.Counter()


class CountingModels(dict):
    """The known models; every one that is built is counted."""

    def __getitem__(self, name):
        COUNTS["models built"] += 1
        return super().__getitem__(name)


class CountingRules(dict):
    """The rules of a config's fields; every check of them is counted."""

    def items(self):
        COUNTS["configs checked"] += 1
        return super().items()


def count_reading(event, arguments):
    """Counts the files of runs that are opened to be read, by folder."""
    if event != "open" or not isinstance(arguments[0], str | Path):
        return
    path, mode = Path(arguments[0]), arguments[1]
    if path.name in ("config.json", "result.json") and (mode is None or "r" in mode):
        COUNTS[f"{path.parent.name}/{path.name}"] += 1


def main():
    command = importlib.import_module(sys.argv[1])
    restore = ocp.Checkpointer.restore

    def counted(*arguments, **options):
        COUNTS["arrays restored"] += 1
        return restore(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        patch.setattr(networks, "_MODELS", CountingModels(networks._MODELS))
        rules = sys.modules["experiments.training.check_config"]
        patch.setattr(rules, "_RULES", CountingRules(rules._RULES))
        patch.setattr(ocp.Checkpointer, "restore", counted)
        sys.addaudithook(count_reading)
        sys.argv[:] = sys.argv[1:]
        try:
            command_line.run_app(command.main)
        finally:
            print(json.dumps(COUNTS))


if __name__ == "__main__":
    main()
