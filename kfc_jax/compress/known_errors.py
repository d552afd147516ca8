"""What is known of kernels' errors, by what they were found from, for plans of other budgets.

An entry's name begins with a fingerprint of the kernel and of what the layer sees, so that entries
of another model, or of another training step, are never taken for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Generator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from kfc_jax.decompose import InputStatistics

Known = MutableMapping[str, np.ndarray]
"""Numbers by the names of what was computed."""

_NO_ARRAYS = (KeyError, ValueError, EOFError, AttributeError, TypeError)
_VERSION = "1"  # of how errors are found: other versions' entries are not read


@contextlib.contextmanager
def known_errors(reuse: Known | str | os.PathLike[str] | None) -> Generator[Known]:
    """Gives what is known; with a path it is read from a file and written to it at the end.

    Raises:
      ValueError: if the file is no such file.
      OSError: if it cannot be read or written.
    """
    if reuse is None or isinstance(reuse, MutableMapping):
        yield {} if reuse is None else reuse
        return
    path = Path(reuse)
    known = _read(path) if path.exists() else {}
    before = len(known)
    try:
        yield known
    finally:  # what was found before an interruption is of use, too
        if len(known) > before:
            _write(path, known)


def fingerprint(kernel: Any, seen: Any, has_bias: bool) -> str:
    """Returns a text that is another one for another kernel, or other statistics of its inputs."""
    digest = hashlib.blake2b(digest_size=16)
    arrays = (seen.second_moment, seen.mean) if isinstance(seen, InputStatistics) else (seen,)
    for given in (kernel, *arrays):
        array = None if given is None else np.ascontiguousarray(given)
        digest.update(repr(None if array is None else (array.shape, str(array.dtype))).encode())
        if array is not None:
            digest.update(array.tobytes())
    digest.update(repr((has_bias, _VERSION)).encode())
    return digest.hexdigest()


def _read(path: Path) -> Known:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            ends = np.cumsum(content["lengths"])
            values = np.split(content["values"], ends)
            return dict(zip(content["names"].tolist(), values[:-1], strict=True))
    except (*_NO_ARRAYS, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} holds no errors that a plan has found ({error}): take another file, or delete "
            "it."
        ) from error


def _write(path: Path, known: Known) -> None:
    values = list(known.values())
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(
            file,
            names=np.array(list(known)),
            lengths=np.array([len(value) for value in values]),
            values=np.concatenate(values),
        )
    temporary.replace(path)
