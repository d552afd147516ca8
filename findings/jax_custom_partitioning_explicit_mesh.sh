#!/usr/bin/env bash
# JAX 0.12: over a mesh with explicit axes, a function that is partitioned by hand must not compute.
#
# Guess: a `custom_partitioning` whose partition gives each device an ordinary function, such as
#   doubling an array that all devices hold, does the same over a mesh of either type of axes, as it
#   does in jax 0.10.2; the types of axes are about what tracing says of arrays.
# Seen (jax 0.12.0.1, four CPU devices): with automatic axes it works. With explicit ones, the default
#   of `jax.make_mesh`, under `jax.set_mesh`, the call ends in a JaxRuntimeError, "NOT_FOUND: No
#   registered implementation for untyped custom call to Sharding for Host", although nothing is
#   sharded: a multiplication in the device's function is enough. A function that hands its argument
#   on works.
# Needs Python 3.12 or newer, as jax 0.12 does: PYTHON=python3.12 findings/...
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.12}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.12.0.1 jaxlib==0.12.0 numpy==2.4.6
cd "$folder"
XLA_FLAGS=--xla_force_host_platform_device_count=4 JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

print("python", sys.version.split()[0], "jax", jax.__version__, "devices", jax.device_count())


def by_hand(function):
    """Returns a function that every device computes for itself, of an array that all hold."""
    whole = custom_partitioning(lambda x: function(x))

    def partition(mesh, arguments, result):
        everywhere = NamedSharding(mesh, P())
        return mesh, function, everywhere, (everywhere,)

    whole.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda mesh, arguments, result: NamedSharding(mesh, P()),
        sharding_rule="a b -> a b",
        need_replication_factors=("a", "b"),
    )
    return whole


found = {}
for axes in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axes,))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((3, 5)), NamedSharding(mesh, P()))
        for name, function in {"handed on": lambda x: x, "doubled": lambda x: 2 * x}.items():
            try:
                found[axes.name, name] = float(jax.jit(by_hand(function))(x).sum())
            except jax.errors.JaxRuntimeError as error:
                found[axes.name, name] = str(error).splitlines()[0]
            print(f"{axes.name} axes, {name}: {found[axes.name, name]}")
error = found["Explicit", "doubled"]
right = found["Auto", "handed on"] == found["Explicit", "handed on"] == 15
right = right and found["Auto", "doubled"] == 30
sys.exit(0 if right and "custom call to Sharding" in str(error) else "it has changed")
PYTHON
