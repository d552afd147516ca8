import dataclasses
import functools
import inspect
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from flax.errors import ScopeParamShapeError
from jax import export

import kfc_jax
from kfc_jax import BlockDiagonalDense, KFCDense, KroneckerStructure, LowRankDense
from kfc_jax.structures import BlockDiagonalStructure
from tests.kfc_jax.reference import dense_kernel, key, message_of

LAYERS = [
    pytest.param(functools.partial(KFCDense, structure="2:3x4*4x3"), id="kfc"),
    pytest.param(functools.partial(KFCDense, rank=2, num_factors=3), id="kfc-3-factors"),
    pytest.param(functools.partial(LowRankDense, rank=2), id="low-rank"),
    pytest.param(functools.partial(BlockDiagonalDense, structure="blocks 3"), id="block-diagonal"),
    pytest.param(
        functools.partial(BlockDiagonalDense, structure="blocks 3 interleaved"), id="interleaved"
    ),
]
each = pytest.mark.parametrize("layer", LAYERS)


def inputs(*shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def random_variables(layer, *args):
    """Variables of the layer's shapes and types, without compiling an initialiser."""
    rng = np.random.default_rng(1)

    def draw(leaf):
        return jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(layer.init, jax.random.key(0), *args))


def fields(cls):
    return [f for f in dataclasses.fields(cls) if f.name not in ("parent", "name")]


def kernel_of(layer, params, size):
    """The dense kernel that the layer's parameters stand for, by numpy.kron in float64."""
    if isinstance(layer, LowRankDense):
        return np.asarray(params["kernel_u"], np.float64) @ np.asarray(params["kernel_v"])
    if isinstance(layer, BlockDiagonalDense):
        kernel = scipy.linalg.block_diag(*np.asarray(params["kernel_blocks"], np.float64))
        if not layer.structure.endswith("interleaved"):
            return kernel
        # Row by row: block after block, the first input of each, then the second.
        count, rows, _ = params["kernel_blocks"].shape
        return kernel[[block * rows + row for row in range(rows) for block in range(count)]]
    structure = layer.resolve_structure(size)
    factors = [
        [params[f"kernel_{t}_{k}"] for k in range(term.num_factors)]
        for t, term in enumerate(structure.terms)
    ]
    return dense_kernel(structure, factors)


def assert_is_dense(layer, variables, x, **tolerance):
    """The layer computes what nn.Dense does with the kernel that its factors stand for."""
    params = variables["params"]
    kernel = kernel_of(layer, params, x.shape[-1]).astype(np.float32)
    dense = {"kernel": kernel} | ({"bias": params["bias"]} if layer.use_bias else {})
    expected = nn.Dense(layer.features, use_bias=layer.use_bias).apply({"params": dense}, x)
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


# Standing where nn.Dense stood


@pytest.mark.parametrize("cls", [KFCDense, LowRankDense, BlockDiagonalDense])
def test_fields_are_those_of_dense_then_the_new_ones(cls):
    dense, ours = fields(nn.Dense), fields(cls)
    new = {
        KFCDense: ["structure", "rank", "num_factors", "strategy"],
        LowRankDense: ["rank"],
        BlockDiagonalDense: ["structure"],
    }[cls]
    assert [f.name for f in ours] == [f.name for f in dense] + new
    for theirs, mine in zip(dense, ours, strict=False):
        assert mine.default == theirs.default
        assert mine.default_factory == theirs.default_factory
        assert mine.kw_only == theirs.kw_only
    positional = list(inspect.signature(cls).parameters)[: len(dense)]
    assert positional == list(inspect.signature(nn.Dense).parameters)[: len(dense)]
    # Every new field has a default: features is enough, but where blocks have to be counted.
    assert all(f.default is not dataclasses.MISSING for f in ours[len(dense) :])


def test_every_field_is_documented():
    for cls in (KFCDense, LowRankDense, BlockDiagonalDense):
        for field in fields(cls)[0 if cls is KFCDense else len(fields(nn.Dense)) :]:
            # Python 3.13 strips the indentation of docstrings, earlier ones keep it.
            assert f"\n  {field.name}: " in inspect.cleandoc(cls.__doc__)


