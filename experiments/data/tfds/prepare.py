"""Downloads a set and writes it in the form of TensorFlow Datasets (TFDS), without TensorFlow.

TFDS 4.9 downloads, checks, parses and writes without TensorFlow but for two things: it opens
local files through ``tf.io.gfile``, and it encodes arrays as images with TensorFlow. Both are
replaced here, for the time of the preparation; all else is TFDS's own.
"""

import contextlib
import io
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import extractor

_TIMEOUT = 10  # seconds


def prepare(builder: tfds.core.DatasetBuilder, alternative: str | None = None) -> None:
    """Downloads and prepares a set as ArrayRecord files with images as PNG.

    Nothing stays behind in the set's folder if this fails.

    Args:
      builder: a builder that generates examples with a NumPy array or anything else that TFDS
        accepts as ``image``; it is changed, and can read the set afterwards.
      alternative: what else a user can do who has no network; ends the error message.

    Raises:
      FileNotFoundError: the set cannot be downloaded or written.
      ValueError: the folder of the set exists and is not a prepared set.
    """
    if builder.data_path.exists():
        # TFDS would take it for a finished one.
        raise ValueError(
            f"{builder.data_path} exists but holds no prepared data set: delete that folder, or "
            "point --config.data.data_dir or TFDS_DATA_DIR at another one"
        )
    builder._generate_examples = _encoding_images(builder._generate_examples)
    try:
        _check_network(builder)
        with _plain_files(extractor, sys.modules[type(builder).__module__]):
            builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # network, checksum, archive, disk: a class of its own for each
        raise FileNotFoundError(
            f"data set {builder.name!r} is not prepared in {builder.data_path}, and it cannot be "
            f"downloaded and prepared there: {error}\n"
            "Point --config.data.data_dir or the environment variable TFDS_DATA_DIR at a folder "
            f"that has it prepared (as {builder.info.full_name}, in ArrayRecord format)"
            f"{'; or ' + alternative if alternative else ''}."
        ) from error


def _check_network(builder: tfds.core.DatasetBuilder) -> None:
    """Fails within seconds where TFDS, which has no timeout, would try again for minutes."""
    for url in list(builder.url_infos or ())[:1]:
        with requests.get(url, stream=True, timeout=_TIMEOUT) as response:
            response.raise_for_status()


@contextlib.contextmanager
def _plain_files(*modules: types.ModuleType) -> Iterator[None]:
    """Gives the modules Python's ``open`` in place of TensorFlow's; the files are local."""
    gfile = types.SimpleNamespace(GFile=open)
    files_only = types.SimpleNamespace(
        io=types.SimpleNamespace(gfile=gfile), compat=types.SimpleNamespace(as_text=str)
    )
    saved = {module: module.tf for module in modules if hasattr(module, "tf")}
    for module in saved:
        module.tf = files_only
    try:
        yield
    finally:
        for module, tf in saved.items():
            module.tf = tf


def _encoding_images(generate: Callable[..., Any]) -> Callable[..., Iterator[tuple[Any, dict]]]:
    """Wraps a builder's ``_generate_examples`` so that image arrays become files of PNG bytes."""

    def generate_encoded(*args: Any, **kwargs: Any) -> Iterator[tuple[Any, dict]]:
        for key, example in generate(*args, **kwargs):
            image = example["image"]
            if isinstance(image, np.ndarray):
                image = io.BytesIO(png(image))
            yield key, {**example, "image": image}

    return generate_encoded


def png(image: np.ndarray) -> bytes:
    """Encodes an image of uint8 (height, width, 1 or 3 channels, RGB) as PNG."""
    reversed_channels = np.ascontiguousarray(image[..., ::-1])  # OpenCV's order is BGR
    return cv2.imencode(".png", reversed_channels)[1].tobytes()
