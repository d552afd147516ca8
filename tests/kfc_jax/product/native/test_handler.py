"""Handlers refuse what they were not made for, and do not depend on the threads they ask for."""

import ctypes
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kfc_jax.product import native
from kfc_jax.product.native.backward import backward_handler
from kfc_jax.product.native.forward import forward_handler
from kfc_jax.product.native.kernels import make_kernel
from tests.kfc_jax.product.native.frames import Buffer, Caller, compiled

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())

PAIR, RANK, BATCH = ((3, 5), (7, 2)), 2, 4
SHAPES = [(BATCH, 21), (RANK, 3, 5), (RANK, 7, 2)]
RESULT = (BATCH, 10)


def handler_of(pair=PAIR, rank=RANK, batch=BATCH, *, backward=False, dtype="float32"):
    (n1, m1), (n2, m2) = pair
    sizes = n1 * n2, m1 * m2
    kernel = make_kernel(pair, rank, *sizes, dtype, batch, backward=backward, left_first=True)
    assert kernel
    return backward_handler(kernel, 3) if backward else forward_handler(kernel)


@pytest.fixture(scope="module")
def handler():
    handler = handler_of()
    return handler, compiled(handler)


def ones(*shapes, dtype=np.float32):
    return [np.ones(shape, dtype) for shape in shapes]


def buffers_of(arrays):
    return [Buffer(a.dtype.name, a.shape, a.ctypes.data) for a in arrays]


def xla_error(handler, arrays, results):
    """Returns the message of the error that a call by XLA ends with."""
    with jax.enable_x64(True):
        call = jax.ffi.ffi_call(handler.name, [jax.ShapeDtypeStruct(*r) for r in results])
        with pytest.raises(jax.errors.JaxRuntimeError) as caught:
            jax.block_until_ready(call(*map(jnp.asarray, arrays)))
    return str(caught.value)


# Refusals

WRONG = [
    ("another type", [*ones(SHAPES[0], dtype=np.float64), *ones(*SHAPES[1:])], "0 is not of type"),
    ("bfloat16", [jnp.ones(SHAPES[0], "bfloat16"), *ones(*SHAPES[1:])], "0 is not of type float32"),
    ("integers", [*ones(*SHAPES[:2]), *ones(SHAPES[2], dtype=np.int32)], "2 is not of type float3"),
    ("an axis more", ones((1, *SHAPES[0]), *SHAPES[1:]), "array 0 does not have 2 axes"),
    ("an axis less", ones(SHAPES[0], (6, 5), SHAPES[2]), "array 1 does not have 3 axes"),
    ("a wrong side", ones(SHAPES[0], (RANK, 3, 4), SHAPES[2]), "axis 2 of array 1 has another"),
    ("another rank", ones(SHAPES[0], (1, 3, 5), SHAPES[2]), "axis 0 of array 1 has another size"),
    ("fewer inputs", ones((BATCH, 20), *SHAPES[1:]), "axis 1 of array 0 has another size"),
    ("an array more", ones(*SHAPES, (1,)), "the number of arrays is another one"),
    ("an array less", ones(*SHAPES[:2]), "the number of arrays is another one"),
    ("no arrays", [], "the number of arrays is another one"),
]


@pytest.mark.parametrize(("arrays", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_xla_reports_what_was_wrong_with_arguments(arrays, words, handler):
    handler, _ = handler
    message = xla_error(handler, arrays, [(RESULT, "float32")])
    assert "INVALID_ARGUMENT: A native kernel of kfc_jax was called wrongly" in message
    assert words in message


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([(RESULT, "float64")], "array 3 is not of type float32"),
        ([((BATCH + 1, 10), "float32")], "axis 0 of array 3 has another size"),
        ([((BATCH, 11), "float32")], "axis 1 of array 3 has another size"),
        ([((BATCH, 2, 5), "float32")], "array 3 does not have 2 axes"),
        ([(RESULT, "float32")] * 2, "the number of arrays is another one"),
    ],
)
def test_xla_reports_what_was_wrong_with_results(results, words, handler):
    handler, _ = handler
    assert words in xla_error(handler, ones(*SHAPES), results)


def refused_call(address, arguments, result):
    """Calls a handler with arrays that it must refuse; returns what it says."""
    written = np.full(RESULT, 7, np.float32)
    caller = Caller()
    result = result or buffers_of([written])[0]
    result.address = result.address or written.ctypes.data
    message = caller.call(address, arguments, [result])
    assert (written == 7).all(), "something was written"
    assert message, "the call was taken"
    return message


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("offset", [1, 2, 3])
def test_an_address_that_is_no_multiple_of_a_number_is_refused(number, offset, handler):
    arrays = ones(*SHAPES, (BATCH + 1, 10))
    arguments = buffers_of(arrays)
    arguments[number].address += offset
    *arguments, result = arguments
    result.shape = RESULT
    assert f"array {number} is not aligned" in refused_call(handler[1], arguments, result)
    assert (arrays[3] == 1).all()


