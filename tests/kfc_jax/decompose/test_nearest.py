"""Optimality, recovery and guarantees of the decompositions, against NumPy and SciPy."""

import itertools
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfc_jax import (
    InputStatistics,
    KFCDense,
    KroneckerStructure,
    low_rank,
    materialize,
    nearest_kronecker_sum,
    spectrum,
)
from kfc_jax.decompose import decompose_kernel
from kfc_jax.layers import layer_for
from kfc_jax.structures import read_layer_structure
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors, structures

SUMS = [  # of several terms, more factors, padding
    "3:6x10*8x6+2:12x5*4x12",
    "2:6x10*8x6+2:12x5*4x12+3:48x1*1x60",
    "6:4x5*4x4*3x3",
    "2:4x5*4x4*3x3+2:12x5*4x12",
    "2:2x3*2x5*3x2*4x2",
    "4:7x8*7x8@47x61",
    "2:7x8*7x8+2:12x9*4x7@47x61",
]


def gaussian(rows, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def kernel_for(text):
    structure = KroneckerStructure.parse(text)
    return gaussian(structure.inputs, structure.features)


def correlated(samples, size, seed=1):
    """Inputs with a wide spectrum, some of them always zero as at the border of an image."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, size)) @ rng.standard_normal((size, size))
    x = x * np.linspace(0, 1, size) ** 2
    x[:, 3] = 0
    return x


def approximation(factors, structure):
    return dense_kernel(KroneckerStructure.parse(structure), factors)


def error_of(kernel, factors, structure, x=None):
    """Relative error by NumPy alone; of the output if there are inputs."""
    kernel = np.asarray(kernel, np.float64)
    wrong = kernel - approximation(factors, structure)
    if x is not None:
        wrong, kernel = x @ wrong, x @ kernel
    return np.linalg.norm(wrong) / np.linalg.norm(kernel)


def blocks_as_rows(kernel, n1, m1):
    """Van Loan's rearrangement by slicing: each block of the kernel becomes a row."""
    n2, m2 = kernel.shape[0] // n1, kernel.shape[1] // m1
    return np.stack(
        [
            kernel[i * n2 : (i + 1) * n2, j * m2 : (j + 1) * m2].ravel()
            for i, j in itertools.product(range(n1), range(m1))
        ]
    )


def optimum(kernel, n1, m1, rank):
    values = np.linalg.svd(blocks_as_rows(kernel.astype(np.float64), n1, m1), compute_uv=False)
    return np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())


# One term of two factors


@pytest.mark.parametrize(
    "text", ["1:6x10*8x6", "5:6x10*8x6", "48:6x10*8x6", "7:48x1*1x60", "9:30x25*30x25"]
)
def test_one_term_of_two_factors_is_the_optimum(text):
    kernel = kernel_for(text)
    term = KroneckerStructure.parse(text).terms[0]
    factors, report = nearest_kronecker_sum(kernel, text)
    expected = optimum(kernel, *term.shapes[0], term.rank)
    assert error_of(kernel, factors, text) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert report.relative_error == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert report.converged
    assert report.num_parameters == sum(f.size for arrays in factors for f in arrays)


# Several terms, more factors, padding


