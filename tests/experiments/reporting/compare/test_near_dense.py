import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.reporting.compare.near_dense import (
    default_tolerance,
    pareto_front,
    smallest_within,
)
from tests.experiments.reporting import folders


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=12))
def test_the_front_is_what_brute_force_finds(pairs):
    def is_beaten(point):
        return any(
            (size <= point[0] and error < point[1]) or (size < point[0] and error <= point[1])
            for size, error in pairs
        )

    groups = pd.DataFrame(pairs, columns=["parameters", "error"], dtype=float)
    front = pareto_front(groups, "parameters")
    assert list(front.itertuples(index=False, name=None)) == sorted(
        {point for point in pairs if not is_beaten(point)}
    )


@pytest.mark.parametrize(
    ("dense_error", "tolerance"), [(0.0072, 0.1), (0.05, 0.5), (0.11, 1.0), (0.0, 0.05)]
)
def test_the_default_tolerance_is_about_a_tenth_of_the_dense_error(
    tmp_path, dense_error, tolerance
):
    comparison = folders.write_cases(tmp_path, [(folders.DENSE, dense_error + 5e-5, dense_error)])
    assert default_tolerance(comparison, "validation") == tolerance


def test_the_smallest_within_a_tolerance_is_by_the_size_that_is_asked_for(tmp_path):
    # The second has fewer parameters, the first fewer FLOPs: 2*(800*25 + ...) counted by hand.
    cases = [
        (folders.DENSE, 0.010, 0.01),
        (folders.low_rank(5), 0.012, 0.01),
        (folders.kfc("4:16x20*50x25"), 0.012, 0.01),
        (folders.kfc("1:16x20*50x25"), 0.017, 0.01),
    ]
    comparison = folders.write_cases(tmp_path, cases)
    dense = comparison.dense("test")
    groups = comparison.on("test")
    others = groups[groups.index != dense.Index]

    def smallest(tolerance, size):
        return smallest_within(others, dense, tolerance, size)

    assert smallest(0.2, "parameters").structure == "4:16x20*50x25"
    assert smallest(0.2, "flops").structure == "rank 5"
    assert smallest(1.0, "parameters").structure == "1:16x20*50x25"
    assert smallest(0.1, "parameters") is None
