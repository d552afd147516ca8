"""The documents say what is there: tables of the kept runs, links, and commands of sweeps."""

import collections
import json
import pathlib
import re
import shlex
import tomllib

import pytest

from experiments.reporting import filled, index_page
from experiments.sweeping.running import load_plan
from experiments.sweeping.trials import select

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "results"
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), RESULTS / "README.md"]
WITH_TABLES = [
    path for path in DOCUMENTS if re.search("^<!-- (table|claims|summary) ", path.read_text(), re.M)
]
KEPT = tomllib.loads((RESULTS / "index.toml").read_text())
COMMANDS = sorted(
    {
        match[1]
        for path in DOCUMENTS
        for match in re.finditer(
            r"experiments\.sweep\s+(--config=configs/[^`\n]+)", path.read_text()
        )
        if "FILE" not in match[1]
        # A guide may run a file that its own change adds.
        and f"+++ b/{match[1].split()[0].partition('=')[2]}\n" not in path.read_text()
    }
)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", WITH_TABLES, ids=name_of)
def test_tables_are_what_the_kept_runs_give(document):
    assert filled(document) == document.read_text()


def test_there_are_such_documents_and_commands():
    assert len(WITH_TABLES) >= 4
    assert len(COMMANDS) >= 40


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", path):
            continue  # to the web
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(document):
    """Returns what headings are called in links, as GitHub does it."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    seen = collections.Counter()
    names = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def test_anchors_are_those_of_headings(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("# `KFCDense`, and how\n```\n# no heading\n```\n## MNIST\n## MNIST\n")
    assert anchors(path) == {"kfcdense-and-how", "mnist", "mnist-1"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_sweeps_name_trials(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = dict(word.lstrip("-").split("=", 1) for word in shlex.split(command) if "=" in word)
    plan = load_plan(flags["config"])
    assert select(plan.trials, flags.get("filter", ""))


def test_kept_runs_are_listed_as_they_are():
    assert (RESULTS / "README.md").read_text() == index_page(RESULTS)


@pytest.mark.parametrize("folder", KEPT)
def test_kept_runs_belong_to_a_document(folder):
    assert re.search(
        rf"\[{folder}\]\(.*\.md\) \|$", (RESULTS / "README.md").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("folder", [name for name, kept in KEPT.items() if "sweeps" in kept])
def test_kept_runs_are_trials_of_their_sweeps(folder, monkeypatch):
    """A run is known by its name; a few older ones, whose folders had numbers, by what they set."""
    monkeypatch.chdir(ROOT)
    file = RESULTS / folder / "runs.jsonl"
    runs = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    plans = [load_plan(f"configs/sweeps/{sweep}") for sweep in KEPT[folder]["sweeps"]]
    trials = {trial.name: trial.overrides for plan in plans for trial in plan.trials}
    overrides = [json.loads(json.dumps(fields)) for fields in trials.values()]
    others = [
        run["name"]
        for run in runs
        if run["name"] not in trials and run["overrides"] not in overrides
    ]
    # The last fields of the index say why.
    changed_since = {"regularisation": 28, "svhn_taught_slower": 27}
    assert len(others) == changed_since.get(folder, 0)
    assert "since" in KEPT[folder] or not others


def test_tables_of_speed_are_those_of_the_kept_benchmarks():
    text = (ROOT / "docs" / "performance.md").read_text()
    kept = "\n".join(path.read_text() for path in sorted(RESULTS.glob("benchmark*/summary.md")))
    rows = re.findall(r"^\| (?:\d+ -> \d+|[^|]+ \| [<>]= [\d.]+) \|.*$", text, re.MULTILINE)
    assert len(rows) > 40
    assert [row for row in rows if row not in kept.splitlines()] == []