@pytest.mark.parametrize("text", SUMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_error_never_rises_and_is_reported_truly(text, weighted):
    kernel = kernel_for(text)
    x = correlated(200, kernel.shape[0]) if weighted else None
    factors, report = nearest_kronecker_sum(kernel, text, statistics=x, max_sweeps=30)
    errors = report.sweep_errors
    assert len(errors) > 1
    assert all(b <= a for a, b in itertools.pairwise(errors))
    assert report.relative_error == pytest.approx(error_of(kernel, factors, text), rel=1e-5)
    if weighted:
        assert report.output_error == pytest.approx(error_of(kernel, factors, text, x), rel=1e-4)
    else:
        assert errors[-1] == pytest.approx(report.relative_error, rel=1e-5)


@pytest.mark.parametrize("text", SUMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_products_are_recovered(text, weighted):
    structure = KroneckerStructure.parse(text)
    kernel = dense_kernel(structure, random_factors(structure, seed=3)).astype(np.float32)
    x = correlated(200, structure.inputs) if weighted else None
    factors, _ = nearest_kronecker_sum(kernel, text, statistics=x, max_sweeps=300)
    assert error_of(kernel, factors, text) < 2e-6


@pytest.mark.parametrize("text", ["3:6x10*8x6+2:12x5*4x12", "2:7x8*7x8+2:12x9*4x7@47x61"])
def test_sum_is_better_than_any_of_its_terms_alone(text):
    kernel = kernel_for(text)
    structure = KroneckerStructure.parse(text)
    for sweeps in (0, 3):
        _, report = nearest_kronecker_sum(kernel, text, max_sweeps=sweeps)
        for term in structure.terms:
            alone = KroneckerStructure((term,), structure.inputs, structure.features)
            _, other = nearest_kronecker_sum(kernel, alone, max_sweeps=sweeps)
            assert report.relative_error < other.relative_error


def test_sweeps_find_each_terms_optimum_given_the_others():
    text = "3:6x10*8x6+2:12x5*4x12"
    kernel = kernel_for(text).astype(np.float64)
    factors, report = nearest_kronecker_sum(kernel, text, tolerance=0, max_sweeps=300)
    parts = [
        approximation([arrays], str(KroneckerStructure((term,))))
        for term, arrays in zip(KroneckerStructure.parse(text).terms, factors, strict=True)
    ]
    for own, (n1, m1, rank) in enumerate([(6, 10, 3), (12, 5, 2)]):
        target = kernel - parts[1 - own]
        least = optimum(target, n1, m1, rank) * np.linalg.norm(target) / np.linalg.norm(kernel)
        assert report.relative_error == pytest.approx(least, rel=1e-5)


@pytest.mark.parametrize("text", ["2:3x4*4x5", "3:2x2*3x5*2x2"])
def test_weighted_factors_are_each_optimal_given_the_others(text):
    kernel, x = gaussian(12, 20), correlated(50, 12)
    options = {"statistics": x, "shrinkage": 0, "max_sweeps": 3000, "tolerance": 1e-12}
    ((*factors,),), _ = nearest_kronecker_sum(kernel, text, **options)
    factors = [np.asarray(f, np.float64) for f in factors]
    found = np.linalg.norm(x @ (kernel - approximation([factors], text)))
    for k, factor in enumerate(factors):
        columns = []  # of the least squares problem in this factor's entries
        for entry in np.ndindex(factor.shape):
            unit = np.zeros_like(factor)
            unit[entry] = 1
            varied = [*factors[:k], unit, *factors[k + 1 :]]
            columns.append((x @ approximation([varied], text)).ravel())
        _, (least,), *_ = np.linalg.lstsq(np.stack(columns, 1), (x @ kernel).ravel())
        assert found == pytest.approx(np.sqrt(least), rel=1e-5)


def test_padding_is_free():
    # A kernel cut out of a larger product: zeros around it would hide the product.
    text = "1:7x8*7x8@47x61"
    structure = KroneckerStructure.parse(text)
    kernel = dense_kernel(structure, random_factors(structure)).astype(np.float32)
    padded = np.pad(kernel, ((0, 2), (0, 3)))
    assert optimum(padded, 7, 8, 1) > 1e-2
    factors, _ = nearest_kronecker_sum(kernel, text)
    assert error_of(kernel, factors, text) < 1e-6


PADDED_VIEW = KroneckerStructure.parse("2:1x1*1x16*27x1+1:2x4*13x4@26x16")
"""Padded for one term, whose rearranged kernel is a view of what was padded."""


@settings(max_examples=25, deadline=None)
@example(PADDED_VIEW, True, 0)
@example(PADDED_VIEW, False, 0)
@given(structures(max_terms=2, max_factors=3, max_rank=3), st.booleans(), st.integers(0, 5))
def test_any_structure_is_fitted(structure, weighted, seed):
    kernel = gaussian(structure.inputs, structure.features, seed)
    x = gaussian(2 * structure.inputs, structure.inputs, seed + 1) if weighted else None
    factors, report = nearest_kronecker_sum(kernel, structure, statistics=x, max_sweeps=5)
    assert [[f.shape for f in arrays] for arrays in factors] == [
        [(term.rank, *shape) for shape in term.shapes] for term in structure.terms
    ]
    kernel = kernel.astype(np.float64)
    wrong = kernel - dense_kernel(structure, factors)
    error = np.linalg.norm(wrong) / np.linalg.norm(kernel)
    assert report.relative_error == pytest.approx(error, rel=1e-4, abs=1e-6)
    assert (report.output_error if weighted else error) < 1 + 1e-6


# Weights


@pytest.mark.parametrize("text", ["5:6x10*8x6", *SUMS])
@pytest.mark.parametrize("samples", [20, 500])
@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 1.0])
def test_weights_never_raise_the_output_error(text, samples, shrinkage):
    kernel = kernel_for(text)
    x = correlated(samples, kernel.shape[0])
    plain, _ = nearest_kronecker_sum(kernel, text)
    weighted, report = nearest_kronecker_sum(
        kernel, text, statistics=x, shrinkage=shrinkage, max_sweeps=10
    )
    before, after = error_of(kernel, plain, text, x), error_of(kernel, weighted, text, x)
    assert after <= before * (1 + 1e-5)
    assert report.output_error == pytest.approx(after, rel=1e-3)
    if shrinkage < 0.1:
        assert after < 0.97 * before


