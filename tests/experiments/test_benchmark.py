import functools
import json

import pytest

from experiments.benchmarking import runner
from experiments.benchmarking.cases import all_cases
from experiments.benchmarking.contenders import NAMES
from experiments.benchmarking.machine import Peaks
from experiments.benchmarking.results import NetworkResult
from tests.experiments.benchmarking import made_up


class FixedPeaks:
    """The peaks of a machine, without a measurement of large arrays."""

    def measure(self, seconds=0.0, touched=0.0):
        return Peaks(1e11, 1e10, 1e-5)


@pytest.fixture
def fixed_peaks(monkeypatch):
    monkeypatch.setattr(runner.machine, "PeakMeter", FixedPeaks)


@pytest.fixture
def benchmark(run_module):
    return functools.partial(run_module, "experiments.benchmark")


def options(**fields):
    found = all_cases(["12x20"], [1], [2, 8], ["forward"])
    return runner.Options(**{"cases": found, "seconds": 1e-3, "command": "tiny"} | fields)


def test_the_command_leaves_tables_pictures_and_a_summary(benchmark, tmp_path):
    flags = (f"--out={tmp_path}", "--shapes=12x20", "--ranks=2", "--batches=4", "--seconds=0.01")
    outcome = benchmark(*flags, "--passes=training", "--peers_python=/nowhere/python")
    assert outcome.returncode == 0, outcome.stderr
    content = json.loads((tmp_path / "results.json").read_text())
    (case,) = content["cases"].values()
    assert set(NAMES) < set(case["entries"])
    assert all(case["entries"][name]["timing"]["median"] > 0 for name in NAMES)
    assert all(case["entries"][name]["temporary_bytes"] is not None for name in NAMES)
    assert "missing" in case["entries"]["lycoris"]["note"]
    assert "fastkron" not in case["entries"]  # forward only
    assert {"start", "end"} <= set(content["sessions"][0])
    names = {path.name for path in tmp_path.iterdir()}
    assert {"results.csv", "summary.md", "speedup_training.png"} <= names
    assert "planned / best strategy" in outcome.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--shapes=12",), "error: --shapes holds '12'"),
        (("--peers=numpy",), "error: --peers holds 'numpy'; take of torch_dense"),
        (("quick",), "error: unexpected argument 'quick'"),
    ],
)
def test_mistakes_are_told_in_a_line(benchmark, tmp_path, flags, message):
    outcome = benchmark(f"--out={tmp_path / 'out'}", *flags)
    assert outcome.returncode in (1, 2)
    assert outcome.stderr.startswith(message)
    assert len(outcome.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_stopped_run_goes_on_with_the_cells_that_are_left(tmp_path, monkeypatch, fixed_peaks):
    measured = []

    def measure(case, *_, stop):
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append(case.key)
        return made_up.result(case, dense=1.0, planned=0.5)

    monkeypatch.setattr(runner, "measure_case", functools.partial(measure, stop=1))
    with pytest.raises(KeyboardInterrupt):
        runner.run(options(), tmp_path, lambda _: None)
    kept = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert list(kept) == measured == [options().cases[0].key]

    monkeypatch.setattr(runner, "measure_case", functools.partial(measure, stop=2))
    results = runner.run(options(), tmp_path, lambda _: None)
    assert measured == [case.key for case in options().cases]
    assert set(results.cases) == {case.key for case in options().cases}
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["cases"][measured[0]] == kept[measured[0]]
    assert len(content["sessions"]) == 2
    with pytest.raises(ValueError, match="is from another command"):
        runner.run(options(command="other"), tmp_path, lambda _: None)


def test_a_contender_that_fails_or_needs_too_much_memory_is_shown_as_such(
    tmp_path, monkeypatch, fixed_peaks
):
    real = runner.compile_call

    def fails_first(function, arguments, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) == 1:
            raise RuntimeError("out of luck\nmore")
        return real(function, arguments)

    monkeypatch.setattr(runner, "compile_call", fails_first)
    monkeypatch.setattr(runner, "_exceeds_memory", lambda call: call.arguments[1] is None)
    (result,) = runner.run(
        options(cases=options().cases[:1]), tmp_path, lambda _: None
    ).cases.values()
    assert result.entries["dense"].note == "RuntimeError: out of luck"
    assert result.entries["dense"].timing is None
    assert result.seconds("planned") > 0


def test_memory_is_checked_before_a_call(monkeypatch):
    monkeypatch.setattr(runner.machine, "free_memory", lambda: 100.0)

    def call(temporary):
        return runner.CompiledCall(None, (), 0.0, temporary)

    assert runner._exceeds_memory(call(90))
    assert not runner._exceeds_memory(call(60))
    assert not runner._exceeds_memory(call(None))


def test_networks_are_measured_once(tmp_path, monkeypatch, fixed_peaks):
    seen = []

    def measure(name, seconds):
        seen.append(name)
        return NetworkResult(name, "1:2x2*2x2", 8, {"dense": runner.Entry(), "kfc": runner.Entry()})

    monkeypatch.setattr(runner, "measure_network", measure)
    for _ in range(2):
        found = runner.run(options(cases=[], networks=("LeNet",)), tmp_path, lambda _: None)
    assert seen == ["LeNet"]
    assert set(found.networks) == {"LeNet"}


def test_one_program_is_compiled_and_timed_once(monkeypatch):
    compiled, real = [], runner.compile_call

    def count(function, arguments):
        compiled.append(function)
        return real(function, arguments)

    monkeypatch.setattr(runner, "compile_call", count)
    entries = runner.measure_case(options().cases[0], 1e-3, (), FixedPeaks()).entries
    ours = [entries[name] for name in NAMES if entries[name].note]
    plans = {entry.note for entry in ours}
    assert len(compiled) == len(plans) + 4  # dense, einsum and low rank, twice, have no plan
    assert len({entry.timing for entry in ours}) == len(plans) < len(ours)
