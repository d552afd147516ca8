import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.reporting.compare.against_low_rank import matches
from experiments.reporting.compare.groups import compare
from experiments.reporting.compare.near_dense import (
    default_tolerance,
    pareto_front,
    smallest_within,
)
from experiments.reporting.pages.markdown import tables
from experiments.reporting.sentences.headline import headline
from experiments.reporting.trials.read import read_sweeps
from experiments.reporting.trials.spread import Spread
from tests.experiments.reporting import folders

ROOT = Path(__file__).parents[4]


@dataclasses.dataclass(frozen=True)
class Point:
    """A group as far as `pareto_front` looks at it."""

    size: int
    mean: float

    @property
    def sizes(self):
        return {"parameters": self.size}

    def error(self, split):
        return Spread(self.mean, None, 1)


def write_cases(workdir, cases):
    """Writes runs of two seeds; a case is fc1, and test and validation error."""
    for i, (fc, test, validation) in enumerate(cases):
        for seed in (0, 1):
            errors = {"test": test + (seed - 0.5) * 1e-4, "validation": validation}
            folders.write_run(workdir / f"{i}-{seed}", fc, seed, errors)
    (comparison,) = compare(read_sweeps([workdir]))
    return comparison


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=12))
def test_the_front_is_what_brute_force_finds(pairs):
    points = [Point(size, mean) for size, mean in pairs]

    def is_beaten(point):
        return any(
            (q.size <= point.size and q.mean < point.mean)
            or (q.size < point.size and q.mean <= point.mean)
            for q in points
        )

    front = pareto_front(points, "parameters", "test")
    assert front == sorted({p for p in points if not is_beaten(p)}, key=lambda p: p.size)


@pytest.mark.parametrize(
    ("dense_error", "tolerance"), [(0.0072, 0.1), (0.05, 0.5), (0.11, 1.0), (0.0, 0.05)]
)
def test_the_default_tolerance_is_about_a_tenth_of_the_dense_error(
    tmp_path, dense_error, tolerance
):
    comparison = write_cases(tmp_path, [(folders.DENSE, dense_error + 5e-5, dense_error)])
    assert default_tolerance(comparison, "validation") == tolerance


def test_the_smallest_within_a_tolerance_is_by_the_size_that_is_asked_for(tmp_path):
    # The second has fewer parameters, the first fewer FLOPs: 2*(800*25 + ...) counted by hand.
    cases = [
        (folders.DENSE, 0.010, 0.01),
        (folders.low_rank(5), 0.012, 0.01),
        (folders.kfc("4:16x20*50x25"), 0.012, 0.01),
        (folders.kfc("1:16x20*50x25"), 0.017, 0.01),
    ]
    comparison = write_cases(tmp_path, cases)
    dense = comparison.dense("test")
    others = [group for group in comparison.groups if group is not dense]

    def smallest(tolerance, size):
        return smallest_within(others, dense, tolerance, size, "test")

    assert smallest(0.2, "parameters").structure == "4:16x20*50x25"
    assert smallest(0.2, "flops").structure == "rank 5"
    assert smallest(1.0, "parameters").structure == "1:16x20*50x25"
    assert smallest(0.1, "parameters") is None


def test_low_rank_is_matched_with_the_largest_kfc_of_its_size(tmp_path):
    cases = [
        (folders.low_rank(2), 0.020, 0.020),  # 2,600 parameters
        (folders.kfc("2:20x25*40x20"), 0.015, 0.016),  # 2,600
        (folders.kfc("1:16x20*50x25+1:20x25*40x20"), 0.010, 0.010),  # 2,870: 10.4% more
        (folders.kfc("1:16x20*50x25"), 0.012, 0.019),  # 1,570: smaller, so not the one
    ]
    (match,) = matches(write_cases(tmp_path, cases), "test")
    assert match.kfc.structure == "2:20x25*40x20"
    assert match.difference == pytest.approx(-0.005)
    assert match.is_clear


KEPT = sorted(path.parent for path in (ROOT / "results").glob("*/runs.jsonl"))


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_the_headline_counts_what_the_tables_of_kept_runs_show(folder):
    for comparison in compare(read_sweeps([folder])):
        for split in comparison.splits:
            said = " ".join(headline(comparison, split, "parameters", 0.5))
            shown = tables(comparison, split).get("KFC and low rank at equal size", [])
            differences = [float(row.split("|")[-2].split()[0]) for row in shown[2:]]
            counted = re.search(r"error at (\d+) of (\d+) sizes", said)
            if not differences:
                assert counted is None
                continue
            assert (int(counted[1]), int(counted[2])) == (
                sum(difference < 0 for difference in differences),
                len(differences),
            )


def test_a_difference_within_two_standard_errors_is_not_clear(tmp_path):
    # Both have a standard deviation of 7.07e-5 over 2 seeds, so the difference one of 7.07e-5.
    for difference, is_clear in ((1.3e-4, False), (1.5e-4, True)):
        cases = [
            (folders.low_rank(2), 0.02, 0.02),
            (folders.kfc("2:20x25*40x20"), 0.02 - difference, 0.02),
        ]
        (match,) = matches(write_cases(tmp_path / str(is_clear), cases), "test")
        assert match.is_clear is is_clear


def test_the_headline_says_sizes_reductions_and_the_count_against_low_rank(tmp_path):
    cases = [
        (folders.DENSE, 0.010, 0.01),
        (folders.kfc("2:20x25*40x20"), 0.0140, 0.01),
        (folders.low_rank(2), 0.0300, 0.03),
        (folders.low_rank(10), 0.0130, 0.03),
    ]
    said = headline(write_cases(tmp_path, cases), "test", "parameters", 0.5)
    assert said == [
        "The smallest KFC model within 0.5 points of dense (1.00% ± 0.01 (n = 2) test error, "
        "431,080 parameters) is `2:20x25*40x20`: 1.40% ± 0.01 (n = 2) with 33,680 parameters; "
        "parameters fall by 92.2% in the whole model and by 99.4% in fc1.",
        "The smallest low-rank model within 0.5 points of dense (1.00% ± 0.01 (n = 2) test error, "
        "431,080 parameters) is `rank 10`: 1.30% ± 0.01 (n = 2) with 44,080 parameters; "
        "parameters fall by 89.8% in the whole model and by 96.8% in fc1.",
        "That low-rank model has 1.31 times as many parameters as that KFC model.",
        "Against low rank at equal layer size, trained in the same way (up to 10% more parameters "
        "count as equal), KFC has the lower test error at 1 of 2 sizes; by more than two standard "
        "errors KFC at 1 and low rank at 1.",
    ]


def test_the_headline_says_what_cannot_be_said(tmp_path):
    (tmp_path / "x").mkdir()
    comparison = write_cases(tmp_path / "x", [(folders.kfc("2:20x25*40x20"), 0.014, 0.01)])
    said = headline(comparison, "test", "parameters", 0.5)
    assert said[0].startswith("No dense baseline has a test error yet")
    assert "lowest test error so far is 1.40% ± 0.01 (n = 2), of `2:20x25*40x20`" in said[1]
    comparison = write_cases(
        tmp_path / "y", [(folders.DENSE, 0.001, 0.01), (folders.low_rank(1), 0.08, 0.01)]
    )
    said = headline(comparison, "test", "parameters", 0.5)
    assert said[0] == "No KFC model has a test error yet."
    assert said[1].startswith("No low-rank model is within 0.5 points of dense")
