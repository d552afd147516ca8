import dataclasses
import json

import numpy as np
import pytest

from experiments import report
from experiments.reporting import check_claims, claims_table, filled
from experiments.reporting.trials import Trial, keep
from experiments.reporting.trials.trial import Outcome
from tests.experiments.reporting.evidence.predicted import models

IMAGES = 8_000
FILE = """
[[claim]]
id = "small"
says = "A is not worse than B by 1 point"
runs = "runs"
of = {"model.fc1.kind" = "a"}
than = {"model.fc1.kind" = "b"}
not_worse_by = 1.0
seeds = 3

[[claim]]
id = "better"
says = "B is better than C"
runs = "runs"
of = {"model.fc1.kind" = "b"}
than = {"model.fc1.kind" = "c", "model.hidden" = 9}
seeds = 3
expected = "fails"
"""


def write(folder, errors, *, seeds=3, with_predictions=True):
    """Writes the file, and kept runs of three methods with these errors."""
    rng = np.random.default_rng(0)
    trials = []
    layers = (
        {"model.fc1.kind": "a"},
        {"model.fc1.kind": "b"},
        {"model.fc1.kind": "c", "model.hidden": 9},
    )
    for method, error in zip(layers, errors, strict=True):
        for seed, its in enumerate(models(rng, error, seeds, IMAGES)):
            wrong = its.errors / IMAGES
            sizes = dict.fromkeys(("parameters", "dense_parameters", "flops", "dense_flops"), 1)
            outcome = Outcome(
                {"test": wrong},
                {"test": wrong},
                {"test": IMAGES},
                (),
                **sizes,
                seconds=1,
                train_seconds=1,
                device="",
                git_revision="",
            )
            trials.append(
                Trial(
                    sweep="runs",
                    name=f"{json.dumps(method)} {seed}",
                    folder=folder,
                    state="done",
                    overrides=method | {"seed": seed},
                    config=method | {"seed": seed, "optimizer.learning_rate": 0.1},
                    outcome=outcome,
                    predicted={"test": its} if with_predictions else {},
                )
            )
    (folder / "runs").mkdir(parents=True)
    keep(trials, folder / "runs")
    (folder / "claims.toml").write_text(FILE)
    return folder / "claims.toml"


def test_claims_hold_or_fail_by_their_runs(tmp_path):
    verdicts = {v.claim.id: v for v in check_claims(write(tmp_path, (0.05, 0.05, 0.05)))}
    assert verdicts["small"].outcome == "holds"
    assert verdicts["better"].outcome == "fails"
    assert all(verdict.is_as_expected for verdict in verdicts.values())
    low, high = verdicts["small"].difference.interval
    assert low < 0 < high < 0.01


def test_a_claim_that_turns_out_otherwise_is_told_by_the_exit_status(tmp_path, capsys):
    path = write(tmp_path, (0.09, 0.05, 0.12))
    assert report.main([f"--claims={path}"]) == 1
    output = capsys.readouterr()
    assert "small fails, and " in output.err
    assert "better holds, and " in output.err
    first = output.out.splitlines()[2]
    assert first.startswith("| A is not worse than B by 1 point |")
    assert first.endswith("| **fails** |")  # what fails stands first


def test_p_values_are_corrected_for_the_number_of_claims(tmp_path):
    path = write(tmp_path, (0.05, 0.05, 0.07))
    verdicts = {v.claim.id: v for v in check_claims(path)}
    own = {
        "small": verdicts["small"].difference.p_value(0.01),
        "better": verdicts["better"].difference.p_value(),
    }
    lower, higher = sorted(own, key=own.get)
    assert verdicts[lower].p_value == pytest.approx(2 * own[lower])
    assert verdicts[higher].p_value == pytest.approx(max(2 * own[lower], own[higher]))


def test_claims_wait_for_their_runs_only_where_the_file_says_so(tmp_path, capsys):
    path = tmp_path / "claims.toml"
    path.write_text(FILE.replace("seeds = 3\n", 'seeds = 3\nexpected = "no runs yet"\n', 1))
    assert report.main([f"--claims={path}"]) == 1
    output = capsys.readouterr()
    assert output.out.count("no runs yet") == 2
    assert "better no runs yet" in output.err  # its folder may be misspelled
    assert "small" not in output.err


def test_the_claims_of_the_kept_runs_are_those_that_are_checked_by_default(
    tmp_path, monkeypatch, capsys
):
    write(tmp_path / "results", (0.09, 0.05, 0.12))
    monkeypatch.chdir(tmp_path)
    assert report.main(["--claims"]) == 1
    assert "small fails, and results/claims.toml expects" in capsys.readouterr().err


def test_a_document_has_the_claims_that_it_names(tmp_path):
    path = write(tmp_path / "results", (0.05, 0.05, 0.05))
    document = tmp_path / "page.md"
    document.write_text("<!-- claims results/claims.toml: better -->\n<!-- end of table -->\n")
    text = filled(document)
    rows = claims_table(v for v in check_claims(path) if v.claim.id == "better")
    assert "\n".join(rows) in text
    assert "not worse" not in text
    document.write_text("<!-- claims results/claims.toml: other -->\n<!-- end of table -->\n")
    with pytest.raises(ValueError, match="no claim other; take some of better, small"):
        filled(document)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "better"', 'id = "small"', "small is the id of two claims"),
        ("seeds = 3\nexpected", "expected", r"claim 2 \(better\): seeds is missing or unknown"),
        (
            'expected = "fails"',
            'expected = "no"',
            "expected is 'no'; take one of holds",
        ),
        ("not_worse_by = 1.0", "not_worse_by = -1.0", r"not_worse_by is -1.0; it takes points"),
        ("seeds = 3\nexpected", "seeds = 1\nexpected", "seeds is 1; it takes a number from 2 on"),
        ('says = "B', 'why = "B', r"claim 2 \(better\): says, why is missing or unknown"),
        ("[[claim]]", "[[claim", "is no TOML"),
        ("seeds = 3\nexpected", "seeds = 4\nexpected", r"3 finished runs of .*better needs 4"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, capsys, old, new, message):
    path = write(tmp_path, (0.05, 0.05, 0.05))
    assert old in FILE
    path.write_text(FILE.replace(old, new))
    assert report.main([f"--claims={path}"]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    with pytest.raises(ValueError, match=message):
        check_claims(path)


def test_runs_without_predictions_are_told(tmp_path):
    path = write(tmp_path, (0.05, 0.05, 0.05), with_predictions=False)
    with pytest.raises(ValueError, match="has no predictions for test images, which claim"):
        check_claims(path)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("seed", r"has seed 0 of .*'a'.* more than once, and claim small needs seeds that differ"),
        ("optimizer.learning_rate", r"'a'.* differ in more than their seed, and claim small"),
    ],
)
def test_runs_that_are_no_other_seeds_of_one_setting_are_refused(tmp_path, field, message):
    path = write(tmp_path, (0.05, 0.05, 0.05))
    file = tmp_path / "runs" / "runs.jsonl"
    lines = file.read_text().splitlines()
    second = json.loads(lines[1])
    assert second["config"]["seed"] == 1
    second["config"][field] = 0
    file.write_text("\n".join([lines[0], json.dumps(second), *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=message):
        check_claims(path)


def test_a_claim_is_what_the_file_says(tmp_path):
    claim = check_claims(write(tmp_path, (0.05, 0.05, 0.05)))[1].claim
    assert dataclasses.asdict(claim)["not_worse_by"] in (0.0, 1.0)
    assert claim.expected in ("holds", "fails")
