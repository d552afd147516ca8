"""A product with derivatives of both modes, whose reverse mode is a function of its own.

Forward mode is JAX's, of the product as it is computed. Reverse mode is its transpose, and a
product may know a better one than the transposes of all its parts: `jax.custom_vjp` takes that, and
forward mode away. Here the derivative is one linear operation, which is evaluated like JAX's and
transposed as the product says; it keeps samples and factors alone.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Inexact


class Product(abc.ABC):
    """What is static in a product of samples with factors; hashable."""

    @abc.abstractmethod
    def multiply(
        self, x: Inexact[Array, "batch inputs"], factors: Any
    ) -> Inexact[Array, "batch m"]:
        """Returns the product, by operations that have derivatives."""

    @abc.abstractmethod
    def gradients(
        self,
        x: Inexact[Array, "batch inputs"],
        factors: Any,
        g: Inexact[Array, "batch m"],
        *,
        of_samples: bool,
    ) -> tuple[Array | None, Any]:
        """Returns the gradients of ``sum(g * product)`` by the samples and by the factors.

        That of the samples may be None unless ``of_samples``.
        """


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def differentiable(
    product: Product, x: Inexact[Array, "batch inputs"], factors: Any
) -> Inexact[Array, "batch features"]:
    """Returns ``product.multiply(x, factors)``, differentiable as this module says."""
    return product.multiply(x, factors)


@functools.partial(differentiable.defjvp, symbolic_zeros=True)
def _differentiate(product: Product, primals: Any, tangents: Any) -> tuple[Array, Array]:
    arrays, tree = jax.tree.flatten(primals)
    directions = tree.flatten_up_to(tangents)
    moves = tuple(not isinstance(direction, SymbolicZero) for direction in directions)
    given = [d for d, is_given in zip(directions, moves, strict=True) if is_given]
    y = differentiable(product, *primals)
    derivative = _Derivative(product, y.shape[1], tree, moves)
    return y, _derivative_p.bind(*arrays, *given, of=derivative)


@dataclasses.dataclass(frozen=True)
class _Derivative:
    """The derivative at some samples and factors in some directions.

    Attributes:
      product: whose derivative it is.
      features: columns of the result.
      tree: how samples and factors make one list of arrays.
      moves: for each array whether there is a direction.
    """

    product: Product
    features: int
    tree: Any
    moves: tuple[bool, ...]

    def at(self, *arrays: Array) -> Array:
        """Returns the product."""
        return self.product.multiply(*self.tree.unflatten(arrays))

    def split(self, arrays: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Returns the arrays that the derivative is taken at, and the directions that are given."""
        return arrays[: len(self.moves)], arrays[len(self.moves) :]

    def __call__(self, *arrays: Array) -> Array:
        """Returns the derivative, given arrays and directions."""
        at, given = self.split(arrays)
        directions = iter(given)
        tangents = [
            next(directions) if is_given else jnp.zeros_like(array)
            for array, is_given in zip(at, self.moves, strict=True)
        ]
        return jax.jvp(self.at, tuple(at), tuple(tangents))[1]


def _abstract(x: Any, *_: Any, of: _Derivative) -> Any:
    spec = jax.sharding.PartitionSpec(None, None)
    sharding = jax.sharding.NamedSharding(x.sharding.mesh, spec)
    shape = (x.shape[0], of.features)
    return x.update(shape=shape, weak_type=False, sharding=sharding)


def _transpose(cotangent: Any, *arrays: Any, of: _Derivative) -> list[Any]:
    at, directions = of.split(arrays)
    nothing = [None] * len(at)
    wanted = [ad.is_undefined_primal(direction) for direction in directions]
    if isinstance(cotangent, ad.Zero):
        zeros = (ad.Zero(d.aval) if w else None for d, w in zip(directions, wanted, strict=True))
        return [*nothing, *zeros]
    x, factors = of.tree.unflatten(at)
    of_samples = of.moves[0] and wanted[0]
    of_x, of_factors = of.product.gradients(x, factors, cotangent, of_samples=of_samples)
    found = [of_x, *jax.tree.leaves(of_factors)]
    moving = [gradient for gradient, moves in zip(found, of.moves, strict=True) if moves]
    return [*nothing, *(g if w else None for g, w in zip(moving, wanted, strict=True))]


def _batch(arrays: Sequence[Array], axes: Sequence[int | None], *, of: _Derivative) -> Any:
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
    is_of_samples = [True] + [False] * (len(of.moves) - 1) + [True] * of.moves[0]
    is_of_samples += [False] * (len(arrays) - len(is_of_samples))
    if any(axis is not None and not s for axis, s in zip(axes, is_of_samples, strict=True)):
        in_axes = tuple(axes)
        return jax.vmap(of, in_axes=in_axes)(*arrays), 0

    def merge(array: Array, axis: int | None) -> Array:
        """Makes mapped samples more samples."""
        if axis is None:
            array = jnp.broadcast_to(array, (size, *array.shape))
        else:
            array = jnp.moveaxis(array, axis, 0)
        return array.reshape(size * array.shape[1], array.shape[2])

    merged = [
        merge(array, axis) if of_samples else array
        for array, axis, of_samples in zip(arrays, axes, is_of_samples, strict=True)
    ]
    y = _derivative_p.bind(*merged, of=of)
    samples = arrays[0].shape[1 if axes[0] == 0 else 0]
    return y.reshape(size, samples, y.shape[1]), 0


_derivative_p = Primitive("kfc_derivative")
_derivative_p.def_impl(jax.jit(lambda *arrays, of: of(*arrays), static_argnames="of"))
_derivative_p.def_abstract_eval(_abstract)
mlir.register_lowering(
    _derivative_p,
    mlir.lower_fun(lambda *arrays, of: of(*arrays), multiple_results=False),
)
ad.primitive_jvps[_derivative_p] = lambda primals, tangents, of: jax.jvp(
    of, tuple(primals), tuple(map(ad.instantiate_zeros, tangents))
)
ad.primitive_transposes[_derivative_p] = _transpose
batching.primitive_batchers[_derivative_p] = _batch
