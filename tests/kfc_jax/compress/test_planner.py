import itertools
import json
from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfc_jax import (
    Budget,
    CompressionPlan,
    InputStatistics,
    KroneckerStructure,
    convert,
    input_statistics,
    materialize,
    plan_compression,
    to_dense,
)
from kfc_jax.compress.allocation import Front, least_cost, least_error
from kfc_jax.compress.model_layers import dense_layers
from kfc_jax.compress.plan import LayerPlan
from tests.kfc_jax.reference import dense_kernel, message_of, random_factors


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def kronecker_kernel(text, seed=0, noise=0.0):
    structure = KroneckerStructure.parse(text)
    kernel = dense_kernel(structure, random_factors(structure, seed))
    return (kernel + noise * kernel.std() * normal(*kernel.shape, seed=seed + 1)).astype(np.float32)


def model_params(noise=0.1):
    """A convolution, and two dense layers, one near a Kronecker sum, the other near low rank."""
    low = normal(20, 2) @ normal(2, 12, seed=1) + noise * normal(20, 12, seed=2)
    return {
        "conv": {"kernel": np.ones((3, 3, 2, 4), np.float32), "bias": np.zeros(4, np.float32)},
        "block": {
            "fc1": {
                "kernel": kronecker_kernel("2:6x4*4x5", noise=noise),
                "bias": np.ones(20, np.float32),
            }
        },
        "fc2": {"kernel": low.astype(np.float32), "bias": np.zeros(12, np.float32)},
    }


TOTAL, KERNELS = 3 * 3 * 2 * 4 + 4 + 20 + 12 + 480 + 240, 480 + 240


def error_by_svd(kernel, structure):
    """The least relative error of a layer's structure, from full decompositions."""
    if structure == "dense":
        return 0.0
    if structure.startswith("rank"):
        matrix, rank = kernel, int(structure.split()[1])
    else:
        (term,) = KroneckerStructure.parse(structure).terms
        (n1, m1), (n2, m2) = term.shapes
        matrix = kernel.reshape(n1, n2, m1, m2).transpose(0, 2, 1, 3).reshape(n1 * m1, n2 * m2)
        rank = term.rank
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    return np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())


def all_options(kernel):
    """Every structure of a kernel, as (parameters, error, text), by brute force."""
    n, m = kernel.shape
    yield n * m, 0.0, "dense"
    for rank in range(1, min(n, m) + 1):
        yield rank * (n + m), error_by_svd(kernel, f"rank {rank}"), f"rank {rank}"
    for candidate in KroneckerStructure.candidates(n, m):
        (term,) = candidate.terms
        for rank in range(1, term.max_rank + 1):
            text = str(KroneckerStructure((type(term)(term.shapes, rank),), n, m))
            if rank * term.factored_flops(1) < 2 * n * m > 2 * rank * term.num_parameters:
                yield rank * term.num_parameters, error_by_svd(kernel, text), text


@pytest.fixture(scope="module")
def params():
    return model_params()


# ------------------------------------------------------------------------------------- planning


@pytest.mark.parametrize("budget", [0.3, 0.45, 0.7])
def test_the_plan_is_the_best_choice_of_all(params, budget):
    options = [list(all_options(params["block"]["fc1"]["kernel"]))]
    options += [list(all_options(params["fc2"]["kernel"]))]
    limit = int(budget * TOTAL) - (TOTAL - KERNELS)
    least = min(
        a[1] ** 2 + b[1] ** 2 for a, b in itertools.product(*options) if a[0] + b[0] <= limit
    )
    plan = plan_compression(params, budget)
    assert plan.error == pytest.approx(np.sqrt(least), rel=1e-4, abs=1e-6)


