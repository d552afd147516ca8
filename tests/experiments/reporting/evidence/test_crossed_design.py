import math

import numpy as np
import pytest

from experiments.reporting.evidence import difference, holm, mcnemar
from experiments.runs.predictions import Predictions
from tests.experiments.reporting.evidence.predicted import models


def of(wrong):
    """Predictions that are wrong where said."""
    wrong = np.asarray(wrong, bool)
    labels = np.zeros(len(wrong), int)
    return Predictions.of(labels, wrong.astype(int), np.full(len(wrong), 0.5))


def test_the_estimate_is_the_difference_of_mean_errors():
    a = [of([1, 0, 0, 1]), of([1, 0, 0, 0])]
    b = [of([0, 0, 0, 0]), of([1, 0, 0, 0]), of([0, 1, 0, 0])]
    found = difference(a, b)
    assert found.estimate == pytest.approx(3 / 8 - 2 / 12)
    assert found.num_seeds == (2, 3)
    # Of six pairs the first errs less in none and ties in two.
    assert found.improved == pytest.approx(1 / 6)


def test_swapping_the_methods_swaps_the_signs():
    rng = np.random.default_rng(0)
    a, b = (models(rng, error, 4, 500, seed_spread=0.1) for error in (0.05, 0.08))
    one, other = difference(a, b), difference(b, a)
    assert one.estimate == -other.estimate
    assert one.standard_error == pytest.approx(other.standard_error)
    assert one.interval == pytest.approx(tuple(-bound for bound in other.interval[::-1]))
    assert one.p_value() == pytest.approx(1 - other.p_value())
    assert one.improved == pytest.approx(1 - other.improved)


def test_the_p_value_and_the_interval_say_the_same():
    rng = np.random.default_rng(1)
    a, b = (models(rng, error, 5, 800, seed_spread=0.1) for error in (0.05, 0.06))
    found = difference(a, b)
    low, high = found.interval
    assert found.p_value(high) == pytest.approx(0.025)
    assert found.p_value(low) == pytest.approx(0.975)
    assert found.p_value(0.1) < found.p_value(0.01) < found.p_value(-0.1)


def test_without_noise_of_images_it_is_the_error_of_welchs_test():
    # Every model errs on its own number of images that no other one errs on: seeds alone differ.
    images = 10_000
    counts = ([300, 330, 360], [280, 300, 290, 310])
    first = 0
    methods = []
    for method in counts:
        group = []
        for count in method:
            wrong = np.zeros(images)
            wrong[first : first + count] = 1
            first += count
            group.append(of(wrong))
        methods.append(group)
    found = difference(*methods)
    welch = sum(np.var(np.array(c) / images, ddof=1) / len(c) for c in counts)
    assert found.of_seeds == pytest.approx(welch)


def test_without_noise_of_seeds_it_is_the_error_of_a_paired_test():
    rng = np.random.default_rng(2)
    wrong = rng.random((2, 4_000)) < 0.05
    a, b = ([of(w)] * 5 for w in wrong)  # five models that agree
    found = difference(a, b)
    paired = np.var(wrong[0].astype(float) - wrong[1], ddof=1) / 4_000
    assert found.standard_error == pytest.approx(math.sqrt(paired))
    assert found.of_seeds == 0


def test_images_that_both_find_hard_do_not_widen_the_interval():
    rng = np.random.default_rng(3)
    hard = np.where(np.arange(4_000) < 250, 12.0, 0.01)
    paired = difference(*(models(rng, 0.05, 8, 4_000, hardness=hard) for _ in range(2)))
    easy = np.random.default_rng(4)
    other = difference(
        models(easy, 0.05, 8, 4_000, hardness=hard),
        models(easy, 0.05, 8, 4_000, hardness=hard[::-1]),
    )
    assert paired.standard_error < 0.5 * other.standard_error


@pytest.mark.parametrize("seed_spread", [0.0, 0.06])
def test_intervals_contain_the_true_difference_as_often_as_they_say(seed_spread):
    rng = np.random.default_rng(5)
    images, seeds, tries = 1_500, 5, 300
    hits = 0
    for _ in range(tries):
        # Other images and other seeds in every try; both methods share what is hard.
        hardness = rng.gamma(0.3, 1 / 0.3, images)
        a, b = (
            models(rng, 0.05, seeds, images, seed_spread=seed_spread, hardness=hardness)
            for _ in range(2)
        )
        low, high = difference(a, b).interval
        hits += low <= 0 <= high
    assert 0.92 <= hits / tries <= 0.985


def test_a_bootstrap_over_images_and_seeds_gives_about_the_same_error():
    rng = np.random.default_rng(6)
    hardness = rng.gamma(0.3, 1 / 0.3, 2_000)
    a, b = (
        models(rng, error, 10, 2_000, seed_spread=0.1, hardness=hardness) for error in (0.05, 0.06)
    )
    found = difference(a, b)
    wrong = [np.stack([~its.is_correct for its in method]).astype(float) for method in (a, b)]
    drawn = []
    for _ in range(1_500):
        images = rng.integers(0, 2_000, 2_000)
        means = [m[rng.integers(0, 10, 10)][:, images].mean() for m in wrong]
        drawn.append(means[0] - means[1])
    # Drawing both counts what is of neither factor up to three times, so it is a little wider.
    assert 0.9 <= np.std(drawn) / found.standard_error <= 1.35


def test_other_images_are_refused():
    one, other = of([1, 0]), Predictions.of(np.ones(2, int), np.ones(2, int), np.ones(2))
    with pytest.raises(ValueError, match="other images, or in another order"):
        difference([one, one], [other, other])
    with pytest.raises(ValueError, match="other images, or in another order"):
        mcnemar(one, other)


def test_one_model_is_too_few():
    with pytest.raises(ValueError, match=r"1 and 2 models; .* two of each"):
        difference([of([0, 1])], [of([0, 1])] * 2)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 9), (10, 10), (0, 12)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    a = of([0] * only_a + [1] * only_b + [0, 1])
    b = of([1] * only_a + [0] * only_b + [0, 1])
    n, k = only_a + only_b, min(only_a, only_b)
    exact = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    assert mcnemar(a, b) == pytest.approx(exact)


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
