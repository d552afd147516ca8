import json
import struct

import pytest
from tensorboardX.proto import event_pb2

from configs import mnist
from experiments.runs import RunFolder
from tests.experiments import tiny


def scalars(folder):
    """Reads the events of a folder, record by record: {(step, name): value}, and purged steps."""
    found, restarts = {}, []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, position = path.read_bytes(), 0
        while position < len(content):
            (length,) = struct.unpack_from("<Q", content, position)
            event = event_pb2.Event.FromString(content[position + 12 : position + 12 + length])
            position += 12 + length + 4
            if event.HasField("session_log"):
                restarts.append(event.step)
            for value in event.summary.value:
                found[event.step, value.tag] = value.simple_value
    return found, restarts


def metric_lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_config_is_written_and_the_same_one_is_welcome(tmp_path):
    config = tiny.get_config()
    RunFolder(tmp_path / "a" / "run", config).open().start(0)
    written = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert written["model"]["fc1"]["structure"] == "2:4x5*4x6"
    assert written["model"]["image_shape"] == [16, 16, 1]
    assert RunFolder(tmp_path / "a" / "run", config).open().result() is None


def test_another_config_is_refused_naming_all_differences(tmp_path):
    RunFolder(tmp_path, tiny.get_config()).open().start(0)
    config = tiny.get_config()
    config.optimizer.learning_rate = 0.5
    config.model.fc1.structure = "1:4x5*4x6"
    with pytest.raises(ValueError, match="holds a run with another config") as caught:
        RunFolder(tmp_path, config).open()
    message = str(caught.value)
    assert "config.optimizer.learning_rate was 0.02 and is now 0.5" in message
    assert "config.model.fc1.structure was '2:4x5*4x6' and is now '1:4x5*4x6'" in message
    assert "another --workdir, or the same config" in message
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["learning_rate"] == 0.02


def test_fields_that_leave_the_numbers_alone_may_change(tmp_path):
    RunFolder(tmp_path, tiny.get_config()).open().start(0)
    config = tiny.get_config()
    config.data.data_dir, config.train.log_every = "elsewhere", 77
    RunFolder(tmp_path, config).open().start(0)
    assert json.loads((tmp_path / "config.json").read_text())["train"]["log_every"] == 77


def test_a_run_goes_on_whose_config_lacks_a_field_that_came_later(tmp_path):
    config = mnist.get_config()
    RunFolder(tmp_path, config).open().start(0)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    del written["model"]["hidden"], written["model"]["fc1"]["frozen"]
    path.write_text(json.dumps(written))
    RunFolder(tmp_path, config).open()
    config.model.hidden, config.model.fc1.frozen = 20, True
    with pytest.raises(ValueError, match=r"fc1\.frozen was False .*hidden was 500 and is now 20"):
        RunFolder(tmp_path, config).open()


def test_a_run_that_never_started_binds_no_config(tmp_path):
    RunFolder(tmp_path, tiny.get_config()).open()
    config = tiny.get_config()
    config.data.name = "mnist_5k"
    RunFolder(tmp_path, config).open()


def test_an_unreadable_config_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read .*delete this file alone"):
        RunFolder(tmp_path, tiny.get_config()).open()


def test_metrics_and_events_hold_the_same_numbers(tmp_path):
    folder = RunFolder(tmp_path, tiny.get_config()).open()
    folder.start(0)
    folder.write_metrics(10, {"train/loss": 1.5, "epoch": 0.5})
    folder.write_metrics(20, {"train/loss": 0.25, "epoch": 1.0})
    folder.close()
    assert metric_lines(tmp_path) == [
        {"step": 10, "train/loss": 1.5, "epoch": 0.5},
        {"step": 20, "train/loss": 0.25, "epoch": 1.0},
    ]
    assert scalars(tmp_path)[0] == {
        (10, "train/loss"): 1.5,
        (10, "epoch"): 0.5,
        (20, "train/loss"): 0.25,
        (20, "epoch"): 1.0,
    }
    assert scalars(tmp_path)[1] == [1], "an earlier run that saved nothing is forgotten"


def test_going_on_drops_what_lies_past_the_checkpoint(tmp_path):
    folder = RunFolder(tmp_path, tiny.get_config()).open()
    folder.start(0)
    for step in (10, 20, 30):
        folder.write_metrics(step, {"train/loss": 1.0})
    folder.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "train/lo')  # a kill in the middle of a line
    folder.start(20)
    folder.write_metrics(30, {"train/loss": 2.0})
    folder.close()
    assert [(m["step"], m["train/loss"]) for m in metric_lines(tmp_path)] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]
    assert scalars(tmp_path)[1][-1] == 21, "TensorBoard is told to forget from step 21 on"


def test_the_result_marks_a_run_as_finished(tmp_path):
    folder = RunFolder(tmp_path, tiny.get_config()).open()
    folder.write_result({"test": {"error": 0.5}})
    assert folder.result() == {"test": {"error": 0.5}}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_damaged_result_is_renamed_and_none(tmp_path, capsys):
    (tmp_path / "result.json").write_text("{")
    folder = RunFolder(tmp_path, tiny.get_config()).open()
    assert folder.result() is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "result.json is damaged" in said
    assert "it is now result.json.damaged, and the result is made anew" in said
    assert [path.name for path in tmp_path.iterdir()] == ["result.json.damaged"]


@pytest.mark.parametrize("name", ["a[2]", "[x]", "a\\b"])
def test_a_path_from_which_no_checkpoint_could_be_read_is_refused_at_once(tmp_path, name):
    with pytest.raises(ValueError, match=r"which Orbax takes for a pattern.*another --workdir"):
        RunFolder(tmp_path / name / "run", tiny.get_config()).open()
    assert not list(tmp_path.iterdir())


def test_metrics_are_read_without_the_lines_that_are_no_metrics(tmp_path):
    assert RunFolder.read_metrics(tmp_path) == []
    whole = [{"step": step, "train/loss": 0.5} for step in (1, 2, 3)]
    first, second, third = map(json.dumps, whole)
    damaged = [
        '{"step": 15, "train/lo',
        "7",
        "null",
        '{"epoch": 1}',
        '{"step": null}',
        "",
        "\udcff",
    ]
    text = "\n".join([first, *damaged, second, third, first[:9]])
    (tmp_path / "metrics.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    assert RunFolder.read_metrics(tmp_path) == whole
    end = len(third) + 1 + len(first[:9])
    assert RunFolder.read_metrics(tmp_path, last_bytes=end + 5) == whole[2:]
