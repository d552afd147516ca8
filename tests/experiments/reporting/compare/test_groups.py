import numpy as np
import pytest

from experiments.reporting import write_report
from experiments.reporting.compare.groups import compare, settings_text
from experiments.reporting.compare.methods import METHODS
from experiments.reporting.trials.read import read_sweeps
from tests.experiments.reporting import folders


def comparison_of(*workdirs):
    (comparison,) = compare(read_sweeps(workdirs))
    return comparison


def group_of(comparison, structure, settings=None):
    found = [g for g in comparison.groups if g.structure == structure]
    (group,) = [g for g in found if settings is None or g.settings == settings]
    return group


def test_settings_are_short_text():
    fields = {"seed": 1, "channels": [[16], [32]], "pairs": [[24, 24], [48, 48]]}
    assert settings_text(fields) == "seed=1 channels=16,32 pairs=24-24,48-48"


def test_trials_that_differ_in_the_seed_alone_are_one_group(finished_sweep):
    comparison = comparison_of(finished_sweep)
    assert len(comparison.groups) == len(folders.CASES)
    assert {len(group.trials) for group in comparison.groups} == {3}
    assert comparison.title == "lenet5 on mnist"


def test_mean_and_spread_are_numpys(finished_sweep):
    for group in comparison_of(finished_sweep).groups:
        errors = [trial.outcome.errors["test"] for trial in group.trials]
        spread = group.error("test")
        assert spread.mean == pytest.approx(np.mean(errors))
        assert spread.std == pytest.approx(np.std(errors, ddof=1))
        assert spread.n == 3


def test_one_seed_has_no_spread(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.01})
    spread = comparison_of(tmp_path).groups[0].error("test")
    assert (spread.mean, spread.std, spread.n) == (0.01, None, 1)


def test_the_compared_layer_is_the_one_that_differs(finished_sweep):
    comparison = comparison_of(finished_sweep)
    assert comparison.layer_names == ("fc1",)
    group = group_of(comparison, "2:16x20*50x25")
    layer = 2 * (16 * 20 + 50 * 25)
    assert group.sizes["layer_parameters"] == layer
    assert group.sizes["parameters"] == 31_080 + layer
    assert group.dense_sizes["layer_parameters"] == 400_000
    assert group.reduction("layer_parameters") == pytest.approx(1 - layer / 400_000)
    assert group.reduction("parameters") == pytest.approx(1 - (31_080 + layer) / 431_080)


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
    assert comparison_of(tmp_path).groups[0].method.key == method


def test_a_kind_that_is_not_known_here_is_a_method_of_its_own(tmp_path):
    blocks = {"kind": "block_diagonal", "blocks": 5}
    for seed, (name, fc, error) in enumerate(
        (("a", blocks, 0.02), ("b", folders.DENSE, 0.01), ("c", folders.low_rank(2), 0.03))
    ):
        folders.write_run(tmp_path / name, fc, seed, {"test": error})
    comparison = comparison_of(tmp_path)
    labels = [group.method.label for group in comparison.groups]
    assert labels == ["dense", "low rank", "block diagonal"]  # ours first, then the others
    own = comparison.groups[-1]
    assert own.structure == "5 blocks"
    assert own.method.color not in {method.color for method in METHODS}
    write_report([tmp_path], tmp_path / "report")
    assert "block diagonal" in (tmp_path / "report" / "summary.md").read_text()
    assert "block_diagonal" in (tmp_path / "report" / "index.html").read_text()


def test_methods_differ_in_colour_marker_and_line_or_marker():
    assert len({method.color for method in METHODS}) == len(METHODS)
    assert len({method.marker for method in METHODS}) == len(METHODS)


def test_fields_that_change_no_number_and_unused_ones_do_not_split_groups(tmp_path):
    errors = {"test": 0.01}
    folders.write_run(tmp_path / "a", folders.DENSE, 0, errors, data__data_dir="/x")
    folders.write_run(tmp_path / "b", folders.DENSE, 1, errors, train__log_every=7)
    folders.write_run(tmp_path / "c", {**folders.DENSE, "structure": "1:4x4*2x2"}, 2, errors)
    assert len(comparison_of(tmp_path).groups[0].trials) == 3


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
    assert comparison.dense("test").error("test").mean == 0.030


def test_a_repeated_seed_does_not_count_twice(tmp_path):
    folders.write_run(tmp_path / "x" / "a", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "y" / "b", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "y" / "c", folders.DENSE, 1, {"test": 0.03})
    comparison = comparison_of(tmp_path / "x", tmp_path / "y")
    assert comparison.groups[0].error("test").n == 2
    assert [trial.name for trial in comparison.repeated] == ["b"]


def test_data_sets_are_compared_apart(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.01})
    folders.write_run(tmp_path / "b", folders.DENSE, 0, {"test": 0.06}, data="svhn")
    titles = [comparison.title for comparison in compare(read_sweeps([tmp_path]))]
    assert titles == ["lenet5 on mnist", "lenet5 on svhn"]


def test_the_test_split_comes_first_and_validation_serves_without_it(tmp_path):
    folders.write_run(tmp_path / "a", folders.DENSE, 0, {"validation": 0.01})
    assert comparison_of(tmp_path).splits == ("validation",)
    folders.write_run(tmp_path / "b", folders.low_rank(1), 0, {"test": 0.02, "validation": 0.03})
    assert comparison_of(tmp_path).splits == ("test", "validation")
