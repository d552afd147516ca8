"""From colour to grey."""

import dataclasses

import numpy as np

from experiments.data.image_set import DataSet, ImageSet

_CHUNK = 10_000  # images at once, for the memory
_WEIGHTS = np.array([299, 587, 114], np.uint32)  # of red, green and blue, in thousandths: BT.601


def to_grey(data: DataSet) -> DataSet:
    """Returns the set with one channel, the luma of its three; a grey set as it is.

    Raises:
      ValueError: the images have neither one channel nor three.
    """
    channels = data.train.images.shape[-1]
    if channels == 1:
        return data
    if channels != 3:
        raise ValueError(
            f"images of data set {data.name!r} have {channels} channels and cannot be turned grey: "
            f"set config.model.image_shape to {data.train.images.shape[1:]}"
        )
    return dataclasses.replace(data, train=_grey(data.train), test=_grey(data.test))


def _grey(colour: ImageSet) -> ImageSet:
    images = np.empty((*colour.images.shape[:-1], 1), np.uint8)
    for start in range(0, len(images), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        images[chunk, ..., 0] = (colour.images[chunk] @ _WEIGHTS + 500) // 1000
    return ImageSet(images, colour.labels)
