"""From images in memory to batches: the validation split, training order, evaluation order.

All of it is NumPy on the host and depends on seeds alone, so a run can be repeated and resumed.
"""

from collections.abc import Iterator

import numpy as np

from experiments.data.image_set import ImageSet


def split_validation(train: ImageSet, size: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Cuts a validation set off the training set, every class in its proportion.

    Args:
      train: the examples to divide.
      size: number of validation examples, 0 <= size < len(train).
      seed: chooses the examples; the same seed always gives the same ones.

    Returns:
      The remaining training examples and the validation examples, disjoint, both in their
      original order.

    Raises:
      ValueError: size or seed is out of range.
    """
    if not 0 <= size < len(train):
        raise ValueError(
            f"validation size {size} is not in 0 ... {len(train) - 1}, which the {len(train)} "
            "training examples allow: set --config.data.num_validation accordingly"
        )
    rng = np.random.default_rng(_seed_sequence(seed))
    counts = np.bincount(train.labels)
    quotas, remainders = np.divmod(counts * size, len(train))
    # Largest remainders first, so that the quotas sum to size and none exceeds its class.
    quotas[np.argsort(-remainders, kind="stable")[: size - quotas.sum()]] += 1
    validation = np.zeros(len(train), bool)
    for label, quota in enumerate(quotas):
        validation[rng.permutation(np.flatnonzero(train.labels == label))[:quota]] = True
    return _select(train, ~validation), _select(train, validation)


class TrainBatches:
    """An endless iterator over batches of training examples, resumable at any position.

    Every epoch is a new permutation that depends on the seed and the number of the epoch alone;
    what is left at its end is dropped. A batch is ``{"image": uint8 (batch, height, width,
    channels), "label": int32 (batch,)}``.

    Args:
      data: the examples.
      batch_size: examples per batch, 1 <= batch_size <= len(data).
      seed: the seed of all permutations, >= 0.

    Attributes:
      steps_per_epoch: number of batches in an epoch.

    Raises:
      ValueError: batch_size or seed is out of range.
    """

    def __init__(self, data: ImageSet, batch_size: int, seed: int):
        if not 1 <= batch_size <= len(data):
            raise ValueError(
                f"batch size {batch_size} is not in 1 ... {len(data)}, the number of training "
                "examples: choose a smaller one"
            )
        self.steps_per_epoch: int = len(data) // batch_size
        self._data = data
        self._batch_size = batch_size
        self._seed = seed
        self._step = 0
        self._permute(epoch=0)

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        epoch, batch = divmod(self._step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._permute(epoch)
        chosen = self._order[batch * self._batch_size : (batch + 1) * self._batch_size]
        self._step += 1
        return {"image": self._data.images[chosen], "label": self._data.labels[chosen]}

    def get_state(self) -> dict[str, int]:
        """Returns the position: ``{"step": batches given so far}``."""
        return {"step": self._step}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues from a position of an iterator with the same data, batch size and seed.

        Raises:
          ValueError: the state is not one that `get_state` returns.
        """
        step = int(state["step"]) if set(state) == {"step"} else -1
        if step < 0:
            raise ValueError(
                f"{state!r} is not a position of TrainBatches: pass what get_state() returned, "
                "{'step': a number >= 0}"
            )
        self._step = step

    def _permute(self, epoch: int) -> None:
        rng = np.random.default_rng(_seed_sequence(self._seed, epoch))
        self._epoch = epoch
        self._order = rng.permutation(len(self._data))


def eval_batches(data: ImageSet, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields every example once, in order, in batches of one shape.

    Args:
      data: the examples; none gives no batch.
      batch_size: examples per batch, >= 1. The last batch is padded to it with zeros.

    Returns:
      An iterator over ``{"image": uint8 (batch, height, width, channels), "label": int32 (batch,),
      "mask": bool (batch,)}``; mask is False where a row is padding.

    Raises:
      ValueError: batch_size is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size} is less than 1: choose a positive one")
    return _eval_batches(data, batch_size)


def _eval_batches(data: ImageSet, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(data), batch_size):
        images = data.images[start : start + batch_size]
        labels = data.labels[start : start + batch_size]
        padding = batch_size - len(labels)
        yield {
            "image": np.pad(images, [(0, padding), (0, 0), (0, 0), (0, 0)]) if padding else images,
            "label": np.pad(labels, (0, padding)) if padding else labels,
            "mask": np.arange(batch_size) < len(labels),
        }


def _select(data: ImageSet, chosen: np.ndarray) -> ImageSet:
    return ImageSet(data.images[chosen], data.labels[chosen])


def _seed_sequence(seed: int, *key: int) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"seed {seed} is negative: set --config.seed to 0 or more")
    return np.random.SeedSequence(seed, spawn_key=key)
