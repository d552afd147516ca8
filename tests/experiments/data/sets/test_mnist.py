"""MNIST from download to arrays, through TFDS's own downloader, checksums and parser.

A server in this process stands in for MNIST's: it serves IDX files of a few random digits. Only
the addresses, the checksums and the numbers of examples, constants in TFDS, are replaced.
"""

import gzip
import pathlib
import shutil
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist as tfds_mnist

from experiments import data
from tests.experiments.data.sets.serving import serving, unserved_address, url_infos

SIZES = {"train": 1_203, "test": 12}  # more than one batch read


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    return {
        split: (
            rng.integers(0, 256, (size, 28, 28, 1), np.uint8),
            rng.integers(0, 10, size, np.uint8),
        )
        for split, size in SIZES.items()
    }


@pytest.fixture(scope="module")
def idx_files(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("idx")
    for split, prefix in [("train", "train"), ("test", "t10k")]:
        images, labels = digits[split]
        header = struct.pack(">IIII", 2051, len(images), 28, 28)
        path = folder / f"{prefix}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + images.tobytes()))
        header = struct.pack(">II", 2049, len(labels))
        path = folder / f"{prefix}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(header + labels.tobytes()))
    return folder


@pytest.fixture
def served(idx_files, tmp_path, monkeypatch):
    """The folder of the files that TFDS will find at MNIST's address."""
    folder = tmp_path / "served"
    shutil.copytree(idx_files, folder)
    with serving(folder) as address:
        _redirect(monkeypatch, address, folder)
        yield folder


@pytest.fixture
def no_network(idx_files, monkeypatch):
    _redirect(monkeypatch, unserved_address(), idx_files)


def _redirect(monkeypatch, address: str, folder: pathlib.Path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(tfds_mnist.MNIST, "URL", address)
    monkeypatch.setattr(tfds_mnist.MNIST, "url_infos", url_infos(address, folder))
    monkeypatch.setattr(tfds_mnist, "_TRAIN_EXAMPLES", SIZES["train"])
    monkeypatch.setattr(tfds_mnist, "_TEST_EXAMPLES", SIZES["test"])


def _examples(images, labels):
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def _assert_holds(loaded: data.DataSet, digits):
    assert loaded.name == "mnist"
    assert loaded.num_classes == 10
    for split in ("train", "test"):
        part = getattr(loaded, split)
        assert part.images.shape == (SIZES[split], 28, 28, 1)
        assert _examples(part.images, part.labels) == _examples(*digits[split])


def test_it_is_downloaded_prepared_and_read_exactly(served, digits, tmp_path):
    folder = tmp_path / "tfds"
    _assert_holds(data.load("mnist", str(folder)), digits)

    source = tfds.data_source("mnist", split="test", data_dir=folder, download=False)
    _, test_labels = digits["test"]
    assert sorted(example["label"] for example in source) == sorted(test_labels)
    assert source.dataset_info.file_format.value == "array_record"


def test_a_prepared_folder_is_read_without_network(served, digits, tmp_path, monkeypatch):
    data.load("mnist", str(tmp_path))
    shutil.rmtree(served)
    shutil.rmtree(tmp_path / "downloads")
    _assert_holds(data.load("mnist", str(tmp_path)), digits)

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    _assert_holds(data.load("mnist"), digits)
    _assert_holds(data.load("mnist", ""), digits)


def test_the_order_does_not_depend_on_who_prepared_the_folder(
    served, digits, tmp_path, monkeypatch
):
    shuffled = data.load("mnist", str(tmp_path / "shuffled"))
    builder = tfds.builder("mnist", data_dir=tmp_path / "as_is")
    monkeypatch.setattr(type(builder.info), "disable_shuffling", True)
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
    in_order = data.load("mnist")
    first = tfds.data_source("mnist", split="train", data_dir=tmp_path / "as_is")[0]
    np.testing.assert_array_equal(first["image"], digits["train"][0][0])  # written unshuffled
    np.testing.assert_array_equal(shuffled.train.images, in_order.train.images)
    np.testing.assert_array_equal(shuffled.train.labels, in_order.train.labels)


def test_without_network_one_error_names_every_remedy(no_network, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        data.load("mnist", str(tmp_path / "tfds"))
    message = str(raised.value)
    assert str(tmp_path / "tfds" / "mnist" / "3.0.1") in message
    assert "cannot be downloaded" in message
    for remedy in ["--config.data.data_dir", "TFDS_DATA_DIR", "--config.data.name=mnist_5k"]:
        assert remedy in message
    assert not (tmp_path / "tfds" / "mnist").exists()


def test_a_damaged_download_is_refused_and_the_next_attempt_succeeds(served, digits, tmp_path):
    path = served / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    folder = tmp_path / "tfds"
    with pytest.raises(FileNotFoundError, match=r"(?s)checksum.*--config.data.name=mnist_5k"):
        data.load("mnist", str(folder))
    assert not list(folder.glob("mnist/*"))

    path.write_bytes(good)
    _assert_holds(data.load("mnist", str(folder)), digits)


def test_a_missing_file_on_the_server_is_reported(served, tmp_path):
    (served / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels.*404"):
        data.load("mnist", str(tmp_path / "tfds"))


def test_a_folder_that_is_no_data_set_is_refused_before_downloading(no_network, tmp_path):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no prepared data set: delete that folder"):
        data.load("mnist", str(tmp_path))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other format"])
def test_prepared_files_that_cannot_be_read_are_named_with_a_remedy(served, tmp_path, damage):
    data.load("mnist", str(tmp_path))
    folder = tmp_path / "mnist" / "3.0.1"
    (records,) = folder.glob("mnist-test*")
    if damage == "missing":
        records.unlink()
    elif damage == "truncated":
        records.write_bytes(records.read_bytes()[:-1_000])
    else:
        info = folder / "dataset_info.json"
        info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"(?s)mnist/3\.0\.1 cannot be read: .*Delete that folder"):
        data.load("mnist", str(tmp_path))
