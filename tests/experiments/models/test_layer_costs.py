import pytest
from flax import linen as nn

from configs import mnist
from experiments.models import make_model
from experiments.models.layer_costs import cost_table, costs_of_layers, totals
from kfc_jax import KFCDense

CONV1 = 2 * 24 * 24 * 20 * 25  # positions x features x patch
CONV2 = 2 * 8 * 8 * 50 * 25 * 20


def costs_of(**fc1):
    config = mnist.get_config().model
    config.fc1.update(fc1)
    return costs_of_layers(make_model(config), config.image_shape)


def test_dense_costs_match_a_hand_count():
    costs = costs_of(kind="dense")
    assert [c.name for c in costs] == ["conv1", "conv2", "fc1", "fc2"]
    assert [c.kind for c in costs] == ["conv", "conv", "dense", "dense"]
    assert [c.parameters for c in costs] == [500, 25_000, 400_000, 5_000]
    assert [c.bias_parameters for c in costs] == [20, 50, 500, 10]
    assert [c.flops for c in costs] == [CONV1, CONV2, 800_000, 10_000]
    assert [c.reduction for c in costs] == [0, 0, 0, 0]
    assert totals(costs)["parameters"] == totals(costs)["dense_parameters"] == 431_080


def test_kfc_costs_match_a_hand_count():
    costs = costs_of(structure="2:16x20*50x25")
    fc1 = costs[2]
    assert (fc1.kind, fc1.structure) == ("kfc", "2:16x20*50x25")
    assert fc1.parameters == 2 * (16 * 20 + 50 * 25)
    # The second factor first (16 rows of 50 to 25), then the first (25 columns of 16 to 20).
    assert fc1.flops == 2 * (2 * 16 * 50 * 25 + 2 * 25 * 16 * 20)
    assert (fc1.dense_parameters, fc1.dense_flops) == (400_000, 800_000)
    assert fc1.reduction == pytest.approx(1 - 3140 / 400_000)
    total = totals(costs)
    assert total["parameters"] == 431_080 - 400_000 + 3_140
    assert total["reduction"] == pytest.approx(1 - 34_220 / 431_080)
    assert total["dense_flops_per_example"] == CONV1 + CONV2 + 810_000


def test_low_rank_costs_match_a_hand_count():
    fc1 = costs_of(kind="low_rank", rank=3)[2]
    assert (fc1.kind, fc1.structure) == ("low_rank", "rank 3")
    assert fc1.parameters == 3 * (800 + 500)
    assert fc1.flops == 2 * 3 * (800 + 500)
    assert (fc1.dense_parameters, fc1.bias_parameters) == (400_000, 500)


def test_block_diagonal_costs_match_a_hand_count():
    fc1 = costs_of(kind="block_diagonal", structure="blocks 100 interleaved")[2]
    assert (fc1.kind, fc1.structure) == ("block_diagonal", "blocks 100 interleaved")
    assert (fc1.parameters, fc1.flops, fc1.bias_parameters) == (100 * 8 * 5, 2 * 100 * 8 * 5, 500)
    assert (fc1.dense_parameters, fc1.reduction) == (400_000, 0.99)


def test_a_layer_that_is_left_out_is_listed_and_costs_nothing():
    costs = costs_of(kind="none")
    assert [c.name for c in costs] == ["conv1", "conv2", "fc1", "fc2"]
    fc1 = costs[2].as_dict()
    assert (fc1["kind"], fc1["structure"]) == ("none", "none")
    assert not any(fc1[name] for name in fc1.keys() - {"name", "kind", "structure"})
    assert costs[3].parameters == 8_000
    assert totals(costs)["parameters"] == 500 + 20 + 25_000 + 50 + 8_000 + 10
    assert totals(costs)["flops_per_example"] == CONV1 + CONV2 + 16_000


def test_a_frozen_layer_counts_among_all_parameters_and_not_among_the_trained():
    costs = costs_of(kind="dense", frozen=True)
    assert [cost.frozen for cost in costs] == [False, False, True, False]
    assert totals(costs)["parameters"] == 431_080
    assert totals(costs)["trained_parameters"] == 431_080 - 400_500
    assert totals(costs_of())["trained_parameters"] == totals(costs_of())["parameters"] == 34_220
    table = cost_table(costs)
    assert "431,080 parameters, biases included, 30,580 of them trained (431,080" in table
    assert "fc1    dense, frozen  800x500" in table
    assert "frozen" not in cost_table(costs_of())
    assert "trained" not in cost_table(costs_of())


def test_padding_counts_as_parameters():
    fc1 = costs_of(structure="1:27x20*30x25")[2]  # 810 rows for 800 inputs
    assert fc1.structure == "1:27x20*30x25@800x500"
    assert fc1.parameters == 27 * 20 + 30 * 25
    assert fc1.dense_parameters == 400_000


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(6, name="dense")(x))


class Unusual(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.BatchNorm(use_running_average=True, name="norm")(images)
        x = Inner(name="inner")(x)  # at every position
        shared = KFCDense(6, structure="1:2x3*3x2", use_bias=False, name="shared")
        return shared(shared(x.mean((1, 2))))


def test_layers_of_any_sort_and_depth_are_counted():
    norm, inner, shared = costs_of_layers(Unusual(), (4, 5, 3))
    assert (norm.name, norm.kind, norm.parameters, norm.bias_parameters) == (
        "norm",
        "BatchNorm",
        0,
        6,
    )
    assert (norm.flops, norm.reduction) == (0, 0)
    assert inner.name == "inner/dense"
    assert inner.flops == 4 * 5 * 2 * 3 * 6
    assert shared.parameters == 12
    assert shared.dense_flops == 2 * (2 * 6 * 6), "a layer that is called twice computes twice"


def test_a_layer_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="layer fc1: Structure '8:28x32\\*28x32' gives"):
        costs_of(structure="8:28x32*28x32")


def test_the_table_shows_every_layer_and_the_whole_model():
    table = cost_table(costs_of())
    fc1 = next(line for line in table.splitlines() if line.startswith("fc1"))
    assert fc1.split() == [
        "fc1", "kfc", "2:16x20*50x25", "3,140", "400,000", "99.22%", "500", "112,000",
    ]  # fmt: skip
    assert "34,220 parameters" in table
    assert "reduction of 92.06%" in table
