"""SVHN from download to arrays, through TFDS's own downloader, checksums and MATLAB parser.

Only the address and the checksums are replaced; the files are small ones of random digits.
"""

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds

from experiments import data
from tests.experiments.data.sets.serving import serving, unserved_address, url_infos

SIZES = {"train": 7, "test": 5, "extra": 11}


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(0, 256, (size, 32, 32, 3), np.uint8), np.arange(size) % 10)
        for split, size in SIZES.items()
    }


@pytest.fixture(scope="module")
def mat_files(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mat")
    for split, (images, labels) in digits.items():
        # As in the original: images last, and the digit zero as 10.
        table = {
            "X": np.moveaxis(images, 0, -1),
            "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None],
        }
        scipy.io.savemat(folder / f"{split}_32x32.mat", table)
    return folder


@pytest.fixture(scope="module")
def prepared(mat_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch, serving(mat_files) as address:
        _redirect(patch, address, mat_files)
        data.load("svhn_cropped", str(folder))
    return folder


def _redirect(patch, address, folder):
    builder = tfds.builder_cls("svhn_cropped")
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setitem(builder._split_generators.__globals__, "URL", address)
    patch.setattr(builder, "url_infos", url_infos(address, folder))


def _examples(images, labels):
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def test_it_is_downloaded_prepared_and_read_exactly(prepared, digits):
    loaded = data.load("svhn_cropped", str(prepared))
    assert (loaded.name, loaded.num_classes) == ("svhn_cropped", 10)
    for split in ("train", "test"):
        part = getattr(loaded, split)
        assert part.images.shape == (SIZES[split], 32, 32, 3)
        assert _examples(part.images, part.labels) == _examples(*digits[split])


def test_extra_digits_are_trained_on_where_the_variant_says_so(prepared, digits):
    loaded = data.load("svhn_cropped/extra", str(prepared))
    both = [np.concatenate(parts) for parts in zip(digits["train"], digits["extra"], strict=True)]
    assert _examples(loaded.train.images, loaded.train.labels) == _examples(*both)
    assert _examples(loaded.test.images, loaded.test.labels) == _examples(*digits["test"])


def test_an_unknown_variant_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"no variant 'full': use svhn_cropped or svhn_cropped/ext"
    ):
        data.load("svhn_cropped/full", str(tmp_path))


def test_without_network_the_drawn_digits_are_named(mat_files, tmp_path, monkeypatch):
    _redirect(monkeypatch, unserved_address(), mat_files)
    with pytest.raises(FileNotFoundError, match=r"(?s)cannot be downloaded.*name=svhn_synthetic"):
        data.load("svhn_cropped", str(tmp_path / "tfds"))
    assert not (tmp_path / "tfds" / "svhn_cropped").exists()
