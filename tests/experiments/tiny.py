"""A config, a model and a data set for which the real training loop takes a second."""

import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from configs import mnist
from experiments import training
from experiments.data import DataSet, ImageSet
from experiments.data.sets import registry
from experiments.models import networks
from experiments.models.layers import LayerSpec, fully_connected

SIDE = 16
STEPS_PER_EPOCH = 5


class Tiny(nn.Module):
    """Quick to compile: the 4x4 means of an image, and two fully connected layers."""

    num_classes: int
    fc1: LayerSpec
    fc2: LayerSpec
    hidden: int

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.avg_pool(images, (4, 4), (4, 4)).reshape(len(images), -1)
        x = nn.relu(fully_connected(self.fc1, self.hidden, "fc1")(x))
        return fully_connected(self.fc2, self.num_classes, "fc2")(x)


def install(patch: pytest.MonkeyPatch) -> None:
    """Makes the model and the data known under the name `tiny`."""
    patch.setitem(networks._MODELS, "tiny", Tiny)
    patch.setitem(registry._LOADERS, "tiny", lambda _: load("tiny"))


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.data.update({"name": "tiny", "num_validation": 24})
    config.model.update({"name": "tiny", "image_shape": (SIDE, SIDE, 1), "num_classes": 4})
    config.model.hidden = 30
    config.model.fc1.structure = "2:4x5*4x6"
    config.train.update({"batch_size": 8, "num_epochs": 3, "eval_batch_size": 16, "log_every": 3})
    config.optimizer.learning_rate = 0.02
    return config


def config_of(**fields) -> ConfigDict:
    """Returns the config with some fields set, dots of their names as two underscores."""
    config = get_config()
    config.update_from_flattened_dict({n.replace("__", "."): v for n, v in fields.items()})
    return config


def train(config: ConfigDict, workdir) -> dict:
    """Does what `experiments.train` does, and returns the result."""
    return training.train_and_evaluate(training.prepare(config, workdir))


def load(name: str = "tiny") -> DataSet:
    """Returns images in which a bright quadrant says the class."""
    train, test = _images(STEPS_PER_EPOCH * 8 + 24, seed=1), _images(20, seed=2)
    return DataSet(name=name, num_classes=4, train=train, test=test)


def _images(size: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, size).astype(np.int32)
    images = rng.integers(0, 60, (size, SIDE, SIDE, 1)).astype(np.uint8)
    half = SIDE // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 180
    return ImageSet(images, labels)
