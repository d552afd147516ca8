"""What a run predicted for every test image, packed: a few kilobytes a run.

Errors alone tell how many images two models miss; which ones they miss tells how sure a difference
is. Images are in the order of the data set, which a digest of its labels stands for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from experiments.system import write_file

FILE = "predictions.npz"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one model for one set of images.

    Attributes:
      predicted: the class of the highest logit, of the smallest type that holds all classes.
      is_correct: whether it is the label.
      probability: of the label, in 255ths.
      labels: a digest of all labels, the same for two models that saw the same images in the same
        order.
    """

    predicted: UInt[np.ndarray, " images"]
    is_correct: Bool[np.ndarray, " images"]
    probability: UInt[np.ndarray, " images"]
    labels: str

    @classmethod
    def of(
        cls,
        labels: Int[np.ndarray, " images"],
        predicted: Int[np.ndarray, " images"],
        probability: Float[np.ndarray, " images"],
    ) -> Predictions:
        """Returns predictions, rounded.

        Args:
          labels: the true classes.
          predicted: the predicted ones.
          probability: of the true ones, from 0 to 1.
        """
        small = np.min_scalar_type(int(max(labels.max(initial=0), predicted.max(initial=0))))
        digest = hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()
        rounded = np.round(255 * probability).astype(np.uint8)
        return cls(predicted.astype(small), predicted == labels, rounded, digest)

    @property
    def errors(self) -> int:
        """How many images are wrong."""
        return int(np.sum(~self.is_correct))


def pack(predictions: Mapping[str, Predictions]) -> bytes:
    """Returns predictions by any names as one file; the same always gives the same bytes."""
    arrays: dict[str, Any] = {}
    for name, its in predictions.items():
        arrays[f"{name}:predicted"] = its.predicted
        arrays[f"{name}:is_correct"] = np.packbits(its.is_correct)
        arrays[f"{name}:probability"] = its.probability
        arrays[f"{name}:labels"] = np.frombuffer(bytes.fromhex(its.labels), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write(path: Path, predictions: Mapping[str, Predictions]) -> None:
    """Writes predictions by name, all of the file or nothing."""
    write_file(path, pack(predictions))


def read(path: Path) -> dict[str, Predictions]:
    """Returns the predictions of a file by name; none where there is no file.

    Raises:
      ValueError: naming the file, if it is damaged.
    """
    found = {}
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            for name in dict.fromkeys(key.rpartition(":")[0] for key in file.files):
                predicted, probability = (file[f"{name}:{p}"] for p in ("predicted", "probability"))
                is_correct = np.unpackbits(file[f"{name}:is_correct"], count=len(predicted))
                labels = file[f"{name}:labels"].tobytes().hex()
                found[name] = Predictions(predicted, is_correct.astype(bool), probability, labels)
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} is damaged ({str(error).splitlines()[0] if str(error) else error!r}); delete "
            "it to go on without these predictions."
        ) from error
    return found
