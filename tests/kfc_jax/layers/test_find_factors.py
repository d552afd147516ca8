"""Transforms that see a part of the parameters: the rule of the whole layer, or an error."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from jax.flatten_util import ravel_pytree

import kfc_jax
from kfc_jax import KFCDense, LowRankDense
from tests.kfc_jax.reference import key, message_of


@functools.cache
def model():
    """Layers of two factors, of two terms, of a single factor, of low rank and of none."""

    def params_of(layer, inputs):
        return layer.init(key(0), jnp.ones((1, inputs)))["params"]

    return {
        "fc": params_of(KFCDense(512, structure="2:16x16*64x32"), 256 * 4),
        "sum": params_of(KFCDense(64, structure="4:8x8*8x8+2:4x4*16x16"), 64),
        "one": params_of(KFCDense(8, structure="16x8"), 16),
        "thin": params_of(LowRankDense(10, rank=2), 20),
        "out": {"kernel": jnp.ones((10, 3)), "bias": jnp.ones(3)},
    }


def is_at(*names):
    return lambda path, _: "/".join(key.key for key in path) in names


def labels(*frozen):
    """Says of every parameter which transform it has."""
    return lambda params: jax.tree_util.tree_map_with_path(
        lambda *leaf: "frozen" if is_at(*frozen)(*leaf) else "trained", params
    )


def steps(optimizer, params):
    """Returns the first updates for gradients of one."""
    ones = jax.tree.map(jnp.ones_like, params)
    return optimizer.update(ones, optimizer.init(params), params)[0]


def of_paths(tree):
    return {"/".join(k.key for k in path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def split(trained, *frozen):
    return optax.multi_transform(
        {"trained": trained, "frozen": optax.set_to_zero()}, labels(*frozen)
    )


def masked(trained, *frozen):
    def seen(params):
        return jax.tree.map(lambda label: label == "trained", labels(*frozen)(params))

    def unseen(params):
        return jax.tree.map(lambda label: label == "frozen", labels(*frozen)(params))

    return optax.chain(optax.masked(trained, seen), optax.masked(optax.set_to_zero(), unseen))


PARTS = [  # of a layer, that are frozen: one factor, one term, one of two matrices
    ["fc/kernel_0_1"],
    ["fc/kernel_0_0"],
    ["sum/kernel_1_0", "sum/kernel_1_1"],
    ["sum/kernel_0_0"],
    ["thin/kernel_u"],
]
RULES = {
    "scale": kfc_jax.scale_factor_updates,
    "decay": functools.partial(kfc_jax.add_decayed_weights, 0.1),
}


@pytest.mark.parametrize("wrap", [split, masked])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("frozen", PARTS, ids=str)
def test_a_part_of_a_layer_is_refused_and_both_remedies_give_the_rule_of_the_whole(
    wrap, rule, frozen
):
    params, make = model(), RULES[rule]
    message = message_of(steps, wrap(make(), *frozen), params)
    layer, _, name = frozen[0].partition("/")
    assert f"layer '{layer}'" in message
    assert f"'{name}'" in message
    assert "params=params" in message
    assert "outside" in message

    whole = of_paths(steps(make(), params))
    inside = of_paths(steps(wrap(make(params=params), *frozen), params))
    outside = of_paths(steps(optax.chain(wrap(optax.identity(), *frozen), make()), params))
    for path, expected in whole.items():
        if path not in frozen:
            np.testing.assert_array_equal(inside[path], expected, path)
            np.testing.assert_array_equal(outside[path], expected, path)
        else:
            assert not np.any(inside[path])
    if rule == "scale":
        assert not any(np.any(outside[path]) for path in frozen)


@pytest.mark.parametrize("wrap", [split, masked])
@pytest.mark.parametrize("rule", RULES)
def test_whole_layers_and_what_is_no_factor_may_be_hidden(wrap, rule):
    params = model()
    hidden = [p for p in of_paths(params) if p.startswith("fc/") or p.endswith("bias")]
    actual = of_paths(steps(wrap(RULES[rule](), *hidden), params))
    for path, expected in of_paths(steps(RULES[rule](), params)).items():
        np.testing.assert_array_equal(actual[path], 0 * expected if path in hidden else expected)


def test_the_two_parts_of_a_layer_may_have_different_optimizers():
    params = model()
    parts = {
        "trained": kfc_jax.scale_factor_updates(params=params),
        "frozen": optax.chain(kfc_jax.scale_factor_updates(params=params), optax.scale(0.5)),
    }
    actual = steps(optax.partition(parts, labels("fc/kernel_0_0")), params)
    expected = steps(kfc_jax.scale_factor_updates(), params)
    for name, share in (("kernel_0_0", 0.5), ("kernel_0_1", 1.0)):
        np.testing.assert_allclose(actual["fc"][name], share * expected["fc"][name], rtol=1e-6)


def without(layer, *names):
    return {name: array for name, array in model()[layer].items() if name not in names}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "params",
    [
        {"kernel_0_0": model()["fc"]["kernel_0_0"]},  # a sum of single factors would be of one
        {"fc": without("fc", "kernel_0_1")},
        {"fc": {"kernel_0_0": jnp.ones((1, 16, 16)), "bias": jnp.ones(512)}},
        {"fc": without("sum", "kernel_1_1", "bias")},
        {"fc": {**without("fc"), "kernel_0_1": None}},
    ],
    ids=["alone", "with bias", "rank one", "half a term", "None"],
)
def test_a_part_without_placeholders_is_told_by_its_sizes(params, rule):
    message = message_of(steps, RULES[rule](), params)
    assert "kernel_0_0" in message
    assert "together" in message


def test_a_subtree_of_an_nnx_model_has_the_rule_of_the_whole():
    class Model(nnx.Module):
        def __init__(self):
            for name, array in model()["fc"].items():
                setattr(self, name, nnx.Param(array))

    module = Model()
    first = nnx.All(nnx.Param, nnx.PathContains("kernel_0_0"))
    assert "together" in message_of(
        nnx.Optimizer, module, kfc_jax.scale_factor_updates(), wrt=first
    )
    params = nnx.state(module, nnx.Param)
    state = kfc_jax.scale_factor_updates(params=params).init(nnx.state(module, first))
    (multiplier,) = state.multipliers.values()
    expected = kfc_jax.factor_multipliers(model())["fc"]["kernel_0_0"]
    np.testing.assert_allclose(multiplier, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_parameters_of_another_tree_are_refused(rule):
    message = message_of(steps, RULES[rule](params={"params": model()}), model())
    assert "'fc/kernel_0_0'" in message
    assert "params/fc/kernel_0_0" in message


@pytest.mark.parametrize("rule", RULES)
def test_a_vector_without_names_is_refused_and_the_remedy_is_the_rule(rule):
    params, make = model(), RULES[rule]
    vector, _ = ravel_pytree(params)
    for optimizer, tree in ((optax.flatten(make()), params), (make(), vector)):
        message = message_of(steps, optimizer, tree)
        assert f"one vector of {vector.size} numbers" in message
        assert "outside" in message
    actual = steps(optax.chain(optax.flatten(optax.identity()), make()), params)
    jax.tree.map(np.testing.assert_array_equal, actual, steps(make(), params))
    assert "one vector" in message_of(kfc_jax.factor_multipliers, vector)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "params",
    [model()["out"], [jnp.ones((3, 2)), jnp.ones(2)], jnp.ones((3, 2)), jnp.ones(()), {}],
    ids=["dense", "list", "matrix", "scalar", "empty"],
)
def test_models_without_factors_train_as_without_the_rule(params, rule):
    usual = optax.add_decayed_weights(0.1) if rule == "decay" else optax.identity()
    expected = steps(usual, params)
    jax.tree.map(np.testing.assert_array_equal, steps(RULES[rule](), params), expected)


@pytest.mark.parametrize("separator", [None, "/", "."])
def test_factors_are_found_in_flattened_dictionaries(separator):
    flat = flatten_dict(model(), sep=separator)
    actual = kfc_jax.factor_multipliers(flat)
    expected = flatten_dict(kfc_jax.factor_multipliers(model()), sep=separator)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    # The transform finds what it has multipliers for by the same paths.
    scaled = steps(kfc_jax.scale_factor_updates(), flat)
    whole = flatten_dict(steps(kfc_jax.scale_factor_updates(), model()), sep=separator)
    jax.tree.map(np.testing.assert_array_equal, scaled, whole)
