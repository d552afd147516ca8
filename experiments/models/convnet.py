"""A convolutional network with batch norm for house numbers and characters, in any size."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from experiments.models.first_convolution import block_convolution
from experiments.models.layers import NO_LAYER, LayerSpec, fully_connected, max_pool


class ConvNet(nn.Module):
    """Stages of convolutions, each pooled and normalised at its end, then two layers.

    A stage is convolutions (padded to keep the size, no bias) with ReLUs between them, then 2x2 max
    pooling, batch norm and a ReLU. The features of the last stage are flattened from (height,
    width, channels), channels fastest, so that a structure of `fc1` can factor space from channels.

    Attributes:
      num_classes: number of outputs.
      fc1: the layer of `hidden` features after the stages.
      fc2: the last layer, the classifier.
      channels: a tuple for every stage, with the channels of its convolutions.
      first_kernel: side of the first convolution's kernel; the others are 3x3.
      hidden: features of `fc1`.
      dropout: fraction of the inputs of `fc1`, and of those of `fc2`, dropped in training.

    Raises:
      ValueError: if an attribute is out of range, or the images cannot be halved once per stage.
    """

    num_classes: int
    fc1: LayerSpec
    fc2: LayerSpec
    channels: tuple[tuple[int, ...], ...] = ((16,), (32,), (64,))
    first_kernel: int = 5
    hidden: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        flat = [c for stage in self.channels for c in (stage if isinstance(stage, tuple) else [0])]
        if not flat or () in self.channels or not all(type(c) is int and c >= 1 for c in flat):
            raise ValueError(
                f"channels is {self.channels}; give every stage a tuple of positive numbers of "
                "channels, such as ((16,), (32,), (64,))."
            )
        for name, value in (("first_kernel", self.first_kernel), ("hidden", self.hidden)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Returns the logits; `train` takes the batch's own statistics, and drops features."""
        height, width = images.shape[1:3]
        if (height | width) % 2 ** len(self.channels):
            raise ValueError(
                f"images of {height}x{width} cannot be halved {len(self.channels)} times, once per "
                f"stage of channels={self.channels}; take another number of stages, or images "
                f"whose sides are multiples of {2 ** len(self.channels)}."
            )
        x, count, side = images, 0, self.first_kernel
        for index, stage in enumerate(self.channels, 1):
            for position, features in enumerate(stage):
                if position:
                    x = nn.relu(x)
                count += 1
                convolution = None if count > 1 else block_convolution
                x = nn.Conv(
                    features,
                    (side, side),
                    use_bias=False,
                    conv_general_dilated=convolution,
                    name=f"conv{count}",
                )(x)
                side = 3
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, name=f"norm{index}")
            x = nn.relu(norm(max_pool(x)))
        x = x.reshape(images.shape[0], -1)
        if self.fc1.kind != NO_LAYER:  # else the same features would be dropped twice
            x = self._drop(x, train)
        x = nn.relu(fully_connected(self.fc1, self.hidden, "fc1")(x))
        return fully_connected(self.fc2, self.num_classes, "fc2")(self._drop(x, train))

    def _drop(self, x: Array, train: bool) -> Array:
        return nn.Dropout(self.dropout, deterministic=not train)(x)
