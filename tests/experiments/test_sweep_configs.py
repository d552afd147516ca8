"""The sweeps that ship: their trials can run, and compare what they say."""

import dataclasses

import pytest

from experiments.sweeping.plan import load_plan, trial_configs
from kfc_jax import KroneckerSum

# Every sweep over the ranks of `model.fc1`, with what that layer has as inputs and features.
SWEEPS = {
    "mnist_ranks.py": (800, 500),
    "mnist_ranks.py:quick": (800, 500),
    "svhn_ranks.py": (1_024, 512),
    "svhn_ranks.py:large": (1_536, 512),
    "svhn_ranks.py:quick": (1_024, 512),
    "character_ranks.py": (2_304, 1_024),
    "character_ranks.py:quick": (2_304, 1_024),
}


@pytest.fixture(params=SWEEPS)
def sweep(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    return load_plan(f"configs/sweeps/{request.param}"), SWEEPS[request.param]


def check_trials(plan):
    """Builds the trials of the first seed; those of the others differ in the seed alone."""
    first = [trial for trial in plan.trials if trial.overrides.get("seed", 0) == 0]
    assert len(trial_configs(dataclasses.replace(plan, trials=first))) == len(first)


def test_every_trial_can_run(sweep):
    plan, _ = sweep
    assert len(plan.trials) >= 24
    check_trials(plan)


@pytest.mark.parametrize(
    "config",
    [
        "svhn_ranks.py:tune",
        "learning_rates.py:mnist",
        "learning_rates.py:svhn",
        "learning_rates.py:svhn_drawn",
    ],
)
def test_every_trial_of_the_tuning_can_run_and_leaves_the_test_split_alone(
    config, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    plan = load_plan(f"configs/sweeps/{config}")
    check_trials(plan)
    assert all(trial.overrides["train.test_at_end"] is False for trial in plan.trials)
    assert {t.overrides["model.fc1.kind"] for t in plan.trials} == {"dense", "kfc", "low_rank"}


def test_the_sweep_covers_the_methods_with_equal_seeds(sweep):
    plan, (inputs, features) = sweep
    by_seed = {}
    for trial in plan.trials:
        layer = dict(trial.overrides)
        by_seed.setdefault(layer.pop("seed"), []).append(layer)
    first, *others = by_seed.values()
    assert others
    assert all(layers == first for layers in others)
    kinds = [layer["model.fc1.kind"] for layer in first]
    assert kinds.count("dense") == 1
    structures = [
        KroneckerSum.parse(layer["model.fc1.structure"])
        for layer in first
        if layer["model.fc1.kind"] == "kfc"
    ]
    assert any(len(structure.terms) > 1 for structure in structures)
    assert any(structure.terms[0].num_factors == 3 for structure in structures)
    for layer in first:
        if layer["model.fc1.kind"] == "low_rank":
            size = layer["model.fc1.rank"] * (inputs + features)
            assert any(abs(s.num_parameters / size - 1) < 0.2 for s in structures)