class Network(nn.Module):
    dense: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(self.dense(37)(x))  # a prime
        return self.dense(features=10, name="logits")(x)


@pytest.mark.parametrize("dense", [KFCDense, LowRankDense])
def test_swapping_the_class_in_a_model_is_all_it_takes(dense):
    x = inputs(5, 8, 8, 1)
    reference, variables = jax.eval_shape(Network(nn.Dense).init_with_output, key(0), x)
    logits, swapped = jax.jit(Network(dense).init_with_output)(key(0), x)
    assert (logits.shape, logits.dtype) == (reference.shape, reference.dtype)
    assert jnp.all(jnp.isfinite(logits))
    assert set(swapped["params"]) == {"Conv_0", f"{dense.__name__}_0", "logits"}
    assert swapped["params"]["logits"]["bias"].shape == (10,)

    def size(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert size(swapped) < size(variables)
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(Network(dense).apply(v, x) ** 2)))(swapped)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradients))


def test_parameters_carry_the_names_and_shapes_of_the_design():
    layer = KFCDense(1024, structure="8:28x32*28x32+4:14x16*56x64")
    variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 784)))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "kernel_0_0": (8, 28, 32),
            "kernel_0_1": (8, 28, 32),
            "kernel_1_0": (4, 14, 16),
            "kernel_1_1": (4, 56, 64),
            "bias": (1024,),
        }
    }
    variables = jax.eval_shape(LowRankDense(500, rank=3).init, jax.random.key(0), jnp.ones((1, 80)))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"kernel_u": (80, 3), "kernel_v": (3, 500), "bias": (500,)}
    }


@each
def test_output_is_that_of_dense_with_the_product_as_kernel(layer):
    layer = layer(12)
    for leading in [(), (2, 3), (0,)]:
        x = inputs(*leading, 12)
        variables = random_variables(layer, x)
        assert_is_dense(layer, variables, x)


@each
def test_gradients_are_those_of_dense_by_the_chain_rule(layer):
    layer, x = layer(12), inputs(5, 12)
    variables = random_variables(layer, x)
    weights = np.random.default_rng(1).standard_normal((5, 12))
    loss = jax.jit(lambda v, x: jnp.sum(weights * layer.apply(v, x)))
    gradient, x_gradient = jax.grad(loss, argnums=(0, 1))(variables, x)
    params, gradient = variables["params"], gradient["params"]
    kernel_gradient = np.asarray(x, np.float64).T @ weights
    expected = weights @ kernel_of(layer, params, 12).T
    np.testing.assert_allclose(x_gradient, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient["bias"], weights.sum(0), rtol=1e-5)
    # Moving one parameter array moves the kernel (linearly: a central difference is exact), and
    # with it the loss by <x' weights, motion of the kernel>.
    for name in params.keys() - {"bias"}:
        direction = np.random.default_rng(2).standard_normal(params[name].shape)
        ends = (params | {name: params[name] + sign * direction} for sign in (1, -1))
        forward, backward = (kernel_of(layer, end, 12) for end in ends)
        expected = np.sum(kernel_gradient * (forward - backward) / 2)
        actual = np.sum(np.asarray(gradient[name], np.float64) * direction)
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_one_dense_factor_is_dense_itself():
    x = inputs(5, 12)
    dense, layer = nn.Dense(7), KFCDense(7, structure="1:12x7")
    kernel, bias = inputs(12, 7), inputs(7)
    copied = {"params": {"kernel_0_0": kernel[None], "bias": bias}}
    shapes = jax.eval_shape(layer.init, key(0), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, copied)

    def evaluate(model, variables):
        loss = jax.jit(lambda v: jnp.sum(jnp.sin(model.apply(v, x))))
        value, gradient = jax.value_and_grad(loss)(variables)
        return value, gradient["params"]

    expected, expected_gradient = evaluate(dense, {"params": {"kernel": kernel, "bias": bias}})
    value, gradient = evaluate(layer, copied)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    close(value, expected)
    close(gradient["kernel_0_0"][0], expected_gradient["kernel"])
    close(gradient["bias"], expected_gradient["bias"])


