import json
import os
import subprocess
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.experiments import tiny


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory):
    """Lets the runs share their compiled programs, which take most of a tiny run's time."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def tiny_installed(monkeypatch):
    """Makes the tiny model and data known to the test."""
    tiny.install(monkeypatch)


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory, compile_once):
    """The folder of a finished dense run of the tiny network; not to be changed by a test."""
    workdir = tmp_path_factory.mktemp("runs") / "dense"
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch)
        tiny.train(tiny.config_of(model__fc1__kind="dense"), workdir)
    return workdir


@pytest.fixture
def run_module(request):
    """Runs a module of the repository as a command, on the CPU, to its end."""

    def run(module, *arguments):
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=request.config.rootpath,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def run_each(run_module):
    """Runs a module as a command once for every list of arguments; imports are shared by forks."""

    def run(module, runs, *, imports):
        texts = json.dumps([[str(argument) for argument in arguments] for arguments in runs])
        done = run_module("tests.experiments.forked_commands", module, ",".join(imports), texts)
        assert done.returncode == 0, done.stdout + done.stderr
        return [subprocess.CompletedProcess(module, **end) for end in json.loads(done.stdout)]

    return run
