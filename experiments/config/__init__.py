"""What a config holds, before anything knows what its fields are for.

- `default_config`: the fields that every run has, and their defaults.
- `layer_fields`: the fields of one fully connected layer.
- `load_config`: the config of a file such as `configs/svhn.py:small`.
- `load_module`: a Python file as a module; sweep configs are read with it.
- `flatten`: the fields of a nested config by their dotted names.
- `completed`: the fields of a run, also of one from before there were all of them.
- `restored`: the config that JSON holds, likewise.
- `NEUTRAL_FIELDS`: the fields that change neither a model nor its numbers.
"""

from experiments.config.defaults import default_config, layer_fields
from experiments.config.fields import NEUTRAL_FIELDS, completed, flatten, restored
from experiments.config.files import load_config, load_module

__all__ = [
    "NEUTRAL_FIELDS",
    "completed",
    "default_config",
    "flatten",
    "layer_fields",
    "load_config",
    "load_module",
    "restored",
]
