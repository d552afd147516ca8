"""Runs a command several times, each in a fork of one process, which imports what it needs once.

The arguments are the command's module, the modules that it imports, with commas, and the arguments
of all runs as JSON. The exit codes and both outputs are printed as JSON.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
import warnings


def run(module: str, arguments: list[str]) -> dict[str, object]:
    """Returns how a run of the command ends."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with warnings.catch_warnings(action="ignore"):  # of the fork: JAX has no threads yet
            child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"returncode": code, "stdout": out.read(), "stderr": err.read()}


if __name__ == "__main__":
    _, module, imports, runs = sys.argv
    for name in imports.split(","):
        importlib.import_module(name)
    print(json.dumps([run(module, arguments) for arguments in json.loads(runs)]))
