import json
import shutil

import pytest

from experiments.training import CompressionRequest, plan_run, train_and_evaluate
from kfc_jax import CompressionPlan
from tests.experiments import tiny

pytestmark = pytest.mark.usefixtures("compile_once", "tiny_installed")

TINY_TOTAL = 16 * 30 + 30 + 30 * 4 + 4


@pytest.fixture
def source(dense_run):
    return str(dense_run)


def compress(request, workdir, config=None):
    """Does what the command does."""
    planned = plan_run(request, config, workdir)
    return planned, train_and_evaluate(planned.prepare())


def test_a_run_is_compressed_within_the_budget_and_fine_tuned(source, tmp_path):
    planned, result = compress(
        CompressionRequest(source, "0.5", reordered=False, distill=0.5), tmp_path
    )
    assert result["whole_model"]["parameters"] == planned.plan.parameters <= 0.5 * TINY_TOTAL
    assert result["epochs"] == 1  # a third of 3
    assert result["teacher"]["run"] == source
    assert result["compression"]["source"]["run"] == source
    structures = {layer["name"]: layer["structure"] for layer in result["layers"]}
    for layer in planned.plan.layers:
        assert structures[layer.path] == {"dense": "30x4"}.get(layer.structure, layer.structure)
        errors = result["compression"]["layers"].get(layer.path, {"output_error": 0.0})
        assert errors["output_error"] == pytest.approx(layer.output_error, rel=1e-6)
    assert CompressionPlan.from_json((tmp_path / "plan.json").read_text()) == planned.plan
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["optimizer"]["warmup_epochs"] == pytest.approx(1 / 3)
    assert config["distillation"]["weight"] == 0.5

    # The same again takes the plan that is there, and finds the run finished.
    again, same = compress(
        CompressionRequest(source, "0.5", reordered=False, distill=0.5), tmp_path
    )
    assert (again.plan, again.run.images, same) == (planned.plan, None, result)


def test_other_wishes_for_the_same_folder_are_refused(source, tmp_path):
    compress(CompressionRequest(source, "0.5", finetune_epochs=0), tmp_path)
    with pytest.raises(ValueError, match=r"a plan for budget 0.5 and method auto; for another"):
        plan_run(CompressionRequest(source, "0.6", finetune_epochs=0), None, tmp_path)
    with pytest.raises(ValueError, match=r"config.train.num_epochs was 0 and is now 1"):
        compress(CompressionRequest(source, "0.5"), tmp_path)
    with pytest.raises(ValueError, match=r"config.compression.weighted was True and is now False"):
        compress(CompressionRequest(source, "0.5", weighted=False, finetune_epochs=0), tmp_path)


def test_a_plan_whose_run_never_began_is_made_again(source, tmp_path):
    first = plan_run(CompressionRequest(source, "0.5"), None, tmp_path)
    (tmp_path / "plan.json").write_text(first.plan.to_json())  # and no config: stopped in between
    other = CompressionRequest(source, "0.5", weighted=False, finetune_epochs=0)
    planned, _ = compress(other, tmp_path)
    assert planned.plan == plan_run(other).plan != first.plan
    assert CompressionPlan.from_json((tmp_path / "plan.json").read_text()) == planned.plan


def test_without_fine_tuning_the_plan_may_have_bottlenecks(source):
    best, trainable = (
        plan_run(CompressionRequest(source, "0.5", weighted=False, finetune_epochs=epochs)).plan
        for epochs in (0, 1)
    )
    assert best.error <= trainable.error
    for layer in trainable.layers:
        if layer.method != "dense":
            assert layer.method == "kfc"


@pytest.mark.parametrize("method", ["kfc", "low_rank"])
def test_only_the_method_that_is_asked_for_is_taken(source, method):
    request = CompressionRequest(source, "flops:0.6", method=method, weighted=False)
    plan = plan_run(request).plan
    assert {layer.method for layer in plan.layers} <= {"dense", method}
    assert plan.flops <= 0.6 * plan.dense_flops


def test_a_given_config_says_all_but_the_layers(source):
    config = tiny.get_config()
    config.train.update(num_epochs=9, batch_size=4)
    request = CompressionRequest(source, "0.5", weighted=False, learning_rate=0.5)
    made = plan_run(request, config).config
    assert (made.train.num_epochs, made.train.batch_size) == (3, 4)
    assert made.optimizer.learning_rate == 0.5
    assert made.distillation.teacher == ""
    assert (config.train.num_epochs, config.compression.source) == (9, "")


def test_configs_of_runs_from_before_there_was_compression_serve(source, tmp_path):
    old = shutil.copytree(source, tmp_path / "old")
    config = json.loads((old / "config.json").read_text())
    del config["compression"], config["distillation"]
    (old / "config.json").write_text(json.dumps(config))
    made = plan_run(CompressionRequest(str(old), "0.5", weighted=False)).config
    assert made.compression.source == str(old)
    assert made.distillation.teacher == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "no/where"}, r"no/where is no folder; name the --workdir of a finished run"),
        ({"budget": "8%"}, r"Cannot read the budget '8%'"),
        ({"budget": "0.01"}, r"allows 6 parameters, .* cannot have fewer than \d+ .*raise it"),
        ({"distill": 2.0}, r"config.distillation.weight is 2.0; it must be"),
        ({"learning_rate": 0.0}, r"config.optimizer.learning_rate is 0.0; it must be"),
    ],
)
def test_mistakes_are_named(source, tmp_path, fields, message):
    request = CompressionRequest(**{"source": source, "budget": "0.5", "weighted": False, **fields})
    with pytest.raises(ValueError, match=message):
        plan_run(request, None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_of_another_model_is_refused(source):
    from configs import quickstart

    with pytest.raises(ValueError, match=r"a run of another model: its model.hidden"):
        plan_run(CompressionRequest(source, "0.5"), quickstart.get_config())


def test_the_command_tells_mistakes_in_a_line(run_module, tmp_path):
    for arguments, message in (
        ([f"--from={tmp_path}", "--dry_run"], f"error: {tmp_path} holds no run"),
        ([f"--from={tmp_path}"], "error: --workdir is missing"),
    ):
        done = run_module("experiments.compress", "--budget=0.08", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
