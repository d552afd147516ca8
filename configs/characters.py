"""Chinese characters: a convolutional network whose classifier is large, too.

    python -m experiments.train --config=configs/characters.py:small --workdir=runs/characters

trains on `kanji_strokes`, 200 characters drawn from their strokes on first use, no download. The
handwritten characters of CASIA-HWDB are read from their official `.gnt` files, see
`experiments/data/sets/casia_hwdb.py`; a set prepared already in a TFDS folder is found by its name:

    --config.data.name=casia_hwdb/48-200
    --config.data.name=NAME --config.data.data_dir=FOLDER --config.model.num_classes=195

`casia_hwdb/48-200` is the first 200 characters, 48 pixels wide; `kanji_strokes` takes the same.

`:small` is for 48x48 pixels, with 2,304 features before `fc1`, and 1,024 behind it. `:large` is for
64x64 pixels, with 2,048 features before `fc1` and 4,096 behind it, and all 3,755 characters of
CASIA-HWDB: 8.4 million parameters in `fc1` and 15.4 million in the classifier, were they dense.
Both are Kronecker sums there. A compressed classifier for the small one, whose factors keep the
classes whole (docs/results/characters.md has why):

    --config.model.fc2.kind=kfc --config.model.fc2.structure=18:64x1*16x200

On 67,000 real characters all layers do much better with more weight decay
(`--config.optimizer.weight_decay=0.3`; docs/training.md).
"""

from ml_collections import ConfigDict

from experiments.config import default_config, layer_fields

_SIZES = {
    "small": {
        "data": "kanji_strokes/48-200",
        "side": 48,
        "num_classes": 200,
        "channels": ((16,), (32,), (64,)),  # of every stage's convolutions
        "hidden": 1_024,
        "fc1": "8:36x32*64x32",  # 36 positions x 64 channels go to 32 x 32 features
        "fc2": "",
    },
    "large": {
        "data": "casia_hwdb/64",
        "side": 64,
        "num_classes": 3_755,
        "channels": ((24, 24), (48, 48), (96, 96), (128, 128)),
        "hidden": 4_096,
        "fc1": "16:16x64*128x64",
        "fc2": "16:64x60*64x63",  # padded: 3,755 has no factors of such sizes
    },
}


def get_config(size: str = "small") -> ConfigDict:
    """Returns the config.

    Args:
      size: `small` or `large`, after the colon of `--config=configs/characters.py:large`.

    Raises:
      ValueError: if there is no such size.
    """
    if size not in _SIZES:
        raise ValueError(
            f"configs/characters.py has no size {size!r}; take one of {', '.join(_SIZES)}."
        )
    of = _SIZES[size]
    config = default_config()
    config.data.update({"name": of["data"], "num_validation": 2_000})
    config.model = ConfigDict(
        {
            "name": "convnet",
            "image_shape": (of["side"], of["side"], 1),
            "num_classes": of["num_classes"],
            "channels": of["channels"],
            "first_kernel": 5,
            "hidden": of["hidden"],
            "dropout": 0.0,
            "fc1": layer_fields(of["fc1"]),
            "fc2": layer_fields(of["fc2"]),
        }
    )
    config.train.num_epochs = 10
    config.optimizer.update({"learning_rate": 4e-3, "factor_gain": 0.25})
    return config
