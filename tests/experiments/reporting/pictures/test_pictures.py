import dataclasses

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.reporting.compare import compare
from experiments.reporting.compare.near_dense import pareto_front
from experiments.reporting.pictures import budget_figure, curve_figure, tradeoff_figure
from experiments.reporting.pictures.equal_size import budgets
from experiments.reporting.pictures.learning_curves import mean_curve
from experiments.reporting.pictures.style import log_ticks, save
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders


def comparison_of(workdir):
    (comparison,) = compare(read_runs([workdir]))
    return comparison


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_tradeoff_names_the_front_of_every_panel(finished_sweep):
    comparison = comparison_of(finished_sweep)
    figure = tradeoff_figure(comparison, "test")
    parameters, flops = figure.axes
    assert parameters.get_xlabel().startswith("total parameters")
    assert flops.get_xlabel().startswith("FLOPs per example")
    named = texts_of(figure)
    for size in ("parameters", "flops"):
        for group in pareto_front(comparison.on("test"), size).itertuples():
            assert group.label in named


def test_the_dense_error_is_a_line(finished_sweep):
    comparison = comparison_of(finished_sweep)
    mean = comparison.dense("test").test_error
    for axes in tradeoff_figure(comparison, "test").axes:
        lines = [np.asarray(line.get_ydata(), float) for line in axes.lines]
        assert any(len(y) == 2 and np.all(y == mean) for y in lines)


def test_a_dense_point_that_squeezes_the_others_is_an_arrow(finished_sweep):
    parameters, flops = tradeoff_figure(comparison_of(finished_sweep), "test").axes
    assert parameters.get_xlim()[1] < 100_000
    assert any("dense, 431k" in text.get_text() for text in parameters.texts)
    assert flops.get_xlim()[1] > 4_586_000
    assert not any("dense," in text.get_text() for text in flops.texts)


@pytest.mark.parametrize(
    "cases",
    [
        [(folders.DENSE, 0.01)],
        [(folders.low_rank(1), 0.01)],
        [(folders.DENSE, 0.0), (folders.low_rank(1), 0.0)],
        [(folders.DENSE, 0.0), (folders.low_rank(1), 0.9)],
        [(folders.kfc("1:1x1*800x500"), 0.01), (folders.low_rank(1), 1.0)],
    ],
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_few_points_zero_errors_and_single_seeds_can_be_drawn(tmp_path, cases, seeds):
    comparison = comparison_of(folders.write_sweep(tmp_path / "s", cases, seeds))
    for draw in (tradeoff_figure, budget_figure, curve_figure):
        if figure := draw(comparison, "test"):
            save(figure, tmp_path / draw.__name__)


def test_one_outlier_does_not_flatten_the_tradeoff_and_is_marked_by_name_and_value(tmp_path):
    cases = [(fc, 0.35 if fc == folders.low_rank(1) else error) for fc, error in folders.CASES]
    comparison = comparison_of(folders.write_sweep(tmp_path / "s", cases))
    groups = comparison.on("test")
    (outlier,) = groups[groups.structure == "rank 1"].itertuples()
    figure = tradeoff_figure(comparison, "test")
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert high < 0.5 * outlier.error
        to_height = axes.transAxes.inverted().transform(axes.transData.transform([(1, 0.0125)]))
        assert to_height[0, 1] > 0.3  # of KFC's highest error
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert outlier.parameters in [x for line in hollow for x in line.get_xdata()] or (
            outlier.flops in [x for line in hollow for x in line.get_xdata()]
        )
        assert all(0.4 * low < y <= high for line in hollow for y in line.get_ydata())
    texts = texts_of(figure)
    assert "beyond the scale" in texts
    place = texts.index("low rank, rank 1")
    assert texts[place + 2] == f"{outlier.error:.2%} ± {outlier.error_std * 100:.2f}"


def test_without_an_outlier_all_is_drawn_to_scale(finished_sweep):
    comparison = comparison_of(finished_sweep)
    groups = comparison.on("test")
    few = dataclasses.replace(comparison, groups=comparison.groups[groups.error < 0.015])
    figure = tradeoff_figure(few, "test")
    assert "beyond the scale" not in texts_of(figure)
    assert all(line.get_markerfacecolor() != "white" for line in figure.axes[0].lines)


def test_many_on_the_front_are_thinned_and_the_rest_is_counted(tmp_path):
    cases = [(folders.low_rank(rank), 0.2 / rank) for rank in range(1, 25)]
    comparison = comparison_of(folders.write_sweep(tmp_path / "s", cases, seeds=(0,)))
    named = texts_of(tradeoff_figure(comparison, "test", sizes=["parameters"]))
    front = list(pareto_front(comparison.on("test"), "parameters").label)
    shown = [label for label in front if label in named]
    assert front[0] in shown
    assert front[-1] in shown
    assert f"and {len(front) - len(shown)} more, in the table" in named


def test_budgets_hold_layers_of_equal_size_and_no_single_ones(finished_sweep):
    comparison = comparison_of(finished_sweep)
    found = budgets(comparison, "test")
    sizes = [list(budget.layer_parameters) for budget in found]
    assert sizes == [
        [1300, 1300, 1570],
        [2600, 2600, 2870, 3140],
        [3840, 3900],
        [5200, 5740, 6280, 6500],
        [12560, 13000],
    ]
    figure = budget_figure(comparison, "test")
    assert len(figure.axes) == len(found)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    errors = {f"{g.label}  ": g.test_error for g in found[0].itertuples()}
    means = [errors[label[: label.rindex(" ") + 1]] for label in labels]
    assert means == sorted(means)


def test_without_two_of_equal_size_there_is_no_budget_picture(tmp_path):
    cases = [(folders.DENSE, 0.01), (folders.low_rank(1), 0.02), (folders.low_rank(9), 0.01)]
    comparison = comparison_of(folders.write_sweep(tmp_path / "s", cases))
    assert budget_figure(comparison, "test") is None


def test_a_mean_curve_is_the_mean_over_seeds(finished_sweep):
    group = comparison_of(finished_sweep).groups.iloc[0]
    curve = mean_curve(group)
    third = [dict(trial.curve)[3.0] for trial in group.records]
    assert curve["mean"][3.0] == pytest.approx(np.mean(third))


def test_without_metrics_there_are_no_curves(tmp_path):
    run = folders.write_run(tmp_path / "a", folders.DENSE, 0, {"test": 0.01})
    (run / "metrics.jsonl").unlink()
    assert curve_figure(comparison_of(tmp_path), "test") is None


def test_files_are_png_and_svg_and_repeat_to_the_byte(finished_sweep, tmp_path):
    comparison = comparison_of(finished_sweep)
    png, svg = save(tradeoff_figure(comparison, "test"), tmp_path / "a")
    _, again = save(tradeoff_figure(comparison, "test"), tmp_path / "b")
    assert imread(png).shape[1] == 1728
    assert imread(png)[..., :3].min() < 0.2
    assert svg.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (900, 500_000, [1e3, 1e4, 1e5]),
        (0.006, 0.09, [0.01, 0.02, 0.05, 0.007, 0.015, 0.03, 0.07]),
        (30_000, 45_000, [30_000, 40_000]),
    ],
)
def test_log_ticks_are_round_few_and_within(low, high, ticks):
    found = log_ticks(low, high, at_least=3)
    assert all(low <= tick <= high for tick in found)
    assert 2 <= len(found) <= 9
    assert {round(t, 6) for t in found} & set(ticks)
