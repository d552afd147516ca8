"""How the kernel of a dense layer may be stored: one class for every kind.

This module is the only owner of that knowledge. It says how a kind is written as text and in a
config, what it costs, and which arrays it stores under which names. Everything else asks it. What
needs arrays is an open function that dispatches on the class, in the room that can do it:

- ``kfc_jax.product.dense_kernel``: the dense kernel that the arrays stand for.
- ``kfc_jax.layers.layer_for``: the Flax layer.
- ``kfc_jax.decompose.decompose_kernel``: the arrays nearest to a dense kernel.

A new kind is a frozen dataclass that inherits from `LayerStructure`, sets ``kind`` and registers
its functions in these rooms; ``tests/kfc_jax/structures/test_toy_kind.py`` is a whole example.
"""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

DEFAULT_RANK = 8

TRAINABLE_MATRIX_RANK = 0.5
"""The fraction of a kernel's full matrix rank below which a structure starts well and trains badly.

It was measured in ``docs/compression.md``; planners and sweeps leave such structures out.
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
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.

    Raises:
      ValueError: if another class has the same ``kind``.
    """

    kind: ClassVar[str]
    example: ClassVar[str]
    parameter_pattern: ClassVar[re.Pattern[str]]
    depends_on_unit_order: ClassVar[bool] = False

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

        The leading axes are those of stacked layers. By default it is such a factor already.
        """
        del name
        return array

    @classmethod
    def from_factor(cls, name: str, factor: Any) -> Any:
        """Returns the array called ``name`` that `as_factor` gives ``factor`` for."""
        del name
        return factor

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


class SumOfFactors(LayerStructure):
    """The base of a kind that stores the factors of its terms as they are.

    Factor ``k`` of term ``t`` is the array ``kernel_{t}_{k}`` of shape ``(rank, n_k, m_k)``.
    """

    parameter_pattern = re.compile(r"kernel_(\d+)_(\d+)")

    if TYPE_CHECKING:

        @property
        def terms(self) -> tuple[Any, ...]:
            """The terms, with their ``rank`` and ``shapes``."""
            ...

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the arrays by their names in the parameters."""
        return {
            f"kernel_{t}_{k}": (term.rank, *shape)
            for t, term in enumerate(self.terms)
            for k, shape in enumerate(term.shapes)
        }

    @classmethod
    def terms_of(cls, names: Iterable[str]) -> list[list[str]]:
        """Sorts the names of a layer's arrays into terms, and each term's into its factors.

        Raises:
          ValueError: if some of the arrays are missing.
        """
        terms: list[list[str]] = []
        for t, k, name in sorted((*map(int, _match(cls, n).groups()), n) for n in names):
            if k == 0:
                terms.append([])
            if t != len(terms) - 1 or k != len(terms[-1]):
                raise ValueError(f"The factor before {name} is missing.")
            terms[-1].append(name)
        return terms


@dataclasses.dataclass(frozen=True)
class DenseStructure(LayerStructure):
    """A kernel that is stored as it is, in the array ``kernel``.

    Attributes:
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.
    """

    kind = "dense"
    example = "dense"
    parameter: ClassVar[str] = "kernel"
    parameter_pattern = re.compile(parameter)

    inputs: int
    features: int

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> DenseStructure | None:
        """Returns the structure if ``text`` is ``dense``, and None if not."""
        return cls(inputs, features) if text == cls.kind else None

    def __str__(self) -> str:
        return self.kind

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields ``kind``, ``structure`` and ``rank`` of a layer's config."""
        return {"kind": self.kind, "structure": "", "rank": 0}

    @property
    def num_parameters(self) -> int:
        """The number of entries of the kernel."""
        return self.dense_parameters

    def flops(self, batch: int) -> int:
        """Returns the FLOPs of ``x @ kernel`` for ``x: (batch, inputs)``."""
        return 2 * batch * self.dense_parameters

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of the kernel by its name in the parameters."""
        return {self.parameter: (self.inputs, self.features)}

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of the layer."""
        del text
        inputs, features = shapes[cls.parameter]
        return inputs, features

    @classmethod
    def as_factor(cls, name: str, array: Any) -> Any:
        """Views the kernel ``(..., inputs, features)`` as one factor of rank 1."""
        del name
        return array[..., None, :, :]

    @classmethod
    def from_factor(cls, name: str, factor: Any) -> Any:
        """Returns the kernel of one factor of rank 1."""
        del name
        return factor[..., 0, :, :]


