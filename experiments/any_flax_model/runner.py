"""All runs of the comparison, one after the other; what is done already is not done again."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.serialization

from experiments.any_flax_model import results
from experiments.any_flax_model.apis import Function, LinenModel, NNXModel, model_of
from experiments.any_flax_model.data import Task, load_task
from experiments.any_flax_model.recipes import Recipe, recipe_of
from experiments.any_flax_model.results import DENSE, FURTHER, Layer, Result, Run
from experiments.any_flax_model.training import Evaluation, Training
from experiments.runs import provenance
from experiments.system import StatusLine, clock, lock_folder, write_file
from kfc_jax.compress import CompressionPlan, plan_compression

_COMPILING = 60  # steps of a training that planning and compiling take about as long as
_TOLD = 2.0  # seconds between two lines of progress in a terminal
_LOGGED = 30.0  # and in a log
_SHOWN = 128  # examples of a batch that the layers are shown


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare.

    Attributes:
      models: names of `recipes.MODELS`.
      seeds: of the dense models. The first of a model to reach a method chooses its learning rate.
      budgets: fractions of the parameters.
      methods: of plans.
      quick: tiny models and a few steps, to see that all works.
    """

    models: Sequence[str]
    seeds: Sequence[int]
    budgets: Sequence[float]
    methods: Sequence[str]
    quick: bool = False

    @property
    def runs(self) -> list[Run]:
        """All runs, in their order: every model with the first seed before the next one."""
        return [
            run
            for seed in self.seeds
            for model in self.models
            for run in (
                Run(model, seed, DENSE),
                Run(model, seed, FURTHER),
                *(Run(model, seed, m, budget) for budget in self.budgets for m in self.methods),
            )
        ]


def run_all(options: Options, out: Path, status: StatusLine | None = None) -> list[Result]:
    """Does the runs that `out` does not hold, and returns the results of all that it holds.

    Raises:
      ValueError: if an option is not as it must be, another process works in `out`, or `out` holds
        runs of other models or data.
      OSError: if it cannot be written.
    """
    status = status or StatusLine()
    recipes = {model: recipe_of(model, quick=options.quick) for model in options.models}
    out.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(out, ".lock")
    try:
        done = {result.run: result for result in results.read_results(out)}
        todo = [run for run in options.runs if run not in done]
        status.say(f"{len(options.runs)} runs, {len(options.runs) - len(todo)} done; in {out}")
        progress = _Progress(todo, done, recipes, status)
        bench: _Bench | None = None
        for run in todo:
            if bench is None or bench.key != (run.model, run.seed):
                bench = _Bench(run.model, run.seed, recipes[run.model], out, done, options.quick)
            result = bench.result(run, progress)
            results.save(out, result)
            done[run] = result
            progress.finish(run, result)
    finally:
        status.close()
        lock.close()
    return list(done.values())


class _Progress:
    """How far all runs are, and the time that is left."""

    def __init__(
        self,
        todo: Sequence[Run],
        done: dict[Run, Result],
        recipes: dict[str, Recipe],
        status: StatusLine,
    ) -> None:
        self._status, self._recipes = status, recipes
        tuned = {(r.model, r.method, r.budget) for r in done}
        self._work = {}
        for run in todo:
            cell = run.model, run.method, run.budget
            self._work[run] = self._steps(run, is_tuned=cell in tuned) + _COMPILING
            tuned.add(cell)
        self._total, self._done = sum(self._work.values()), 0.0
        self._start = self._last = time.monotonic()
        self._run: Run | None = None
        self._past = 0

    def begin(self, run: Run, what: str) -> None:
        """Tells that a part of a run begins."""
        self._run = run
        self._show(what)

    def step(self, number: int) -> None:
        """Notes a step of a training, and tells it now and then."""
        self._past += 1
        every = _TOLD if self._status.is_terminal else _LOGGED
        if time.monotonic() - self._last > every:
            self._show(f"step {number}")

    def finish(self, run: Run, result: Result) -> None:
        """Tells the end of a run."""
        self._done, self._past = self._done + self._work[run], 0
        before, after = (part[result.measure] for part in (result.before, result.after))
        spent = sum(result.seconds.values())
        self._status.say(
            f"{self._left():>8} left  {run.name}: {result.parameters:,} parameters, "
            f"{result.measure} {before:.4f} -> {after:.4f}, {spent:.0f} s"
        )

    def _steps(self, run: Run, *, is_tuned: bool) -> int:
        recipe = self._recipes[run.model]
        if run.method == DENSE:
            return recipe.steps
        return recipe.further_steps * (1 if is_tuned else len(recipe.rates))

    def _left(self) -> str:
        reached = self._done + min(self._past, self._work.get(self._run, 0))
        if not reached:
            return "?"
        return clock((time.monotonic() - self._start) * (self._total / reached - 1))

    def _show(self, what: str) -> None:
        self._last = time.monotonic()
        self._status.show(f"{self._left():>8} left  {self._run.name if self._run else ''}: {what}")


