import subprocess

from experiments.system import devices


def test_gpus_are_those_that_jax_would_use(monkeypatch):
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert devices.available_gpus() == ("1", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.available_gpus() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.available_gpus() == ()
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = subprocess.CompletedProcess([], 0, stdout="0\n1\n2\n")
    monkeypatch.setattr(devices.subprocess, "run", lambda *a, **k: listed)
    assert devices.available_gpus() == ("0", "1", "2")
