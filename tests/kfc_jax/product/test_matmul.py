import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from kfc_jax import KroneckerStructure, kronecker_matmul, materialize
from kfc_jax.product.matmul import structure_of
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors, structures

TOLERANCE = {"float32": 2e-6, "bfloat16": 2e-2, "float64": 1e-14}  # of the result's norm
GRID = [
    "1:6x5",
    "1:3x4*5x2",
    "3:3x4*5x2",
    "3:4x2*1x3",
    "2:1x6*7x1",
    "3:2x3*3x2*2x2",
    "2:2x1*1x3*3x2*2x2",
    "2:3x4*4x3+3:6x2*2x6+1:12x12",
    "2:2x2*2x3*3x2+1:4x6*3x2",
    "3:5x4*5x5@24x19",
    "2:4x4*5x5+1:2x2*2x2*5x5+2:19x10*1x2@19x20",
]

MATERIALIZED = [
    "3:3x4*5x2",
    "4:2x3*3x2*2x2",
    "1:6x10+2:2x2*3x5",
    "6:5x4*5x5@24x19",
    "4:4x4*5x5+1:19x20+2:19x10*1x2@19x20",
    "36:6x6*7x7",  # so many ranks are not written out one by one
]


def relative_error(actual, expected):
    actual = np.asarray(actual, np.float64)
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1)


def cast(factors, dtype):
    return [[jnp.asarray(array, dtype) for array in arrays] for arrays in factors]


def random_input(structure, *leading, dtype="float32"):
    x = np.random.default_rng(1).standard_normal((*leading, structure.inputs))
    return jnp.asarray(x, dtype)


def bind(function, structure, **kwargs):
    """Returns the function of arrays alone, jitted, so that a test compiles one program."""
    return jax.jit(functools.partial(function, structure=structure, **kwargs))


def multiply(x, factors, structure):
    return bind(kronecker_matmul, structure, precision="highest")(x, factors)


# Values


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        *((text, "float32") for text in GRID),
        *((text, dtype) for text in GRID[2::4] for dtype in ("bfloat16", "float64")),
    ],
)
def test_product_and_kernel_agree_with_numpy_kron(text, dtype):
    structure = KroneckerStructure.parse(text)
    with jax.enable_x64(dtype == "float64"):
        factors = cast(random_factors(structure), dtype)
        x = random_input(structure, 5, dtype=dtype)
        kernel = dense_kernel(structure, factors)  # of the rounded factors
        product = multiply(x, factors, structure)
        formed = bind(materialize, structure)(factors)
        assert product.dtype == formed.dtype == jnp.dtype(dtype)
        assert relative_error(product, np.asarray(x, np.float64) @ kernel) < TOLERANCE[dtype]
        assert relative_error(formed, kernel) < TOLERANCE[dtype]


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    structures(max_terms=2, max_factors=3),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(sorted(TOLERANCE)),
    st.integers(0, 2**16),
)
def test_product_agrees_with_numpy_kron_for_any_structure_and_input(
    structure, leading, dtype, seed
):
    with jax.enable_x64(dtype == "float64"):
        factors = cast(random_factors(structure, seed), dtype)
        x = random_input(structure, *leading, dtype=dtype)
        kernel = dense_kernel(structure, factors)
        product = multiply(x, factors, structure)
        assert product.shape == (*leading, structure.features)
        assert product.dtype == jnp.dtype(dtype)
        scale = np.linalg.norm(np.asarray(x, np.float64)) * np.linalg.norm(kernel)
        error = np.linalg.norm(np.asarray(product, np.float64) - np.asarray(x, np.float64) @ kernel)
        assert error <= 2 * TOLERANCE[dtype] * scale


@pytest.mark.parametrize("text", MATERIALIZED)
def test_product_is_right_where_it_forms_the_kernel(text):
    structure = KroneckerStructure.parse(text)
    factors = cast(random_factors(structure), "float32")
    x = random_input(structure, 50)
    function = bind(kronecker_matmul, structure, precision="highest", strategy="materialize")
    expected = np.asarray(x, np.float64) @ dense_kernel(structure, factors)
    assert relative_error(function(x, factors), expected) < 2e-6


