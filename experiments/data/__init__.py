"""Data sets of images, decoded in host memory, and the batches that training reads.

- `load`: loads a data set by name (`experiments.data.sets` has one module per set).
- `DataSet`: training and test examples, and the number of classes.
- `ImageSet`: labelled images of one size.
- `to_grey`: a data set with one channel.
- `split_validation`: cuts a validation set off the training set.
- `TrainBatches`: batches of training examples, resumable at any position.
- `eval_batches`: every example once, in batches of one shape.
- `terms_of_use`: under which terms a data set may be used.
- `random_shift`: shifts images at random, on the device.
"""

from experiments.data.augmentation import random_shift
from experiments.data.batches import TrainBatches, eval_batches, split_validation
from experiments.data.grey import to_grey
from experiments.data.image_set import DataSet, ImageSet
from experiments.data.licences import terms_of_use
from experiments.data.sets import load

__all__ = [
    "DataSet",
    "ImageSet",
    "TrainBatches",
    "eval_batches",
    "load",
    "random_shift",
    "split_validation",
    "terms_of_use",
    "to_grey",
]
