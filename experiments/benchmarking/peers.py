"""The peers' processes, as the benchmark sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from experiments.benchmarking.cases import Case
from experiments.benchmarking.peer_process import TREE

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT = 120.0
_CELL_TIMEOUT = 300.0
_SETTLE = 0.25  # seconds; after that no OpenMP thread of the peer spins any more


class PeerProcess:
    """A peer in a process of its own, which computes only while `measure` waits for it.

    Args:
      peer: one of `peer_layers.PEERS`.
      python: interpreter of an environment in which the peer is installed.
      tree: folder of an earlier revision of this library, if that is the peer.

    Attributes:
      peer: its name.
      version: package and version; empty if it is missing.
      missing: why it is missing; empty if it is not.
    """

    def __init__(self, peer: str, python: str = sys.executable, tree: Path | None = None):
        self.peer = peer
        self.version = self.missing = ""
        self._python = python
        self._environment = os.environ | ({TREE: str(tree)} if tree else {})
        self._process: subprocess.Popen[str] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The number of its process; None without one."""
        return self._process.pid if self._process else None

    def measure(self, case: Case, seconds: float) -> dict[str, Any]:
        """Returns `timing` (the fields of a `Timing`), or why there is none: `missing`, `failed`.

        Args:
          case: what to time.
          seconds: how long, about.
        """
        if self.missing:
            return {"missing": self.missing}
        if self._process is None:
            self._start()
        request = {
            "inputs": case.inputs,
            "features": case.features,
            "rank": case.rank,
            "batch": case.batch,
            "shapes": case.structure.terms[0].shapes,
            "training": case.pass_ == "training",
            "seconds": seconds,
        }
        answer = self._ask(json.dumps(request), _CELL_TIMEOUT)
        time.sleep(_SETTLE)
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(
                [self._python, "-m", "experiments.benchmarking.peer_process", self.peer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=_ROOT,
                env=self._environment,
            )
        except OSError as error:
            self.missing = f"{self._python}: {error.strerror}"
            return
        greeting = self._ask(None, _START_TIMEOUT)
        self.version = greeting.get("version", "")
        self.missing = greeting.get("missing", greeting.get("failed", ""))
        if self.missing:
            self.close()

    def _ask(self, line: str | None, timeout: float) -> dict[str, Any]:
        """Writes a line, and reads one."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            if line is not None:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            answered = process.stdout.readline()
        except OSError:
            answered = ""
        finally:
            timer.cancel()
        if answered:
            return json.loads(answered)
        code = process.wait()
        self.close()
        return {"failed": f"its process ended with code {code}, or was ended after {timeout:.0f} s"}
