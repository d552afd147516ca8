"""Traces do not leak between those who put a product of their own in JAX's place and those who not.

Quantisers replace `jax.lax.dot_general` for a while. What was traced before must not be taken for
what they see, nor what they saw for the plain products afterwards.
"""

import contextlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kfc_jax import KFCDense, KroneckerStructure, kronecker_matmul
from tests.kfc_jax.product.native.processes import python
from tests.kfc_jax.reference import dense_kernel, key, random_factors

PLAIN = jax.lax.dot_general
STRATEGIES = ["auto", "native", "per_sample", "materialize"]


@contextlib.contextmanager
def coarse_products():
    """Rounds the operands of all products to steps of a quarter; yields the number of products."""
    seen = []

    def coarse(lhs, rhs, *arguments, **options):
        seen.append(lhs.shape)
        lhs, rhs = (jnp.round(4 * operand) / 4 for operand in (lhs, rhs))
        return PLAIN(lhs, rhs, *arguments, **options)

    jax.lax.dot_general = coarse
    try:
        yield seen
    finally:
        jax.lax.dot_general = PLAIN


def product_of(structure, strategy):
    rng = np.random.default_rng(0)
    factors = [[jnp.asarray(f, "float32") for f in term] for term in random_factors(structure)]
    x = jnp.asarray(rng.standard_normal((9, structure.inputs)), "float32")
    g = jnp.asarray(rng.standard_normal((9, structure.features)), "float32")
    kernel = dense_kernel(structure, factors)
    expected = np.asarray(x, float) @ kernel, np.asarray(g, float) @ kernel.T

    def call():
        # Everything is traced in the call, as a model is that is called anew.
        y, transpose = jax.vjp(lambda x: kronecker_matmul(x, factors, strategy=strategy), x)
        return y, transpose(g)[0]

    return call, expected


def layer_of(structure):
    layer = KFCDense(structure.features, structure=str(structure), use_bias=False)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((9, structure.inputs)), "float32")
    variables = layer.init(key(0), x)
    factors = jax.tree.leaves(nn.meta.unbox(variables))
    kernel = dense_kernel(structure, [factors])
    g = jnp.ones((9, structure.features))
    expected = np.asarray(x, float) @ kernel, np.asarray(g, float) @ kernel.T

    def call():
        y, transpose = jax.vjp(lambda x: layer.apply(variables, x), x)
        return y, transpose(g)[0]

    return call, expected


def error(found, expected):
    return max(
        float(np.linalg.norm(f - e) / np.linalg.norm(e))
        for f, e in zip(found, expected, strict=True)
    )


def check_both_orders(call, expected, first):
    for step in range(4):
        if (step % 2 == 0) == (first == "plain"):
            assert error(call(), expected) < 1e-5
            continue
        with coarse_products() as seen:
            values, of_x = call()
        assert seen
        # What was rounded is off in the values as in the gradients.
        assert error([values], expected[:1]) > 1e-3
        assert error([of_x], expected[1:]) > 1e-3


# Every case has a structure of its own, so that nothing was traced before it.
CASES = [
    (f"2:{4 + k}x5*3x{6 + j}", strategy, first)
    for k, strategy in enumerate(STRATEGIES)
    for j, first in enumerate(("plain", "coarse"))
]


@pytest.mark.parametrize(("text", "strategy", "first"), CASES)
def test_a_product_sees_who_is_there_now(text, strategy, first):
    check_both_orders(*product_of(KroneckerStructure.parse(text), strategy), first)


@pytest.mark.parametrize("first", ["plain", "coarse"])
@pytest.mark.parametrize("text", ["2:5x7*3x4", "2:4x4*5x6@19x24"])
def test_a_layer_sees_who_is_there_now(text, first):
    structure = KroneckerStructure.parse(text)
    check_both_orders(*layer_of(structure), first)


def test_a_layer_under_jit_keeps_what_its_own_trace_saw():
    call, expected = layer_of(KroneckerStructure.parse("2:6x7*3x4"))
    plain, coarse = jax.jit(lambda: call()), jax.jit(lambda: call())
    with coarse_products():
        first = coarse()
    assert error(plain(), expected) < 1e-5
    assert error(first, expected) > 1e-3
    for result, again in zip(first, coarse(), strict=True):
        assert (result == again).all()