def test_it_finds_what_the_layers_are_made_of():
    plan = plan_compression(model_params(noise=0.0), Budget.error(1e-3))
    assert plan.structures == {"block/fc1": "2:6x4*4x5", "fc2": "rank 2"}
    assert plan.error < 1e-5


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_no_plan_is_above_its_budget_and_each_is_repeatable(data):
    params = model_params()
    kind = data.draw(st.sampled_from(["parameters", "flops"]))
    method = data.draw(st.sampled_from(["auto", "kfc", "low_rank"]))
    dense = TOTAL if kind == "parameters" else 2 * KERNELS
    value = data.draw(st.integers(dense // 4, dense) | st.floats(0.25, 1.0))
    plan = plan_compression(params, Budget(kind, value), method=method)
    spent = plan.parameters if kind == "parameters" else plan.flops
    # As the decimal that one reads: in floats 0.7 * 1440 is 1007.999...
    assert spent <= (value if isinstance(value, int) else Fraction(repr(value)) * dense)
    assert {layer.method for layer in plan.layers} <= {"dense", *_methods(method)}
    assert plan_compression(params, Budget(kind, value), method=method) == plan


def _methods(method):
    return ("kfc", "low_rank") if method == "auto" else (method,)


def test_more_budget_never_gives_more_error(params):
    errors = [plan_compression(params, fraction).error for fraction in np.linspace(0.25, 1, 10)]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(errors))
    assert errors[-1] == 0


def test_an_error_bound_is_kept_by_the_fewest_parameters(params):
    plan = plan_compression(params, Budget.error(0.3))
    assert plan.error <= 0.3
    options = [list(all_options(params["block"]["fc1"]["kernel"]))]
    options += [list(all_options(params["fc2"]["kernel"]))]
    fewest = min(
        a[0] + b[0] for a, b in itertools.product(*options) if a[1] ** 2 + b[1] ** 2 <= 0.09
    )
    assert plan.parameters - plan.other_parameters == fewest


def test_plans_count_what_the_converted_model_has(params):
    plan = plan_compression(params, 0.5)
    new, _ = convert(params, plan)
    assert plan.parameters == sum(leaf.size for leaf in jax.tree.leaves(new))
    assert plan.dense_parameters == TOTAL
    assert plan.other_parameters == TOTAL - KERNELS


def test_layers_can_be_left_out_and_fixed_by_hand(params):
    for choice in ({"exclude": ["block/*"]}, {"include": ["fc2"]}):
        plan = plan_compression(params, 0.8, **choice)
        assert plan.structures["block/fc1"] == "dense"
        assert plan.layers[1].method != "dense"
    mixed = "1:6x4*4x5+1:4x5*6x4"
    plan = plan_compression(params, 0.6, structures={"block/fc1": mixed, "fc2": "rank 3"})
    assert plan.structures == {"block/fc1": mixed, "fc2": "rank 3"}
    low = error_by_svd(params["fc2"]["kernel"], "rank 3")
    assert plan.layers[1].relative_error == pytest.approx(low, rel=1e-4)


def test_space_by_channels_is_found_among_padded_and_prime_sizes():
    # 4 positions x 7 channels, as a flattened feature map; then a kernel with a prime side.
    kernel = kronecker_kernel("1:4x3*7x5")
    plan = plan_compression({"fc": {"kernel": kernel}}, Budget.error(1e-3), method="kfc")
    assert plan.structures == {"fc": "1:4x3*7x5"}
    prime = {"fc": {"kernel": normal(29, 23).astype(np.float32)}}
    plan = plan_compression(prime, 0.4, method="kfc")
    assert "@29x23" in plan.structures["fc"]
    assert plan.parameters <= 0.4 * 29 * 23
    new, reports = convert(prime, plan)
    back = to_dense(new, plan)["fc"]["kernel"]
    error = np.linalg.norm(back - prime["fc"]["kernel"]) / np.linalg.norm(prime["fc"]["kernel"])
    assert error == pytest.approx(plan.error, rel=1e-4)
    assert reports["fc"].relative_error == pytest.approx(plan.error, rel=1e-6)


def test_bottlenecks_are_left_out_where_the_matrix_rank_counts():
    kernel = (normal(24, 2) @ normal(2, 20, seed=1) + 0.1 * normal(24, 20, seed=2)).astype("f4")
    params = {"fc": {"kernel": kernel}}
    assert plan_compression(params, 0.2).structures == {"fc": "rank 2"}
    (layer,) = plan_compression(params, 0.2, min_matrix_rank=0.5).layers
    (term,) = layer.kernel.terms
    assert layer.rank * np.prod([min(shape) for shape in term.shapes]) >= 10
    new, _ = convert(params, {"fc": layer.structure})
    assert np.linalg.matrix_rank(to_dense(new, {"fc": layer.structure})["fc"]["kernel"]) >= 10


def test_a_large_kernel_is_planned_from_estimates_that_are_bounds(monkeypatch):
    import kfc_jax.compress.options as options

    kernel = kronecker_kernel("3:8x6*7x8", noise=0.3)
    params = {"fc": {"kernel": kernel}}
    exact = plan_compression(params, 0.3)
    monkeypatch.setattr(options, "_LARGE", 0)
    monkeypatch.setattr("kfc_jax.decompose.spectra._GRAM_SIDE", 4)
    large = plan_compression(params, 0.3)
    assert large.parameters <= 0.3 * kernel.size
    # The errors of the final choice are true ones; the choice is at most a little worse.
    assert large.error == pytest.approx(error_by_svd(kernel, large.structures["fc"]), rel=1e-4)
    assert exact.error <= large.error <= 1.05 * exact.error


def test_a_zero_kernel_and_one_of_low_rank_cost_next_to_nothing():
    zero = {"fc": {"kernel": np.zeros((12, 10), np.float32), "bias": np.ones(10, np.float32)}}
    plan = plan_compression(zero, 40)
    assert plan.error == 0
    new, _ = convert(zero, plan)
    assert not np.any(to_dense(new, plan)["fc"]["kernel"])
    ones = {"fc": {"kernel": np.ones((12, 10), np.float32)}}
    assert plan_compression(ones, Budget.error(1e-4)).parameters <= 22


# ------------------------------------------------------------------------------- with statistics


def correlated_inputs(size, count=400, seed=3):
    """Inputs of a large mean, whose variance lies in few directions that are mixed."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((size, size)) * np.geomspace(1, 0.02, size)
    return (rng.standard_normal((count, size)) @ mix.T + 2 * rng.standard_normal(size)).astype("f4")


@pytest.fixture(scope="module")
def seen(params):
    return {
        "block/fc1": InputStatistics.of(correlated_inputs(24)),
        "fc2": InputStatistics.of(correlated_inputs(20)),
    }


def test_weights_lower_the_errors_of_the_outputs(params, seen):
    x = correlated_inputs(24).astype(np.float64)
    layer = params["block"]["fc1"]
    outputs = x @ layer["kernel"] + layer["bias"]

    def output_error(statistics):
        plan = plan_compression(params, 0.6, statistics=statistics, exclude=["fc2"])
        new, reports = convert(params, plan, statistics=statistics)
        dense = to_dense(new, plan)["block"]["fc1"]
        difference = x @ np.asarray(dense["kernel"], np.float64) + dense["bias"] - outputs
        spread = np.linalg.norm(outputs - outputs.mean(0))
        return np.linalg.norm(difference) / spread, reports["block/fc1"], plan.layers[0]

    plain, _, _ = output_error(None)
    weighted, report, layer_plan = output_error(seen)
    assert weighted < 0.7 * plain
    # The bias takes over the mean, so what is left is the error that plan and report tell.
    assert report.output_error == pytest.approx(weighted, rel=1e-3)
    assert layer_plan.output_error == pytest.approx(weighted, rel=1e-3)


def test_the_bias_takes_over_the_mean(params, seen):
    new, _ = convert(params, {"fc2": "rank 1"}, statistics=seen)
    x = correlated_inputs(20).astype(np.float64)
    dense = to_dense(new, {"fc2": "rank 1"})["fc2"]
    difference = x @ (np.asarray(dense["kernel"], np.float64) - params["fc2"]["kernel"])
    difference += dense["bias"] - params["fc2"]["bias"]
    np.testing.assert_allclose(difference.mean(0), 0, atol=1e-4 * np.abs(x).max())
    assert np.abs(difference).max() > 0.01


def test_without_a_bias_or_a_mean_the_whole_output_counts():
    kernel, x = normal(12, 8).astype(np.float32), correlated_inputs(12)
    params = {"fc": {"kernel": kernel}}
    _, reports = convert(params, {"fc": "rank 2"}, statistics={"fc": InputStatistics.of(x)})
    values = np.linalg.svd(x.astype(np.float64) @ kernel, compute_uv=False)
    least = np.sqrt((values[2:] ** 2).sum() / (values**2).sum())
    assert reports["fc"].output_error == pytest.approx(least, rel=1e-3)


def test_plans_with_statistics_keep_the_budget_and_beat_plans_without(params, seen):
    def output_error(plan):
        _, reports = convert(params, plan, statistics=seen)
        return np.sqrt(sum(report.output_error**2 for report in reports.values()))

    for budget in (0.35, 0.5):
        plan = plan_compression(params, budget, statistics=seen)
        assert plan.parameters <= budget * TOTAL
        assert plan == plan_compression(params, budget, statistics=seen)
        assert output_error(plan) == pytest.approx(plan.error, rel=1e-3)
        assert output_error(plan) <= output_error(plan_compression(params, budget)) * 1.001


def test_constant_inputs_are_no_obstacle():
    params = {"fc": {"kernel": normal(6, 4).astype("f4"), "bias": np.zeros(4, np.float32)}}
    statistics = {"fc": InputStatistics.of(np.ones((5, 6), np.float32))}
    plan = plan_compression(params, 0.8, statistics=statistics)
    new, _ = convert(params, plan, statistics=statistics)
    dense = to_dense(new, plan)["fc"]
    x = np.ones((1, 6))
    expected = x @ params["fc"]["kernel"]
    np.testing.assert_allclose(x @ dense["kernel"] + dense["bias"], expected, atol=1e-5)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, scale=1.0):
        x = nn.relu(nn.Dense(7, name="first")(x * scale))
        shared = nn.Dense(7, name="shared")
        return nn.Dense(3, name="last")(shared(nn.relu(shared(x))))


def test_statistics_of_a_model_are_those_of_what_its_layers_see():
    model, x = Net(), normal(10, 5).astype(np.float32)
    variables = model.init(jax.random.key(0), x)
    found = input_statistics(model, variables, [x[:6], x[6:]], scale=2.0)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    first = 2.0 * x.astype(np.float64)
    shared_1 = np.maximum(first @ p["first"]["kernel"] + p["first"]["bias"], 0)
    shared_2 = np.maximum(shared_1 @ p["shared"]["kernel"] + p["shared"]["bias"], 0)
    last = shared_2 @ p["shared"]["kernel"] + p["shared"]["bias"]
    seen = {"first": first, "shared": np.concatenate([shared_1, shared_2]), "last": last}
    assert found.keys() == seen.keys()
    for path, inputs in seen.items():
        moment = inputs.T @ inputs / len(inputs)
        np.testing.assert_allclose(found[path].second_moment, moment, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[path].mean, inputs.mean(0), rtol=1e-4, atol=1e-6)
    assert input_statistics(model, variables, [x], layers=["last"]).keys() == {"last"}
    assert "'Last' was called" in message_of(
        input_statistics, model, variables, [x], layers=["Last"]
    )
    assert "at least one batch" in message_of(input_statistics, model, variables, [])
    bad = np.where(x > 1, np.nan, x)
    assert "layer first" in message_of(input_statistics, model, variables, [bad])


class Wrapped(nn.Module):
    """Its layers are called inside transformed functions, by keyword and far from 0."""

    @nn.compact
    def __call__(self, x):
        x = nn.remat(nn.Dense)(12, name="again")(x)
        return nn.jit(nn.Dense)(5, name="jitted")(inputs=x)


def test_statistics_are_found_inside_transformations():
    model, x = Wrapped(), normal(10, 6).astype(np.float32)
    variables = model.init(jax.random.key(0), x)
    found = input_statistics(model, variables, [x[:3], x[3:3], x[3:]])
    np.testing.assert_allclose(found["again"].mean, x.mean(0), rtol=1e-4)
    assert found["jitted"].second_moment.shape == (12, 12)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_the_covariance_of_inputs_far_from_0_is_known(offset):
    x = (normal(200, 4) @ normal(4, 4) + offset * np.arange(4)).astype(np.float32)
    model = nn.Sequential([nn.Dense(6)])
    variables = model.init(jax.random.key(0), x)
    found = input_statistics(model, variables, [x[:50], x[50:], x[:1]])["layers_0"]
    exact = np.cov(np.concatenate([x, x[:1]]).astype(np.float64).T, bias=True)
    np.testing.assert_allclose(found.centred().second_moment, exact, rtol=1e-3, atol=2e-4)
    params = convert(variables["params"], {"layers_0": "1:2x2*2x3"}, statistics={"layers_0": found})
    assert np.isfinite(params[0]["layers_0"]["bias"]).all()


def test_other_collections_may_change_while_statistics_are_found():
    model = nn.Sequential([nn.Dense(4), nn.BatchNorm(use_running_average=False)])
    x = normal(6, 3).astype(np.float32)
    variables = model.init(jax.random.key(0), x)
    found = input_statistics(model, variables, [x], mutable=["batch_stats"])
    assert found.keys() == {"layers_0"}


# ------------------------------------------------------------------------------------ converting


def test_a_plan_made_with_statistics_is_not_converted_without(params):
    statistics = {
        path: InputStatistics.of(normal(50, layer.kernel.shape[0]))
        for path, layer in dense_layers(params).items()
    }
    plan = plan_compression(params, 0.8, statistics=statistics)
    assert "give statistics=" in message_of(convert, params, plan)
    convert(params, plan.structures)  # who wants it so says so


def test_variables_in_place_of_parameters_are_refused(params):
    for function, wanted in ((plan_compression, 0.5), (convert, {"fc": "rank 1"})):
        assert 'give variables["params"]' in message_of(function, {"params": params}, wanted)


def test_a_padded_layer_is_made_dense_only_with_its_size():
    params = {"fc": {"kernel": normal(12, 11), "bias": np.zeros(11)}}
    new, _ = convert(params, {"fc": "2:3x3*4x4"})
    assert "'2:3x3*4x4@12x11'" in message_of(to_dense, new, {"fc": "2:3x3*4x4"})
    assert to_dense(new, {"fc": "2:3x3*4x4@12x11"})["fc"]["kernel"].shape == (12, 11)


def test_convert_and_back_is_materialize_bit_for_bit(params):
    structures = {"block/fc1": "2:6x4*4x5+1:4x5*6x4", "fc2": "rank 3"}
    new, reports = convert(params, structures)
    assert reports.keys() == structures.keys()
    fc1, fc2 = new["block"]["fc1"], new["fc2"]
    assert fc1.keys() == {"kernel_0_0", "kernel_0_1", "kernel_1_0", "kernel_1_1", "bias"}
    assert fc2.keys() == {"kernel_u", "kernel_v", "bias"}
    assert new["conv"]["kernel"] is params["conv"]["kernel"]
    assert fc1["bias"] is params["block"]["fc1"]["bias"]
    dense = to_dense(new, structures)
    factors = [[fc1[f"kernel_{t}_{k}"] for k in range(2)] for t in range(2)]
    np.testing.assert_array_equal(dense["block"]["fc1"]["kernel"], materialize(factors))
    by_hand = dense_kernel(KroneckerStructure.parse(structures["block/fc1"]), factors)
    np.testing.assert_allclose(dense["block"]["fc1"]["kernel"], by_hand, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dense["fc2"]["kernel"], fc2["kernel_u"] @ fc2["kernel_v"], atol=1e-5)
    for again in (to_dense(new, structures), to_dense(convert(params, structures)[0], structures)):
        jax.tree.map(np.testing.assert_array_equal, dense, again)
    assert jax.tree.structure(dense) == jax.tree.structure(params)


def test_bfloat16_stays_bfloat16():
    kernel = jnp.asarray(kronecker_kernel("1:4x3*7x5"), jnp.bfloat16)
    params = {"fc": {"kernel": kernel, "bias": jnp.zeros(15, jnp.bfloat16)}}
    plan = plan_compression(params, 0.2, method="kfc")
    statistics = {"fc": InputStatistics.of(correlated_inputs(28))}
    new, _ = convert(params, plan, statistics=statistics)
    dense = to_dense(new, plan)
    assert {leaf.dtype for leaf in jax.tree.leaves((new, dense))} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(
        np.asarray(dense["fc"]["kernel"], np.float32), np.asarray(kernel, np.float32), atol=0.05
    )


def test_modules_that_are_no_dense_layers_are_left_alone():
    params = {
        "attention": {"kernel": np.ones((4, 2, 3), np.float32), "bias": np.ones(3, np.float32)},
        "gated": {"kernel": np.ones((8, 8), np.float32), "scale": np.ones(8, np.float32)},
        "embed": {"embedding": np.ones((9, 4), np.float32)},
        "fc": {"kernel": np.ones((8, 6), np.float32)},
    }
    plan = plan_compression(params, 0.9)
    assert list(plan.structures) == ["fc"]
    assert plan.other_parameters == 27 + 72 + 36


# ------------------------------------------------------------------------------------ bad input


def test_budgets_that_cannot_be_met_say_which_can(params):
    message = message_of(plan_compression, params, 0.01)
    assert "The budget 0.01 allows 8 parameters" in message
    least = int(message.split("fewer than ")[1].split()[0].replace(",", ""))
    assert plan_compression(params, least).parameters == least
    assert f"fewer than {least}" in message_of(plan_compression, params, least - 1)


def test_an_error_that_fixed_structures_exceed_is_told(params):
    message = message_of(plan_compression, params, Budget.error(1e-3), structures={"fc2": "rank 1"})
    least = error_by_svd(params["fc2"]["kernel"], "rank 1")
    assert f"within 0.001; the least is {least:.3g}"[:-1] in message


def test_plans_that_do_not_settle_take_what_was_measured(params, seen, monkeypatch):
    import kfc_jax.compress.planner as compression

    monkeypatch.setattr(compression, "_MAX_ROUNDS", 1)
    plan = plan_compression(params, 0.5, statistics=seen)
    assert plan.parameters <= 0.5 * TOTAL
    _, reports = convert(params, plan, statistics=seen)
    for layer in plan.layers:
        if layer.method != "dense":
            assert layer.error == pytest.approx(reports[layer.path].output_error, rel=1e-6)


def test_bad_arguments_are_named(params, seen):
    nan = model_params()
    nan["fc2"]["kernel"][3, 4] = np.nan
    for call in (lambda: plan_compression(nan, 0.5), lambda: convert(nan, {"fc2": "rank 1"})):
        assert "kernel of layer 'fc2' has numbers that are NaN" in message_of(call)
    assert "no dense layer 'fc3'" in message_of(convert, params, {"fc3": "dense"})
    assert "No dense layer matches 'head*'" in message_of(
        plan_compression, params, 0.5, exclude=["head*"]
    )
    assert "method is 'svd'" in message_of(plan_compression, params, 0.5, method="svd")
    assert "no statistics of layer 'fc2'" in message_of(
        plan_compression, params, 0.5, statistics={"block/fc1": seen["block/fc1"]}
    )
    wrong = {"fc2": seen["block/fc1"]}
    assert "are of 24 inputs" in message_of(convert, params, {"fc2": "rank 1"}, statistics=wrong)
    assert "layer fc2: Structure '1:5x5*5x5'" in message_of(convert, params, {"fc2": "1:5x5*5x5"})
    assert "Rank 13 is out of range" in message_of(convert, params, {"fc2": "rank 13"})
    assert "Or write 'blocks 4' (block_diagonal) or" in message_of(convert, params, {"fc2": "thin"})
    new, _ = convert(params, {"fc2": "rank 1"})
    assert "not those of '1:4x3*5x4'" in message_of(to_dense, new, {"fc2": "1:4x3*5x4"})
    assert "no layer 'fc9'" in message_of(to_dense, new, {"fc9": "rank 1"})
    for fraction in (-0.1, 1.5):
        assert "min_matrix_rank is" in message_of(
            plan_compression, params, 0.5, min_matrix_rank=fraction
        )


# ----------------------------------------------------------------- budgets, plans and allocations


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("0.08", Budget.parameters(0.08)),
        ("34000", Budget.parameters(34_000)),
        ("flops:0.5", Budget.flops(0.5)),
        ("flops:500000", Budget.flops(500_000)),
        ("error:0.1", Budget.error(0.1)),
    ],
)
def test_budgets_and_their_texts(text, budget):
    assert Budget.parse(text) == budget
    assert str(budget) == text


def test_fractions_are_taken_as_they_are_written():
    assert Budget.parameters(0.29).limit(100) == 29  # 0.29 * 100 is 28.999... in floats
    assert Budget.parameters(0.1).limit(30) == 3
    assert Budget.parameters(1.0).limit(30) == 30
    assert Budget.parameters(7).limit(30) == 7


@pytest.mark.parametrize(
    "text", ["", "8%", "0", "-3", "1.5", "nan", "flops:0", "memory:3", "error:0", "error:inf"]
)
def test_bad_budgets_are_refused(text):
    assert "udget" in message_of(Budget.parse, text)


def test_plans_survive_json_and_print_all_that_counts(params, seen):
    for statistics in (None, seen):
        plan = plan_compression(params, 0.5, statistics=statistics)
        assert CompressionPlan.from_json(plan.to_json()) == plan
        assert CompressionPlan.from_json(json.dumps(json.loads(plan.to_json()))) == plan
        text = str(plan)
        for layer in plan.layers:
            row = next(line for line in text.splitlines() if line.startswith(layer.path))
            assert layer.structure in row
            assert f"{layer.parameters:,}" in row
            assert f"{layer.error:.4f}" in row
        assert f"{plan.parameters:,} parameters of {TOTAL:,}" in text
    assert "not the JSON" in message_of(CompressionPlan.from_json, "{}")
    assert "not the JSON" in message_of(CompressionPlan.from_json, '{"layers": [{"a": 1}]}')


def test_the_kernel_is_formed_from_the_smallest_batch_at_which_it_needs_fewer_flops():
    layer = LayerPlan("fc", 64, 64, "20:8x8*8x8")
    batch = layer.form_kernel_from_batch
    assert any(layer.kernel.materialized_terms(batch))
    assert not any(layer.kernel.materialized_terms(batch - 1))
    for structure in ("dense", "rank 2", "1:8x8*8x8"):
        assert LayerPlan("fc", 64, 64, structure).form_kernel_from_batch is None


fronts = st.lists(
    st.lists(st.tuples(st.integers(1, 20), st.floats(0, 10)), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(fronts, st.integers(1, 60), st.floats(0.1, 5))
def test_allocations_are_the_best_of_all_combinations(options, limit, bound):
    made = [Front.of(*zip(*layer, strict=True)) for layer in options]
    combined = [
        (sum(cost for cost, _ in picks), sum(square for _, square in picks))
        for picks in itertools.product(*options)
    ]
    within = [square for cost, square in combined if cost <= limit]
    if within:
        picks = [layer[i] for layer, i in zip(options, least_error(made, limit), strict=True)]
        assert sum(cost for cost, _ in picks) <= limit
        assert sum(square for _, square in picks) == pytest.approx(min(within), abs=1e-12)
    else:
        assert "within" in message_of(least_error, made, limit)
    # Bounds that a sum of floats does not just meet.
    if min(square for _, square in combined) < bound**2 * (1 - 1e-9):
        picks = [layer[i] for layer, i in zip(options, least_cost(made, bound), strict=True)]
        fewest = min(cost for cost, square in combined if square <= bound**2)
        assert sum(square for _, square in picks) <= bound**2 * (1 + 1e-12)
        assert sum(cost for cost, _ in picks) == pytest.approx(fewest, abs=0)


def test_many_layers_are_shared_out_within_the_budget(monkeypatch):
    import kfc_jax.compress.allocation as allocation

    rng = np.random.default_rng(0)
    options = [
        Front.of(np.arange(1, 41), np.sort(rng.exponential(size=40))[::-1]) for _ in range(12)
    ]
    exact = least_error(options, 150)
    monkeypatch.setattr(allocation, "_MAX_PAIRS", 40 * 60)
    thinned = least_error(options, 150)

    def total(chosen):
        pairs = [(f.costs, f.squares) for f in options]
        picked = [
            (c[c.tolist().index(i + 1)], s[c.tolist().index(i + 1)])
            for (c, s), i in zip(pairs, chosen, strict=True)
        ]
        return sum(c for c, _ in picked), sum(s for _, s in picked)

    assert total(thinned)[0] <= 150
    assert total(exact)[1] <= total(thinned)[1] <= 1.2 * total(exact)[1]
    monkeypatch.setattr(allocation, "_MAX_PAIRS", 1)  # as good as nothing is left of the others
    for limit in (12, 13, 60, 150, 400):
        assert total(least_error(options, limit))[0] <= limit
        exact = np.sqrt(total(least_error(options, limit))[1]) * (1 + 1e-9)
        assert np.sqrt(total(least_cost(options, exact))[1]) <= exact


@pytest.mark.parametrize("has_bias", [False, True])
def test_an_output_error_is_that_of_the_outputs_and_a_bias_takes_their_means(has_bias):
    random = np.random.default_rng(0)
    x, kernel = 1 + random.normal(size=(50, 8)), random.normal(size=(8, 5))
    approx = kernel + 0.1 * random.normal(size=(8, 5))
    outputs, errors = x @ kernel, x @ (kernel - approx)
    if has_bias:
        outputs, errors = outputs - outputs.mean(0), errors - errors.mean(0)
    expected = np.linalg.norm(errors) / np.linalg.norm(outputs)
    found = InputStatistics.of(x).output_error(kernel, approx, has_bias=has_bias)
    assert found == pytest.approx(expected, rel=1e-6)
    assert InputStatistics.of(x).output_error(0 * kernel, 0 * kernel, has_bias=has_bias) == 0
