import pytest

from experiments.benchmarking.timing import in_turns


class Machine:
    """A clock, and functions that let it go on."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def clock(self):
        return self.now

    def function(self, name, *seconds):
        """Returns a function whose calls take the given times in turn, and for ever."""
        calls = iter(range(10**9))

        def call():
            self.log.append(name)
            self.now += seconds[next(calls) % len(seconds)]

        return call


def test_medians_and_quartiles_are_those_of_a_call():
    machine = Machine()
    steady, varied = (
        machine.function("a", 0.004),
        machine.function("b", *(n / 1e3 for n in range(2, 7))),
    )
    timings = in_turns({"a": steady, "b": varied}, 4.0, clock=machine.clock)
    assert timings["a"].median == pytest.approx(0.004)
    assert timings["a"].low == pytest.approx(timings["a"].high)
    assert timings["b"].median == pytest.approx(0.004)
    assert timings["b"].low == pytest.approx(0.003)
    assert timings["b"].high == pytest.approx(0.005)
    assert timings["a"].samples == 60


def test_a_fast_function_is_repeated_within_a_sample():
    machine = Machine()
    timings = in_turns({"a": machine.function("a", 1e-5)}, 0.1, clock=machine.clock)
    assert timings["a"].median == pytest.approx(1e-5)
    assert len(machine.log) >= 100 * timings["a"].samples


def test_turns_are_interleaved_and_slow_functions_get_few_of_them_spread_over_the_time():
    machine = Machine()
    fast, slow = machine.function("fast", 0.01), machine.function("slow", 0.1)
    timings = in_turns({"fast": fast, "slow": slow}, 2.4, clock=machine.clock)
    assert (timings["fast"].samples, timings["slow"].samples) == (60, 6)
    turns = machine.log[6:]  # after the warm-up
    gaps = "".join(name[0] for name in turns).split("ss")
    assert all(len(gap) == 20 for gap in gaps[:6])


def test_what_another_function_leaves_behind_is_not_counted():
    machine = Machine()

    def sleepy():
        machine.now += 0.001 if machine.log and machine.log[-1] == "a" else 0.004
        machine.log.append("a")

    timings = in_turns({"a": sleepy, "b": machine.function("b", 0.01)}, 1.0, clock=machine.clock)
    assert timings["a"].high == pytest.approx(0.001)


def test_a_very_slow_function_gets_three_samples():
    machine = Machine()
    assert in_turns({"a": machine.function("a", 2.0)}, 1.0, clock=machine.clock)["a"].samples == 3


def test_nothing_to_time_takes_no_time():
    assert in_turns({}, 1.0) == {}
