"""The benchmark of planning: cases in processes of their own, a table, an earlier revision."""

import json

import pytest

from experiments.benchmarking import PlanningOptions, planning, run_planning
from experiments.benchmarking.planning_process import CASES
from tests.kfc_jax.reference import message_of


def test_plans_are_timed_with_and_without_statistics_and_written(tmp_path):
    options = PlanningOptions(["small"], repeats=1, command="python -m experiments.benchmark")
    run_planning(options, tmp_path / "out", say=[].append)
    results = json.loads((tmp_path / "out" / "planning.json").read_text())
    assert [plan["weighting"] for plan in results["plans"]] == ["plain", "weighted"]
    for plan in results["plans"]:
        assert plan["seconds"] > 0
        assert 0 < plan["error"] < 1
        assert len(plan["structures"]) == plan["kernels"] == len(CASES["small"])
    table = (tmp_path / "out" / "planning.md").read_text()
    assert table.startswith("`python -m experiments.benchmark`")
    assert f"| {results['plans'][1]['parameters']:,} |" in table
    assert results["versions"].keys() >= {"git", "jax"}


def test_revisions_plan_in_turn_and_the_median_counts(monkeypatch, tmp_path):
    asked, seconds = [], iter([1.0, 9.0, 5.0, 7.0, 2.0, 8.0])

    def plan(case, weighting, tree):
        asked.append((case, weighting, tree))
        time = next(seconds)
        return {"seconds": time, "cpu_seconds": time, "error": 0.1, "parameters": 1}

    monkeypatch.setattr(planning, "_plan", plan)
    trees = {"this": None, "earlier": tmp_path}
    this, earlier = planning._measured("mlp", "plain", trees, 3)
    assert [tree for _, _, tree in asked] == [None, tmp_path] * 3
    assert (this["revision"], this["seconds"]) == ("this", 2.0)
    assert (earlier["revision"], earlier["seconds"]) == ("earlier", 8.0)


def test_the_library_of_a_tree_is_the_one_that_plans(tmp_path):
    (tmp_path / "kfc_jax").mkdir()
    (tmp_path / "kfc_jax" / "__init__.py").write_text("raise RuntimeError('another library')")
    with pytest.raises(ValueError, match="another library"):
        planning._plan("small", "plain", tmp_path)


def test_mistakes_are_told(tmp_path):
    for options, expected in (
        (PlanningOptions(["vgg"]), "--planning_cases holds 'vgg'"),
        (PlanningOptions(repeats=0), "--repeats is 0"),
    ):
        assert expected in message_of(run_planning, options, tmp_path)