@pytest.mark.parametrize(("arrays", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_refused_call_writes_nothing(arrays, words, handler):
    arrays = [np.asarray(array) for array in arrays]
    assert words in refused_call(handler[1], buffers_of(arrays), None)


def test_gradients_of_another_number_of_samples_are_refused():
    handler = handler_of(backward=True)
    shapes = [[BATCH if n == -1 else n for n in array.shape] for array in handler.arguments]
    shapes[4][0] += 1
    results = [np.full([BATCH if n == -1 else n for n in a.shape], 7.0) for a in handler.results]
    results = [np.asarray(array, np.float32) for array in results]
    caller = Caller()
    message = caller.call(compiled(handler), buffers_of(ones(*shapes)), buffers_of(results))
    assert "axis 0 of array 4 has another size" in message
    assert all((array == 7).all() for array in results)


def test_no_samples_are_no_work_and_no_error(handler):
    arguments = buffers_of(ones((0, 21), *SHAPES[1:]))
    assert not Caller().call(handler[1], arguments, buffers_of(ones((0, 10))))


# Threads

LARGE = ((32, 32), (32, 32))  # worth a helper


@pytest.fixture(scope="module")
def large():
    rng = np.random.default_rng(0)
    handler = handler_of(LARGE, 2, 64)
    shapes = [(64, 1024), (2, 32, 32), (2, 32, 32)]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    kernel = sum(np.kron(*map(np.float64, pair)) for pair in zip(*arrays[1:], strict=True))
    return compiled(handler), arrays, arrays[0] @ kernel


def call_large(large, caller):
    address, arrays, expected = large
    result = np.zeros((64, 1024), np.float32)
    assert not caller.call(address, buffers_of(arrays), buffers_of([result]))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
    return result


def test_a_pool_that_refuses_every_task_costs_nothing_but_speed(large):
    asked = []
    caller = Caller(threads=8, schedule=lambda task: bool(asked.append(task)))
    call_large(large, caller)
    assert len(asked) == 7
    assert caller.alive == 0  # every error was destroyed


@pytest.mark.parametrize("threads", [None, -1, 0, 1])
def test_a_pool_of_no_threads_is_not_asked(threads, large):
    asked = []
    caller = Caller(threads=threads, schedule=lambda task: bool(asked.append(task)))
    call_large(large, caller)
    assert not asked
    assert caller.alive == 0  # that there is no pool is an error, which was destroyed


def test_helpers_that_come_late_find_nothing_to_do(large):
    late = []
    result = call_large(large, Caller(threads=8, schedule=lambda task: late.append(task) or True))
    assert len(late) == 7
    before = result.copy()
    for task in late:  # the last of them frees what they share
        task()
    assert (result == before).all()


def test_helpers_that_never_come_are_not_waited_for(large):
    call_large(large, Caller(threads=100, schedule=lambda task: True))


def test_a_small_product_wakes_nobody(handler):
    asked = []
    caller = Caller(threads=8, schedule=lambda task: bool(asked.append(task)))
    assert not caller.call(handler[1], buffers_of(ones(*SHAPES)), buffers_of(ones(RESULT)))
    assert not asked


def test_the_same_bits_whoever_does_the_work(large):
    def at_once(task):
        task()
        return True

    def beside(task):
        thread = threading.Thread(target=task)
        thread.start()
        threads.append(thread)
        return True

    threads = []
    callers = [Caller(1), Caller(4, at_once), Caller(8, beside), Caller(3, lambda task: False)]
    first, *others = (call_large(large, caller) for caller in callers)
    for thread in threads:
        thread.join(timeout=60)
    assert all((first == other).all() for other in others)


def test_gradients_have_the_same_bits_on_any_number_of_threads():
    handler = handler_of(LARGE, 2, 64, backward=True)
    rng = np.random.default_rng(0)
    shapes = [[64 if n == -1 else n for n in array.shape] for array in handler.arguments]
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    outcomes = []
    for threads in (1, 2, 3, 16):
        results = ones(*[[64 if n == -1 else n for n in a.shape] for a in handler.results])
        caller = Caller(threads, lambda task: task() or True)
        assert not caller.call(compiled(handler), buffers_of(arrays), buffers_of(results))
        outcomes.append(b"".join(array.tobytes() for array in results))
    assert len(set(outcomes)) == 1


def test_registration_is_answered_with_the_callers_own_version(handler):
    from kfc_jax.product.native import ffi

    api = ffi.Api(ctypes.sizeof(ffi.Api), None)
    api.version.major, api.version.minor = 5, 17
    metadata = ffi.Metadata(traits=-1)
    extension = ffi.MetadataExtension(ctypes.sizeof(ffi.MetadataExtension), 1)
    extension.metadata = ctypes.addressof(metadata)
    frame = ffi.CallFrame(ctypes.sizeof(ffi.CallFrame), ctypes.addressof(extension))
    frame.api = ctypes.addressof(api)
    function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(handler[1])
    assert function(ctypes.addressof(frame)) is None
    assert (metadata.version.major, metadata.version.minor, metadata.traits) == (5, 17, 0)
