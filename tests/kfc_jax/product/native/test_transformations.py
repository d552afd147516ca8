"""Native kernels under JAX's transformations, against a dense kernel under the same ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import kronecker_matmul
from kfc_jax.product import native
from tests.kfc_jax.product.native.processes import python

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())

BATCH, RANK, PAIR = 8, 2, ((3, 5), (7, 2))


def arrays(*leading, seed=0, batch=BATCH):
    """Returns samples `(batch, 21)` and two factors, all with more axes in front."""
    rng = np.random.default_rng(seed)
    shapes = [(batch, 21), *((RANK, *shape) for shape in PAIR)]
    return [jnp.asarray(rng.standard_normal((*leading, *s)), "float32") for s in shapes]


def ours(x, a, b, **options):
    return kronecker_matmul(x, [(a, b)], strategy="native", precision="highest", **options)


def dense(x, a, b):
    kernel = sum(jnp.kron(a[r], b[r]) for r in range(RANK))
    return jnp.matmul(x, kernel, precision="highest")


def loss(function, x, a, b):
    return jnp.sum(jnp.sin(function(x, a, b)))


def gradients(function):
    return jax.grad(functools.partial(loss, function), argnums=(0, 1, 2))


def check(mine, theirs, *arguments, kernels=None):
    """Compares two functions; `kernels`: how many native kernels the first compiles to."""
    compiled = jax.jit(mine).lower(*arguments).compile()
    results, wanted = compiled(*arguments), theirs(*arguments)
    assert jax.tree.structure(results) == jax.tree.structure(wanted)
    for result, expected in zip(*map(jax.tree.leaves, (results, wanted)), strict=True):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        largest = float(jnp.max(jnp.abs(expected)))
        np.testing.assert_allclose(result, expected, rtol=2e-4, atol=3e-5 * largest)
    if kernels is not None:
        assert compiled.as_text().count('custom_call_target="kfc_') == kernels


def test_with_and_without_jit():
    np.testing.assert_allclose(ours(*arrays()), dense(*arrays()), rtol=1e-5, atol=1e-5)
    check(ours, dense, *arrays(), kernels=1)


def test_gradients_of_everything():
    check(gradients(ours), gradients(dense), *arrays(), kernels=2)
    for mine, theirs in zip(gradients(ours)(*arrays()), gradients(dense)(*arrays()), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("argument", range(3))
def test_gradients_of_one_argument(argument):
    mine, theirs = (
        jax.grad(functools.partial(loss, function), argnums=argument) for function in (ours, dense)
    )
    check(mine, theirs, *arrays())


def test_gradients_of_gradients():
    def twice(function):
        def of_gradients(x, a, b):
            return sum(jnp.sum(g**2) for g in gradients(function)(x, a, b))

        return jax.grad(of_gradients, argnums=(0, 1, 2))

    check(twice(ours), twice(dense), *arrays())


def test_forward_over_reverse():
    def along(function):
        return lambda *each: jax.jvp(gradients(function), each, tuple(arrays(seed=3)))

    check(along(ours), along(dense), *arrays())


@pytest.mark.parametrize(
    ("in_axes", "kernels"),
    [((0, None, None), 1), ((1, None, None), 1), ((None, 0, 0), None), ((0, 0, 0), None)],
    ids=["samples", "samples of another axis", "factors", "both"],
)
@pytest.mark.parametrize("transform", [lambda f: f, gradients], ids=["values", "gradients"])
def test_vmap(in_axes, kernels, transform):
    mine, theirs = (jax.vmap(transform(function), in_axes) for function in (ours, dense))
    drawn = zip(arrays(4), arrays(), in_axes, strict=True)
    each = [one if axis is None else jnp.moveaxis(four, 0, axis) for four, one, axis in drawn]
    # Mapped samples are more samples of one kernel; for mapped factors there is none.
    check(mine, theirs, *each, kernels=kernels if transform is not gradients else None)


def test_vmap_of_vmap():
    each = [arrays(2, 3)[0], *(f[0] for f in arrays(1)[1:])]
    mine, theirs = (
        jax.vmap(jax.vmap(function, (0, None, None)), (0, None, None)) for function in (ours, dense)
    )
    check(mine, theirs, *each, kernels=1)


def test_remat():
    def twice(function, wrap):
        def run(x, a, b):
            hidden = wrap(function)(x, a, b)
            return jnp.sum(jnp.sin(jnp.tile(hidden, (1, 3))[:, :21] * x))

        return jax.grad(run, argnums=(0, 1, 2))

    check(twice(ours, jax.checkpoint), twice(dense, lambda f: f), *arrays())


def test_scan():
    def run(function):
        def body(x, factors):
            y = jnp.tanh(function(x, *factors))
            return jnp.tile(y, (1, 3))[:, :21], jnp.sum(y)

        def whole(x, a, b):
            last, sums = jax.lax.scan(body, x, (a, b))
            return jnp.sum(last**2) + jnp.sum(sums)

        return whole

    x, *factors = arrays()[0], *arrays(5)[1:]
    check(run(ours), run(dense), x, *factors, kernels=1)
    mine, theirs = (jax.grad(run(function), argnums=(0, 1, 2)) for function in (ours, dense))
    check(mine, theirs, x, *factors)


def test_while_and_cond():
    def run(function):
        def step(_, x):
            y = jax.lax.cond(
                x[0, 0] > 0, lambda v: function(*v), lambda v: -function(*v), (x, a, b)
            )
            return jnp.tile(jnp.tanh(y), (1, 3))[:, :21]

        return lambda x: jax.lax.fori_loop(0, jnp.int32(x.shape[0]), step, x)

    x, a, b = arrays()
    check(run(ours), run(dense), x)


@pytest.mark.parametrize("batch", [1, 5])
def test_linearize(batch):
    each, tangents = (tuple(arrays(seed=seed, batch=batch)) for seed in (0, 1))
    y, push = jax.linearize(ours, *each)
    expected, wanted = jax.jvp(dense, each, tangents)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(push(*tangents), wanted, rtol=1e-4, atol=1e-4)
    transposed = jax.linear_transpose(push, *each)(y)
    for mine, theirs in zip(transposed, jax.vjp(dense, *each)[1](y), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transform", [lambda f: f, gradients], ids=["values", "gradients"])
@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "tpu", "cuda")], ids=["cpu", "all"])
def test_an_exported_program_holds_no_kernel_and_runs(transform, platforms):
    function = jax.jit(transform(ours))
    function(*arrays())  # a trace that is kept must not bring the kernel along
    exported = jax.export.export(function, platforms=platforms)(*arrays())
    assert "@kfc_" not in exported.mlir_module()
    results, wanted = exported.call(*arrays()), transform(dense)(*arrays())
    for result, expected in zip(*map(jax.tree.leaves, (results, wanted)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    # Nor is XLA's program then kept for those who do not export.
    assert "@kfc_" in function.lower(*arrays()).as_text()


def test_a_program_for_another_platform_holds_no_kernel():
    lowered = jax.jit(gradients(ours)).trace(*arrays()).lower(lowering_platforms=("tpu",))
    assert "@kfc_" not in lowered.as_text()


def test_no_samples():
    x, a, b = arrays(batch=1)
    assert ours(x[:0], a, b).shape == (0, 10)
    of_x, of_a, of_b = gradients(ours)(x[:0], a, b)
    assert of_x.shape == (0, 21)
    assert not of_a.any()
    assert not of_b.any()


def test_numbers_that_are_not_finite_stay_where_they_are():
    x, a, b = arrays()
    x = x.at[2, 3].set(jnp.nan).at[5].set(jnp.inf)
    y = ours(x, a, b)
    bad = ~np.isfinite(np.asarray(y))
    assert set(np.flatnonzero(bad.any(1))) == {2, 5}


DEVICES = f"""
import jax, numpy as np
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
import {__name__} as t

mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
on_batch, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
x, a, b = t.arrays(batch=64)
both = lambda function: lambda *each: (function(*each), t.gradients(function)(*each))
wanted = both(t.dense)(x, a, b)

def close(results):
    for result, expected in zip(*map(jax.tree.leaves, (results, wanted)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=3e-4, atol=3e-4)

sharded = jax.device_put(x, on_batch), *jax.device_put((a, b), everywhere)
"""
BY_JIT = """
for name, function in (("values", t.ours), ("gradients", t.gradients(t.ours))):
    text = jax.jit(function).lower(*sharded).compile().as_text()
    print(name, "kernels", text.count('target="kfc_'), "gathers", text.count("all-gather"))
    print(name, "its own samples", "f32[8,21]" in text, "all samples", "f32[64,21]" in text)
result = jax.jit(both(t.ours))(*sharded)
close(result)
y, (of_x, of_a, _) = result
print("sharded", *(v.sharding.is_equivalent_to(on_batch, 2) for v in (y, of_x)))
print("replicated", of_a.sharding.is_fully_replicated)
"""
BY_SHARD_MAP = """
def on_a_device(x, a, b):
    y, (of_x, of_a, of_b) = both(t.ours)(x, a, b)
    return y, (of_x, of_a, of_b)

spec = (P("data"), P(), P())
split = jax.shard_map(on_a_device, mesh=mesh, in_specs=spec, out_specs=(P("data"), spec))
close(jax.jit(split)(*sharded))
text = jax.jit(split).lower(*sharded).compile().as_text()
print("kernels", text.count('custom_call_target="kfc_') > 0, "gathers", text.count("all-gather"))
explicit = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
with jax.set_mesh(explicit):
    split = jax.shard_map(on_a_device, in_specs=spec, out_specs=(P("data"), spec))
    each = jax.device_put(x, P("data")), *jax.device_put((a, b), P())
    close(jax.jit(split)(*each))
print("done")
"""
TWO_AXES = """
mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
for spec in (P(("data", "model")), P("model"), P(None, "model"), P("data", "model")):
    try:
        placed = jax.device_put(x, NamedSharding(mesh, spec))
    except ValueError:  # 21 inputs cannot be split by 4
        placed = jax.device_put(x, NamedSharding(mesh, P(spec[0])))
    for factor_spec in (P(), P("data"), P(None, None, None)):
        factors = jax.device_put((a, b), NamedSharding(mesh, factor_spec))
        close(jax.jit(both(t.ours))(placed, *factors))
one = jax.device_put((x, a, b), jax.devices()[5])
close(jax.jit(both(t.ours))(*one))
print("done")
"""
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


def test_a_batch_that_is_sharded_by_jit_is_not_gathered():
    assert python("-c", DEVICES + BY_JIT, **EIGHT).splitlines() == [
        "values kernels 1 gathers 0",
        "values its own samples True all samples False",
        "gradients kernels 2 gathers 0",
        "gradients its own samples True all samples False",
        "sharded True True",
        "replicated True",
    ]


def test_shard_map_over_eight_devices():
    assert python("-c", DEVICES + BY_SHARD_MAP, **EIGHT) == "kernels True gathers 0\ndone\n"


def test_any_sharding_by_jit_gives_the_same_values():
    # JAX 0.12 prints lines of its own before.
    assert python("-c", DEVICES + TWO_AXES, **EIGHT).splitlines()[-1] == "done"


UNEVEN = """
for rows in (13, 16):
    cut = lambda x, a, b: jnp.exp(0.1 * x)[:rows]
    function = lambda x, a, b: jnp.mean(t.ours(cut(x, a, b), a, b) ** 2)
    expected = lambda x, a, b: jnp.mean(t.dense(cut(x, a, b), a, b) ** 2)
    x, a, b = t.arrays(batch=16)
    x = x.at[13:].set(jnp.nan) if rows == 13 else x
    placed = jax.device_put(x, on_batch), *jax.device_put((a, b), everywhere)
    found = jax.jit(jax.grad(function, argnums=(1, 2)))(*placed)
    for mine, theirs in zip(found, jax.grad(expected, argnums=(1, 2))(x, a, b)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
print("done")
"""


def test_samples_that_devices_cannot_share_evenly_enter_the_sums_once():
    """XLA fills up the last device's share with whatever lies there."""
    assert python("-c", DEVICES + UNEVEN, **EIGHT).splitlines()[-1] == "done"


def test_without_jit_at_all():
    with jax.disable_jit():
        np.testing.assert_allclose(ours(*arrays()), dense(*arrays()), rtol=1e-5, atol=1e-5)


def test_a_nan_that_a_kernel_makes_is_found_where_nans_are_looked_for():
    x, a, b = arrays()
    with jax.debug_nans(True):
        for function in (ours, jax.jit(lambda *each: ours(*each) - 1)):
            with pytest.raises(FloatingPointError, match="kfc_multiply"):
                function(jnp.full_like(x, 3e38), a, b)


@pytest.mark.parametrize("shape", [(3, 0, 21), (0, 5, 21), (0, 21)])
def test_nothing_to_multiply(shape):
    _, a, b = arrays()
    function = jax.vmap(lambda x: ours(x, a, b)) if len(shape) == 3 else lambda x: ours(x, a, b)
    assert function(jnp.zeros(shape)).shape == (*shape[:-1], 10)
    assert jax.grad(lambda x: jnp.sum(function(x)))(jnp.zeros(shape)).shape == shape


def test_the_transpose_of_what_is_linear():
    x, a, b = arrays()
    g = jnp.ones((BATCH, 10))
    functions = (ours, dense)
    mine, theirs = (jax.linear_transpose(lambda x, f=f: f(x, a, b), x)(g)[0] for f in functions)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
