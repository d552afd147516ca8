"""Runs a sweep's jobs as Ray tasks, on this machine or a cluster.

The machines of a cluster must see this code, its Python environment and the sweep's folder at the
same paths (a shared file system). Ray is optional: `pip install ray`.
"""

from __future__ import annotations

import importlib.util
import math
import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any

from experiments.sweeping.running.attempt import Attempt, Ending, Job
from experiments.sweeping.running.executors import GRACE_SECONDS
from experiments.sweeping.running.shares import Share, core_limits
from experiments.system import available_cores, available_gpus

_STOP = ".stop"


class RayExecutor:
    """Runs every job as a Ray task with resources of its own.

    Ray's own retries are off: a trial whose worker died ends as failed, and the runner starts it
    again like any other, so that attempts are counted in one place.
    """

    def __init__(
        self,
        parallel: int = 0,
        address: str = "",
        cpus_per_trial: float = 0,
        gpus_per_trial: float = -1,
    ):
        """Starts Ray on this machine, or connects to the cluster at `address`.

        Args:
          parallel: trials at once. 0: as many as the resources allow.
          address: the address of a running cluster, `auto` or `host:port`. Empty: Ray
            starts here, for this sweep alone.
          cpus_per_trial: CPU cores of a trial. 0: all cores divided by `parallel`, or 1.
          gpus_per_trial: GPUs of a trial, which may be a fraction. -1: all GPUs divided by
            `parallel`, or 1 if there are any.

        Raises:
          ValueError: if Ray is not installed, no cluster is at `address`, or it is too small.
        """
        if importlib.util.find_spec("ray") is None:
            raise ValueError(
                "--executor=ray needs Ray, which is not installed: pip install ray, or take "
                "--executor=local."
            )
        self._ray = _import_ray()
        _init(self._ray, address)
        total = self._ray.cluster_resources()
        cpus, gpus = total.get("CPU", 0), total.get("GPU", 0)
        wanted = {
            "CPU": cpus_per_trial or (max(1, cpus // parallel) if parallel else 1),
            "GPU": gpus_per_trial
            if gpus_per_trial >= 0
            else (_gpu_share(gpus, parallel) if gpus else 0),
        }
        self.slots = min(int(total.get(name, 0) / need) for name, need in wanted.items() if need)
        if self.slots < 1:
            self.close()
            raise ValueError(
                f"Ray has {cpus:g} CPUs and {gpus:g} GPUs in all, but a trial needs "
                f"{wanted['CPU']:g} and {wanted['GPU']:g}; lower --cpus_per_trial or "
                "--gpus_per_trial."
            )
        self.slots = min(self.slots, parallel) if parallel else self.slots
        self._share = Share(
            env=core_limits(max(1, int(wanted["CPU"]))) | _gpu_limits(wanted["GPU"])
        )
        self._task = self._ray.remote(
            num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], max_retries=0
        )(_run)
        self._tasks: dict[str, Any] = {}
        self._folders: dict[str, Path] = {}

    @property
    def running(self) -> set[str]:
        """Names of the trials that it runs."""
        return set(self._tasks)

    def start(self, job: Job) -> None:
        """Hands a job to Ray."""
        (job.folder / _STOP).unlink(missing_ok=True)
        self._folders[job.name] = job.folder
        self._tasks[job.name] = self._task.remote(job, self._share)

    def poll(self) -> dict[str, Ending]:
        """Returns the outcomes of the trials that ended since the last call."""
        if not self._tasks:
            return {}
        ended, _ = self._ray.wait(
            list(self._tasks.values()), num_returns=len(self._tasks), timeout=0
        )
        outcomes = {}
        for name in [name for name, task in self._tasks.items() if task in ended]:
            try:
                outcomes[name] = self._ray.get(self._tasks.pop(name))
            except self._ray.exceptions.RayError as error:
                outcomes[name] = Ending(False, f"Its Ray worker was lost or stopped.\n{error}")
        return outcomes

    def stop(self, name: str) -> None:
        """Cancels the trial's task, which then stops its process.

        Ray's cancellation does not always reach a task that runs; a file in its folder does.
        """
        (self._folders[name] / _STOP).touch()
        self._ray.cancel(self._tasks[name])

    def close(self) -> None:
        """Leaves the cluster; kills what still runs, and Ray itself where it was started here."""
        for task in getattr(self, "_tasks", {}).values():
            self._ray.cancel(task, force=True)
        self._ray.shutdown()


def _run(job: Job, share: Share) -> Ending:
    """Runs a job on the worker; a cancellation arrives here as KeyboardInterrupt."""
    attempt = Attempt(job, share)
    try:
        deadline = math.inf
        while (outcome := attempt.poll()) is None and time.monotonic() < deadline:
            if deadline == math.inf and (job.folder / _STOP).exists():
                attempt.stop()
                deadline = time.monotonic() + GRACE_SECONDS
            time.sleep(0.05)
        return outcome or Ending(False, "It was stopped, and did not end in time.")
    except KeyboardInterrupt:
        attempt.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while attempt.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        raise
    finally:
        attempt.kill()


def _gpu_share(gpus: float, parallel: int) -> float:
    """Returns the GPUs of a trial: whole ones, or a fraction that Ray accepts."""
    if not parallel:
        return 1
    return gpus // parallel if parallel <= gpus else int(gpus / parallel * 100) / 100


def _gpu_limits(gpus: float) -> dict[str, str]:
    """Returns the environment that keeps a trial to its GPUs; Ray itself says which they are."""
    if gpus == 0:
        return {"CUDA_VISIBLE_DEVICES": ""}
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 * gpus:.2f}"} if gpus < 1 else {}


def _init(ray: Any, address: str) -> None:
    """Connects to a cluster, or starts one of this machine alone."""
    options: dict[str, Any] = (
        {"address": address}
        if address
        else {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": len(available_cores()),
            "num_gpus": len(available_gpus()),
        }
    )
    host, _, port = address.rpartition(":")
    with warnings.catch_warnings():
        # JAX warns of forks; Ray's become other programs at once, and run nothing of JAX.
        warnings.filterwarnings("ignore", message=".*os.fork", category=RuntimeWarning)
        try:
            if port.isdigit():  # where nobody listens, Ray would try for many minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"--ray_address={address}: no Ray cluster answers: {error}") from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a sweep sends nothing anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray 2.60: a cluster asks for the token of this user if there is one, which any local run
    # leaves behind, but a program that connects to it shows the token only if it is told to.
    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_TOKEN" in os.environ or Path(token).exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    return ray
