"""One peer in a process of its own: reads a case per line, writes its times per line, all JSON.

No JAX is imported here: thread pools of two libraries in one process would get in each other's way.
The process works only between a request and its answer; it waits for the next without a thread
that spins.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.benchmarking.peer_layers import PEERS, PeerWork, version
from experiments.benchmarking.timing import in_turns

TREE = "KFC_JAX_EARLIER"
"""The environment variable with the folder of an earlier revision."""

_TOLERANCE = 1e-3  # of the norm of a row of the result


def main(peer: str) -> None:
    """Answers requests on standard input until it ends."""
    answers = _own_output()
    if tree := os.environ.get(TREE):
        sys.path.insert(0, tree)  # so that `kfc_jax` is the one of that tree
    try:
        greeting = {"version": version(peer)}
    except Exception as error:  # a package that breaks when imported is as good as missing
        greeting = {"missing": describe(error)}
    print(json.dumps(greeting), file=answers, flush=True)
    if "version" not in greeting:
        return
    for line in sys.stdin:
        print(json.dumps(answer(peer, json.loads(line))), file=answers, flush=True)


def answer(peer: str, request: dict[str, Any]) -> dict[str, Any]:
    """Returns the times of a case, or why there are none.

    Args:
      peer: one of PEERS.
      request: `batch`, `inputs`, `features`, `rank`, `shapes` (of the factors), `training`, and
        `seconds` to measure.
    """
    try:
        work = _work(request)
        call = PEERS[peer].build(work)
        row = np.asarray(call()[0])
        expected = work.expected_row()
        error = np.linalg.norm(row - expected) / np.linalg.norm(expected)
        if not error < _TOLERANCE:
            return {"failed": f"its result is another one (relative error {error:.1e})"}
        return {"timing": dataclasses.asdict(in_turns({peer: call}, request["seconds"])[peer])}
    except Exception as error:
        return {"failed": describe(error)}


def describe(error: BaseException) -> str:
    """Returns an error in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def _work(request: dict[str, Any]) -> PeerWork:
    arrays = _arrays(request)
    return PeerWork(
        x=next(arrays),
        a=next(arrays),
        b=next(arrays),
        features=request["features"],
        g=next(arrays) if request["training"] else None,
    )


def _arrays(request: dict[str, Any]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    (n1, m1), (n2, m2) = request["shapes"]
    for shape in (
        (request["batch"], request["inputs"]),
        (request["rank"], n1, m1),
        (request["rank"], n2, m2),
        (request["batch"], request["features"]),
    ):
        yield rng.standard_normal(shape, np.float32)


def _own_output() -> Any:
    """Returns a stream to standard output; what others print goes to standard error."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main(sys.argv[1])
