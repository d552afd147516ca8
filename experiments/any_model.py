"""Compresses whole models of linen and NNX, beside low rank: `python -m experiments.any_model`.

An MLP-Mixer and a vision transformer are trained on 5,000 embedded digits, and a decoder with
scanned blocks and a tied table of characters on the documents inside Python, each in linen and in
NNX. Each trained model is compressed to fractions of its parameters by every method, and trained on
for a tenth of its training, taught by the dense one; the dense model itself, too, by the classes.
Of three learning rates for that tenth, each model, method and budget gets the one with the least
loss on the validation part, with the first seed.

Every run leaves a small file in `--out`, and the same command goes on where it was stopped. At the
end, or by `--table` at any time, `results.jsonl` holds all runs, and `summary.md` the tables.

    --quick                                      tiny models, one seed: to see that all works
    --models=vit_nnx --seeds=0 --budgets=0.5     some runs
    --table --out=results/any_model              the tables of runs that are kept
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments.any_flax_model import (
    METHODS,
    MODELS,
    Options,
    keep,
    read_results,
    run_all,
    summary,
)
from experiments.system import command_line, write_file

_OUT = flags.DEFINE_string("out", "runs/any_model", "Folder of the runs and the tables.")
_MODELS = flags.DEFINE_list("models", list(MODELS), "Which models.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Whole numbers; the first chooses rates.")
_BUDGETS = flags.DEFINE_list("budgets", ["0.5", "0.25"], "Fractions of the models' parameters.")
_METHODS = flags.DEFINE_list("methods", list(METHODS), "What layers may become.")
_QUICK = flags.DEFINE_bool("quick", False, "Tiny models, a few steps; the flags choose others.")
_TABLE = flags.DEFINE_bool("table", False, "Run nothing: write the tables of what is there.")

_QUICK_VALUES = {"seeds": ["0"], "budgets": ["0.5"], "methods": ["auto", "low_rank"]}


def main(argv: list[str]) -> None:
    """Runs the comparison, and turns what a user can cause into one line and an exit code."""
    command_line.refuse_arguments(argv)
    out = Path(_OUT.value).expanduser().absolute()
    with command_line.mistakes_in_a_line():
        found = read_results(out) if _TABLE.value else run_all(_options(), out)
        if not found:
            raise ValueError(f"{out} holds no runs yet: run without --table.")
        text = summary(found)
        keep(out, found)
        write_file(out / "summary.md", text)
    print(text.split("## What was chosen")[0].split("\n\n", 1)[1])
    print(f"All tables are in {out / 'summary.md'}")


def _options() -> Options:
    values = {
        flag.name: _QUICK_VALUES[flag.name]
        if _QUICK.value and flag.name in _QUICK_VALUES and not flags.FLAGS[flag.name].present
        else flag.value
        for flag in (_MODELS, _SEEDS, _BUDGETS, _METHODS)
    }
    for flag, known in (("models", MODELS), ("methods", METHODS)):
        if unknown := [name for name in values[flag] if name not in known]:
            raise ValueError(f"--{flag} holds {unknown[0]!r}; take of {', '.join(known)}.")
    seeds = [_number("seeds", text, int) for text in values["seeds"]]
    budgets = [_number("budgets", text, float) for text in values["budgets"]]
    if wrong := [budget for budget in budgets if not 0 < budget < 1]:
        raise ValueError(f"--budgets holds {wrong[0]:g}; take fractions between 0 and 1.")
    if wrong := [seed for seed in seeds if seed < 0]:
        raise ValueError(f"--seeds holds {wrong[0]}; take whole numbers from 0.")
    return Options(values["models"], seeds, budgets, values["methods"], _QUICK.value)


def _number(flag: str, text: str, kind: type) -> int | float:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"--{flag} holds {text!r}; it must be numbers.") from error


if __name__ == "__main__":
    command_line.run_app(main)
