import doctest
import importlib
import pkgutil

import pytest

import kfc_jax

MODULES = [
    module.name for module in pkgutil.walk_packages(kfc_jax.__path__, prefix=f"{kfc_jax.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["kfc_jax.layers.linen", "kfc_jax.structures.kronecker"])
def test_modules_that_users_start_from_have_examples(name):
    assert doctest.testmod(importlib.import_module(name)).attempted >= 3
