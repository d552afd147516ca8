"""The configs of house numbers and of characters: their networks' sizes, and a tiny run of each."""

import pytest

from configs import characters, svhn
from experiments.models import totals
from experiments.training import checked_config, prepare, train_and_evaluate

MODULES = {"svhn": svhn, "characters": characters}

# Counted by hand: kernels of the convolutions, scale and bias of every batch norm, the two biases
# of the fully connected layers, and their kernels.
COUNTS = {
    ("svhn", "small"): (
        25 * 16 + 9 * (16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 512 + 10,
        (1_024 * 512, 512 * 10),
        (8 * (16 * 16 + 64 * 32), 512 * 10),
    ),
    ("svhn", "large"): (
        9 * (24 + 24 * 24 + 24 * 48 + 48 * 48 + 48 * 96 + 96 * 96) + 2 * (24 + 48 + 96) + 512 + 10,
        (1_536 * 512, 512 * 10),
        (8 * (16 * 16 + 96 * 32), 512 * 10),
    ),
    ("characters", "small"): (
        25 * 16 + 9 * (16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 1_024 + 200,
        (2_304 * 1_024, 1_024 * 200),
        (8 * (36 * 32 + 64 * 32), 1_024 * 200),
    ),
    ("characters", "large"): (
        25 * 24
        + 9 * (24 * 24 + 24 * 48 + 48 * 48 + 48 * 96 + 96 * 96 + 96 * 128 + 128 * 128)
        + 2 * (24 + 48 + 96 + 128)
        + 4_096
        + 3_755,
        (2_048 * 4_096, 4_096 * 3_755),
        (16 * (16 * 64 + 128 * 64), 16 * (64 * 60 + 64 * 63)),
    ),
}


@pytest.mark.parametrize(("name", "size"), COUNTS)
def test_the_networks_have_the_parameters_of_a_hand_count(name, size):
    others, dense_kernels, kernels = COUNTS[name, size]
    costs = checked_config(MODULES[name].get_config(size)).costs
    layers = {cost.name: cost for cost in costs}
    fc = layers["fc1"], layers["fc2"]
    assert tuple(cost.parameters for cost in fc) == kernels
    assert tuple(cost.dense_parameters for cost in fc) == dense_kernels
    assert totals(costs)["parameters"] == others + sum(kernels)
    assert totals(costs)["dense_parameters"] == others + sum(dense_kernels)


def test_the_counts_are_those_that_the_docstring_tells():
    others, (fc1, fc2), _ = COUNTS["svhn", "small"]
    assert (others + fc2, others + fc2 + fc1) == (29_306, 553_594)
    assert "29,306 parameters without the kernel of `fc1`, 553,594 with" in svhn.__doc__
    others, (fc1, fc2), _ = COUNTS["svhn", "large"]
    assert (others + fc2, others + fc2 + fc1) == (166_898, 953_330)
    assert "166,898 and 953,330" in svhn.__doc__


@pytest.mark.parametrize("module", MODULES.values())
def test_small_is_the_default_and_another_size_is_refused(module):
    assert module.get_config().to_dict() == module.get_config("small").to_dict()
    with pytest.raises(ValueError, match=r"has no size 'huge'; take one of small, large"):
        module.get_config("huge")


TINY = {"train.num_epochs": 2, "train.batch_size": 8, "train.eval_batch_size": 20}
TWO_CHARACTERS = {"model.num_classes": 2, "data.num_validation": 160}


@pytest.mark.parametrize(
    ("module", "size", "changes", "examples"),
    [
        (svhn, "small", {"data.name": "svhn_synthetic/60", "data.num_validation": 20}, 10),
        (
            svhn,
            "large",
            {
                "data.name": "svhn_synthetic/60",
                "data.num_validation": 20,
                "model.image_shape": (32, 32, 3),
                "model.dropout": 0.2,
            },
            10,
        ),
        (characters, "small", {"data.name": "kanji_strokes/48-2", **TWO_CHARACTERS}, 40),
        (
            characters,
            "large",
            {
                "data.name": "kanji_strokes/64-2",
                "model.hidden": 64,
                "model.fc1.structure": "1:16x8*128x8",
                "model.fc2.structure": "1:8x2*8x1",
                **TWO_CHARACTERS,
            },
            40,
        ),
    ],
)
def test_a_tiny_run(module, size, changes, examples, tmp_path):
    config = module.get_config(size)
    config.data.data_dir = str(tmp_path / "tfds")
    config.update_from_flattened_dict({**TINY, **changes})
    result = train_and_evaluate(prepare(config, tmp_path / "run"))
    assert result["test"]["examples"] == examples
    assert result["validation"]["examples"] == config.data.num_validation
    assert result["steps"] == 2 * 40 // 8
    assert [layer["kind"] for layer in result["layers"]][-2] == "kfc"
