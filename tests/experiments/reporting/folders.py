"""Run folders and sweeps as `experiments.train` and `experiments.sweep` leave them, without runs.

Their sizes are LeNet-5's, counted here by hand; their errors are made up.
"""

import json
import random
import shlex

from experiments.reporting.compare import compare
from experiments.reporting.trials import read_runs
from kfc_jax import KroneckerStructure

CONVOLUTIONS = (("conv1", "5x5x1x20", 500, 576), ("conv2", "5x5x20x50", 25_000, 64))
BIASES = 20 + 50 + 500 + 10


def layer(name, kind, structure, parameters, dense_parameters, flops):
    return {
        "name": name,
        "kind": kind,
        "structure": structure,
        "parameters": parameters,
        "bias_parameters": 0,
        "dense_parameters": dense_parameters,
        "flops": flops,
        "dense_flops": 2 * dense_parameters,
        "reduction": 1 - parameters / dense_parameters,
    }


def fc1(fc):
    match fc["kind"]:
        case "dense":
            return layer("fc1", "dense", "800x500", 400_000, 400_000, 800_000)
        case "low_rank":
            parameters = fc["rank"] * (800 + 500)
            return layer(
                "fc1", "low_rank", f"rank {fc['rank']}", parameters, 400_000, 2 * parameters
            )
        case "kfc":
            structure = KroneckerStructure.parse(fc["structure"])
            parameters = structure.num_parameters
            return layer("fc1", "kfc", str(structure), parameters, 400_000, structure.flops(1))
        case kind:  # somebody's own, with as many blocks on the diagonal
            parameters = 400_000 // fc["blocks"]
            text = f"{fc['blocks']} blocks"
            return layer("fc1", kind, text, parameters, 400_000, 2 * parameters)


def make_result(fc, seed, errors):
    layers = [
        {**layer(name, "conv", structure, n, n, 2 * n * times), "dense_flops": 2 * n * times}
        for name, structure, n, times in CONVOLUTIONS
    ]
    layers += [fc1(fc), layer("fc2", "dense", "500x10", 5_000, 5_000, 10_000)]
    parameters = BIASES + sum(one["parameters"] for one in layers)
    flops = sum(one["flops"] for one in layers)
    dense_flops = sum(one["dense_flops"] for one in layers)
    return {
        **{s: None for s in ("test", "validation")},
        **{s: {"error": e, "loss": 4 * e, "examples": 10_000} for s, e in errors.items()},
        "whole_model": {
            "parameters": parameters,
            "dense_parameters": 431_080,
            "reduction": 1 - parameters / 431_080,
            "flops_per_example": flops,
            "dense_flops_per_example": dense_flops,
            "flops_reduction": 1 - flops / dense_flops,
        },
        "layers": layers,
        "steps": 400,
        "epochs": 10,
        "seconds": {
            "compile": 5.0,
            "train": 20.0,
            "data_wait": 1.0,
            "eval": 2.0,
            "checkpoint": 1.0,
        },
        "steps_per_second": 20.0,
        "data_wait_fraction": 0.05,
        "seed": seed,
        "device": {"platform": "cpu", "kind": "cpu", "count": 1, "cpu_cores": 2},
        "versions": {"jax": "0.10.2"},
        "git_revision": "0123abc",
    }


def make_config(fc, seed, data="mnist", **fields):
    config = {
        "seed": seed,
        "data": {"name": data, "data_dir": "", "num_validation": 5000},
        "model": {
            "name": "lenet5",
            "num_classes": 10,
            "image_shape": [28, 28, 1],
            "fc1": {"structure": "2:16x20*50x25", "rank": 0, "num_factors": 2, **fc},
            "fc2": {"kind": "dense", "structure": "", "rank": 0, "num_factors": 2},
        },
        "train": {"num_epochs": 10, "log_every": 100},
        "optimizer": {"learning_rate": 2e-3},
    }
    for field, value in fields.items():
        part, name = field.split("__")
        config[part][name] = value
    return config


