"""The guides show changes that apply to the files as they are."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "how_to").glob("*.md"))


def diffs(page):
    return re.findall(r"^```diff\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_every_page_shows_a_change():
    assert len(PAGES) == 5
    assert all(len(diffs(page)) == 1 for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_change_applies(page, tmp_path):
    (change,) = diffs(page)
    for name in re.findall(r"^--- a/(.+)$", change, re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    # Outside of any repository, so that git looks at these files alone.
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    check = ["git", "apply", "--check", "-"]
    done = subprocess.run(check, cwd=tmp_path, input=change, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
