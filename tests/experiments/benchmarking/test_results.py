import csv
import io
import json

import pytest

from experiments.benchmarking.results import Entry, NetworkResult, as_csv, open_results
from tests.experiments.benchmarking.made_up import case, result, results, timing


def test_results_come_back_from_their_file(tmp_path):
    saved = results(
        result(case(), dense=0.5, planned=0.1, lycoris=0.4, beside={"lycoris": {"planned": 0.2}}),
        peers={"lycoris": "lycoris-lora 1"},
        sessions=[{"start": {"flops": 1.0}}],
        networks={"LeNet": NetworkResult("LeNet", "1:2x2*2x2", 8, {"dense": Entry(timing(1.0))})},
    )
    saved.cases[case().key].entries["peft"] = Entry(note="missing: no module")
    saved.save(tmp_path)
    assert open_results(tmp_path, results()) == saved


def test_without_a_file_the_results_are_fresh(tmp_path):
    fresh = results()
    assert open_results(tmp_path, fresh) is fresh


@pytest.mark.parametrize("field", ["command", "versions", "machine"])
def test_results_of_something_else_are_refused(tmp_path, field):
    results().save(tmp_path)
    other = results()
    setattr(other, field, "another" if field == "command" else {"jax": "2"})
    with pytest.raises(ValueError, match=rf"(?s)is from another {field.rstrip('s')}.*--out"):
        open_results(tmp_path, other)


@pytest.mark.parametrize("text", ["{", "[]", '{"command": "x"}'])
def test_a_broken_file_is_told(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match="holds no results of a benchmark"):
        open_results(tmp_path, results())


def test_ratios_of_peers_are_to_what_was_measured_beside_them():
    one = result(case(), planned=0.1, dense=0.5, lycoris=0.6, beside={"lycoris": {"planned": 0.2}})
    assert one.ratio("dense", "planned") == pytest.approx(5)
    assert one.ratio("lycoris", "planned") == pytest.approx(3)
    assert one.ratio("lycoris", "dense") == pytest.approx(3 / 5)
    assert one.ratio("peft", "planned") is None


def test_the_table_has_a_line_per_contender():
    found = results(result(case(), dense=0.5, planned=0.1, materialize=0.4))
    found.cases[case().key].entries["peft"] = Entry(note="failed")
    rows = {row["contender"]: row for row in csv.DictReader(io.StringIO(as_csv(found)))}
    assert list(rows) == ["dense", "planned", "materialize", "peft"]
    planned = rows["planned"]
    assert float(planned["over_dense"]) == pytest.approx(5)
    assert float(planned["flops_per_second"]) == pytest.approx(1e10)
    assert float(planned["over_floor"]) == pytest.approx(0.1 / found.cases[case().key].floor)
    assert planned["structure"] == "4:64x64*64x64"
    assert rows["peft"]["note"] == "failed"
    assert rows["peft"]["median_seconds"] == ""


def test_the_file_is_plain_json(tmp_path):
    results(result(case(), dense=0.5)).save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["cases"][case().key]["entries"]["dense"]["timing"]["median"] == 0.5
