"""What the commands read, build and check: each run folder once."""

import json
import shutil

import pytest

from tests.experiments import tiny

pytestmark = pytest.mark.usefixtures("tiny_installed")


@pytest.fixture
def counts(run_module):
    def run(module, *arguments):
        done = run_module("tests.experiments.training.count_reads", module, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def source(dense_run, tmp_path):
    return shutil.copytree(dense_run, tmp_path / "source")


def test_a_compression_reads_its_source_once_though_that_is_the_teacher_too(
    counts, source, tmp_path
):
    flags = (f"--from={source}", "--budget=0.5", f"--workdir={tmp_path / 'small'}", "--distill=0.5")
    assert counts("experiments.compress", *flags) == {
        "source/config.json": 1,
        "source/result.json": 1,
        "arrays restored": 2,  # the first checkpoint is read back
        "models built": 2,
        "configs checked": 1,
    }
    result = json.loads((tmp_path / "small" / "result.json").read_text())
    assert result["teacher"]["run"] == result["compression"]["source"]["run"] == str(source)
    # Once finished, it is read itself, and of the source no more than what it was.
    assert counts("experiments.compress", *flags) == {
        "source/config.json": 1,
        "source/result.json": 1,
        "small/config.json": 1,
        "small/result.json": 1,
        "models built": 1,
        "configs checked": 1,
    }


def test_a_compression_with_a_teacher_of_its_own_reads_each_run_once(counts, source, tmp_path):
    teacher = shutil.copytree(source, tmp_path / "teacher")
    config = tmp_path / "config.py"
    config.write_text(
        "from tests.experiments import tiny\n"
        f"get_config = lambda: tiny.config_of(distillation__teacher={str(teacher)!r})\n"
    )
    flags = (f"--from={source}", "--budget=0.5", f"--workdir={tmp_path / 'small'}")
    assert counts("experiments.compress", f"--config={config}", *flags) == {
        "source/config.json": 1,
        "source/result.json": 1,
        "teacher/config.json": 1,
        "teacher/result.json": 1,
        "arrays restored": 3,  # likewise
        "models built": 3,
        "configs checked": 1,
    }


def test_a_training_that_starts_and_learns_from_one_run_reads_it_once(counts, source, tmp_path):
    config = tmp_path / "config.py"
    fields = {"distillation.teacher": str(source), "compression.source": str(source)}
    config.write_text(
        "from tests.experiments import tiny\n"
        "def get_config():\n"
        "    config = tiny.get_config()\n"
        f"    config.update_from_flattened_dict({fields!r})\n"
        "    return config\n"
    )
    assert counts("experiments.train", f"--config={config}", f"--workdir={tmp_path / 'run'}") == {
        "source/config.json": 1,
        "source/result.json": 1,
        "arrays restored": 2,  # the first checkpoint is read back
        "models built": 2,
        "configs checked": 1,
    }
    assert (
        json.loads((tmp_path / "run" / "result.json").read_text())["steps"]
        == tiny.STEPS_PER_EPOCH * 3
    )
