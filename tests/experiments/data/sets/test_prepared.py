import io

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments import data

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(shape=(6, 5, 1)),
        "label": tfds.features.ClassLabel(num_classes=4),
    }
)


def write(folder, name: str, version: str, images: np.ndarray, splits=("train", "test")):
    """Writes a set as somebody else would, without a builder of ours; labels are 0, 1, ..."""
    with tfds.core.registered.skip_registration():

        class Writer(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)

            def _info(self):
                return self.dataset_info_from_configs(features=FEATURES)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples() for split in splits}

            def _generate_examples(self):
                for label, image in enumerate(images):
                    png = io.BytesIO(cv2.imencode(".png", image)[1].tobytes())
                    yield label, {"image": png, "label": label}

    Writer.name = name
    Writer(data_dir=folder).download_and_prepare(file_format="array_record")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 4, 6, 5, 1), np.uint8)


def test_a_prepared_set_is_found_by_its_name_in_its_newest_version(tmp_path, images):
    write(tmp_path, "leaves", "1.9.0", images[0])
    write(tmp_path, "leaves", "1.10.0", images[1])
    loaded = data.load("leaves", str(tmp_path))
    assert (loaded.name, loaded.num_classes) == ("leaves", 4)
    for part in (loaded.train, loaded.test):
        assert sorted(part.labels) == [0, 1, 2, 3]
        np.testing.assert_array_equal(part.images, images[1][part.labels])


def test_the_environment_names_the_folder(tmp_path, images, monkeypatch):
    write(tmp_path, "leaves", "1.0.0", images[0])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert len(data.load("leaves").train) == 4


def test_a_missing_set_is_refused_with_those_that_are_there(tmp_path, images):
    write(tmp_path, "leaves", "1.0.0", images[0])
    write(tmp_path, "bark", "1.0.0", images[0])
    with pytest.raises(
        ValueError, match=r"unknown data set 'leafs'.*mnist.*there: bark, leaves\. "
    ):
        data.load("leafs", str(tmp_path))
    with pytest.raises(ValueError, match=r"prepared there: none\. .*--config\.data\.data_dir"):
        data.load("leafs", str(tmp_path / "nowhere"))


def test_a_set_without_a_test_split_is_refused(tmp_path, images):
    write(tmp_path, "leaves", "1.0.0", images[0], splits=("train",))
    with pytest.raises(ValueError, match=r"(?s)leaves/1\.0\.0 cannot be read: .*test"):
        data.load("leaves", str(tmp_path))
