"""Trials: what they change in the base config, what their folders are called, how to run them."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.sweeping.overrides import Overrides

_MAX_NAME = 160  # bytes; file systems allow 255, and other files are named after it


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
      name: the name of its folder, made from its overrides, see `name_trials`.
      overrides: the fields in which it differs from the base config.
    """

    name: str
    overrides: Overrides

    def arguments(self, base: str, workdir: Path) -> list[str]:
        """Returns the arguments of `experiments.train` for this trial, in its folder."""
        fields = [f"--config.{field}={value}" for field, value in self.overrides.items()]
        return [f"--config={base}", f"--workdir={workdir / self.name}", *fields]

    def command(self, base: str, workdir: Path) -> str:
        """Returns the line that runs this trial in a shell."""
        return shlex.join(["python", "-m", "experiments.train", *self.arguments(base, workdir)])


def name_trials(overrides: Iterable[Overrides]) -> list[Trial]:
    """Names trials after their overrides: `fc1.kind=kfc,fc1.structure=8-28x32_28x32,seed=1`.

    Fields are sorted, the seed last, so their order in the config does not matter; of a field's
    dotted name the last two parts are kept; characters with a meaning to shells or to other systems
    are replaced (`:` by `-`, `*` by `_`). Names that come out equal, or too long, get a digest.

    Raises:
      ValueError: if two trials have the same overrides.
    """
    trials: dict[str, Trial] = {}
    seen: set[str] = set()
    for unsorted in overrides:
        fields = {f: unsorted[f] for f in sorted(unsorted, key=lambda f: (f == "seed", f))}
        identity = repr(fields)
        if identity in seen:
            raise ValueError(f"The sweep lists a trial twice: {fields}. Leave one of them out.")
        seen.add(identity)
        name = _full_name(fields, _plain)
        if name in trials or len(name) > _MAX_NAME:
            digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
            name = f"{name[: _MAX_NAME - 9]},{digest}"
        trials[name] = Trial(name, fields)
    return list(trials.values())


def trial_folder(workdir: str, overrides: Overrides) -> str:
    """Returns the folder of a trial of another sweep, for trials that start or learn from it.

    Args:
      workdir: that sweep's folder.
      overrides: the overrides of the trial.
    """
    return str(Path(workdir) / name_trials([overrides])[0].name)


def select(trials: list[Trial], pattern: str) -> list[Trial]:
    """Returns the trials whose name contains `pattern`, in which `*` and `?` are wildcards.

    Names count in full, also where the folder's name had to be cut, and with values as they are
    given (`2:16x16*64x32`) as well as in the way that folders spell them.

    Raises:
      ValueError: if there is none.
    """
    found = [
        trial
        for trial in trials
        if any(
            fnmatch.fnmatchcase(name, f"*{pattern}*")
            for name in (
                trial.name,
                _full_name(trial.overrides, _plain),
                _full_name(trial.overrides, str),
            )
        )
    ]
    if not found:
        raise ValueError(
            f"--filter={pattern} fits none of the {len(trials)} trials; their names are like "
            f"{trials[0].name} (--dry_run shows all)."
        )
    return found


def _full_name(fields: Overrides, spell: Callable[[object], str]) -> str:
    return ",".join(f"{_short(f)}={spell(value)}" for f, value in fields.items()) or "base"


def _short(field: str) -> str:
    return ".".join(field.split(".")[-2:])


def _plain(value: object) -> str:
    text = str(value).replace(":", "-").replace("*", "_")
    return re.sub(r"[^\w.+,@=-]", "-", text, flags=re.ASCII)