class _Bench:
    """One model with one seed: its dense parameters, and what is compared on them."""

    def __init__(
        self,
        model: str,
        seed: int,
        recipe: Recipe,
        out: Path,
        done: dict[Run, Result],
        quick: bool,
    ) -> None:
        self.key = model, seed
        self._recipe, self._done, self._quick = recipe, done, quick
        self._task: Task = load_task(
            recipe.task, context=recipe.sizes.context, max_shift=recipe.max_shift
        )
        inputs = next(self._task.samples(2, 2))
        self._model: LinenModel | NNXModel = model_of(
            model, recipe.sizes, self._task.outputs, inputs
        )
        self._start: Function = self._model.init(seed)
        self._file = results.path_of(out, Run(model, seed, DENSE)).with_suffix(".msgpack")
        self._dense: Function | None = None
        self._of_dense: tuple[Evaluation, Training] | None = None
        self._statistics: Any = None
        self._found: dict[str, Any] = {}  # what plans found, for other budgets and methods
        self._check(done)

    def result(self, run: Run, progress: _Progress) -> Result:
        """Does a run."""
        seconds: dict[str, float] = {}
        plan: CompressionPlan | None = None
        if run.method == DENSE:
            model = self._start
        elif run.method == FURTHER:
            model = self._trained()
        else:
            assert run.budget is not None
            dense = self._trained().params
            progress.begin(run, "what layers see")
            seen = self._seen(seconds)
            progress.begin(run, "planning")
            start = time.monotonic()
            layers = self._model.find_layers(dense)
            plan = plan_compression(
                layers,
                run.budget,
                method=run.method,
                statistics=seen,
                progress=lambda _: None,
                reuse=self._found,
            )
            seconds["planning"] = time.monotonic() - start
            progress.begin(run, "converting")
            start = time.monotonic()
            model = self._model.compressed(dense, plan, seen)
            seconds["converting"] = time.monotonic() - start
        return self._fitted(run, model, plan, seconds, progress)

    def _fitted(
        self,
        run: Run,
        model: Function,
        plan: CompressionPlan | None,
        seconds: dict[str, float],
        progress: _Progress,
    ) -> Result:
        """Trains a model, at the learning rate that is best on the validation part."""
        recipe, task = self._recipe, self._task
        score, training = self._compiled(model)
        is_new = run.method == DENSE
        steps = recipe.steps if is_new else recipe.further_steps
        known = recipe.learning_rate if is_new else self._known_rate(run)
        start = time.monotonic()
        before = score(model.params, task.test)
        validation: dict[str, float] = {}
        trained: dict[float, Any] = {}
        for rate in recipe.rates if known is None else (known,):
            progress.begin(run, f"{steps} steps at a learning rate of {rate:g}")
            # Batches that the dense model's training did not begin with.
            seed = run.seed if is_new else run.seed + 1_000_000
            trained[rate] = training.run(model.params, steps, rate, seed, progress.step)
            if known is None:
                # Of few digits, the loss tells rates apart better than the share of wrong ones.
                validation[f"{rate:g}"] = score(trained[rate], task.validation).loss
        best = min(trained, key=lambda rate: validation.get(f"{rate:g}", 0.0))
        after = score(trained[best], task.test)
        seconds["training and testing"] = time.monotonic() - start
        if is_new:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._file, flax.serialization.to_bytes(trained[best]))
            self._dense = dataclasses.replace(model, params=trained[best])
        return Result(
            **dataclasses.asdict(run),
            task=task.name,
            parameters=model.size,
            before=dataclasses.asdict(before),
            after=dataclasses.asdict(after),
            learning_rate=best,
            validation=validation,
            steps=steps,
            layers=[] if plan is None else _layers(plan),
            plan_error=None if plan is None else plan.error,
            seconds={name: round(value, 2) for name, value in seconds.items()},
            recipe=recipe.described(),
            data=task.fingerprint,
            command=_command(run, quick=self._quick),
            versions=provenance.versions(),
            device=provenance.device(),
            revision=provenance.git_revision(),
        )

    def _compiled(self, model: Function) -> tuple[Evaluation, Training]:
        """Returns how a model is evaluated and trained; a dense one is compiled once."""
        if model.apply == self._start.apply:
            if self._of_dense is None:
                self._of_dense = Evaluation(model), Training(model, self._task, self._recipe)
            return self._of_dense
        return Evaluation(model), Training(model, self._task, self._recipe, self._trained())

    def _trained(self) -> Function:
        """Returns the dense model after its training."""
        if self._dense is None:
            params = flax.serialization.from_bytes(self._start.params, self._file.read_bytes())
            self._dense = dataclasses.replace(self._start, params=params)
        return self._dense

    def _seen(self, seconds: dict[str, float]) -> Any:
        if self._statistics is None:
            start = time.monotonic()
            batches = self._task.samples(self._recipe.samples, _SHOWN)
            self._statistics = self._model.statistics(self._trained().params, batches)
            seconds["statistics"] = time.monotonic() - start
        return self._statistics

    def _known_rate(self, run: Run) -> float | None:
        """Returns the learning rate that another seed chose for the same."""
        for other, result in self._done.items():
            if dataclasses.replace(other, seed=run.seed) == run and result.validation:
                return result.learning_rate
        return None

    def _check(self, done: dict[Run, Result]) -> None:
        """Refuses results of another recipe or of other data."""
        now = self._recipe.described()
        for result in done.values():
            if result.model == self.key[0] and (
                result.recipe != now or result.data != self._task.fingerprint
            ):
                raise ValueError(
                    f"--out holds {result.run.name}, made by another recipe or from other data "
                    "(the text is that of the Python that runs): take another --out."
                )


def _layers(plan: CompressionPlan) -> list[Layer]:
    return [
        Layer(
            path=each.path,
            size=f"{each.inputs}x{each.features}" + f" x{each.copies}" * (each.copies > 1),
            kind=each.method,
            structure=each.structure,
            parameters=each.parameters,
            error=each.error,
        )
        for each in plan.layers
    ]


def _command(run: Run, *, quick: bool) -> str:
    flags = [f"--models={run.model}", f"--seeds={run.seed}"]
    flags += [] if run.is_dense else [f"--methods={run.method}", f"--budgets={run.budget:g}"]
    return shlex.join(["python", "-m", "experiments.any_model", *flags, *["--quick"] * quick])
