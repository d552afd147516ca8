"""KFC against low rank, series by series: equal sizes, equal errors, near dense."""

import json
import math
import shutil

import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import compare, series_of
from experiments.reporting.compare.against_low_rank import (
    at_equal_error,
    at_equal_size,
    matches,
)
from experiments.reporting.compare.near_dense import smallest_near_dense
from experiments.reporting.tables.comparisons import series_names
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders

# kernel parameters: 1570, 3140, 6280 of KFC; 3900, 6500, 13000 of low rank
KFC = {"1:16x20*50x25": 0.030, "2:16x20*50x25": 0.020, "4:16x20*50x25": 0.010}
LOW_RANK = {3: 0.080, 5: 0.015, 10: 0.005}


def write(folder, fc, error, seeds=(0, 1), **fields):
    for seed in seeds:
        noisy = error + (0.001 if seed else -0.001)
        folders.write_run(folder / f"{seed}", fc, seed, {"test": noisy}, **fields)


def write_all(workdir, shift=0.0, kfc=KFC, **fields):
    write(workdir / "dense", folders.DENSE, 0.004 + shift, **fields)
    for structure, error in kfc.items():
        write(
            workdir / structure.replace("*", "_"), folders.kfc(structure), error + shift, **fields
        )
    for rank, error in LOW_RANK.items():
        write(workdir / f"rank{rank}", folders.low_rank(rank), error + shift, **fields)


def read(workdir):
    (comparison,) = compare(read_runs([*workdir.glob("*")]))
    return comparison


@pytest.fixture
def series(tmp_path):
    write_all(tmp_path)
    (one,) = series_of(read(tmp_path), "test")
    return one


def test_equal_size_takes_the_largest_kfc_layer_that_is_no_larger(series):
    pairs = list(at_equal_size(series).itertuples())
    assert [(p.structure_low_rank, p.structure_kfc) for p in pairs] == [
        ("rank 3", "2:16x20*50x25"),
        ("rank 5", "4:16x20*50x25"),
        ("rank 10", "4:16x20*50x25"),
    ]
    assert [p.difference for p in pairs] == pytest.approx([-0.06, -0.005, 0.005])
    # Two seeds 0.002 apart: a deviation of 0.002 / sqrt(2), over sqrt(2), for both.
    assert pairs[0].standard_error == pytest.approx(0.001 * math.sqrt(2))


def test_a_difference_within_two_standard_errors_is_not_clear(tmp_path):
    # Both have a standard deviation of 7.07e-5 over 2 seeds, so the difference one of 7.07e-5.
    for difference, is_clear in ((1.3e-4, False), (1.5e-4, True)):
        cases = [
            (folders.low_rank(2), 0.02, 0.02),
            (folders.kfc("2:20x25*40x20"), 0.02 - difference, 0.02),
        ]
        (pair,) = matches(folders.write_cases(tmp_path / str(is_clear), cases), "test").itertuples()
        assert (abs(pair.difference) > 2 * pair.standard_error) is is_clear


def test_of_two_kfc_layers_of_a_size_the_worse_one_stands_for_it(tmp_path):
    same = "2:50x25*16x20"  # the size of 2:16x20*50x25
    write_all(tmp_path, kfc=KFC | {same: 0.025})
    (one,) = series_of(read(tmp_path), "test")
    pair = at_equal_size(one).iloc[0]
    assert (pair.structure_low_rank, pair.structure_kfc) == ("rank 3", same)


def test_equal_error_reads_the_size_off_the_curve(series):
    low, middle, high = at_equal_error(series).itertuples()
    # Its smallest layer is better than rank 3 already: the ratio can only be larger.
    assert low.is_bound
    assert low.kfc_parameters == pytest.approx(1_570)
    assert low.ratio == pytest.approx(3_900 / 1_570)
    # 1.5% is half way from 2% to 1%, in the logarithm of size between 3,140 and 6,280.
    assert not middle.is_bound
    assert middle.kfc_parameters == pytest.approx(3_140 * math.sqrt(2))
    assert middle.ratio == pytest.approx(6_500 / (3_140 * math.sqrt(2)))
    assert middle.low < middle.ratio < middle.high
    # No KFC layer is as good as rank 10: the ratio can only be smaller.
    assert high.is_bound
    assert math.isnan(high.kfc_parameters)
    assert high.ratio == pytest.approx(13_000 / 6_280)


def test_the_interval_is_wider_where_seeds_differ_more(tmp_path):
    widths = []
    for spread in (0.0002, 0.002):
        folder = tmp_path / str(spread)
        for name, fc, error in (
            *((s.replace("*", "_"), folders.kfc(s), e) for s, e in KFC.items()),
            ("rank5", folders.low_rank(5), LOW_RANK[5]),
        ):
            for seed in (0, 1):
                errors = {"test": error + (seed - 0.5) * spread}
                folders.write_run(folder / name / str(seed), fc, seed, errors)
        (one,) = series_of(read(folder), "test")
        (pair,) = at_equal_error(one).itertuples()
        widths.append(math.log(pair.high / pair.low))
    assert 5 < widths[1] / widths[0] < 20


