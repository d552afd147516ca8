"""Values and gradients of native kernels against `numpy.kron` in float64, at random structures.

`KFC_JAX_NATIVE_CASES=1000` draws that many, half of them single kernels; the gate takes a few.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import KroneckerStructure, explain, kronecker_matmul
from kfc_jax.product import native
from tests.kfc_jax.product.native.cases import (
    Case,
    draw_pair,
    draw_structure,
    fill,
    relative_errors,
    tolerance,
)

CASES = int(os.environ.get("KFC_JAX_NATIVE_CASES", "16")) // 2

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())


def plan_of(case: Case, backward: bool):
    return explain(
        case.structure,
        len(case.x),
        "cpu",
        dtype=jnp.dtype(case.dtype),
        strategy="native",
        backward=backward,
    ).programs


@pytest.fixture(scope="module")
def worst():
    """The largest errors, by type, for those who run with `-s`."""
    found = {}
    yield found
    print(f"\nThe largest errors, relative to what is added up: {found}")


@pytest.fixture(autouse=True)
def forget_programs():
    """Compiled programs are not kept: a thousand of them take gigabytes."""
    yield
    jax.clear_caches()


def never(*arrays):
    raise AssertionError("XLA's program was taken, although there is a native kernel.")


def check(case: Case, results, worst) -> None:
    errors = relative_errors(case, results)
    worst[case.dtype] = max(worst.get(case.dtype, (0.0, "")), (max(errors), str(case)))
    assert max(errors) <= tolerance(case), f"{case}: {errors}"


def arrays_of(case: Case):
    x, g = (jnp.asarray(array, case.dtype) for array in (case.x, case.g))
    return x, tuple(tuple(jnp.asarray(f, case.dtype) for f in term) for term in case.factors), g


@pytest.mark.parametrize("seed", range(CASES))
def test_kernels_agree_with_numpy_kron(seed, worst):
    case, left_first = draw_pair(seed), seed % 2 == 0
    features = case.structure.features
    with jax.enable_x64(case.dtype == "float64"):
        x, ((a, b),), g = arrays_of(case)
        a, b = (f.astype(jnp.promote_types(case.dtype, jnp.float32)) for f in (a, b))
        y = native.multiply(x, a, b, features, never, left_first=left_first)
        of_x, of_a, of_b = native.gradients(x, a, b, g, never, left_first=left_first)
    assert y.dtype == of_x.dtype == x.dtype
    assert of_a.dtype == of_b.dtype == a.dtype
    check(case, [y, of_x, of_a, of_b], worst)


@pytest.mark.parametrize("seed", range(CASES))
def test_products_of_any_structure_agree_with_numpy_kron(seed, worst):
    check_product(draw_structure(seed), worst)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("2:4x4*5x5+1:2x2*2x2*5x5+2:19x10*1x2@19x20", "float32"),
        ("2:37x41*43x47@1537x1901", "bfloat16"),
    ],
)
def test_terms_that_are_padded_by_different_sizes(text, dtype, worst):
    structure = KroneckerStructure.parse(text)
    check_product(fill(np.random.default_rng(0), structure, dtype, 9), worst)


def check_product(case: Case, worst) -> None:
    product = functools.partial(
        kronecker_matmul, structure=case.structure, strategy="native", precision="highest"
    )

    def call(x, factors, g):
        y, transpose = jax.vjp(product, x, factors)
        return y, transpose(g)

    with jax.enable_x64(case.dtype == "float64"):
        x, factors, g = arrays_of(case)
        compiled = jax.jit(call).lower(x, factors, g).compile()
        y, (of_x, of_factors) = compiled(x, factors, g)
    kernels = compiled.as_text().count('custom_call_target="kfc_')
    worst["kernels"] = worst.get("kernels", 0) + kernels
    assert kernels == sum(
        program.strategy == "native"
        for backward in (False, True)
        for program in plan_of(case, backward)
    )
    check(case, [y, of_x, *jax.tree.leaves(of_factors)], worst)
