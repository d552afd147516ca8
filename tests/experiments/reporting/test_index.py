"""The list of kept runs: every folder once, with its question, its command and its documents."""

import pytest

from experiments import report
from experiments.reporting import index_page

ENTRIES = """
[lenet]
question = "Which structure?"
sweeps = ["ranks.py:quick", "ranks.py"]
since = "more seeds"

[lenet_speed]
question = "How fast?"
command = "python -m experiments.benchmark"
"""


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    for name in ("lenet", "lenet_speed"):
        (folder / name).mkdir(parents=True)
    (folder / "index.toml").write_text(ENTRIES)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "none.md").write_text("Nothing is kept in results/lenet_quick.")
    (tmp_path / "docs" / "speed.md").write_text("kept in `results/lenet_speed`")
    inner = tmp_path / "docs" / "results" / "lenet.md"
    inner.write_text(
        "<!-- table ../../results/lenet: Starts -->, ![](../../results/lenet_speed/a.png)"
    )
    return folder


def test_a_line_for_each_folder(results):
    *_, first, second = index_page(results).splitlines()
    assert first == (
        "| [lenet](lenet/) | Which structure? | `ranks.py:quick`, `ranks.py` (more seeds) "
        "| [lenet.md](../docs/results/lenet.md) |"
    )
    assert second == (
        "| [lenet_speed](lenet_speed/) | How fast? | `python -m experiments.benchmark` "
        "| [lenet.md](../docs/results/lenet.md), [speed.md](../docs/speed.md) |"
    )


def test_the_command_writes_it(results, capsys):
    assert report.main([f"--index={results}"]) == 0
    assert "README.md: 2." in capsys.readouterr().out
    assert (results / "README.md").read_text() == index_page(results)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (ENTRIES.replace("[lenet_speed]", "[speed]"), "differ in lenet_speed, speed"),
        (ENTRIES.replace("question", "asked"), r"\[lenet\] has a question"),
        (ENTRIES.replace("command =", "since ="), "needs either sweeps or a command"),
        (ENTRIES + 'sweeps = ["ranks.py"]\n', "needs either sweeps or a command"),
    ],
)
def test_what_is_wrong_with_it_is_said_and_nothing_is_written(results, wrong, said, capsys):
    (results / "index.toml").write_text(wrong)
    with pytest.raises(ValueError, match=said):
        index_page(results)
    assert report.main([f"--index={results}"]) == 1
    assert "is as it was" in capsys.readouterr().err
    assert not (results / "README.md").exists()
