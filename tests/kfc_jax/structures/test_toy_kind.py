"""A kind of structure that is defined in this one file takes part everywhere.

The toy repeats a block on the diagonal: ``copies 4`` splits inputs and features into 4 groups, and
group i of the features reads group i of the inputs alone, all groups by the same small kernel.
"""

import dataclasses
import json
import re
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kfc_jax
from experiments.models import costs_of_layers
from experiments.models.layers import LayerSpec, fully_connected
from experiments.reporting.compare.methods import method_of
from experiments.training.optimizers import make_optimizer
from kfc_jax import CompressedModel, CompressionPlan, convert, plan_compression, to_dense
from kfc_jax.compress import Checkpoint
from kfc_jax.decompose import DecompositionReport, InputStatistics, decompose_kernel
from kfc_jax.layers import FactoredDense, layer_for
from kfc_jax.product import dense_kernel
from kfc_jax.structures import LayerStructure, layer_kinds, read_layer_structure
from tests.kfc_jax.reference import message_of

# ------------------------------------------------------------------------------------- the kind


@dataclasses.dataclass(frozen=True)
class RepeatedBlock(LayerStructure):
    kind = "repeated_block"
    example = "copies 4"
    parameter_pattern = re.compile("kernel_repeated")

    inputs: int
    features: int
    copies: int

    def __post_init__(self):
        if self.inputs % self.copies or self.features % self.copies:
            raise ValueError(f"{self.inputs}x{self.features} has no {self.copies} equal blocks.")

    @classmethod
    def read(cls, text, inputs, features):
        match = re.fullmatch(r"copies (\d+)", text)
        return cls(inputs, features, int(match[1])) if match else None

    def __str__(self):
        return f"copies {self.copies}"

    @property
    def num_parameters(self):
        return self.dense_parameters // self.copies**2

    def flops(self, batch):
        return 2 * batch * self.copies * self.num_parameters

    @property
    def array_shapes(self):
        return {"kernel_repeated": (self.inputs // self.copies, self.features // self.copies)}

    @classmethod
    def size_of(cls, text, shapes):
        copies = int(text.removeprefix("copies "))
        n, m = shapes["kernel_repeated"]
        return copies * n, copies * m

    @classmethod
    def as_factor(cls, name, array):  # a dense kernel, of rank 1
        return array[..., None, :, :]

    @classmethod
    def from_factor(cls, name, factor):
        return factor[..., 0, :, :]


@dense_kernel.register
def _(structure: RepeatedBlock, arrays):
    structure.check_shapes({name: np.shape(array) for name, array in arrays.items()})
    return jnp.kron(jnp.eye(structure.copies), arrays["kernel_repeated"])


@decompose_kernel.register
def _(structure: RepeatedBlock, kernel, *, statistics=None, max_sweeps=100):
    started = time.perf_counter()
    (n, m), b = structure.array_shapes["kernel_repeated"], structure.copies
    grid = jnp.asarray(kernel).reshape(b, n, b, m)
    arrays = {"kernel_repeated": sum(grid[i, :, i] for i in range(b)) / b}
    difference = np.asarray(kernel, np.float64) - dense_kernel(structure, arrays)
    report = DecompositionReport.of(
        kernel, difference, structure.num_parameters, statistics=statistics, started=started
    )
    return arrays, report


class RepeatedBlockDense(FactoredDense):
    structure: RepeatedBlock | str = "copies 1"

    def resolve_structure(self, inputs):
        return read_layer_structure(self.structure, inputs, self.features)

    def array_initializers(self, structure):
        return {"kernel_repeated": nn.initializers.lecun_normal()}

    def multiply(self, inputs, structure, arrays):
        groups = inputs.reshape(*inputs.shape[:-1], structure.copies, -1)
        outputs = groups @ arrays["kernel_repeated"]
        return outputs.reshape(*inputs.shape[:-1], structure.features)


@layer_for.register(RepeatedBlock)
def _(structure, features, *, rank=None, num_factors=2, **fields):
    return RepeatedBlockDense(features, structure=structure, **fields)


# ----------------------------------------------------------------------------- it works everywhere

TEXT = "copies 3"


def by_hand(block):
    return np.kron(np.eye(3), np.asarray(block, np.float64))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def params():
    return {
        "fc1": {"kernel": normal(6, 12), "bias": normal(12, seed=1)},
        "fc2": {"kernel": normal(12, 4, seed=2), "bias": normal(4, seed=3)},
    }


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="fc2")(nn.relu(nn.Dense(12, name="fc1")(x)))


class Images(nn.Module):
    """A network of the experiments, in which a layer comes from the config."""

    spec: LayerSpec

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return fully_connected(self.spec, 4, "fc2")(
            nn.relu(fully_connected(self.spec, 12, "fc1")(x))
        )


def test_it_is_read_written_and_refused_as_every_kind():
    assert layer_kinds()["repeated_block"] is RepeatedBlock
    structure = read_layer_structure(TEXT, 6, 12)
    assert structure == RepeatedBlock(6, 12, 3)
    assert str(structure) == TEXT
    assert "no 5 equal blocks" in message_of(read_layer_structure, "copies 5", 6, 12)
    assert "'copies 4' (repeated_block)" in message_of(read_layer_structure, "thin", 6, 12)
    with pytest.raises(ValueError, match="taken by"):
        type("Other", (LayerStructure,), {"kind": "repeated_block", "__module__": "elsewhere"})
    assert layer_kinds()["repeated_block"] is RepeatedBlock


def test_arrays_and_factors_are_views_of_each_other():
    structure, block = read_layer_structure(TEXT, 6, 12), normal(2, 4)
    ((factor,),) = structure.factors_of({"kernel_repeated": block})
    assert factor.shape == (1, 2, 4)
    back = structure.arrays_of([[factor]])
    assert back.keys() == {"kernel_repeated"}
    np.testing.assert_array_equal(back["kernel_repeated"], block)


def test_a_config_gives_its_layer():
    layer = fully_connected(LayerSpec("repeated_block", structure=TEXT), 12, "fc1")
    x = normal(5, 6)
    variables = layer.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "kernel_repeated": (2, 4),
        "bias": (12,),
    }
    expected = x @ by_hand(variables["params"]["kernel_repeated"])
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_a_model_is_planned_converted_run_and_made_dense_again(params):
    statistics = {path: normal(50, len(layer["kernel"])) + 1 for path, layer in params.items()}
    plan = plan_compression(params, 1.0, structures={"fc1": TEXT}, statistics=statistics)
    layer = plan.layers[0]
    assert (layer.method, layer.structure, layer.parameters) == ("repeated_block", TEXT, 8)
    assert layer.flops == 48
    assert layer.form_kernel_from_batch is None
    assert CompressionPlan.from_json(plan.to_json()) == plan
    assert TEXT in str(plan)

    new, reports = convert(params, {"fc1": TEXT}, statistics=statistics)
    expected = by_hand(
        np.mean([params["fc1"]["kernel"][2 * i :, 4 * i :][:2, :4] for i in range(3)], axis=0)
    )
    error = np.linalg.norm(params["fc1"]["kernel"] - expected)
    error /= np.linalg.norm(params["fc1"]["kernel"])
    assert reports["fc1"].relative_error == pytest.approx(error)
    assert layer.relative_error == pytest.approx(error)
    assert reports["fc1"].output_error == pytest.approx(layer.output_error)

    dense = to_dense(new, {"fc1": TEXT})
    np.testing.assert_allclose(dense["fc1"]["kernel"], expected, rtol=1e-6)
    # The bias takes up what the missing blocks do to the mean of the output.
    x = statistics["fc1"].astype(np.float64)
    difference = x @ (expected - params["fc1"]["kernel"])
    difference += np.asarray(new["fc1"]["bias"], np.float64) - params["fc1"]["bias"]
    np.testing.assert_allclose(difference.mean(0), 0, atol=1e-5)

    model, x = CompressedModel(Net(), {"fc1": TEXT}), normal(5, 6)
    np.testing.assert_allclose(
        model.apply({"params": new}, x), Net().apply({"params": dense}, x), rtol=1e-4, atol=1e-5
    )
    fresh = model.init(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, new)
    found = kfc_jax.input_statistics(model, {"params": new}, [x], layers=["fc1"])["fc1"]
    np.testing.assert_allclose(found.second_moment, InputStatistics.of(x).second_moment, rtol=1e-5)


