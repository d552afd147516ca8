"""Layers beside `nn.Dense`: with all of its fields, in every type, under every transformation.

What a layer computes is compared with an `nn.Dense` that has the layer's kernel, as `jnp.kron`
forms it, as functions of parameters and inputs. A kernel of one factor must be that of `nn.Dense`.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import pytest

from kfc_jax import BlockDiagonalDense, KFCDense, LowRankDense

INPUTS, FEATURES = 12, 6
LAYERS = {
    "kfc": functools.partial(KFCDense, structure="2:3x2*4x3"),
    "two terms": functools.partial(KFCDense, structure="2:3x2*2x3*2x1+1:12x6"),
    "low rank": functools.partial(LowRankDense, rank=2),
    "blocks": functools.partial(BlockDiagonalDense, structure="blocks 3"),
}
each = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
one_factor = functools.partial(KFCDense, structure=f"1:{INPUTS}x{FEATURES}")


def draw(seed, *shape, dtype=jnp.float32):
    parts = np.random.default_rng(seed).standard_normal((2, *shape))
    is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
    return jnp.asarray(parts[0] + 1j * parts[1] if is_complex else parts[0], dtype)


def x_of(*leading, dtype=jnp.float32):
    return draw(0, *leading, INPUTS, dtype=dtype)


def params_of(layer):
    shapes = nn.unbox(jax.eval_shape(layer.init, jax.random.key(0), x_of(1)))["params"]
    return {
        name: draw(seed, *leaf.shape, dtype=leaf.dtype)
        for seed, (name, leaf) in enumerate(sorted(shapes.items()), 1)
    }


def kernel_of(layer, params):
    if isinstance(layer, LowRankDense):
        return params["kernel_u"] @ params["kernel_v"]
    if isinstance(layer, BlockDiagonalDense):
        return jax.scipy.linalg.block_diag(*params["kernel_blocks"])
    kernel = 0
    for t, term in enumerate(layer.resolve_structure(INPUTS).terms):
        for r in range(term.rank):
            factors = [params[f"kernel_{t}_{k}"][r] for k in range(term.num_factors)]
            kernel += functools.reduce(jnp.kron, factors)
    return kernel


def functions(layer):
    """The layer and the nn.Dense that it stands for, as functions of its parameters and inputs."""
    fields = {f.name: getattr(layer, f.name) for f in fields_of_dense()}
    dense = nn.Dense(**fields)

    def as_dense(params, x):
        bias = {name: params[name] for name in ("bias",) if name in params}
        return dense.apply({"params": {"kernel": kernel_of(layer, params)} | bias}, x)

    return (lambda params, x: layer.apply({"params": params}, x)), as_dense


def fields_of_dense():
    return [f for f in dataclasses.fields(nn.Dense) if f.name not in ("parent", "name")]


def assert_close(found, expected, tolerance=1e-4):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        wide = jnp.promote_types(theirs.dtype, jnp.float32)
        error = np.linalg.norm(mine.astype(wide) - theirs.astype(wide))
        assert error <= tolerance * (1 + np.linalg.norm(theirs.astype(wide)))


# Fields


def three(inputs, kernel, bias, *, dtype):
    return nn.dtypes.promote_dtype(inputs, kernel, bias, dtype=dtype)


def doubled(*args, **kwargs):
    return 2 * jax.lax.dot_general(*args, **kwargs)


class Doubled:
    def __call__(self, *args, **kwargs):
        return doubled(*args, **kwargs)


init = nn.initializers
VALUES = {
    "features": [FEATURES],
    "use_bias": [False],
    "dtype": [jnp.bfloat16, jnp.float16, jnp.complex64],
    "param_dtype": [jnp.bfloat16, jnp.float16, jnp.complex64],
    "precision": ["highest", jax.lax.Precision.HIGH],
    "kernel_init": [
        init.ones,
        init.zeros,
        init.he_normal(),
        init.orthogonal(),
        init.constant(0.3),
        nn.with_partitioning(init.lecun_normal(), ("rows", "columns")),
    ],
    "bias_init": [init.ones, init.normal()],
    "promote_dtype": [three],
    "dot_general": [doubled],
    "dot_general_cls": [Doubled],
}
CASES = [
    pytest.param({name: value}, id=f"{name}-{i}")
    for name, values in VALUES.items()
    for i, value in enumerate(values)
]


def test_every_field_of_dense_is_tried():
    assert list(VALUES) == [f.name for f in fields_of_dense()]


@pytest.mark.parametrize("fields", CASES)
def test_one_factor_is_initialised_and_computes_as_dense(fields):
    fields = {"features": FEATURES} | fields
    dense, layer = nn.Dense(**fields), one_factor(**fields)
    x = x_of(5)
    expected, theirs = dense.init_with_output(jax.random.key(0), x)
    found, mine = layer.init_with_output(jax.random.key(0), x)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    theirs, mine = nn.unbox(theirs)["params"], nn.unbox(mine)["params"]
    np.testing.assert_array_equal(mine.pop("kernel_0_0")[0], theirs.pop("kernel"))
    jax.tree.map(np.testing.assert_array_equal, mine, theirs)  # the bias, where there is one
    assert_close(found, expected)


# What doubles a product doubles that with each factor.
WITHOUT_DOUBLED = [case for case in CASES if not str(case.id).startswith("dot_general")]


@each
@pytest.mark.parametrize("fields", WITHOUT_DOUBLED)
def test_types_and_values_are_those_of_dense(make, fields):
    layer = make(**{"features": FEATURES} | fields)
    ours, as_dense = functions(layer)
    params = params_of(layer)
    half = fields.keys() & {"dtype", "param_dtype"} and jnp.complex64 not in fields.values()
    for x in (x_of(5), x_of(), x_of(2, 0), x_of(2, 3, dtype=jnp.bfloat16)):
        coarse = half or (x.dtype == jnp.bfloat16 and "param_dtype" in fields)
        assert_close(ours(params, x), as_dense(params, x), 0.03 if coarse else 1e-4)


@each
@pytest.mark.parametrize("make_x", [lambda: np.ones((3, INPUTS)), lambda: np.arange(INPUTS)])
def test_inputs_may_be_of_numpy_and_whole_numbers(make, make_x):
    ours, as_dense = functions(layer := make(FEATURES))
    assert_close(ours(params_of(layer), make_x()), as_dense(params_of(layer), make_x()))


# Transformations, of `function(params, x)`


def real_sum(function):
    def loss(params, x):
        y = function(params, x)
        return jnp.sum(jnp.sin(jnp.real(y))) + jnp.sum(jnp.cos(jnp.imag(y)))

    return loss


def scanned(function, params, x):
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    return jax.lax.scan(lambda x, p: (jnp.tanh(x), function(p, x)), x, stacked)[1]


def mapped(function, params, x):
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    xs = jnp.stack([x, x + 1])
    of_both = jax.vmap(function)(stacked, xs)
    return (
        of_both,
        jax.vmap(function, (None, 0))(params, xs),
        jax.vmap(function, (0, None))(stacked, x),
    )


def hessian_product(function, params, x):
    gradient = jax.grad(real_sum(function), argnums=(0, 1))
    return jax.jvp(gradient, (params, x), (jax.tree.map(jnp.sin, params), jnp.sin(x)))[1]


def transposed(function, params, x):
    """The transposes in the inputs, and in every array of parameters."""
    linear = {name: leaf for name, leaf in params.items() if name != "bias"}
    y = function(linear, x)
    (of_x,) = jax.linear_transpose(lambda x: function(linear, x), x)(y)
    return of_x, {
        name: jax.linear_transpose(lambda a, n=name: function(linear | {n: a}, x), leaf)(y)
        for name, leaf in linear.items()
        if name != "kernel_1_0" and "kernel_1_0" not in params  # of one term: linear in each
    }


TRANSFORMATIONS = {
    "jit": lambda f, p, x: jax.jit(f)(p, x),
    "grad": lambda f, p, x: jax.grad(real_sum(f), argnums=(0, 1))(p, x),
    "grad of jit": lambda f, p, x: jax.jit(jax.grad(real_sum(f)))(p, x),
    "jvp": lambda f, p, x: jax.jvp(f, (p, x), (p, jnp.sin(x))),
    "linearize": lambda f, p, x: jax.linearize(f, p, x)[1](p, x),
    "remat": lambda f, p, x: jax.grad(jax.checkpoint(real_sum(f)))(p, x),
    "vmap": mapped,
    "scan": scanned,
    "second derivative": hessian_product,
    "jacobian": lambda f, p, x: jax.jacfwd(f, argnums=1)(p, x[:2]),
}


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("transformation", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_transformations_are_those_of_dense(make, dtype, transformation):
    layer = make(FEATURES, param_dtype=dtype)
    ours, as_dense = functions(layer)
    params, x = params_of(layer), x_of(5)
    assert_close(transformation(ours, params, x), transformation(as_dense, params, x))


@each
@pytest.mark.parametrize("batch", [5, 600])
def test_linear_transposes_are_those_of_dense(make, batch):
    layer = make(FEATURES, use_bias=False)
    ours, as_dense = functions(layer)
    params, x = params_of(layer), x_of(batch)
    found, expected = transposed(ours, params, x), transposed(as_dense, params, x)
    assert_close(found, expected)


# What Flax does with a module


@each
def test_init_and_its_forms_agree(make):
    layer, x, key = make(FEATURES), x_of(5), jax.random.key(0)
    variables = layer.init(key, x)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)
    for lazy in (
        jax.eval_shape(layer.init, key, x),
        layer.lazy_init(key, jax.ShapeDtypeStruct(x.shape, x.dtype)),
        jax.jit(layer.init)(key, x),
    ):
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), lazy) == shapes
    bound = layer.bind(variables)
    np.testing.assert_array_equal(bound(x), layer.apply(variables, x))
    unbound, again = bound.unbind()
    np.testing.assert_array_equal(unbound.apply(again, x), layer.apply(variables, x))


class Stack(nn.Module):
    make: functools.partial

    @nn.compact
    def __call__(self, x):
        layer = self.make(FEATURES, name="shared")
        return layer(x) + layer(x)


TABLES = [{}, {"show_repeated": True}, {"compute_flops": True, "compute_vjp_flops": True}]
TABLES += [{"show_repeated": True, "compute_flops": True}]


@each
@pytest.mark.parametrize("options", TABLES)
def test_a_table_has_the_rows_of_dense(make, options):
    def rows(make):
        options_of_console = {"width": 300, "force_terminal": False}
        table = Stack(make).tabulate(
            jax.random.key(0), x_of(5), console_kwargs=options_of_console, **options
        )
        return [line.split("│")[1:3] for line in table.splitlines() if line.startswith("│ shared")]

    mine, theirs = rows(make), rows(nn.Dense)
    assert [path for path, _ in mine] == [path for path, _ in theirs]
    assert all(kind.split() == [make.func.__name__] for _, kind in mine)  # and no method's name


@each
def test_an_interceptor_sees_one_call_as_of_dense(make):
    def calls(make):
        seen = []

        def look(call, args, kwargs, context):
            seen.append((context.method_name, jax.tree.map(jnp.shape, args)))
            return call(*args, **kwargs)

        with nn.intercept_methods(look):
            make(FEATURES).init(jax.random.key(0), x_of(5))
        return seen

    assert calls(make) == calls(nn.Dense) == [("__call__", ((5, INPUTS),))]


@each
def test_intermediates_that_are_captured_are_those_of_dense(make):
    def names(make):
        _, state = make(FEATURES).init_with_output(
            jax.random.key(0), x_of(5), capture_intermediates=True
        )
        return jax.tree.map(jnp.shape, state["intermediates"])

    assert names(make) == names(nn.Dense)
