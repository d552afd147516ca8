"""Sentences on a comparison, and that they say what its tables say."""

import pathlib
import re

import pytest

from experiments.reporting.compare import compare
from experiments.reporting.sentences import headline
from experiments.reporting.tables.comparisons import series_tables
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders

KEPT = sorted(
    (pathlib.Path(__file__).parents[4] / "results").glob("*/runs.jsonl"),
    key=lambda p: p.parent.name,
)
COUNTS = re.compile(
    r"has the lower \w+ error at (\d+) of (\d+) sizes(?:; by more than two standard errors KFC at "
    r"(\d+) and low rank at (\d+))?\.$"
)


def test_the_headline_says_sizes_reductions_and_the_count_against_low_rank(tmp_path):
    cases = [
        (folders.DENSE, 0.010, 0.01),
        (folders.kfc("2:20x25*40x20"), 0.0140, 0.01),
        (folders.low_rank(2), 0.0300, 0.03),
        (folders.low_rank(10), 0.0130, 0.03),
    ]
    said = headline(folders.write_cases(tmp_path, cases), "test", "parameters", 0.5)
    assert said == [
        "The smallest KFC model within 0.5 points of dense (1.00% ± 0.01 (n = 2) test error, "
        "431,080 parameters) is `2:20x25*40x20`: 1.40% ± 0.01 (n = 2) with 33,680 parameters; "
        "parameters fall by 92.2% in the whole model and by 99.4% in fc1.",
        "The smallest low-rank model within 0.5 points of dense (1.00% ± 0.01 (n = 2) test error, "
        "431,080 parameters) is `rank 10`: 1.30% ± 0.01 (n = 2) with 44,080 parameters; "
        "parameters fall by 89.8% in the whole model and by 96.8% in fc1.",
        "That low-rank model has 1.31 times as many parameters as that KFC model.",
        "Against low rank with the same trunk, start and layer size (up to 10% more parameters "
        "count as equal) KFC has the lower test error at 1 of 2 sizes; by more than two standard "
        "errors KFC at 1 and low rank at 1.",
    ]


def test_the_headline_says_what_cannot_be_said(tmp_path):
    (tmp_path / "x").mkdir()
    comparison = folders.write_cases(tmp_path / "x", [(folders.kfc("2:20x25*40x20"), 0.014, 0.01)])
    said = headline(comparison, "test", "parameters", 0.5)
    assert said[0].startswith("No dense baseline has a test error yet")
    assert "lowest test error so far is 1.40% ± 0.01 (n = 2), of `2:20x25*40x20`" in said[1]
    comparison = folders.write_cases(
        tmp_path / "y", [(folders.DENSE, 0.001, 0.01), (folders.low_rank(1), 0.08, 0.01)]
    )
    said = headline(comparison, "test", "parameters", 0.5)
    assert said[0] == "No KFC model has a test error yet."
    assert said[1].startswith("No low-rank model is within 0.5 points of dense")


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.parent.name)
def test_the_headline_counts_the_rows_of_the_table_of_equal_sizes(kept):
    """The table shows every pair, in its own words; the sentence must not claim anything else."""
    for comparison in compare(read_runs([kept.parent])):
        for split in comparison.splits:
            found = [t for t in series_tables(comparison, split) if t.key == "sizes"]
            texts = [cells[-1][0] for table in found for cells in table.rows]
            said = [
                m for s in headline(comparison, split, "parameters", 0.5) if (m := COUNTS.search(s))
            ]
            assert len(said) == bool(texts)
            if not said:
                continue
            # Rounded to hundredths of a point, so that a difference of less has no sign in it.
            pairs = [tuple(map(float, text.split(" ± "))) for text in texts]
            wins, total, *clear = (int(n) for n in said[0].groups() if n)
            assert total == len(pairs)
            assert abs(wins - sum(difference < 0 for difference, *_ in pairs)) <= sum(
                difference == 0 for difference, *_ in pairs
            )
            for count, sign in zip(clear, (-1, 1), strict=False):
                margins = [sign * d - 2 * error[0] for d, *error in pairs if error]
                doubtful = sum(abs(margin) < 0.016 for margin in margins)
                assert abs(count - sum(margin > 0 for margin in margins)) <= doubtful


def test_the_headline_compares_no_trunk_or_start_with_another(tmp_path):
    """The best KFC model owes its error to a wider trunk; on the same trunk it loses."""
    for fc, error, channels in (
        (folders.low_rank(2), 0.030, 20),
        (folders.kfc("2:20x25*40x20"), 0.040, 20),
        (folders.low_rank(2), 0.010, 40),
        (folders.kfc("2:20x25*40x20"), 0.020, 40),
    ):
        folder = tmp_path / f"{fc['kind']}-{channels}"
        folders.write_run(folder, fc, 0, {"test": error}, model__channels=channels)
    (comparison,) = compare(read_runs([tmp_path]))
    said = headline(comparison, "test", "parameters", 0.5)
    assert COUNTS.search(said[-1]).groups()[:2] == ("0", "2")
