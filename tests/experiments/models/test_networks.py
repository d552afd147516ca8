import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.signal import correlate

from configs import mnist
from experiments.config import flatten
from experiments.models import make_model
from experiments.models.layers import LayerSpec, fully_connected
from experiments.models.lenet5 import LeNet5
from kfc_jax import KFCDense, LowRankDense

DENSE = LayerSpec()


IMAGES = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)


def parameter_shapes(model: nn.Module) -> dict:
    return jax.eval_shape(model.init, jax.random.key(0), IMAGES)["params"]


def test_dense_lenet5_has_431080_parameters():
    params = parameter_shapes(LeNet5(10, DENSE, DENSE))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 431_080
    assert params["fc1"]["kernel"].shape == (800, 500)


def test_without_fc1_the_classifier_reads_the_features():
    model = LeNet5(10, LayerSpec("none", structure="2:16x20*50x25"), DENSE)
    params = parameter_shapes(model)
    assert params.keys() == {"conv1", "conv2", "fc2"}
    assert params["fc2"]["kernel"].shape == (800, 10)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), params)
    images = rng.random((2, 28, 28, 1), np.float32)
    # The same as with a layer that changes nothing: the ReLU behind it stays.
    fc1 = {"kernel": np.eye(800, dtype=np.float32), "bias": np.zeros(800, np.float32)}
    same = LeNet5(10, DENSE, DENSE, hidden=800).apply({"params": params | {"fc1": fc1}}, images)
    np.testing.assert_allclose(model.apply({"params": params}, images), same, rtol=1e-4, atol=1e-3)


def test_the_classifier_cannot_be_left_out():
    config = mnist.get_config().model
    config.fc2.kind = "none"
    with pytest.raises(ValueError, match=r"model\.fc2: kind is 'none', but .*only fc1 may be"):
        make_model(config)


@pytest.mark.parametrize("kind", ["dense", "low_rank"])
def test_lenet5_has_as_many_hidden_features_as_the_config_says(kind):
    config = mnist.get_config().model
    config.hidden = 20
    config.fc1.update({"kind": kind, "rank": 3})
    params = parameter_shapes(make_model(config))
    assert params["fc1"]["bias"].shape == (20,)
    assert params["fc2"]["kernel"].shape == (20, 10)


def test_lenet5_computes_what_its_description_says():
    rng = np.random.default_rng(0)
    images = rng.random((2, 28, 28, 1))
    model = LeNet5(10, DENSE, DENSE)
    params = jax.tree.map(
        lambda leaf: 0.1 * rng.standard_normal(leaf.shape, np.float32), parameter_shapes(model)
    )
    logits = model.apply({"params": params}, jnp.asarray(images, jnp.float32))

    def convolve_and_pool(image, kernel, bias):
        maps = [
            sum(correlate(image[..., i], kernel[..., i, o], "valid") for i in range(len(image.T)))
            for o in range(kernel.shape[-1])
        ]
        out = np.stack(maps, -1) + bias
        return np.array(
            [
                [out[i : i + 2, j : j + 2].max((0, 1)) for j in range(0, out.shape[1], 2)]
                for i in range(0, out.shape[0], 2)
            ]
        )

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for image, row in zip(images, logits, strict=True):
        x = image
        for name in ("conv1", "conv2"):
            x = convolve_and_pool(x, p[name]["kernel"], p[name]["bias"])
        hidden = np.maximum(x.reshape(-1) @ p["fc1"]["kernel"] + p["fc1"]["bias"], 0)
        expected = hidden @ p["fc2"]["kernel"] + p["fc2"]["bias"]
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-3)


def test_fully_connected_layers_come_from_their_specification():
    assert isinstance(fully_connected(LayerSpec("dense"), 5, "fc"), nn.Dense)
    kfc = fully_connected(LayerSpec("kfc", structure="2:4x5*2x1"), 5, "fc")
    assert isinstance(kfc, KFCDense)
    assert str(kfc.resolve_structure(8)) == "2:4x5*2x1"
    by_rank = fully_connected(LayerSpec("kfc", rank=3, num_factors=3), 64, "fc")
    assert by_rank.resolve_structure(64).terms[0].rank == 3
    assert by_rank.resolve_structure(64).terms[0].num_factors == 3
    low_rank = fully_connected(LayerSpec("low_rank", structure="2:4x5*2x1", rank=2), 5, "fc")
    assert isinstance(low_rank, LowRankDense)
    assert low_rank.resolve_structure(8).rank == 2


def test_layer_kinds_of_a_config_reach_the_parameters():
    config = mnist.get_config().model
    config.fc1.structure = "4:16x20*50x25+1:8x25*100x20"
    config.fc2.update({"kind": "low_rank", "rank": 3})
    params = parameter_shapes(make_model(config))
    assert params["fc1"]["kernel_0_0"].shape == (4, 16, 20)
    assert params["fc1"]["kernel_1_1"].shape == (1, 100, 20)
    assert params["fc2"]["kernel_u"].shape == (500, 3)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "fc1",
            {"kind": "none", "frozen": True},
            "fc1: frozen is True, .*'none' has no",
        ),
        ("hidden", 0, "hidden is 0; it must be at least 1"),
        ("name", "lenet6", "model.name is 'lenet6'; take one of lenet5"),
        ("fc1.kind", "sparse", "model.fc1: kind is 'sparse'; take one of .*dense, .*, none"),
    ],
)
def test_a_wrong_model_names_the_field_and_the_choices(path, value, message):
    config = mnist.get_config().model
    config.update_from_flattened_dict(flatten({path: value}))
    with pytest.raises(ValueError, match=message):
        make_model(config)


def test_a_model_without_one_of_its_layers_is_refused():
    config = mnist.get_config().model
    del config.fc2
    with pytest.raises(ValueError, match=r"model\.fc2 is missing"):
        make_model(config)