def test_its_layers_are_saved_and_loaded(params, tmp_path):
    new, _ = convert(params, {"fc1": TEXT})
    Checkpoint({"params": new}, {"fc1": TEXT}).save(tmp_path / "model.safetensors")
    loaded = Checkpoint.load(tmp_path / "model.safetensors")
    assert loaded.structures == {"fc1": TEXT}
    model, x = CompressedModel(Net(), loaded.structures), normal(5, 6)
    np.testing.assert_array_equal(model.apply(loaded.variables, x), model.apply({"params": new}, x))
    assert "kernel_repeated" in message_of(Checkpoint, {"params": new})


def test_other_arrays_are_no_block(params):
    new, _ = convert(params, {"fc1": TEXT})
    assert "'copies 2' gives 8" in message_of(to_dense, new, {"fc1": "copies 2"})
    assert "not those of 'rank 2'" in message_of(to_dense, new, {"fc1": "rank 2"})


def test_its_kernel_trains_as_factors_do_and_decays(params):
    new, _ = convert(params, {"fc1": TEXT})
    multipliers = kfc_jax.factor_multipliers(new, gain=0.5)
    # A block is a dense kernel, for which the rule is 1.
    assert float(multipliers["fc1"]["kernel_repeated"]) == pytest.approx(0.5)
    assert float(multipliers["fc1"]["bias"]) == float(multipliers["fc2"]["kernel"]) == 1
    scale = kfc_jax.scale_factor_updates(0.5)
    state = scale.init(new)
    assert state.multipliers.keys() == {"fc1/kernel_repeated"}
    updates, _ = scale.update(new, state)
    for name, factor in (("kernel_repeated", 0.5), ("bias", 1)):
        np.testing.assert_allclose(updates["fc1"][name], factor * new["fc1"][name])
    decay = kfc_jax.add_decayed_weights(0.1)
    decayed, _ = decay.update(jax.tree.map(jnp.zeros_like, new), decay.init(new), new)
    np.testing.assert_allclose(
        decayed["fc1"]["kernel_repeated"], 0.1 * new["fc1"]["kernel_repeated"]
    )


