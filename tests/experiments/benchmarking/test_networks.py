import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarking import mlp, networks, tables
from experiments.benchmarking.convolutions import convolutions
from tests.experiments import tiny


@pytest.fixture
def tiny_network(monkeypatch):
    tiny.install(monkeypatch)
    monkeypatch.setitem(networks.NETWORKS, "tiny", "tiny.py")
    monkeypatch.setattr(networks, "load_config", lambda path: tiny.get_config())


def test_a_network_is_timed_with_both_kinds_of_layer(tiny_network, monkeypatch):
    # The network has no convolutions: here are some.
    monkeypatch.setattr(networks, "convolutions", lambda model, images: 2 * [lambda: None])
    found = networks.measure_network("tiny", 1e-3)
    assert list(found.entries) == ["dense", "kfc", "convolution 1", "convolution 2"]
    assert "its convolutions alone" in tables.network_line(found)
    assert found.structure == tiny.get_config().model.fc1.structure
    assert found.batch == 8
    assert all(entry.timing.median > 0 for entry in found.entries.values())
    assert all(found.entries[kind].temporary_bytes > 0 for kind in networks.KINDS)


def test_a_step_trains_and_the_kind_of_its_layer_is_the_one_asked_for(tiny_network):
    steps = {kind: networks.TrainingStep(tiny.get_config(), kind) for kind in networks.KINDS}
    for step in steps.values():
        step()
        step()
    assert all(int(step._state.step) == 2 for step in steps.values())
    names = {kind: set(step._state.params["fc1"]) for kind, step in steps.items()}
    assert "kernel" in names["dense"]
    assert "kernel_0_0" in names["kfc"]


def test_the_mlp_trains_with_both_kinds_of_layer(monkeypatch):
    monkeypatch.setattr(mlp, "HIDDEN", 64)
    (name,) = (name for name, file in networks.NETWORKS.items() if file is None)
    found = networks.measure_network(name, 1e-3)
    assert found.batch == mlp.BATCH
    assert all(entry.timing.median > 0 for entry in found.entries.values())
    step = mlp.MLPStep("kfc")
    before = step._state[0]["params"]["KFCDense_1"]["kernel_0_0"].copy()
    step()
    assert (step._state[0]["params"]["KFCDense_1"]["kernel_0_0"] != before).any()


def test_every_convolution_is_done_with_its_gradients():
    calls = []

    def counting(*arguments, **keywords):
        calls.append(arguments[0].shape)
        return jax.lax.conv_general_dilated(*arguments, **keywords)

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3), conv_general_dilated=counting)(x)
            return nn.Conv(5, (3, 3), strides=2, conv_general_dilated=counting)(x)

    alone = convolutions(Two(), jnp.zeros((2, 8, 8, 1)))
    gradients = [call()[1] for call in alone[1:]]
    assert len(alone) == 2
    assert gradients[0].shape == (2, 8, 8, 4)
    assert {(2, 8, 8, 1), (2, 8, 8, 4)} <= set(calls)
