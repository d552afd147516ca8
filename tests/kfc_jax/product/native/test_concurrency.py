"""Many callers at once, any number of threads, and workers of several processes: the same bits."""

import functools
import hashlib
import logging
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax import kronecker_matmul
from kfc_jax.product import native
from tests.kfc_jax.product.native.processes import ROOT, python

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())

CALLS = 10_000
SHAPES = [
    # batch, rank, factors, type: the first two share their work among threads
    (256, 2, ((16, 16), (16, 16)), "float32"),
    (128, 4, ((16, 24), (24, 16)), "float32"),
    (3, 1, ((5, 7), (3, 2)), "float32"),
    (17, 2, ((8, 8), (9, 5)), "bfloat16"),
]


def draw(batch, rank, pair, dtype, seed=0):
    rng = np.random.default_rng(seed)
    (n1, _), (n2, _) = pair
    shapes = [(batch, n1 * n2), *((rank, *side) for side in pair)]
    x, a, b = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    return x, ((a, b),)


def value_and_gradients(x, factors):
    product = functools.partial(kronecker_matmul, strategy="native")
    y, transpose = jax.vjp(product, x, factors)
    return y, transpose(y)


def bits(arrays) -> bytes:
    return b"".join(np.asarray(array).tobytes() for array in jax.tree.leaves(arrays))


def in_threads(count, work):
    """Runs `work(number)` in threads; returns what went wrong."""
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(k,), daemon=True) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
        assert not thread.is_alive(), "a call never came back"
    return failures


def test_ten_thousand_calls_at_once_give_the_same_bits_as_the_first():
    function = jax.jit(value_and_gradients)
    arguments = [draw(*shape) for shape in SHAPES]
    assert "kfc_" in function.lower(*arguments[0]).as_text()
    first = [bits(function(*each)) for each in arguments]

    def work(number):
        for turn in range(CALLS // 4):
            k = (number + turn) % len(arguments)
            assert bits(function(*arguments[k])) == first[k]

    assert in_threads(4, work) == []


def test_threads_that_lower_the_same_kernel_at_once_all_get_it(caplog):
    x, factors = draw(6, 3, ((11, 13), (7, 5)), "float32")
    gate = threading.Barrier(6)
    found = []

    def work(number):
        function = jax.jit(lambda x, factors: (value_and_gradients(x, factors), number))
        gate.wait(timeout=60)
        compiled = function.lower(x, factors).compile()
        result, _ = compiled(x, factors)
        found.append((compiled.as_text().count('custom_call_target="kfc_'), bits(result)))

    with caplog.at_level(logging.WARNING):
        assert in_threads(6, work) == []
    assert not caplog.records
    assert len(found) == 6
    assert set(found) == {(2, found[0][1])}


def digest() -> str:
    """Returns a digest of all results of all shapes."""
    function = jax.jit(value_and_gradients)
    outcomes = [bits(function(*draw(*shape))) for shape in SHAPES]
    return hashlib.sha256(b"".join(outcomes)).hexdigest()


CODE = f"import {__name__} as t; print(t.digest())"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder where processes find each other's kernels, so that each begins sooner."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


@pytest.mark.parametrize("threads", ["1", "5"])
def test_the_same_bits_in_processes_of_other_numbers_of_threads(threads, cache):
    assert python("-c", CODE, NPROC=threads, **cache) == digest() + "\n"


SPAWN = f"""
import multiprocessing
import {__name__} as tests

if __name__ == "__main__":
    first = tests.digest()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print([pool.apply_async(tests.digest).get(timeout=90) == first for _ in range(4)])
"""


def test_spawned_workers_work(tmp_path, cache):
    script = tmp_path / "spawning.py"
    script.write_text(SPAWN)
    assert python(str(script), PYTHONPATH=str(ROOT), **cache) == f"{[True] * 4}\n"


FORK = f"""
import os, signal
import {__name__} as tests
from kfc_jax import explain

# Planned, so that the CPU is known and LLVM is loaded; XLA's client has not begun.
assert "native" in str(explain("4:32x32*32x32", 64, "cpu"))
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a worker that hangs
        print(tests.digest(), flush=True)
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_workers_that_are_forked_before_xla_begins_work(cache):
    assert python("-c", FORK, **cache) == 2 * (digest() + "\n")


HANDLER_AFTER_FORK = """
import os, signal
import numpy as np
import tests.kfc_jax.product.native.test_handler as t

handler = t.handler_of(t.LARGE, 2, 64)
rng = np.random.default_rng(0)
shapes = [(64, 1024), (2, 32, 32), (2, 32, 32)]
arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
address = t.compiled(handler)

def call():
    result = np.zeros((64, 1024), np.float32)
    # A pool whose threads are gone, as they are after a fork, takes tasks and never does them.
    caller = t.Caller(8, lambda task: True)
    assert not caller.call(address, t.buffers_of(arrays), t.buffers_of([result]))
    return result.tobytes()

first = call()
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(call() != first)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_handler_works_in_a_fork_whose_pool_has_no_threads():
    python("-W", "ignore", "-c", HANDLER_AFTER_FORK)
