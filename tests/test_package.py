"""What is installed: the library, whole and alone, under one version."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kfc_jax

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel that was built from the files here, and its metadata."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder), str(_copy(folder))], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        return names, archive.read(metadata).decode()


def _copy(folder):
    """Copies what the wheel is made of, so that building leaves nothing in the repository."""
    import shutil

    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kfc_jax", copy / "kfc_jax", ignore=ignored)
    return copy


def test_the_wheel_holds_every_module_of_the_library_and_nothing_else(wheel):
    names, _ = wheel
    installed = {name for name in names if ".dist-info/" not in name}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "kfc_jax").rglob("*.py")}
    assert installed == expected | {"kfc_jax/py.typed"}


def test_the_source_distribution_has_every_folder_of_the_repository():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone")
    folders = {path.partition("/")[0] for path in listed.stdout.split("\n") if "/" in path}
    grafted = re.findall(r"^graft (\S+)", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)
    assert folders == {*grafted}


def test_one_version_is_told_everywhere(wheel):
    _, metadata = wheel
    assert f"\nVersion: {kfc_jax.__version__}\n" in metadata
    assert f"\nversion: {kfc_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == kfc_jax.__version__


def test_the_package_says_the_pythons_that_are_tested(wheel):
    _, metadata = wheel
    assert "\nRequires-Python: >=3.11\n" in metadata
    for minor in (11, 12, 13):
        assert f"Classifier: Programming Language :: Python :: 3.{minor}\n" in metadata
