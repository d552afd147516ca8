import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen.linear import default_kernel_init
from jax.extend.core import jaxprs_in_params

from kfc_jax import (
    BlockDiagonalDense,
    KFCDense,
    KroneckerStructure,
    LowRankDense,
    materialize,
)
from kfc_jax.layers.initializers import factor_initializer
from tests.kfc_jax.reference import dense_kernel, key

init = nn.initializers
FAST_CODE = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


def draw(structure, kernel_init, rng, dtype=jnp.float32):
    keys = iter(jax.random.split(rng, sum(term.num_factors for term in structure.terms)))
    return [
        [
            factor_initializer(kernel_init, structure, t, k)(next(keys), (term.rank, *shape), dtype)
            for k, shape in enumerate(term.shapes)
        ]
        for t, term in enumerate(structure.terms)
    ]


def sample(structure, kernel_init, count=200, seed=0):
    """Draws ``count`` sets of factors; every array gets a leading axis."""

    # So many draws that fast code pays, which the other tests do without (see tests/conftest.py).
    @functools.partial(jax.jit, compiler_options=FAST_CODE)
    def draw_each(keys):
        # Not vmap: two batched QR decompositions at once can stall the CPU backend (orthogonal).
        return jax.lax.map(lambda rng: draw(structure, kernel_init, rng), keys)

    return draw_each(jax.random.split(key(seed), count))


def kernels(structure, samples):
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, samples))
    return np.stack(
        [dense_kernel(structure, tree.unflatten(drawn)) for drawn in zip(*leaves, strict=True)]
    )


@pytest.mark.parametrize(
    "text",
    [
        "1:96x80",
        "1:4x16*24x5",
        "16:8x10*12x8",
        "9:4x5*4x4*6x4",
        "5:8x10*12x8+1:96x80",
        "3:8x10*12x8+3:6x6*16x13@93x77",
    ],
)
def test_the_product_has_the_variance_of_lecun_normal(text):
    structure = KroneckerStructure.parse(text)
    samples = kernels(structure, sample(structure, default_kernel_init))
    assert samples.shape == (200, structure.inputs, structure.features)
    assert np.mean(samples**2) == pytest.approx(1 / structure.inputs, rel=0.04)
    assert abs(np.mean(samples)) < 0.02 / structure.inputs**0.5


def test_every_entry_of_the_product_has_that_variance():
    structure = KroneckerStructure.parse("2:2x3*3x2+1:3x2*2x3")
    samples = kernels(structure, sample(structure, default_kernel_init, count=5000))
    np.testing.assert_allclose(np.var(samples, axis=0), 1 / 6, rtol=0.2)
    np.testing.assert_allclose(np.mean(samples, axis=0), 0, atol=0.03)


def test_the_variance_is_by_the_true_inputs_where_they_are_padded():
    structure = KroneckerStructure.parse("3:2x3*3x2@5x6")  # 20% of padding
    samples = kernels(structure, sample(structure, default_kernel_init, count=2000))
    assert np.mean(samples**2) == pytest.approx(1 / 5, rel=0.06)


def test_entries_of_the_product_are_uncorrelated():
    structure = KroneckerStructure.parse("2:2x2*2x2")
    samples = kernels(structure, sample(structure, default_kernel_init, count=5000))
    correlation = np.corrcoef(samples.reshape(len(samples), -1), rowvar=False)
    assert np.abs(correlation - np.eye(16)).max() < 0.1


DENSE_INITIALIZERS = [
    init.he_normal(),
    init.glorot_uniform(),
    init.orthogonal(),
    init.normal(0.02),
    init.variance_scaling(0.1, "fan_out", "uniform"),
    init.constant(0.3),
]


@pytest.mark.parametrize(
    ("text", "kernel_init"),
    [
        *(("4:8x10*12x8", kernel_init) for kernel_init in DENSE_INITIALIZERS),
        ("3:4x5*4x4*6x4+1:12x8*8x10@95x78", init.he_normal()),
    ],
)
def test_the_product_has_the_mean_square_of_any_dense_initialiser(text, kernel_init):
    structure = KroneckerStructure.parse(text)
    size = (structure.inputs, structure.features)
    dense = [kernel_init(key(seed), size, jnp.float32) for seed in range(3)]
    expected = float(jnp.mean(jnp.square(jnp.stack(dense))))
    samples = kernels(structure, sample(structure, kernel_init))
    assert np.mean(samples**2) == pytest.approx(expected, rel=0.05)


def test_the_default_is_the_measured_scale_of_the_same_initialiser():
    structure = KroneckerStructure.parse("4:8x10*12x8")
    known, measured = (
        draw(structure, kernel_init, key(0))
        for kernel_init in (default_kernel_init, init.lecun_normal())
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.03), known, measured)


