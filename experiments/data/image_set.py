"""Labelled images, decoded and in host memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size, contiguous in memory.

    Attributes:
      images: uint8 (examples, height, width, channels).
      labels: int32 (examples,), classes counted from 0.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4 or not images.flags.c_contiguous:
            raise ValueError(
                "images must be contiguous uint8 (examples, height, width, channels), got "
                f"{images.dtype} {images.shape}, contiguous: {images.flags.c_contiguous}; "
                "np.ascontiguousarray(images, np.uint8) helps"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"labels must be int32 {images.shape[:1]}, one per image, got "
                f"{labels.dtype} {labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class DataSet:
    """A data set with its own split into training and test examples.

    Attributes:
      name: the name it is loaded by.
      num_classes: labels are 0 ... num_classes - 1.
      train: everything that may be trained on; a validation set is cut from it.
      test: looked at once, at the end.
    """

    name: str
    num_classes: int
    train: ImageSet
    test: ImageSet

    def __post_init__(self):
        labels = np.concatenate([self.train.labels, self.test.labels])
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"labels of {self.name!r} span {labels.min()} to {labels.max()}, which does not "
                f"fit num_classes={self.num_classes}"
            )
