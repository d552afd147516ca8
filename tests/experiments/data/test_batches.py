import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batches import TrainBatches, eval_batches, split_validation
from experiments.data.image_set import ImageSet


def _image_set(labels) -> ImageSet:
    """Images that carry their position, so that every example can be recognised."""
    labels = np.asarray(labels, np.int32)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(len(labels)), 256)
    return ImageSet(images, labels)


def _positions(images) -> np.ndarray:
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 1, 0]


# Validation split.


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=300),
    data=st.data(),
    seed=st.integers(0, 2**32),
)
def test_split_is_a_stratified_partition(labels, data, seed):
    size = data.draw(st.integers(0, len(labels) - 1))
    whole = _image_set(labels)
    train, validation = split_validation(whole, size, seed)
    assert len(validation) == size
    both = np.concatenate([_positions(train.images), _positions(validation.images)])
    np.testing.assert_array_equal(np.sort(both), np.arange(len(labels)))
    for part in (train, validation):
        np.testing.assert_array_equal(part.labels, whole.labels[_positions(part.images)])
    for label in range(5):
        exact = labels.count(label) * size / len(labels)
        assert abs((validation.labels == label).sum() - exact) < 1


def test_split_depends_on_the_seed_alone():
    whole = _image_set(np.arange(500) % 10)
    chosen = [_positions(split_validation(whole, 100, seed)[1].images) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])


def test_split_does_not_take_the_first_examples_of_a_class():
    _, validation = split_validation(_image_set(np.zeros(1_000)), 500, seed=0)
    assert 400 < _positions(validation.images).mean() < 600


@pytest.mark.parametrize("size", [-1, 20, 21])
def test_split_refuses_a_bad_size(size):
    with pytest.raises(
        ValueError, match=rf"validation size {size} is not in 0 \.\.\. 19.*num_validation"
    ):
        split_validation(_image_set(np.zeros(20)), size, seed=0)


# Training batches.


@pytest.mark.parametrize(("examples", "batch_size"), [(103, 10), (40, 8), (7, 7), (5, 1)])
def test_every_epoch_gives_distinct_examples_in_an_order_of_its_own(examples, batch_size):
    whole = _image_set(np.arange(examples) % 3)
    batches = TrainBatches(whole, batch_size, seed=3)
    assert batches.steps_per_epoch == examples // batch_size
    orders = []
    for _ in range(3):
        epoch = list(itertools.islice(batches, batches.steps_per_epoch))
        for batch in epoch:
            assert batch["image"].shape == (batch_size, 2, 2, 1)
            assert batch["image"].dtype == np.uint8
            assert batch["label"].dtype == np.int32
            np.testing.assert_array_equal(batch["label"], whole.labels[_positions(batch["image"])])
        order = np.concatenate([_positions(batch["image"]) for batch in epoch])
        assert len(set(order)) == examples // batch_size * batch_size
        orders.append(tuple(order))
    assert len(set(orders)) == 3


def test_the_remainder_that_is_dropped_changes_from_epoch_to_epoch():
    batches = TrainBatches(_image_set(np.zeros(19)), 10, seed=0)
    seen = np.concatenate([_positions(next(batches)["image"]) for _ in range(20)])
    assert set(seen) == set(range(19))


def _take(batches, count) -> np.ndarray:
    return np.array([_positions(next(batches)["image"]) for _ in range(count)])


def test_order_depends_on_the_seed_alone():
    whole = _image_set(np.zeros(50))
    first, same, other = (_take(TrainBatches(whole, 10, seed), 12) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("position", range(11))
def test_it_continues_exactly_from_any_position(position):
    whole = _image_set(np.zeros(23))  # 4 batches an epoch
    uninterrupted = _take(TrainBatches(whole, 5, seed=0), 20)
    interrupted = TrainBatches(whole, 5, seed=0)
    _take(interrupted, position)
    state = interrupted.get_state()
    _take(interrupted, 3)  # the state is a copy

    for resumed in (TrainBatches(whole, 5, seed=0), interrupted):
        resumed.set_state(state)
        assert resumed.get_state() == state
        np.testing.assert_array_equal(_take(resumed, 9), uninterrupted[position : position + 9])


@pytest.mark.parametrize("batch_size", [0, -1, 9])
def test_training_refuses_a_bad_batch_size(batch_size):
    with pytest.raises(ValueError, match=rf"batch size {batch_size} is not in 1 \.\.\. 8"):
        TrainBatches(_image_set(np.zeros(8)), batch_size, seed=0)


def test_a_negative_seed_is_refused():
    whole = _image_set(np.zeros(8))
    with pytest.raises(ValueError, match="seed -1 is negative"):
        TrainBatches(whole, 4, seed=-1)
    with pytest.raises(ValueError, match="seed -1 is negative"):
        split_validation(whole, 4, seed=-1)


@pytest.mark.parametrize("state", [{}, {"step": -1}, {"epoch": 0}, {"step": 0, "epoch": 0}])
def test_a_state_of_another_form_is_refused(state):
    with pytest.raises(ValueError, match="is not a position of TrainBatches"):
        TrainBatches(_image_set(np.zeros(8)), 4, seed=0).set_state(state)


# Evaluation batches.


@pytest.mark.parametrize(("examples", "batch_size"), [(0, 4), (1, 4), (8, 4), (10, 4), (3, 1)])
def test_evaluation_gives_every_example_once_in_batches_of_one_shape(examples, batch_size):
    whole = _image_set(np.arange(examples) % 7)
    batches = list(eval_batches(whole, batch_size))
    assert len(batches) == -(-examples // batch_size)
    for batch in batches:
        assert batch["image"].shape == (batch_size, 2, 2, 1)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].shape == batch["mask"].shape == (batch_size,)
        assert batch["label"].dtype == np.int32
        assert batch["mask"].dtype == bool
        assert not batch["image"][~batch["mask"]].any()
    if examples:
        joined = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
        mask = joined["mask"]
        np.testing.assert_array_equal(_positions(joined["image"][mask]), np.arange(examples))
        np.testing.assert_array_equal(joined["label"][mask], whole.labels)


def test_evaluation_refuses_a_bad_batch_size_at_once():
    with pytest.raises(ValueError, match="batch size 0 is less than 1"):
        eval_batches(_image_set(np.zeros(8)), 0)
