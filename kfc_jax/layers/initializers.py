"""Initialisers for factors: their product has the variance of a dense initialiser.

A kernel entry is a sum, over T terms and the ranks r of each, of products of N independent factor
entries with mean zero. It has variance ``v`` if every term contributes ``v / T``, that is if the
factors' variances multiply to ``v / (T r)``. Within a term the factors get equal Frobenius norms
in expectation, the balanced scaling that a decomposition gives too:
``std_k = (v / (T r) * n m)^(1/(2N)) / sqrt(n_k m_k)``, with ``n m`` the size of the padded kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import meta
from flax.linen.linear import default_embed_init, default_kernel_init
from jax import lax
from jax.core import Tracer
from jax.nn.initializers import Initializer

from kfc_jax.structures import KroneckerStructure

_TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut off at two deviations

RANK = "rank"
"""In place of a kernel axis: the axis that a factor's ranks, or blocks, are counted along."""

KernelAxes = tuple[int | str | None, ...]
"""For every axis of an array the kernel axis (0: rows, 1: columns) whose name it takes over, RANK
for the name of that, or None."""


class KernelDraw:
    """A dense kernel that the factors of one layer are initialised from, drawn once for all.

    The factor that asks first draws it. It serves one initialisation: what was drawn belongs to the
    trace that it was drawn in. Under ``vmap`` one kernel is drawn after the other, as on a CPU
    batched decompositions, such as that of ``orthogonal``, are slow or never end.

    Attributes:
      kernel_init: the initialiser of the kernel.
    """

    def __init__(self, kernel_init: Initializer) -> None:
        self.kernel_init = kernel_init
        self._metadata: Any = None
        self._mean_square: Any = None

    def mean_square(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
        """Returns the mean square of the kernel, drawn with the key of the first call."""
        if self._mean_square is None:
            real = jnp.promote_types(jnp.finfo(dtype).dtype, "float32")
            self._mean_square = self._draw(
                lambda kernel: jnp.mean(jnp.square(jnp.abs(kernel).astype(real))), key, shape, dtype
            )
        return self._mean_square

    def kernel(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
        """Returns a kernel, without its metadata."""
        return self._draw(lambda kernel: kernel, key, shape, dtype)

    def box_like(self, value: jax.Array, kernel_axes: KernelAxes) -> Any:
        """Wraps an array in the metadata of what was drawn, its axis names adapted.

        Args:
          value: the array.
          kernel_axes: what the names of its axes come from.

        Raises:
          TypeError: if the metadata has neither two names nor three.
        """
        dense = self._metadata
        if not isinstance(dense, meta.AxisMetadata):
            return value
        names = getattr(dense, "names", None)
        if names is None or len(names) not in (2, 3):
            raise TypeError(
                f"kernel_init returned metadata of type {type(dense).__name__} without two axis "
                "names; use nn.with_partitioning or nn.with_logical_partitioning with the two "
                "names of a dense kernel's axes, after that of the ranks if they have one."
            )
        *of_rank, rows, columns = names
        by_axis = {0: rows, 1: columns, RANK: of_rank[0] if of_rank else None, None: None}
        return dense.replace(value=value, names=tuple(by_axis[axis] for axis in kernel_axes))

    def _draw(
        self, of: Callable[[Any], Any], key: jax.Array, shape: tuple[int, ...], dtype: Any
    ) -> Any:
        def draw(key: jax.Array) -> Any:
            dense = self.kernel_init(key, shape, dtype)
            self._metadata = jax.tree.map(lambda _: None, dense)
            (kernel,) = jax.tree.leaves(dense)
            return of(kernel)

        # Only a key of a trace can be mapped, and out of one an initialiser may do what it likes.
        if isinstance(key, Tracer):
            draw = jax.custom_batching.sequential_vmap(draw)
        return draw(key)


def factor_initializer(
    kernel_init: Initializer | KernelDraw,
    structure: KroneckerStructure,
    term: int,
    factor: int,
    *,
    kernel_axes: KernelAxes | None = None,
) -> Callable[..., Any]:
    """Returns the initialiser of one factor, from the initialiser of the dense kernel.

    The scale is read off ``kernel_init`` itself: but for the defaults (variance 1 / inputs, of a
    table of embeddings 1 / features), the dense kernel is drawn at initialisation, once for each
    `KernelDraw`, and its mean square measured, so any initialiser works; its distribution is not
    kept, the factors are truncated normals (of complex types, their real and imaginary parts). If
    the dense kernel is all zeros, the first factor is zero and the others as by default, so that
    the product is zero but can learn. A kernel that is one factor is known: it is what
    ``kernel_init`` draws with the same key. ``nn.with_partitioning`` names ``(rows, columns)`` of
    the kernel carry over to the first factor of each term, whose indices are the slow ones; the
    others are replicated. Of three names, ``(ranks, rows, columns)``, all factors take the first.

    Args:
      kernel_init: initialiser of a dense kernel ``(inputs, features)``; a `KernelDraw` of it, for
        several factors that shall share what is drawn.
      structure: structure of the kernel.
      term: index of the term.
      factor: index of the factor in the term.
      kernel_axes: what the partitioning names of the factor's axes come from. Default: as said
        above.

    Returns:
      A function of ``(key, shape, dtype)`` that returns the factor.
    """
    if kernel_axes is None:
        kernel_axes = (RANK, 0, 1) if factor == 0 else (RANK, None, None)
    shapes = structure.terms[term].shapes
    summands = len(structure.terms) * structure.terms[term].rank
    draw = kernel_init if isinstance(kernel_init, KernelDraw) else KernelDraw(kernel_init)
    is_table = draw.kernel_init is default_embed_init
    default_variance = 1 / (structure.features if is_table else structure.inputs)
    std = functools.partial(structure.factor_scale, term, factor)

    dense_shape = (structure.inputs, structure.features)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        if summands == 1 and len(shapes) == 1:
            kernel = draw.kernel(key, dense_shape, dtype)
            padding = [(0, size - true) for size, true in zip(shape[1:], dense_shape, strict=True)]
            return draw.box_like(jnp.pad(kernel, padding)[None], kernel_axes)
        key, scale_key = jax.random.split(key)
        values = _truncated_normal(key, shape, jnp.promote_types(dtype, "float32"))
        if is_table or draw.kernel_init is default_kernel_init:
            return (values * std(default_variance)).astype(dtype)
        mean_square = draw.mean_square(scale_key, dense_shape, dtype)
        if_zero = 0.0 if factor == 0 else std(default_variance)
        scale = jnp.where(mean_square > 0, std(mean_square), if_zero)
        return draw.box_like((values * scale).astype(dtype), kernel_axes)

    return init


def block_initializer(kernel_init: Initializer) -> Callable[..., Any]:
    """Returns the initialiser of a stack of blocks, each of which is a dense kernel of its own.

    ``nn.with_partitioning`` names of a kernel's axes carry over to those of the blocks; the axis
    that counts the blocks is replicated, or has the first of three names.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        draw = KernelDraw(kernel_init)
        keys = jax.random.split(key, shape[0])
        blocks = jax.vmap(lambda key: draw.kernel(key, shape[1:], dtype))(keys)
        return draw.box_like(blocks, (RANK, 0, 1))

    return init


def _truncated_normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Draws numbers of mean 0 and variance 1, with parts of half of it if they are complex."""
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.random.truncated_normal(key, -2, 2, shape, dtype) / _TRUNCATED_STD
    parts = _truncated_normal(key, (2, *shape), jnp.finfo(dtype).dtype) / math.sqrt(2)
    return lax.complex(parts[0], parts[1])
