"""The guides show changes that apply to the files as they are, and commands that then work."""

import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# A page without a change to make has examples, which `test_readme` runs.
PAGES = [p for p in sorted((ROOT / "docs/how_to").glob("*.md")) if "```diff" in p.read_text()]
PARTS = ("kfc_jax", "experiments", "configs", "tests")

# One epoch of two steps, in place of many epochs.
TRAIN_BRIEFLY = [
    "--config.data.num_validation=3744",
    "--config.train.num_epochs=1",
    "--config.optimizer.warmup_epochs=0.5",
]

# What is added to the command of a page to make it short, and what it must then print.
SHORT_RUNS = {
    "data_set": ([], r"^\(1437, 8, 8, 1\)$"),
    "network": (TRAIN_BRIEFLY, r"^fc1 +kfc +8:28x32\*28x32 (.|\n)*^test error"),
    # Of the page's tests those of the new strategy; and that the benchmark can tell it apart.
    "strategy": (
        [
            "tests/experiments/benchmarking/test_contenders.py",
            "-k=one_einsum or name_of_its_own",
            "-vv",
        ],
        r"in_turn\[one_einsum\] PASSED",
    ),
    "structure_kind": (TRAIN_BRIEFLY, r"^fc1 +repeated_block +copies 10 (.|\n)*^test error"),
    "sweep": ([], r"^8 trials, 0 of them done; nothing was run\.$"),
}


def blocks(language, page):
    text = page.read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_shows_a_change_and_a_command():
    assert {page.stem for page in PAGES} == SHORT_RUNS.keys()
    for page in PAGES:
        assert len(blocks("diff", page)) == len(blocks("bash", page)) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_change_applies_and_the_command_then_works(page, tmp_path):
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # Outside of any other repository, so that git looks at these files alone.
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (change,) = blocks("diff", page)
    done = run(["git", "apply", "-"], tmp_path, input=change)
    assert done.returncode == 0, done.stderr

    (command,) = blocks("bash", page)
    program, *arguments = shlex.split(command)
    assert program == "python"
    more, expected = SHORT_RUNS[page.stem]
    done = run([sys.executable, *arguments, *more], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(expected, done.stdout, re.MULTILINE), done.stdout + done.stderr


def run(command, folder, **options):
    return subprocess.run(
        command, cwd=folder, text=True, capture_output=True, check=False, **options
    )