def test_a_structure_can_be_text_or_an_object():
    text = "2:3x4*4x3+1:12x12"
    x = inputs(5, 12)
    layer, other = (KFCDense(12, structure=s) for s in (text, KroneckerStructure.parse(text)))
    variables = random_variables(layer, x)
    np.testing.assert_array_equal(layer.apply(variables, x), other.apply(variables, x))


@pytest.mark.parametrize(
    ("size", "features"), [(800, 500), (500, 10), (97, 89), (13, 3755), (4096, 1), (1, 7), (1, 1)]
)
def test_any_size_works_with_features_alone(size, features):
    x = jax.ShapeDtypeStruct((2, size), jnp.float32)
    for layer in (KFCDense(features), KFCDense(features, num_factors=3), LowRankDense(features)):
        output, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
        assert output.shape == (2, features)


@pytest.mark.parametrize(
    ("size", "features", "structure"),
    [(97, 89, None), (64, 10, None), (13, 11, "3:3x4*5x3"), (20, 3755, "2:4x60*5x63")],
)
def test_awkward_sizes_are_padded_and_sliced_inside_the_layer(size, features, structure):
    layer = KFCDense(features, structure=structure)
    x = inputs(3, size)
    variables = random_variables(layer, x)
    assert_is_dense(layer, variables, x)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert parameters == layer.resolve_structure(size).num_parameters + features


# The other fields of nn.Dense


@each
def test_without_bias(layer):
    layer, x = layer(12, use_bias=False), inputs(5, 12)
    variables = random_variables(layer, x)
    assert "bias" not in variables["params"]
    assert_is_dense(layer, variables, x)


@each
def test_initialisers_reach_the_parameters(layer):
    x = inputs(5, 12)
    layer = layer(
        12, kernel_init=nn.initializers.zeros_init(), bias_init=nn.initializers.constant(3.0)
    )
    output, _ = jax.jit(layer.init_with_output)(key(0), x)
    np.testing.assert_array_equal(output, jnp.full((5, 12), 3.0))


he_normal = nn.initializers.he_normal()


@pytest.mark.parametrize(
    ("layer", "gain"),
    [
        (KFCDense(100), 1),
        (KFCDense(97, num_factors=3, rank=3, kernel_init=he_normal), 2),
        (LowRankDense(100, rank=5), 1),
        (LowRankDense(100, rank=5, kernel_init=he_normal), 2),
    ],
)
def test_the_initial_kernel_has_the_variance_of_the_dense_one(layer, gain):
    x = jnp.zeros((1, 80))
    init = jax.jit(layer.init)
    squares = [
        np.mean(kernel_of(layer, init(key(seed), x)["params"], 80) ** 2) for seed in range(40)
    ]
    assert np.mean(squares) == pytest.approx(gain / 80, rel=0.1)


@pytest.mark.parametrize(("fields", "gain"), [({}, 1), ({"kernel_init": he_normal}, 2)])
def test_every_block_starts_as_a_dense_kernel_of_its_own_size(fields, gain):
    layer = BlockDiagonalDense(100, structure="blocks 4", **fields)
    blocks = jax.jit(layer.init)(key(0), jnp.zeros((1, 80)))["params"]["kernel_blocks"]
    assert np.mean(blocks**2) == pytest.approx(gain / 20, rel=0.1)
    assert not np.allclose(blocks[0], blocks[1])


