import re
import shlex
from pathlib import Path

import pytest

from experiments.sweeping.trials import name_trials, select


def name(overrides):
    return name_trials([overrides])[0].name


def test_a_trial_is_named_after_its_overrides_whatever_their_order():
    overrides = {"seed": 1, "model.fc1.structure": "8:28x32*28x32", "optimizer.b1": 0.8}
    expected = "fc1.structure=8-28x32_28x32,optimizer.b1=0.8,seed=1"
    assert name(overrides) == expected
    assert name(dict(reversed(overrides.items()))) == expected
    assert name({}) == "base"


def test_names_are_harmless_to_shells_and_file_systems():
    nasty = {"a": "../x y;$(rm) *?[é]\n", "b": (1, 2), "c": "8:2x2*2x2+1:4x4@4x3"}
    assert re.fullmatch(r"[A-Za-z0-9_.,+@=-]+", name(nasty))
    assert len(name({"a": "x" * 500})) <= 160


def test_different_trials_have_different_names():
    overrides = [
        {"model.fc1.structure": "2:4x4*4x4"},
        {"model.fc1.structure": "2-4x4_4x4"},
        {"other.fc1.structure": "2:4x4*4x4"},
        *({"a": "x" * 300 + end} for end in "yz"),
    ]
    assert len({trial.name for trial in name_trials(overrides)}) == len(overrides)


def test_a_trial_that_is_listed_twice_is_refused():
    with pytest.raises(ValueError, match="lists a trial twice"):
        name_trials([{"a": 1, "seed": 0}, {"seed": 0, "a": 1}])


def test_the_command_survives_the_shell():
    (trial,) = name_trials([{"model.fc1.structure": "8:28x32*28x32", "data.data_dir": "a b$"}])
    assert shlex.split(trial.command("configs/mnist.py", Path("runs/x"))) == [
        "python",
        "-m",
        "experiments.train",
        "--config=configs/mnist.py",
        f"--workdir=runs/x/{trial.name}",
        "--config.data.data_dir=a b$",
        "--config.model.fc1.structure=8:28x32*28x32",
    ]


def test_the_filter_is_a_part_of_the_name_with_wildcards():
    trials = name_trials([{"fc1.kind": kind, "seed": seed} for kind in "ab" for seed in (1, 11)])
    assert [t.name for t in select(trials, "kind=b")] == ["fc1.kind=b,seed=1", "fc1.kind=b,seed=11"]
    assert [t.name for t in select(trials, "kind=a*=11")] == ["fc1.kind=a,seed=11"]
    assert select(trials, "") == trials
    with pytest.raises(ValueError, match="--filter=kind=c fits none of the 4 trials"):
        select(trials, "kind=c")


def test_the_filter_sees_names_in_full_where_folders_have_short_ones():
    source = "runs/" + "long-" * 40
    trials = name_trials([{"compression.source": source, "fc1.rank": r} for r in (3, 15)])
    assert all("rank" not in trial.name for trial in trials)
    assert select(trials, "rank=15") == [trials[1]]


def test_the_filter_takes_structures_as_configs_spell_them():
    trials = name_trials([{"model.fc1.structure": f"{r}:16x20*50x25"} for r in (2, 12)])
    assert select(trials, "=2:16x20*50x25") == [trials[0]]
    assert select(trials, trials[1].name) == [trials[1]]
