import sys

import pytest


@pytest.fixture(autouse=True)
def no_tensorflow():
    """Nothing here may import TensorFlow, not even where it is installed."""
    before = "tensorflow" in sys.modules
    yield
    assert ("tensorflow" in sys.modules) == before