@each
def test_mixed_precision_computes_in_dtype_and_keeps_param_dtype(layer):
    layer, x = layer(12, dtype=jnp.bfloat16, use_bias=False), inputs(5, 12)
    variables = random_variables(layer, x)
    output = jax.jit(layer.apply)(variables, x)
    assert output.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    loss = jax.jit(lambda v: jnp.sum(layer.apply(v, x).astype(jnp.float32)))
    gradient = jax.grad(loss)(variables)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
    expected = x @ kernel_of(layer, variables["params"], 12)
    error = np.linalg.norm(np.asarray(output, np.float64) - expected)
    assert error < 0.02 * np.linalg.norm(expected)
    # Every product runs in bfloat16; a plan may form a factor of two, and so have fewer.
    program = str(jax.make_jaxpr(layer.apply)(variables, x))
    dots = [line for line in program.splitlines() if " dot_general[" in line]
    assert dots
    assert all(":bf16[" in line.partition("=")[0] for line in dots)


@each
def test_half_precision_parameters(layer):
    layer = layer(12, param_dtype=jnp.bfloat16, kernel_init=nn.initializers.he_normal())
    single, half = inputs(5, 12), inputs(5, 12, dtype=jnp.bfloat16)
    output, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), single)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(variables))
    assert output.dtype == jnp.float32  # promoted, as in nn.Dense
    assert jax.eval_shape(layer.apply, variables, half).dtype == jnp.bfloat16


@each
def test_double_precision_parameters(layer):
    with jax.enable_x64(True):
        layer = layer(12, param_dtype=jnp.float64, use_bias=False)
        x = inputs(5, 12, dtype=jnp.float64)
        variables = random_variables(layer, x)
        output = jax.jit(layer.apply)(variables, x)
        assert output.dtype == jnp.float64
        expected = np.asarray(x) @ kernel_of(layer, variables["params"], 12)
        np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-13)


def counting_dot_general(calls):
    def dot_general(lhs, rhs, dimension_numbers, precision=None, preferred_element_type=None):
        calls.append(precision)
        return jax.lax.dot_general(lhs, rhs, dimension_numbers, precision=precision)

    return dot_general


PRODUCTS = {"kfc": 2, "kfc-3-factors": 3, "low-rank": 2, "block-diagonal": 1, "interleaved": 1}


@each
def test_dot_general_and_precision_reach_every_product(layer, request):
    calls = []
    layer = layer(12, dot_general=counting_dot_general(calls), precision="highest")
    random_variables(layer, inputs(1, 12))
    assert calls == ["highest"] * PRODUCTS[request.node.callspec.id]


@each
def test_dot_general_cls_comes_first_and_is_made_for_every_product(layer, request):
    calls, made = [], []

    class DotGeneral:
        def __init__(self):
            made.append(self)

        def __call__(self, *args, **kwargs):
            return counting_dot_general(calls)(*args, **kwargs)

    def unused(*args, **kwargs):
        raise AssertionError("dot_general_cls takes precedence, as in nn.Dense")

    layer = layer(12, dot_general=unused, dot_general_cls=DotGeneral)
    random_variables(layer, inputs(1, 12))
    assert len(calls) == len(made) == PRODUCTS[request.node.callspec.id]


@each
def test_dot_general_cls_can_be_a_module_with_state(layer, request):
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, *args, **kwargs):
            count = self.variable("counts", "calls", jnp.zeros, (), jnp.int32)
            count.value += 1
            return jax.lax.dot_general(*args, **kwargs)

    layer, x = layer(12, dot_general_cls=Counter), inputs(1, 12)
    variables = jax.tree.map(jnp.zeros_like, random_variables(layer, x))
    _, state = layer.apply(variables, x, mutable="counts")
    counts = jax.tree.leaves(state)
    assert [int(count) for count in counts] == [1] * PRODUCTS[request.node.callspec.id]


def test_state_of_dot_general_cls_does_not_depend_on_the_batch():
    """A model initialised on one example must run on a large batch, and the reverse."""

    class Scale(nn.Module):
        @nn.compact
        def __call__(self, lhs, rhs, *args, **kwargs):
            scale = self.param("scale", nn.initializers.ones, ())
            return jax.lax.dot_general(lhs * scale, rhs, *args, **kwargs)

    layer = KFCDense(12, structure="4:2x3*3x2*2x2", dot_general_cls=Scale)
    few, many = (
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((batch, 12)))
        for batch in (1, 10_000)
    )
    assert jax.tree.map(jnp.shape, few) == jax.tree.map(jnp.shape, many)


