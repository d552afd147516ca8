import dataclasses
import functools
import inspect
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import scipy.linalg
from flax import linen, nnx

import kfc_jax
from kfc_jax import BlockDiagonalDense, KFCDense, LowRankDense, add_decayed_weights
from kfc_jax.nnx import BlockDiagonalLinear, KFCLinear, LowRankLinear
from tests.kfc_jax.reference import dense_kernel, key, message_of

ROOT = pathlib.Path(__file__).parents[3]
LAYERS = [
    pytest.param(functools.partial(KFCLinear, structure="2:3x4*4x3"), KFCDense, id="kfc"),
    pytest.param(functools.partial(KFCLinear, rank=2, num_factors=3), KFCDense, id="3-factors"),
    pytest.param(functools.partial(LowRankLinear, rank=2), LowRankDense, id="low-rank"),
    pytest.param(
        functools.partial(BlockDiagonalLinear, structure="blocks 3 interleaved"),
        BlockDiagonalDense,
        id="interleaved",
    ),
]
each = pytest.mark.parametrize("layer", [p.values[0] for p in LAYERS], ids=[p.id for p in LAYERS])
with_twin = pytest.mark.parametrize(("layer", "twin"), LAYERS)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def inputs(*shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype)


def rngs(seed=0):
    return nnx.Rngs(key(seed))


def pure(layer):
    """The layer's parameters as the linen layer has them."""
    return nnx.to_pure_dict(nnx.state(layer, nnx.Param))


def kernel_of(layer):
    """The dense kernel that the layer's parameters stand for, by NumPy in float64."""
    structure = layer.kernel_structure
    params = {name: np.asarray(array, np.float64) for name, array in pure(layer).items()}
    if structure.kind == "low_rank":
        return params["kernel_u"] @ params["kernel_v"]
    if structure.kind == "block_diagonal":
        kernel = scipy.linalg.block_diag(*params["kernel_blocks"])
        count, rows, _ = params["kernel_blocks"].shape
        return kernel[[block * rows + row for row in range(rows) for block in range(count)]]
    params.pop("bias", None)
    return dense_kernel(structure, structure.factors_of(params))


# Standing where nnx.Linear stood


@pytest.mark.parametrize("cls", [KFCLinear, LowRankLinear, BlockDiagonalLinear])
def test_arguments_are_those_of_linear_then_the_new_ones(cls):
    theirs = list(inspect.signature(nnx.Linear.__init__).parameters.values())[1:]
    ours = list(inspect.signature(cls.__init__).parameters.values())[1:]
    new = {
        KFCLinear: ["structure", "rank", "num_factors", "strategy"],
        LowRankLinear: ["rank"],
        BlockDiagonalLinear: ["structure"],
    }[cls]
    assert [p.name for p in ours] == [p.name for p in theirs] + new
    for mine, their in zip(ours, theirs, strict=False):
        assert mine.kind == their.kind
        if mine.name.endswith("_metadata"):
            assert dict(mine.default) == dict(their.default) == {}
        else:
            assert mine.default is their.default
    assert all(p.default is not p.empty for p in ours[len(theirs) :])
    for p in ours if cls is KFCLinear else ours[len(theirs) :]:
        assert f"\n  {p.name}: " in inspect.cleandoc(cls.__doc__)


@each
@pytest.mark.parametrize("use_bias", [True, False])
def test_it_is_linear_with_the_kernel_that_its_arrays_stand_for(layer, use_bias):
    layer = layer(12, 12, use_bias=use_bias, bias_init=nnx.initializers.normal(), rngs=rngs())
    dense = nnx.Linear(12, 12, use_bias=use_bias, rngs=rngs())
    dense.kernel[...] = kernel_of(layer).astype(np.float32)
    assert hasattr(layer, "bias")
    assert (layer.bias is None) == (dense.bias is None) == (not use_bias)
    if use_bias:
        dense.bias[...] = layer.bias[...]
    for x in (inputs(5, 12), inputs(12), inputs(2, 3, 12), np.ones((5, 12)), inputs(0, 12)):
        np.testing.assert_allclose(layer(x), dense(x), rtol=1e-4, atol=1e-5)


@with_twin
def test_it_is_the_linen_layer_given_its_parameters(layer, twin):
    of_nnx = layer(12, 8 if twin is LowRankDense else 12, rngs=rngs())
    of_linen = twin(of_nnx.out_features, **layer.keywords)
    x = inputs(5, 12)
    of_init = jax.eval_shape(of_linen.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, pure(of_nnx)) == jax.tree.map(jnp.shape, of_init)
    np.testing.assert_array_equal(of_nnx(x), of_linen.apply({"params": pure(of_nnx)}, x))


