"""How the axes of a value come from those of a kernel that was transposed and reshaped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Atom(NamedTuple):
    """A piece of an axis of a kernel that reshaping has not split so far.

    Attributes:
      key: the axis of the kernel and, if it was split, the place in it; sorted, keys are in
        row-major order.
      size: the number of indices.
    """

    key: tuple[int, ...]
    size: int

    @property
    def axis(self) -> int:
        """The axis of the kernel that it is of."""
        return self.key[0]


@dataclasses.dataclass(frozen=True)
class View:
    """A kernel with its axes in another order, merged or split.

    Attributes:
      axes: for every axis of the value the atoms that it is made of, the slowest first; an axis of
        size 1 may have none, and an atom of size 1 may be lost.
    """

    axes: tuple[tuple[Atom, ...], ...]

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> View:
        """Returns the view of a kernel as it is."""
        return cls(tuple((Atom((i,), size),) for i, size in enumerate(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return tuple(math.prod(atom.size for atom in axis) for axis in self.axes)

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """All atoms in the order of the value's axes."""
        return self.of_axes(range(len(self.axes)))

    def of_axes(self, axes: Iterable[int]) -> tuple[Atom, ...]:
        """Returns the atoms of some axes, in their order."""
        return tuple(atom for axis in axes for atom in self.axes[axis])

    def transposed(self, order: Sequence[int]) -> View:
        """Returns the view after a transposition."""
        return View(tuple(self.axes[i] for i in order))

    def without_atom(self, axis: int) -> View:
        """Returns the view of one slice along an axis."""
        return View((*self.axes[:axis], *self.axes[axis + 1 :]))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """Returns the view after a reshape; None if it cuts through atoms unevenly."""
        left, axes = list(self.atoms), []
        for size in shape:
            axis: list[Atom] = []
            missing = size
            if size == 1 and left and left[0].size == 1:
                axis.append(left.pop(0))
            while missing > 1:
                atom = left.pop(0)
                if atom.size == 1:
                    continue
                if missing % atom.size:
                    if atom.size % missing:
                        return None
                    left.insert(0, Atom((*atom.key, 1), atom.size // missing))
                    atom = Atom((*atom.key, 0), missing)
                axis.append(atom)
                missing //= atom.size
            axes.append(tuple(axis))
        return View(tuple(axes))