def test_gradients_taken_after_the_interceptor_is_gone_are_those_of_what_it_did():
    structure = KroneckerStructure.parse("2:6x5*3x7")
    factors = random_factors(structure)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((9, structure.inputs)), "float32")
    with coarse_products():
        y, transpose = jax.vjp(lambda x: kronecker_matmul(x, factors), x)
    (of_x,) = transpose(jnp.ones_like(y))
    plain = np.ones_like(y) @ dense_kernel(structure, factors).T
    assert of_x.shape == x.shape
    assert error([of_x], [plain]) > 1e-3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_taken_while_an_interceptor_is_there_leave_no_trace(strategy):
    structure = KroneckerStructure.parse(f"2:7x5*3x{8 + STRATEGIES.index(strategy)}")
    call, expected = product_of(structure, strategy)
    factors = [[jnp.asarray(f, "float32") for f in t] for t in random_factors(structure)]
    x = jnp.ones((9, structure.inputs))
    y, transpose = jax.vjp(lambda x: kronecker_matmul(x, factors, strategy=strategy), x)
    with coarse_products():
        transpose(jnp.ones_like(y))
    assert error(call(), expected) < 1e-5


LATE = """
import jax
own = jax.lax.dot_general
jax.lax.dot_general = lambda *arguments, **options: own(*arguments, **options)
import jax.numpy as jnp
import kfc_jax
jax.lax.dot_general = own
factors = [[jnp.ones((1, 4, 4)), jnp.ones((1, 4, 4))]]
product = jax.jit(lambda x: kfc_jax.kronecker_matmul(x, factors, strategy="materialize"))
text = product.lower(jnp.ones((4, 16))).as_text()
print(text.count("dot_general"))
"""


def test_an_import_while_an_interceptor_is_there_takes_jaxs_own_product():
    # One product with the kernel that is formed; unplanned there would be one with each factor.
    assert python("-c", LATE, KFC_JAX_NATIVE="1").splitlines()[-1] == "1"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_code_in_the_very_function_is_seen_and_leaves_no_trace(strategy):
    """As Qwix does it."""
    structure = KroneckerStructure.parse(f"2:9x5*3x{4 + STRATEGIES.index(strategy)}")
    call, expected = product_of(structure, strategy)
    own = PLAIN.__code__
    plain = types.FunctionType(own, PLAIN.__globals__, closure=PLAIN.__closure__)
    plain.__defaults__, plain.__kwdefaults__ = PLAIN.__defaults__, PLAIN.__kwdefaults__
    seen = []
    _FOR_ANOTHER_CODE.append(lambda *a, **k: (seen.append(a[0].shape), plain(*a, **k))[1])
    assert error(call(), expected) < 1e-5
    PLAIN.__code__ = _another_code()
    PLAIN.__globals__["_for_another_code"] = _FOR_ANOTHER_CODE
    try:
        assert error(call(), expected) < 1e-5
    finally:
        PLAIN.__code__ = own
        del PLAIN.__globals__["_for_another_code"]
        _FOR_ANOTHER_CODE.clear()
    count = len(seen)
    assert count
    assert error(call(), expected) < 1e-5
    assert len(seen) == count


_FOR_ANOTHER_CODE = []


def _another_code():
    def another(*arguments, **options):
        return _for_another_code[0](*arguments, **options)

    return another.__code__


def test_one_who_only_looks_changes_nothing():
    structure = KroneckerStructure.parse("3:6x5*4x7")
    call, expected = product_of(structure, "auto")
    seen = []

    def looking(*arguments, **options):
        seen.append(arguments[0].shape)
        return PLAIN(*arguments, **options)

    jax.lax.dot_general = looking
    try:
        assert error(call(), expected) < 1e-5
    finally:
        jax.lax.dot_general = PLAIN
    assert seen
    count = len(seen)
    assert error(call(), expected) < 1e-5
    assert len(seen) == count
