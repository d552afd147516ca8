import pytest

from experiments.any_flax_model import read_results, summary


@pytest.fixture
def kept(pytestconfig):
    return pytestconfig.rootpath / "results" / "any_model"


def test_the_kept_summary_is_that_of_the_kept_runs(kept):
    assert (kept / "summary.md").read_text() == summary(read_results(kept))


def test_kept_runs_are_no_quick_ones_and_name_no_folder_of_a_machine(kept):
    text = (kept / "results.jsonl").read_text()
    assert "--quick" not in text
    assert "/tmp" not in text
    assert "--out" not in text
