"""Models so small that they compile in seconds, and results that were never run."""

import numpy as np

from experiments.any_flax_model.data import Task
from experiments.any_flax_model.recipes import Recipe, Sizes
from experiments.any_flax_model.results import Layer, Result

SIZES = Sizes(features=8, depth=1, width=16, heads=2, token_width=8, patch=14, context=8)


def recipe(task):
    rates = (1e-3, 1e-2)
    return Recipe(task, SIZES, steps=20, batch=4, learning_rate=1e-2, rates=rates, samples=8)


def task(name):
    """Returns a few examples drawn at random."""
    rng = np.random.default_rng(0)

    def part(size):
        if name == "text":
            tokens = rng.integers(0, 16, (size, SIZES.context + 1)).astype(np.int32)
            return tokens[:, :-1], tokens[:, 1:]
        images = rng.integers(0, 256, (size, 28, 28, 1)).astype(np.uint8)
        return images, rng.integers(0, 10, size).astype(np.int32)

    def draw(key, train, batch):
        inputs, targets = (array[:batch] for array in train)
        return (inputs if name == "text" else inputs / np.float32(255)), targets

    outputs = 16 if name == "text" else 10
    return Task(name, outputs, part(12), part(6), part(7), draw, f"made up {name}")


def result(model, seed, method, budget=None, *, value, before=None, **fields):
    """Returns a result with this measure after the training."""
    of_task = "text" if model.startswith("decoder") else "digits"
    layers = [Layer("block_0/a", "8x16", "kfc", "1:2x4*4x4", 24, 0.5)] if budget else []
    content = {
        "task": of_task,
        "parameters": 100 if budget is None else int(100 * budget),
        "before": {"loss": before or value, "wrong": before or value},
        "after": {"loss": value, "wrong": value},
        "learning_rate": 1e-3,
        "validation": {},
        "steps": 100,
        "layers": layers,
        "plan_error": 0.5 if budget else None,
        "seconds": {"planning": 2.0} if budget else {},
        "recipe": {},
        "data": "made up",
        "command": "python",
        "versions": {"jax": "0"},
        "device": {"kind": "cpu", "cpu_cores": 2},
        "revision": None,
    }
    return Result(model, seed, method, budget, **(content | fields))