def test_the_optimizer_of_the_experiments_decays_it_and_not_its_bias(params):
    from ml_collections import ConfigDict

    new, _ = convert(params, {"fc1": TEXT})
    fields = {"name": "sgd", "b1": 0.0, "factor_gain": 1.0, "scale_factors": True}
    optimizer = make_optimizer(ConfigDict(fields | {"weight_decay": 0.1}), lambda _: 1.0)
    zeros = jax.tree.map(jnp.zeros_like, new)
    updates, _ = optimizer.update(zeros, optimizer.init(new), new)
    np.testing.assert_allclose(
        updates["fc1"]["kernel_repeated"], -0.1 * new["fc1"]["kernel_repeated"]
    )
    assert not np.any(updates["fc1"]["bias"])


def test_it_is_counted_and_its_result_names_it():
    costs = costs_of_layers(Images(LayerSpec("repeated_block", structure="copies 2")), (2, 3, 1))
    fc1, fc2 = (cost.as_dict() for cost in costs)
    assert (fc1["kind"], fc1["structure"]) == ("repeated_block", "copies 2")
    assert (fc1["parameters"], fc1["bias_parameters"], fc1["dense_parameters"]) == (18, 12, 72)
    assert (fc1["flops"], fc1["dense_flops"], fc1["reduction"]) == (72, 144, 0.75)
    assert (fc2["parameters"], fc2["dense_parameters"]) == (12, 48)
    assert json.loads(json.dumps(fc1)) == fc1
    method = method_of([costs[0]])  # its row in a report
    assert (method.label, method.family) == ("repeated block", "repeated-block")


def test_a_config_with_its_fields_makes_its_layer():
    structure = RepeatedBlock(6, 12, 3)
    spec = LayerSpec(**structure.config_fields())
    assert fully_connected(spec, 12, "fc1").resolve_structure(6) == structure


def test_it_trains():
    x, y = normal(32, 6), normal(32, 12, seed=1)
    layer = RepeatedBlockDense(12, structure=TEXT)
    params = layer.init(jax.random.key(0), x)
    optimizer = optax.chain(
        optax.scale_by_adam(), kfc_jax.scale_factor_updates(), optax.scale_by_learning_rate(0.1)
    )
    state = optimizer.init(params)

    @jax.jit
    def loss(params):
        return jnp.mean((layer.apply(params, x) - y) ** 2)

    before = float(loss(params))
    for _ in range(60):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, updates)
    # Least squares of all groups together, each with biases of its own, is the least possible.
    groups = np.concatenate([x[:, 2 * i : 2 * i + 2] for i in range(3)])
    with_ones = np.column_stack([groups, np.kron(np.eye(3), np.ones((32, 1)))])
    targets = np.concatenate([y[:, 4 * i : 4 * i + 4] for i in range(3)])
    rests = np.linalg.lstsq(with_ones, targets, rcond=None)[1]
    assert float(loss(params)) < before / 1.2
    assert float(loss(params)) == pytest.approx(sum(rests) / y.size, rel=0.05)
