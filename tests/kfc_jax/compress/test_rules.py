import numpy as np
import pytest

from kfc_jax import plan_compression
from kfc_jax.compress import Rank
from tests.kfc_jax.reference import message_of


def params():
    random = np.random.default_rng(0)
    layer = {"kernel": random.normal(size=(16, 24)).astype(np.float32)}
    return {
        "mlp": {"up": layer},
        "block": {"mlp": {"up": layer, "down": layer}, "attention": {"out": layer}},
        "head": layer,
    }


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("**/mlp/**", {"mlp/up", "block/mlp/up", "block/mlp/down"}),
        ("block/**", {"block/mlp/up", "block/mlp/down", "block/attention/out"}),
        ("**/up", {"mlp/up", "block/mlp/up"}),
        ("*/mlp/*", {"block/mlp/up", "block/mlp/down"}),
        ("hea?", {"head"}),
        ("*", {"mlp/up", "block/mlp/up", "block/mlp/down", "block/attention/out", "head"}),
    ],
)
def test_a_pattern_fits_folders_of_any_depth(pattern, fits):
    plan = plan_compression(params(), 1.0, structures={pattern: "rank 2", "**": "dense"})
    assert {path for path, text in plan.structures.items() if text == "rank 2"} == fits


def test_the_first_rule_that_fits_counts():
    rules = {"head": "dense", "**/attention/**": Rank(0.25), "**/up": "2:4x4*4x6", "**": "rank 1"}
    assert plan_compression(params(), 1.0, structures=rules).structures == {
        "mlp/up": "2:4x4*4x6",
        "block/mlp/up": "2:4x4*4x6",
        "block/mlp/down": "rank 1",
        "block/attention/out": "rank 2",  # 2 * (16 + 24) of 96 = 0.25 * 16 * 24 at most
        "head": "dense",
    }


def test_rules_that_fit_nothing_or_say_nothing_are_refused():
    message = message_of(plan_compression, params(), 1.0, structures={"**/mpl/**": "rank 1"})
    assert "No dense layer matches '**/mpl/**'; the dense layers are" in message
    message = message_of(plan_compression, params(), 1.0, structures={"haed": "rank 1"})
    assert "no dense layer 'haed'" in message
    assert "Rank(2)" in message_of(Rank, 2)
