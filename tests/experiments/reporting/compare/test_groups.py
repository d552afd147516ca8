import json
import math

import numpy as np
import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import DENSE, LOW_RANK, compare
from experiments.reporting.compare.methods import COMBINED, KFC, KFC_FACTORS, KFC_MIXED
from experiments.reporting.trials import read_runs
from experiments.reporting.wording import settings_text
from kfc_jax.structures import DenseStructure, KroneckerStructure, LowRankStructure
from tests.experiments.reporting import folders


def comparison_of(*workdirs):
    (comparison,) = compare(read_runs(workdirs))
    return comparison


def group_of(comparison, structure, settings=None):
    found = [g for g in comparison.groups.itertuples() if g.structure == structure]
    (group,) = [g for g in found if settings is None or g.settings == settings]
    return group


def test_methods_of_one_kind_are_called_by_the_librarys_kind():
    assert [method.key for method in (DENSE, KFC, LOW_RANK)] == [
        kind.kind for kind in (DenseStructure, KroneckerStructure, LowRankStructure)
    ]


def test_settings_are_short_text():
    fields = {"seed": 1, "channels": [[16], [32]], "pairs": [[24, 24], [48, 48]]}
    assert settings_text(fields) == "seed=1 channels=16,32 pairs=24-24,48-48"


def test_trials_that_differ_in_the_seed_alone_are_one_group(finished_sweep):
    comparison = comparison_of(finished_sweep)
    assert len(comparison.groups) == len(folders.CASES)
    assert {len(group.records) for group in comparison.groups.itertuples()} == {3}
    assert comparison.title == "lenet5 on mnist"


def test_mean_and_spread_are_numpys(finished_sweep):
    for group in comparison_of(finished_sweep).groups.itertuples():
        errors = [trial.outcome.errors["test"] for trial in group.records]
        assert group.test_error == pytest.approx(np.mean(errors))
        assert group.test_error_std == pytest.approx(np.std(errors, ddof=1))
        assert group.test_error_n == 3


def test_one_seed_has_no_spread(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.01})
    group = comparison_of(tmp_path).groups.iloc[0]
    assert (group.test_error, group.test_error_n) == (0.01, 1)
    assert math.isnan(group.test_error_std)


def test_the_compared_layer_is_the_one_that_differs(finished_sweep):
    comparison = comparison_of(finished_sweep)
    assert comparison.layer_names == ("fc1",)
    group = group_of(comparison, "2:16x20*50x25")
    layer = 2 * (16 * 20 + 50 * 25)
    assert group.layer_parameters == layer
    assert group.parameters == 31_080 + layer
    assert group.dense_layer_parameters == 400_000
    assert group.layer_parameters_reduction == pytest.approx(1 - layer / 400_000)
    assert group.parameters_reduction == pytest.approx(1 - (31_080 + layer) / 431_080)


def test_without_any_difference_the_compared_layer_is_the_one_that_was_replaced(tmp_path):
    folders.write_run(tmp_path / "a", folders.low_rank(3), 0, {"test": 0.01})
    assert comparison_of(tmp_path).layer_names == ("fc1",)


@pytest.mark.parametrize(
    ("fc", "method"),
    [
        (folders.DENSE, "dense"),
        (folders.kfc("2:16x20*50x25"), "kfc"),
        (folders.kfc("1:16x20*50x25+1:20x25*40x20"), "kfc_mixed"),
        (folders.kfc("4:8x5*10x10*10x10"), "kfc_factors"),
        (folders.low_rank(2), "low_rank"),
    ],
)
def test_the_method_is_read_off_the_layer(tmp_path, fc, method):
    folders.write_run(tmp_path / "a", fc, 0, {"test": 0.01})
    assert comparison_of(tmp_path).groups.iloc[0].method.key == method


def test_methods_differ_in_colour_marker_and_line_or_marker():
    methods = (DENSE, KFC, KFC_MIXED, KFC_FACTORS, LOW_RANK, COMBINED)
    assert len({method.color for method in methods}) == len(methods)
    assert len({method.marker for method in methods}) == len(methods)


