"""Where a result comes from: command, versions, device and git revision."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from experiments.system import available_cores
from kfc_jax.product import native_unavailable

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide the numbers."""
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def device() -> dict[str, Any]:
    """Returns what the run computes on."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "cpu_cores": len(available_cores()),
        # They round in another order than XLA's programs.
        "native_kernels": first.platform == "cpu" and not native_unavailable(),
    }


def command() -> str:
    """Returns the line that started this process, as a shell takes it."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def git_revision() -> str | None:
    """Returns the commit of this code, with `-dirty` if it was changed; None outside of git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