@pytest.mark.parametrize(
    ("text", "kernel_init"),
    [
        ("1:4x20*24x4", default_kernel_init),
        ("3:2x5*4x16*12x1", default_kernel_init),
        ("1:40x1*2x30", init.he_normal()),
    ],
)
def test_factors_of_a_term_have_equal_expected_norms(text, kernel_init):
    structure = KroneckerStructure.parse(text)
    (arrays,) = sample(structure, kernel_init, count=500)
    squares = [float(jnp.sum(jnp.square(array))) / len(array) for array in arrays]
    np.testing.assert_allclose(squares, np.mean(squares), rtol=0.05)


def test_every_term_contributes_the_same_variance():
    structure = KroneckerStructure.parse("1:96x80+16:8x10*12x8")
    samples = sample(structure, default_kernel_init)
    for term, arrays in zip(structure.terms, samples, strict=True):
        alone = kernels(KroneckerStructure((term,)), [arrays])
        assert np.mean(alone**2) == pytest.approx(1 / 96 / 2, rel=0.06)


def test_a_zero_initialiser_gives_a_zero_product_that_can_learn():
    structure = KroneckerStructure.parse("2:2x3*3x2+1:6x6")
    factors = jax.jit(lambda: draw(structure, init.zeros_init(), key(0)))()
    kernel, pull_back = jax.vjp(lambda f: materialize(f, structure=structure), factors)
    assert not jnp.any(kernel)
    (gradients,) = pull_back(jax.random.normal(key(1), kernel.shape))
    for first, *others in gradients:
        assert jnp.all(first != 0)
        assert all(jnp.all(jnp.isfinite(other)) for other in others)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("kernel_init", [default_kernel_init, init.he_normal()])
def test_factors_come_in_the_shape_and_type_asked_for(kernel_init, dtype):
    structure = KroneckerStructure.parse("4:8x10*12x8")
    ((a, b),) = jax.eval_shape(lambda: draw(structure, kernel_init, key(0), dtype))
    assert a.dtype == b.dtype == dtype
    assert (a.shape, b.shape) == ((4, 8, 10), (4, 12, 8))


def test_bfloat16_factors_are_the_rounded_float32_ones():
    structure = KroneckerStructure.parse("4:8x10*12x8")
    single, half = (
        draw(structure, init.he_normal(), key(0), dtype) for dtype in (jnp.float32, jnp.bfloat16)
    )
    scale = float(jnp.std(single[0][0]))
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(half), strict=True):
        # The draw is the same but for the rounding and, where measured, the scale.
        np.testing.assert_allclose(a, b.astype(a.dtype), rtol=0.03, atol=1e-3 * scale)


def test_float64_factors_are_drawn_in_float64():
    with jax.enable_x64(True):
        structure = KroneckerStructure.parse("4:8x10*12x8")
        ((a, _),) = draw(structure, default_kernel_init, key(0), jnp.float64)
        assert a.dtype == jnp.float64
        assert jnp.any(a != a.astype(jnp.float32))