@each
@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("preferred", [None, jnp.float32])
def test_types_are_those_of_linear(layer, dtype, param_dtype, preferred):
    fields = {"dtype": dtype, "param_dtype": param_dtype, "preferred_element_type": preferred}
    outputs = []
    for cls in (layer, nnx.Linear):
        model = cls(12, 12, **fields, rngs=rngs())
        assert {a.dtype for a in pure(model).values()} == {jnp.dtype(param_dtype)}
        outputs.append(jax.eval_shape(model, inputs(5, 12, dtype=jnp.bfloat16)).dtype)
    assert outputs[0] == outputs[1]


def test_a_preferred_type_is_that_of_the_sums():
    layer = KFCLinear(
        64, 64, dtype=jnp.bfloat16, preferred_element_type=jnp.float32, use_bias=False, rngs=rngs()
    )
    x = inputs(5, 64, dtype=jnp.bfloat16)
    for name in layer.kernel_structure.array_shapes:  # what a product in bfloat16 sees
        variable = getattr(layer, name)
        variable[...] = variable[...].astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_allclose(layer(x), np.asarray(x, np.float32) @ kernel_of(layer), rtol=1e-3)


@each
def test_a_replaced_product_and_promotion_are_used(layer):
    seen = []

    def dot_general(*args, **kwargs):
        seen.append("product")
        return jax.lax.dot_general(*args, **kwargs)

    def promote(args, *, dtype):
        seen.append(([None if a is None else jnp.shape(a) for a in args], dtype))
        return nnx.nn.dtypes.promote_dtype(args, dtype=dtype)

    fields = {"dot_general": dot_general, "promote_dtype": promote, "dtype": jnp.float32}
    model = layer(12, 12, **fields, rngs=rngs())
    outputs = model(inputs(5, 12))
    shapes = list(model.kernel_structure.array_shapes.values())
    expected = [([(5, 12), shape, (12,)], jnp.float32) for shape in shapes]
    assert seen == [*expected, *["product"] * len(shapes)]
    close(outputs, layer(12, 12, rngs=rngs())(inputs(5, 12)))


@each
def test_fields_that_change_afterwards_count_as_those_of_linear_do(layer):
    model = layer(12, 12, rngs=rngs())
    model.dtype = jnp.bfloat16
    assert model(inputs(5, 12)).dtype == jnp.bfloat16


# Initialisation


@each
def test_a_layer_takes_as_many_keys_as_linear_so_that_later_layers_start_alike(layer):
    for use_bias in (True, False):
        later = []
        for cls in (layer, nnx.Linear):
            stream = rngs()
            cls(12, 12, use_bias=use_bias, rngs=stream)
            later.append(nnx.Linear(3, 3, rngs=stream).kernel[...])
        np.testing.assert_array_equal(*later)


@pytest.mark.parametrize("init", [None, nnx.initializers.he_normal(), nnx.initializers.zeros])
def test_the_kernel_starts_with_the_variance_of_its_initialiser(init):
    fields = {} if init is None else {"kernel_init": init}
    ours = KFCLinear(256, 256, rank=8, **fields, rngs=rngs())
    theirs = nnx.Linear(256, 256, **fields, rngs=rngs()).kernel[...]
    np.testing.assert_allclose(np.std(kernel_of(ours)), np.std(theirs), rtol=0.15)
    assert jnp.all(ours.kernel_0_0[...] != ours.kernel_0_1[...])


def test_shapes_need_no_memory_for_large_layers():
    def make():
        return KFCLinear(2**17, 2**17, kernel_init=nnx.initializers.he_normal(), rngs=nnx.Rngs(0))

    model = nnx.eval_shape(make)  # the dense kernel: 64 GiB
    for name, shape in model.kernel_structure.array_shapes.items():
        assert getattr(model, name).shape == shape


