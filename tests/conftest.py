"""What holds for all tests: in the gate none is skipped, and the library's shapes are checked."""

import os

import hypothesis
import pytest
from jaxtyping import install_import_hook

import tests.runtime_checks

# Before anything imports JAX, also in the processes that tests start: they compile thousands of
# small programs and run each a few times, so that fast code would cost more than it saves. XLA's
# passes over a program are the same. With this variable at 0, code is made as for users.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Before anything imports the library: every call in the tests then checks the shapes and types that
# its annotations promise. `structures` holds no arrays, and is called too often to be checked.
WINGS = [f"kfc_jax.{wing}" for wing in ("product", "decompose", "layers", "nnx", "compress")]
install_import_hook(WINGS, f"{tests.runtime_checks.__name__}.checked")

# The checks and a busy machine make a call slow now and then; no test is about its time.
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

# They are about other libraries, of which no test needs to have one.
_OPTIONAL = ("test_peers.py", "test_qwix.py", "test_export.py")
_skipped: list[str] = []


def pytest_xdist_auto_num_workers():
    """Returns a process more than there are cores: some tests wait for others of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_runtest_logreport(report):
    """Notes the tests that are skipped."""
    if report.skipped and not any(name in report.nodeid for name in _OPTIONAL):
        _skipped.append(report.nodeid)


def pytest_collectreport(report):
    """Notes the files that are skipped."""
    if report.skipped and not any(name in report.nodeid for name in _OPTIONAL):
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fails a run of the gate in which something was skipped, as nothing would guard it."""
    if os.environ.get("KFC_JAX_GATE") and _skipped and session.exitstatus == 0:
        print(f"\nThe gate skips no test, but these were: {', '.join(_skipped)}")
        session.exitstatus = 1
