"""Street View House Numbers, 32x32 colour: 73,257 training and 26,032 test digits, from TFDS.

The set has 531,131 further training digits, somewhat easier ones, called ``extra``. All three files
are downloaded; the variant ``svhn_cropped/extra`` trains on both. For non-commercial use.
"""

from experiments.data.image_set import DataSet
from experiments.data.tfds import load_tfds

_WITHOUT_NETWORK = (
    "use --config.data.name=svhn_synthetic, drawn digits that need no download "
    "(results on them are not SVHN results)"
)


def load(data_dir: str | None = None, variant: str = "") -> DataSet:
    """Reads SVHN, downloading and preparing it first where that was not done yet.

    Args:
      data_dir: see `load_tfds`.
      variant: ``extra`` to train on the splits ``train`` and ``extra``; empty: on ``train``.

    Raises:
      FileNotFoundError: it is not prepared, and cannot be downloaded.
      ValueError: the variant is unknown, or the prepared files cannot be read.
    """
    if variant not in ("", "extra"):
        raise ValueError(
            f"data set 'svhn_cropped' has no variant {variant!r}: use svhn_cropped or "
            "svhn_cropped/extra"
        )
    train = "train+extra" if variant else "train"
    return load_tfds("svhn_cropped", data_dir, train=train, alternative=_WITHOUT_NETWORK)
