import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from configs import svhn
from experiments.models import LayerSpec, make_model
from experiments.models.convnet import ConvNet

DENSE = LayerSpec()


def variable_shapes(model, image_shape):
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def random_variables(model, image_shape, rng):
    """Returns variables in which no entry is like another, variances above 0."""
    return jax.tree.map(
        lambda leaf: (
            rng.uniform(0.1, 0.6, leaf.shape).astype(np.float32)
            * (1 if leaf.ndim == 1 else rng.choice([-1, 1], leaf.shape))
        ),
        variable_shapes(model, image_shape),
    )


def test_it_computes_what_its_description_says():
    rng = np.random.default_rng(0)
    model = ConvNet(3, DENSE, DENSE, channels=((2, 3), (4,)), first_kernel=5, hidden=6)
    variables = random_variables(model, (8, 4, 2), rng)
    images = rng.random((2, 8, 4, 2)).astype(np.float32)
    logits = model.apply(variables, images)

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)

    def convolve(image, kernel):
        side = len(kernel) // 2
        padded = np.pad(image, [(side, side), (side, side), (0, 0)])
        return np.stack(
            [
                sum(
                    correlate(padded[..., i], kernel[..., i, o], "valid")
                    for i in range(image.shape[-1])
                )
                for o in range(kernel.shape[-1])
            ],
            -1,
        )

    def end_stage(x, name):
        x = np.array(
            [
                [x[i : i + 2, j : j + 2].max((0, 1)) for j in range(0, x.shape[1], 2)]
                for i in range(0, len(x), 2)
            ]
        )
        mean, variance = p["batch_stats"][name]["mean"], p["batch_stats"][name]["var"]
        scale, bias = p["params"][name]["scale"], p["params"][name]["bias"]
        return np.maximum(0, (x - mean) / np.sqrt(variance + 1e-5) * scale + bias)

    for image, row in zip(images, logits, strict=True):
        kernels = [p["params"][f"conv{i}"]["kernel"] for i in (1, 2, 3)]
        x = np.maximum(0, convolve(image, kernels[0]))
        x = end_stage(convolve(x, kernels[1]), "norm1")
        x = end_stage(convolve(x, kernels[2]), "norm2")
        assert x.shape == (2, 1, 4)
        fc1, fc2 = p["params"]["fc1"], p["params"]["fc2"]
        hidden = np.maximum(0, x.reshape(-1) @ fc1["kernel"] + fc1["bias"])
        expected = hidden @ fc2["kernel"] + fc2["bias"]
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-3)


def test_training_normalises_by_the_batch_and_remembers_it():
    rng = np.random.default_rng(0)
    model = ConvNet(3, DENSE, DENSE, channels=((2,),), first_kernel=1, hidden=4)
    variables = random_variables(model, (4, 4, 1), rng)
    images = rng.random((5, 4, 4, 1)).astype(np.float32)
    _, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
    kernel = variables["params"]["conv1"]["kernel"][0, 0, 0]
    pooled = (images * kernel).reshape(5, 2, 2, 2, 2, 2).max((2, 4))
    for name, batch in (("mean", pooled.mean((0, 1, 2))), ("var", pooled.var((0, 1, 2)))):
        before = variables["batch_stats"]["norm1"][name]
        after = updates["batch_stats"]["norm1"][name]
        np.testing.assert_allclose(after, 0.9 * before + 0.1 * batch, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_training_alone():
    rng = np.random.default_rng(0)
    model = ConvNet(3, DENSE, DENSE, channels=((8,),), hidden=40, dropout=0.5)
    variables = random_variables(model, (4, 4, 1), rng)
    images = rng.random((2, 4, 4, 1)).astype(np.float32)

    def train(key):
        rngs = {"dropout": jax.random.key(key)}
        return model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1))
    without = model.clone(dropout=0.0)
    np.testing.assert_array_equal(model.apply(variables, images), without.apply(variables, images))


def test_without_fc1_the_features_are_dropped_once():
    rng = np.random.default_rng(0)
    model = ConvNet(1, LayerSpec("none"), DENSE, channels=((64,),), dropout=0.5)
    variables = random_variables(model, (4, 4, 1), rng)
    # All features are ones, and the classifier's output is the fraction of them that is left.
    norm = {"scale": np.zeros(64, np.float32), "bias": np.ones(64, np.float32)}
    fc2 = {"kernel": np.full((256, 1), 1 / 256, np.float32), "bias": np.zeros(1, np.float32)}
    variables["params"] |= {"norm1": norm, "fc2": fc2}
    images = rng.random((50, 4, 4, 1)).astype(np.float32)
    rngs = {"dropout": jax.random.key(0)}
    outputs, _ = model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
    # The variance of a mean of 256 features that are 0 or 2; 3 times that if dropped twice.
    assert np.var(outputs) * 256 == pytest.approx(1, rel=0.6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", (16, 32), r"channels is \(16, 32\); give every stage a tuple"),
        ("channels", ((16,), ()), "give every stage a tuple of positive numbers"),
        ("channels", (), "give every stage a tuple of positive numbers"),
        ("channels", ((16, 0),), "give every stage a tuple of positive numbers"),
        ("hidden", 0, "hidden is 0; it must be at least 1"),
        ("first_kernel", 0, "first_kernel is 0; it must be at least 1"),
        ("dropout", 1.0, "dropout is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_a_wrong_attribute_is_named_with_its_remedy(field, value, message):
    config = svhn.get_config().model
    config[field] = value
    with pytest.raises(ValueError, match=message):
        make_model(config)


def test_images_that_cannot_be_halved_are_refused():
    model = ConvNet(3, DENSE, DENSE, channels=((2,), (2,), (2,)))
    with pytest.raises(ValueError, match=r"32x28 cannot be halved 3 times.*multiples of 8"):
        variable_shapes(model, (32, 28, 1))


def test_a_field_that_the_model_lacks_or_does_not_have_is_named():
    config = svhn.get_config().model
    config.depth = 3
    with pytest.raises(ValueError, match=r"model\.depth is not a field of convnet; remove it"):
        make_model(config)
    del config.depth, config.hidden
    with pytest.raises(ValueError, match=r"model\.hidden is missing; convnet has this field"):
        make_model(config)
