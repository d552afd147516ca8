"""One thread for products of small matrices.

The threads of a BLAS library wait for each other after every product. Where a product takes a
fraction of a millisecond, or the cores have other work, this takes many times as long as it saves.
"""

from __future__ import annotations

import contextlib
import functools

from threadpoolctl import ThreadpoolController

_SMALL = 2**17  # entries of a kernel up to which its products are small


def one_thread(entries: int = 0) -> contextlib.AbstractContextManager[object]:
    """Returns a context in which BLAS takes one thread, if a kernel of so many entries is small."""
    if entries > _SMALL:
        return contextlib.nullcontext()
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
