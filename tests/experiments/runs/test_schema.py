import pytest

from experiments.runs import DIVERGED, failure_reason, is_finished

# Of a kept run from before there were reasons.
OLD = (
    "It ended with exit code 1.\nerror: The loss is nan at step 8, where the learning rate is inf. "
    "Checkpoint 5 is good, and nothing was saved after it. Lower config.optimizer.learning_rate or "
    "config.optimizer.factor_gain, or raise config.optimizer.warmup_epochs, in another --workdir."
)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"reason": "diverged", "error": "in whatever words"}, DIVERGED),
        ({"reason": None, "error": OLD}, ""),  # what a field says counts, not a sentence
        ({"error": OLD}, DIVERGED),
        ({"problem": OLD}, DIVERGED),
        ({"error": "It was killed by SIGKILL."}, ""),
        ({"error": None}, ""),
        ({}, ""),
    ],
)
def test_why_a_run_failed_is_a_field_and_was_a_sentence(state, reason):
    assert failure_reason(state) == reason


def test_a_run_is_finished_once_it_has_its_result(tmp_path):
    assert not is_finished(tmp_path)
    (tmp_path / "result.json").mkdir()
    assert not is_finished(tmp_path)
    (tmp_path / "result.json").rmdir()
    for damaged in ("", "{", "[1]", "{}", "\xff"):
        (tmp_path / "result.json").write_text(damaged, encoding="latin-1")
        assert not is_finished(tmp_path)
    (tmp_path / "result.json").write_text('{"steps": 1}')
    assert is_finished(tmp_path)
