"""Layers on eight devices, whose mesh is part of the arrays' types: as on one, and by a plan.

Every case is compared with one device, and the compiled program is searched for the dense kernel.
"""

import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from kfc_jax import KFCDense, LowRankDense
from tests.kfc_jax.product.native.processes import python

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
SIZE = 256  # of a kernel, squared
KFC = functools.partial(KFCDense, SIZE, structure="8:16x16*16x16+2:8x8*32x32")
LOW_RANK = functools.partial(LowRankDense, SIZE, rank=8)
# The axes of the mesh that rows and columns of the kernel, and the ranks, are split over.
RULES = {
    "whole": {"rows": None, "columns": None},
    "fsdp over ranks": {"ranks": "data", "rows": None, "columns": None},
    "fsdp over rows": {"rows": "data", "columns": None},
    "columns": {"rows": None, "columns": "model"},
    "rows": {"rows": "model", "columns": None},
    "fsdp and columns": {"rows": "data", "columns": "model"},
}


def named(layer):
    names = ("ranks", "rows", "columns")
    kernel_init = nn.with_logical_partitioning(nn.initializers.normal(0.1), names)
    bias_init = nn.with_logical_partitioning(nn.initializers.normal(0.1), ("columns",))
    return layer(kernel_init=kernel_init, bias_init=bias_init)


def loss(layer, params, x):
    y = layer.apply({"params": params}, x)
    return jnp.sum(jnp.sin(y)), y


def evaluate(layer, params, x):
    of_both = jax.value_and_grad(loss, argnums=(1, 2), has_aux=True)
    (_, y), gradients = of_both(layer, params, x)
    return y, gradients


def run(make, batch: int) -> None:
    """Compares all rules; runs where there are eight devices."""
    layer = named(make)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((batch, SIZE)), jnp.float32)
    boxed = layer.init(jax.random.key(0), x)
    params = jax.tree.map(np.asarray, nn.unbox(boxed)["params"])
    expected = jax.tree.map(np.asarray, jax.jit(evaluate, static_argnums=0)(layer, params, x))
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    for name, rules in RULES.items():
        logical = nn.get_partition_spec(boxed)["params"]
        specs = nn.logical_to_mesh(logical, tuple(({"ranks": None} | rules).items()))
        in_rows = "model" if rules["rows"] == "model" else None
        for split in (PartitionSpec("data", in_rows), PartitionSpec(None, in_rows)):
            with jax.set_mesh(mesh):
                placed = jax.tree.map(jax.device_put, params, specs)
                samples = jax.device_put(np.asarray(x), split)
                step = jax.jit(evaluate, static_argnums=0).lower(layer, placed, samples)
                found = step.compile()(placed, samples)
            close(found, expected)
            for array, of_array in zip(placed.values(), found[1][0].values(), strict=True):
                assert of_array.sharding.is_equivalent_to(array.sharding, array.ndim), name
            columns = rules["columns"]
            wanted = jax.NamedSharding(mesh, PartitionSpec(split[0], columns))
            assert found[0].sharding.is_equivalent_to(wanted, 2), name
            check_program(step.compile().as_text(), params, batch)
    print("all right")


def check_program(text: str, params, batch: int) -> None:
    """What is gathered is a factor: never the dense kernel, nor all samples."""
    largest = max(array.size for array in params.values())
    for line in text.splitlines():
        if " all-gather" not in line:
            continue
        for shape in re.findall(r"= \(?f32\[([\d,]*)\]", line):
            size = math.prod(int(side) for side in shape.split(",") if side)
            assert size <= largest < SIZE * SIZE, line
    assert f"f32[{SIZE},{SIZE}]" not in text or batch == SIZE


def run_native() -> None:
    """A share of the samples has a native kernel, as all of them have on one device."""
    with jax.set_mesh(jax.make_mesh((8,), ("data",))):
        for make in (KFC, LOW_RANK):
            layer = make()
            x = jax.device_put(np.ones((512, SIZE), np.float32), PartitionSpec("data"))
            variables = layer.init(jax.random.key(0), jnp.ones((1, SIZE)))
            text = jax.jit(layer.apply).lower(variables, x).as_text()
            print(make.func.__name__, "custom_call @kfc_" in text)


def close(found, expected):
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        error = np.linalg.norm(np.asarray(mine) - theirs) / np.linalg.norm(theirs)
        assert error < 1e-5, error


@pytest.mark.parametrize("make", ["KFC", "LOW_RANK"])
def test_layers_with_logical_names_compute_on_eight_devices_as_on_one(make):
    call = f"import {__name__} as t; t.run(t.{make}, 64)"
    assert python("-c", call, **EIGHT) == "all right\n"


def test_shares_of_samples_have_native_kernels():
    call = f"import {__name__} as t; t.run_native()"
    assert python("-c", call, **EIGHT, KFC_JAX_NATIVE="1") == "KFCDense True\nLowRankDense True\n"
