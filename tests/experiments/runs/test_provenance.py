import sys

from experiments.runs import provenance
from experiments.system import devices


def test_the_cores_are_those_that_the_run_may_use(monkeypatch):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert provenance.device()["cpu_cores"] == 1


def test_the_command_is_what_a_shell_takes(monkeypatch):
    words = [
        "/usr/bin/python3.11",
        "-m",
        "experiments.train",
        "--config.model.fc1.structure=2:4x5*4x6",
    ]
    monkeypatch.setattr(sys, "orig_argv", words)
    expected = "python -m experiments.train '--config.model.fc1.structure=2:4x5*4x6'"
    assert provenance.command() == expected
