"""Evidence: every method is searched alike, and the best by validation error gets the seeds."""

import pytest

from configs.sweeps.evidence import claims, methods, search
from experiments.reporting.trials import Trial, keep
from experiments.reporting.trials.trial import Outcome

TASK = "house-numbers"
WHERE = {"device": "", "git_revision": ""}


def without_layer_and_gain(overrides):
    return {
        field: value
        for field, value in overrides.items()
        if not field.startswith("model.") and field != "optimizer.factor_gain"
    }


@pytest.mark.parametrize("task", methods.TASKS)
def test_every_method_gets_the_same_random_settings(task):
    its = methods.TASKS[task]
    trials = list(search.sweep(task))
    assert len(trials) == methods.DRAWS * len(its.methods)
    by_method = [trials[i : i + methods.DRAWS] for i in range(0, len(trials), methods.DRAWS)]
    assert methods.DRAWS >= 24
    first = [without_layer_and_gain(trial) for trial in by_method[0]]
    for of_one in by_method[1:]:
        assert [without_layer_and_gain(trial) for trial in of_one] == first
    for trial in trials:
        assert trial["data.num_validation"] == its.num_validation
        assert trial["train.test_at_end"] is False
        for field, (low, high) in its.space.items():
            if field in trial:
                assert low * 0.94 <= trial[field] <= high * 1.06  # two digits


def test_a_gain_is_given_to_what_has_factors():
    its = methods.TASKS[TASK]
    with_gain = {
        method
        for method in its.methods
        if "optimizer.factor_gain" in its.settings_of(method, dict.fromkeys(its.space, 1.0))
    }
    assert with_gain == {"KFC 2", "low rank 3", "KFC 8", "low rank 12"}


def test_controls_are_no_larger_than_what_they_control():
    its = methods.TASKS[TASK].methods
    inputs, features, classes = 1_024, 512, 10
    for rank in (2, 8):
        parameters = rank * (16 * 16 + 64 * 32)
        width = its[f"narrow, as KFC {rank}"]["model.hidden"]
        small = inputs * width + width + width * classes
        assert small <= parameters + features + features * classes
        blocks = int(its[f"block diagonal, as KFC {rank}"]["model.fc1.structure"].split()[1])
        assert inputs * features // blocks <= parameters


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A search whose fifth setting is the best of every method, and of dense the seventh."""
    trials = []
    for number, overrides in enumerate(search.sweep(TASK)):
        method, draw = divmod(number, methods.DRAWS)
        error = {"validation": 0.05 + 0.001 * abs(draw - (7 if method == 0 else 5))}
        sizes = dict.fromkeys(("parameters", "dense_parameters", "flops", "dense_flops"), 1)
        outcome = Outcome(error, error, {}, (), **sizes, seconds=1, train_seconds=1, **WHERE)
        is_stopped = draw == 0 and method == 1
        trials.append(
            Trial(
                sweep="search",
                name=str(number),
                folder=tmp_path,
                state="stopped" if is_stopped else "done",
                overrides=overrides,
                outcome=None if is_stopped else outcome,
            )
        )
    (tmp_path / "search_house_numbers").mkdir()
    keep(trials, tmp_path / "search_house_numbers")
    monkeypatch.setattr(claims, "_RESULTS", tmp_path)
    return methods.TASKS[TASK]


def test_the_best_setting_by_validation_error_gets_ten_seeds(searched):
    drawn = list(search.sweep(TASK))
    best = claims.best_settings(TASK)
    for number, method in enumerate(searched.methods):
        wanted = drawn[number * methods.DRAWS + (7 if number == 0 else 5)]
        assert best[method] == {f: wanted[f] for f in searched.space if f in wanted}
    trials = list(claims.sweep(TASK))
    seeds = {}
    for trial in trials:
        layer = tuple(sorted((f, v) for f, v in trial.items() if f.startswith("model.")))
        seeds.setdefault(layer, []).append(trial["seed"])
        assert trial["data.num_validation"] == 0
    assert sorted(map(len, seeds.values())) == [3] + [10] * (len(searched.methods) - 1)


def test_a_search_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_RESULTS", tmp_path)
    with pytest.raises(ValueError, match=r"no .*search_house_numbers: run the sweep"):
        list(claims.sweep(TASK))