@pytest.mark.parametrize("text", ["4 blocks", "rank 2", "2:16x20*50x25+1:2x20*400x25", "800x500"])
def test_a_kind_that_is_unknown_has_a_row_a_colour_and_its_name(tmp_path, text):
    """Whatever its structures look like: of another kind's, they are another group."""
    for name, fc in (
        ("dense", folders.DENSE),
        ("rank", folders.low_rank(2)),
        ("own", folders.DENSE),
    ):
        run = folders.write_run(tmp_path / "runs" / name, fc, 0, {"test": 0.01})
    result = json.loads((run / "result.json").read_text())
    result["layers"][2] |= {"kind": "block_diagonal", "structure": text, "parameters": 100_000}
    (run / "result.json").write_text(json.dumps(result))
    comparison = comparison_of(tmp_path / "runs")
    assert comparison.layer_names == ("fc1",)
    group = comparison.groups.iloc[-1]
    assert len(comparison.groups) == 3
    assert (group.method.label, group.label) == ("block diagonal", f"block_diagonal {text}")
    assert group.method.family == "block-diagonal"
    assert group.layer_parameters_reduction == 0.75
    assert group.method in comparison.methods
    others = [known for known in comparison.methods if known != group.method]
    for look in ("color", "dark_color", "marker"):
        assert getattr(group.method, look) not in {getattr(known, look) for known in others}
    write_report([tmp_path / "runs"], tmp_path / "report")
    rows = (tmp_path / "report" / "summary.md").read_text()
    assert f"| block diagonal | `block_diagonal {text}` | 100,000 | 75.00% |" in rows


def test_fields_that_change_no_number_and_unused_ones_do_not_split_groups(tmp_path):
    errors = {"test": 0.01}
    folders.write_run(tmp_path / "a", folders.DENSE, 0, errors, data__data_dir="/x")
    folders.write_run(tmp_path / "b", folders.DENSE, 1, errors, train__log_every=7)
    folders.write_run(tmp_path / "c", {**folders.DENSE, "structure": "1:4x4*2x2"}, 2, errors)
    assert len(comparison_of(tmp_path).groups.iloc[0].records) == 3


def test_other_settings_split_groups_and_the_best_is_chosen_on_validation(tmp_path):
    for rate, test, validation in ((0.001, 0.030, 0.020), (0.01, 0.010, 0.025)):
        for seed in (0, 1):
            folders.write_run(
                tmp_path / f"{rate}-{seed}",
                folders.DENSE,
                seed,
                {"test": test, "validation": validation},
                optimizer__learning_rate=rate,
            )
    comparison = comparison_of(tmp_path)
    assert comparison.has_settings
    assert group_of(comparison, "dense", "optimizer.learning_rate=0.001").is_best
    assert not group_of(comparison, "dense", "optimizer.learning_rate=0.01").is_best
    assert comparison.dense("test").test_error == 0.030


def test_a_repeated_seed_does_not_count_twice(tmp_path):
    folders.write_run(tmp_path / "x" / "a", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "y" / "b", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "y" / "c", folders.DENSE, 1, {"test": 0.03})
    comparison = comparison_of(tmp_path / "x", tmp_path / "y")
    assert comparison.groups.iloc[0].test_error_n == 2
    assert list(comparison.repeated.trial) == ["b"]


def test_data_sets_are_compared_apart(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "b", folders.DENSE, 0, {"test": 0.06}, data="svhn")
    titles = [comparison.title for comparison in compare(read_runs([tmp_path]))]
    assert titles == ["lenet5 on mnist", "lenet5 on svhn"]


def test_the_test_split_comes_first_and_validation_serves_without_it(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"validation": 0.01})
    assert comparison_of(tmp_path).splits == ("validation",)
    folders.write_run(tmp_path / "b", folders.low_rank(1), 0, {"test": 0.02, "validation": 0.03})
    assert comparison_of(tmp_path).splits == ("test", "validation")


def test_a_kind_that_is_not_known_here_is_a_method_of_its_own(tmp_path):
    blocks = {"kind": "block_diagonal", "blocks": 5}
    for seed, (name, fc, error) in enumerate(
        (("a", blocks, 0.02), ("b", folders.DENSE, 0.01), ("c", folders.low_rank(2), 0.03))
    ):
        folders.write_run(tmp_path / name, fc, seed, {"test": error})
    comparison = comparison_of(tmp_path)
    labels = [group.method.label for group in comparison.groups.itertuples()]
    assert labels == ["dense", "low rank", "block diagonal"]  # ours first, then the others
    own = comparison.groups.iloc[-1]
    assert own.structure == "block_diagonal 5 blocks"
    assert own.method.color not in {
        group.method.color for group in comparison.groups.iloc[:-1].itertuples()
    }
    write_report([tmp_path], tmp_path / "report")
    assert "block diagonal" in (tmp_path / "report" / "summary.md").read_text()
    assert "block_diagonal" in (tmp_path / "report" / "index.html").read_text()
