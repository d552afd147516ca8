"""The sweeps that ship: their trials can run, and compare what they say."""

import pytest

from experiments.sweeping.plan import load_plan, trial_configs
from kfc_jax import KroneckerSum


@pytest.fixture(params=["", ":quick"])
def plan(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    return load_plan(f"configs/sweeps/mnist_ranks.py{request.param}")


def test_every_trial_can_run(plan):
    assert len(plan.trials) >= 24
    assert len(trial_configs(plan)) == len(plan.trials)


def test_the_sweep_covers_the_methods_with_equal_seeds(plan):
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
            size = layer["model.fc1.rank"] * (800 + 500)
            assert any(abs(s.num_parameters / size - 1) < 0.2 for s in structures)
