import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kfc_jax.tracing import Sums, find_kernels, record_inputs
from tests.kfc_jax.stock_models import variables_of


def sums_of(name):
    model, variables, x = variables_of(name)

    def run(params, x):
        return model.apply({"params": params}, x)

    kernels, _ = find_kernels(run, variables["params"], x)
    found = jax.jit(lambda params: record_inputs(run, params, kernels, x))(variables["params"])
    return found, model, variables, x


def check(sums, inputs):
    inputs = np.asarray(inputs, np.float64).reshape(-1, np.shape(inputs)[-1])
    assert float(sums.count) == len(inputs)
    np.testing.assert_allclose(sums.mean, inputs.mean(0), atol=1e-5)
    about = inputs - inputs.mean(0)
    np.testing.assert_allclose(sums.scatter, about.T @ about, atol=1e-4)


def test_every_layer_of_a_scanned_stack_has_its_own_sums():
    found, _, variables, x = sums_of("scanned_blocks")
    seen, blocks = x, variables["params"]["blocks"]
    for i in range(3):
        of_one = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)
        normed = nn.LayerNorm().apply({"params": of_one["LayerNorm_0"]}, seen)
        sums = jax.tree.map(lambda leaf, i=i: leaf[i], found["blocks/Dense_0/kernel"])
        check(sums, normed)
        hidden = nn.relu(nn.Dense(24).apply({"params": of_one["Dense_0"]}, normed))
        check(jax.tree.map(lambda leaf, i=i: leaf[i], found["blocks/Dense_1/kernel"]), hidden)
        seen = seen + nn.Dense(16).apply({"params": of_one["Dense_1"]}, hidden)
    check(found["head/kernel"], seen)


def test_layers_of_a_mapped_stack_have_the_axes_of_the_kernel():
    found, _, _, x = sums_of("mapped_layers")
    for i in range(5):
        check(jax.tree.map(lambda leaf, i=i: leaf[i], found["each/kernel"]), x[:, i])


def test_recurrent_layers_add_up_over_all_steps():
    found, model, variables, x = sums_of("gru")
    check(found["cell/ir/kernel"], x)
    states = model.apply(variables, x)
    before = jnp.concatenate([jnp.zeros_like(states[:, :1]), states[:, :-1]], 1)
    check(found["cell/hr/kernel"], before)


def test_sums_of_parts_are_those_of_the_whole_far_from_zero():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("f") + 1000
    parts = [jax.tree.map(lambda a: a, Sums.of(jnp.asarray(p))) for p in (x[:7], x[7:8], x[8:])]
    on_host = [part.on_host() for part in parts]
    for total in (parts[0] + parts[1] + parts[2], on_host[0] + on_host[1] + on_host[2]):
        about = x - x.mean(0, dtype=np.float64)
        np.testing.assert_allclose(total.scatter, about.T @ about, rtol=2e-3, atol=2e-2)
        assert float(total.count) == 40
    nothing = jax.tree.map(jnp.zeros_like, parts[0])
    np.testing.assert_array_equal((nothing + parts[0]).mean, parts[0].mean)
