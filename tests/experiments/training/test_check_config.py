import numpy as np
import pytest

from configs import mnist, quickstart
from experiments.data import DataSet, ImageSet
from experiments.training.check_config import check_data, checked_config


@pytest.mark.parametrize("module", [mnist, quickstart])
def test_the_configs_are_right(module):
    costs = checked_config(module.get_config()).costs
    assert [cost.name for cost in costs] == ["conv1", "conv2", "fc1", "fc2"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "config.seed is -1; it must be an integer of at least 0"),
        ("data.num_validation", -5, "config.data.num_validation is -5"),
        ("data.data_dir", "None", "data_dir is 'None'; it must be a folder, or empty"),
        ("augmentation.shift", 28, "config.augmentation.shift is 28; it must be below the side"),
        ("model.name", "alexnet", "model.name is 'alexnet'; take one of lenet5"),
        ("model.image_shape", (28, 28), "config.model.image_shape is .*tuple of 3 positive"),
        ("model.fc1.kind", "sparse", "model.fc1: kind is 'sparse'; take one of .*kfc, .*none"),
        ("model.fc1.structure", "8:28x32*28x32", "layer fc1: .*784x1024.*needs 800x500.*nearest"),
        ("model.fc1.structure", "8*16x20", "layer fc1: Cannot read the term"),
        ("model.fc1.structure", "999:16x20*50x25", "layer fc1: Rank 999"),
        ("model.fc1.kind", "block_diagonal", "layer fc1: .*structure='2:16x20.*give 'blocks 100'"),
        ("model.fc1.rank", 3, "wrong: layer fc1: KFCDense .*leave rank out"),
        (
            "train.batch_size",
            0,
            "config.train.batch_size is 0; it must be an integer of at least 1",
        ),
        ("train.label_smoothing", 1.0, "label_smoothing is 1.0; it must be .* below 1"),
        ("train.num_epochs", True, "config.train.num_epochs is True"),
        ("optimizer.name", "lion", "config.optimizer.name is 'lion'; it must be one of adamw, sgd"),
        ("optimizer.schedule", "step", "optimizer.schedule is 'step'; .* cosine, constant"),
        ("optimizer.learning_rate", 0.0, "learning_rate is 0.0; it must be a number above 0"),
        ("optimizer.learning_rate", float("nan"), "learning_rate is nan"),
        ("optimizer.warmup_epochs", 99.0, "warmup_epochs is 99; it must be below .*num_epochs"),
        ("optimizer.factor_gain", -1.0, "config.optimizer.factor_gain is -1.0"),
        ("distillation.weight", 0.0, "distillation.weight is 0.0; it must be a number above 0"),
        ("distillation.weight", 1.1, "distillation.weight is 1.1; it must be .* at most 1"),
        ("distillation.temperature", 0.0, "distillation.temperature is 0.0; .* number above 0"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(field, value, message):
    config = mnist.get_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        checked_config(config)


def test_a_rank_that_the_layer_cannot_have_is_named():
    config = mnist.get_config()
    config.model.fc1.update({"kind": "low_rank", "rank": 501})
    with pytest.raises(ValueError, match=r"layer fc1: Rank 501 .*1 to 500"):
        checked_config(config)


def test_missing_and_unknown_fields_are_named():
    config = mnist.get_config()
    del config.optimizer.b2
    with pytest.raises(ValueError, match=r"config\.optimizer\.b2 is missing"):
        checked_config(config)
    config = mnist.get_config()
    config.train.num_epoch = 3
    with pytest.raises(ValueError, match=r"config\.train\.num_epoch is not a field"):
        checked_config(config)


def test_batches_that_the_devices_cannot_share_are_refused(monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 3)
    with pytest.raises(ValueError, match=r"config\.train\.batch_size is 128, which the 3 devices"):
        checked_config(mnist.get_config())


def data_set(size=200, side=28, num_classes=10) -> DataSet:
    images = ImageSet(np.zeros((size, side, side, 1), np.uint8), np.zeros(size, np.int32))
    return DataSet("digits", num_classes, images, images)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (data_set(side=32), r"config\.model\.image_shape is \(28, 28, 1\), but .* \(32, 32, 1\)"),
        (data_set(num_classes=62), r"config\.model\.num_classes is 10, but .*digits has 62"),
        (data_set(size=130), "batch_size is 128, but 120 of digits's 130 training images"),
    ],
)
def test_a_config_that_does_not_suit_the_data_is_refused(data, message):
    config = mnist.get_config()
    config.data.num_validation = 10
    with pytest.raises(ValueError, match=message):
        check_data(config, data)


def test_a_config_that_suits_the_data_passes():
    config = mnist.get_config()
    config.data.num_validation = 72
    check_data(config, data_set(size=200))
