import dataclasses

import pytest

from experiments.benchmarking import tables
from experiments.benchmarking.picture import draw
from experiments.benchmarking.results import Entry, NetworkResult
from experiments.benchmarking.targets import NETWORKS, TARGETS, evaluate
from tests.experiments.benchmarking.made_up import case, result, results, timing


def outcomes(*cases, **fields):
    return {o.target.title: o for o in evaluate(results(*cases, **fields))}


def test_without_results_no_target_says_anything():
    assert all(not outcome.ratios for outcome in outcomes().values())


def test_planned_is_compared_with_the_best_strategy():
    fine = result(case(1), planned=1.05, per_sample=1.0, batched=3.0)
    slow = result(case(4), planned=1.5, per_sample=2.0, batched=1.0)
    outcome = outcomes(fine, slow)["planned / best strategy"]
    assert list(outcome.ratios.values()) == [1.5, 1.05]
    assert outcome.met == 1
    assert next(iter(outcome.ratios)) == case(4).key


@pytest.mark.parametrize(
    ("rank", "batch", "pass_", "limit"),
    [(1, 256, "forward", 33), (16, 1024, "forward", 2.4), (4, 256, "training", 8.5)],
)
def test_each_rank_has_its_bound_at_4096(rank, batch, pass_, limit):
    title = f"dense / planned, 4096x4096, {pass_}, batch {batch}, rank {rank}"
    for factor, met in ((1.01, 1), (0.99, 0)):
        one = result(case(rank, batch, pass_), dense=limit * factor, planned=1.0)
        elsewhere = result(case(rank, batch, shape=(784, 1024)), dense=0.1, planned=1.0)
        other_pass = {"forward": "training", "training": "forward"}[pass_]
        other = result(case(2, batch, other_pass), dense=0.1, planned=1.0)
        found = outcomes(one, elsewhere, other)
        assert list(found[title].ratios) == [one.case.key]
        assert found[title].met == met
        assert len(found["dense / planned, anywhere"].ratios) == 3
        others = [t for t in found if "4096x4096" in t and t != title]
        assert all(not found[t].ratios for t in others)


def test_an_earlier_revision_is_beaten_on_average_and_everywhere():
    cases = [
        result(
            case(rank, 32),
            planned=9.0,
            earlier=seconds,
            beside={"earlier": {"planned": 1.0}},
        )
        for rank, seconds in ((1, 4.0), (4, 1.0))
    ]
    outcome = outcomes(*cases, result(case(1, 1), planned=1.0, earlier=0.1))[
        "earlier / planned, batch >= 32"
    ]
    assert outcome.met == 1
    assert outcome.mean == pytest.approx(2.0)
    text = tables.summary(results(*cases))
    assert f"| >= 1.1 | 1 of 2 | 1.00 ({cases[1].case.key}) | 2.00 |" in text


def test_ratios_stand_in_a_table_of_layers_ranks_and_batches():
    text = tables.summary(
        results(
            result(case(1, 1), dense=300.0, planned=1.0),
            result(case(1, 32), dense=2.5, planned=1.0),
            result(case(4, 32), dense=0.5, planned=1.0),
            result(case(1, 32, "training"), dense=7.0, planned=1.0),
        )
    )
    assert "Dense over ours, forward, at batch 1 / 32:" in text
    assert "| layer | rank 1 | rank 4 |\n" in text
    assert "| 4096 -> 4096 | 300 / 2.5 | - / 0.5 |\n" in text
    assert "| 4096 -> 4096 | - / 7 | - / - |\n" in text
    assert "The earlier revision over ours" not in text


def test_training_has_bounds_on_time_and_memory():
    one = result(
        case(4, 1024, "training"),
        dense=9.0,
        einsum=1.6,
        planned=1.0,
        memory={"planned": 10, "einsum": 40},
    )
    found = outcomes(one, result(case(4, 32, "training"), dense=1, einsum=1, planned=1))
    head = "forward and backward, rank 4, batch"
    assert found[f"naive einsum / planned, {head} >= 256"].met == 0
    memory = found[f"temporary memory, planned / naive einsum, {head} 1024"]
    assert memory.ratios == {one.case.key: 0.25}
    assert memory.met == 0


def test_the_floor_is_asked_for_large_enough_cases():
    flops = 2 * 2 * 32 * 4 * 64**3  # at 1e11 a second
    near = result(case(4, 32), planned=1.2 * flops / 1e11)
    found = outcomes(near, result(case(4, 1), planned=1.0))
    for limit, met in ((1.3, 1), (1.15, 0)):
        outcome = found[f"planned / floor, forward, batch >= 32, at most {limit}"]
        assert outcome.ratios == {near.case.key: pytest.approx(1.2)}
        assert outcome.met == met


def test_peers_and_networks_have_bounds():
    peers = result(
        case(),
        planned=9.0,
        fastkron=1.1,
        lycoris=1.1,
        beside={"fastkron": {"planned": 1.0}, "lycoris": {"planned": 1.0}},
    )
    network = NetworkResult(
        "LeNet", "1:2x2*2x2", 8, {"dense": Entry(timing(1.0)), "kfc": Entry(timing(1.25))}
    )
    found = outcomes(peers, networks={"LeNet": network})
    assert found["FastKron / planned, forward"].met == 0
    assert found["LyCORIS LoKr / planned, forward"].met == 0
    assert found[NETWORKS.title].ratios == {"LeNet": 0.8}
    assert found[NETWORKS.title].met == 0


def test_the_summary_names_targets_worst_cells_and_missing_peers():
    one = result(case(4, 256), dense=1.0, planned=0.5, batched=0.1, low_rank=0.2, einsum=0.6)
    one.entries["peft"] = Entry(note="missing: no module named peft")
    text = tables.summary(results(one, peers={"peft": "missing: no module named peft"}))
    assert all(target.title in text for target in (*TARGETS, NETWORKS))
    assert f"planned / best strategy | <= 1.1 | 0 of 1 | 5.00 ({one.case.key}) | 5.00" in text
    assert f"Falls short, planned / best strategy: {one.case.key} 5.00." in text
    assert "- peft: missing: no module named peft" in text
    line = tables.line(one)
    assert "2x" in line
    assert "peft (missing: no module named peft)" in line


def test_cells_that_others_disturbed_are_named():
    quiet = result(case(1), dense=1.0, planned=0.5)
    loud = dataclasses.replace(result(case(4), dense=1.0, planned=0.5), other_load=0.4)
    text = tables.summary(results(quiet, loud))
    assert f"in 1 of 2 cases, at most 40% ({loud.case.key})" in text
    assert "disturbed" in tables.line(loud)
    assert "disturbed" not in tables.line(quiet)


def test_the_pictures_are_drawn_of_what_there_is(tmp_path):
    cases = [
        result(case(rank, batch, shape=shape), dense=1.0, planned=0.2)
        for rank in (1, 4)
        for batch in (1, 32)
        for shape in ((784, 1024), (4096, 4096))
    ]
    paths = draw(results(*cases), tmp_path)
    assert [path.name for path in paths] == ["speedup.png", "speedup.svg"]
    assert all(path.stat().st_size > 1000 for path in paths)
    svg = paths[1].read_text()
    assert svg.startswith("<?xml")
    assert draw(results(), tmp_path) == []
