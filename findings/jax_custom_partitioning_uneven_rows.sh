#!/usr/bin/env bash
# JAX: where devices cannot share rows evenly, custom_partitioning hands on rows that do not exist.
#
# Guess: an array of 13 rows that is split over four devices reaches the function of a
#   `custom_partitioning` as 4, 4, 4 and 1 rows, or as four times 4 with zeros in the last three, so
#   that a sum over a device's rows, added over the devices by `psum`, is the sum of the 13 rows.
# Seen (jax 0.10.2, four CPU devices): every device gets four rows, and the last three of them hold
#   what lay there before: of `exp(x)[:13]`, with x of 16 rows sharded by jit, the three rows that were
#   cut off. They enter the sum, without a word. With 12 or 16 rows the sum is right, and so is XLA's
#   own sum of 13.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
XLA_FLAGS=--xla_force_host_platform_device_count=4 JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

print("python", sys.version.split()[0], "jax", jax.__version__, "devices", jax.device_count())
mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
by_rows, whole = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())
local_rows = []


@custom_partitioning
def total(x):
    return jnp.sum(x)


def partition(mesh, arguments, result):
    def on_a_device(x):
        local_rows.append(x.shape[0])
        return jax.lax.psum(jnp.sum(x), "d")

    return mesh, on_a_device, whole, (by_rows,)


total.def_partition(
    partition=partition,
    infer_sharding_from_operands=lambda mesh, arguments, result: whole,
    sharding_rule="b n -> ",
    need_replication_factors=("n",),
)
x = jnp.ones((16, 3)).at[13:].set(100.0)  # rows 13 to 15 are cut off before the sum
placed = jax.device_put(x, by_rows)
found = {}
for rows in (12, 13, 16):
    local_rows.clear()
    found[rows] = float(jax.jit(lambda x: total(2 * x[:rows]))(placed))
    plain = float(jax.jit(lambda x: jnp.sum(2 * x[:rows]))(placed))
    print(rows, "rows: XLA's sum", plain, "by custom_partitioning", found[rows], "local", local_rows)
    if rows != 13 and found[rows] != plain:
        sys.exit("it has changed: an even split is wrong as well")
if found[13] == 13 * 3 * 2:
    sys.exit("it has changed: rows that do not exist are not handed on")
PYTHON
