"""The config that every run starts from. A file in `configs/` sets what its experiment changes."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict


def default_config() -> ConfigDict:
    """Returns every field of an experiment with its default.

    The data set and the model have none: a config must name them.
    """
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "",
                "data_dir": "",  # empty: TFDS's default
                "num_validation": 0,  # cut from the training images; 0: train on all
            },
            "augmentation": {
                "shift": 2,  # pixels; every training image is moved by at most that, either way
            },
            "model": {},
            "train": {
                "batch_size": 128,
                "num_epochs": 10,
                "label_smoothing": 0.0,
                "eval_batch_size": 500,
                "log_every": 100,  # steps
                "checkpoint_every_epochs": 1,
                "test_at_end": True,  # the test split is looked at once, after the last step
            },
            "optimizer": {
                "name": "adamw",  # or sgd, whose momentum is b1
                "learning_rate": 2e-3,  # the highest one
                "schedule": "cosine",  # or constant; both after a linear warm-up
                "warmup_epochs": 1.0,
                "weight_decay": 1e-4,  # not of biases and normalisation
                "b1": 0.9,
                "b2": 0.999,
                "scale_factors": True,  # kfc_jax.scale_factor_updates, with the gain below
                "factor_gain": 0.25,  # of the rule that it computes; 1: the whole rule
            },
            "compression": {
                "source": "",  # the --workdir of a finished run to start from; empty: from scratch
                "weighted": True,  # least errors of layers' outputs on its images, not of kernels
                "reordered": True,  # hidden units in the order that suits the structures best
            },
            "distillation": {
                "teacher": "",  # the --workdir of a finished run; empty: no teacher
                "weight": 0.5,  # of the teacher's classes in the loss; 1: the labels do not count
                "temperature": 2.0,
            },
        }
    )


def layer_fields(structure: str = "") -> dict[str, Any]:
    """Returns the fields of one fully connected layer.

    Args:
      structure: the text form of a sum of Kronecker products; empty: the layer is dense.
    """
    from kfc_jax.structures import DenseStructure, KroneckerStructure  # reports need no JAX

    kind = (KroneckerStructure if structure else DenseStructure).kind
    return {"kind": kind, "structure": structure, "rank": 0, "num_factors": 2, "frozen": False}
