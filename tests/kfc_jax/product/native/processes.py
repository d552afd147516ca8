"""Python processes of their own: for switches that are read once, for faults and for forks."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[4]


def python(*arguments: str, timeout: float = 300, **environment: str) -> str:
    """Returns what a process prints to both outputs; fails if it does."""
    done = start(*arguments, **environment)
    try:
        output, _ = done.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        done.kill()
        output, _ = done.communicate()
        raise AssertionError(f"The process did not end within {timeout} s:\n{output}") from None
    assert done.returncode == 0, f"The process ended with {done.returncode}:\n{output}"
    return output


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a process in the root of the project."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("KFC_JAX", "XLA_FLAGS"))}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
