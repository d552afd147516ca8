import math

import pytest

from experiments.publishing.errors import interval_of_images, interval_of_mean


@pytest.mark.parametrize(("errors", "examples"), [(19, 1_000), (0, 500), (7, 7), (500, 10_000)])
def test_the_interval_of_images_is_wilsons(errors, examples):
    p, n, z = errors / examples, examples, 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert interval_of_images(errors, examples) == pytest.approx((centre - reach, centre + reach))


def test_the_interval_of_the_mean_is_students():
    # The tables' value for 3 degrees of freedom; the variance is 5 / 3, and 4 values share it.
    reach = 3.182446 * math.sqrt(5 / 3 / 4)
    found = interval_of_mean({seed: seed + 1.0 for seed in range(4)})
    assert found == pytest.approx((2.5 - reach, 2.5 + reach), rel=1e-6)