@each
def test_promote_dtype_is_called_as_dense_does_for_every_array(layer):
    seen = []

    def promote(inputs, kernel, bias, *, dtype):
        seen.append((inputs.shape, kernel.shape, bias.shape, dtype))
        return nn.dtypes.promote_dtype(inputs, kernel, bias, dtype=dtype)

    layer = layer(12, promote_dtype=promote, dtype=jnp.bfloat16)
    x = inputs(5, 12)
    variables = random_variables(layer, x)
    params = variables["params"]
    kernels = [params[name].shape for name in sorted(params) if name != "bias"]
    assert seen == [((5, 12), kernel, (12,), jnp.bfloat16) for kernel in kernels]
    assert layer.apply(variables, x).dtype == jnp.bfloat16


@each
def test_parameters_of_several_types_are_brought_to_one(layer):
    layer, x = layer(12), inputs(5, 12, dtype=jnp.bfloat16)
    variables = random_variables(layer, x)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    for name in variables["params"]:
        mixed = {"params": half["params"] | {name: variables["params"][name]}}
        assert layer.apply(mixed, x).dtype == jnp.float32


# Flax's transformations


@each
def test_remat_changes_nothing(layer):
    x = inputs(5, 12)
    plain, remat = layer(12), nn.remat(layer.func)(12, **layer.keywords)
    variables = random_variables(plain, x)

    def gradient(model):
        return jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(model.apply(v, x)))))(variables)

    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, gradient(plain), gradient(remat))


class Block(nn.Module):
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(self.layer(12, name="inner")(x)), None


def scanned(layer, length=3, **kwargs):
    return nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=length,
        **kwargs,
    )(layer)


@pytest.mark.parametrize("layer", LAYERS[::2])
def test_scan_over_layers_is_the_loop_over_its_slices(layer):
    x = inputs(5, 12)
    model = scanned(layer)
    variables = model.init(key(0), x, None)
    (output, _) = jax.jit(model.apply)(variables, x, None)
    kernels = [leaf for leaf in jax.tree.leaves(variables) if leaf.ndim > 2]
    assert all(len(leaf) == 3 and jnp.all(leaf[0] != leaf[1]) for leaf in kernels)
    expected = x
    for i in range(3):
        slices = jax.tree.map(lambda leaf, i=i: leaf[i], variables["params"]["inner"])
        expected = nn.tanh(layer(12).apply({"params": slices}, expected))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS[::2])
def test_vmap_over_an_ensemble_is_the_loop_over_its_slices(layer):
    ensemble = nn.vmap(
        layer.func,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,
        axis_size=3,
    )(12, **layer.keywords)
    x = inputs(5, 12)
    output, variables = ensemble.init_with_output(key(0), x)
    assert output.shape == (3, 5, 12)
    for i in range(3):
        slices = jax.tree.map(lambda leaf, i=i: leaf[i], variables)
        expected = layer(12).apply(slices, x)
        np.testing.assert_allclose(output[i], expected, rtol=1e-5, atol=1e-6)
    assert jnp.all(output[0] != output[1])


@each
def test_tabulate_shows_one_row_and_the_true_counts(layer):
    layer, x = layer(12), inputs(5, 12)
    table = layer.tabulate(key(0), x, console_kwargs={"width": 200, "force_terminal": False})
    variables = random_variables(layer, x)
    total = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert f"Total Parameters: {total} " in table
    assert table.count("float32[5,12]") == 2  # its inputs and its outputs, once each
    assert all(name in table for name in variables["params"])


def test_tabulate_and_eval_shape_need_no_memory_for_large_layers():
    layer = KFCDense(2**17, kernel_init=nn.initializers.he_normal())
    x = jnp.zeros((1, 2**17))  # the dense kernel: 64 GiB
    table = layer.tabulate(jax.random.key(0), x, console_kwargs={"width": 200})
    assert "kernel_0_0" in table


