"""The checkpoints of a run: its state, and where it stood in the data and in the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict


class Checkpoints:
    """The newest checkpoints in a folder; an unfinished one is never seen.

    Example::

      with Checkpoints(path) as checkpoints:
          checkpoints.save(step, state, {"epoch": 1})
          state, position = checkpoints.restore(like=state)
    """

    def __init__(self, path: Path, *, max_to_keep: int = 2):
        """Opens or creates the folder; `path` is absolute."""
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

        Does nothing where this step is saved already.
        """
        if step == self.latest_step():
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
        )
        self._manager.save(step, args=args)
        # Waiting costs milliseconds here, and the caller is free to donate the state's buffers.
        self._manager.wait_until_finished()

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the newest checkpoint, its arrays with shapes and shardings as in `like`."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(self.latest_step(), args=args)
        return restored.state, restored.position


def read_parts(path: Path, like: dict[str, Any]) -> dict[str, Any]:
    """Returns parts of the newest checkpoint's state, and leaves the folder as it is.

    Args:
      path: the folder of the checkpoints, absolute.
      like: dicts of abstract arrays by the state's fields, with shapes, dtypes and shardings to
        read as.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if these parts of the checkpoint have other arrays, or of other shapes.
    """
    state = _newest(path) / "state"
    # A manager, even one that only reads, warns and may write; what it wrote is enough.
    handler = ocp.PyTreeCheckpointHandler()
    _refuse_other_arrays(handler.metadata(state).tree, like)
    with ocp.Checkpointer(handler) as checkpointer:
        args = ocp.args.PyTreeRestore(
            item=like,
            restore_args=ocp.checkpoint_utils.construct_restore_args(like),
            partial_restore=True,
        )
        return checkpointer.restore(state, args=args)


def has_checkpoint(path: Path) -> bool:
    """Says whether the folder, which need not exist, holds a checkpoint."""
    return path.is_dir() and bool(ocp.utils.checkpoint_steps(path))


def _newest(path: Path) -> Path:
    if not has_checkpoint(path):
        raise FileNotFoundError(f"{path} holds no checkpoint")
    return path / str(max(ocp.utils.checkpoint_steps(path)))


def _refuse_other_arrays(stored: dict[str, Any], like: dict[str, Any]) -> None:
    """Orbax itself leaves arrays that are not stored abstract, and drops those not asked for."""
    for part in like:
        found, wanted = (
            {name: leaf.shape for name, leaf in flatten_dict(tree.get(part) or {}, sep="/").items()}
            for tree in (stored, like)
        )
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{part}/{name} is {found.get(name, 'missing')} in the checkpoint and "
                    f"{wanted.get(name, 'missing')} in the model"
                )