def test_order_convention_is_row_major_as_documented():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 5))
    kernel = materialize([(a[None], b[None])])
    for i1, j1, i2, j2 in [(0, 0, 0, 0), (1, 0, 0, 0), (1, 2, 3, 1), (0, 2, 1, 4)]:
        assert kernel[i1 * 4 + i2, j1 * 5 + j2] == pytest.approx(a[i1, j1] * b[i2, j2])
    x = rng.standard_normal(8)
    y = a.T @ x.reshape(2, 4) @ b
    np.testing.assert_allclose(kronecker_matmul(x, [(a[None], b[None])]), y.ravel(), rtol=1e-5)


def test_a_flat_feature_map_factors_as_space_by_channels():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 3, 3, 4))  # batch, height, width, channels
    space, channels = rng.standard_normal((1, 9, 2)), rng.standard_normal((1, 4, 5))
    expected = np.einsum("bsc,sp,cq->bpq", image.reshape(2, 9, 4), space[0], channels[0])
    product = kronecker_matmul(image.reshape(2, -1), [(space, channels)])
    np.testing.assert_allclose(product, expected.reshape(2, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3), (2, 1, 3), (0,), (3, 0, 2)])
@pytest.mark.parametrize("text", ["2:3x4*5x2", "1:6x5", "2:5x4*5x5+1:24x1*1x20@24x19"])
def test_leading_axes_are_kept(text, leading):
    structure = KroneckerStructure.parse(text)
    factors = cast(random_factors(structure), "float32")
    x = random_input(structure, *leading)
    product = multiply(x, factors, structure)
    expected = np.asarray(x, np.float64) @ dense_kernel(structure, factors)
    assert product.shape == (*leading, structure.features)
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("x_dtype", "factor_dtype", "expected"),
    [
        ("bfloat16", "float32", "float32"),
        ("float32", "bfloat16", "float32"),
        ("float16", "float16", "float16"),
        ("int32", "bfloat16", "bfloat16"),
    ],
)
def test_result_has_the_promoted_type(x_dtype, factor_dtype, expected):
    structure = KroneckerStructure.parse("2:3x4*5x2")
    factors = cast(random_factors(structure), factor_dtype)
    x = random_input(structure, 2).astype(x_dtype)
    assert kronecker_matmul(x, factors).dtype == expected
    mixed = [[factors[0][0].astype("float32"), factors[0][1]]]
    assert materialize(mixed).dtype == "float32"


def test_plain_numpy_arrays_are_taken():
    structure = KroneckerStructure.parse("2:3x4*5x2")
    factors = random_factors(structure)
    x = np.ones((2, 15))
    expected = x @ dense_kernel(structure, factors)
    np.testing.assert_allclose(kronecker_matmul(x, factors), expected, rtol=1e-5, atol=1e-5)


# Transformations


@pytest.mark.parametrize("text", ["2:3x4*5x2", "2:2x3*3x2*2x2+1:4x6*3x2", "3:5x4*5x5@24x19"])
def test_vmap_over_inputs_and_over_factors(text):
    structure = KroneckerStructure.parse(text)
    x = random_input(structure, 3, 4)
    stack = [cast(random_factors(structure, seed), "float32") for seed in range(3)]
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *stack)
    kernels = np.stack([dense_kernel(structure, factors) for factors in stack])
    x64 = np.asarray(x, np.float64)

    function = bind(kronecker_matmul, structure, precision="highest")
    over_rows = jax.vmap(function, in_axes=(1, None), out_axes=1)(x, stack[0])
    assert relative_error(over_rows, x64 @ kernels[0]) < 2e-6
    ensemble = jax.vmap(function)(x, stacked)
    assert relative_error(ensemble, x64 @ kernels) < 2e-6
    formed = jax.vmap(bind(materialize, structure))(stacked)
    assert relative_error(formed, kernels) < 2e-6


def chain_rule(structure, factors, kernel_gradient):
    """The factors' gradients from the dense kernel's: every product but one, contracted."""
    gradients = []
    for term, arrays in zip(structure.terms, factors, strict=True):
        count = term.num_factors
        padded = np.zeros((term.inputs, term.features))
        padded[: structure.inputs, : structure.features] = kernel_gradient
        sides = [n for n, _ in term.shapes] + [m for _, m in term.shapes]
        tensor = padded.reshape(sides)
        term_gradients = []
        for k in range(count):
            operands = [tensor, list(range(2 * count))]
            for other in range(count):
                if other != k:
                    operands += [np.asarray(arrays[other]), [2 * count, other, count + other]]
            if count == 1:
                operands += [np.ones(term.rank), [2 * count]]
            term_gradients.append(np.einsum(*operands, [2 * count, k, count + k]))
        gradients.append(term_gradients)
    return gradients


