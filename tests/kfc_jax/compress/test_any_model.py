"""Every layer of Flax's own goes the whole way: found, recorded, planned, converted, run, tuned."""

import functools
import logging

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from kfc_jax import (
    CompressedModel,
    CompressionPlan,
    KroneckerStructure,
    convert,
    find_layers,
    input_statistics,
    plan_compression,
    scale_factor_updates,
    to_dense,
)
from kfc_jax.compress import Checkpoint, reorder_units
from kfc_jax.compress.plan import LayerPlan
from tests.kfc_jax.reference import message_of
from tests.kfc_jax.stock_models import LINEN, SEQUENCE, variables_of

shapes_of = functools.partial(jax.tree.map, jnp.shape)


@pytest.mark.parametrize("name", LINEN)
def test_a_stock_model_goes_the_whole_way(name):
    model, variables, x = variables_of(name)
    layers = find_layers(model, variables, x)
    assert layers
    statistics = input_statistics(model, variables, [x, x])
    plan = _planned(layers, statistics)
    assert all(its.method != "dense" for its in plan.layers[:4] if its.path != "idle")
    assert CompressionPlan.from_json(plan.to_json()) == plan
    ordered, seen = reorder_units(layers, plan, statistics=statistics)
    params, reports = convert(ordered, plan, statistics=seen)
    assert sum(map(jnp.size, jax.tree.leaves(params))) == plan.parameters
    assert reports.keys() == {p.path for p in plan.layers if p.method != "dense"}

    dense = jax.jit(lambda params: to_dense(params, plan))(params)
    assert shapes_of(dense) == shapes_of(variables["params"])
    small = CompressedModel(model, plan)
    new = jax.eval_shape(small.init, jax.random.key(1), x)
    assert shapes_of(new["params"]) == shapes_of(params)

    def outputs(model, params):
        return model.apply({**variables, "params": params}, x).astype(jnp.float32)

    def loss(params):
        y = outputs(small, params)
        return jnp.mean((y - 10) ** 2), y

    # JAX does not differentiate its while loop backwards.
    steps = _along if name == "branches" else _trained
    # Compiling the programs is what takes the time here, not running them.
    run = jax.jit(
        lambda params, dense: (outputs(model, dense), *steps(loss, params)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    expected, y, losses, moved = run(params, dense)
    tolerance = 0.05 if name == "half_precision" else 1e-5
    np.testing.assert_allclose(y, expected, atol=tolerance)
    assert losses[1] < losses[0]
    assert all(np.any(leaf) for path, leaf in _leaves(moved) if "bias" not in path)


def _planned(layers, statistics):
    """Returns a plan that chooses for one layer; three of the others get structures."""
    first, *others = sorted(layers, key=lambda path: path == "idle")
    told = dict.fromkeys(others, "dense")
    for i, path in enumerate(others[:3]):
        balanced = str(KroneckerStructure.balanced(*layers[path].size, 2))
        if path != "idle":
            told[path] = balanced if i % 2 else "rank 2"
    left = plan_compression(layers, 1.0, structures={**told, first: "dense"}).parameters
    budget = left - int(0.4 * layers[first].kernel.size)
    return plan_compression(layers, budget, statistics=statistics, structures=told, max_shapes=3)


def _trained(loss, params):
    """Returns outputs, the loss before and after a step of fine-tuning, and the step."""
    transform = optax.chain(optax.scale_by_adam(), scale_factor_updates(), optax.scale(-1e-4))
    (before, y), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    step, _ = transform.update(gradients, transform.init(params), params)
    return y, (before, loss(optax.apply_updates(params, step))[0]), step


def _along(loss, params):
    """Returns outputs, the loss before and after a step downhill on one line, and the step."""
    line = jax.tree.map(jnp.ones_like, params)
    before, slope, y = jax.jvp(loss, (params,), (line,), has_aux=True)
    step = jax.tree.map(lambda a: -1e-3 * jnp.sign(slope) * a, line)
    return y, (before, loss(optax.apply_updates(params, step))[0]), step


def _leaves(tree):
    return [(jax.tree_util.keystr(p), a) for p, a in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.parametrize("name", ["scanned_blocks", "attention", "tied_embedding"])
def test_kernels_in_any_layout_are_saved_with_it(name, tmp_path):
    model, variables, x = variables_of(name)
    layers = find_layers(model, variables, x)
    plan = plan_compression(layers, 0.8)
    params, _ = convert(layers, plan)
    Checkpoint({"params": params}, plan).save(tmp_path / "small.safetensors")
    loaded = Checkpoint.load(tmp_path / "small.safetensors")
    assert loaded.structures.structures == plan.structures
    np.testing.assert_array_equal(
        CompressedModel(model, loaded.structures).apply(loaded.variables, x),
        CompressedModel(model, plan).apply({"params": params}, x),
    )


def test_all_that_a_model_multiplies_by_is_found_and_the_rest_is_named():
    found = {name: find_layers(*variables_of(name)) for name in ("scanned_blocks", "convolution")}
    blocks = found["scanned_blocks"]
    assert {path: (layer.size, layer.stack_shape) for path, layer in blocks.items()} == {
        "blocks/Dense_0": ((16, 24), (3,)),
        "blocks/Dense_1": ((24, 16), (3,)),
        "head": ((16, 4), ()),
    }
    # Scales of a stack have two axes, and are no kernels.
    assert blocks.others["blocks/LayerNorm_0/scale"] == "the model passes it to 'mul'"
    assert found["convolution"].others["layers_0/kernel"].endswith("'conv_general_dilated'")


@pytest.mark.parametrize("wrapped", [nn.WeightNorm, functools.partial(nn.SpectralNorm)])
def test_a_kernel_that_is_changed_on_its_way_is_known_before(wrapped):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"update_stats": False} if wrapped is not nn.WeightNorm else {}
            return nn.Dense(4, name="head")(wrapped(nn.Dense(8))(x, **options))

    variables = Model().init(jax.random.key(0), SEQUENCE)
    layers = find_layers(Model(), variables, SEQUENCE)
    assert list(layers) == ["head"]
    assert any("the model passes it to" in why for why in layers.others.values())
    path = next(iter(layers.others)).removesuffix("/kernel")
    message = message_of(plan_compression, layers, 0.9, structures={path: "rank 1"})
    assert f"{path!r} is no dense layer (the model passes it to" in message


@pytest.mark.filterwarnings("ignore:The Fp8DotGeneralOp is deprecated")
@pytest.mark.parametrize("kind", [nn.Fp8DotGeneralOp, nn.Fp8DirectDotGeneralOp])
def test_a_layer_in_eight_bits_is_named_and_the_rest_of_its_model_goes_on(kind):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(16, name="eight", dot_general_cls=kind)(x)
            return nn.Dense(24, name="plain")(nn.relu(x))

    model = Model()
    variables = jax.jit(model.init)(jax.random.key(0), SEQUENCE)
    layers = find_layers(model, variables, SEQUENCE)
    assert list(layers) == list(input_statistics(model, variables, [SEQUENCE])) == ["plain"]
    assert layers.others == {"eight/kernel": "the model passes it to 'custom_vjp_call'"}
    told = {"eight": "rank 2"}
    for refused in (
        lambda: plan_compression(layers, 0.9, structures=told),
        lambda: convert(layers, told),
        lambda: CompressedModel(model, told).init(jax.random.key(0), SEQUENCE),
    ):
        assert "'eight'" in (message := message_of(refused))
        assert "passes it to 'custom_vjp_call'" in message
    params, _ = convert(layers, {"plain": "2:4x4*4x6"})
    small = CompressedModel(model, {"plain": "2:4x4*4x6"})
    dense = to_dense(params, {"plain": "2:4x4*4x6"})
    outputs = small.apply({**variables, "params": params}, SEQUENCE)
    expected = model.apply({**variables, "params": dense}, SEQUENCE)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_what_a_subclass_adds_is_kept_and_its_product_recorded_once():
    class Shifted(nn.Dense):
        def __call__(self, inputs):
            return 2 * super().__call__(inputs - 5)

    model, x = nn.Sequential([Shifted(64)]), 3 * jnp.ones((4, 64)) + SEQUENCE[0, :4, :1]
    variables = model.init(jax.random.key(0), x)
    structures = {"layers_0": "4:8x8*8x8"}
    params, _ = convert(variables["params"], structures)
    dense = {"params": to_dense(params, structures)}
    outputs = CompressedModel(model, structures).apply({"params": params}, x)
    np.testing.assert_allclose(outputs, model.apply(dense, x), atol=1e-5)
    seen = input_statistics(model, variables, [x])["layers_0"]
    np.testing.assert_allclose(seen.mean, np.mean(x - 5, 0), atol=1e-6)


def test_a_value_that_a_subclass_sows_is_that_of_its_product_on_factors():
    class Sown(nn.Dense):
        def __call__(self, inputs):
            outputs = super().__call__(inputs)
            self.sow("intermediates", "largest", jnp.max(outputs))
            return outputs

    model, structures = Sown(8), {"": "2:4x4*4x2"}
    variables = jax.jit(model.init)(jax.random.key(0), SEQUENCE)
    params, _ = convert(variables["params"], structures)
    seen = input_statistics(model, variables, [SEQUENCE])[""]
    np.testing.assert_allclose(seen.mean, np.mean(SEQUENCE, (0, 1)), atol=1e-6)
    (y, sown), (expected, of_dense) = (
        model.apply({"params": params}, SEQUENCE, mutable=["intermediates"])
        for model, params in (
            (CompressedModel(model, structures), params),
            (model, to_dense(params, structures)),
        )
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (value,) = sown["intermediates"]["largest"]
    np.testing.assert_allclose(value, of_dense["intermediates"]["largest"][0], atol=1e-5)


def test_a_model_without_layers_that_can_be_replaced_is_told_with_reasons():
    model = nn.Conv(4, (3,))
    variables = jax.jit(model.init)(jax.random.key(0), SEQUENCE)
    message = message_of(input_statistics, model, variables, [SEQUENCE])
    assert "(kernel: the model passes it to 'conv_general_dilated')" in message


def test_a_layer_that_sees_nothing_stays_dense_and_is_named(caplog):
    model = nn.Sequential(
        [nn.Dense(64, bias_init=nn.initializers.constant(-1000.0)), nn.relu, nn.Dense(10)]
    )
    variables = model.init(jax.random.key(0), SEQUENCE)
    with caplog.at_level(logging.WARNING, "kfc_jax"):
        statistics = input_statistics(model, variables, [SEQUENCE])
    assert statistics["layers_2"] is None
    assert statistics["layers_0"].inputs == 16
    assert "Layer layers_2 sees nothing but zeros" in caplog.text
    plan = plan_compression(variables["params"], 0.8, statistics=statistics)
    assert plan.structures["layers_2"] == "dense" != plan.structures["layers_0"]


def test_statistics_in_a_branch_that_is_not_taken_are_none(caplog):
    with caplog.at_level(logging.WARNING, "kfc_jax"):
        model, variables, x = variables_of("branches")
        statistics = input_statistics(model, variables, [x])
    assert statistics["idle"] is None
    assert "Layer idle is not reached" in caplog.text
    assert statistics["taken"].inputs == statistics["repeated"].inputs == 16


def test_batches_may_be_several_arguments_or_named_ones():
    class Masked(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            return nn.Dense(3, name="fc")(x * mask)

    model, mask = Masked(), jnp.ones((2, 5, 16)).at[0].set(0)
    variables = model.init(jax.random.key(0), SEQUENCE, mask)
    batches = [(SEQUENCE, mask)], [{"x": SEQUENCE, "mask": mask}]
    one, two = (input_statistics(model, variables, batch)["fc"] for batch in batches)
    expected = np.asarray(SEQUENCE * mask, np.float64).reshape(-1, 16)
    np.testing.assert_allclose(one.second_moment, expected.T @ expected / 10, atol=1e-5)
    np.testing.assert_array_equal(one.second_moment, two.second_moment)


def test_parameters_may_be_frozen_or_in_lists():
    def run(params, x):
        for layer in params["layers"]:
            x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
        return x @ params["out"]

    rng = np.random.default_rng(1)
    layer = {"kernel": rng.normal(size=(16, 16)).astype("f"), "bias": np.zeros(16, "f")}
    params = {"layers": [layer, layer], "out": rng.normal(size=(16, 3)).astype("f")}
    layers = find_layers(run, params, SEQUENCE)
    assert list(layers) == ["layers/0", "layers/1", "out"]
    structures = {"layers/1": "2:4x4*4x4", "out": "rank 1"}
    plan = plan_compression(layers, 1.0, structures=structures)
    new, _ = convert(layers, plan)
    assert new["layers"][1].keys() == {"kernel_0_0", "kernel_0_1", "bias"}
    assert new["out"].keys() == {"kernel_u", "kernel_v"}
    assert shapes_of(to_dense(new, plan)) == shapes_of(params)

    model, variables, x = variables_of("dense")
    frozen = FrozenDict(variables["params"])
    new, _ = convert(frozen, {"": "rank 1"})
    assert new.keys() == {"kernel_u", "kernel_v", "bias"}
    assert CompressedModel(model, {"": "rank 1"}).apply({"params": new}, x).shape == (2, 5, 8)


def test_a_compressed_model_is_hashable_and_has_what_models_have():
    model, _, x = variables_of("dense")
    small = CompressedModel(model, {"": "rank 2"})
    assert hash(small) == hash(CompressedModel(model, {"": "rank 2"}))
    assert small != CompressedModel(model, {"": "rank 1"})
    outputs, made = small.init_with_output(jax.random.key(0), x)
    run = jax.jit(lambda model, variables: model.apply(variables, x), static_argnums=0)
    np.testing.assert_allclose(run(small, made), outputs, atol=1e-6)
    np.testing.assert_allclose(small.bind(made)(x), outputs, atol=1e-6)
    described = jax.ShapeDtypeStruct(x.shape, x.dtype)
    assert shapes_of(small.lazy_init(jax.random.key(0), described)) == shapes_of(made)
    assert small.clone(features=8) == small
    _, captured = small.apply(made, x, capture_intermediates=True, mutable=["intermediates"])
    assert len(captured["intermediates"]["__call__"]) == 1
    assert jax.jvp(lambda x: small.apply(made, x), (x,), (x,))[1].shape == outputs.shape


def test_a_compressed_model_lists_its_arrays():
    model, _, x = variables_of("scanned_blocks")
    layers = find_layers(model, jax.eval_shape(model.init, jax.random.key(0), x), x)
    kept = {path: LayerPlan.of(layer, "dense") for path, layer in layers.items()}
    plan = CompressionPlan(tuple({**kept, "head": LayerPlan.of(layers["head"], "rank 2")}.values()))
    table = CompressedModel(model, plan).tabulate(jax.random.key(0), x)
    *rows, total = (" ".join(line.split()) for line in table.splitlines())
    assert "params blocks/Dense_0 dense bias: float32[3, 24], kernel: float32[3, 16, 24] 1,224" in (
        rows
    )
    arrays = "bias: float32[4], kernel_u: float32[16, 2], kernel_v: float32[2, 4]"
    assert f"params head rank 2 {arrays} 44" in rows
    assert total == "entries: params 2,564"


def test_a_budget_that_cannot_be_met_names_a_remedy_that_works():
    model, variables, x = variables_of("scanned_blocks")
    message = message_of(plan_compression, variables["params"], 0.2)
    assert "found by their names alone" in message
    assert plan_compression(find_layers(model, variables, x), 0.2).parameters < 500 * 2
    convolution, variables, x = variables_of("convolution")
    layers = find_layers(convolution, variables, x)
    assert "nothing else in the model" in message_of(plan_compression, layers, 0.05)
    message = message_of(plan_compression, layers, 0.8, exclude=["layers_2"])
    assert "let more layers be replaced (layers_2)" in message
