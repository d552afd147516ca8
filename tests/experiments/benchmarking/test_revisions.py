"""Earlier revisions: checked out beside, timed as a peer, and gone afterwards."""

import json
import subprocess
from pathlib import Path

import pytest

from experiments.benchmarking import revisions
from experiments.benchmarking.cases import Case
from experiments.benchmarking.peers import PeerProcess
from tests.kfc_jax.reference import message_of

ROOT = Path(__file__).parents[3]


def git(folder, *arguments):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of two commits; the library of the first one multiplies wrongly."""
    git(tmp_path, "init", "-q")
    library = tmp_path / "kfc_jax"
    library.mkdir()
    for scale in (2.0, 1.0):
        (library / "__init__.py").write_text(
            f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from jax import numpy as jnp

def KroneckerTerm(shapes, rank):
    return shapes, rank

def KroneckerSum(terms, inputs, features):
    return terms

def kronecker_matmul(x, factors, structure):
    kernel = sum(jnp.kron(a, b) for a, b in zip(*factors[0]))
    return {scale} * x @ kernel[: x.shape[1], :20]
"""
        )
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", f"scale {scale}")
    monkeypatch.setattr(revisions, "_ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("pass_", ["forward", "training"])
def test_the_library_of_the_revision_is_timed(repository, pass_):
    case = Case(12, 20, 2, 4, pass_)
    with revisions.checked_out("HEAD") as tree:
        peer = PeerProcess("earlier", tree=tree)
        try:
            answer = peer.measure(case, 0.01)
        finally:
            peer.close()
    assert peer.version == f"kfc_jax of revision {tree.name}"
    assert git(repository, "rev-parse", "HEAD").startswith(tree.name)
    assert answer["timing"]["median"] > 0, json.dumps(answer)
    assert not tree.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_revision_with_other_results_is_not_timed(repository):
    with revisions.checked_out("HEAD~1") as tree:
        peer = PeerProcess("earlier", tree=tree)
        try:
            answer = peer.measure(Case(12, 20, 2, 4, "forward"), 0.01)
        finally:
            peer.close()
    assert "its result is another one" in answer["failed"]


def test_an_unknown_revision_is_told_with_a_remedy(repository):
    message = message_of(lambda: revisions.checked_out("nowhere").__enter__())
    assert "nowhere" in message
    assert "git log" in message
