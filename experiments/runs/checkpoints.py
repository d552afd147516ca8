"""The checkpoints of a run: its state, and where it stood in the data and in the metrics.

Arrays are stored by Orbax, which does not notice when a bit of them changes; beside them are their
digests, and nothing is read without being compared with these.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments.runs.digests import (
    Digests,
    damaged_array,
    digest_of_values,
    digests_of,
    named_leaves,
    refuse_other_arrays,
)

_DIGESTS = "digests"  # the item of a checkpoint, and in it the digest of all others
_DAMAGED_FOLDER = "damaged-checkpoints"


class OtherModel(ValueError):
    """A checkpoint is sound, but of other arrays."""


class Checkpoints:
    """The newest checkpoints in a folder; an unfinished one is never seen.

    Example::

      with Checkpoints(path) as checkpoints:
          checkpoints.save(step, state, {"epoch": 1})
          state, position = checkpoints.restore(like=state)
    """

    def __init__(self, path: Path, *, max_to_keep: int = 2):
        """Opens or creates the folder; `path` is absolute."""
        self._path, self._was_read_back = path, False
        options = ocp.CheckpointManagerOptions(max_to_keep=max_to_keep)
        self._manager = ocp.CheckpointManager(path, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, position: dict[str, Any]) -> None:
        """Saves `state` (arrays) and `position` (plain values), and waits until that is done.

        Does nothing where this step is saved already. The first one is read back at once.

        Raises:
          OSError: if it cannot be written, or not be read back; older ones stay.
        """
        before = self.latest_step()
        if step == before:
            return
        digests = {"state": digests_of(state), "position": digest_of_values(position)}
        digests[_DIGESTS] = digest_of_values(digests)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            position=ocp.args.JsonSave(position),
            digests=ocp.args.JsonSave(digests),
        )
        try:
            self._manager.save(step, args=args)
            # Waiting costs milliseconds here, and the caller is free to donate the state's buffers.
            self._manager.wait_until_finished()
            if not self._was_read_back:
                self._read(step, state)
                self._was_read_back = True
        except Exception as error:  # Orbax raises of any kind
            goes_on = "from the beginning" if before is None else f"from step {before:,}"
            raise OSError(
                f"The checkpoint of step {step:,} cannot be kept in {self._path} "
                f"({_in_a_line(error)}). Make room, or take a --workdir on another disk; the same "
                f"command goes on {goes_on}."
            ) from error

    def restore(self, like: Any, say: Callable[[str], None] = print) -> tuple[Any, dict[str, Any]]:
        """Returns the newest sound checkpoint, its arrays with shapes and shardings as in `like`.

        Newer ones that are damaged are moved to the folder `damaged-checkpoints` beside this one.

        Args:
          like: a state as it was saved.
          say: takes a line on every checkpoint that was moved.

        Raises:
          OtherModel: if it has other arrays, or of other shapes.
          ValueError: if all are damaged.
        """
        while (step := self.latest_step()) is not None:
            try:
                return self._read(step, like)
            except OtherModel:
                raise
            except Exception as error:  # Orbax raises of any kind
                place = self._move_aside(step)
                before = self.latest_step()
                said = (
                    f"The checkpoint of step {step:,} is damaged ({_in_a_line(error)}); it is now "
                    f"{place}."
                )
                if before is None:
                    raise ValueError(
                        f"{said} There is none before it: the same command starts from the "
                        "beginning."
                    ) from error
                say(f"{said} Going back to step {before:,}.")
        raise FileNotFoundError(f"{self._path} holds no checkpoint")

    def _read(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None)),
            like,
        )
        stored = _stored_digests(self._path / str(step))
        if stored:
            try:
                refuse_other_arrays(stored["state"], like)
            except ValueError as error:
                raise OtherModel(
                    f"{self._path / str(step)} is of another model: {error}. Take another "
                    "--workdir, or the config that the run was started with."
                ) from error
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=args)
        if stored:
            _refuse_damaged(stored["state"], restored.state)
            if digest_of_values(restored.position) != stored["position"]:
                raise ValueError("the place in the data is not what was saved")
        return restored.state, restored.position

    def _move_aside(self, step: int) -> Path:
        folder = self._path.with_name(_DAMAGED_FOLDER)
        folder.mkdir(exist_ok=True)
        place = folder / str(step)
        number = 1
        while place.exists():
            number += 1
            place = folder / f"{step}-{number}"
        (self._path / str(step)).rename(place)
        self._manager.reload()
        return place


def read_parts(path: Path, like: dict[str, Any]) -> dict[str, Any]:
    """Returns parts of the newest checkpoint's state, and leaves the folder as it is.

    Args:
      path: the folder of the checkpoints, absolute.
      like: dicts of abstract arrays by the state's fields, with shapes, dtypes and shardings to
        read as.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if these parts of the checkpoint have other arrays, or of other shapes, or are
        damaged.
    """
    newest = _newest(path)
    state, digests = newest / "state", _stored_digests(newest).get("state", {})
    # A manager, even one that only reads, warns and may write; what it wrote is enough.
    handler = ocp.PyTreeCheckpointHandler()
    stored = {
        name: {"shape": leaf.shape}
        for name, leaf in named_leaves(handler.metadata(state).tree).items()
    }
    parts = tuple(f"{part}/" for part in like)
    refuse_other_arrays({n: its for n, its in stored.items() if n.startswith(parts)}, like)
    with ocp.Checkpointer(handler) as checkpointer:
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        restored = checkpointer.restore(state, args=args)
    if digests:
        _refuse_damaged(digests, restored)
    return restored


def has_checkpoint(path: Path) -> bool:
    """Says whether the folder, which need not exist, holds a checkpoint."""
    return path.is_dir() and bool(ocp.utils.checkpoint_steps(path))


def _newest(path: Path) -> Path:
    if not has_checkpoint(path):
        raise FileNotFoundError(f"{path} holds no checkpoint")
    return path / str(max(ocp.utils.checkpoint_steps(path)))


def _stored_digests(checkpoint: Path) -> dict[str, Any]:
    """Returns the digests of a checkpoint; nothing for one from before there were any."""
    folder = checkpoint / _DIGESTS
    if not folder.exists():
        return {}
    stored = ocp.JsonCheckpointHandler().restore(folder)
    own = stored.pop(_DIGESTS, None) if isinstance(stored, dict) else None
    if own != digest_of_values(stored):
        raise ValueError("its digests are not what was saved")
    return stored


def _refuse_damaged(digests: Digests, tree: Any) -> None:
    if name := damaged_array(digests, tree):
        raise ValueError(f"the array {name} is not what was saved")


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else repr(error)
