import json
import signal

import jax
import numpy as np
import pytest

from experiments.data import ImageSet, TrainBatches
from experiments.models import make_model
from experiments.runs import read_run
from experiments.system import Interrupted
from experiments.training import prepare
from experiments.training.check_config import checked_config
from experiments.training.run import load_images, make_start
from experiments.training.start_from_dense import source_statistics, structures_of
from experiments.training.trained_model import TrainedModel
from kfc_jax import KroneckerStructure, to_dense
from tests.experiments import tiny
from tests.kfc_jax.reference import dense_kernel

pytestmark = pytest.mark.usefixtures("compile_once", "tiny_installed")

TIMES = {"seconds", "steps_per_second", "data_wait_fraction", "git_revision"}
STRUCTURE = "2:4x5*4x6"


def compressed(dense_run, **fields):
    fields = {"train__num_epochs": 2, "optimizer__warmup_epochs": 0.5, **fields}
    return tiny.config_of(compression__source=str(dense_run), **fields)


def trained(folder):
    return TrainedModel(read_run(folder))


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def start_of(config, workdir):
    run = prepare(config, workdir)
    return make_start(run, load_images(config))


def test_a_run_starts_from_the_decomposed_source_and_leaves_it_alone(dense_run, tmp_path):
    before = contents(dense_run)
    result = tiny.train(compressed(dense_run), tmp_path)
    assert contents(dense_run) == before

    found = result["compression"]
    dense = json.loads((dense_run / "result.json").read_text())
    assert found["source"] == {
        "run": str(dense_run),
        "validation": dense["validation"],
        "test": dense["test"],
    }
    assert found["weighted"] is True
    assert found["layers"].keys() == {"fc1"}
    assert found["layers"]["fc1"]["structure"] == STRUCTURE
    for split in ("validation", "test"):
        assert found["before_training"][split]["examples"] == result[split]["examples"]
    # It starts from what the source knows: better than a guess, and than the same from scratch.
    assert found["before_training"]["test"]["loss"] < np.log(4)
    assert result["test"]["loss"] < found["before_training"]["test"]["loss"]
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_the_start_has_the_least_output_error_on_the_training_images(dense_run, tmp_path):
    config = compressed(dense_run, compression__reordered=False)
    start = start_of(config, tmp_path / "weighted")
    fields = {"compression__reordered": False, "compression__weighted": False}
    plain = start_of(compressed(dense_run, **fields), tmp_path / "plain")
    source, images = trained(dense_run), load_images(config).train
    dense = source.variables["params"]
    pooled = images.images.reshape(len(images), 4, 4, 4, 4).mean((2, 4)).reshape(len(images), 16)
    x = pooled / 255
    kernel, bias = (np.asarray(dense["fc1"][name], np.float64) for name in ("kernel", "bias"))
    structure = KroneckerStructure.parse(STRUCTURE)

    def error(params):
        factors = [[params["fc1"][f"kernel_0_{k}"] for k in range(2)]]
        approximate = x @ dense_kernel(structure, factors) + np.asarray(params["fc1"]["bias"])
        exact = x @ kernel + bias
        return approximate - exact, np.linalg.norm(exact - exact.mean(0))

    difference, norm = error(start.params)
    reported = start.layers["fc1"]["output_error"]
    assert np.linalg.norm(difference) / norm == pytest.approx(reported, rel=1e-3)
    # Without data the bias stays, so that the error has a mean, which is not counted.
    difference, norm = error(plain.params)
    centred = np.linalg.norm(difference - difference.mean(0)) / norm
    assert centred == pytest.approx(plain.layers["fc1"]["output_error"], rel=1e-3)
    assert reported < plain.layers["fc1"]["output_error"]
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(start.params["fc2"][name], dense["fc2"][name])
    statistics = source_statistics(source, images, batch_size=7)
    np.testing.assert_allclose(statistics["fc1"].second_moment, x.T @ x / len(x), rtol=1e-4)


def test_of_many_images_some_tell_what_layers_see(dense_run, monkeypatch):
    source = trained(dense_run)
    images = load_images(source.run.config).train
    monkeypatch.setattr("experiments.training.start_from_dense._MOST_IMAGES", 3)
    some = source_statistics(source, images, batch_size=2)["fc1"]
    chosen = [0, round((len(images) - 1) / 2), len(images) - 1]
    few = ImageSet(images.images[chosen], images.labels[chosen])
    same = source_statistics(source, few, batch_size=3)["fc1"]
    np.testing.assert_allclose(some.second_moment, same.second_moment, rtol=1e-5, atol=1e-9)


def test_reordered_units_compute_the_same_and_start_nearer_to_the_source(dense_run, tmp_path):
    config = compressed(dense_run)
    start = start_of(config, tmp_path / "reordered")
    as_it_is = start_of(compressed(dense_run, compression__reordered=False), tmp_path / "not")
    assert start.layers["fc1"]["output_error"] < as_it_is.layers["fc1"]["output_error"]
    dense = trained(dense_run).variables["params"]
    rows = [np.asarray(p["fc2"]["kernel"]) for p in (dense, start.params)]
    order = [int(np.abs(rows[0] - row).sum(1).argmin()) for row in rows[1]]
    assert sorted(order) == list(range(len(order)))
    assert order != sorted(order)
    np.testing.assert_array_equal(rows[1], rows[0][order])


