import types

import numpy as np
import tensorflow_datasets as tfds

from experiments.data.tfds import prepare, read_builder


def test_colour_images_keep_their_channels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)

    with tfds.core.registered.skip_registration():

        class Colours(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            url_infos = types.MappingProxyType({})

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(6, 7, 3)),
                    "label": tfds.features.ClassLabel(num_classes=5),
                }
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples() for split in ("train", "test")}

            def _generate_examples(self):
                for label, image in enumerate(images):
                    yield label, {"image": image, "label": label}

    builder = Colours(data_dir=tmp_path)
    prepare.prepare(builder)
    loaded = read_builder(builder)
    assert loaded.num_classes == 5
    assert sorted(loaded.test.labels) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(loaded.test.images, images[loaded.test.labels])