def write_run(folder, fc, seed, errors, *, is_finished=True, **fields):
    """Writes a run; `errors` are its final errors by split, from which its curve is made."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(make_config(fc, seed, **fields)))
    final = errors.get("validation", errors.get("test", 0.05))
    with (folder / "metrics.jsonl").open("w") as file:
        for epoch in range(1, 11 if is_finished else 4):
            at = {"step": 40 * epoch, "epoch": float(epoch), "train/error": final}
            if "validation" in errors:
                at["validation/error"] = final * (1 + 3 / epoch - 0.3)
            file.write(json.dumps(at) + "\n")
    if is_finished:
        (folder / "result.json").write_text(json.dumps(make_result(fc, seed, errors)))
    return folder


def write_sweep(workdir, cases, seeds=(0, 1, 2), data="mnist"):
    """Writes a finished sweep; `cases` are pairs of fc1's fields and a mean test error."""
    trials = []
    for fc, error in cases:
        for seed in seeds:
            overrides = {f"model.fc1.{name}": value for name, value in fc.items()} | {"seed": seed}
            text = ",".join(f"{k.removeprefix('model.')}={v}" for k, v in overrides.items())
            name = text.replace(":", "-").replace("*", "_")
            noise = random.Random(f"{fc}{seed}").uniform(-0.06, 0.06)
            test = error * (1 + noise)
            write_run(workdir / name, fc, seed, {"test": test, "validation": 1.1 * test}, data=data)
            flags = [f"--config.{k}={v}" for k, v in overrides.items()]
            record = {
                "name": name,
                "overrides": overrides,
                "state": "done",
                "attempts": 1,
                "error": None,
                "command": shlex.join(
                    ["python", "-m", "experiments.train", f"--workdir={workdir / name}", *flags]
                ),
            }
            (workdir / name / "trial.json").write_text(json.dumps(record))
            trials.append({"name": name, "overrides": overrides})
    plan = {"config": "configs/sweeps/some.py", "base": "configs/mnist.py", "trials": trials}
    (workdir / "sweep.json").write_text(json.dumps(plan))
    return workdir


def write_cases(workdir, cases):
    """Writes runs of two seeds; a case is fc1, and test and validation error."""
    for i, (fc, test, validation) in enumerate(cases):
        for seed in (0, 1):
            errors = {"test": test + (seed - 0.5) * 1e-4, "validation": validation}
            write_run(workdir / f"{i}-{seed}", fc, seed, errors)
    (comparison,) = compare(read_runs([workdir]))
    return comparison


def kfc(structure):
    return {"kind": "kfc", "structure": structure}


def low_rank(rank):
    return {"kind": "low_rank", "rank": rank}


DENSE = {"kind": "dense"}

CASES = (
    (DENSE, 0.0070),
    (kfc("1:16x20*50x25"), 0.0110),
    (kfc("1:20x25*40x20"), 0.0102),
    (kfc("1:2x20*400x25"), 0.0095),
    (kfc("2:16x20*50x25"), 0.0088),
    (kfc("2:20x25*40x20"), 0.0091),
    (kfc("4:16x20*50x25"), 0.0080),
    (kfc("4:20x25*40x20"), 0.0083),
    (kfc("8:16x20*50x25"), 0.0074),
    (kfc("2:16x20*50x25+2:20x25*40x20"), 0.0079),
    (kfc("1:16x20*50x25+1:20x25*40x20"), 0.0089),
    (kfc("4:8x5*10x10*10x10"), 0.0125),
    (kfc("16:8x5*10x10*10x10"), 0.0099),
    (low_rank(1), 0.0830),
    (low_rank(2), 0.0260),
    (low_rank(3), 0.0150),
    (low_rank(5), 0.0120),
    (low_rank(10), 0.0085),
)
