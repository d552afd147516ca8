import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.runs import predictions
from experiments.runs.predictions import Predictions, pack

LABELS = np.array([0, 3, 9, 9, 1])
PREDICTED = np.array([0, 3, 8, 9, 0])
PROBABILITY = np.array([1.0, 0.5, 0.002, 0.9, 0.0])


def some() -> Predictions:
    return Predictions.of(LABELS, PREDICTED, PROBABILITY)


def same(one: Predictions, other: Predictions) -> bool:
    arrays = ("predicted", "is_correct", "probability")
    return one.labels == other.labels and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in arrays
    )


def test_predictions_tell_what_was_wrong_and_how_sure():
    its = some()
    assert its.errors == 2
    assert its.is_correct.tolist() == [True, True, False, True, False]
    assert its.probability.tolist() == [255, 128, 1, 230, 0]
    assert its.predicted.dtype == np.uint8
    expected = hashlib.sha256(b"".join(int(n).to_bytes(4, "little") for n in LABELS)).hexdigest()
    assert its.labels == expected


def test_other_labels_have_another_digest_and_classes_a_type_that_holds_them():
    assert Predictions.of(LABELS[::-1], PREDICTED, PROBABILITY).labels != some().labels
    many = Predictions.of(LABELS, PREDICTED + 300, PROBABILITY)
    assert many.predicted.dtype == np.uint16
    assert many.predicted.tolist() == (PREDICTED + 300).tolist()


@given(st.integers(0, 70).flatmap(lambda n: arrays(np.int32, (2, n), elements=st.integers(0, 400))))
def test_what_is_written_is_read(classes):
    labels, predicted = classes
    its = Predictions.of(labels, predicted, np.full(len(labels), 0.25))
    assert its.errors == np.sum(labels != predicted)
    content = pack({"test": its, "7:before_training": some()})
    assert content == pack({"test": its, "7:before_training": some()})


def test_a_file_holds_several_by_name(tmp_path):
    path = tmp_path / "predictions.npz"
    other = Predictions.of(LABELS, PREDICTED + 300, PROBABILITY)
    predictions.write(path, {"test": some(), "7:before_training": other})
    found = predictions.read(path)
    assert list(found) == ["test", "7:before_training"]
    assert same(found["test"], some())
    assert same(found["7:before_training"], other)
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.npz"]


def test_a_run_without_predictions_has_none(tmp_path):
    assert predictions.read(tmp_path / "predictions.npz") == {}


@pytest.mark.parametrize("damage", ["cut", "text", "other arrays", "a flipped byte", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "predictions.npz"
    predictions.write(path, {"test": some()})
    content = path.read_bytes()
    if damage == "other arrays":
        np.savez(path, **{"test:predicted": PREDICTED})
    else:
        path.write_bytes(
            {
                "cut": content[: len(content) // 2],
                "text": b"no archive",
                "a flipped byte": content[:90] + bytes([content[90] ^ 0xFF]) + content[91:],
                "empty": b"",
            }[damage]
        )
    with pytest.raises(ValueError, match=r"predictions.npz is damaged \(.+\); delete it"):
        predictions.read(path)


def test_ten_thousand_images_take_a_few_kilobytes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 10_000)
    wrong = rng.random(10_000) < 0.01
    predicted = np.where(wrong, (labels + 1) % 10, labels)
    probability = np.where(wrong, rng.random(10_000), 1 - rng.random(10_000) ** 8 / 50)
    assert len(pack({"test": Predictions.of(labels, predicted, probability)})) < 10_000