def test_kronecker_structured_weights_have_a_closed_form():
    kernel = gaussian(48, 60).astype(np.float64)
    rng = np.random.default_rng(2)
    roots = [
        np.linalg.cholesky(a @ a.T + np.eye(n))
        for n in (6, 8)
        for a in [rng.standard_normal((n, n))]
    ]
    root = np.kron(*roots)
    # The optimum is the plain one of the kernel seen through the root.
    expected = optimum(root.T @ kernel, 6, 10, 5)
    _, report = nearest_kronecker_sum(
        kernel, "5:6x10*8x6", statistics=InputStatistics(root @ root.T), shrinkage=0, max_sweeps=0
    )
    assert report.output_error == pytest.approx(expected, rel=1e-6)


def test_weights_of_the_identity_change_nothing():
    text = "3:6x10*8x6+2:12x5*4x12"
    kernel = kernel_for(text)
    _, plain = nearest_kronecker_sum(kernel, text)
    _, weighted = nearest_kronecker_sum(kernel, text, statistics=InputStatistics(np.eye(48)))
    assert weighted.output_error == pytest.approx(weighted.relative_error, rel=1e-6)
    assert weighted.output_error <= plain.relative_error * (1 + 1e-6)
    assert weighted.output_error == pytest.approx(plain.relative_error, rel=1e-3)


def test_samples_and_their_second_moment_are_the_same():
    kernel, x = gaussian(48, 60), correlated(300, 48)
    by_samples, _ = nearest_kronecker_sum(kernel, "5:6x10*8x6", statistics=x.reshape(3, 100, 48))
    by_moment, _ = nearest_kronecker_sum(
        kernel, "5:6x10*8x6", statistics=InputStatistics(x.T @ x / 300)
    )
    np.testing.assert_allclose(by_samples[0][0], by_moment[0][0], atol=1e-5)


def test_shrinkage_bounds_the_kernels_error_where_inputs_say_little():
    kernel, x = gaussian(48, 60), correlated(20, 48)
    reports = [
        nearest_kronecker_sum(kernel, "5:6x10*8x6", statistics=x, shrinkage=s, max_sweeps=300)[1]
        for s in (0.0, 0.01, 100.0)
    ]
    kernel_errors = [r.relative_error for r in reports]
    assert kernel_errors[0] > kernel_errors[1] > kernel_errors[2]
    assert [r.output_error for r in reports] == sorted(r.output_error for r in reports)


