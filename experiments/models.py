"""The models of the experiments; their fully connected layers come from the config."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from kfc_jax import KFCDense, LowRankDense

KINDS = ("dense", "kfc", "low_rank")


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What one fully connected layer is made of. Fields that its kind does not use are ignored.

    Attributes:
      kind: `dense`; `kfc`, a sum of Kronecker products; or `low_rank`, a product of two matrices.
      structure: for `kfc`, the text form of a `KroneckerSum`; empty: a balanced one of `rank`.
      rank: for `low_rank`, and for `kfc` without a structure. 0: the layer's own default.
      num_factors: for `kfc` without a structure.

    Raises:
      ValueError: if the kind is unknown.
    """

    kind: str = "dense"
    structure: str = ""
    rank: int = 0
    num_factors: int = 2

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; take one of {', '.join(KINDS)}.")


def fully_connected(spec: LayerSpec, features: int, name: str) -> nn.Module:
    """Returns the fully connected layer that `spec` describes, called `name`."""
    rank = spec.rank or None
    match spec.kind:
        case "kfc":
            structure = spec.structure or None
            return KFCDense(
                features, structure=structure, rank=rank, num_factors=spec.num_factors, name=name
            )
        case "low_rank":
            return LowRankDense(features, rank=rank, name=name)
        case _:
            return nn.Dense(features, name=name)


class LeNet5(nn.Module):
    """LeNet-5 in its Caffe form: two 5x5 convolutions and two fully connected layers.

    On 28x28x1 images and with dense layers it has 431,080 parameters, 400,500 of them in `fc1`,
    whose 800 inputs are 4x4 positions of 50 channels (channels change fastest).

    Attributes:
      num_classes: number of outputs.
      fc1: the layer of 500 features before the last.
      fc2: the last layer.
    """

    num_classes: int
    fc1: LayerSpec
    fc2: LayerSpec

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Returns the logits; `train` changes nothing here (no dropout, no batch norm)."""
        del train
        x = nn.Conv(
            20, (5, 5), padding="VALID", conv_general_dilated=_patch_convolution, name="conv1"
        )(images)
        x = nn.Conv(50, (5, 5), padding="VALID", name="conv2")(_max_pool(x))
        x = _max_pool(x).reshape(images.shape[0], -1)
        x = nn.relu(fully_connected(self.fc1, 500, "fc1")(x))
        return fully_connected(self.fc2, self.num_classes, "fc2")(x)


_MODELS = {"lenet5": LeNet5}


def make_model(config: ConfigDict) -> nn.Module:
    """Builds the model that `config` (the config's `model` part) describes.

    Every field that is a part of its own is the `LayerSpec` of the layer with that name.

    Raises:
      ValueError: if the model is unknown, or a layer's specification is wrong or missing.
    """
    if config.name not in _MODELS:
        raise ValueError(f"model.name is {config.name!r}; take one of {', '.join(_MODELS)}.")
    model = _MODELS[config.name]
    specs = {}
    for field in dataclasses.fields(model):
        if field.type in ("LayerSpec", LayerSpec):
            if field.name not in config:
                raise ValueError(f"model.{field.name} is missing; {config.name} has this layer.")
            try:
                specs[field.name] = LayerSpec(**config[field.name])
            except (TypeError, ValueError) as error:
                raise ValueError(f"model.{field.name}: {error}") from error
    return model(num_classes=config.num_classes, **specs)


def _max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    """Max-pools 2x2 windows. On a CPU this form's gradient is much faster than `nn.max_pool`'s."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def _patch_convolution(
    images: Array, kernel: Array, strides: Any, padding: Any, *, precision: Any = None, **_: Any
) -> Array:
    """A VALID convolution of stride 1 as one matrix product of patches.

    On a CPU and with a single input channel it takes two thirds of the time of XLA's convolution.
    """
    del strides, padding
    kernel_height, kernel_width, _, features = kernel.shape
    height, width = images.shape[1] - kernel_height + 1, images.shape[2] - kernel_width + 1
    patches = jnp.concatenate(
        [
            images[:, i : i + height, j : j + width]
            for i in range(kernel_height)
            for j in range(kernel_width)
        ],
        axis=-1,
    )
    return jax.lax.dot_general(
        patches, kernel.reshape(-1, features), (((3,), (0,)), ((), ())), precision=precision
    )
