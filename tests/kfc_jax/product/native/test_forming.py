"""Kernels that are formed by machine code, and the gradients that go back through them."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import KroneckerTerm, explain, kronecker_matmul
from kfc_jax.product import native
from kfc_jax.product.program import pair_of
from tests.kfc_jax.product.native.cases import draw_structure, relative_errors, tolerance
from tests.kfc_jax.product.native.processes import python

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())

RANK, PAIR = 3, ((4, 5), (6, 7))


def calls(compiled) -> int:
    return compiled.as_text().count('custom_call_target="kfc_form')


@pytest.mark.parametrize("seed", range(100, 110))
def test_products_with_a_formed_kernel_agree_with_numpy_kron(seed):
    case = draw_structure(seed)
    product = functools.partial(
        kronecker_matmul, structure=case.structure, strategy="materialize", precision="highest"
    )

    def call(x, factors, g):
        y, transpose = jax.vjp(product, x, factors)
        return y, transpose(g)

    with jax.enable_x64(case.dtype == "float64"):
        x, g = (jnp.asarray(array, case.dtype) for array in (case.x, case.g))
        factors = tuple(tuple(jnp.asarray(f, case.dtype) for f in t) for t in case.factors)
        compiled = jax.jit(call).lower(x, factors, g).compile()
        y, (of_x, of_factors) = compiled(x, factors, g)
    formed = [term for term in case.structure.terms if term.num_factors > 1]
    is_native = case.dtype in native.COMPUTED_WITH and all(
        term.rank <= KroneckerTerm(pair_of(term, 1)).max_rank for term in formed
    )
    # The kernel, which both passes share, and one way back to either side.
    assert calls(compiled) == 3 * len(formed) * is_native
    errors = relative_errors(case, [y, of_x, *jax.tree.leaves(of_factors)])
    # A sum over samples, then one over sides; XLA's product rounds as it likes.
    assert max(errors) <= 4 * tolerance(case), f"{case}: {errors}"


def test_explain_says_that_a_kernel_is_formed_natively():
    text = str(explain("16:32x32*32x32", 1024, "cpu", strategy="materialize"))
    assert "form the kernel natively, one product with it" in text
    text = str(explain("16:32x32*32x32", 1024, "cpu", strategy="materialize", dtype="bfloat16"))
    assert "form the kernel, one product with it" in text


# The operation itself, against XLA's product over the ranks.


def ours(a, b):
    return native.form(a, b, by_xla)


def by_xla(a, b):
    parts = jnp.einsum("rip,rjq->ijpq", a, b, precision="highest")
    return parts.reshape(a.shape[1] * b.shape[1], a.shape[2] * b.shape[2])


def factors(*leading):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal((*leading, RANK, *s)), "float32") for s in PAIR]


def close(mine, theirs):
    for result, expected in zip(*map(jax.tree.leaves, (mine, theirs)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_derivatives_of_every_order_are_those_of_xlas_product():
    def loss(function, a, b):
        return jnp.sum(jnp.sin(function(a, b)))

    for order in (jax.grad, lambda f: jax.hessian(f, argnums=0)):
        mine, theirs = (jax.jit(order(functools.partial(loss, f))) for f in (ours, by_xla))
        close(mine(*factors()), theirs(*factors()))
    tangents = factors()[::-1][0][:, :4, :5], factors()[1]
    close(jax.jvp(ours, factors(), list(tangents)), jax.jvp(by_xla, factors(), list(tangents)))


def test_mapped_factors_are_formed_by_xla():
    compiled = jax.jit(jax.vmap(ours)).lower(*factors(3)).compile()
    assert calls(compiled) == 0
    close(compiled(*factors(3)), jax.vmap(by_xla)(*factors(3)))


def test_an_exported_program_has_no_native_call():
    exported = jax.export.export(jax.jit(ours))(*factors())
    close(exported.call(*factors()), by_xla(*factors()))


SPLIT = f"""
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import {__name__} as t

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
arrays = jax.device_put(t.factors(), NamedSharding(mesh, P()))
compiled = jax.jit(t.ours).lower(*arrays).compile()
t.close(compiled(*arrays), t.by_xla(*t.factors()))
print(t.calls(compiled))
"""


def test_a_program_that_is_split_over_devices_takes_xlas_product():
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    assert python("-c", SPLIT, **eight).splitlines()[-1] == "0"
