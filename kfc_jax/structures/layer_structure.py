"""How the kernel of a dense layer may be stored: the base of every kind, and the list of kinds.

A kind is one class in a file of its own, the only owner of that knowledge: how it is written as
text and in a config, what it costs, and which arrays it stores under which names. Everything else
asks the class. What needs arrays is an open function that dispatches on the class, in the room that
can do it:

- ``kfc_jax.product.dense_kernel``: the dense kernel that the arrays stand for.
- ``kfc_jax.layers.layer_for``: the Flax layer.
- ``kfc_jax.decompose.decompose_kernel``: the arrays nearest to a dense kernel.

A new kind is a frozen dataclass that inherits from `LayerStructure`, sets ``kind`` and registers
its functions in these rooms; ``tests/kfc_jax/structures/test_toy_kind.py`` is a whole example.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

DEFAULT_RANK = 8

TRAINABLE_MATRIX_RANK = 0.5
"""The fraction of a kernel's full matrix rank that a structure needs in order to be trained.

Structures below it are bottlenecks, and planners and sweeps leave them out. The number is a choice:
no kept run compares it with others.
"""

Shapes = Mapping[str, tuple[int, ...]]

_KINDS: dict[str, type[LayerStructure]] = {}


class LayerStructure(abc.ABC):
    """How one kernel of ``inputs`` rows and ``features`` columns is stored.

    A subclass that sets ``kind`` takes part everywhere from its definition on.

    Attributes:
      kind: the name of the kind in configs, plans, results and reports.
      example: the text form of an example, for error messages.
      parameter_pattern: what the names of the arrays match in full; no two kinds share a name.
      depends_on_unit_order: whether `kfc_jax.unit_order` can find an order of the layer's outputs
        that suits the structure better.
      is_product: whether arrays are multiplied with each other, or repeated, to give the kernel.
        `kfc_jax.scale_factor_updates` acts on these; others train as a dense kernel does.
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.

    Raises:
      ValueError: if another class has the same ``kind``.
    """

    kind: ClassVar[str]
    example: ClassVar[str]
    parameter_pattern: ClassVar[re.Pattern[str]]
    depends_on_unit_order: ClassVar[bool] = False
    is_product: ClassVar[bool] = True

    if TYPE_CHECKING:  # a dataclass would take a property for its field's default

        @property
        def inputs(self) -> int:
            """The number of rows of the kernel."""
            ...

        @property
        def features(self) -> int:
            """The number of columns of the kernel."""
            ...

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Registers the class as a kind, if it sets ``kind``."""
        super().__init_subclass__(**arguments)
        if "kind" not in cls.__dict__:
            return
        other = _KINDS.get(cls.kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"{cls.__qualname__} has the kind {cls.kind!r}, which is taken by "
                f"{other.__module__}.{other.__qualname__}: give it a name of its own."
            )
        _KINDS[cls.kind] = cls

    # The text form, and the fields of a config.

    @classmethod
    @abc.abstractmethod
    def read(cls, text: str, inputs: int, features: int) -> LayerStructure | None:
        """Returns the structure that ``text`` means for a kernel of this size.

        Args:
          text: the text form, with single spaces between its words.
          inputs: the number of rows of the kernel.
          features: the number of columns of the kernel.

        Returns:
          The structure, or None if the text is not of this kind.

        Raises:
          ValueError: if the text is of this kind, but does not fit the kernel.
        """

    @abc.abstractmethod
    def __str__(self) -> str:
        """Returns the text form, which `read` reads."""

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields ``kind``, ``structure`` and ``rank`` of a layer's config."""
        return {"kind": self.kind, "structure": str(self), "rank": 0}

    # Sizes and counts.

    @property
    def dense_parameters(self) -> int:
        """The number of entries of the dense kernel that this structure stands for."""
        return self.inputs * self.features

    @property
    @abc.abstractmethod
    def num_parameters(self) -> int:
        """The number of entries of all arrays, padding included; the bias is not counted."""

    @abc.abstractmethod
    def flops(self, batch: int) -> int:
        """Returns the least arithmetic of ``x @ kernel`` for ``x: (batch, inputs)``.

        It is the minimum over all ways to do it, in FLOPs: a multiplication and an addition count
        as two. What a machine is predicted to do fastest may be more; `kfc_jax.explain` tells both.
        """

    def forms_kernel(self, batch: int) -> bool:
        """Says whether the least arithmetic at this batch forms the dense kernel first."""
        del batch
        return False

    @property
    def num_products(self) -> int:
        """The number of products that are summed."""
        return 1

    @property
    def matrix_rank(self) -> int:
        """The largest matrix rank that the kernel can have."""
        return min(self.inputs, self.features)

    # What a planner may choose from.

    @classmethod
    def of_rank_one(cls, inputs: int, features: int) -> Sequence[LayerStructure]:
        """Lists the structures of rank 1 of which a planner may choose one, and then its rank."""
        del inputs, features
        return ()

    @property
    def max_rank(self) -> int:
        """The rank beyond which a structure of this shape gains nothing."""
        return 1

    def with_rank(self, rank: int) -> LayerStructure:
        """Returns a structure of this shape with another rank, for those that `of_rank_one` lists.

        Raises:
          ValueError: if the kind has no such choice, or the rank is out of range.
        """
        raise ValueError(f"Structure '{self}' has no rank to choose; got rank={rank}.")

    # The arrays that are stored. An array is anything with a shape, of NumPy or of JAX.

    @property
    @abc.abstractmethod
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays by their names in the parameters."""

    @classmethod
    @abc.abstractmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of a layer with arrays of these shapes.

        Args:
          text: the text form of the layer's structure, of whatever kind.
          shapes: the shapes of the arrays by their names.

        Raises:
          KeyError, ValueError: if the arrays are not all there, or the text is needed and not of
            this kind.
        """

    def check_shapes(self, shapes: Shapes) -> None:
        """Checks that arrays of these shapes, by their names, are those of this structure.

        Raises:
          ValueError: if one is missing, there is another one, or a shape is wrong.
        """
        if dict(shapes) != self.array_shapes:
            raise ValueError(
                f"The arrays have the shapes {dict(shapes)}, but '{self}' needs "
                f"{self.array_shapes}: take the structure that they were made for."
            )

    @classmethod
    def _match(cls, name: str) -> re.Match[str]:
        """Matches the name of an array of this kind against `parameter_pattern`."""
        match = cls.parameter_pattern.fullmatch(name)
        assert match is not None, f"{name} is no array of {cls.__name__}"
        return match

    @classmethod
    def terms_of(cls, names: Iterable[str]) -> list[list[str]]:
        """Sorts the names of a layer's arrays into terms, and each term's into its factors.

        By default, every array is a term of its own.

        Raises:
          ValueError: if some of the arrays are missing.
        """
        return [[name] for name in sorted(names)]

    @classmethod
    def as_factor(cls, name: str, array: Any) -> Any:
        """Views the array called ``name`` as a factor ``(..., rank, n_k, m_k)``.

        The leading axes are those of stacked layers. By default the array of a product is such a
        factor already, and any other one, a kernel or its blocks, one of rank 1.
        """
        del name
        return array if cls.is_product else array[..., None, :, :]

    @classmethod
    def from_factor(cls, name: str, factor: Any) -> Any:
        """Returns the array called ``name`` that `as_factor` gives ``factor`` for."""
        del name
        return factor if cls.is_product else factor[..., 0, :, :]

    @classmethod
    def factors_of(cls, arrays: Mapping[str, Any]) -> list[list[Any]]:
        """Returns the factors ``(..., rank, n_k, m_k)`` of every term, as views of the arrays.

        Raises:
          ValueError: if some of the arrays are missing.
        """
        terms = cls.terms_of(arrays)
        return [[cls.as_factor(name, arrays[name]) for name in term] for term in terms]

    def arrays_of(self, factors: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Returns the arrays by their names that `factors_of` gives ``factors`` for."""
        names = self.terms_of(self.array_shapes)
        return {
            name: self.from_factor(name, factor)
            for term, of_term in zip(names, factors, strict=True)
            for name, factor in zip(term, of_term, strict=True)
        }


def layer_kinds() -> dict[str, type[LayerStructure]]:
    """Returns the class of every kind by its name: those of this library, then all others."""
    kinds = _KINDS.values()
    ordered = sorted(kinds, key=lambda k: (not k.__module__.startswith(str(__package__)), k.kind))
    return {kind.kind: kind for kind in ordered}


def kind_of_parameter(name: str) -> type[LayerStructure] | None:
    """Returns the kind that stores an array of this name; None if it belongs to no kernel.

    Biases, scales of normalisations and the like belong to none.
    """
    found = (kind for kind in _KINDS.values() if kind.parameter_pattern.fullmatch(name))
    return next(found, None)
