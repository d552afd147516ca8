import json
import shutil

import pytest

from experiments.runs import read_run
from tests.experiments import tiny


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run, without checkpoints, its config and its result."""
    workdir, config, result = tmp_path / "run", tiny.get_config(), {"test": {"error": 0.5}}
    workdir.mkdir()
    (workdir / "config.json").write_text(config.to_json())
    (workdir / "result.json").write_text(json.dumps(result))
    return workdir, config, result


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


def test_config_and_result_are_those_of_the_run(finished):
    workdir, config, result = finished
    run = read_run(str(workdir))
    assert run.folder == workdir
    assert run.config.to_dict() == config.to_dict()
    assert run.result == result


def test_nested_tuples_survive_json(copied):
    config = json.loads((copied / "config.json").read_text())
    config["model"]["channels"] = [[16], [24, 24]]
    (copied / "config.json").write_text(json.dumps(config))
    assert read_run(copied).config.model.channels == ((16,), (24, 24))


def test_a_lenet5_from_before_its_width_was_a_field_has_the_width_of_then(copied):
    config = json.loads((copied / "config.json").read_text())
    config["model"]["name"] = "lenet5"
    del config["model"]["hidden"]
    (copied / "config.json").write_text(json.dumps(config))
    assert read_run(copied).config.model.hidden == 500


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"copy is no folder; name the --workdir of a finished run"),
        (remove("config.json"), r"copy holds no run: it has no config\.json; name the --workdir"),
        (remove("result.json"), r"copy holds a run that is not finished: it has no result\.json"),
        (write("config.json", "{"), r"config\.json cannot be read \(.*take another run"),
        (write("config.json", "{}"), r"config\.json is of no run: it has no model; name"),
        (
            write("result.json", "[]"),
            r"result\.json is damaged: Expected object, got array; train the",
        ),
    ],
)
@pytest.mark.parametrize("field", ["", "compression.source"])
def test_what_is_no_finished_run_is_one_clear_error(copied, change, message, field):
    change(copied)
    with pytest.raises(ValueError, match=message) as caught:
        read_run(copied, field=field)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"config.{field} is " if field else str(copied))
