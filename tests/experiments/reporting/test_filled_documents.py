"""Tables in documents are those of the runs that their marks name."""

import pytest

from experiments import report
from experiments.reporting import fill, filled

MARKED = """# Results

<!-- table {folder}: {name} -->
old
<!-- end of table -->

After.
"""


@pytest.fixture
def document(tmp_path, finished_report):
    path = tmp_path / "results.md"

    def write(name="Structures", folder=finished_report, text=MARKED):
        path.write_text(text.format(folder=folder, name=name))
        return path

    return write


def test_a_table_is_that_of_the_runs_summary(document, finished_report):
    path = document("KFC and low rank at equal size")
    assert fill(path) == 1
    text = path.read_text()
    assert "old" not in text
    assert text.startswith("# Results\n\n<!-- table ")
    assert text.endswith("-->\n\nAfter.\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5  # the sweep has low rank in five sizes
    assert set(rows) <= set((finished_report / "summary.md").read_text().splitlines())


def test_a_mark_may_want_rows_with_a_text_only(document):
    path = document("KFC and low rank at equal size, rows with `rank 3`")
    fill(path)
    _, _, row = (line for line in path.read_text().splitlines() if line.startswith("|"))
    assert "`rank 3`" in row


def test_filling_twice_changes_nothing(document):
    path = document()
    fill(path)
    before = path.read_text()
    fill(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Prices"}, "has no table 'Prices'; take one of Structures"),
        ({"name": "Structures, rows with rank 99"}, "no row of "),
        ({"text": "<!-- table {folder}: {name} -->\nold\n"}, "has no <!-- end of table -->"),
        ({"text": "no marks"}, "has no marks for tables"),
        ({"folder": "nowhere"}, "nowhere is no folder"),
    ],
)
def test_what_cannot_be_filled_is_said_and_left_as_it_was(document, change, said, capsys):
    path = document(**change)
    before = path.read_text()
    assert report.main([f"--fill={path}"]) == 1
    assert said in capsys.readouterr().err
    assert path.read_text() == before


def test_the_command_fills(document, capsys):
    path = document()
    assert report.main([f"--fill={path}"]) == 0
    assert "results.md: 1." in capsys.readouterr().out
    assert "| KFC | `8:16x20*50x25` |" in path.read_text()


def test_what_is_below_a_heading_of_a_summary_is_copied(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "summary.md").write_text("# All\n\n## One\n\n| a |\n\n## Two\n\n- b\n")
    document = tmp_path / "page.md"
    text = "<!-- summary runs: {} -->\n\n{}\n\n<!-- end of table -->\nrest\n"
    document.write_text(text.format("Two", "old"))
    assert filled(document) == text.format("Two", "- b")
    document.write_text(text.format("One", "old"))
    assert filled(document) == text.format("One", "| a |")
    document.write_text(text.format("Three", "old"))
    with pytest.raises(ValueError, match="no heading 'Three'; take one of One, Two"):
        filled(document)
