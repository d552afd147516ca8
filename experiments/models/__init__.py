"""The models of the experiments, whose fully connected layers come from the config.

- `make_model`: builds the model that a config describes.
- `load_published`: a model that `experiments.publish` wrote, with its arrays.
- `MODEL_FILE`: the name of its file.
- `LayerSpec`: what one fully connected layer is made of.
- `NO_LAYER`: the kind of a layer that is left out.
- `frozen_layers`: the layers of a model that are not trained.
- `LayerCost`: what one layer costs.
- `costs_of_layers`: the cost of every layer of a model.
- `totals`: the cost of the whole model.
- `cost_table`, `model_line`: the same in words.
"""

from experiments.models.layer_costs import (
    LayerCost,
    cost_table,
    costs_of_layers,
    model_line,
    totals,
)
from experiments.models.layers import NO_LAYER, LayerSpec, frozen_layers
from experiments.models.networks import make_model
from experiments.models.published import MODEL_FILE, load_published

__all__ = [
    "MODEL_FILE",
    "NO_LAYER",
    "LayerCost",
    "LayerSpec",
    "cost_table",
    "costs_of_layers",
    "frozen_layers",
    "load_published",
    "make_model",
    "model_line",
    "totals",
]
