import pytest

from experiments.sweeping.running.plan import load_plan, trial_configs


@pytest.fixture
def write(tmp_path, monkeypatch, request):
    """Writes a sweep config; paths in it start at the repository."""
    monkeypatch.chdir(request.config.rootpath)

    def write(text):
        path = tmp_path / "sweep_config.py"
        path.write_text(text)
        return str(path)

    return write


def test_a_sweep_config_names_its_base_and_yields_overrides(write):
    path = write('BASE = "configs/mnist.py"\ndef sweep():\n    yield {"seed": 3}')
    plan = load_plan(path)
    assert (plan.config, plan.base) == (path, "configs/mnist.py")
    (config,) = trial_configs(plan).values()
    assert config.seed == 3
    assert config.data.name == "mnist"


def test_a_variant_has_its_own_base(write):
    path = write(
        'BASE = {"": "configs/mnist.py", "quick": "configs/quickstart.py"}\n'
        'def sweep(variant):\n    yield {"seed": 3 if variant == "quick" else 4}'
    )
    for variant, base, seed in (("", "mnist", 4), (":quick", "quickstart", 3)):
        plan = load_plan(path + variant)
        assert plan.base == f"configs/{base}.py"
        assert plan.trials[0].overrides == {"seed": seed}
    with pytest.raises(ValueError, match=r"has no variant 'fast'; take one of .*py:quick"):
        load_plan(path + ":fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a sweep config: it must define BASE"),
        ('BASE = "configs/mnist.py"\ndef sweep(): return []', "yields no trial"),
        ('BASE = "configs/mnist.py"\ndef sweep(): return [("seed", 1)]', "must yield dicts"),
    ],
)
def test_what_is_no_sweep_config_is_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        load_plan(write(text))


def test_a_missing_file_is_refused():
    with pytest.raises(ValueError, match=r"no/such\.py: there is no such sweep config"):
        load_plan("no/such.py:quick")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.fc3.kind": "dense"}, "has no field 'model.fc3.kind'"),
        ({"modle": 1}, "has no field 'modle'"),
        ({"seed.x": 1}, "has no field 'seed.x'"),
        ({"train.num_epochs": "many"}, "train.num_epochs is 'many', but in the base config it is"),
        ({"model.fc1.kind": "dens"}, "kind is 'dens'"),
        ({"model.fc1.structure": "8:28x32*28x32"}, "layer fc1: Structure '8:28x32.28x32'"),
    ],
)
def test_a_trial_that_could_not_run_is_refused_before_any_runs(write, overrides, message):
    text = f'BASE = "configs/mnist.py"\ndef sweep(): return [{{"seed": 1}}, {overrides!r}]'
    with pytest.raises(ValueError, match=message) as error:
        trial_configs(load_plan(write(text)))
    assert "sweep_config.py, trial " in str(error.value)


def test_trials_that_are_not_to_run_need_not_be_able_to(write):
    """A filter picks those whose dense model is there; those of the others may follow later."""
    path = write(
        'BASE = "configs/mnist.py"\n'
        "def sweep():\n"
        '    yield {"seed": 1}\n'
        '    yield {"seed": 2, "distillation.teacher": "runs/not-there-yet"}'
    )
    plan = load_plan(path)
    with pytest.raises(ValueError, match="not-there-yet"):
        trial_configs(plan)
    assert [config.seed for config in trial_configs(plan, plan.trials[:1]).values()] == [1]
