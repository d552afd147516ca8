import io

import pytest

from experiments.system import StatusLine, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3_599.7, "1:00:00"), (90_061, "25:01:01")],
)
def test_a_clock_has_hours_only_where_there_are_some(seconds, text):
    assert clock(seconds) == text


def test_in_a_terminal_a_line_is_replaced_until_it_is_closed():
    line = StatusLine(terminal := Terminal())
    line.show("one")
    line.show("two")
    line.say("kept")
    assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kkept\n"
    line.close()
    assert terminal.getvalue().endswith("kept\n"), "nothing was open"
    line.show("three")
    line.close()
    assert terminal.getvalue().endswith("\r\x1b[Kthree\n")


def test_a_log_has_plain_lines():
    line = StatusLine(log := io.StringIO())
    line.show("one")
    line.say("kept")
    line.show("two")
    line.close()
    assert log.getvalue() == "one\nkept\ntwo\n"
