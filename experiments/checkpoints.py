"""The checkpoints of a run: its state, and where it stood in the data and in the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


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
