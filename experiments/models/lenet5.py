"""LeNet-5, the network for MNIST."""

from __future__ import annotations

from flax import linen as nn
from jaxtyping import Array, Float

from experiments.models.first_convolution import block_convolution
from experiments.models.layers import LayerSpec, fully_connected, max_pool


class LeNet5(nn.Module):
    """LeNet-5 in its Caffe form: two 5x5 convolutions and two fully connected layers.

    On 28x28x1 images and with dense layers it has 431,080 parameters, 400,500 of them in `fc1`,
    whose 800 inputs are 4x4 positions of 50 channels (channels change fastest).

    Attributes:
      num_classes: number of outputs.
      fc1: the layer of `hidden` features before the last.
      fc2: the last layer.
      hidden: features of `fc1`.

    Raises:
      ValueError: if `hidden` is below 1.
    """

    num_classes: int
    fc1: LayerSpec
    fc2: LayerSpec
    hidden: int = 500

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden is {self.hidden}; it must be at least 1.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Returns the logits; `train` changes nothing here (no dropout, no batch norm)."""
        del train
        x = nn.Conv(
            20, (5, 5), padding="VALID", conv_general_dilated=block_convolution, name="conv1"
        )(images)
        x = nn.Conv(50, (5, 5), padding="VALID", name="conv2")(max_pool(x))
        x = max_pool(x).reshape(images.shape[0], -1)
        x = nn.relu(fully_connected(self.fc1, self.hidden, "fc1")(x))
        return fully_connected(self.fc2, self.num_classes, "fc2")(x)
