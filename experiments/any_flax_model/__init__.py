"""Whole models in linen and NNX, compressed: what is lost, beside low rank, and what comes back.

- `Options`: which models, seeds, budgets and methods.
- `MODELS`: the names of the models.
- `METHODS`: the methods of plans that are compared.
- `run_all`: trains, compresses and fine-tunes what is not done yet.
- `read_results`, `keep`: the results in a folder, and all of them as one file.
- `summary`: the tables, in Markdown.

Inside: `recipes` says how large models are and how they are trained, `linen_models` and
`nnx_models` have them, `apis` makes functions of parameters of both, and `data`, `training`,
`runner`, `results` and `summary_page` are what their names say.
"""

from experiments.any_flax_model.recipes import MODELS
from experiments.any_flax_model.results import keep, read_results
from experiments.any_flax_model.runner import Options, run_all
from experiments.any_flax_model.summary_page import METHODS, summary

__all__ = ["METHODS", "MODELS", "Options", "keep", "read_results", "run_all", "summary"]
