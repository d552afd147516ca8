"""The cores and GPUs of a machine, and how arrays lie on the devices of a run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jax.sharding import NamedSharding


def shardings() -> tuple[NamedSharding, NamedSharding]:
    """Returns how the state (replicated) and a batch (split) lie on all devices.

    They form a mesh with one axis, `data`; one device is a mesh of one.
    """
    import jax  # takes a second, and reports and locks need none of it
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


def available_cores() -> tuple[int, ...]:
    """Returns the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def available_gpus() -> tuple[str, ...]:
    """Returns the NVIDIA GPUs that JAX would use, without starting JAX, which would claim them."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return ()
    if not any(importlib.util.find_spec(plugin) for plugin in plugins):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(gpu for gpu in visible.split(",") if gpu)
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(listed.stdout.split())