def test_an_interrupted_run_goes_on_to_the_same_numbers(dense_run, tmp_path, monkeypatch):
    config = compressed(dense_run)
    uninterrupted = tiny.train(config, tmp_path / "one")
    original = TrainBatches.__next__

    def interrupt(self):
        if self.get_state()["step"] == 4:
            signal.raise_signal(signal.SIGTERM)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, "__next__", interrupt)
        with pytest.raises(Interrupted):
            tiny.train(config, tmp_path / "two")
    run = prepare(config, tmp_path / "two")
    assert make_start(run, load_images(config)) is None
    again = tiny.train(config, tmp_path / "two")
    for result in (uninterrupted, again):
        result["compression"].pop("seconds")
    same = {k: v for k, v in uninterrupted.items() if k not in TIMES}
    assert {k: v for k, v in again.items() if k not in TIMES} == same


def test_a_run_of_no_step_is_its_start_and_is_as_good_with_dense_kernels(dense_run, tmp_path):
    config = compressed(dense_run, model__fc2__kind="low_rank", model__fc2__rank=2)
    config.update_from_flattened_dict({"train.num_epochs": 0})
    result = tiny.train(config, tmp_path)
    structures = structures_of(trained(tmp_path).costs)
    assert structures == {"fc1": STRUCTURE, "fc2": "rank 2"}
    assert result["steps"] == 0
    assert result["test"] == result["compression"]["before_training"]["test"]
    config.model.fc1.kind = config.model.fc2.kind = "dense"
    images = tiny.load().test
    dense = {"params": to_dense(trained(tmp_path).variables["params"], structures)}
    logits = make_model(config.model).apply(dense, images.images.astype(np.float32) / 255)
    assert np.mean(np.asarray(logits).argmax(-1) != images.labels) == result["test"]["error"]


def test_a_compressed_run_is_a_source_too(dense_run, tmp_path):
    small = tmp_path / "small"
    tiny.train(compressed(dense_run, train__num_epochs=0), small)
    kept = start_of(compressed(small), tmp_path / "kept")
    jax.tree.map(np.testing.assert_array_equal, kept.params, trained(small).variables["params"])
    smaller = start_of(compressed(small, model__fc1__structure="1:4x5*4x6"), tmp_path / "smaller")
    assert smaller.params["fc1"]["kernel_0_0"].shape == (1, 4, 5)
    back = start_of(compressed(small, model__fc1__kind="dense"), tmp_path / "back")
    factors = [[kept.params["fc1"][f"kernel_0_{k}"] for k in range(2)]]
    expected = dense_kernel(KroneckerStructure.parse(STRUCTURE), factors)
    np.testing.assert_allclose(back.params["fc1"]["kernel"], expected, atol=1e-5)


def test_a_block_diagonal_run_starts_from_the_sources_blocks_and_is_a_source_itself(
    dense_run, tmp_path
):
    fields = {"model__fc1__kind": "block_diagonal", "model__fc1__structure": "blocks 2"}
    config = compressed(dense_run, compression__weighted=False, train__num_epochs=0, **fields)
    result = tiny.train(config, tmp_path / "blocks")
    kernel = np.asarray(trained(dense_run).variables["params"]["fc1"]["kernel"])
    expected = kernel * np.kron(np.eye(2), np.ones((8, 15)))
    error = np.linalg.norm(kernel - expected) / np.linalg.norm(kernel)
    assert result["compression"]["layers"]["fc1"]["relative_error"] == pytest.approx(error)
    back = compressed(tmp_path / "blocks", model__fc1__kind="dense")
    start = start_of(back, tmp_path / "back")
    np.testing.assert_allclose(start.params["fc1"]["kernel"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"compression.source": "no/where"}, r"source is 'no/where', but .* is no folder"),
        ({"model.num_classes": 5}, r"another model: its model.num_classes is 4, .* is 5"),
        (
            {"model.fc1.kind": "none"},
            r"its model.fc1 is 'a fully connected layer', .* is 'left out'",
        ),
        ({"seed": 1}, r"config.seed is 1, but 0 in .* Set config.seed=0, or .*num_validation=0"),
        ({"data.num_validation": 16}, r"config.data.num_validation is 16, but 24"),
        ({"compression.weighted": 1}, r"config.compression.weighted is 1; it must be True or"),
    ],
)
def test_bad_sources_are_named_before_work_starts(dense_run, tmp_path, fields, message):
    config = compressed(dense_run)
    with config.ignore_type():
        config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        prepare(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_into_its_source(dense_run):
    with pytest.raises(ValueError, match="would be written into that folder"):
        checked_config(compressed(dense_run), dense_run / "small")


def test_without_validation_images_any_seed_may_start_from_a_source(dense_run):
    checked_config(compressed(dense_run, seed=1, data__num_validation=0))


def test_no_training_at_all_needs_a_source():
    with pytest.raises(ValueError, match="num_epochs is 0, which is for decomposing"):
        checked_config(tiny.config_of(train__num_epochs=0))
