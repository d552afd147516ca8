"""What the README and the guides show is run here: their Python, and the names in commands."""

import doctest
import pathlib
import re

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments.sweeping.running.plan import load_plan, trial_configs

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDES = {path.name: path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}


def blocks(language, text):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


PYTHON = {name: blocks("python", text) for name, text in GUIDES.items()}
# A page that tells how to do a thing is one session.
PYTHON |= {
    path.name: ["".join(blocks("python", path.read_text()))]
    for path in (ROOT / "docs/compression.md", *ROOT.glob("docs/how_to/*.md"))
}
SHELL = "\n".join(blocks("bash", README))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{name}-{number}")
        for name, codes in PYTHON.items()
        for number, code in enumerate(codes)
        if ">>>" in code
    ],
)
def test_python_sessions_show_what_python_says(code):
    test = doctest.DocTestParser().get_doctest(code, {}, "guide", None, None)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_readme_fits_on_a_few_screens():
    assert len(README.splitlines()) <= 120


def test_the_layer_example_trains():
    (code,) = (code for code in PYTHON["README.md"] if "scale_factor_updates" in code)
    names = {}
    exec(code, names)
    params, optimizer, model = names["params"], names["optimizer"], names["Classifier"]()
    x = jax.random.normal(jax.random.key(1), (32, 784))
    labels = jnp.arange(32) % 10

    @jax.jit
    def step(params, state):
        def loss(params):
            logits = model.apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    losses = []
    for _ in range(20):
        params, state, value = step(params, state)
        losses.append(float(value))
    assert losses[-1] < losses[0] / 10


def test_the_sweep_example_is_a_sweep_config(tmp_path):
    (code,) = (code for code in PYTHON["sweeps.md"] if "def sweep" in code)
    config = tmp_path / "mine.py"
    config.write_text(code.replace('"configs/', f'"{ROOT}/configs/'))
    plan = load_plan(str(config))
    configs = trial_configs(plan)  # checks every trial
    kinds = [config.model.fc1.kind for config in configs.values()]
    assert {kind: kinds.count(kind) for kind in ("dense", "kfc", "low_rank")} == {
        "dense": 3,
        "kfc": 18,
        "low_rank": 6,
    }


def test_every_file_that_it_names_is_there():
    paths = set(re.findall(r"(?:configs|docs|kfc_jax|experiments)/[\w./-]+\.\w+", README))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_module_that_it_runs_is_there():
    modules = set(re.findall(r"python -m (experiments\.\w+)", SHELL))
    assert modules
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
