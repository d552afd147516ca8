"""How the commands end before they begin."""

import subprocess
import sys

import pytest

COMMAND = (
    "import sys; from experiments.system import command_line; "
    "command_line.run_app(command_line.refuse_arguments)"
)


def end_of(config, *arguments):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=config.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("flag", ["--help", "-help", "--helpshort", "--helpfull", "-?"])
def test_to_ask_for_help_is_no_mistake(pytestconfig, flag):
    ended = end_of(pytestconfig, flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "flags:" in ended.stdout or "--helpfull" in ended.stdout


def test_an_unknown_flag_and_an_argument_are_mistakes(pytestconfig):
    for argument in ("--no-such-flag=1", "help"):
        ended = end_of(pytestconfig, argument)
        assert ended.returncode == 1
        assert ended.stderr.startswith(("error: Unknown", "error: unexpected"))
