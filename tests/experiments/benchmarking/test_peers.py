import importlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.benchmarking import peer_layers, peer_process
from experiments.benchmarking.cases import Case
from experiments.benchmarking.peer_layers import PEERS, PeerWork
from experiments.benchmarking.peers import PeerProcess

REQUEST = {
    "batch": 5,
    "inputs": 11,
    "features": 19,
    "rank": 2,
    "shapes": [[3, 4], [4, 5]],
    "training": False,
    "seconds": 0.01,
}


def numpy_layer(work):
    """A peer that is always there."""
    kernel = sum(np.kron(a, b) for a, b in zip(work.a, work.b, strict=True))
    kernel = kernel[: work.x.shape[1], : work.features]
    return lambda: work.x @ kernel


@pytest.fixture
def peer(monkeypatch):
    def make(build):
        monkeypatch.setitem(PEERS, "numpy", peer_layers.Peer("numpy", "numpy", build))
        return "numpy"

    return make


def test_a_request_is_answered_with_times(peer):
    answer = peer_process.answer(peer(numpy_layer), REQUEST)
    assert answer["timing"]["median"] > 0
    assert answer["timing"]["samples"] >= 3


def test_a_peer_that_computes_something_else_is_not_timed(peer):
    def wrong(work):
        right = numpy_layer(work)
        return lambda: right() + 1

    answer = peer_process.answer(peer(wrong), REQUEST)
    assert "its result is another one" in answer["failed"]


def test_a_peer_that_fails_says_why_in_a_line(peer):
    def fails(work):
        raise RuntimeError("no such kernel\nand much more")

    assert peer_process.answer(peer(fails), REQUEST) == {"failed": "RuntimeError: no such kernel"}


def test_the_expected_row_is_that_of_the_whole_product():
    rng = np.random.default_rng(0)
    work = PeerWork(
        x=rng.standard_normal((5, 11)).astype(np.float32),
        a=rng.standard_normal((2, 3, 4)).astype(np.float32),
        b=rng.standard_normal((2, 4, 5)).astype(np.float32),
        features=19,
        g=None,
    )
    np.testing.assert_allclose(work.expected_row(), numpy_layer(work)()[0], rtol=1e-4, atol=1e-5)


def test_a_missing_peer_is_shown_as_such_and_asked_nothing(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import json; "
        'print(json.dumps({"missing": "ModuleNotFoundError: nothing here"}))\'\n'
    )
    python.chmod(0o755)
    process = PeerProcess("lycoris", str(python))
    assert process.missing == "ModuleNotFoundError: nothing here"
    answer = process.measure(Case(12, 20, 1, 2, "forward"), 0.01)
    assert answer == {"missing": "ModuleNotFoundError: nothing here"}
    process.close()


def test_an_interpreter_that_is_not_there_is_a_missing_peer(tmp_path):
    process = PeerProcess("peft", str(tmp_path / "none"))
    assert process.missing.endswith("No such file or directory")


def test_a_process_that_dies_is_a_failure_and_started_again(tmp_path):
    python = tmp_path / "python"
    greeting = '{"version": "fake 1"}'
    python.write_text(f"#!/bin/sh\necho '{greeting}'\nread line\nexit 3\n")
    python.chmod(0o755)
    process = PeerProcess("lycoris", str(python))
    assert process.version == "fake 1"
    for _ in range(2):
        answer = process.measure(Case(12, 20, 1, 2, "forward"), 0.01)
        assert "ended with code 3" in answer["failed"]
    process.close()


def test_a_peer_process_imports_no_jax():
    code = "import sys, experiments.benchmarking.peer_process; print('jax' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.stdout.strip() == "False", outcome.stderr


@pytest.mark.parametrize("name", list(PEERS))
@pytest.mark.parametrize("training", [False, True])
def test_an_installed_peer_computes_the_same(name, training):
    try:
        importlib.import_module(PEERS[name].module)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported: {error}")
    if training and not PEERS[name].trains:
        pytest.skip("forward only")
    answer = peer_process.answer(name, REQUEST | {"training": training})
    assert "timing" in answer, answer