@pytest.mark.parametrize("given", ["kernel_init", "kernel_metadata"])
def test_axis_names_go_where_those_of_linen_go(given):
    names = ("rows", "columns")
    fields = {
        "kernel_init": {
            "kernel_init": nnx.with_partitioning(nnx.initializers.lecun_normal(), names, mark=1)
        },
        "kernel_metadata": {"kernel_metadata": {"out_sharding": names, "mark": 1}},
    }[given]
    expected = {
        KFCLinear: {
            "kernel_0_0": (None, "rows", "columns"),
            "kernel_0_1": (None, None, None),
            "kernel_1_0": (None, "rows", "columns"),
        },
        LowRankLinear: {"kernel_u": ("rows", None), "kernel_v": (None, "columns")},
        BlockDiagonalLinear: {"kernel_blocks": (None, "rows", "columns")},
    }
    own = ({"structure": "2:3x4*4x3+1:12x12"}, {"rank": 2}, {"structure": "blocks 3"})
    mesh = jax.make_mesh((1, 1), names)
    for (cls, axes), fields_of_kind in zip(expected.items(), own, strict=True):
        with jax.set_mesh(mesh):
            model = cls(12, 12, **fields, **fields_of_kind, use_bias=False, rngs=rngs())
            if cls is not BlockDiagonalLinear:
                outputs = model(inputs(4, 12), out_sharding=jax.P("rows"))
                assert jax.typeof(outputs).sharding.spec[0] == "rows"
        params = nnx.to_flat_state(nnx.state(model, nnx.Param))
        found = {name: p.get_metadata("out_sharding") for (name,), p in params}
        assert found == axes
        assert all(p.get_metadata("mark") == 1 for _, p in params)
        assert all(
            p[...].sharding.spec == jax.P(*axes[name]) and p[...].sharding.mesh.shape == mesh.shape
            for (name,), p in params
        )


# NNX's transformations


@each
def test_jit_gradients_and_remat_agree_with_the_plain_call(layer):
    model, x = layer(12, 12, rngs=rngs()), inputs(5, 12)

    def loss(model):
        return jnp.sum(jnp.sin(model(x)))

    def checkpointed(model):
        return jnp.sum(jnp.sin(nnx.remat(lambda model, x: model(x))(model, x)))

    expected = nnx.grad(loss)(model)
    close(nnx.jit(lambda model, x: model(x))(model, x), model(x))
    for gradient in (nnx.jit(nnx.grad(loss)), nnx.grad(checkpointed)):
        jax.tree.map(close, gradient(model), expected)
    # By hand through the dense kernel.
    of_bias = np.sum(np.cos(np.asarray(x) @ kernel_of(model)), axis=0)
    np.testing.assert_allclose(expected["bias"][...], of_bias, rtol=1e-4)


@each
def test_jit_compiles_once_for_models_that_are_made_alike(layer):
    traces = []

    @nnx.jit
    def call(model, x):
        traces.append(x.shape)
        return model(x)

    for seed in range(3):
        call(layer(12, 12, rngs=rngs(seed)), inputs(5, 12))
    assert len(traces) == 1


@each
def test_vmapped_ensembles_and_scanned_stacks_are_the_loops_over_their_slices(layer):
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return layer(12, 12, rngs=rngs)

    stack, x = make(rngs()), inputs(5, 12)
    kernels = [a for name, a in pure(stack).items() if name != "bias"]
    assert all(len(a) == 3 and jnp.all(a[0] != a[1]) for a in kernels)
    graph, state = nnx.split(stack)
    slices = [nnx.merge(graph, jax.tree.map(lambda a, i=i: a[i], state)) for i in range(3)]

    ensemble = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))(stack, x)
    for output, model in zip(ensemble, slices, strict=True):
        close(output, model(x))

    @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
    def through(model, x):
        return jnp.tanh(model(x))

    expected = functools.reduce(lambda x, model: jnp.tanh(model(x)), slices, x)
    close(nnx.jit(through)(stack, x), expected)


@each
def test_a_layer_is_put_together_from_its_parts(layer, tmp_path):
    model, other, x = layer(12, 12, rngs=rngs(0)), layer(12, 12, rngs=rngs(1)), inputs(5, 12)
    graph, state = nnx.split(model)
    np.testing.assert_array_equal(nnx.merge(graph, state)(x), model(x))
    np.testing.assert_array_equal(nnx.clone(model)(x), model(x))

    assert not np.allclose(other(x), model(x))
    nnx.update(other, nnx.state(model))
    np.testing.assert_array_equal(other(x), model(x))

    abstract = nnx.eval_shape(lambda: layer(12, 12, rngs=nnx.Rngs(0)))
    graph, shapes = nnx.split(abstract)
    nnx.replace_by_pure_dict(shapes, pure(model))
    np.testing.assert_array_equal(nnx.merge(graph, shapes)(x), model(x))


@each
def test_orbax_saves_and_restores_a_layer(layer, tmp_path):
    model, x = layer(12, 12, rngs=rngs()), inputs(5, 12)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: layer(12, 12, rngs=nnx.Rngs(0))))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", nnx.state(model))
        checkpointer.wait_until_finished()
        one_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=one_device), shapes
        )
        restored = checkpointer.restore(tmp_path / "state", shapes)
    np.testing.assert_array_equal(nnx.merge(graph, restored)(x), model(x))