def test_factors_depend_on_the_key_alone():
    structure = KroneckerStructure.parse("4:8x10*12x8")
    first, again, other = (draw(structure, init.he_normal(), key(seed))[0][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert jnp.all(first != other)


@pytest.mark.parametrize("text", ["1:12x10", "1:40x21@40x20"])
@pytest.mark.parametrize("kernel_init", [default_kernel_init, init.ones, init.orthogonal()])
def test_a_kernel_of_one_factor_is_what_the_dense_initialiser_draws(text, kernel_init):
    structure = KroneckerStructure.parse(text)
    ((factor,),) = draw(structure, kernel_init, key(0))
    (rng,) = jax.random.split(key(0), 1)
    expected = kernel_init(rng, (structure.inputs, structure.features), jnp.float32)
    kernel = materialize([[factor]], structure=structure)
    np.testing.assert_array_equal(kernel, expected)
    assert jnp.sum(factor != 0) == jnp.sum(expected != 0)  # padding is zero


@pytest.mark.parametrize("kernel_init", [default_kernel_init, init.glorot_normal()])
def test_complex_factors_have_the_mean_square_of_the_dense_initialiser(kernel_init):
    structure = KroneckerStructure.parse("4:8x10*12x8")
    dense = kernel_init(key(0), (structure.inputs, structure.features), jnp.complex64)
    keys = jax.random.split(key(0), 200)
    ((a, b),) = jax.lax.map(lambda k: draw(structure, kernel_init, k, jnp.complex64), keys)
    assert a.dtype == b.dtype == jnp.complex64
    kernels = np.einsum("srij,srkl->sikjl", a, b)
    expected = float(jnp.mean(jnp.abs(dense) ** 2))
    assert np.mean(np.abs(kernels) ** 2) == pytest.approx(expected, rel=0.05)
    assert np.mean(kernels.real**2) == pytest.approx(np.mean(kernels.imag**2), rel=0.05)


LAYERS = [
    KFCDense(12, structure="2:3x4*2x3*2x1+1:12x12", kernel_init=init.orthogonal()),
    KFCDense(12, structure="1:12x12", kernel_init=init.orthogonal()),
    LowRankDense(12, rank=2, kernel_init=init.orthogonal()),
    BlockDiagonalDense(12, structure="blocks 3", kernel_init=init.orthogonal()),
]


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_a_layer_draws_its_dense_kernel_once_and_not_again_when_it_runs(layer):
    calls = []

    def counted(*args):
        calls.append(args[1])
        return init.he_normal()(*args)

    layer, x = layer.clone(kernel_init=counted), jnp.ones((1, 12))
    variables = layer.init(key(0), x)
    assert len(calls) == 1
    layer.apply(variables, x)
    assert len(calls) == 1


@pytest.mark.parametrize("is_missing", ["kernel_0_0", "kernel_0_1"])
def test_a_layer_of_which_one_factor_is_missing_gets_that_one(is_missing):
    layer = KFCDense(12, structure="2:3x4*4x3", kernel_init=init.he_normal())
    params = dict(layer.init(key(0), jnp.ones((1, 12)))["params"])
    kept = {name: leaf for name, leaf in params.items() if name != is_missing}
    _, again = layer.apply({"params": kept}, jnp.ones((1, 12)), rngs=key(1), mutable="params")
    assert jax.tree.map(jnp.shape, again["params"]) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("layer", LAYERS)
def test_mapped_layers_draw_one_dense_kernel_after_the_other(layer):
    """A batched QR decomposition is slow on a CPU, or never ends."""

    def ensemble(keys):
        return jax.vmap(lambda rng: layer.init(rng, jnp.ones((1, 12))))(keys)

    keys = jax.random.split(jax.random.key(0), 3)  # of which each is drawn from alike if mapped
    program = jax.make_jaxpr(ensemble)(keys)
    assert {len(shape) for _, shape in decompositions(program.jaxpr)} == {2}
    variables = jax.jit(ensemble)(keys)
    one = jax.tree.map(lambda leaf: leaf[1], variables)
    expected = layer.init(keys[1], jnp.ones((1, 12)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, expected)


def decompositions(jaxpr):
    """Yields the names and the operands' shapes of the decompositions in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("geqrf", "householder_product", "qr"):
            yield equation.primitive.name, equation.invars[0].aval.shape
        for inner in jaxprs_in_params(equation.params):
            yield from decompositions(inner)


@pytest.mark.parametrize("wrap", [nn.with_partitioning, nn.with_logical_partitioning])
def test_names_of_the_kernels_axes_go_to_the_first_factor_of_each_term(wrap):
    structure = KroneckerStructure.parse("2:2x3*3x2+1:3x2*1x3*2x1")
    kernel_init = wrap(init.lecun_normal(), ("rows", "columns"))
    for first, *others in jax.eval_shape(lambda: draw(structure, kernel_init, key(0))):
        assert first.names == (None, "rows", "columns")
        for other in others:
            assert other.names == (None, None, None)
            assert type(other) is type(first)


def test_wrapping_in_names_does_not_change_the_values():
    structure = KroneckerStructure.parse("2:2x3*3x2")
    named = nn.with_partitioning(init.he_normal(), ("rows", "columns"))
    plain, boxed = (
        draw(structure, kernel_init, key(0)) for kernel_init in (init.he_normal(), named)
    )
    jax.tree.map(np.testing.assert_array_equal, plain, nn.unbox(boxed))


def test_other_axes_of_a_factor_can_take_the_names():
    structure = KroneckerStructure.parse("2:6x1*1x6")
    kernel_init = nn.with_partitioning(init.lecun_normal(), ("rows", "columns"))
    initializer = factor_initializer(kernel_init, structure, 0, 0, kernel_axes=(0, None))
    assert initializer(key(0), (6, 2)).names == ("rows", None)


def test_metadata_without_the_two_names_is_an_error_with_a_remedy():
    structure = KroneckerStructure.parse("2:2x3*3x2")
    kernel_init = nn.with_partitioning(init.lecun_normal(), ("rows",))
    with pytest.raises(TypeError, match=r"Partitioned.*with_partitioning.*two names"):
        draw(structure, kernel_init, key(0))