@pytest.mark.parametrize(
    ("text", "strategy"),
    [*((text, "auto") for text in GRID), *((text, "materialize") for text in MATERIALIZED)],
)
def test_gradients_are_the_dense_kernels_by_the_chain_rule(text, strategy):
    structure = KroneckerStructure.parse(text)
    with jax.enable_x64(True):
        factors = cast(random_factors(structure), "float64")
        x = random_input(structure, 3, dtype="float64")
        weights = np.random.default_rng(2).standard_normal((3, structure.features))

        def loss(x, factors):
            product = kronecker_matmul(x, factors, structure=structure, strategy=strategy)
            return jnp.sum(weights * product)

        x_gradient, factor_gradients = jax.jit(jax.grad(loss, (0, 1)))(x, factors)
        kernel = dense_kernel(structure, factors)
        assert relative_error(x_gradient, weights @ kernel.T) < 1e-13
        expected = chain_rule(structure, factors, np.asarray(x).T @ weights)
        jax.tree.map(
            lambda actual, dense: np.testing.assert_array_less(
                relative_error(actual, dense), 1e-12
            ),
            factor_gradients,
            expected,
        )


@pytest.mark.parametrize("text", ["3:5x4*5x5@24x19", "2:2x2*2x3*3x2+1:4x6*3x2"])
def test_the_kernels_gradients_are_right_too(text):
    structure = KroneckerStructure.parse(text)
    with jax.enable_x64(True):
        factors = cast(random_factors(structure), "float64")
        weights = np.random.default_rng(2).standard_normal((structure.inputs, structure.features))
        _, pull_back = jax.vjp(bind(materialize, structure), factors)
        (gradients,) = pull_back(weights)
        errors = jax.tree.map(relative_error, gradients, chain_rule(structure, factors, weights))
        assert max(jax.tree.leaves(errors)) < 1e-12


@pytest.mark.parametrize("batch", [1, 20])
def test_first_and_second_derivatives_agree_with_finite_differences(batch):
    structure = KroneckerStructure.parse("2:2x3*3x1")
    with jax.enable_x64(True):
        factors = cast(random_factors(structure), "float64")
        x = random_input(structure, batch, dtype="float64")

        @jax.jit
        def function(x, factors):
            return jnp.mean(jnp.sin(kronecker_matmul(x, factors)))

        check_grads(function, (x, factors), order=2, modes=["rev"], atol=1e-6, rtol=1e-6)


# The plan


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def largest_array(function, *args):
    found = equations(jax.make_jaxpr(function)(*args).jaxpr)
    return max(math.prod(v.aval.shape) for equation in found for v in equation.outvars)


def traced_flops(function, *args):
    """Multiplies and adds of the dot products, and multiplications elsewhere."""
    flops = 0
    for equation in equations(jax.make_jaxpr(function)(*args).jaxpr):
        size = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            flops += 2 * size * math.prod(shape[axis] for axis in contracted)
        elif equation.primitive.name == "mul":
            flops += size
    return flops


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("text", [*GRID, "3:4x4*4x4*4x4*2x2", "2:28x32*28x32+1:14x16*56x64"])
def test_factor_by_factor_takes_the_flops_that_the_structure_says(text, batch):
    structure = KroneckerStructure.parse(text)
    factors = cast(random_factors(structure), "float32")
    x = jax.ShapeDtypeStruct((batch, structure.inputs), jnp.float32)

    function = functools.partial(
        kronecker_matmul, structure=structure, dot_general=jax.lax.dot_general
    )
    expected = sum(term.factored_flops(batch) for term in structure.terms)
    assert traced_flops(function, x, factors) == expected


@pytest.mark.parametrize(
    "text",
    ["4:28x32*28x32", "2:28x32*28x32+2:14x16*56x64", "4:4x8*14x8*14x16", "2:64x60*64x63@4096x3755"],
)
def test_the_dense_kernel_is_never_formed_where_that_is_not_cheaper(text):
    structure = KroneckerStructure.parse(text)
    batch = 4
    factors = cast(random_factors(structure), "float32")
    x = random_input(structure, batch)

    function = functools.partial(kronecker_matmul, structure=structure)

    def gradients(x, factors):
        return jax.grad(lambda *args: function(*args).sum(), (0, 1))(x, factors)

    for program in (function, gradients):
        memory = jax.jit(program).lower(x, factors).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 4 * structure.dense_parameters