def test_bridges_lead_to_linen_and_back():
    x = inputs(5, 12)
    to_linen = nnx.bridge.to_linen(KFCLinear, 12, 12, structure="2:3x4*4x3")
    outputs, variables = to_linen.init_with_output(key(0), x)
    twin = KFCDense(12, structure="2:3x4*4x3")
    params = {
        name: box.value if hasattr(box, "value") else box
        for name, box in variables["params"].items()
    }
    close(outputs, twin.apply({"params": params}, x))
    to_nnx = nnx.bridge.ToNNX(twin, rngs=rngs()).lazy_init(x)
    assert set(pure(to_nnx)) == {"kernel_0_0", "kernel_0_1", "bias"}


# Training


class Network(nnx.Module):
    def __init__(self, *, rngs):
        self.layers = nnx.List(
            [
                KFCLinear(12, 16, structure="2:3x4*4x4", rngs=rngs),
                LowRankLinear(16, 12, rank=2, rngs=rngs),
                BlockDiagonalLinear(12, 12, structure="blocks 3", rngs=rngs),
            ]
        )
        self.head = nnx.Linear(12, 3, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.head(x)


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x):
        layers = [
            KFCDense(16, structure="2:3x4*4x4", name="0"),
            LowRankDense(12, rank=2, name="1"),
            BlockDiagonalDense(12, structure="blocks 3", name="2"),
        ]
        for layer in layers:
            x = jnp.tanh(layer(x))
        return linen.Dense(3, name="head")(x)


def linen_params(model):
    params = pure(model)
    return {str(i): layer for i, layer in params["layers"].items()} | {"head": params["head"]}


def test_an_nnx_optimizer_steps_as_optax_does_for_linen():
    model, x, targets = Network(rngs=rngs()), inputs(5, 12), inputs(5, 3)
    params = linen_params(model)
    transform = optax.chain(
        optax.scale_by_adam(),
        kfc_jax.scale_factor_updates(),
        add_decayed_weights(0.01),
        optax.scale_by_learning_rate(0.01),
    )
    optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(lambda m: jnp.mean((m(x) - targets) ** 2))(model)
        optimizer.update(model, gradients)
        return value

    @jax.jit
    def linen_step(params, state):
        def loss(params):
            return jnp.mean((LinenNetwork().apply({"params": params}, x) - targets) ** 2)

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = transform.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    state = transform.init(params)
    for _ in range(3):
        value = step(model, optimizer)
        params, state, expected = linen_step(params, state)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        linen_params(model),
        params,
    )


def test_multipliers_of_factors_are_those_of_linen_also_of_stacks():
    model = Network(rngs=rngs())
    of_linen = kfc_jax.factor_multipliers(linen_params(model))
    assert float(of_linen["0"]["kernel_0_0"]) != 1
    of_state = kfc_jax.factor_multipliers(nnx.state(model, nnx.Param))
    close_to = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close_to, linen_params_of_state(of_state), of_linen)
    of_model = kfc_jax.factor_multipliers(model)  # a module is a tree, too
    jax.tree.map(close_to, linen_params(of_model), of_linen)

    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make(rngs):
        return KFCLinear(12, 12, structure="2:3x4*4x3", rngs=rngs)

    stack = make(rngs())
    found = kfc_jax.factor_multipliers(nnx.state(stack))
    expected = kfc_jax.factor_multipliers(pure(stack))
    jax.tree.map(close_to, nnx.to_pure_dict(found), expected)


def linen_params_of_state(state):
    params = nnx.to_pure_dict(state)
    return {str(i): layer for i, layer in params["layers"].items()} | {"head": params["head"]}


# Errors


def test_errors_are_those_of_the_linen_layers_when_the_layer_is_made():
    misfit = message_of(KFCLinear, 800, 1024, structure="8:28x32*28x32", rngs=rngs())
    assert "784x1024" in misfit
    assert "800x1024" in misfit
    both = message_of(KFCLinear, 12, 12, structure="2:3x4*4x3", rank=2, rngs=rngs())
    assert "leave rank out" in both
    assert "from 1 to 12" in message_of(LowRankLinear, 12, 12, rank=13, rngs=rngs())
    assert "blocks" in message_of(BlockDiagonalLinear, 12, 8, rngs=rngs())
    assert "12 inputs" in message_of(KFCLinear(12, 12, rngs=rngs()), inputs(5, 11))
    with pytest.raises(TypeError, match="rngs"):
        KFCLinear(12, 12)


def test_who_uses_linen_alone_does_not_load_nnx():
    code = "import sys, kfc_jax; assert 'flax.nnx' not in sys.modules; import kfc_jax.nnx"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_layers_are_told_apart_by_identity_as_those_of_nnx_are():
    one, other = (KFCLinear(12, 12, rngs=rngs()) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
    assert dataclasses.is_dataclass(one)
    assert "kernel_0_0" in repr(one)
