"""The shares of a machine that trials get."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Share:
    """A trial's part of the machine.

    Attributes:
      cores: the CPU cores it is pinned to; none: not pinned.
      env: environment variables that keep it to its part.
    """

    cores: tuple[int, ...] = ()
    env: dict[str, str] = dataclasses.field(default_factory=dict)


def shares(parallel: int, cores: tuple[int, ...], gpus: tuple[str, ...]) -> list[Share]:
    """Divides cores and GPUs among `parallel` trials.

    With more trials than GPUs, GPUs are shared, and so is their memory.

    Args:
      parallel: how many trials run at once; 0: one per GPU, or one per core without GPUs (on CPUs
        that is faster than all cores for one trial after the other).
      cores: CPU cores, as `available_cores` returns them.
      gpus: GPUs, as `available_gpus` returns them.

    Raises:
      ValueError: if `parallel` is negative.
    """
    if parallel < 0:
        raise ValueError(f"--parallel is {parallel}; it must be at least 1, or 0 to choose it.")
    parallel = parallel or len(gpus) or len(cores)
    parts = []
    for slot in range(parallel):
        own_cores = _part(cores, slot, parallel)
        env = core_limits(len(own_cores))
        if gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(_part(gpus, slot, parallel))
            per_gpu = -(-parallel // len(gpus))
            if per_gpu > 1:
                env["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / per_gpu:.2f}"
        parts.append(Share(own_cores, env))
    return parts


def core_limits(cores: int) -> dict[str, str]:
    """Returns the environment that keeps a trial to that many threads for computation."""
    # PJRT_NPROC sizes XLA's thread pools, OMP_NUM_THREADS those of NumPy and OpenCV.
    return {"PJRT_NPROC": str(cores), "OMP_NUM_THREADS": str(cores)}


def _part(items: tuple, slot: int, parallel: int) -> tuple:
    """Returns the slot's part: as equal ones as possible, or one of the items, taking turns."""
    if parallel >= len(items):
        return (items[slot % len(items)],)
    return items[slot * len(items) // parallel : (slot + 1) * len(items) // parallel]
