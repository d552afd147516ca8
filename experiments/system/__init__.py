"""What the experiments need of the system that they run on, and no JAX before it is used.

- `command_line`: what the commands have in common (a module).
- `FolderLock`, `lock_folder`: locks on folders, released when their holder dies.
- `Interrupted`, `deferred_signals`: signals that stop a run at the end of a step.
- `write_file`: files that a reader finds old or new, never in part.
- `json_files`: JSON files, written so and read as the types that they hold (a module).
- `StatusLine`, `clock`: a line of progress, and a duration in it.
- `shardings`: how arrays lie on the devices of a run.
- `available_cores`, `available_gpus`: what of this machine a process may use.
"""

from experiments.system import command_line, json_files
from experiments.system.atomic_files import write_file
from experiments.system.devices import available_cores, available_gpus, shardings
from experiments.system.interruption import Interrupted, deferred_signals
from experiments.system.locks import FolderLock, lock_folder
from experiments.system.status_line import StatusLine, clock

__all__ = [
    "FolderLock",
    "Interrupted",
    "StatusLine",
    "available_cores",
    "available_gpus",
    "clock",
    "command_line",
    "deferred_signals",
    "json_files",
    "lock_folder",
    "shardings",
    "write_file",
]
