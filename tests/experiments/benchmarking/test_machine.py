import subprocess
import sys

import pytest

from experiments.benchmarking import machine
from experiments.benchmarking.machine import LoadMeter

BUSY = "import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"


def test_only_work_of_other_processes_is_load(monkeypatch):
    """Of two cores in ten seconds, 8 s worked: 3 s by this process, 1 s by one of its peers."""
    now = {"clock": 0.0, "busy": 100.0, "own": 50.0, "peer": 7.0}
    monkeypatch.setattr(machine.time, "monotonic", lambda: now["clock"])
    monkeypatch.setattr(machine, "_busy_seconds", lambda: now["busy"])
    monkeypatch.setattr(machine, "_process_seconds", lambda pid: now["peer"])
    monkeypatch.setattr(machine.os, "times", lambda: (now["own"], 0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    meter = LoadMeter([1])
    now.update(clock=10.0, busy=108.0, own=53.0, peer=8.0)
    assert meter.of_others() == pytest.approx(4 / 20)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_work_of_a_process_is_counted():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        before = machine._busy_seconds()
        process.poll()
        while process.poll() is None:
            seconds = machine._process_seconds(process.pid)
        assert seconds > 0
        assert machine._busy_seconds() > before
    assert machine._process_seconds(process.pid) == 0


def test_the_machine_is_described():
    found = machine.description()
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["platform"] == "cpu"
    assert found["cpu"]
