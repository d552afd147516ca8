"""House numbers: a small or a large convolutional network, its large layer a Kronecker sum.

    python -m experiments.train --config=configs/svhn.py:small --workdir=runs/svhn

trains on `svhn_synthetic`, drawn on first use, no download. The real Street View House Numbers are
downloaded and prepared on first use, without or with the 531,131 `extra` digits:

    --config.data.name=svhn_cropped
    --config.data.name=svhn_cropped/extra

and a set that is prepared already, as NAME/VERSION in a TFDS folder, is found by its name:

    --config.data.name=NAME --config.data.data_dir=FOLDER

Images are turned grey, as `image_shape` has one channel: `--config.model.image_shape="(32, 32, 3)"`
keeps colours. `:small` has convolutions of 16, 32 and 64 channels and 1,024 features before `fc1`,
29,306 parameters without the kernel of `fc1`, 553,594 with a dense one. `:large` has 24-24,
48-48 and 96-96 channels and 1,536 features, 166,898 and 953,330 parameters. Another trunk:
`--config.model.channels="((24,), (48,), (96,))"`.

On a subset of 20,000 real digits all layers do better with more weight decay, Kronecker sums most
(`--config.optimizer.weight_decay=0.3`; docs/training.md).
"""

from ml_collections import ConfigDict

from experiments.config import default_config, layer_fields

_MODELS = {
    "small": {
        "channels": ((16,), (32,), (64,)),  # of every stage's convolutions
        "first_kernel": 5,
        "structure": "8:16x16*64x32",  # 16 positions x 64 channels go to 16 x 32 features
    },
    "large": {
        "channels": ((24, 24), (48, 48), (96, 96)),
        "first_kernel": 3,
        "structure": "8:16x16*96x32",
    },
}


def get_config(size: str = "small") -> ConfigDict:
    """Returns the config.

    Args:
      size: `small` or `large`, after the colon of `--config=configs/svhn.py:large`.

    Raises:
      ValueError: if there is no such size.
    """
    if size not in _MODELS:
        raise ValueError(f"configs/svhn.py has no size {size!r}; take one of {', '.join(_MODELS)}.")
    model = _MODELS[size]
    config = default_config()
    config.data.update({"name": "svhn_synthetic", "num_validation": 2_000})
    config.model = ConfigDict(
        {
            "name": "convnet",
            "image_shape": (32, 32, 1),
            "num_classes": 10,
            "channels": model["channels"],
            "first_kernel": model["first_kernel"],
            "hidden": 512,
            "dropout": 0.0,
            "fc1": layer_fields(model["structure"]),
            "fc2": layer_fields(),
        }
    )
    config.train.num_epochs = 12
    config.optimizer.update({"learning_rate": 8e-3, "factor_gain": 0.25})
    return config