def test_the_dense_kernel_is_formed_where_that_is_cheaper():
    structure = KroneckerStructure.parse("64:8x8*8x8")
    factors = cast(random_factors(structure), "float32")
    batch = 10_000
    x = jax.ShapeDtypeStruct((batch, 64), jnp.float32)
    # Factored, the intermediate would be rank times the input.
    assert largest_array(kronecker_matmul, x, factors) == batch * 64


def test_precision_and_dot_general_reach_every_product():
    seen = []

    def dot_general(*args, precision=None, **kwargs):
        seen.append(precision)
        return jax.lax.dot_general(*args, precision=precision, **kwargs)

    for text, batch, products in [
        ("1:6x5", 2, 1),
        ("2:3x4*5x2", 2, 2),
        ("2:2x3*3x2*2x2", 2, 3),
        ("3:3x4*5x2", 500, 2),
    ]:
        structure = KroneckerStructure.parse(text)
        factors = cast(random_factors(structure), "float32")
        x = random_input(structure, batch)
        seen.clear()
        result = kronecker_matmul(x, factors, precision="highest", dot_general=dot_general)
        assert seen == ["highest"] * products
        assert result.shape == (batch, structure.features)


# Errors


def test_structure_of_reads_the_shapes():
    structure = KroneckerStructure.parse("2:3x4*4x3+3:6x2*2x6+1:12x12")
    assert structure_of(random_factors(structure)) == structure


def ones(*shapes):
    return [np.ones(shape, np.float32) for shape in shapes]


def test_an_input_that_does_not_fit_names_both_sizes():
    factors = [ones((2, 3, 4), (2, 5, 2))]
    for shape in [(2, 14), (16,), (), (15, 1)]:
        message = message_of(kronecker_matmul, jnp.ones(shape), factors)
        assert str(shape) in message
        assert "must be 15" in message
        assert "15 inputs and 8 features" in message


@pytest.mark.parametrize(
    "term",
    [ones((3, 4), (5, 2)), ones((1, 3, 4), (2, 5, 2)), ones((2, 3, 4), (2, 5)), []],
)
@pytest.mark.parametrize("function", [materialize, lambda f: kronecker_matmul(jnp.ones(15), f)])
def test_factors_of_the_wrong_shape_are_an_error_that_shows_them(function, term):
    message = message_of(function, [term])
    assert str([array.shape for array in term]) in message
    assert "(rank, rows, columns)" in message


def test_factors_of_no_or_uneven_terms_are_an_error():
    assert "at least one term" in message_of(materialize, [])
    uneven = [ones((1, 2, 3), (1, 3, 2)), ones((1, 6, 4))]
    assert "different numbers of features: [4, 6]" in message_of(materialize, uneven)


def test_factors_of_a_useless_rank_are_an_error_that_names_the_limit():
    assert "from 1 to 4" in message_of(materialize, [ones((5, 2, 2), (5, 3, 2))])


@pytest.mark.parametrize(
    "function", [materialize, lambda f, **kw: kronecker_matmul(jnp.ones(15), f, **kw)]
)
def test_factors_that_are_not_the_structures_are_an_error_that_shows_both(function):
    structure = KroneckerStructure.parse("2:3x4*5x2")
    for factors in ([ones((2, 3, 4), (2, 5, 3))], [ones((1, 3, 4), (1, 5, 2))], []):
        message = message_of(function, factors, structure=structure)
        assert str(structure) in message
        assert "(2, 5, 2)" in message
        assert str(tuple(tuple(a.shape for a in term) for term in factors)) in message


@pytest.mark.parametrize("text", ["3:3x4*5x2", "2:4x4*5x5+1:2x2*2x2*5x5@19x20"])
def test_a_batch_of_symbolic_size_is_exported(text):
    structure = KroneckerStructure.parse(text)
    factors = cast(random_factors(structure), "float32")
    batch, rows = jax.export.symbolic_shape("b, r")
    shape = jax.ShapeDtypeStruct((batch, rows, structure.inputs), jnp.float32)
    exported = jax.export.export(bind(kronecker_matmul, structure))(
        shape, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), factors)
    )
    for size in (1, 3):
        x = random_input(structure, size, 2)
        expected = np.asarray(x, np.float64) @ dense_kernel(structure, factors)
        assert relative_error(exported.call(x, factors), expected) < 1e-5