@dataclasses.dataclass(frozen=True)
class LowRankStructure(LayerStructure):
    """A kernel ``u @ v``, stored as ``kernel_u (inputs, rank)`` and ``kernel_v (rank, features)``.

    Seen as factors, it is the sum over ranks of a column of ``u`` (x) a row of ``v``. Its text form
    is ``rank 3``.

    Attributes:
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.
      rank: the number of columns of ``u``.

    Raises:
      ValueError: if the rank is not from 1 to the kernel's smaller side.
    """

    kind = "low_rank"
    example = "rank 3"
    parameter_pattern = re.compile(r"kernel_([uv])")

    inputs: int
    features: int
    rank: int

    def __post_init__(self) -> None:
        full = min(self.inputs, self.features)
        if not 1 <= self.rank <= full:
            raise ValueError(
                f"Rank {self.rank} is out of range for a kernel of {self.inputs}x{self.features}, "
                f"whose full rank is {full}: take a rank from 1 to {full}."
            )

    @classmethod
    def of_default_rank(cls, inputs: int, features: int) -> LowRankStructure:
        """Returns rank 8, or a lower one with which the layer is at most half as large as dense."""
        half = inputs * features // (2 * (inputs + features))
        return cls(inputs, features, max(1, min(DEFAULT_RANK, half)))

    @classmethod
    def read(cls, text: str, inputs: int, features: int) -> LowRankStructure | None:
        """Returns the structure if ``text`` is of the form ``rank 3``, and None if not.

        Raises:
          ValueError: if the rank is out of range.
        """
        match = re.fullmatch(r"rank (\d+)", text)
        return cls(inputs, features, int(match[1])) if match else None

    def __str__(self) -> str:
        return f"rank {self.rank}"

    def config_fields(self) -> dict[str, Any]:
        """Returns the fields ``kind``, ``structure`` and ``rank`` of a layer's config."""
        return {"kind": self.kind, "structure": "", "rank": self.rank}

    @property
    def num_parameters(self) -> int:
        """The number of entries of both matrices."""
        return self.rank * (self.inputs + self.features)

    def flops(self, batch: int) -> int:
        """Returns the least arithmetic of ``x @ u @ v`` for ``x: (batch, inputs)``, in FLOPs."""
        return min(2 * batch * self.num_parameters, self._flops_of_formed_kernel(batch))

    def forms_kernel(self, batch: int) -> bool:
        """Says whether the least arithmetic at this batch forms ``u @ v`` first."""
        return self._flops_of_formed_kernel(batch) < 2 * batch * self.num_parameters

    def _flops_of_formed_kernel(self, batch: int) -> int:
        return 2 * (self.rank + batch) * self.dense_parameters

    @property
    def num_products(self) -> int:
        """The number of products of a column and a row that are summed."""
        return self.rank

    @property
    def matrix_rank(self) -> int:
        """The largest matrix rank that the kernel can have."""
        return self.rank

    @classmethod
    def of_rank_one(cls, inputs: int, features: int) -> Sequence[LowRankStructure]:
        """Lists the one structure of rank 1."""
        return (cls(inputs, features, 1),)

    @property
    def max_rank(self) -> int:
        """The full rank of the kernel."""
        return min(self.inputs, self.features)

    def with_rank(self, rank: int) -> LowRankStructure:
        """Returns the structure of another rank for the same kernel.

        Raises:
          ValueError: if the rank is out of range.
        """
        return dataclasses.replace(self, rank=rank)

    @property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of both matrices by their names in the parameters."""
        return {"kernel_u": (self.inputs, self.rank), "kernel_v": (self.rank, self.features)}

    @classmethod
    def size_of(cls, text: str, shapes: Shapes) -> tuple[int, int]:
        """Returns the numbers of inputs and features of the layer."""
        del text
        return shapes["kernel_u"][0], shapes["kernel_v"][1]

    @classmethod
    def terms_of(cls, names: Iterable[str]) -> list[list[str]]:
        """Returns one term of both matrices.

        Raises:
          ValueError: if one of them is missing.
        """
        term = sorted(names)
        if len(term) != 2:
            raise ValueError(f"{' and '.join(term)} is only one of the two matrices.")
        return [term]

    @classmethod
    def as_factor(cls, name: str, array: Any) -> Any:
        """Views ``u`` as columns ``(rank, inputs, 1)`` and ``v`` as rows ``(rank, 1, features)``.

        Something that is no matrix is returned as it is.
        """
        if len(array.shape) < 2:
            return array
        is_u = _match(cls, name)[1] == "u"
        return array.swapaxes(-1, -2)[..., None] if is_u else array[..., None, :]

    @classmethod
    def from_factor(cls, name: str, factor: Any) -> Any:
        """Returns ``u`` of columns ``(rank, inputs, 1)``, ``v`` of rows ``(rank, 1, features)``."""
        is_u = _match(cls, name)[1] == "u"
        return factor[..., 0].swapaxes(-1, -2) if is_u else factor[..., 0, :]


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


def read_layer_structure(
    structure: LayerStructure | str, inputs: int, features: int
) -> LayerStructure:
    """Returns the structure that a text means for a kernel of this size.

    Args:
      structure: the text form of any kind, such as ``dense``, ``rank 3`` or
        ``8:28x32*28x32``, or a structure.
      inputs: the number of rows of the kernel.
      features: the number of columns of the kernel.

    Raises:
      ValueError: if the text cannot be read, or does not fit the kernel.
    """
    text = " ".join(str(structure).split())
    # Sums of factors come last: they take every text that no other kind does, and say what is
    # wrong with it.
    *others, last = sorted(layer_kinds().values(), key=lambda kind: issubclass(kind, SumOfFactors))
    for kind in others:
        if (found := kind.read(text, inputs, features)) is not None:
            return found
    try:
        found = last.read(text, inputs, features)
    except ValueError as error:
        examples = " or ".join(f"'{kind.example}' ({kind.kind})" for kind in others)
        raise ValueError(f"{error} Or write {examples}.") from error
    assert found is not None
    return found


def _match(kind: type[LayerStructure], name: str) -> re.Match[str]:
    match = kind.parameter_pattern.fullmatch(name)
    assert match is not None, f"{name} is no array of {kind.__name__}"
    return match
