import json

import jax
import pytest

from experiments.any_flax_model import Options, keep, read_results, runner
from experiments.any_flax_model.apis import Function
from experiments.any_flax_model.results import DENSE, FURTHER, path_of
from experiments.any_flax_model.runner import run_all
from experiments.any_flax_model.training import Score
from kfc_jax import convert
from tests.experiments.any_flax_model import small

OPTIONS = Options(["decoder_linen"], [0, 1], [0.7], ["low_rank"])


class Shrinks:
    """A training that compiles nothing: parameters shrink with the learning rate."""

    def __init__(self, *_):
        pass

    def run(self, params, steps, learning_rate, seed, told):
        told(steps)
        return jax.tree.map(lambda array: array * (1 - learning_rate), params)


class Size:
    """An evaluation likewise: the parameters' sizes."""

    def __init__(self, *_):
        pass

    def __call__(self, params, part):
        return Score(sum(float(abs(a).sum()) for a in jax.tree.leaves(params)), 0.5)


class Matrix:
    """A model that is one layer."""

    def __init__(self, *_):
        pass

    def init(self, seed):
        kernel = jax.random.normal(jax.random.key(seed), (8, 12))
        return Function(self.apply, {"layer": {"kernel": kernel}})

    def apply(self, params, inputs):
        raise NotImplementedError

    def find_layers(self, params):
        return params

    def statistics(self, params, batches):
        assert list(batches)

    def compressed(self, params, plan, seen):
        return Function(None, convert(params, plan)[0])


@pytest.fixture
def tiny(monkeypatch):
    """A tiny model and tiny data in place of those of the comparison."""
    monkeypatch.setattr(runner, "model_of", Matrix)
    monkeypatch.setattr(runner, "Training", Shrinks)
    monkeypatch.setattr(runner, "Evaluation", Size)
    monkeypatch.setattr(runner, "recipe_of", lambda model, quick: small.recipe("text"))
    monkeypatch.setattr(runner, "load_task", lambda name, **_: small.task(name))


class Stops(Exception):
    pass


def test_a_stopped_comparison_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    saved, real = [], runner.results.save

    def save(folder, result):
        if len(saved) == 3:
            raise Stops
        real(folder, result)
        saved.append(result.run)

    monkeypatch.setattr(runner.results, "save", save)
    with pytest.raises(Stops):
        run_all(OPTIONS, tmp_path)
    assert saved == OPTIONS.runs[:3]
    monkeypatch.setattr(runner.results, "save", real)
    kept = {run: path_of(tmp_path, run).read_bytes() for run in saved}

    found = {result.run: result for result in run_all(OPTIONS, tmp_path)}
    assert set(found) == set(OPTIONS.runs)
    assert {run: path_of(tmp_path, run).read_bytes() for run in saved} == kept
    _, _, first, *_, last = (found[run] for run in OPTIONS.runs)
    assert first.learning_rate == 0.01  # it shrinks the most
    # The first seed tries all rates on the validation part, and the others take the best one.
    assert first.learning_rate == float(min(first.validation, key=first.validation.get))
    assert set(first.validation) == {"0.001", "0.01"}
    assert (last.learning_rate, last.validation) == (first.learning_rate, {})
    assert last.command.endswith(
        "--models=decoder_linen --seeds=1 --methods=low_rank --budgets=0.7"
    )
    assert first.parameters <= 0.7 * found[OPTIONS.runs[0]].parameters
    assert {layer.kind for layer in first.layers} <= {"dense", "low_rank"}
    # What follows starts where the dense model ended.
    assert found[OPTIONS.runs[1]].method == FURTHER
    assert found[OPTIONS.runs[0]].method == DENSE
    assert found[OPTIONS.runs[1]].before == pytest.approx(found[OPTIONS.runs[0]].after)

    keep(tmp_path / "runs", found.values())
    (tmp_path / "kept").mkdir()
    (tmp_path / "runs" / "results.jsonl").rename(tmp_path / "kept" / "results.jsonl")
    assert {r.run: r for r in read_results(tmp_path / "kept")} == found

    monkeypatch.setattr(runner, "load_task", lambda name, **_: small.task("text"))
    path = path_of(tmp_path, saved[0])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": "other"}))
    path_of(tmp_path, OPTIONS.runs[-1]).unlink()
    with pytest.raises(ValueError, match=r"from other data .*take another --out"):
        run_all(OPTIONS, tmp_path)


def test_a_file_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "b.json").write_text('{"layers": []}')
    with pytest.raises(ValueError, match="is no result of this command"):
        read_results(tmp_path)
