from experiments.runs import provenance
from experiments.system import devices


def test_the_cores_are_those_that_the_run_may_use(monkeypatch):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert provenance.device()["cpu_cores"] == 1
