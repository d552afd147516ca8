"""The sweeps that ship: their trials can run, and compare what they say."""

import dataclasses

import pytest

from experiments.models import make_model
from experiments.models.layer_costs import costs_of_layers, totals
from experiments.sweeping.running.plan import load_plan, trial_configs
from kfc_jax import KroneckerStructure

# Every sweep over the ranks of `model.fc1`, with what that layer has as inputs and features.
SWEEPS = {
    "mnist_ranks.py": (800, 500),
    "mnist_ranks.py:quick": (800, 500),
    "svhn_ranks.py": (1_024, 512),
    "svhn_ranks.py:large": (1_536, 512),
    "svhn_ranks.py:quick": (1_024, 512),
    "character_ranks.py": (2_304, 1_024),
    "character_ranks.py:quick": (2_304, 1_024),
}


@pytest.fixture(params=SWEEPS)
def sweep(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    return load_plan(f"configs/sweeps/{request.param}"), SWEEPS[request.param]


def check_trials(plan):
    """Builds the trials of the first seed; those of the others differ in the seed alone."""
    seed = plan.trials[0].overrides.get("seed")
    first = [trial for trial in plan.trials if trial.overrides.get("seed") == seed]
    assert len(trial_configs(dataclasses.replace(plan, trials=first))) == len(first)


def test_every_trial_can_run(sweep):
    plan, _ = sweep
    assert len(plan.trials) >= 24
    check_trials(plan)


@pytest.mark.parametrize(
    "config",
    [
        "svhn_ranks.py:tune",
        "learning_rates.py:mnist",
        "learning_rates.py:svhn",
        "learning_rates.py:svhn_drawn",
        "learning_rates.py:svhn_drawn_best",
        "learning_rates.py:characters",
    ],
)
def test_every_trial_of_the_tuning_can_run_and_leaves_the_test_split_alone(
    config, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    plan = load_plan(f"configs/sweeps/{config}")
    check_trials(plan)
    assert all(trial.overrides["train.test_at_end"] is False for trial in plan.trials)
    assert {t.overrides["model.fc1.kind"] for t in plan.trials} == {"dense", "kfc", "low_rank"}


def test_the_sweep_covers_the_methods_with_equal_seeds(sweep):
    plan, (inputs, features) = sweep
    by_seed = {}
    for trial in plan.trials:
        layer = dict(trial.overrides)
        by_seed.setdefault(layer.pop("seed"), []).append(layer)
    first, *others = by_seed.values()
    assert others
    assert all(layers == first for layers in others)
    kinds = [layer["model.fc1.kind"] for layer in first]
    assert kinds.count("dense") == 1
    structures = [
        KroneckerStructure.parse(layer["model.fc1.structure"])
        for layer in first
        if layer["model.fc1.kind"] == "kfc"
    ]
    assert any(len(structure.terms) > 1 for structure in structures)
    assert any(structure.terms[0].num_factors == 3 for structure in structures)
    for layer in first:
        if layer["model.fc1.kind"] == "low_rank":
            size = layer["model.fc1.rank"] * (inputs + features)
            assert any(abs(s.num_parameters / size - 1) < 0.2 for s in structures)


_SMALL = ["svhn", "regularised", "characters", "characters-regularised", "mnist-regularised"]
_FROM_SCRATCH = [
    *("mnist-regularised", "svhn", "wide", "regularised", "wide-regularised", "large"),
    *("characters", "characters-regularised", "characters-drawn"),
]
COMPARISONS = [  # the file and its variants
    (question, network)
    for question, networks in {
        "fine_tuned": ("mnist", "svhn", "characters", "characters-regularised"),
        "tuning": ("mnist", "svhn", "characters", "characters-regularised"),
        "tuning_taught": (
            *("mnist", "svhn", "regularised", "characters", "characters-regularised"),
        ),
        "taught": (
            *("mnist", "mnist-regularised", "svhn", "large", "wide", "regularised", "characters"),
            *("wide-regularised", "characters-regularised"),
        ),
        "shapes": ("regularised",),
        "both_layers": ("regularised", "characters", "characters-regularised"),
    }.items()
    for network in networks
]


def comparison_plan(question, network):
    return load_plan(f"configs/sweeps/comparison/{question}.py:{network}")


def comparison(question, network):
    return comparison_plan(question, network).trials


@pytest.mark.parametrize(("question", "network"), COMPARISONS)
def test_compressed_trials_start_from_trials_of_the_dense_sweep(
    question, network, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    sources = comparison("dense", network)
    by_folder = {f"runs/{network}-dense/{trial.name}": trial.overrides for trial in sources}
    small = comparison(question, network)
    is_taught = question not in ("fine_tuned", "tuning")
    is_tuning = question.startswith("tuning")
    for trial in small:
        fields = trial.overrides
        source = by_folder[fields["compression.source"]]
        same = {"seed", "data.name", "data.num_validation", "model.channels", "model.num_classes"}
        assert {f: fields[f] for f in same & fields.keys()} == {
            f: source[f] for f in same & source.keys()
        }
        part_of_training = 1 if network == "mnist-regularised" else 1 / 2
        assert fields["train.num_epochs"] <= source["train.num_epochs"] * part_of_training
        assert ("distillation.teacher" in fields) == is_taught
        # Only the tuning may try things, and it must not see the test split.
        assert fields.get("train.test_at_end", True) == (not is_tuning)
    if not is_tuning:
        assert {trial.overrides["seed"] for trial in small} == {0, 1, 2}
        ways = [t.overrides.get("compression.weighted") for t in small]
        assert set(ways) == ({True} if is_taught else {True, False})


def test_a_question_has_the_networks_that_list_layers_for_it(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    with pytest.raises(ValueError, match=r"no variant 'wide'; .* of .*shapes\.py:regularised"):
        comparison("shapes", "wide")


def test_shapes_that_are_compared_have_one_size(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    trials = comparison("shapes", "regularised")
    sizes = [
        KroneckerStructure.parse(trial.overrides["model.fc1.structure"])
        .fit(1024, 512)
        .num_parameters
        for trial in trials
    ]
    space_by_channels = 2 * (16 * 16 + 64 * 32)
    assert len(set(sizes)) > 1
    assert all(abs(size / space_by_channels - 1) < 0.05 for size in sizes)


@pytest.mark.parametrize("network", ["regularised", "characters", "characters-regularised"])
def test_both_layers_and_the_classifier_alone_become_either_method(network, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    trials = comparison("both_layers", network)
    kinds = {(t.overrides["model.fc1.kind"], t.overrides["model.fc2.kind"]) for t in trials}
    alone = {("dense", "kfc"), ("dense", "low_rank")}
    assert kinds >= alone | {("kfc", "kfc"), ("low_rank", "low_rank")}


@pytest.mark.parametrize(("network", "layers"), [("svhn", 4), ("mnist", 3), ("characters", 3)])
def test_regularisation_is_searched_alike_for_every_method(network, layers, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    plan = load_plan(f"configs/sweeps/regularisation.py:{network}")
    check_trials(plan)
    settings = {}
    for trial in plan.trials:
        fields = trial.overrides
        assert fields["data.num_validation"] > 0
        assert not fields["train.test_at_end"]
        layer = tuple(sorted((f, v) for f, v in fields.items() if f.startswith("model.fc1")))
        setting = fields.get("optimizer.weight_decay"), fields.get("model.dropout")
        settings.setdefault(layer, set()).add(setting)
    assert len(settings) == layers
    assert all(len(tried) >= 4 for tried in settings.values())
    assert len(set(map(frozenset, settings.values()))) == 1


def test_weight_decay_with_a_teacher_is_searched_from_the_regularised_model(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    sources = comparison("dense", "regularised")
    (source,) = [t for t in sources if t.overrides["data.num_validation"]]
    trials = [t.overrides for t in load_plan("configs/sweeps/regularisation.py:taught").trials]
    folder = f"runs/regularised-dense/{source.name}"
    assert {fields["compression.source"] for fields in trials} == {folder}
    assert {fields["distillation.teacher"] for fields in trials} == {folder}
    assert {fields["optimizer.weight_decay"] for fields in trials} == {1e-4, 0.1, 0.3, 1.0}
    assert not any(fields["train.test_at_end"] for fields in trials)


@pytest.mark.parametrize("network", ["regularised", "characters-regularised"])
def test_fine_tuning_is_tuned_at_the_decay_that_it_will_have(network, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    decays = [
        {trial.overrides["optimizer.weight_decay"] for trial in comparison(question, network)}
        for question in ("tuning_taught", "taught")
    ]
    assert decays[0] == decays[1] == {0.3}


@pytest.mark.parametrize("network", _FROM_SCRATCH)
def test_trials_from_scratch_are_as_long_as_the_dense_ones(network, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    dense = comparison("dense", network)[0].overrides
    scratch = comparison_plan("from_scratch", network)
    check_trials(scratch)
    for trial in scratch.trials:
        assert trial.overrides["train.num_epochs"] == dense["train.num_epochs"]
        assert trial.overrides["model.fc1.kind"] in ("kfc", "low_rank")


CONTROLLED = ["svhn", "regularised", "large", "mnist-regularised", "characters-regularised"]


def models(plan):
    """Returns config and costs of the models of the first seed, without teachers and sources."""
    fields = ("model.", "data.name", "seed")
    trials = [
        dataclasses.replace(
            t, overrides={f: v for f, v in t.overrides.items() if f.startswith(fields)}
        )
        for t in plan.trials
        if t.overrides["seed"] == 0
    ]
    configs = trial_configs(dataclasses.replace(plan, trials=trials)).values()
    return [(c.model, costs_of_layers(make_model(c.model), c.model.image_shape)) for c in configs]


@pytest.mark.parametrize("question", ["from_scratch", "taught"])
@pytest.mark.parametrize("network", CONTROLLED)
def test_controls_are_as_large_as_the_sums_that_they_control(
    question, network, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    how = "_taught" if question == "taught" else ""
    controls = models(comparison_plan("controls", network + how))
    sums = [m for m in models(comparison_plan(question, network)) if m[0].fc1.kind == "kfc"]
    (_, dense), *_ = models(comparison_plan("dense", network))

    kinds = [("frozen" if model.fc1.frozen else model.fc1.kind) for model, _ in controls]
    assert kinds[:2] == ["none", "frozen"]
    assert totals(controls[1][1])["parameters"] == totals(dense)["parameters"]
    narrow = [(m, c) for kind, (m, c) in zip(kinds, controls, strict=True) if kind == "dense"]
    fitting = set()  # of every sum the widest layer that makes the model no larger
    for _, costs in sums:
        at_most = totals(costs)["parameters"]
        widest = max(m.hidden for m, c in narrow if totals(c)["parameters"] <= at_most)
        fitting.add(widest)
        wider = narrow[0][0].copy_and_resolve_references()
        wider.hidden = widest + 1
        too_many = totals(costs_of_layers(make_model(wider), wider.image_shape))["parameters"]
        assert too_many > at_most
    assert {m.hidden for m, _ in narrow} == fitting

    (fc1,) = [cost for cost in dense if cost.name == "fc1"]
    inputs, features = map(int, fc1.structure.split("x"))
    sizes = {
        n: inputs * features // n for n in range(1, features + 1) if not features % n | inputs % n
    }
    expected = set()
    for _, costs in sums:
        (at_most,) = [cost.parameters for cost in costs if cost.name == "fc1"]
        fewest = min((n for n, size in sizes.items() if size <= at_most), default=max(sizes))
        expected |= {f"blocks {fewest}", f"blocks {fewest} interleaved"}
    blocks = [m.fc1.structure for m, _ in controls if m.fc1.kind == "block_diagonal"]
    assert set(blocks) == expected
    assert len(kinds) == 2 + len(narrow) + len(expected)


def test_the_fewest_blocks_and_the_widest_layer_are_those_of_a_hand_count(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    trials = [
        t.overrides for t in comparison("controls", "regularised") if t.overrides["seed"] == 0
    ]
    assert trials[0]["model.fc1.kind"] == "none"
    # 8 products of 16x16 and 64x32: 18,432. 32 blocks: 16,384, and 16 would be twice as many.
    # 23 features: 23 * (1024 + 1 + 10) + 10 of 18,432 + 512 * (1 + 10) + 10.
    assert trials[2]["model.hidden"] == 23 == (18_432 + 512 * 11) // 1_035
    assert [t["model.fc1.structure"] for t in trials[3:5]] == ["blocks 32", "blocks 32 interleaved"]
    # 2 of 16x20 and 50x25 are 3,140, fewer than the 4,000 of as many blocks as 800x500 can have.
    trials = [t.overrides for t in comparison("controls", "mnist-regularised")]
    assert [t["model.fc1.structure"] for t in trials[3:5]] == [
        "blocks 100",
        "blocks 100 interleaved",
    ]


def test_controls_train_as_the_dense_model_does(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    for how in ("", "_taught"):
        trials = [t.overrides for t in comparison("controls", f"regularised{how}")]
        for seed in (0, 1, 2):
            dense = comparison("dense", "regularised")[seed]
            own = [fields for fields in trials if fields["seed"] == seed]
            assert 3 * len(own) == len(trials)
            for fields in own:
                assert {f: fields[f] for f in dense.overrides if f != "model.fc1.kind"} == {
                    f: v for f, v in dense.overrides.items() if f != "model.fc1.kind"
                }
                teacher = f"runs/regularised-dense/{dense.name}" if how else None
                assert fields.get("distillation.teacher") == teacher


def test_controls_are_tuned_on_validation_images(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    plan = comparison_plan("controls", "regularised_tuning")
    check_trials(plan)
    tried = {}
    for trial in plan.trials:
        fields = trial.overrides
        assert fields["data.num_validation"] == 4_000
        assert fields["train.test_at_end"] is False
        layer = tuple((f, v) for f, v in fields.items() if f.startswith("model."))
        setting = fields["optimizer.learning_rate"], fields["optimizer.weight_decay"]
        tried.setdefault(layer, set()).add(setting)
    assert len(tried) == 5
    settings = {(rate, decay) for rate in (8e-3, 1.6e-2, 3.2e-2) for decay in (0.1, 0.3)}
    assert all(own == settings for own in tried.values())


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        ("svhn", [53_686, 71_730]),
        ("regularised", [53_686]),
        ("characters", [175_555, 204_811]),
        ("characters-regularised", [175_555]),
        ("mnist-regularised", [26_034, 51_954]),
    ],
)
def test_small_models_have_a_tenth_to_a_quarter_of_the_parameters(
    network, sizes, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    plan = load_plan(f"configs/sweeps/small_models.py:{network}")
    trials = [t for t in plan.trials if t.overrides["seed"] == 0][: len(sizes)]
    # Teachers and sources have yet to be trained.
    missing = ("distillation.teacher", "compression.source")
    alone = [
        dataclasses.replace(t, overrides={k: v for k, v in t.overrides.items() if k not in missing})
        for t in trials
    ]
    assert _sizes(dataclasses.replace(plan, trials=alone)) == sizes
    (dense, *_) = _sizes(comparison_plan("dense", network))
    assert min(sizes) <= dense / 10
    assert max(sizes) <= dense / 4


def _sizes(plan):
    return [
        totals(costs_of_layers(make_model(config.model), config.model.image_shape))["parameters"]
        for config in trial_configs(plan).values()
    ]


@pytest.mark.parametrize("network", _SMALL)
def test_small_models_are_taught_for_as_long_as_their_teachers_were_trained(
    network, request, monkeypatch
):
    monkeypatch.chdir(request.config.rootpath)
    teachers = comparison("dense", network)
    by_folder = {f"runs/{network}-dense/{t.name}": t.overrides for t in teachers}
    trials = load_plan(f"configs/sweeps/small_models.py:{network}").trials
    taught = [t.overrides for t in trials if "distillation.teacher" in t.overrides]
    assert taught
    for fields in taught:
        teacher = by_folder[fields["distillation.teacher"]]
        same = ("seed", "data.num_validation", "train.num_epochs")
        assert {f: fields[f] for f in same} == {f: teacher[f] for f in same}


def test_longer_training_is_as_long_as_that_of_its_teachers(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    teachers = comparison("dense", "svhn")
    by_folder = {f"runs/svhn-dense/{trial.name}": trial.overrides for trial in teachers}
    trials = load_plan("configs/sweeps/longer_training.py").trials
    taught = [t.overrides for t in trials if "distillation.teacher" in t.overrides]
    assert 2 * len(taught) == len(trials) == 6
    for fields in taught:
        teacher = by_folder[fields["distillation.teacher"]]
        same = ("seed", "train.num_epochs", "optimizer.learning_rate", "data.num_validation")
        assert [fields[f] for f in same] == [teacher[f] for f in same]