def partitioned(layer):
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("rows", "columns"))
    bias_init = nn.with_partitioning(nn.initializers.zeros_init(), ("columns",))
    return functools.partial(layer, kernel_init=kernel_init, bias_init=bias_init)


def specs(variables):
    return {name: tuple(spec) for name, spec in nn.get_partition_spec(variables)["params"].items()}


def test_partitioning_names_of_kfc_go_to_the_first_factor_of_each_term():
    layer = partitioned(functools.partial(KFCDense, structure="2:3x4*4x3+1:12x12"))
    variables = jax.eval_shape(layer(12).init, jax.random.key(0), inputs(5, 12))
    assert specs(variables) == {
        "kernel_0_0": (None, "rows", "columns"),
        "kernel_0_1": (None, None, None),
        "kernel_1_0": (None, "rows", "columns"),
        "bias": ("columns",),
    }


def test_partitioning_names_of_low_rank_go_to_the_long_sides():
    layer = partitioned(functools.partial(LowRankDense, rank=2))
    variables = jax.eval_shape(layer(12).init, jax.random.key(0), inputs(5, 12))
    assert specs(variables) == {
        "kernel_u": ("rows", None),
        "kernel_v": (None, "columns"),
        "bias": ("columns",),
    }


def test_partitioning_names_of_blocks_go_to_their_rows_and_columns():
    layer = partitioned(functools.partial(BlockDiagonalDense, structure="blocks 3"))
    variables = jax.eval_shape(layer(12).init, jax.random.key(0), inputs(5, 12))
    assert specs(variables) == {"kernel_blocks": (None, "rows", "columns"), "bias": ("columns",)}


def test_the_first_of_three_names_is_that_of_ranks_and_blocks():
    names = ("ranks", "rows", "columns")
    kernel_init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), names)
    expected = {
        functools.partial(KFCDense, structure="2:3x4*4x3"): {
            "kernel_0_0": ("ranks", "rows", "columns"),
            "kernel_0_1": ("ranks", None, None),
        },
        functools.partial(LowRankDense, rank=2): {
            "kernel_u": ("rows", "ranks"),
            "kernel_v": ("ranks", "columns"),
        },
        functools.partial(BlockDiagonalDense, structure="blocks 3"): {"kernel_blocks": names},
    }
    for make, wanted in expected.items():
        layer = make(12, use_bias=False, kernel_init=kernel_init)
        assert specs(jax.eval_shape(layer.init, key(0), inputs(5, 12))) == wanted


@each
def test_partitioned_parameters_compute_the_same(layer):
    x = inputs(5, 12)
    boxed = random_variables(partitioned(layer)(12), x)
    expected = layer(12).apply(nn.unbox(boxed), x)
    np.testing.assert_allclose(partitioned(layer)(12).apply(boxed, x), expected, rtol=1e-6)


@each
def test_partitioning_under_scan_adds_the_axis(layer):
    model = scanned(partitioned(layer), metadata_params={nn.PARTITION_NAME: "layers"})
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs(5, 12), None)
    found = specs({"params": variables["params"]["inner"]})
    assert all(spec[0] == "layers" for spec in found.values())
    shapes = jax.tree.map(jnp.ndim, nn.unbox(variables)["params"]["inner"])
    assert {name: len(spec) for name, spec in found.items()} == shapes


def test_sharded_on_a_mesh():
    mesh = jax.make_mesh((1, 1), ("rows", "columns"))
    layer = partitioned(functools.partial(KFCDense, structure="2:3x4*4x3"))
    model, x = layer(12), inputs(5, 12)
    abstract = jax.eval_shape(model.init, key(0), x)
    shardings = nn.get_sharding(abstract, mesh)
    variables = nn.unbox(jax.jit(model.init, out_shardings=shardings)(key(0), x))
    assert all(leaf.sharding.mesh == mesh for leaf in jax.tree.leaves(variables))
    assert jax.jit(model.apply)(variables, x).shape == (5, 12)
    x = jax.device_put(inputs(64, 12), jax.NamedSharding(mesh, jax.P("rows")))
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(model.apply(v, x) ** 2)))(variables, x)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, variables)


