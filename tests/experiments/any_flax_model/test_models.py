import dataclasses

import jax
import numpy as np
import pytest

from experiments.any_flax_model.apis import model_of
from experiments.any_flax_model.recipes import MODELS, recipe_of
from kfc_jax import plan_compression
from tests.experiments.any_flax_model import small

# Layers by architecture; the others are norms, biases and the places of the patches.
KERNELS = {"mixer": 2 + 4, "vit": 2 + 6, "decoder": 2 + 6}


def made(name, sizes=small.SIZES):
    """Returns a model, and inputs for it."""
    task = small.task(recipe_of(name).task)
    inputs = next(task.samples(2, 2))
    return model_of(name, sizes, task.outputs, inputs), inputs


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_either_api_is_traced_planned_converted_and_runs(name):
    model, inputs = made(name)
    dense = model.init(0)
    layers = model.find_layers(dense.params)
    assert len(layers) == KERNELS[name.split("_")[0]]
    seen = model.statistics(dense.params, [inputs])
    assert len(seen) == len(layers) - (2 if name.startswith("decoder") else 0)  # tables see none
    plan = plan_compression(layers, 0.7)
    compressed = model.compressed(dense.params, plan, None)
    assert compressed.size == plan.parameters <= 0.7 * dense.size == 0.7 * plan.dense_parameters
    before, after = (jax.jit(each.apply)(each.params, inputs) for each in (dense, compressed))
    assert before.shape == after.shape
    assert np.isfinite(after).all()
    assert np.abs(before - after).max() > 1e-4


@pytest.mark.parametrize("kind", ["mixer", "vit", "decoder"])
def test_both_apis_have_a_model_of_one_size(kind):
    recipe = recipe_of(f"{kind}_linen")

    def size(api):
        model, _ = made(f"{kind}_{api}", dataclasses.replace(recipe.sizes, depth=2))
        params = jax.eval_shape(lambda: model.init(0).params)
        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))

    assert size("linen") == size("nnx")


def test_a_decoder_sees_nothing_of_what_comes():
    for api in ("linen", "nnx"):
        tokens = np.arange(8)[None] % 5
        function = model_of(f"decoder_{api}", small.SIZES, 16, tokens).init(0)
        apply = jax.jit(function.apply)
        changed = tokens.copy()
        changed[0, 5:] += 1
        before, after = (apply(function.params, t) for t in (tokens, changed))
        np.testing.assert_allclose(before[0, :5], after[0, :5], rtol=1e-5)
        assert np.abs(before[0, 5:] - after[0, 5:]).max() > 1e-3
