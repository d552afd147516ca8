"""The training loop: a prepared run in, the files of its folder out."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import ImageSet, TrainBatches, eval_batches
from experiments.models import cost_table, frozen_layers, model_line, totals
from experiments.runs import Checkpoints, predictions, provenance
from experiments.system import Interrupted, deferred_signals, lock_folder, shardings
from experiments.training import steps
from experiments.training.int8 import rounded_to_int8, stored_bytes
from experiments.training.optimizers import learning_rate_schedule, make_optimizer
from experiments.training.progress import Progress, Stopwatch
from experiments.training.run import Images, Run, load_images, make_start
from experiments.training.start_from_dense import Start
from experiments.training.teacher import Teacher

_STOPPING = "\nStopping: the step ends and the state is saved; once more to stop at once.\n"


class Diverged(FloatingPointError):
    """A number of the run is not finite."""


def train_and_evaluate(run: Run) -> dict[str, Any]:
    """Trains a run to its end, from where it stands, and returns its result.

    The folder is locked meanwhile, as two processes would spoil each other's files.

    Raises:
      ValueError: if another process trains in the folder, or the data set does not suit the config.
      OSError, ImportError: as `load_images`.
      Diverged, Interrupted: as `train`.
    """
    if result := run.folder.result():
        print(f"The run in {run.folder.path} is finished already; its result:\n{summary(result)}")
        return result
    lock = lock_folder(run.folder.path, ".training.lock")
    try:
        for name, text in run.files.items():
            run.folder.write_text(name, text)
        images = run.images or load_images(run.config)
        result = train(run, images, make_start(run, images))
    finally:
        lock.close()
    print(f"Result: {run.folder.path / 'result.json'}")
    return result


def train(run: Run, images: Images, start: Start | None = None) -> dict[str, Any]:
    """Trains from the newest checkpoint, or from the start, to the end; returns the result.

    Args:
      run: the run.
      images: its images.
      start: what `make_start` returned; None for a run without a source.

    Raises:
      Diverged: if the loss is not finite; the last good checkpoint stays.
      Interrupted: if a signal stopped the run, after its state was saved.
    """
    with (
        Checkpoints(run.folder.checkpoints) as checkpoints,
        deferred_signals(_STOPPING) as pending,
    ):
        trainer = _Trainer(run, images, checkpoints, start)
        try:
            while trainer.step < trainer.num_steps:
                trainer.train_step()
                if pending.signum is not None:
                    trainer.save()
                    raise Interrupted(pending.signum, trainer.step)
            return trainer.finish()
        finally:
            trainer.close()


class _Trainer:
    """What changes while a run is trained, and the operations on it."""

    def __init__(self, run: Run, images: Images, checkpoints: Checkpoints, start: Start | None):
        """Makes the state, or restores the newest one, and compiles the steps."""
        config = run.config
        self._run, self._images, self._checkpoints = run, images, checkpoints
        self._batches = TrainBatches(images.train, config.train.batch_size, config.seed)
        self._steps_per_epoch = self._batches.steps_per_epoch
        self.num_steps = config.train.num_epochs * self._steps_per_epoch
        self._schedule = learning_rate_schedule(
            config.optimizer, self.num_steps, self._steps_per_epoch
        )
        model = run.model
        optimizer = make_optimizer(config.optimizer, self._schedule, frozen_layers(model))
        self._progress = Progress(self.num_steps, self._steps_per_epoch)
        self._progress.say(model_line(run.costs))

        self.step = 0
        self._state = steps.create_state(model, optimizer, config)
        self._window: list[Any] = []  # METRICS of the steps since the last line of metrics
        self._watch = Stopwatch()
        self._compression: dict[str, Any] = {}  # how a run that compresses another one started
        if checkpoints.latest_step() is not None:
            self._restore()
        elif start:
            # Copies, as a step takes the state's buffers, and the source may be the teacher, too.
            params, batch_stats = jax.tree.map(jnp.copy, (start.params, start.batch_stats))
            self._state = self._state.replace(params=params, batch_stats=batch_stats)
        elif run.source:
            raise ValueError("The run has a source: train it from what make_start returns.")
        self._mark = self.step, dict(self._watch.seconds)
        run.folder.start(self.step)
        _, self._split = shardings()
        teacher = run.teacher and Teacher(run.teacher.model, run.teacher.variables)
        with self._watch("compile"):
            self._train_step = steps.compile_train_step(
                model, optimizer, config, self._state, teacher
            )
            self._eval_step = steps.compile_eval_step(model, config, self._state)
        if start:
            before = self._evaluate_all("before_training")
            self._compression = {
                "before_training": before,
                "layers": start.layers,
                "seconds": round(start.seconds, 3),
            }
            self._progress.say("\n".join(["decomposed, before training:", *_error_lines(before)]))
            if not self.num_steps:
                self.save()

    def train_step(self) -> None:
        """Does one step, and all that is due after it."""
        train = self._run.config.train
        with self._watch("train"):
            with self._watch("data_wait"):
                batch = jax.device_put(next(self._batches), self._split)
            self._state, metrics = self._train_step(self._state, batch)
            self._window.append(metrics)
            self.step += 1
            epoch, within_epoch = divmod(self.step, self._steps_per_epoch)
            ends_epoch = within_epoch == 0
            is_due = ends_epoch or self.step % train.log_every == 0
            if is_due:
                self._check_numbers()
        if is_due:
            self._write_metrics(with_validation=ends_epoch)
        is_saved = ends_epoch and epoch % train.checkpoint_every_epochs == 0
        if is_saved or self.step == self.num_steps:
            self.save()

    def save(self) -> None:
        """Saves a checkpoint of this step, unless a number in it is not finite."""
        self._check_numbers()
        with self._watch("checkpoint"):
            position = {
                "batches": self._batches.get_state(),
                "window": [metrics.tolist() for metrics in self._window],
                "seconds": self._watch.seconds,
                "compression": self._compression,
            }
            self._checkpoints.save(self.step, self._state, position)

    def finish(self) -> dict[str, Any]:
        """Evaluates the final state and writes `result.json`."""
        run, seconds = self._run, self._watch.seconds
        result = {
            **self._evaluate_all("test"),
            "int8": self._evaluate_in_int8(),
            "bytes": stored_bytes((self._state.params, self._state.batch_stats)),
            "whole_model": totals(run.costs),
            "layers": [cost.as_dict() for cost in run.costs],
            "steps": self.num_steps,
            "epochs": run.config.train.num_epochs,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "steps_per_second": self.num_steps / max(seconds["train"], 1e-9),
            "data_wait_fraction": self._watch.data_wait_fraction(),
            "seed": run.config.seed,
            "command": provenance.command(),
            "device": provenance.device(),
            "versions": provenance.versions(),
            "git_revision": provenance.git_revision(),
        }
        if run.teacher:
            result["teacher"] = {"run": run.config.distillation.teacher, **run.teacher.errors}
        if run.source:
            source = {"run": run.config.compression.source, **run.source.errors}
            how = {name: run.config.compression[name] for name in ("weighted", "reordered")}
            result["compression"] = {"source": source, **how, **self._compression}
        run.folder.write_result(result)
        self._progress.say(f"\n{cost_table(run.costs)}\n{summary(result)}")
        return result

    def close(self) -> None:
        """Ends the progress line and the metrics."""
        self._progress.close()
        self._run.folder.close()

    def _restore(self) -> None:
        self._state, position = self._checkpoints.restore(self._state, self._progress.say)
        self.step = int(self._state.step)
        self._batches.set_state(position["batches"])
        self._window = [np.asarray(metrics, np.float32) for metrics in position["window"]]
        self._watch = Stopwatch(**position["seconds"])
        self._compression = position.get("compression", {})
        self._progress.say(f"Going on from step {self.step:,} of {self.num_steps:,}.")

    def _check_numbers(self) -> None:
        """Waits for the device, the only place that does, and checks the numbers it gave."""
        self._window = jax.device_get(self._window)
        first_step = self.step - len(self._window) + 1
        for step, metrics in enumerate(self._window, first_step):
            for name, value in zip(steps.METRICS, metrics.tolist(), strict=True):
                if not math.isfinite(value):
                    raise self._not_finite(f"The {name.replace('_', ' ')} is {value} at", step)
        if not steps.all_finite((self._state.params, self._state.batch_stats)):
            raise self._not_finite("A parameter is not finite after", self.step)

    def _not_finite(self, what: str, step: int) -> Diverged:
        saved = self._checkpoints.latest_step()
        return Diverged(
            f"{what} step {step:,}, where the learning rate is {self._schedule(step - 1):.3g}. "
            f"{'No checkpoint was saved yet' if saved is None else f'Checkpoint {saved:,} is good'}"
            ", and nothing was saved after it. Lower config.optimizer.learning_rate or "
            "config.optimizer.factor_gain, or raise config.optimizer.warmup_epochs, in another "
            "--workdir."
        )

    def _write_metrics(self, *, with_validation: bool) -> None:
        """Writes the means since the last line, and starts anew."""
        (step_before, before), seconds = self._mark, dict(self._watch.seconds)
        elapsed = seconds["train"] - before["train"]
        means = np.mean(np.asarray(self._window, np.float64), axis=0).tolist()
        metrics = {f"train/{name}": mean for name, mean in zip(steps.METRICS, means, strict=True)}
        metrics |= {
            "learning_rate": float(self._schedule(self.step - 1)),
            "epoch": self.step / self._steps_per_epoch,
            "steps_per_second": (self.step - step_before) / elapsed,
            "data_wait_fraction": (seconds["data_wait"] - before["data_wait"]) / elapsed,
        }
        if with_validation and (validation := self._evaluate(self._images.validation)):
            metrics |= {f"validation/{name}": validation[name] for name in ("loss", "error")}
        self._window, self._mark = [], (self.step, seconds)
        self._run.folder.write_metrics(self.step, metrics)
        self._progress.update(self.step, metrics)

    def _evaluate_all(self, keep_as: str = "") -> dict[str, dict[str, Any] | None]:
        """Returns what `_evaluate` does of the test and the validation images, as far as wanted.

        The predictions for test images are kept under a name, if one is given.
        """
        at_end = self._run.config.train.test_at_end
        return {
            "test": self._evaluate(self._images.test, keep_as) if at_end else None,
            "validation": self._evaluate(self._images.validation),
        }

    def _evaluate_in_int8(self) -> dict[str, dict[str, Any] | None]:
        """Returns what `_evaluate_all` does, of the weights in 8 bits."""
        trained = self._state
        self._state = trained.replace(params=rounded_to_int8(trained.params))
        try:
            return self._evaluate_all()
        finally:
            self._state = trained

    def _evaluate(self, images: ImageSet, keep_as: str = "") -> dict[str, Any] | None:
        """Returns mean loss, fraction of errors and number of `images`; None without images.

        Predictions are kept in the run's folder under a name, if one is given.
        """
        if not len(images):
            return None
        with self._watch("eval"):
            outputs = [
                self._eval_step(self._state, jax.device_put(batch, self._split))
                for batch in eval_batches(images, self._run.config.train.eval_batch_size)
            ]
            sums = jax.device_get([output["sums"] for output in outputs])
            loss, errors, examples = np.sum(sums, axis=0, dtype=np.float64)
        if not math.isfinite(loss):
            raise self._not_finite(f"The loss of the evaluation is {loss} after", self.step)
        if keep_as:
            predicted, probability = (
                np.concatenate(jax.device_get([output[name] for output in outputs]))[: len(images)]
                for name in ("predicted", "probability")
            )
            its = predictions.Predictions.of(images.labels, predicted, probability)
            self._run.folder.keep_predictions(keep_as, its)
        return {
            "error": float(errors / examples),
            "loss": float(loss / examples),
            "examples": int(examples),
        }


def summary(result: dict[str, Any]) -> str:
    """Returns the errors and the times of a result as lines of text."""
    seconds = result["seconds"]
    times = (
        f"training {seconds['train']:.0f} s ({result['steps_per_second']:.1f} steps/s, data wait "
        f"{result['data_wait_fraction']:.1%}), compilation {seconds['compile']:.0f} s, evaluation "
        f"{seconds['eval']:.0f} s"
    )
    return "\n".join([*_error_lines(result), times])


def _error_lines(result: dict[str, Any]) -> list[str]:
    return [
        f"{split} error {result[split]['error']:.2%}  (loss {result[split]['loss']:.4f}, "
        f"{result[split]['examples']:,} examples)"
        for split in ("validation", "test")
        if result[split]
    ]