# Form of the result


@pytest.mark.parametrize("text", ["5:6x10*8x6", "6:4x5*4x4*3x3", "3:6x10*8x6+2:12x5*4x12"])
@pytest.mark.parametrize("weighted", [False, True])
def test_factors_are_balanced_sorted_and_of_canonical_sign(text, weighted):
    kernel = kernel_for(text)
    x = correlated(300, 48) if weighted else None
    factors, _ = nearest_kronecker_sum(kernel, text, statistics=x, max_sweeps=10)
    for arrays in factors:
        flat = [np.asarray(f).reshape(len(f), -1) for f in arrays]
        norms = np.stack([np.linalg.norm(f, axis=1) for f in flat])
        np.testing.assert_allclose(norms, np.broadcast_to(norms[0], norms.shape), rtol=1e-5)
        assert (np.diff(norms[0]) <= 0).all()
        for head in flat[:-1]:
            assert (np.take_along_axis(head, np.abs(head).argmax(1)[:, None], 1) > 0).all()
        if len(flat) == 2:
            for f in flat:
                gram = f @ f.T
                assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-5 * gram.max()


def test_results_repeat_whatever_the_sign_of_the_start():
    kernel = gaussian(48, 60)
    first, _ = nearest_kronecker_sum(kernel, "6:4x5*4x4*3x3")
    again, _ = nearest_kronecker_sum(kernel, "6:4x5*4x4*3x3")
    jax.tree.map(np.testing.assert_array_equal, first, again)
    negated, _ = nearest_kronecker_sum(-kernel, "5:6x10*8x6")
    plain, _ = nearest_kronecker_sum(kernel, "5:6x10*8x6")
    np.testing.assert_allclose(negated[0][0], plain[0][0], atol=1e-5)
    np.testing.assert_allclose(negated[0][1], -plain[0][1], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_factors_have_the_kernels_type(dtype):
    text = "3:6x10*8x6+2:12x5*4x12"
    kernel = jnp.asarray(kernel_for(text), dtype)
    factors, report = nearest_kronecker_sum(kernel, text, statistics=jnp.ones((4, 48), dtype))
    assert {f.dtype for arrays in factors for f in arrays} == {jnp.dtype(dtype)}
    expected = error_of(kernel, factors, text)  # the rounding of the factors counts
    assert report.relative_error == pytest.approx(expected, rel=1e-5)
    assert materialize(factors).dtype == jnp.dtype(dtype)
    (u, v), _ = low_rank(kernel, 3)
    assert u.dtype == v.dtype == jnp.dtype(dtype)


@pytest.mark.parametrize("text", ["5:6x10*8x6", *SUMS])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_of_zeros_gives_products_of_zeros_by_their_first_factors_alone(text, weighted):
    kernel = np.zeros_like(kernel_for(text))
    x = correlated(50, kernel.shape[0]) if weighted else None
    factors, report = nearest_kronecker_sum(kernel, text, statistics=x)
    assert_zero_as_the_initialiser_is(factors, text)
    assert report.relative_error == 0
    assert set(report.sweep_errors) == {0}
    again, _ = nearest_kronecker_sum(kernel, text, statistics=x)
    jax.tree.map(np.testing.assert_array_equal, again, factors)


def assert_zero_as_the_initialiser_is(factors, text):
    """Checks the sizes of factors against those with which KFCDense starts a kernel of zeros."""
    structure = KroneckerStructure.parse(text)
    zeros = jax.nn.initializers.zeros
    layer = KFCDense(structure.features, structure=structure, kernel_init=zeros, use_bias=False)
    params = layer.init(jax.random.key(0), jnp.ones((1, structure.inputs)))["params"]
    initial = structure.factors_of(params)
    for term, expected in zip(factors, initial, strict=True):
        first, *others = term
        assert not first.any()
        for factor, other in zip(others, expected[1:], strict=True):
            size = np.sqrt(np.mean(np.square(factor), axis=(1, 2)))
            np.testing.assert_allclose(size, np.std(other), rtol=0.3)
            assert len(np.unique(factor)) == factor.size
        for factor in others[:-1]:
            flat = factor.reshape(len(factor), -1)
            assert np.all(np.take_along_axis(flat, abs(flat).argmax(1)[:, None], 1) > 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_that_a_kernel_does_not_need_are_zero_and_can_learn(dtype):
    few = KroneckerStructure.parse("2:6x10*8x6")
    kernel = jnp.asarray(dense_kernel(few, random_factors(few)), dtype)
    ((first, last),), report = nearest_kronecker_sum(kernel, "5:6x10*8x6")
    needed = 2 if dtype == "float32" else 5  # its rounding is a part of a bfloat16 kernel
    assert [bool(np.any(f)) for f in first] == [True] * needed + [False] * (5 - needed)
    sizes = np.linalg.norm(np.asarray(last, np.float32).reshape(5, -1), axis=1)
    assert np.all(sizes[needed:] > 0.3 * sizes[:needed].mean())
    assert report.relative_error == pytest.approx(
        error_of(kernel, [[first, last]], "5:6x10*8x6"), rel=1e-3, abs=1e-9
    )
    assert report.relative_error < 1e-6 or dtype == "bfloat16"


@pytest.mark.parametrize("text", ["5:6x10*8x6", "4:4x5*4x4*3x3", "3:6x10*8x6+2:12x5*4x12"])
@pytest.mark.parametrize("weighted", [False, True])
def test_kernels_of_lower_rank_are_recovered(text, weighted):
    poor = KroneckerStructure.parse("2:6x10*8x6" if "4x5" not in text else "2:4x5*4x4*3x3")
    kernel = dense_kernel(poor, random_factors(poor)).astype(np.float32)
    x = correlated(300, 48) if weighted else None
    factors, _ = nearest_kronecker_sum(kernel, text, statistics=x)
    assert error_of(kernel, factors, text) < 1e-5


def test_large_kernel_of_lower_rank_than_asked_is_recovered():
    poor = KroneckerStructure.parse("2:25x20*20x25")
    kernel = dense_kernel(poor, random_factors(poor)).astype(np.float32)
    factors, _ = nearest_kronecker_sum(kernel, "8:25x20*20x25")
    assert error_of(kernel, factors, "8:25x20*20x25") < 1e-5
    nearest_kronecker_sum(np.zeros((500, 500), np.float32), "8:25x20*20x25")


@pytest.mark.parametrize(("rows", "columns"), [(53, 97), (97, 10), (1, 7), (7, 1)])
def test_prime_sizes_are_padded(rows, columns):
    kernel = gaussian(rows, columns)
    structure = KroneckerStructure.balanced(rows, columns)
    factors, report = nearest_kronecker_sum(kernel, structure)
    expected = np.linalg.norm(kernel - dense_kernel(structure, factors)) / np.linalg.norm(kernel)
    assert report.relative_error == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert expected < 1


# Low rank


@pytest.mark.parametrize("rank", [1, 7, 48])
def test_low_rank_is_the_truncated_svd(rank):
    kernel = gaussian(48, 60)
    (u, v), report = low_rank(kernel, rank)
    assert (u.shape, v.shape) == ((48, rank), (rank, 60))
    values = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    expected = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
    error = np.linalg.norm(kernel - np.asarray(u, np.float64) @ v) / np.linalg.norm(kernel)
    assert error == pytest.approx(expected, abs=1e-6)
    assert report.relative_error == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(u, axis=0), np.linalg.norm(v, axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("samples", [20, 500])
def test_weighted_low_rank_is_the_optimum_of_the_output(samples):
    kernel, x = gaussian(48, 60), correlated(samples, 48)
    (u, v), report = low_rank(kernel, 5, statistics=x)
    values = np.linalg.svd(x @ kernel, compute_uv=False)
    expected = np.sqrt((values[5:] ** 2).sum() / (values**2).sum())
    wrong = x @ (kernel - np.asarray(u, np.float64) @ v)
    error = np.linalg.norm(wrong) / np.linalg.norm(x @ kernel)
    assert error == pytest.approx(expected, rel=1e-5)
    assert report.output_error == pytest.approx(expected, rel=1e-5)


def test_columns_times_rows_reach_the_optimum_of_low_rank():
    kernel, x = gaussian(48, 60), correlated(500, 48)
    values = np.linalg.svd(x @ kernel, compute_uv=False)
    expected = np.sqrt((values[5:] ** 2).sum() / (values**2).sum())
    factors, _ = nearest_kronecker_sum(kernel, "5:48x1*1x60", statistics=x, shrinkage=0)
    assert error_of(kernel, factors, "5:48x1*1x60", x) == pytest.approx(expected, rel=1e-4)


def test_many_rows_beside_one_fit_into_memory():
    kernel, x = gaussian(600, 40), correlated(1000, 600)
    tracemalloc.start()
    nearest_kronecker_sum(kernel, "24:600x1*1x40", statistics=x, max_sweeps=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * x.nbytes  # inner products of all pairs of rows would take 345 times x


def test_low_rank_of_a_kernel_of_zeros():
    kernel = np.zeros((60, 50), np.float32)
    (u, v), report = low_rank(kernel, 4, statistics=np.ones((3, 60)))
    assert (report.relative_error, report.output_error) == (0, 0)
    assert_zero_as_the_initialiser_is([[u.T[:, :, None], v[:, None]]], "4:60x1*1x50")
    jax.tree.map(np.testing.assert_array_equal, low_rank(kernel, 4)[0], (u, v))


def test_columns_that_a_kernel_of_lower_rank_does_not_need_are_zero_and_can_learn():
    kernel = (gaussian(60, 2) @ gaussian(2, 50)).astype(np.float32)
    (u, v), report = low_rank(kernel, 4)
    assert u.any(axis=0).tolist() == [True, True, False, False]
    assert np.linalg.norm(v, axis=1).min() > 0.3 * np.linalg.norm(v, axis=1).max()
    assert report.relative_error < 1e-6


# A kernel of zeros learns


def learned(layer, params, x, y):
    """The loss after 200 steps of Adam, relative to that before."""

    def loss(params):
        return jnp.mean((layer.apply({"params": params}, x) - y) ** 2)

    adam = optax.adam(3e-3)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            updates, state = adam.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, adam.init(params)), None, length=200)[0][0]

    return float(loss(train(params)) / loss(params))


@pytest.mark.parametrize("text", ["8:8x8*8x8", "rank 8", "2:4x4*4x4*4x4+2:8x8*8x8"])
def test_a_converted_kernel_of_zeros_learns_as_one_of_the_initialiser(text):
    x = gaussian(256, 64).astype(np.float32)
    y = (x @ gaussian(64, 64, seed=1) / 8).astype(np.float32)
    structure = read_layer_structure(text, 64, 64)
    layer = layer_for(structure, 64, use_bias=False, kernel_init=jax.nn.initializers.zeros)
    initial = layer.init(jax.random.key(0), x)["params"]
    converted, _ = decompose_kernel(structure, np.zeros((64, 64), np.float32))
    assert jax.tree.map(jnp.shape, converted) == jax.tree.map(jnp.shape, initial)
    usual, actual = (learned(layer, params, x, y) for params in (initial, converted))
    assert usual < 0.95  # these structures do not hold every kernel
    assert actual == pytest.approx(usual, abs=0.05)


# Spectrum


def test_spectrum_gives_the_error_of_every_rank():
    kernel = gaussian(48, 60)
    errors = spectrum(kernel, "6x10*8x6").relative_errors
    assert len(errors) == 49
    for rank in (1, 5, 48):
        _, report = nearest_kronecker_sum(kernel, f"{rank}:6x10*8x6")
        assert errors[rank] == pytest.approx(report.relative_error, rel=1e-5, abs=1e-6)
    assert errors[0] == pytest.approx(1)
    leading = spectrum(kernel, ((6, 10), (8, 6)), max_rank=5).relative_errors
    np.testing.assert_allclose(leading, errors[:6], rtol=1e-6)


def test_spectrum_of_a_padded_shape_is_an_upper_bound():
    kernel = gaussian(47, 61)
    errors = spectrum(kernel, "7x8*7x8").relative_errors
    _, report = nearest_kronecker_sum(kernel, "4:7x8*7x8@47x61")
    assert report.relative_error < errors[4] < 1.02 * report.relative_error


def test_spectrum_of_zeros():
    assert not spectrum(np.zeros((6, 4), np.float32), "2x2*3x2").relative_errors.any()


# Bad input


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (np.zeros((4, 4), int), "int64"),
        (np.zeros((2, 4, 4)), "(2, 4, 4)"),
        ([[1.0]], "list"),
        (np.zeros((0, 4)), "no entries"),
        (np.array([[1.0, 2.0], [np.nan, np.inf]]), "2 entries that are NaN or infinite"),
        (jnp.full((4, 4), jnp.nan, jnp.bfloat16), "(0, 0)"),
    ],
)
def test_bad_kernels_are_named(kernel, words):
    for call in (
        lambda: nearest_kronecker_sum(kernel, "2x2*2x2"),
        lambda: low_rank(kernel, 1),
        lambda: spectrum(kernel, "2x2*2x2"),
    ):
        assert words in message_of(call)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"structure": "2:5x5*2x2"}, "4x4"),
        ({"structure": "2x2-2x2"}, "Cannot read"),
        ({"max_sweeps": -1}, "max_sweeps=-1"),
        ({"tolerance": 1.0}, "tolerance=1.0"),
        ({"shrinkage": -0.1}, "shrinkage=-0.1"),
        ({"shrinkage": np.nan}, "shrinkage=nan"),
        ({"statistics": np.ones((3, 5))}, "(3, 5)"),
        ({"statistics": np.ones((0, 4))}, "at least one sample"),
        ({"statistics": np.zeros((3, 4))}, "all zeros"),
        ({"statistics": np.full((3, 4), np.nan)}, "NaN"),
        ({"statistics": np.full((3, 4), 1e200)}, "too large"),
        ({"statistics": InputStatistics(np.eye(3))}, "of 3 inputs, but the kernel has 4 rows"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    arguments = {"structure": "2:2x2*2x2"} | arguments
    assert words in message_of(nearest_kronecker_sum, np.ones((4, 4)), **arguments)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (np.ones((3, 4)), "(3, 4)"),
        (np.diag([1.0, 1, 1, -1]), "negative eigenvalue"),
        (-np.eye(4), "negative eigenvalue"),
        (np.tri(4), "not symmetric"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.zeros((4, 4)), "all zeros"),
    ],
)
def test_what_is_no_second_moment_is_refused(moment, words):
    assert words in message_of(InputStatistics, moment)


def test_bad_ranks_and_shapes_are_named():
    kernel = np.ones((4, 6), np.float32)
    assert "Rank 5" in message_of(low_rank, kernel, 5)
    assert "Rank 0" in message_of(low_rank, kernel, 0)
    assert "(3, 5)" in message_of(low_rank, kernel, 1, statistics=np.ones((3, 5)))
    assert "two factors" in message_of(spectrum, kernel, "2x2*2x3*1x1")
    assert "two factors" in message_of(spectrum, kernel, "2x2*2x3+4x1*1x6")
    assert "nearest structure" in message_of(spectrum, kernel, "2x2*3x3")
    assert "max_rank=0" in message_of(spectrum, kernel, "2x2*2x3", max_rank=0)
