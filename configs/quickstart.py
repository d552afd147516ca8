"""The MNIST experiment on 5,000 embedded digits: no download, done in under two minutes on 2 cores.

python -m experiments.train --config=configs/quickstart.py --workdir=runs/quickstart

Seed 0: test error 2.00% (on 1,000 digits), in about 26 s on 2 CPU cores.
"""

from ml_collections import ConfigDict

from experiments.config import default_config, layer_fields


def get_config() -> ConfigDict:
    """Returns the config."""
    config = default_config()
    config.data.update({"name": "mnist_5k", "num_validation": 500})
    config.model = ConfigDict(
        {
            "name": "lenet5",
            "image_shape": (28, 28, 1),
            "num_classes": 10,
            "hidden": 500,  # features of fc1
            "fc1": layer_fields("2:16x20*50x25"),
            "fc2": layer_fields(),
        }
    )
    config.train.update({"num_epochs": 15, "log_every": 20})
    config.optimizer.update({"learning_rate": 2e-3, "factor_gain": 1.0})
    return config
