import functools

import pytest

from experiments.any_flax_model import keep
from tests.experiments.any_flax_model.small import result


@pytest.fixture
def any_model(run_module):
    return functools.partial(run_module, "experiments.any_model")


def test_tables_of_kept_runs_are_written_anew(any_model, tmp_path):
    keep(
        tmp_path,
        [result("vit_nnx", 0, "dense", value=0.02)]
        + [result("vit_nnx", 0, method, 0.5, value=0.025) for method in ("auto", "low_rank")],
    )
    outcome = any_model("--table", f"--out={tmp_path}")
    assert outcome.returncode == 0, outcome.stderr
    assert "- reached: `vit_nnx`, `auto` at a half of the parameters" in outcome.stdout
    assert "| `vit_nnx` | 0.5 | auto |" in (tmp_path / "summary.md").read_text()


def test_mistakes_are_told_in_a_line(any_model, tmp_path):
    outcome = any_model(f"--out={tmp_path / 'out'}", "--models=resnet")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: --models holds 'resnet'; take of mixer_linen, ")
    assert len(outcome.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