# Compilation


@each
@pytest.mark.parametrize("batch", [8, 4096])
def test_a_training_step_lowers_for_cpu_gpu_and_tpu(layer, batch):
    layer = layer(12)

    @jax.jit
    def step(variables, x):
        return jax.grad(lambda v: jnp.sum(layer.apply(v, x) ** 2))(variables)

    x = jax.ShapeDtypeStruct((batch, 12), jnp.float32)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    platforms = ("cpu", "cuda", "tpu")
    exported = export.export(step, platforms=platforms)(variables, x)
    assert exported.platforms == platforms


@each
def test_jit_compiles_once_per_shape(layer):
    layer, x = layer(12), inputs(5, 12)
    variables = random_variables(layer, x)
    traces = []

    @jax.jit
    def call(variables, x):
        traces.append(x.shape)
        return layer.apply(variables, x)

    for _ in range(3):
        eager = layer.apply(variables, x)
        np.testing.assert_allclose(call(variables, x), eager, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1
    # Layers are values: equal ones share a compilation where they are static arguments.
    assert layer == layer.clone()
    assert hash(layer) == hash(layer.clone())


# Errors at trace time


def trace(layer, size):
    return jax.eval_shape(
        layer.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size), jnp.float32)
    )


def test_a_structure_that_does_not_fit_names_both_sizes_and_the_nearest_that_would():
    message = message_of(trace, KFCDense(1024, structure="8:28x32*28x32"), 800)
    assert "784x1024" in message
    assert "800x1024" in message
    suggestion = message.split("'")[-2]
    assert trace(KFCDense(1024, structure=suggestion), 800)


def test_a_structure_and_a_rank_are_an_error_that_says_which_to_leave_out():
    message = message_of(trace, KFCDense(12, structure="2:3x4*4x3", rank=2), 12)
    for part in ("2:3x4*4x3", "rank=2", "leave rank out"):
        assert part in message


def test_a_structure_of_another_type_is_refused():
    message = message_of(trace, KFCDense(12, structure=["2:3x4*4x3"]), 12)
    assert "give a KroneckerStructure, a KroneckerTerm, or a text" in message


@pytest.mark.parametrize("rank", [0, -1, 13])
def test_a_rank_out_of_range_names_the_limit(rank):
    for layer in (KFCDense(12, rank=rank), LowRankDense(12, rank=rank)):
        message = message_of(trace, layer, 12)
        assert f"{rank} " in message
        assert "from 1 to 12" in message
        assert "12x12" in message


@pytest.mark.parametrize("structure", ["", "rank 3", BlockDiagonalStructure(10, 10, 5)])
def test_blocks_that_do_not_fit_name_those_that_do(structure):
    message = message_of(trace, BlockDiagonalDense(12, structure=structure), 8)
    assert str(structure) in message
    assert all(count in message for count in ("1", "2", "4"))


def test_other_bad_fields_are_errors_that_show_them():
    assert "'8:28x'" in message_of(trace, KFCDense(12, structure="8:28x"), 12)
    assert "num_factors=0" in message_of(trace, KFCDense(12, num_factors=0), 12)
    assert "features, got 0" in message_of(trace, KFCDense(0), 12)


def test_parameters_of_another_structure_are_refused():
    variables = random_variables(KFCDense(12, structure="2:3x4*4x3"), inputs(1, 12))
    with pytest.raises(ScopeParamShapeError, match="kernel_0_0"):
        KFCDense(12, structure="2:4x4*3x3").apply(variables, inputs(1, 12))


# The package


def test_public_names_are_those_of_the_design():
    names = {"KFCDense", "LowRankDense", "BlockDiagonalDense", "KroneckerStructure"}
    names |= {"KroneckerTerm", "kronecker_matmul", "materialize"}
    assert names <= set(kfc_jax.__all__)
    assert all(hasattr(kfc_jax, name) for name in kfc_jax.__all__)