def test_near_dense_finds_the_smallest_model_and_the_lowest_error(series):
    by_text = {wish.wanted: wish for wish in smallest_near_dense(series).itertuples()}
    near = by_text["at most 0.7 points above dense"]
    assert near.structure_kfc == "4:16x20*50x25"
    assert near.structure_low_rank == "rank 10"
    assert "at most 0 points above dense" not in by_text  # nothing is as good
    most = by_text["99% fewer in the layer"]
    assert (most.structure_kfc, most.structure_low_rank) == ("2:16x20*50x25", "rank 3")


def test_trunks_and_starts_are_series_of_their_own(tmp_path):
    write_all(tmp_path)
    write_all(tmp_path / "wide", shift=-0.003, model__image_shape=[32, 32, 1])
    both = series_of(read_all(tmp_path), "test")
    names = series_names(both)
    assert sorted(names) == [
        "image_shape=28,28,1, from scratch",
        "image_shape=32,32,1, from scratch",
    ]
    narrow, wide = (both[names.index(name)] for name in sorted(names))
    assert narrow.dense.error == pytest.approx(0.004)
    assert wide.dense.error == pytest.approx(0.001)


def read_all(workdir):
    runs = [path.parent.parent for path in workdir.rglob("config.json")]
    (comparison,) = compare(read_runs(list(dict.fromkeys(runs))))
    return comparison


def test_layers_that_stay_dense_do_not_count(tmp_path):
    """Where one run replaces the classifier as well, `fc1` of the others is still `fc1` alone."""
    write_all(tmp_path)
    write(tmp_path / "both", folders.kfc("2:16x20*50x25"), 0.05)
    for result in (tmp_path / "both").rglob("result.json"):
        content = json.loads(result.read_text())
        content["layers"][-1] |= {"kind": "low_rank", "structure": "rank 2", "parameters": 1_020}
        result.write_text(json.dumps(content))
    one, both = series_of(read_all(tmp_path), "test")
    assert (one.replaced, both.replaced) == (("fc1",), ("fc1", "fc2"))
    sizes = {group.structure: group.layer_parameters for group in one.groups.itertuples()}
    assert sizes["2:16x20*50x25"] == 3_140
    (group,) = both.groups.itertuples()
    assert (group.structure, group.layer_parameters) == (
        "fc1 2:16x20*50x25, fc2 rank 2",
        3_140 + 1_020,
    )


def test_low_rank_stands_beside_reordered_sums_as_well(tmp_path):
    """The order of hidden units makes no difference to it, so it is not run twice."""
    for name, fc, reordered in (
        ("kfc", folders.kfc("2:16x20*50x25"), True),
        ("plain", folders.kfc("2:16x20*50x25"), False),
        ("rank", folders.low_rank(3), False),
    ):
        write(tmp_path / name, fc, 0.02)
        for config in (tmp_path / name).rglob("config.json"):
            content = json.loads(config.read_text())
            start = {"source": "runs/dense", "weighted": True, "reordered": reordered}
            config.write_text(json.dumps(content | {"compression": start}))
    plain, reordered = series_of(read_all(tmp_path), "test")
    assert (plain.start, reordered.start) == (
        "decomposed by data",
        "decomposed by data, reordered",
    )
    for one in (plain, reordered):
        assert list(one.groups.structure) == ["2:16x20*50x25", "rank 3"]
    assert plain.has_both
    shutil.rmtree(tmp_path / "plain")
    (alone,) = series_of(read_all(tmp_path), "test")  # and then it stands there alone
    assert (alone.start, len(alone.groups)) == ("decomposed by data, reordered", 2)


def test_the_report_has_the_tables_and_the_picture(tmp_path):
    write_all(tmp_path / "runs")
    write_report([*(tmp_path / "runs").glob("*")], tmp_path / "report")
    summary = (tmp_path / "report" / "summary.md").read_text()
    assert (
        "| from scratch | `4:16x20*50x25` | `rank 5` | 6,280 | 6,500 "
        "| 1.00% ± 0.14 (n = 2) | 1.50% ± 0.14 (n = 2) | -0.50 ± 0.14 |" in summary
    )
    assert "](series.png)" in summary
    assert (tmp_path / "report" / "series.png").stat().st_size > 10_000
    assert "KFC and low rank at equal error" in (tmp_path / "report" / "index.html").read_text()


def test_without_low_rank_there_is_nothing_to_compare(tmp_path):
    write(tmp_path / "runs" / "kfc", folders.kfc("2:16x20*50x25"), 0.02)
    write_report([tmp_path / "runs" / "kfc"], tmp_path / "report")
    assert "at equal" not in (tmp_path / "report" / "summary.md").read_text()
    assert not (tmp_path / "report" / "series.png").exists()


def test_low_rank_is_matched_with_the_largest_kfc_of_its_size(tmp_path):
    cases = [
        (folders.low_rank(2), 0.020, 0.020),  # 2,600 parameters
        (folders.kfc("2:20x25*40x20"), 0.015, 0.016),  # 2,600
        (folders.kfc("1:16x20*50x25+1:20x25*40x20"), 0.010, 0.010),  # 2,870: 10.4% more
        (folders.kfc("1:16x20*50x25"), 0.012, 0.019),  # 1,570: smaller, so not the one
    ]
    (match,) = matches(folders.write_cases(tmp_path, cases), "test").itertuples()
    assert match.structure_kfc == "2:20x25*40x20"
    assert match.difference == pytest.approx(-0.005)
    assert abs(match.difference) > 2 * match.standard_error
