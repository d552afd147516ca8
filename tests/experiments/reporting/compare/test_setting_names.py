"""Settings have short names, which tell them apart."""

import pathlib

import pytest

from experiments.reporting.compare import compare
from experiments.reporting.compare.setting_names import setting_names
from experiments.reporting.trials import read_runs

KEPT = pathlib.Path(__file__).parents[4] / "results"
SOURCE = "runs/dense/data.name=svhn_grey,fc1.kind=dense,optimizer.learning_rate=0.016,seed=*"
SCRATCH = {"train.num_epochs": 12, "optimizer.weight_decay": 0.1}
TUNED = {"train.num_epochs": 4, "optimizer.weight_decay": 0.3, "compression.source": SOURCE}
TAUGHT = TUNED | {"distillation.teacher": SOURCE, "distillation.weight": 0.5}


def test_a_name_says_in_words_what_tells_settings_apart_and_no_more():
    assert setting_names([SCRATCH, TUNED, TAUGHT]) == [
        "from scratch, no teacher",
        "fine-tuned, no teacher",
        "fine-tuned, taught",
    ]
    longer = SCRATCH | {"train.num_epochs": 24}
    assert setting_names([SCRATCH, longer, TUNED]) == [
        "from scratch, 12 epochs",
        "from scratch, 24 epochs",
        "fine-tuned, 4 epochs",
    ]


def test_equal_settings_have_no_name():
    assert setting_names([{}, {}]) == ["", ""]


def test_values_that_are_long_are_numbered():
    other = TUNED | {"compression.source": SOURCE.replace("0.016", "0.008")}
    assert setting_names([TUNED, other]) == ["source no. 1", "source no. 2"]


def test_flags_and_lists_are_words():
    settings = [
        {"compression.weighted": flag, "model.channels": channels}
        for flag in (True, False)
        for channels in ([[16], [32]], [[24, 24], [48]])
    ]
    assert setting_names(settings) == [
        "channels 16,32, weighted",
        "channels 24-24,48, weighted",
        "channels 16,32, not weighted",
        "channels 24-24,48, not weighted",
    ]


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in KEPT.glob("*/runs.jsonl")))
def test_kept_runs_have_a_short_name_for_each_of_their_settings(folder):
    for comparison in compare(read_runs([KEPT / folder])):
        names = comparison.groups.groupby("settings").setting_name.unique()
        assert {len(own) for own in names} == {1}
        assert names.map(lambda own: own[0]).is_unique
        assert names.map(lambda own: len(own[0])).max() <= 140
