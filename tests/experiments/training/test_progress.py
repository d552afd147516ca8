import io
import time

import pytest

from experiments.training.progress import Progress, Stopwatch

METRICS = {
    "train/loss": 0.25,
    "train/error": 0.0125,
    "steps_per_second": 20.0,
    "data_wait_fraction": 0.004,
}
LINE = (
    "epoch 1.50/10  step 150/1,000  loss 0.2500  error 1.25%  20.0 steps/s  0:42 left  "
    "data wait 0.4%"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_plain_lines():
    log = io.StringIO()
    progress = Progress(1000, 100, log)
    progress.update(150, METRICS)
    progress.update(200, METRICS | {"validation/error": 0.02, "validation/loss": 0.5})
    lines = log.getvalue().splitlines()
    assert lines[0] == LINE
    assert lines[2] == "epoch 2: validation error 2.00%, loss 0.5000"
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_one_line_that_is_updated():
    terminal = Terminal()
    progress = Progress(1000, 100, terminal)
    progress.update(149, METRICS)
    progress.update(150, METRICS)
    assert terminal.getvalue().count("\n") == 0
    assert terminal.getvalue().endswith(f"\r\x1b[K{LINE}")
    progress.say("done")
    assert terminal.getvalue().endswith(f"{LINE}\ndone\n")
    progress.close()
    assert terminal.getvalue().endswith("done\n"), "no line was open"


def test_hours_are_shown():
    log = io.StringIO()
    Progress(1_000_000, 100, log).update(100_000, METRICS)
    assert "12:30:00 left" in log.getvalue()


def test_the_stopwatch_adds_up_and_goes_on():
    watch = Stopwatch(train=10.0)
    for _ in range(2):
        with watch("train"), watch("data_wait"):
            time.sleep(0.01)
    assert 0.02 <= watch.seconds["data_wait"] <= watch.seconds["train"] - 10 < 1
    assert watch.data_wait_fraction() == pytest.approx(
        watch.seconds["data_wait"] / watch.seconds["train"]
    )
    assert watch.seconds["eval"] == 0
