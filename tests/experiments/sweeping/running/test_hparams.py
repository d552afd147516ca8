import json

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from configs import quickstart
from experiments.sweeping.running.hparams import write_hparams


def read_values(path):
    """Parses the records of an events file: length (8 bytes), its checksum, data, its checksum."""
    data, position, values = path.read_bytes(), 0, []
    while position < len(data):
        size = int.from_bytes(data[position : position + 8], "little")
        event = Event.FromString(data[position + 12 : position + 12 + size])
        values += event.summary.value
        position += 12 + size + 4
    return values


def test_tensorboard_finds_the_hyper_parameters_and_the_results(tmp_path):
    result = {
        "steps": 40,
        "test": {"error": 0.03},
        "validation": None,
        "whole_model": {"parameters": 99},
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    fields = ["model.fc1.rank", "model.fc1.kind", "optimizer.scale_factors", "seed"]
    overrides = {"model.fc1.rank": 4, "seed": 2}
    for _ in range(2):  # the second time adds nothing
        write_hparams(tmp_path, overrides, fields, quickstart.get_config())
    (path,) = tmp_path.glob("events*")
    values = read_values(path)
    starts = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for value in values
        if value.tag == "_hparams_/session_start_info"
    ]
    (start,) = starts
    hparams = start.session_start_info.hparams
    assert hparams["model.fc1.rank"].number_value == 4
    assert hparams["seed"].number_value == 2
    assert hparams["model.fc1.kind"].string_value == "kfc"  # from the config
    assert hparams["optimizer.scale_factors"].bool_value is True
    scalars = {v.tag: round(v.simple_value, 6) for v in values if v.tag.startswith("hparam/")}
    assert scalars == {"hparam/test_error": 0.03, "hparam/parameters": 99}
