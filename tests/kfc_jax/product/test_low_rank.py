"""Products with two thin matrices: what they are, however they are done."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfc_jax.product import low_rank_matmul, native_unavailable
from tests.kfc_jax.product.native.processes import python
from tests.kfc_jax.reference import unchecked

BATCH, INPUTS, RANK, FEATURES = 20, 33, 3, 47
needs_kernels = pytest.mark.skipif(bool(native_unavailable()), reason=native_unavailable())


def arrays(*leading, rank=RANK, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((*(leading or (BATCH,)), INPUTS), (INPUTS, rank), (rank, FEATURES))
    return [jnp.asarray(rng.standard_normal(shape), "float32") for shape in shapes]


def plain(x, u, v):
    return jnp.matmul(jnp.matmul(x, u, precision="highest"), v, precision="highest")


def loss(product, x, u, v):
    return jnp.sum(jnp.sin(product(x, u, v)))


def close(mine, theirs, tolerance=2e-5):
    for result, expected in zip(*map(jax.tree.leaves, (mine, theirs)), strict=True):
        scale = np.max(np.abs(expected), initial=1e-30)
        np.testing.assert_allclose(result / scale, expected / scale, rtol=0, atol=tolerance)


def kernels_in(function, *operands) -> list[str]:
    text = jax.jit(function).lower(*operands).compile().as_text()
    return [line for line in text.splitlines() if 'custom_call_target="kfc_thin' in line]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 150),
    st.integers(1, 20),
    st.integers(1, 150),
    st.sampled_from(["float32", "float64"]),
)
def test_values_and_gradients_are_those_of_two_products(batch, inputs, rank, features, dtype):
    rng = np.random.default_rng(batch)
    shapes = ((batch, inputs), (inputs, rank), (rank, features), (batch, features))
    x, u, v, g = (rng.standard_normal(shape).astype(dtype) for shape in shapes)

    def call(x, u, v, g):
        y, transpose = jax.vjp(low_rank_matmul, x, u, v)
        return y, *transpose(g)

    with jax.enable_x64(dtype == "float64"):
        results = [np.asarray(result) for result in jax.jit(call)(x, u, v, g)]

    def maths(x, u, v, g):
        x, u, v, g = (array.astype(np.float64) for array in (x, u, v, g))
        return x @ u @ v, g @ v.T @ u.T, x.T @ (g @ v.T), (x @ u).T @ g

    expected, added = maths(x, u, v, g), maths(*map(np.abs, (x, u, v, g)))
    for result, wanted, scale in zip(results, expected, added, strict=True):
        assert result.dtype == dtype
        assert np.max(np.abs(result - wanted) / scale) <= 16 * np.finfo(dtype).eps


TRANSFORMATIONS = {
    "gradient": lambda f: jax.grad(f, (0, 1, 2)),
    "gradient of the matrices": lambda f: jax.grad(f, (1, 2)),
    "gradient of the samples": lambda f: jax.grad(f, 0),
    "gradient of one matrix": lambda f: jax.grad(f, 2),
    "forward mode": lambda f: lambda *a: jax.jvp(f, a, tuple(jnp.cos(x) for x in a))[1],
    "forward mode of one": lambda f: lambda x, u, v: jax.jvp(lambda u: f(x, u, v), (u,), (u,))[1],
    "Hessian": lambda f: jax.hessian(f, 1),
    "forward over reverse": lambda f: lambda *a: jax.jvp(jax.grad(f, (0, 1)), a, a)[1],
    "remat": lambda f: jax.grad(jax.checkpoint(f), (0, 1, 2)),
}


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_derivatives(name, compile_):
    mine, theirs = (
        compile_(TRANSFORMATIONS[name](functools.partial(loss, product)))(*arrays())
        for product in (low_rank_matmul, plain)
    )
    close(mine, theirs)


@pytest.mark.parametrize("mapped", [(0, None, None), (None, 0, None), (0, 0, 0), (1, None, 1)])
def test_mapped(mapped):
    stacks = [
        array if axis is None else jnp.stack([array, 2 * array, -array], axis)
        for array, axis in zip(arrays(), mapped, strict=True)
    ]
    for transform in (lambda f: f, lambda f: jax.grad(f, (0, 1, 2))):
        mine, theirs = (
            jax.vmap(transform(functools.partial(loss, product)), mapped)(*stacks)
            for product in (low_rank_matmul, plain)
        )
        close(mine, theirs)


@needs_kernels
def test_the_gradient_of_a_mapped_product_is_one_kernel():
    x, u, v = arrays(4, 5)

    def total(u, v):
        return jnp.sum(jax.vmap(lambda x: loss(low_rank_matmul, x, u, v))(x))

    assert len(kernels_in(jax.grad(total, (0, 1)), u, v)) == 2
    close(jax.grad(total, (0, 1))(u, v), jax.grad(loss, (2, 3))(plain, x, u, v))


@needs_kernels
def test_the_gradient_of_samples_is_computed_only_where_it_is_wanted():
    x, u, v = arrays()
    of_matrices = jax.grad(functools.partial(loss, low_rank_matmul), (1, 2))
    of_all = jax.grad(functools.partial(loss, low_rank_matmul), (0, 1, 2))
    shape = f"f32[{BATCH},{INPUTS}]"

    def results(function):
        backward = max(kernels_in(function, x, u, v), key=len)
        return backward.split(" custom-call(")[0]

    assert shape in results(of_all)
    assert shape not in results(of_matrices)


@needs_kernels
@pytest.mark.parametrize(("rank", "dtype"), [(40, "float32"), (3, "bfloat16")])
def test_xla_does_what_kernels_are_no_faster_at(rank, dtype):
    x, u, v = (array.astype(dtype) for array in arrays(rank=rank))
    assert not kernels_in(low_rank_matmul, x, u, v)
    close(
        low_rank_matmul(x, u, v).astype("float32"),
        plain(*(array.astype("float32") for array in (x, u, v))),
        tolerance=1e-5 if dtype == "float32" else 2e-2,
    )


@needs_kernels
def test_a_large_first_matrix_of_a_high_rank_has_a_kernel_for_the_gradient_alone():
    rng = np.random.default_rng(0)
    x, u, v = (
        jnp.asarray(rng.standard_normal(s), "float32") for s in ((4, 1025), (1025, 16), (16, 7))
    )
    assert not kernels_in(low_rank_matmul, x, u, v)
    u = u / 100  # the sine of a large number tells little
    gradient = jax.grad(functools.partial(loss, low_rank_matmul), (0, 1, 2))
    assert len(kernels_in(gradient, x, u, v)) == 1
    close(gradient(x, u, v), jax.grad(functools.partial(loss, plain), (0, 1, 2))(x, u, v), 1e-4)


def test_another_product_is_taken_for_both():
    seen = []

    def spy(*args, **keywords):
        seen.append(args[0].shape)
        return jax.lax.dot_general(*args, **keywords)

    x, u, v = arrays(2, 5)
    close(low_rank_matmul(x, u, v, dot_general=spy), plain(x, u, v))
    assert seen == [(2, 5, INPUTS), (2, 5, RANK)]


@pytest.mark.parametrize("shape", [(0, INPUTS), (3, 0, INPUTS), (INPUTS,)])
def test_few_or_no_samples(shape):
    _, u, v = arrays()
    x = jnp.ones(shape)
    close(low_rank_matmul(x, u, v), plain(x, u, v))
    of_u = jax.grad(functools.partial(loss, low_rank_matmul), 1)(x, u, v)
    close(of_u, jax.grad(functools.partial(loss, plain), 1)(x, u, v))


def test_sizes_that_do_not_fit_are_named():
    x, u, v = arrays()
    with unchecked(), pytest.raises(ValueError, match=r"\(20, 33\).*\(3, 47\) and \(33, 3\)"):
        low_rank_matmul(x, v, u)


SPLIT = f"""
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import {__name__} as t

x, u, v = t.arrays({{samples}}, rank={{rank}})
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        split = jax.device_put(x, NamedSharding(mesh, P("data" if {{samples}} % 8 == 0 else None)))
        for which in ((0, 1, 2), (1, 2)):
            grad = jax.jit(jax.grad(lambda *a: t.loss(t.low_rank_matmul, *a), which))
            whole = jax.grad(lambda *a: t.loss(t.plain, *a), which)(x, u, v)
            t.close(grad(split, u, v), whole)
            text = grad.lower(split, u, v).compile().as_text()
            print(kind.name, "kfc_thin" in text, "all-gather" in text)
"""


@needs_kernels
@pytest.mark.parametrize(("samples", "rank"), [(24, 3), (20, 3), (24, 16)])
def test_samples_that_are_split_over_devices_stay_there(samples, rank):
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    script = SPLIT.replace("{samples}", str(samples)).replace("{rank}", str(rank))
    lines = python("-c", script, **eight).splitlines()
    assert [line for line in lines if line.startswith("Auto")] == ["Auto True False"] * 2
