"""How arrays lie on the devices of a run."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def shardings() -> tuple[NamedSharding, NamedSharding]:
    """Returns how the state (replicated) and a batch (split) lie on all devices.

    They form a mesh with one axis, `data`; one device is a mesh of one.
    """
    mesh = Mesh(np.array(jax.devices()), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
