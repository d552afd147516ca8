"""Factors that lie split over a mesh whose axes are part of the arrays' types, on eight devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from kfc_jax import KroneckerStructure, kronecker_matmul, materialize
from tests.kfc_jax.product.native.processes import python
from tests.kfc_jax.reference import dense_kernel, random_factors

STRUCTURE = KroneckerStructure.parse("8:8x16*16x8")
PADDED = KroneckerStructure.parse("8:8x16*16x8@128x126")
BATCH = 16
AXES = {
    "whole": PartitionSpec(),
    "rank": PartitionSpec("devices"),
    "rows": PartitionSpec(None, "devices"),
    "columns": PartitionSpec(None, None, "devices"),
}
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


def run(*, is_jitted: bool) -> None:
    """Checks all axes of factors, with the batch split and not; runs where there are 8 devices."""
    wrap = jax.jit if is_jitted else lambda function: function
    mesh = jax.make_mesh((8,), ("devices",))
    assert "Explicit" in str(mesh.axis_types), "make_mesh's default is no longer explicit"
    pairs = [(name, name) for name in AXES] + [("rank", "columns"), ("rows", "whole")]
    with jax.set_mesh(mesh):
        for names, batch in itertools.product(pairs, (PartitionSpec(), PartitionSpec("devices"))):
            specs = [AXES[name] for name in names]
            check(STRUCTURE, specs, batch, wrap)
        check(PADDED, [AXES["columns"], AXES["rank"]], PartitionSpec("devices"), wrap)
    print("all right")


def run_on_two_axes() -> None:
    """Batch and factors are split over axes of their own."""
    with jax.set_mesh(jax.make_mesh((2, 4), ("data", "model"))):
        for place in range(3):
            spec = PartitionSpec(*[None] * place, "model")
            check(STRUCTURE, [spec, spec], PartitionSpec("data"), jax.jit)
            check(STRUCTURE, [spec, spec], PartitionSpec(("data", "model")), jax.jit)
        check(STRUCTURE, [AXES["whole"]] * 2, PartitionSpec("data", "model"), jax.jit)
        check(STRUCTURE, [AXES["whole"]] * 2, PartitionSpec(None, "model"), jax.jit)
    print("all right")


def run_on_sequences() -> None:
    """Samples have two leading axes, either of which may be split."""
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    (wide,) = random_factors(STRUCTURE, dtype=np.float32)
    x = np.random.default_rng(0).standard_normal((4, 8, STRUCTURE.inputs)).astype(np.float32)
    with jax.set_mesh(mesh):
        factors = jax.device_put(wide, PartitionSpec())
        for spec in (("data", "model"), (None, "model"), ("model",), (None, None, "model")):
            placed = jax.device_put(x, PartitionSpec(*spec))
            product = jax.jit(lambda x: kronecker_matmul(x, [factors]))
            close(product(placed), x.astype(float) @ dense_kernel(STRUCTURE, [wide]))
            (of_x,) = jax.vjp(product, placed)[1](jnp.ones_like(product(placed)))
            assert jax.typeof(of_x) == jax.typeof(placed)
    print("all right")


def check(structure, specs, batch, wrap):
    (wide,) = random_factors(structure, dtype=np.float32)
    rng = np.random.default_rng(1)
    sizes = structure.inputs, structure.features
    x, g = (rng.standard_normal((BATCH, n)).astype(np.float32) for n in sizes)
    arrays = [
        jax.device_put(array, s) for array, s in zip((x, *wide), (batch, *specs), strict=True)
    ]
    x, g, kernel = x.astype(float), g.astype(float), dense_kernel(structure, [wide])

    def check_one(function, arrays, cotangent, expected, of_arrays):
        @wrap
        def forward_and_backward(*arrays):
            result, transpose = jax.vjp(function, *arrays)
            of_result = jnp.asarray(cotangent, np.float32)
            return result, transpose(jax.sharding.reshard(of_result, jax.typeof(result).sharding))

        result, found = forward_and_backward(*arrays)
        close(result, expected)
        for array, mine, theirs in zip(arrays, found, of_arrays, strict=True):
            close(mine, theirs)
            assert jax.typeof(mine) == jax.typeof(array)  # it lies where its array does

    check_one(
        lambda x, *factors: kronecker_matmul(x, [factors], structure=structure),
        arrays,
        g,
        x @ kernel,
        (g @ kernel.T, *gradients_of_factors(structure, wide, x.T @ g)),
    )
    check_one(
        lambda *factors: materialize([factors], structure=structure),
        arrays[1:],
        of_kernel := rng.standard_normal(sizes),
        kernel,
        gradients_of_factors(structure, wide, of_kernel),
    )


def gradients_of_factors(structure, factors, of_kernel):
    """The gradients of both factors of one term, by that of its kernel."""
    (term,) = structure.terms
    (n1, m1), (n2, m2) = term.shapes
    whole = np.zeros((term.inputs, term.features))
    whole[: structure.inputs, : structure.features] = of_kernel
    whole = whole.reshape(n1, n2, m1, m2)
    a, b = factors
    return np.einsum("ikjl,rkl->rij", whole, b), np.einsum("ikjl,rij->rkl", whole, a)


def close(found, expected):
    error = np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)
    assert error < 2e-6, error


@pytest.mark.parametrize("call", ["run(is_jitted=True)", "run(is_jitted=False)"])
def test_factors_may_be_split_along_any_axis(call):
    assert python("-c", f"import {__name__} as t; t.{call}", **EIGHT) == "all right\n"


def test_batch_and_factors_may_be_split_over_axes_of_their_own():
    assert python("-c", f"import {__name__} as t; t.run_on_two_axes()", **EIGHT) == "all right\n"


def test_either_leading_axis_may_be_split():
    assert python("-c", f"import {__name__} as t; t.run_on_sequences()", **EIGHT) == "all right\n"


def test_without_a_mesh_nothing_is_split():
    from kfc_jax.product.sharding import is_sharded_by_type, varying_axes

    array = jnp.ones((2, 3))
    assert not is_sharded_by_type(array)
    assert varying_axes(jax.typeof(array)) == frozenset()
