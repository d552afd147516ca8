"""Claims that are stated in a file before they are tested, and what kept runs say of them.

    [[claim]]
    id = "kfc-2"
    says = "KFC `2:16x16*64x32` is not worse than dense by 0.3 points"
    runs = "claims_house_numbers"       # a folder of kept runs, beside the file
    of = { "model.fc1.kind" = "kfc", "model.fc1.structure" = "2:16x16*64x32" }
    than = { "model.fc1.kind" = "dense" }
    not_worse_by = 0.3                  # points; without it the claim is that it is better
    seeds = 10                          # of each method, at least
    expected = "holds"                  # or "fails", "no runs yet": what documents say of it

A method is named by all that its runs' overrides say of the model. Claims of one folder of runs are
a family: their p-values are corrected for their number.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reporting.evidence.crossed_design import Difference, difference, holm
from experiments.reporting.trials import Trial, read_sweeps

LEVEL = 0.025
"""The highest corrected p-value with which a claim holds: one-sided, as an interval of 95% has."""

_OUTCOMES = ("holds", "fails", "no runs yet")
_MODEL = "model."


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, as the file states it.

    Attributes:
      id: its name.
      says: it in words.
      runs: the folder of kept runs, beside the file.
      of: the method that it is about, by its fields.
      than: the method that it is compared with.
      seeds: how many runs of each it needs.
      not_worse_by: the margin in points; 0: the claim is that it is better.
      expected: `holds`, `fails`, or `no runs yet`, so that a folder that is not found is told.
    """

    id: str
    says: str
    runs: str
    of: Mapping[str, Any]
    than: Mapping[str, Any]
    seeds: int
    not_worse_by: float = 0.0
    expected: str = "holds"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim.

    Attributes:
      claim: the claim.
      difference: None where there are no runs yet.
      p_value: corrected for the number of claims of its family; None likewise.
    """

    claim: Claim
    difference: Difference | None = None
    p_value: float | None = None

    @property
    def outcome(self) -> str:
        """`holds`, `fails`, or `no runs yet`."""
        if self.p_value is None:
            return "no runs yet"
        return "holds" if self.p_value <= LEVEL else "fails"

    @property
    def is_as_expected(self) -> bool:
        """Whether documents that say what was expected are right."""
        return self.outcome == self.claim.expected


def read_claims(path: str | os.PathLike[str]) -> list[Claim]:
    """Returns the claims of a file.

    Raises:
      ValueError: naming the claim and the field that is missing, unknown or wrong.
      OSError: if the file cannot be read.
    """
    path = Path(path).expanduser()
    try:
        entries = tomllib.loads(path.read_text()).get("claim", [])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}.") from error
    claims = [_claim(path, number, entry) for number, entry in enumerate(entries, 1)]
    ids = [claim.id for claim in claims]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"{path}: {', '.join(twice)} is the id of two claims; give each its own.")
    return claims


def check_claims(path: str | os.PathLike[str]) -> list[Verdict]:
    """Returns the verdict on every claim of a file: those that fail first, then as in the file.

    Raises:
      ValueError: as `read_claims`, or if a folder's runs are too few, differ in their images or in
        more than their seeds, have one seed twice, or have no predictions.
      OSError: if a file cannot be read.
    """
    path = Path(path).expanduser()
    verdicts = []
    by_runs = itertools.groupby(sorted(read_claims(path), key=_runs), _runs)
    for runs, family in by_runs:
        verdicts += _of_family(path.parent / runs, list(family))
    order = [claim.id for claim in read_claims(path)]
    return sorted(verdicts, key=lambda v: (v.outcome != "fails", order.index(v.claim.id)))


def claims_table(verdicts: Iterable[Verdict]) -> list[str]:
    """Returns the lines of a Markdown table of verdicts.

    "errs less" is how often a model of the first method errs less than one of the second.
    """
    head = ("claim", "difference (points)", "95% interval", "p, corrected", "errs less", "seeds")
    lines = [f"| {' | '.join([*head, ''])} |", "| --- | ---: | --- | ---: | ---: | --- | --- |"]
    for verdict in verdicts:
        found, cells = verdict.difference, ["-"] * 5
        if found is not None and verdict.p_value is not None:
            low, high = (f"{100 * bound:+.2f}" for bound in found.interval)
            p = "< 0.001" if verdict.p_value < 0.001 else f"{verdict.p_value:.3f}"
            seeds = " and ".join(str(n) for n in dict.fromkeys(found.num_seeds))
            estimate, improved = f"{100 * found.estimate:+.2f}", f"{found.improved:.0%}"
            cells = [estimate, f"[{low}, {high}]", p, improved, seeds]
        outcome = "**fails**" if verdict.outcome == "fails" else verdict.outcome
        lines.append(f"| {' | '.join([verdict.claim.says, *cells, outcome])} |")
    return lines


def _runs(claim: Claim) -> str:
    return claim.runs


def _claim(path: Path, number: int, entry: dict[str, Any]) -> Claim:
    fields = {field.name: field for field in dataclasses.fields(Claim)}
    name = f"{path}: claim {number} ({entry.get('id', 'without an id')})"
    needed = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    if wrong := sorted((needed - entry.keys()) | (entry.keys() - fields.keys())):
        raise ValueError(
            f"{name}: {', '.join(wrong)} is missing or unknown; a claim has "
            f"{', '.join(sorted(needed))} and may have not_worse_by and expected."
        )
    if entry.get("expected", "holds") not in _OUTCOMES:
        raise ValueError(
            f"{name}: expected is {entry['expected']!r}; take one of {', '.join(_OUTCOMES)}."
        )
    if not isinstance(entry["seeds"], int) or entry["seeds"] < 2:
        raise ValueError(f"{name}: seeds is {entry['seeds']!r}; it takes a number from 2 on.")
    margin = entry.get("not_worse_by", 0.0)
    if not isinstance(margin, int | float) or margin < 0:
        raise ValueError(f"{name}: not_worse_by is {margin!r}; it takes points, 0 or more.")
    return Claim(**entry)


def _of_family(folder: Path, claims: Sequence[Claim]) -> list[Verdict]:
    if not folder.is_dir():
        return [Verdict(claim) for claim in claims]
    trials = [trial for trial in read_sweeps([folder]) if trial.outcome]
    differences = []
    for claim in claims:
        first, second = (
            [trial.predicted["test"] for trial in _runs_of(folder, trials, claim, fields)]
            for fields in (claim.of, claim.than)
        )
        differences.append(difference(first, second))
    p_values = [
        found.p_value(claim.not_worse_by / 100)
        for claim, found in zip(claims, differences, strict=True)
    ]
    return [Verdict(*judged) for judged in zip(claims, differences, holm(p_values), strict=True)]


def _runs_of(
    folder: Path, trials: Sequence[Trial], claim: Claim, fields: Mapping[str, Any]
) -> list[Trial]:
    found = [
        trial
        for trial in trials
        if {f: v for f, v in trial.overrides.items() if f.startswith(_MODEL)} == dict(fields)
    ]
    if len(found) < claim.seeds:
        raise ValueError(
            f"{folder} has {len(found)} finished runs of {dict(fields)}, and claim {claim.id} "
            f"needs {claim.seeds}: let the sweep end, and report on it again."
        )
    if without := [trial.name for trial in found if "test" not in trial.predicted]:
        raise ValueError(
            f"{folder}: {without[0]} has no predictions for test images, which claim {claim.id} "
            "needs: train it again."
        )
    # Interval and p-value take the runs for a method's seeds, and nothing else, drawn at random.
    if any(trial.settings != found[0].settings for trial in found):
        raise ValueError(
            f"{folder}: runs of {dict(fields)} differ in more than their seed, and claim "
            f"{claim.id} is about one setting of it: keep the runs of one."
        )
    seeds = [trial.seed for trial in found]
    if twice := sorted({str(seed) for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(
            f"{folder} has seed {', '.join(twice)} of {dict(fields)} more than once, and claim "
            f"{claim.id} needs seeds that differ: keep one run of each."
        )
    return found
