"""The examples run from an empty folder, and do what they say."""

import os
import re
import subprocess
import sys

import pytest


def test_the_example_is_as_short_as_the_documents_say(pytestconfig):
    root = pytestconfig.rootpath
    for document in ("README.md", "docs/compression.md"):
        text = " ".join((root / document).read_text().split())
        (most,) = re.findall(r"compress_own_model\.py\) of (\d+) lines", text)
        lines = (root / "examples" / "compress_own_model.py").read_text().splitlines()
        assert len(lines) <= int(most)


@pytest.fixture(scope="module")
def printed(request, tmp_path_factory):
    """What the example prints."""
    root, folder = request.config.rootpath, tmp_path_factory.mktemp("example")
    done = subprocess.run(
        [sys.executable, root / "examples" / "compress_own_model.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "runs" / "own-model").iterdir()) == [
        "params.msgpack",
        "plan.json",
    ]
    return done.stdout


def test_the_saved_model_is_a_fifth_and_nearly_as_good(printed):
    sizes, errors = {}, {}
    for name, size, error in re.findall(
        r"^(dense|small): ([\d,]+) .* error ([\d.]+)%", printed, re.M
    ):
        sizes[name], errors[name] = int(size.replace(",", "")), float(error)
    assert sizes["small"] <= 0.2 * sizes["dense"]
    assert errors["dense"] < 10
    assert errors["small"] < errors["dense"] + 5
