"""Train a model of one's own, compress, train on, save (in runs/own-model or FOLDER), load."""

import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization

import kfc_jax

rng = np.random.default_rng(0)
labels = jnp.asarray(rng.integers(6, size=2_000))
inputs = jnp.asarray(rng.normal(size=(6, 64))[labels] + 2 * rng.normal(size=(2_000, 64)))
model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(6)])


def fit(model, params, steps):
    """Trains on the first 1,500 examples; factors, where there are any, keep up by the rule."""
    rule, rate = kfc_jax.scale_factor_updates(), optax.scale_by_learning_rate(3e-3)
    optimizer = optax.chain(optax.scale_by_adam(), rule, rate)

    def loss(params):
        logits = model.apply({"params": params}, inputs[:1_500])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[:1_500]).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def report(name, model, params, size):
    """Prints the error on the other 500 examples."""
    wrong = model.apply({"params": params}, inputs[1_500:]).argmax(-1) != labels[1_500:]
    print(f"{name}: {size:,} parameters, error {wrong.mean():.1%}")


folder = Path(*sys.argv[1:2] or ["runs/own-model"])
folder.mkdir(parents=True, exist_ok=True)
dense = fit(model, model.init(jax.random.key(0), inputs[:1])["params"], 200)
seen = kfc_jax.input_statistics(model, {"params": dense}, [inputs[:1_500]])
plan = kfc_jax.plan_compression(dense, 0.2, method="kfc", statistics=seen, max_shapes=4)
small, _ = kfc_jax.convert(dense, plan, statistics=seen)
small = fit(kfc_jax.CompressedModel(model, plan.structures), small, 100)
(folder / "plan.json").write_text(plan.to_json())
(folder / "params.msgpack").write_bytes(serialization.to_bytes(small))
plan = kfc_jax.CompressionPlan.from_json((folder / "plan.json").read_text())
loaded = serialization.msgpack_restore((folder / "params.msgpack").read_bytes())
print(plan)
report("dense", model, dense, plan.dense_parameters)
report("small", kfc_jax.CompressedModel(model, plan.structures), loaded, plan.parameters)
