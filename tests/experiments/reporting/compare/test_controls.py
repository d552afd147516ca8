"""The controls beside small layers: none at all, a narrow dense one, a frozen one, blocks."""

import json

import pytest

from experiments.reporting import write_report
from experiments.reporting.compare import compare
from experiments.reporting.compare.series import series_of
from experiments.reporting.trials import read_runs
from tests.experiments.reporting import folders

KFC = folders.kfc("2:16x20*50x25")
LEFT_OUT = {
    "kind": "none",
    "structure": "none",
    **dict.fromkeys(("parameters", "dense_parameters", "flops", "dense_flops", "reduction"), 0),
}
BLOCKS = {"kind": "block_diagonal", "structure": "blocks 100", "parameters": 4_000}
# fc1's fields in the result, and in the config; the features of the layer.
CONTROLS = {
    "none": (LEFT_OUT, {"kind": "none"}, 500),
    "narrow": ({"structure": "800x20", "parameters": 16_000, "dense_parameters": 16_000}, {}, 20),
    "frozen": ({"frozen": True}, {"frozen": True}, 500),
    "blocks": (BLOCKS, {"kind": "block_diagonal", "structure": "blocks 100"}, 500),
}


def write_control(folder, seed, error, in_result, in_config, hidden):
    run = folders.write_run(folder, folders.DENSE, seed, {"test": error}, model__hidden=hidden)
    for name, layer, change in (("config", "fc1", in_config), ("result", 2, in_result)):
        content = json.loads((run / f"{name}.json").read_text())
        layers = content["model"] if name == "config" else content["layers"]
        layers[layer] |= change
        if name == "result" and hidden < 500:
            layers[3] |= {"structure": f"{hidden}x10", "parameters": 10 * hidden}
        (run / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def controls(tmp_path):
    """A folder of runs with two seeds each; the narrow one is better than the dense one."""
    for seed in (0, 1):
        folders.write_run(tmp_path / f"dense-{seed}", folders.DENSE, seed, {"test": 0.02})
        folders.write_run(tmp_path / f"kfc-{seed}", KFC, seed, {"test": 0.025})
        for i, (name, control) in enumerate(CONTROLS.items()):
            write_control(tmp_path / f"{name}-{seed}", seed, 0.015 + 0.001 * i, *control)
    return tmp_path


def test_every_control_is_a_method_of_its_own(controls):
    (comparison,) = compare(read_runs([controls]))
    found = {(g.method.label, g.structure): len(g.records) for g in comparison.groups.itertuples()}
    assert found == {
        ("dense", "dense"): 2,
        ("KFC", "2:16x20*50x25"): 2,
        ("no layer", "none"): 2,
        ("narrow dense", "dense, 20 features"): 2,
        ("frozen dense", "frozen dense"): 2,
        ("block diagonal", "block_diagonal blocks 100"): 2,
    }
    assert not len(comparison.repeated)
    assert comparison.layer_names == ("fc1",)
    assert not comparison.has_settings
    assert comparison.dense("test").error == pytest.approx(0.02), "the wide one"


def test_a_control_stands_beside_the_small_layers_of_its_network(controls):
    (comparison,) = compare(read_runs([controls]))
    (series,) = series_of(comparison, "test")
    assert set(series.groups.structure) == {
        "2:16x20*50x25", "none", "frozen dense", "block_diagonal blocks 100",
    }  # fmt: skip
    assert series.dense.error == pytest.approx(0.02)


def test_small_layers_of_several_widths_have_it_as_a_setting(tmp_path):
    for i, (fc, hidden) in enumerate([(KFC, 500), (KFC, 20), (folders.DENSE, 20)]):
        folders.write_run(tmp_path / str(i), fc, 0, {"test": 0.02}, model__hidden=hidden)
    (comparison,) = compare(read_runs([tmp_path]))
    assert {(g.method.label, g.settings) for g in comparison.groups.itertuples()} == {
        ("KFC", "model.hidden=500"),
        ("KFC", "model.hidden=20"),
        ("dense", "model.hidden=20"),
    }


def test_the_report_lists_them(controls, tmp_path):
    write_report([controls], tmp_path / "report")
    page = (tmp_path / "report" / "summary.md").read_text()
    for label in ("no layer", "narrow dense", "frozen dense", "block diagonal"):
        assert f"| {label} |" in page
