"""Kernels are never formed where a model only multiplies by them, and always right where not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax.structures import read_layer_structure
from kfc_jax.tracing import FactoredLeaf, find_kernels, leaves_by_path, run_on_factors


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


INPUTS = normal(3, 24)


def factors_for(function, kernel, *, text, axes_of=None):
    params = {"w": kernel}
    found, reasons = find_kernels(axes_of or function, params, INPUTS)
    assert not reasons
    read = found["w"]
    structure = read_layer_structure(text, *read.axes.size(read.shape))
    arrays = {name: normal(*shape) for name, shape in structure.array_shapes.items()}
    return params, {"w": FactoredLeaf(structure, arrays, read)}


def dense_of(leaf):
    kernel = sum(
        np.kron(np.asarray(a, np.float64), np.asarray(b, np.float64))
        for a, b in zip(*leaf.structure.factors_of(leaf.arrays)[0], strict=True)
    )
    return leaf.kernel.axes.from_matrices(kernel, leaf.kernel.shape)


READERS = {
    "product": (lambda p, x: x @ p["w"], (24, 20)),
    "transposed": (lambda p, x: x @ p["w"].T, (20, 24)),
    "from the left": (lambda p, x: (p["w"].T @ x.T).T, (24, 20)),
    "split axes": (lambda p, x: x @ p["w"].reshape(24, 20), (4, 6, 5, 4)),
    "merged axes": (
        lambda p, x: jnp.einsum("bij,ijkl->bkl", x.reshape(-1, 4, 6), p["w"].reshape(4, 6, 5, 4)),
        (24, 20),
    ),
    "other order": (
        lambda p, x: jnp.einsum("bij,jki->bk", x.reshape(-1, 4, 6), p["w"]),
        (6, 20, 4),
    ),
    "cast": (lambda p, x: x @ p["w"].astype(jnp.float32)[None][0], (24, 20)),
    "jitted": (lambda p, x: jax.jit(lambda w: jax.checkpoint(jnp.dot)(x, w))(p["w"]), (24, 20)),
    "looked up": (lambda p, x: jnp.take(p["w"], jnp.asarray([[3, -1], [23, 40]]), 0), (24, 20)),
    "table of rows in two axes": (
        lambda p, x: jnp.take(p["w"], jnp.asarray([3, -25]), 0),
        (24, 5, 4),
    ),
    "joined": (lambda p, x: x @ jnp.concatenate([p["w"], p["w"]], 1), (24, 20)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_product_in_any_layout_is_done_by_factors(name):
    function, shape = READERS[name]
    params, factors = factors_for(function, normal(*shape), text="2:4x5*6x4")

    def run(arrays):
        leaf = FactoredLeaf(factors["w"].structure, arrays, factors["w"].kernel)
        return run_on_factors(lambda p: function(p, INPUTS), params, {"w": leaf})

    exact = {"w": dense_of(factors["w"])}
    np.testing.assert_allclose(
        run(factors["w"].arrays), function(exact, INPUTS), rtol=2e-4, atol=1e-4
    )
    sizes = {
        int(np.prod(var.aval.shape))
        for eqn in jax.make_jaxpr(run)(factors["w"].arrays).eqns
        for var in eqn.outvars
    }
    assert max(sizes) < 24 * 20  # no array is as large as a kernel


def test_a_kernel_that_something_else_reads_is_formed():
    def function(params, x):
        return x @ params["w"] + jnp.abs(params["w"]).sum()

    params, factors = factors_for(
        function, normal(24, 20), text="2:4x5*6x4", axes_of=lambda p, x: x @ p["w"]
    )
    exact = {"w": dense_of(factors["w"])}
    outputs = run_on_factors(lambda p: function(p, INPUTS), params, factors)
    np.testing.assert_allclose(outputs, function(exact, INPUTS), rtol=1e-4)


@pytest.mark.parametrize(
    ("reason", "function"),
    [
        ("passes it to 'mul'", lambda p, x: x @ (p["w"] * 2)),
        ("does not read it", lambda p, x: x + p["b"]),
        (
            "in several layouts",
            lambda p, x: (x @ p["v"].reshape(24, 20), x[:, :4] @ p["v"].reshape(4, 120)),
        ),
        ("a part of an axis", lambda p, x: x[:, :4] @ p["w"].reshape(4, 6, 20)[:, 0]),
        ("passes it to 'slice'", lambda p, x: x[:, :4] @ p["w"][:4]),
        ("of type int32", lambda p, x: x @ p["i"]),
    ],
)
def test_what_is_not_read_by_products_has_a_reason(reason, function):
    integers = np.ones((24, 2), np.int32)
    params = {"w": normal(24, 20), "v": normal(4, 6, 20), "b": normal(24), "i": integers}
    found, reasons = find_kernels(function, params, INPUTS)
    name = {"of type int32": "i", "in several layouts": "v"}.get(reason, "w")
    assert reason in reasons[name] or "'slice'" in reasons[name]
    assert name not in found


def test_paths_are_those_of_the_tree():
    tree = {"b": [np.zeros(1), {"c": np.zeros(2)}], "a": (np.zeros(3),)}
    assert {p: leaf.size for p, leaf in leaves_by_path(tree).items()} == {
        "a/0": 3,
        "b/0": 1,
        "b/1/c": 2,
    }
