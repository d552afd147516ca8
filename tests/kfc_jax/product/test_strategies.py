"""Programs: in every strategy, the values and the gradients are those of the dense kernel."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from kfc_jax import KFCDense, KroneckerStructure, kronecker_matmul
from kfc_jax.product.cost_model import Work
from kfc_jax.product.program import STRATEGIES, Program
from kfc_jax.product.strategies import gradients, multiply
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors, structures

LOOPED = [s for s in STRATEGIES if s not in ("materialize", "native")]


def random_arrays(structure, batch, dtype="float32"):
    rng = np.random.default_rng(3)
    x, g = (rng.standard_normal((batch, n)) for n in (structure.inputs, structure.features))
    factors = jax.tree.map(lambda a: jnp.asarray(a, dtype), random_factors(structure))
    return jnp.asarray(x, dtype), jnp.asarray(g, dtype), tuple(map(tuple, factors))


def relative_error(actual, expected):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1)


def dense_gradients(structure, x, g, factors):
    """The gradients by autodiff of a plain sum of Kronecker products, in float64."""

    def loss(x, factors):
        kernel = 0
        for term, arrays in zip(structure.terms, factors, strict=True):
            for r in range(term.rank):
                product = functools.reduce(jnp.kron, [array[r] for array in arrays])
                kernel += product[: structure.inputs, : structure.features]
        return jnp.sum(g * (x @ kernel))

    return jax.grad(loss, (0, 1))(x, factors)


@st.composite
def programs(draw):
    structure = draw(structures(max_terms=1, max_factors=3, max_rank=3))
    batch = draw(st.integers(1, 20))
    factors = structure.terms[0].num_factors
    strategy = draw(st.sampled_from(LOOPED if factors > 1 else ["materialize"]))
    split = draw(st.integers(1 if strategy == "batched" or factors == 2 else 0, factors - 1))
    chunk = {"per_sample": 1, "whole_batch": batch, "materialize": batch}.get(strategy)
    chunk = chunk or draw(st.integers(1, batch))
    return structure, batch, Program((0,), strategy, split, draw(st.booleans()), chunk, Work())


def check_values_and_gradients(structure, batch, program):
    with jax.enable_x64(True):
        x, g, factors = random_arrays(structure, batch, "float64")

        @jax.jit
        def run(x, g, factors):
            return (
                multiply(program, structure, "highest", x, factors),
                gradients(program, structure, "highest", x, factors, g),
                dense_gradients(structure, x, g, factors),
            )

        y, found, expected = run(x, g, factors)
        assert relative_error(y, np.asarray(x) @ dense_kernel(structure, factors)) < 1e-12
        errors = jax.tree.map(relative_error, found, expected)
        assert max(jax.tree.leaves(errors)) < 1e-12


@settings(max_examples=25, deadline=None)
@given(programs())
def test_values_and_gradients_are_the_dense_kernels(case):
    check_values_and_gradients(*case)


@pytest.mark.parametrize("strategy", [s for s in LOOPED if s != "batched"])
def test_factors_that_are_not_formed_into_two_are_contracted_in_turn(strategy):
    structure = KroneckerStructure.parse("2:3x2*2x2*2x4")
    chunk = {"per_sample": 1, "chunked": 2}.get(strategy, 5)
    program = Program((0,), strategy, 0, True, chunk, Work())
    check_values_and_gradients(structure, 5, program)


TEXTS = ["3:3x4*5x2", "2:2x3*3x2*2x2+1:4x4*3x3", "2:5x4*5x5@24x19"]


@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
@pytest.mark.parametrize("text", TEXTS)
def test_a_forced_strategy_changes_nothing_but_the_way(text, strategy):
    structure = KroneckerStructure.parse(text)
    x, g, factors = random_arrays(structure, 19)

    @jax.jit
    def run(x, factors):
        def product(x, factors):
            return kronecker_matmul(
                x,
                factors,
                structure=structure,
                precision="highest",
                strategy=strategy,
            )

        y, transpose = jax.vjp(product, x, factors)
        return y, transpose(g), dense_gradients(structure, x, g, factors)

    y, found, expected = run(x, factors)
    assert relative_error(y, np.asarray(x) @ dense_kernel(structure, factors)) < 1e-5
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, expected))) < 1e-5


def scans(jaxpr):
    return str(jaxpr).count(" scan[")


def test_a_forced_strategy_is_the_one_that_runs():
    structure = KroneckerStructure.parse("2:3x4*5x2")
    x, _, factors = random_arrays(structure, 64)
    for strategy, loops in [("per_sample", 1), ("chunked", 1), ("whole_batch", 0)]:
        run = functools.partial(kronecker_matmul, strategy=strategy)
        assert (scans(jax.make_jaxpr(run)(x, factors)) > 0) == bool(loops), strategy


def test_an_unknown_strategy_is_an_error_that_names_the_known_ones():
    structure = KroneckerStructure.parse("2:3x4*5x2")
    x, _, factors = random_arrays(structure, 4)
    message = message_of(kronecker_matmul, x, factors, strategy="quick")
    assert "'quick'" in message
    assert all(name in message for name in STRATEGIES)


# Transformations


def product_and_reference(text="3:3x4*5x2", batch=12, **kwargs):
    """Returns a planned product that loops over samples, a dense one, and arguments for both."""
    structure = KroneckerStructure.parse(text)
    x, _, factors = random_arrays(structure, batch, "float64")
    planned = functools.partial(
        kronecker_matmul, structure=structure, strategy="per_sample", **kwargs
    )

    def reference(x, factors):
        a, b = factors[0]
        kernel = jnp.einsum("rip,rjq->ijpq", a, b).reshape(structure.inputs, structure.features)
        return x @ kernel

    return planned, reference, x, factors


def check_alike(transform, *, tolerance=1e-11, **kwargs):
    """Checks that a transformation of the planned product gives what it gives of the dense one."""
    with jax.enable_x64(True):
        planned, reference, x, factors = product_and_reference(**kwargs)
        found, expected = (jax.jit(transform(f))(x, factors) for f in (planned, reference))
        errors = jax.tree.map(relative_error, found, expected)
        assert max(jax.tree.leaves(errors)) < tolerance


def loss_of(product):
    return lambda x, factors: jnp.sum(jnp.sin(product(x, factors)))


def test_vmap():
    def over_both(product):
        return lambda x, factors: jax.vmap(product)(
            jnp.stack([x, 2 * x]),
            jax.tree.map(
                lambda a: jnp.stack(
                    [
                        a,
                        -a,
                    ]
                ),
                factors,
            ),
        )

    check_alike(over_both)
    check_alike(lambda product: jax.grad(lambda x, f: over_both(loss_of(product))(x, f).sum(), 1))


def test_remat():
    check_alike(lambda product: jax.grad(jax.checkpoint(loss_of(product)), (0, 1)))


def test_hessian_vector_products_forward_over_reverse():
    def hvp(product):
        gradient = jax.grad(loss_of(product), 1)

        def run(x, factors):
            tangents = jax.tree.map(jnp.cos, factors)
            return jax.jvp(lambda f: gradient(x, f), (factors,), (tangents,))

        return run

    check_alike(hvp)


def test_gradients_of_gradients():
    def second(product):
        def norm(x, factors):
            return sum(
                jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss_of(product))(x, factors))
            )

        return jax.grad(norm, (0, 1))

    check_alike(second)


@pytest.mark.parametrize("transform", [jax.jvp, jax.linearize])
def test_forward_mode(transform):
    def tangents(product):
        def run(x, factors):
            if transform is jax.jvp:
                return jax.jvp(product, (x, factors), (jnp.cos(x), factors))
            y, linear = jax.linearize(product, x, factors)
            return y, linear(jnp.cos(x), factors)

        return run

    check_alike(tangents)


def test_forward_mode_passes_finite_differences():
    with jax.enable_x64(True):
        planned, _, x, factors = product_and_reference(batch=3)
        check_grads(loss_of(planned), (x, factors), order=2, atol=1e-4, rtol=1e-4)


def test_forward_mode_reaches_the_layer():
    layer = KFCDense(8, structure="3:3x4*5x2")
    x = jnp.ones((4, 15))
    variables = layer.init(jax.random.key(0), x)
    y, tangent = jax.jvp(lambda x: layer.apply(variables, x), (x,), (x,))
    np.testing.assert_allclose(y - variables["params"]["bias"], tangent, rtol=1e-5, atol=1e-6)


@pytest.fixture
def mesh():
    assert len(jax.devices()) == int(os.environ.get("JAX_NUM_CPU_DEVICES", len(jax.devices())))
    return Mesh(np.array(jax.devices()[:4]), ("data",))


def test_shard_map_sums_the_gradients_of_shared_factors(mesh):
    def sharded(product):
        def run(x, factors):
            def loss(x, factors):
                return jax.lax.psum(loss_of(product)(x, factors), "data")

            mapped = jax.shard_map(
                loss,
                mesh=mesh,
                in_specs=(PartitionSpec("data"), PartitionSpec()),
                out_specs=PartitionSpec(),
            )
            return jax.value_and_grad(mapped, (0, 1))(x, factors)

        return run

    check_alike(sharded)


def test_inputs_that_are_sharded_over_devices(mesh):
    with jax.enable_x64(True):
        planned, reference, x, factors = product_and_reference()
        expected = jax.grad(loss_of(reference), (0, 1))(x, factors)
        x = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        found = jax.jit(jax.grad(loss_of(planned), (0, 1)))(x, factors)
        assert max(jax.tree.leaves(jax.tree.map(relative_error, found, expected))) < 1e-11


def test_both_hold_on_four_devices():
    """The two tests above again, in a process that has four CPU devices."""
    if len(jax.devices()) > 1:
        pytest.skip("this process has several devices")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "shard_map or sharded_over"],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.stdout.startswith(".. "), tests.stdout + tests.stderr


def test_one_exported_function_has_the_plan_of_each_platform():
    structure = KroneckerStructure.parse("16:64x64*64x64")
    x, _, factors = random_arrays(structure, 256)
    exported = jax.export.export(jax.jit(kronecker_matmul), platforms=["cpu", "cuda"])(x, factors)
    loops = exported.mlir_module().count("stablehlo.while")
    assert loops == 1  # for the CPU; none for the GPU
    only_gpu = jax.export.export(jax.jit(kronecker_matmul), platforms=["cuda"])(x, factors)
    assert "stablehlo.while" not in only_gpu.mlir_module()


# Memory and precision


def test_a_training_step_keeps_only_inputs_and_factors():
    """A fifth of what autodiff of one einsum needs, at least."""
    structure = KroneckerStructure.parse("4:96x96*96x64")
    x = jax.ShapeDtypeStruct((1024, structure.inputs), jnp.float32)
    factors = [[jax.ShapeDtypeStruct((4, *s), jnp.float32) for s in structure.terms[0].shapes]]

    def naive(x, factors):
        x = x.reshape(-1, 96, 96)
        return jnp.einsum("bij,rip,rjq->bpq", x, *factors[0]).reshape(x.shape[0], -1)

    def temporaries(product):
        step = jax.grad(lambda x, f: jnp.sum(product(x, f) ** 2), (0, 1))
        return jax.jit(step).lower(x, factors).compile().memory_analysis().temp_size_in_bytes

    own = temporaries(kronecker_matmul)
    dense_output = 1024 * structure.features * 4  # y and its gradient, which any layer needs
    assert own - 2 * dense_output < (temporaries(naive) - 2 * dense_output) / 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_kept_for_the_gradient_is_no_larger_than_inputs_and_factors(strategy):
    structure = KroneckerStructure.parse(
        "6:4x6*6x4"
    )  # intermediates and the kernel would be larger
    x, _, factors = random_arrays(structure, 40)
    product = functools.partial(kronecker_matmul, structure=structure, strategy=strategy)
    _, transpose = jax.vjp(product, x, factors)
    kept = sum(leaf.size for leaf in jax.tree.leaves(transpose))
    assert kept <= x.size + structure.num_parameters


def test_sums_over_samples_of_half_precision_are_kept_in_single_precision():
    structure = KroneckerStructure.parse("1:2x2*2x2")
    batch = 4096
    program = Program((0,), "per_sample", 1, True, 1, Work())
    factors = ((jnp.ones((1, 2, 2), jnp.bfloat16), jnp.ones((1, 2, 2), jnp.bfloat16)),)
    x = jnp.ones((batch, 4), jnp.bfloat16)
    _, ((of_a, _),) = jax.jit(functools.partial(gradients, program, structure, None))(x, factors, x)
    np.testing.assert_array_equal(np.asarray(of_a, np.float32), 4.0 * batch)
